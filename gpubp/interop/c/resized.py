"""Calls of layers that make the axes of images shorter or longer, one axis at a time: see `resized_library`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...layers.adaptive_pooling import AdaptiveAvgPool, AdaptiveMaxPool
from ...layers.global_pooling import GlobalAvgPool, GlobalMaxPool
from ...layers.padding import Cropping, Padding, sides_of
from ...layers.upsampling import UpSampling
from ...layers.windows import each
from .code import Argument, Code, Value
from .lowering import lowers

MODES = ("constant", "reflect", "edge", "wrap")


@lowers(GlobalAvgPool)
def global_average(code: Code, layer: GlobalAvgPool, x: Value, path: str, keep: bool) -> Value:
    """The mean of each channel."""
    places, y = math.prod(x.shape[:-1]), code.new(x.shape[-1:])
    code.call("sum_rows", x, y, 1.0 / places, places, x.shape[-1])
    return y


@lowers(GlobalMaxPool)
def global_largest(code: Code, layer: GlobalMaxPool, x: Value, path: str, keep: bool) -> Value:
    """The largest number of each channel."""
    y = code.new(x.shape[-1:])
    code.call("largest_of_rows", x, y, math.prod(x.shape[:-1]), x.shape[-1])
    return y


@lowers(AdaptiveAvgPool, AdaptiveMaxPool)
def adaptive(code: Code, layer: AdaptiveAvgPool | AdaptiveMaxPool, x: Value, path: str, keep: bool) -> Value:
    """The mean or the largest number of each window, axis by axis."""
    largest = isinstance(layer, AdaptiveMaxPool)
    name = "adaptive_largest" if largest else "adaptive_average"
    lengths = layer.plan((1, *x.shape)).output[1:-1]
    return _axis_by_axis(code, x, lengths, lambda a, outer, n, inner: (name, (outer, n, lengths[a], inner)))


@lowers(UpSampling)
def upsampling(code: Code, layer: UpSampling, x: Value, path: str, keep: bool) -> Value:
    """Places again, or numbers between them, axis by axis."""
    factors = each(layer.size, layer.axes)

    def call(a: int, outer: int, n: int, inner: int) -> tuple[str, tuple[Argument, ...]]:
        if layer.interpolation == "nearest":
            return "repeat", (outer * n, factors[a], inner)
        return "between", (outer, n, factors[a], inner)

    return _axis_by_axis(code, x, [f * n for f, n in zip(factors, x.shape, strict=False)], call)


@lowers(Padding)
def padding(code: Code, layer: Padding, x: Value, path: str, keep: bool) -> Value:
    """New places at both ends of each axis."""
    sides = sides_of(layer.padding, layer.axes)
    mode = MODES.index(layer.mode)
    return _axis_by_axis(
        code,
        x,
        [p + n + q for (p, q), n in zip(sides, x.shape, strict=False)],
        lambda a, outer, n, inner: ("pad", (outer, n, inner, *sides[a], mode, float(layer.value))),
    )


@lowers(Cropping)
def cropping(code: Code, layer: Cropping, x: Value, path: str, keep: bool) -> Value:
    """Less places at both ends of each axis."""
    sides = sides_of(layer.cropping, layer.axes)
    lengths = [n - p - q for (p, q), n in zip(sides, x.shape, strict=False)]
    return _axis_by_axis(
        code, x, lengths, lambda a, outer, n, inner: ("crop", (outer, n, lengths[a], sides[a][0], inner))
    )


def _axis_by_axis(
    code: Code,
    x: Value,
    lengths: Any,
    call: Callable[[int, int, int, int], tuple[str, tuple[Argument, ...]]],
) -> Value:
    """A call for each axis whose length changes, the last first. call: (axis, outer, n, inner) -> function and what
    follows x and y among its arguments."""
    for a in range(len(lengths) - 1, -1, -1):
        n = x.shape[a]
        if lengths[a] != n:
            name, arguments = call(a, math.prod(x.shape[:a]), n, math.prod(x.shape[a + 1 :]))
            y = code.new((*x.shape[:a], lengths[a], *x.shape[a + 1 :]))
            code.call(name, x, y, *arguments)
            x = y
    return x
