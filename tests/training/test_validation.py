"""The rows of validation: the same numbers however they are given; class weights stay out, row weights count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data.checks import split


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = rng.normal(size=(60, 4))
    return X, (X[:, 0] > 0.8) * 1 + (X[:, 1] > 0)


def trainer() -> bp.Trainer:
    net = bp.Network(bp.Sequential(bp.Dense(6), bp.Tanh(), bp.Dense(3)), 4, device="cpu")
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.3), batch_size=8, seed=3, metrics="accuracy")


@pytest.mark.parametrize("class_weight", [None, {1: 7.0}, "balanced"], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_fraction_and_the_same_rows_as_validation_data_give_the_same_numbers(
    class_weight: Any, weighted: bool, data: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = data
    w = np.linspace(0.1, 2.0, 60)
    training, held = split(60, 0.3, seed=3)

    def of(rows: np.ndarray) -> np.ndarray | None:
        return w[rows] if weighted else None

    one, two = trainer(), trainer()
    a = one.fit(
        X, y, epochs=4, shuffle=False, validation_fraction=0.3, class_weight=class_weight,
        sample_weight=w if weighted else None,
    )  # fmt: skip
    b = two.fit(
        X[training], y[training], epochs=4, shuffle=False, class_weight=class_weight, sample_weight=of(training),
        validation_data=(X[held], y[held], of(held)),
    )  # fmt: skip
    assert {0, 1} <= set(y[held]) and dict(a) == dict(b) and np.array_equal(one.network.flat, two.network.flat)
    assert two.evaluate(X[held], y[held], of(held)) == {"loss": a["val_loss"][-1], "accuracy": a["val_accuracy"][-1]}
    if not weighted:
        right = one.network.predict(X[held]).argmax(axis=1) == y[held]
        assert a["val_accuracy"][-1] == pytest.approx(right.mean())  # no class counts for more


def test_early_stopping_goes_by_unweighted_rows(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    training, held = split(60, 0.3, seed=3)
    stops = []
    ways: list[tuple[np.ndarray, dict[str, Any]]] = [
        (np.arange(60), {"validation_fraction": 0.3}),
        (training, {"validation_data": (X[held], y[held])}),
    ]
    for rows, options in ways:
        stop = bp.EarlyStopping("val_loss", patience=2)
        trainer().fit(X[rows], y[rows], epochs=40, shuffle=False, class_weight={1: 9.0}, callbacks=[stop], **options)
        stops.append((stop.best_epoch, stop.best))
    assert stops[0] == stops[1]


def test_weights_of_rows_held_out_weigh_validation(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    _, held = split(60, 0.3, seed=3)
    w = np.ones(60)
    w[held[1:]] = 0.0  # one row counts
    one = trainer()
    history = one.fit(X, y, epochs=1, validation_fraction=0.3, sample_weight=w)
    assert history["val_accuracy"][-1] == float(one.network.predict(X[held[:1]]).argmax() == y[held[0]])
    for rows in (held, split(60, 0.3, seed=3)[0]):
        w = np.ones(60)
        w[rows] = 0.0
        with pytest.raises(bp.DataError, match="sample_weight is 0 in all rows that validation_fraction holds out"):
            trainer().fit(X, y, validation_fraction=0.3, sample_weight=w)


@pytest.mark.parametrize("fraction", ["0.1", True, 1, 1.0, 1.5, -0.1, float("nan"), [0.1], np.bool_(True), 0.5j])
def test_fractions_that_can_not_be(fraction: Any, data: tuple[np.ndarray, np.ndarray]) -> None:
    one = trainer()
    with pytest.raises(bp.DataError, match="validation_fraction must lie between 0 and 1, and is "):
        one.fit(*data, validation_fraction=fraction)
    assert one.step_count == 0


def test_fractions_that_can_be(data: tuple[np.ndarray, np.ndarray]) -> None:
    expected = trainer().fit(*data, validation_fraction=float(np.float32(0.2)))
    assert dict(trainer().fit(*data, validation_fraction=np.float32(0.2))) == dict(expected)
    for none in (0, 0.0, np.float64(0), None):
        assert list(trainer().fit(*data, validation_fraction=none)) == ["loss", "accuracy"]


WRONG: dict[str, list[Any]] = {
    "X": ["a", None, 3.0, {"a": 1}, object()],
    "y": ["a", None, {"a": 1}, object(), [None] * 60],
    "epochs": ["2", 2.0, None, -1, True, [2]],
    "shuffle": ["no", None, 1, 0.5, [1, 2]],
    "sample_weight": ["a", 3.0, {"a": 1}, [None] * 60, [-1.0] * 60, object()],
    "class_weight": ["a", 3.0, True, [1.0, 2.0, 1.0], {9: 1.0}, {0: "a"}, object()],
    "validation_data": ["a", 3.0, True, [1], object(), {"X": 1}],
    "validation_fraction": ["a", True, [0.1], {"a": 1}, object()],
    "callbacks": ["a", 3.0, True, [print], object()],
    "verbose": ["yes", 0.5, -1, [True], object()],
}  # fmt: skip


def test_every_argument_of_fit_has_wrong_values_here() -> None:
    import inspect

    assert WRONG.keys() == inspect.signature(bp.Trainer.fit).parameters.keys() - {"self"}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_values_are_refused_by_name(name: str, value: Any, data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    one = trainer()
    with pytest.raises((ValueError, TypeError), match=name):
        one.fit(**({"X": X, "y": y} | {name: value}))
    assert one.step_count == 0
