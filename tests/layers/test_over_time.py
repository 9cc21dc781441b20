"""LastStep, MeanOverTime and MaxOverTime against loops over single numbers, and examples worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_runs import run as run_layer

import gpubp as bp

KINDS = [bp.LastStep(), bp.MeanOverTime(), bp.MeanOverTime(root=True), bp.MaxOverTime()]
kinds = pytest.mark.parametrize("layer", KINDS, ids=repr)


def run(layer: bp.Layer, x: np.ndarray, dy: np.ndarray, lengths: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """y and dx"""
    return run_layer(layer, {}, x, dy, lengths)[:2]


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
                share = T**-0.5 if layer.root else 1 / T
                y[b, j] = sum(values) * share
                dx[b, :, j] = dy[b, j] * share
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
    """x = 1 4 4 2 over time, dy = 8: the mean is 11/4, with root 11/2, and the first of the two fours takes all
    of dy."""
    x, dy = np.array([1.0, 4.0, 4.0, 2.0]).reshape(1, 4, 1), np.array([[8.0]])
    expected = [(2.0, [0, 0, 0, 8]), (2.75, [2, 2, 2, 2]), (5.5, [4, 4, 4, 4]), (4.0, [0, 8, 0, 0])]
    for layer, (y, dx) in zip(KINDS, expected, strict=True):
        found_y, found_dx = run(layer, x, dy)
        assert found_y.item() == y and found_dx.ravel().tolist() == dx, layer


def test_lengths_worked_by_hand() -> None:
    """x = 1 4 | 9 9 of length 2, and a row without a step: padding counts for nothing, and no step gives 0."""
    x, dy = np.array([[1.0, 4.0, 9.0, 9.0], [9.0] * 4]).reshape(2, 4, 1), np.array([[8.0], [8.0]])
    r = 1 / 2**0.5
    expected = [(4.0, [0, 8, 0, 0]), (2.5, [4, 4, 0, 0]), (5.0 * r, [8.0 * r, 8.0 * r, 0, 0]), (4.0, [0, 8, 0, 0])]
    for layer, (y, dx) in zip(KINDS, expected, strict=True):
        found_y, found_dx = run(layer, x, dy, [2, 0])
        assert found_y.tolist() == [[y], [0.0]] and found_dx[0].ravel().tolist() == dx, layer
        assert not found_dx[1].any()


@pytest.mark.parametrize("shape", [(4, 6, 2), (4, 6, 1)], ids=str)
@kinds
def test_gradients_are_right_with_lengths(layer: bp.Layer, shape: tuple[int, int, int]) -> None:
    bp.gradcheck(layer, shape, lengths=[6, 0, 1, 4], directions=1)
    bp.gradcheck(bp.Sequential(bp.Dense(2), layer), (1, 1, 3), lengths=[1], directions=1)


@kinds
def test_padding_of_any_length_changes_no_bit(layer: bp.Layer, rng: np.random.Generator) -> None:
    """Of rows of several numbers: sums go over time step by step."""
    x, dy, lengths = rng.normal(size=(3, 40, 5)), rng.normal(size=(3, 5)), [7, 3, 1]
    y, dx = run(layer, x, dy, lengths)
    short_y, short_dx = run(layer, x[:, :7].copy(), dy, lengths)
    np.testing.assert_array_equal(y, short_y)
    np.testing.assert_array_equal(dx[:, :7], short_dx)


@kinds
def test_what_is_no_sequence_is_refused(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match=r"expects sequences, \(batch, time, numbers\), and got the shape \(1, 4\)"):
        bp.Network(layer, input_shape=4, device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_number_may_be_very_small(dtype: str) -> None:
    """Smaller than all that stands in the padding, and -∞ is a number like others."""
    lowest = float(np.finfo(dtype).min)
    x = np.array([[lowest, lowest, 0.0], [-np.inf, lowest, 9.0], [-np.inf, -np.inf, 9.0], [9.0] * 3])[:, :, None]
    y, dx = run_layer(bp.MaxOverTime(), {}, x.astype(dtype), np.full((4, 1), 8.0, dtype), [2, 2, 2, 0])[:2]
    assert y.ravel().tolist() == [lowest, lowest, -np.inf, 0.0]
    assert dx[:, :, 0].tolist() == [[8, 0, 0], [0, 8, 0], [8, 0, 0], [0, 0, 0]]


def test_nan_in_a_step_comes_out() -> None:
    """A NaN of the row itself comes out, with lengths as without."""
    x = np.array([[1.0, np.nan, 3.0, 9.0]])[:, :, None]
    assert np.isnan(run(bp.MaxOverTime(), x, np.ones((1, 1)), [3])[0]).all()
    assert np.isnan(run(bp.MaxOverTime(), x[:, :3].copy(), np.ones((1, 1)))[0]).all()
