"""Global and adaptive poolings against loops over single numbers and PyTorch, with ties, in all numbers of axes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from layer_runs import run

import gpubp as bp
from gpubp.layers.adaptive_pooling import adaptive_windows, longest_window

GLOBAL = {
    1: (bp.GlobalAvgPool1D, bp.GlobalMaxPool1D),
    2: (bp.GlobalAvgPool2D, bp.GlobalMaxPool2D),
    3: (bp.GlobalAvgPool3D, bp.GlobalMaxPool3D),
}
ADAPTIVE: dict[int, tuple[Any, Any]] = {
    1: (bp.AdaptiveAvgPool1D, bp.AdaptiveMaxPool1D),
    2: (bp.AdaptiveAvgPool2D, bp.AdaptiveMaxPool2D),
    3: (bp.AdaptiveAvgPool3D, bp.AdaptiveMaxPool3D),
}
SIZES: list[tuple[Any, tuple[int, ...]]] = [
    (3, (7,)),
    (4, (3,)),  # more outputs than steps
    (1, (5,)),
    ((3, 4), (5, 6)),
    ((2, 3), (4, 7)),  # one axis is divided without a rest
    (1, (4, 3)),
    ((5, None), (3, 4)),
    ((2, 3, 2), (3, 4, 4)),
    ((None, 1, 5), (2, 5, 7)),
]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], ties: bool) -> np.ndarray:
    return rng.integers(-1, 2, shape).astype(float) if ties else rng.normal(size=shape)


def by_loops(x: np.ndarray, dy: np.ndarray, sizes: tuple[int, ...], largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """y and dx, window by window and number by number."""
    y, dx, space = np.zeros_like(dy), np.zeros_like(x), x.shape[1:-1]
    for at in product(*map(range, sizes)):
        ranges = [
            range(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(at, space, sizes, strict=True)
        ]
        places = list(product(*ranges))
        for b, c in product(range(len(x)), range(x.shape[-1])):
            values = [x[(b, *place, c)] for place in places]
            to = (b, *at, c)
            if largest:
                y[to] = max(values)
                dx[(b, *places[values.index(max(values))], c)] += dy[to]
            else:
                y[to] = sum(values) / len(values)
                for place in places:
                    dx[(b, *place, c)] += dy[to] / len(values)
    return y, dx


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize(("size", "space"), SIZES, ids=repr)
def test_adaptive_poolings(size: Any, space: tuple[int, ...], ties: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    d = len(space)
    x = numbers(rng, (2, *space, 3), ties)
    sizes = tuple(n if m is None else m for m, n in zip(np.broadcast_to(size, d).tolist(), space, strict=True))
    dy = rng.normal(size=(2, *sizes, 3))
    for layer, name in zip(ADAPTIVE[d], ("avg", "max"), strict=True):
        y, dx, _ = run(layer(size), {}, x, dy)
        their_x = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
        theirs = getattr(torch.nn.functional, f"adaptive_{name}_pool{d}d")(their_x, size)
        theirs.backward(torch.tensor(np.moveaxis(dy, -1, 1).copy()))
        expected = by_loops(x, dy, sizes, name == "max")
        for want_y, want_dx in (
            expected,
            (np.moveaxis(theirs.detach().numpy(), 1, -1), np.moveaxis(their_x.grad.numpy(), 1, -1)),
        ):
            np.testing.assert_allclose(y, want_y, rtol=0, atol=1e-14)
            np.testing.assert_allclose(dx, want_dx, rtol=0, atol=1e-14)
        bp.gradcheck(layer(size), (2, *space, 3))


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("space", [(5,), (3, 4), (1, 1), (2, 3, 4)], ids=repr)
def test_global_poolings(space: tuple[int, ...], ties: bool, rng: np.random.Generator) -> None:
    """Those are adaptive poolings to one place."""
    d, x, dy = len(space), numbers(rng, (2, *space, 3), ties), rng.normal(size=(2, 3))
    for layer, largest in zip(GLOBAL[d], (False, True), strict=True):
        y, dx, _ = run(layer(), {}, x, dy)
        want_y, want_dx = by_loops(x, dy.reshape(2, *(1,) * d, 3), (1,) * d, largest)
        np.testing.assert_allclose(y, want_y.reshape(2, 3), rtol=0, atol=1e-14)
        np.testing.assert_allclose(dx, want_dx, rtol=0, atol=1e-14)
        bp.gradcheck(layer(), (2, *space, 3))


def test_names_that_people_look_for() -> None:
    """Over time they are the layers that go by the lengths of rows."""
    assert bp.GlobalAvgPool1D is bp.MeanOverTime and bp.GlobalMaxPool1D is bp.MaxOverTime


def test_numbers_that_are_not_finite() -> None:
    """NaN is largest, as in NumPy, and nothing goes back to it; infinities are numbers like others."""
    x = np.array([1.0, np.nan, 3.0, 4.0, -np.inf, np.inf]).reshape(1, 3, 2, 1)
    y, dx, _ = run(bp.GlobalMaxPool2D(), {}, x)
    assert np.isnan(y).all() and not dx.any()
    y, dx, _ = run(bp.AdaptiveMaxPool2D((3, 1)), {}, x)
    np.testing.assert_array_equal(y.ravel(), [np.nan, 4.0, np.inf])
    np.testing.assert_array_equal(dx.ravel(), [0, 0, 0, 1, 0, 1])
    lowest = np.full((1, 2, 2, 1), -np.inf)
    assert run(bp.GlobalMaxPool2D(), {}, lowest)[1].ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("layer", [bp.GlobalMaxPool2D(), bp.GlobalAvgPool3D(), bp.AdaptiveAvgPool2D(2)], ids=repr)
def test_other_shapes_are_refused(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match=r"expects (images|volumes) \(batch"):
        bp.Network(layer, input_shape=(28, 28), device="cpu")


@pytest.mark.parametrize("size", [0, (3,), (3, 4, 5), (2.5, 1)], ids=repr)
def test_wrong_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="AdaptiveMaxPool2D needs size to be a whole number"):
        bp.AdaptiveMaxPool2D(size)


def test_the_longest_window_is_known_without_the_others() -> None:
    for n, m in product(range(1, 41), repeat=2):
        assert longest_window(n, m) == max(end - first for first, end in adaptive_windows(n, m)), (n, m)
    assert longest_window(10**18 + 1, 10**18) == 2
