"""Metrics of one's own, and what is refused before training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from test_epoch_metrics import N, data, on_strict_cuda, trainer

import gpubp as bp
from gpubp.backends import CPU
from gpubp.metrics.choice import LOG_COLUMNS
from gpubp.step.kept_rows import KeptRows


class LargestError(bp.EpochMetric):
    name, kinds, higher_is_better = "largest_error", ("numbers",), False

    def result(self, outputs: Any, targets: Any, weights: Any) -> float:
        assert outputs.dtype == targets.dtype == weights.dtype == np.float64
        return np.abs(outputs - targets).max()  # type: ignore[no-any-return]


def test_an_own_metric_gets_outputs_targets_and_weights() -> None:
    X, y = data()[0], np.arange(N * 2.0).reshape(N, 2)
    net = bp.Network(bp.Dense(2), 6, device="cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.0), metrics=[LargestError(), "mae"])
    w = np.ones(N)
    w[50:] = 0.0
    history = t.fit(X, y, sample_weight=w)
    assert history["largest_error"][0] == pytest.approx(np.abs(net.predict(X) - y)[:50].max(), rel=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_own_metric_may_keep_views_with_gaps(device: str) -> None:
    class OfOne(LargestError):
        def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
            return z[:, 1], t[:, 1]

    X, y = data()[0], np.arange(N * 2.0).reshape(N, 2)
    net = bp.Network(bp.Dense(2), 6, device=on_strict_cuda() if device == "cuda" else "cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.0), metrics=[OfOne()])
    history = t.fit(X, y, epochs=4)
    wanted = np.abs(np.asarray(net.backend.to_host(net.backend.to_device(net.predict(X)))) - y)[:, 1].max()
    assert history["largest_error"] == pytest.approx([wanted] * 4, rel=1e-6)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda z, t: z, r"are two arrays, \(outputs, targets\), with 4 rows each; it returned ndarray of \(4, 2\)"),
        (lambda z, t: (z[:2], t), r"returned tuple of \(2, 2\), \(4, 2\)"),
        (lambda z, t: None, "returned NoneType"),
    ],
)
def test_rows_that_can_not_be_kept_are_refused_before_training(made: Any, words: str) -> None:
    class Wrong(LargestError):
        def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
            return made(z, t)

    net = bp.Network(bp.Dense(2), 6, device="cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[Wrong()])
    with pytest.raises(bp.ShapeError, match=words):
        t.fit(data()[0], np.ones((N, 2)))
    assert t.step_count == 0


def test_rows_computed_by_operators_are_refused_before_training() -> None:
    class Wrong(LargestError):
        def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
            return z * 2.0, t

    net = bp.Network(bp.Dense(2), 6, device="cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[Wrong()])
    with pytest.raises(bp.RecordError, match="Wrong computes what a recorded step would not repeat"):
        t.fit(data()[0], np.ones((N, 2)))


@pytest.mark.parametrize("made", [np.zeros(2), None, "high"], ids=repr)
def test_a_result_that_is_no_number_is_named(made: Any) -> None:
    class Wrong(LargestError):
        def result(self, outputs: Any, targets: Any, weights: Any) -> Any:
            return made

    net = bp.Network(bp.Dense(2), 6, device="cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[Wrong()])
    with pytest.raises(TypeError, match=r"Wrong\(\) gives .* for an epoch; its result returns one number"):
        t.evaluate(data()[0], np.ones((N, 2)))

    with pytest.raises(bp.ResultError, match=r"Wrong\(\) gives .* for an epoch; its result returns one number"):
        t.fit(data()[0], np.ones((N, 2)))
    assert t.step_count == 0


def test_a_result_that_needs_more_rows_than_are_tried_is_no_error() -> None:
    seen: list[int] = []

    class Many(LargestError):
        def result(self, outputs: Any, targets: Any, weights: Any) -> Any:
            seen.append(len(weights))
            warnings.warn("so few", RuntimeWarning, stacklevel=1)
            assert len(weights) > 4, "too few rows"
            return np.float32(len(weights))

    net = bp.Network(bp.Dense(2), 6, device="cpu")
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[Many()])
    with pytest.warns(RuntimeWarning, match="so few"):
        history = t.fit(data()[0], np.ones((N, 2)), epochs=2)
    assert history["largest_error"] == [N, N] and seen == [4, N, N]


@pytest.mark.parametrize("result", [lambda self, z, t: 0.0, lambda self: 0.0, lambda self, z, t, w, more: 0.0])
def test_a_result_with_other_arguments_is_refused_before_training(result: Any) -> None:
    metric = type("Wrong", (LargestError,), {"result": result})()
    t = bp.Trainer(bp.Network(bp.Dense(2), 6, device="cpu"), bp.MeanSquaredError(), bp.SGD(), metrics=[metric])
    with pytest.raises(bp.ResultError, match=r"^Wrong.result is called with \(outputs, targets, weights\): "):
        t.fit(data()[0], np.ones((N, 2)))
    assert t.step_count == 0


def test_an_error_of_a_result_says_where() -> None:
    class Wrong(LargestError):
        def result(self, outputs: Any, targets: Any, weights: Any) -> Any:
            return 1 / 0

    t = bp.Trainer(bp.Network(bp.Dense(2), 6, device="cpu"), bp.MeanSquaredError(), bp.SGD(), metrics=[Wrong()])
    for look in (t.fit, t.evaluate):
        with pytest.raises(ZeroDivisionError) as caught:
            look(data()[0], np.ones((N, 2)))  # type: ignore[operator]
        assert caught.value.__notes__ == ["in Wrong.result, of Wrong()"]


def test_nothing_but_rows_of_weight_0_gives_nan() -> None:
    X, y = data(8)
    t = trainer(rate=0.0)
    t.step(X, y, sample_weight=np.r_[1.0, np.zeros(7)])
    assert np.isnan(t.last_step.means()["roc_auc"])  # type: ignore[union-attr]


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two metrics have the name 'f1'"):
        trainer(metrics=[bp.F1("macro"), bp.F1("micro")])

    class MicroF1(bp.F1):
        name = "micro_f1"

    found = trainer(metrics=[bp.F1("macro"), MicroF1("micro")]).evaluate(*data())
    assert {"f1", "micro_f1"} <= found.keys()


def test_what_is_no_metric_is_named() -> None:
    class Nameless(bp.EpochMetric):
        def result(self, outputs: Any, targets: Any, weights: Any) -> float:
            return 0.0

    class Loss(Nameless):
        name, kinds = "loss", ("labels",)

    for metrics, words in (
        ([bp.F1], r"one is <class .*F1'>; write F1\(...\)"),
        (bp.F1, r"write F1\(...\)"),
        ([len], "one is <built-in function len>"),
        (3, "one is 3"),
        ([Nameless()], "the class Nameless has no name; a metric needs one, such as name = "),
    ):
        with pytest.raises(TypeError, match=words):
            trainer(metrics=metrics)
    with pytest.raises(ValueError, match='Loss has the name "loss"'):
        trainer(metrics=[Loss()])


def own(**declared: Any) -> bp.Metric:
    return type("Own", (bp.Accuracy,), declared)()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["loss", "val_loss", "val_accuracy", "val_", *LOG_COLUMNS])
def test_names_of_other_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'Own has the name "{name}", .*; give it another name'):
        trainer(metrics=[own(name=name)])


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"name": 3}, "Own needs name to be text, and got 3"),
        ({"name": ("a", "b")}, "Own needs name to be text, and got"),
        ({"higher_is_better": "no"}, "Own needs higher_is_better to be True or False, or None, and got 'no'"),
        ({"higher_is_better": lambda self: False}, "Own needs higher_is_better to be True or False, or None, and got"),
        ({"higher_is_better": 0}, "Own needs higher_is_better to be True or False, or None, and got 0"),
        ({"kinds": "class"}, "the metric 'accuracy' judges class, and .* predicts labels"),
        ({"kinds": ("labels", 3)}, "Own needs kinds to be text, or a tuple of them, and got"),
        ({"kinds": "numbers"}, "the metric 'accuracy' judges numbers, and .* predicts labels"),
    ],
)  # fmt: skip
def test_what_a_metric_declares_is_checked(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(metrics=[own(**declared)])


@pytest.mark.parametrize("kinds", ["labels", ["labels"], {"labels"}, ("labels", "ranks")], ids=str)
def test_kinds_may_be_a_text_or_any_collection(kinds: Any) -> None:
    assert "accuracy" in trainer(metrics=[own(kinds=kinds, higher_is_better=np.True_)]).evaluate(*data())


@pytest.mark.parametrize("empty", ["", ()])
def test_nothing_is_no_name_and_no_kind(empty: Any) -> None:
    with pytest.raises(TypeError, match="the class Own has no (name|kinds); a metric needs one"):
        trainer(metrics=[own(**{"name" if empty == "" else "kinds": empty})])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.F1("samples"), "F1 takes the average 'auto', 'binary'"),
        (lambda: bp.Recall(zero_division=0.5), "Recall takes the zero_division 0 or 1 and got 0.5"),
        (lambda: bp.TopKAccuracy(0), "TopKAccuracy needs k to be a whole number, 1 or more, and got 0"),
    ],
)
def test_arguments_that_can_not_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_binary_average_of_many_classes_is_refused_before_training() -> None:
    net = bp.Network(bp.Dense(3), 6, device="cpu")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), metrics=[bp.F1("binary")])
    with pytest.raises(bp.ShapeError, match='average="binary", for a yes or no, and the network has 3 outputs'):
        t.fit(*data())


def test_no_room_for_the_rows_of_an_epoch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: CPU, shape: Any, dtype: Any) -> Any:
        raise bp.DeviceMemoryError("cuda:0 has no room for another array")

    kept = KeptRows(CPU(), 4, np.zeros(()))
    kept.reserve(1000)
    monkeypatch.setattr(CPU, "zeros", full)
    with pytest.raises(
        bp.DeviceMemoryError, match="a metric keeps 31.2 KB for the rows of a whole epoch; leave it out"
    ):
        kept.write("0/outputs", np.zeros((4, 2), "float32"))
