"""Metrics of whole epochs in training on rows of different lengths, with targets of each time step: every step once, on
every device, whoever computes it; and metrics of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from spoiled_step import SpoilsOnce
from step_data import Data, N, classes, identity, softmax

import gpubp as bp
from gpubp.backends.cpu import compiled
from gpubp.backends.cuda.backend import CUDA
from gpubp.data.sequences import batches_of
from strict import StrictProducts, strict_cupy

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

NAMES = ["f1", "accuracy", "roc_auc", "recall"]


def trained_data() -> tuple[Any, Any]:
    data = Data(classes(0, 1, 2), 3)
    return bp.Sequences(data.z), data.y


def trainer(rate: float = 0.01, **options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(4), bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, (None, 3), device="cpu", seed=3)
    settings: dict[str, Any] = {"batch_size": 8, "metrics": NAMES} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(rate), **settings)


def expected(t: bp.Trainer, X: Any, y: Any, w: Any = None) -> dict[str, float]:
    z, truth = np.asarray(t.network.predict(X).flat, np.float64), np.concatenate(y)
    of = None if w is None else np.repeat(w, X.lengths)
    p = softmax(z)
    return {
        "f1": sk.f1_score(truth, z.argmax(axis=1), average="macro", sample_weight=of),
        "recall": sk.recall_score(truth, z.argmax(axis=1), average="macro", sample_weight=of),
        "roc_auc": np.mean([sk.roc_auc_score(truth == k, p[:, k], sample_weight=of) for k in range(3)]),
    }


def assert_reported(found: Any, wanted: dict[str, float], start: str = "") -> None:
    for name, value in wanted.items():
        assert found[start + name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"workers": 2},
        {"shards": 4, "on_nonfinite": "raise"},
        {"batch_size": 4, "accumulate": 2},
        {"batch_size": 4, "accumulate": 2, "workers": 2, "on_nonfinite": "skip"},
        {"batch_size": None, "on_nonfinite": "rollback"},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_every_step_of_an_epoch_counts_once(options: dict[str, Any], weighted: bool) -> None:
    X, y = trained_data()
    w = np.linspace(0.0, 2.0, N) if weighted else None
    t = trainer(rate=0.0, **options)
    history = t.fit(X, y, epochs=2, sample_weight=w, validation_data=(X[:25], y[:25]), verbose=False)
    for epoch in range(2):
        logs = {name: column[epoch] for name, column in history.items()}
        assert_reported(logs, expected(t, X, y, w))
        assert_reported(logs, expected(t, X[:25], y[:25]), start="val_")
    assert_reported(t.evaluate(X, y, w), expected(t, X, y, w))


def test_fits_evaluations_and_single_steps_of_other_lengths_follow_each_other() -> None:
    X, y = trained_data()
    t = trainer(rate=0.0)
    order = np.argsort(X.lengths)
    for rows in (order[:20], order, order[-20:], order[10:24]):
        some, of = X[rows], [y[i] for i in rows]
        history = t.fit(some, of, validation_data=(some, of), verbose=False)
        logs, wanted = {name: column[0] for name, column in history.items()}, expected(t, some, of)
        for start in ("", "val_"):
            assert_reported(logs, wanted, start)
        t.step(some[:2], of[:2])
        assert_reported(t.evaluate(some, of), wanted)


def test_other_orders_of_an_epoch() -> None:
    X, y = trained_data()
    orders = [np.arange(20), np.arange(N), np.tile(np.arange(30), 3), np.arange(9)]
    seen: list[dict[str, float]] = []
    t = trainer(rate=0.0)
    note = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: seen.append(dict(logs)))
    t.fit(X, y, epochs=4, shuffle=lambda epoch, n: orders[epoch], callbacks=[note], verbose=False)
    for order, logs in zip(orders, seen, strict=True):
        assert_reported(logs, expected(t, X[order], [y[i] for i in order]))


def test_what_is_kept_is_as_large_as_the_batches_and_made_once() -> None:
    """No batch is as long as the longest for it, and later epochs record nothing anew."""
    X, y = trained_data()
    t = trainer(metrics=["f1"])
    made: list[int] = []
    note = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: made.append(t.last_step.passes[0].kept.made))
    t.fit(X, y, epochs=4, callbacks=[note], verbose=False)
    times, kept = batches(X)[1], t.last_step.passes[0].kept
    assert {a.shape for a in kept.arrays.values()} == {(sum(times), 8)} and sum(times) < len(times) * max(times)
    assert len(made) == 4 and len(set(made)) == 1


def batches(X: Any) -> tuple[Any, list[int]]:
    """The rows of each batch of 8 where they are not shuffled, and T of each"""
    order, times = batches_of(np.arange(N), X.buckets, 8)
    return order.reshape(-1, 8), times


def test_training_is_bitwise_identical_with_and_without() -> None:
    X, y = trained_data()
    trained = []
    for metrics in ("accuracy", NAMES):
        t = trainer(metrics=metrics)
        t.fit(X, y, epochs=2, verbose=False)
        trained.append((t.network.flat.tobytes(), t.history["loss"], t.history["accuracy"]))
    assert trained[0] == trained[1]


def test_padding_changes_no_bit() -> None:
    X, y = trained_data()
    found = []
    for fill in (None, np.nan):
        given: Any = X
        if fill is not None:
            padded = np.full((N, 45, 3), fill)
            for place, row in zip(padded, X, strict=True):
                place[: len(row)] = row
            given = bp.Sequences(padded, X.lengths)
        history = trainer().fit(given, y, epochs=2, validation_fraction=0.3, verbose=False)
        found.append(dict(history))
    assert found[0] == found[1]


def test_early_stopping_goes_by_a_metric_of_steps() -> None:
    X, y = trained_data()
    t = trainer(rate=0.0)
    stopping = bp.EarlyStopping(monitor="val_f1", patience=2)
    history = t.fit(X, y, epochs=50, validation_fraction=0.3, callbacks=[stopping], verbose=False)
    assert history.epochs == 3 and stopping.best == pytest.approx(history["val_f1"][0])


def test_skipped_steps_do_not_count() -> None:
    """A row spoils a batch between batches of other lengths."""
    X, y = trained_data()
    (order, times), bad = batches(X), 2
    assert times[bad - 1] != times[bad] != times[bad + 1]
    rows = [row.copy() for row in X]
    rows[order[bad, 0]][...] = 3e38
    net = bp.Network(bp.Dense(3), (None, 3), device="cpu", seed=3)
    net.parameters["W"][...] = 2.0
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), 8, metrics=NAMES, on_nonfinite="skip")
    with pytest.warns(RuntimeWarning, match="1 step of epoch 1"), np.errstate(all="ignore"):
        history = t.fit(rows, y, shuffle=False, verbose=False)
    good = np.concatenate([batch[batch >= 0] for k, batch in enumerate(order) if k != bad])
    assert_reported({k: v[0] for k, v in history.items()}, expected(t, X[good], [y[i] for i in good]))


def test_a_rollback_takes_back_what_was_kept() -> None:
    X, y = trained_data()
    t = trainer(rate=0.0, on_nonfinite="rollback")
    with pytest.warns(RuntimeWarning, match="back to step 0"):
        history = t.fit(X, y, callbacks=[SpoilsOnce()], verbose=False)
    assert_reported({k: v[0] for k, v in history.items()}, expected(t, X, y))


# -- records and devices ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
@pytest.mark.usefixtures("compiled_at_once")
def test_compiled_records_report_the_same() -> None:
    X, y = trained_data()
    t = trainer(rate=0.0)
    history = t.fit(X, y, epochs=3, verbose=False)
    for epoch in range(3):
        assert_reported({k: v[epoch] for k, v in history.items()}, expected(t, X, y))


@pytest.mark.parametrize(("weighted", "guarded"), [("even", "skip"), ("rows", None), ("steps", None)])
def test_on_a_gpu_an_epoch_reports_what_it_reports_on_a_cpu(weighted: str, guarded: str | None) -> None:
    data, found = Data(classes(0, 1, 2), 3, weighted), []
    for device in ("cpu", CUDA(strict_cupy(), products=StrictProducts)):
        t = bp.Trainer(
            identity(3, device),
            bp.SoftmaxCrossEntropy(),
            bp.SGD(1e-3),
            8,
            metrics=NAMES,
            on_nonfinite=guarded,
            workers=1,
        )
        some = slice(0, 29)
        given = None if data.given is None else data.given[some]
        history = t.fit(
            data.z[some], data.y[some], epochs=4, sample_weight=given, validation_data=(data.z, data.y), verbose=False
        )
        found.append((dict(history), t.evaluate(data.z, data.y, data.given)))
    for name in found[0][0]:
        assert found[1][0][name] == pytest.approx(found[0][0][name], rel=1e-4), name
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)


def test_in_exact_numerics_workers_and_pieces_give_the_same_bits() -> None:
    """The order of the rows and their steps does not go by who has computed them."""
    pytest.importorskip("numba", reason="Numba is not installed")
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 17, 256)
    X, y = ([rng.normal(size=(n, k)) for n in lengths] for k in (3, 2))
    bits = set()
    for options in ({}, {"workers": 2}, {"batch_size": 64, "accumulate": 2}):
        net = bp.Network(bp.Dense(2), (None, 3), device="cpu", seed=1, numerics="exact")
        settings = {"batch_size": 128, "metrics": ["r2"], **options}
        t = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.01), **settings)
        history = t.fit(X, y, epochs=2, sample_weight=np.linspace(0.1, 1.0, 256), verbose=False)
        bits.add((net.flat.tobytes(), str(dict(history)), str(t.evaluate(X, y))))
    assert len(bits) == 1


# -- metrics of one's own ---------------------------------------------------------------------------------------------


class LargestError(bp.EpochMetric):
    """Keeps what it was given."""

    name, kinds, higher_is_better, by_mask = "largest_error", ("numbers",), False, True

    def __init__(self) -> None:
        object.__setattr__(self, "seen", [])

    def result(self, outputs: Any, targets: Any, weights: Any) -> float:
        self.seen.append((outputs, targets, weights))
        return float(np.abs(outputs - targets).max())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_own_metric_gets_the_steps_of_each_row_behind_each_other(workers: int) -> None:
    data, metric = Data(lambda rng, n: rng.normal(size=(n, 1)), 1), LargestError()
    t = bp.Trainer(identity(1), bp.MeanSquaredError(), bp.SGD(0.0), 8, metrics=[metric], workers=workers)
    w = np.linspace(0.0, 1.0, N)
    t.fit(data.z, data.y, sample_weight=w, shuffle=False, verbose=False)
    order = batches(bp.Sequences(data.z))[0].reshape(-1)
    rows = [i for i in order if i > 0]  # without what a batch lacks, and the row of weight 0
    outputs, targets, weights = metric.seen[-1]
    np.testing.assert_array_equal(outputs, np.concatenate([data.z[i] for i in rows]))
    np.testing.assert_allclose(targets, np.concatenate([data.y[i] for i in rows]), rtol=1e-6)
    np.testing.assert_allclose(weights, np.concatenate([np.full(data.lengths[i], w[i]) for i in rows]), rtol=1e-6)


def test_an_own_metric_gets_the_weight_of_each_step() -> None:
    """As that of a row, so that it need not know of weights of positions."""
    data, metric = Data(lambda rng, n: rng.normal(size=(n, 1)), 1, "steps"), LargestError()
    t = bp.Trainer(identity(1), bp.MeanSquaredError(), bp.SGD(0.0), 8, metrics=[metric])
    t.evaluate(data.z, data.y, data.given)
    outputs, _, weights = metric.seen[-1]
    z, _, w = data.flat
    assert (w == 0).any() and sorted(weights) == sorted(w[w > 0])
    assert np.sum(outputs[:, 0] * weights) == pytest.approx(np.sum(z[:, 0] * w))


def test_an_own_metric_that_says_nothing_of_steps_is_refused_before_training() -> None:
    class Own(LargestError):
        def result(self, outputs: Any, targets: Any, weights: Any) -> float:
            return 0.0

    class Kept(bp.F1):
        def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
            return z[:, 0], t[:, 0]

    class EndsTime(Kept):
        by_mask = True

    data = Data(lambda rng, n: rng.normal(size=(n, 1)), 1)
    for metric, loss, y, words in (
        (
            Own(),
            bp.MeanSquaredError(),
            data.y,
            r"Own\(\) does not say that it takes each time step as a row, .* by_mask = ",
        ),
        (
            Kept(),
            bp.BinaryCrossEntropy(),
            [t > 0 for t in data.y],
            r"Kept\(\) does not say that it takes each time step",
        ),
        (
            EndsTime(),
            bp.BinaryCrossEntropy(),
            [t > 0 for t in data.y],
            r"are two arrays, .* with 4 rows of 24 time steps",
        ),
    ):
        t = bp.Trainer(identity(1), loss, bp.SGD(), metrics=[metric])
        with pytest.raises(bp.ShapeError, match=words):
            t.fit(data.z, y, verbose=False)
        assert t.step_count == 0
