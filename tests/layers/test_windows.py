"""The arithmetic of windows against single places, one by one, and against PyTorch's sizes."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.layers.windows import Axis, Windows, axis_of, windows_of, windows_over_time

PADDINGS: list[Any] = ["valid", "same", "same_lower", "causal", 1, (0, 2), (3, 1)]
AXES = [
    (n, k, s, d, padding, ceil)
    for n, k, s, d, padding, ceil in product(range(1, 9), (1, 2, 3), (1, 2, 3), (1, 2, 3), PADDINGS, (False, True))
    if axis_of(n, k, s, padding, d, ceil).outputs >= 1
]


def places(axis: Axis) -> list[list[int]]:
    """The place of each tap of each output."""
    return [[o * axis.s + t * axis.d - axis.p for t in range(axis.k)] for o in range(axis.outputs)]


def test_taps_are_the_places_of_the_formula() -> None:
    for n, k, s, d, padding, ceil in AXES:
        axis = axis_of(n, k, s, padding, d, ceil)
        at = places(axis)
        for t, (first, end) in product(range(k), [(0, None), (1, None), (0, 1), (1, axis.outputs)]):
            outputs, under = axis.tap(t, first, end)
            seen = [(o, at[o][t]) for o in range(axis.outputs)[first:end] if 0 <= at[o][t] < n]
            assert list(zip(range(axis.outputs)[outputs], range(n)[under], strict=True)) == seen
        assert axis.padded == max([axis.p + n, *(window[-1] + axis.p + 1 for window in at)])
        for o, window in enumerate(at):
            assert axis.inside(o) == sum(0 <= i < n for i in window)
            assert axis.inside(o, padding=True) == sum(-axis.p <= i < n + axis.q for i in window)


def test_apart_and_tiled_are_said_of_the_places() -> None:
    for k, s, d in product((1, 2, 3, 4), range(1, 8), (1, 2, 3, 4)):
        axis = axis_of(60, k, s, "valid", d)
        found = [i for window in places(axis) for i in window]
        assert axis.apart == (len(set(found)) == len(found)), (k, s, d)
        assert axis.tiled == (sorted(found) == list(range(60)) and s >= k), (k, s, d)
    both = windows_of((1, 6, 6, 1), (2, 2), (2, 1), "valid")
    assert not both.apart and not both.tiled and windows_of((1, 6, 6, 1), (2, 3), (2, 3), "valid").tiled


def test_paddings_by_name() -> None:
    """As Keras: ⌈n/s⌉ outputs; the places that the image lacks are halved, the odd one where the name says."""
    for n, k, s, d in product(range(1, 9), (1, 2, 3, 4), (1, 2, 3), (1, 2)):
        behind, front, causal = (axis_of(n, k, s, p, d) for p in ("same", "same_lower", "causal"))
        lacks = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        assert behind.outputs == front.outputs == causal.outputs == math.ceil(n / s)
        assert (behind.p, behind.q) == (front.q, front.p) == (lacks // 2, lacks - lacks // 2)
        assert causal.p == (k - 1) * d and causal.q == 0
        assert all(max(window) <= o * s for o, window in enumerate(places(causal)))
        for axis in (behind, front, causal):  # the same in numbers
            assert axis_of(n, k, s, (axis.p, axis.q), d) == axis


def test_sizes_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for n, k, s, d, ceil in product(range(2, 9), (2, 3), (1, 2, 3, 4), (1, 2), (False, True)):
        p = k // 2
        axis = axis_of(n, k, s, p, d, ceil)
        if axis.outputs >= 1 and n + 2 * p >= axis.span:
            y = torch.nn.functional.max_pool1d(torch.zeros(1, 1, n), k, s, p, d, ceil)
            assert axis.outputs == y.shape[2], (n, k, s, d, ceil)


def test_one_two_or_three_axes() -> None:
    volumes = windows_of((2, 5, 6, 7, 3), (2, 3, 1), (1, 2, 1), ((1, 0), (0, 1), (0, 0)), (2, 1, 1))
    assert volumes.shape == (4, 3, 7) and len(volumes.taps) == 6 and volumes.taps[:2] == [(0, 0, 0), (0, 1, 0)]
    assert volumes[0] == axis_of(5, 2, 1, (1, 0), 2) and volumes.padding
    steps = windows_of((2, 9, 3), (3,), (1,), (2, 0))
    assert steps == Windows((axis_of(9, 3, 1, (2, 0)),)) and steps.taps == [(0,), (1,), (2,)]
    assert windows_over_time((2, 9, 3), 3, 2, "causal", dilation=2) == (
        Axis(1, 1, 1, 0, 1), Axis(9, 3, 2, 4, 5, 2, 0)
    )  # fmt: skip
    assert windows_over_time((2, 5, 3), 2, 2, "valid", ceil_mode=True).columns.outputs == 3


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda: windows_of((2, 4, 9, 1), (3, 1), (1, 1), "valid", 2), r"windows of 3 x 1, which the dilation spreads "
         "over 5 x 1 and got images of 4 x 9, which are smaller; take"),
        (lambda: windows_of((2, 4, 1), (5,), (1,), "valid"), "windows of 5 steps and got sequences of 4, which are s"),
        (lambda: windows_of((2, 4, 1), (1, 1, 1), (1, 1, 1), 0), r"expects volumes \(batch, depth, height, width, ch"),
        (lambda: windows_of((2, 4, 5, 6), (1, 1, 1), (1, 1, 1), 0), r"grey volumes want .* Reshape\(\(4, 5, 6, 1\)\)"),
    ],
)  # fmt: skip
def test_errors_say_what_was_looked_at(look: Any, message: str) -> None:
    with pytest.raises(bp.ShapeError, match=message):
        look()


@pytest.mark.parametrize("kind", [bp.MaxPool2D, bp.AvgPool2D])
def test_poolings_take_a_padding_for_each_side(kind: Any, rng: np.random.Generator) -> None:
    layer, x = kind(2, 1, padding=((1, 0), (0, 1))), rng.normal(size=(2, 3, 4, 2))
    bp.gradcheck(layer, x.shape)
    y = bp.Network(layer, x.shape[1:], device="cpu").predict(x)
    padded = np.pad(x.astype("float32"), ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 2), (1, 2))
    np.testing.assert_allclose(y, (np.nanmax if kind is bp.MaxPool2D else np.nanmean)(windows, (-2, -1)), rtol=1e-6)
    with pytest.raises(ValueError, match="needs padding smaller than its windows"):
        kind(2, padding=((0, 2), (0, 0)))
    with pytest.raises(ValueError, match="or two of them, or two pairs of them, and got"):
        kind(2, padding=((0, 2), (0, 0), (1, 1)))
