"""Dense compared with loops over single numbers and with an example worked by hand."""

import numpy as np
import pytest

import gpubp as bp


def test_formulas_agree_with_loops(rng: np.random.Generator) -> None:
    """(1) to (4) of dense.py, number by number."""
    B, n, m = 4, 3, 5
    net = bp.Network(bp.Sequential(bp.Dense(n), bp.Dense(m)), n, device="cpu", dtype="float64")
    W, b = net.parameters["1.W"], net.parameters["1.b"]
    b[...] = rng.normal(size=m)
    X, t = rng.normal(size=(B, n)), rng.normal(size=(B, m))
    x = X @ net.parameters["0.W"] + net.parameters["0.b"]
    y = np.zeros((B, m))
    for i in range(B):
        for j in range(m):
            y[i, j] = b[j]
            for k in range(n):
                y[i, j] += x[i, k] * W[k, j]  # (1)
    assert net.predict(X) == pytest.approx(y, rel=1e-12)
    dy = 2 * (y - t) / m / B
    dW, db, dx = np.zeros((n, m)), np.zeros(m), np.zeros((B, n))
    for i in range(B):
        for j in range(m):
            db[j] += dy[i, j]  # (3)
            for k in range(n):
                dW[k, j] += x[i, k] * dy[i, j]  # (2)
                dx[i, k] += dy[i, j] * W[k, j]  # (4)
    _, gradients = net.loss_and_gradients(bp.MeanSquaredError(), X, t)
    assert gradients["1.W"] == pytest.approx(dW, rel=1e-12)
    assert gradients["1.b"] == pytest.approx(db, rel=1e-12)
    assert gradients["0.b"] == pytest.approx(dx.sum(axis=0), rel=1e-12)
    assert gradients["0.W"] == pytest.approx(X.T @ dx, rel=1e-12)


def test_an_example_worked_by_hand() -> None:
    """x = (1, 2), W = (3 4; 5 6), b = (7, 8): y = (1·3 + 2·5 + 7, 1·4 + 2·6 + 8) = (20, 24)."""
    net = bp.Network(bp.Dense(2), 2, device="cpu")
    net.parameters["W"][...] = [[3, 4], [5, 6]]
    net.parameters["b"][...] = [7, 8]
    assert net.predict([[1, 2]]).tolist() == [[20, 24]]


def test_more_axes_are_more_rows(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Dense(3), (5, 4), device="cpu", dtype="float64")
    x = rng.normal(size=(2, 5, 4))
    assert net.predict(x) == pytest.approx(x @ net.parameters["W"] + net.parameters["b"], rel=1e-12)
