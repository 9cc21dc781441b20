"""Softmax and LogSoftmax along any axis and over time, with masks and large numbers; PReLU's slopes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from layer_runs import run

import gpubp as bp

INF = np.inf
BOTH = pytest.mark.parametrize("cls", [bp.Softmax, bp.LogSoftmax])


def alone(layer: bp.Layer, row: Any, dtype: str = "float64") -> bp.Network:
    return bp.Network(layer, row, device="cpu", dtype=dtype)


def passes(layer: bp.Layer, x: Any, dy: Any, dtype: str = "float64") -> tuple[Any, Any]:
    """y and dx of one step of training."""
    return run(layer, {}, np.asarray(x, dtype), np.asarray(dy, dtype))[:2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_minus_infinity_masks_a_place(dtype: str) -> None:
    x, dy = [[0.0, -INF, 0.0, -INF], [-INF, -INF, -INF, 7.0]], np.arange(8.0).reshape(2, 4)
    y, dx = passes(bp.Softmax(), x, dy, dtype)
    assert y.tolist() == [[0.5, 0, 0.5, 0], [0, 0, 0, 1]]
    assert dx.tolist() == [[-0.5, 0, 0.5, 0], [0, 0, 0, 0]]
    y, dx = passes(bp.LogSoftmax(), x, dy, dtype)
    assert np.exp(y[1]).tolist() == [0, 0, 0, 1] and y[0, 1] == -INF and y[0, 0] == pytest.approx(-np.log(2))
    assert np.isfinite(dx).all() and dx[0] == pytest.approx([-3, 1, -1, 3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_numbers_are_stable(dtype: str) -> None:
    x = np.array([[1e30, 1e30, 0.0], [-1e30, 0.0, 1.0], [1000.0, 999.0, -1000.0]])
    dy = np.ones((3, 3))
    y, dx = passes(bp.Softmax(), x, dy, dtype)
    assert np.abs(y.sum(axis=1) - 1).max() < 1e-6 and np.abs(dx).max() < 1e-6 and y[0].tolist() == [0.5, 0.5, 0.0]
    y, dx = passes(bp.LogSoftmax(), x, dy, dtype)
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    assert y[2].tolist() == pytest.approx([-0.3132617, -1.3132617, -2000.3132617], rel=1e-6)


@BOTH
@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_any_axis_is_that_of_a_transposed_input(cls: Any, axis: int) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 3, 4, 5, 6))[:, :, :, 0], rng.normal(size=(2, 3, 4, 6))
    y, dx = passes(cls(axis), x, dy)
    turned = [np.moveaxis(a, axis, -1) for a in (x, dy)]
    for found, wanted in zip((y, dx), passes(cls(), *turned), strict=True):
        np.testing.assert_array_equal(np.moveaxis(found, axis, -1), wanted)


@BOTH
def test_axes_that_cannot_be_are_named(cls: Any) -> None:
    for axis, row in ((0, (3, 4)), (-3, (3, 4)), (-1, ()), (0, (4,))):
        with pytest.raises(bp.ShapeError, match="which is the batch's; each row is by itself"):
            cls(axis).plan((5, *row))
    for axis, row in ((3, (3, 4)), (-4, (3, 4)), (2, (4,))):
        with pytest.raises(bp.ShapeError, match=f"works along axis {axis}, and its inputs have {len(row) + 1} axes"):
            alone(cls(axis), row)
    with pytest.raises(ValueError, match="axis to be a whole number"):
        cls(1.5)
    assert cls(np.int64(2)) == cls(2) and pickle.loads(pickle.dumps(cls(1))) == cls(axis=1)


@BOTH
def test_along_time_rows_have_the_numbers_of_their_own_steps(cls: Any) -> None:
    """For padding of any size, and gradients are those of the steps alone."""
    rng = np.random.default_rng(0)
    rows = [100 * rng.normal(size=(n, 3)) for n in (4, 1, 9)]
    for layer in (cls(1), cls(-2), cls(), bp.Sequential(bp.Dense(2), cls(axis=1))):
        net = alone(layer, (None, 3))
        for row, y in zip(rows, net.predict(rows), strict=True):
            other = alone(layer, (len(row), 3))
            for name, a in net.parameters.items():
                other.parameters[name][...] = a
            np.testing.assert_allclose(y, other.predict([row])[0], rtol=1e-12, atol=1e-12)
        assert max(bp.gradcheck(layer, (4, 5, 3), lengths=[5, 1, 0, 4]).errors.values()) < 1e-7
    with np.errstate(over="raise"):
        found = alone(cls(), (None,)).predict([np.array([1.0, 2.0]), np.array([3.0])])  # whose last axis is time
    assert found[1].tolist() == ([1.0] if cls is bp.Softmax else [0.0])


@pytest.mark.parametrize(
    ("slopes", "a"), [("single", [-9.0]), ("channel", [-4.0, -5.0]), ("each", [[-1.0, -2.0], [-3.0, -3.0]])]
)
def test_slopes_are_shared_as_they_say(slopes: Any, a: Any) -> None:
    """da sums dy min(x, 0) over all places that share a slope."""
    x = np.array([[[-1.0, -2.0], [-3.0, 5.0]], [[2.0, 0.0], [0.0, -3.0]]])
    y, dx, gradients = run(bp.PReLU(slopes), {"a": np.full(np.shape(a), 0.25)}, x)
    assert y.tolist() == [[[-0.25, -0.5], [-0.75, 5]], [[2, 0], [0, -0.75]]]
    assert dx.tolist() == [[[0.25, 0.25], [0.25, 1]], [[1, 0.25], [0.25, 0.25]]]
    assert gradients["a"].tolist() == a


def test_weight_decay_leaves_slopes_alone_and_steps_of_any_number_need_shared_ones() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.PReLU()), 3, device="cpu")
    assert not net.declared["1.a"].decay and net.declared["0.W"].decay
    before = net.parameters["1.a"].copy()
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.AdamW(0.1, weight_decay=10.0), batch_size=2)
    trainer.fit(np.zeros((2, 3)), np.zeros((2, 2)), epochs=1, verbose=False)
    assert (net.parameters["1.a"] == before).all()
    assert bp.gradcheck(bp.PReLU(), (4, 5, 3), lengths=[5, 1, 0, 4])
    with pytest.raises(bp.ShapeError, match="give all rows one length"):
        alone(bp.PReLU("each"), (None, 3))
    with pytest.raises(bp.ShapeError, match="expects rows of numbers"):
        bp.PReLU().plan((5,))
    with pytest.raises(ValueError, match='slopes to be "channel", or "single", or "each"'):
        bp.PReLU("shared")  # type: ignore[arg-type]
