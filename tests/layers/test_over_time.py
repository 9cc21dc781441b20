"""LastStep, MeanOverTime and MaxOverTime against loops over single numbers, and examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.layers import Context, Values, bind

KINDS = [bp.LastStep(), bp.MeanOverTime(), bp.MaxOverTime()]
kinds = pytest.mark.parametrize("layer", KINDS, ids=repr)


def run(layer: bp.Layer, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and dx; twice, since a step's arrays are used again and again."""
    context = Context(get_backend("cpu"), len(x), x.dtype)
    ws = bind(layer, layer.plan(x.shape), context, Values({}, {}, {}), training=True, wants_dx=True)
    for _ in range(2):
        y = layer.forward(ws, x)
        dx = layer.backward(ws, dy)
    assert dx is not None
    return y, dx


def slowly(layer: bp.Layer, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by loops over single numbers."""
    B, T, n = x.shape
    y, dx = np.zeros((B, n)), np.zeros((B, T, n))
    for b in range(B):
        for j in range(n):
            values = [float(x[b, t, j]) for t in range(T)]
            if isinstance(layer, bp.LastStep):
                y[b, j] = values[-1]
                dx[b, T - 1, j] = dy[b, j]
            elif isinstance(layer, bp.MeanOverTime):
                y[b, j] = sum(values) / T
                dx[b, :, j] = dy[b, j] / T
            else:
                y[b, j] = max(values)
                dx[b, values.index(max(values)), j] = dy[b, j]
    return y, dx


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("shape", [(3, 5, 2), (2, 1, 3), (1, 7, 1), (1, 1, 1)], ids=str)
@kinds
def test_results_agree_with_loops(
    layer: bp.Layer, shape: tuple[int, int, int], ties: bool, rng: np.random.Generator
) -> None:
    x = rng.integers(-1, 2, shape).astype(float) if ties else rng.normal(size=shape)
    dy = rng.normal(size=(shape[0], shape[2]))
    for found, expected in zip(run(layer, x, dy), slowly(layer, x, dy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_an_example_worked_by_hand() -> None:
    """x = 1 4 4 2 over time, dy = 8: the mean is 11/4, and the first of the two fours takes all of dy."""
    x, dy = np.array([1.0, 4.0, 4.0, 2.0]).reshape(1, 4, 1), np.array([[8.0]])
    expected = [(2.0, [0, 0, 0, 8]), (2.75, [2, 2, 2, 2]), (4.0, [0, 8, 0, 0])]
    for layer, (y, dx) in zip(KINDS, expected, strict=True):
        found_y, found_dx = run(layer, x, dy)
        assert found_y.item() == y and found_dx.ravel().tolist() == dx, layer


@kinds
def test_what_is_no_sequence_is_refused(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match=r"expects sequences, \(batch, time, numbers\), and got the shape \(1, 4\)"):
        bp.Network(layer, input_shape=4, device="cpu")
