"""What `fit` and `evaluate` are given: weights, validation, the order of rows, and data that they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_trainer import network, trainer

import gpubp as bp
from gpubp.data.checks import split


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(50, 4)), rng.integers(0, 3, 50)


def test_weight_two_equals_the_row_twice(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    w = np.where(np.arange(50) % 3 == 0, 2, 1)
    one, two, three = network(), network(), network()
    a = trainer(one, batch_size=None).fit(X, y, epochs=3, sample_weight=w)
    b = trainer(two, batch_size=None).fit(np.repeat(X, w, axis=0), np.repeat(y, w), epochs=3)
    trainer(three, batch_size=None).fit(X, y, epochs=3)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-12) and one.flat == pytest.approx(two.flat, rel=1e-10)
    assert one.flat != pytest.approx(three.flat, rel=1e-3)


def test_weight_zero_equals_no_row(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    w = (np.arange(50) < 30) * 1.0
    one, two = network(), network()
    trainer(one, batch_size=None).fit(X, y, epochs=3, sample_weight=w)
    trainer(two, batch_size=None).fit(X[:30], y[:30], epochs=3)
    assert one.flat == pytest.approx(two.flat, rel=1e-10)


def test_class_weights_are_row_weights(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    one, two, three = network(), network(), network()
    a = trainer(one).fit(X, y, epochs=2, class_weight={0: 3.0, 2: 0.5})
    b = trainer(two).fit(X, y, epochs=2, sample_weight=np.array([3.0, 1.0, 0.5])[y])
    assert a["loss"] == b["loss"] and np.array_equal(one.flat, two.flat)
    trainer(three).fit(X, y, epochs=2, class_weight="balanced")
    four = network()
    trainer(four).fit(X, y, epochs=2, sample_weight=(50 / (3 * np.bincount(y)))[y])
    assert np.array_equal(three.flat, four.flat)


def test_validation_data_and_evaluate_agree(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net = network()
    t = trainer(net, metrics=("accuracy",), l2=0.1)
    history = t.fit(X[:30], y[:30], epochs=2, validation_data=(X[30:], y[30:]))
    assert t.evaluate(X[30:], y[30:]) == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    accuracy = (net.predict(X[30:]).argmax(axis=1) == y[30:]).mean()
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)
    plain, _ = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X[30:], y[30:], training=False)
    penalty = 0.05 * sum((net.parameters[n] ** 2).sum() for n in ("0.W", "2.W"))
    assert history["val_loss"][-1] == pytest.approx(plain + penalty, rel=1e-12)


def test_a_validation_fraction_is_kept_out_of_training(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net = network()
    t = trainer(net, batch_size=None)
    history = t.fit(X, y, epochs=3, validation_fraction=0.2)
    assert len(history["val_loss"]) == 3 and t.step_count == 3
    seen = split(50, 0.2, seed=0)[0]
    assert len(seen) == 40
    other = network()
    trainer(other, batch_size=None).fit(X[seen], y[seen], epochs=3)
    assert net.flat == pytest.approx(other.flat, rel=1e-12)


def test_the_order_of_an_epoch_may_be_given(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    orders = [np.arange(50)[::-1], np.arange(0, 50, 2)]
    one, two = network(), network()
    trainer(one).fit(X, y, epochs=2, shuffle=lambda epoch, n: orders[epoch])
    t = trainer(two)
    for rows in (orders[0][:32], orders[0][32:], orders[1]):
        t.step(X[rows], y[rows])
    assert one.flat == pytest.approx(two.flat, rel=1e-10)
    for wrong in ([], [50], [-1], [0.5], [[0]]):
        with pytest.raises(bp.DataError, match="shuffle"):
            trainer(network()).fit(X, y, shuffle=lambda epoch, n, wrong=wrong: wrong)


def test_sparse_rows_train_and_predict_as_dense_ones(data: tuple[np.ndarray, np.ndarray]) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = data
    X = np.where(np.abs(X) > 1, X, 0.0)
    results = []
    for given in (X, sparse.csr_array(X), sparse.csc_matrix(X), sparse.coo_array(X), sparse.csr_matrix(X, dtype="f4")):
        net = network(dtype=str(given.dtype))
        trainer(net).fit(given, y, epochs=2, validation_data=(given, y))
        results.append(net.predict(given))
    for result in results[1:4]:
        assert np.array_equal(result, results[0])
    assert results[4] == pytest.approx(results[0], abs=1e-5)
    X[3, 2] = np.nan
    with pytest.raises(bp.DataError, match="nan"):
        net.predict(sparse.csr_array(X))
    with pytest.raises(bp.DataError, match=r"rows of shape \(4,\)"):
        net.predict(sparse.csr_array(np.eye(3)))


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((5, 3)), np.zeros(5, int), r"X has rows of shape \(3,\), and the network takes rows of shape \(4,\)"),
        (np.zeros((5, 2, 2)), np.zeros(5, int), r"X.reshape\(-1, 4\)"),
        (np.zeros(4), np.zeros(1, int), r"X\[None\]"),
        (np.zeros((0, 4)), np.zeros(0, int), "X has no rows"),
        (np.zeros((5, 4)), np.zeros(4, int), "X has 5 rows and y has 4"),
        (np.zeros((2, 4)), np.array([0, 3]), "y holds the class 3, and the network has 3 outputs"),
        (np.zeros((2, 4)), np.array([0, -1]), "y holds the class -1"),
        (np.zeros((2, 4)), np.array([0.0, 0.5]), "needs class indices, whole numbers"),
        (np.zeros((2, 4)), np.array([0.0, np.nan]), "y holds nan in row 1"),
        (np.array([[0.0] * 4, [0, 0, np.inf, 0]]), np.array([0, 1]), "X holds inf in row 1"),
        (np.zeros((2, 4)), np.array([[0.2, 0.2, 0.2]] * 2), "sums to 0.6"),
        (np.array([["a"] * 4] * 2), np.array([0, 1]), "needs numbers"),
        (np.zeros((2, 4)), np.array(["cat", "dog"]), "number the classes"),
        (np.zeros((2, 4)), np.zeros((2, 5)), r"one-hot rows of shape \(3,\)"),
    ],
)
def test_data_that_does_not_fit(X: np.ndarray, y: np.ndarray, words: str) -> None:
    """One clear error, from fit, step and evaluate alike, and nothing trained."""
    net = network()
    before = net.flat.copy()
    t = trainer(net)
    for use in (t.fit, t.step, t.evaluate):
        with pytest.raises(bp.DataError, match=words):
            use(X, y)
    with pytest.raises(bp.DataError, match="in validation_data, "):
        t.fit(np.zeros((2, 4)), [0, 1], validation_data=(X, y))
    assert np.array_equal(net.flat, before) and t.step_count == 0


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sample_weight": np.ones(3)}, "one weight a row"),
        ({"sample_weight": [-1.0] * 50}, "0 or more"),
        ({"sample_weight": np.zeros(50)}, "not all of them zero"),
        ({"class_weight": {7: 1.0}}, "does not hold: 7"),
        ({"class_weight": "even"}, "balanced"),
        ({"class_weight": {0: -2.0}}, "weights are 0 or more"),
        ({"validation_fraction": 1.5}, "between 0 and 1"),
    ],
)
def test_invalid_weights(weights: dict[str, Any], words: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(bp.DataError, match=words):
        trainer(network()).fit(*data, **weights)


def test_metrics_are_weighted_means(data: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    X, y = data
    w = rng.uniform(size=50)
    net = network()
    report = trainer(net, metrics="accuracy").evaluate(X, y, sample_weight=w)
    right = net.predict(X).argmax(axis=1) == y
    assert report["accuracy"] == pytest.approx(np.average(right, weights=w))
    numbers = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=("mae", "mse"))
    t = rng.normal(size=(50, 3))
    report = numbers.evaluate(X, t, sample_weight=w)
    error = net.predict(X) - t
    assert report["mean_absolute_error"] == pytest.approx(np.average(np.abs(error).mean(axis=1), weights=w))
    assert (
        report["mean_squared_error"] == report["loss"] == pytest.approx(np.average((error**2).mean(axis=1), weights=w))
    )
    labels = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.SGD(), metrics="accuracy")
    truth = rng.integers(0, 2, (50, 3))
    agreed = ((net.predict(X) > 0) == truth).mean(axis=1)
    assert labels.evaluate(X, truth, w)["accuracy"] == pytest.approx(np.average(agreed, weights=w))
