"""ONNX nodes of layers that make the axes of images shorter or longer, with the channels behind the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...layers.adaptive_pooling import AdaptiveAvgPool, AdaptiveMaxPool, adaptive_windows
from ...layers.global_pooling import GlobalAvgPool, GlobalMaxPool
from ...layers.padding import Cropping, Padding, sides_of
from ...layers.upsampling import UpSampling
from ...layers.windows import each
from .graph import Graph, Value
from .lowering import lowers


@lowers(GlobalAvgPool)
def global_average(g: Graph, layer: GlobalAvgPool, x: Value, path: str) -> Value:
    """The mean of each channel."""
    return _global(g, x, "GlobalAveragePool", "ReduceMean")


@lowers(GlobalMaxPool)
def global_largest(g: Graph, layer: GlobalMaxPool, x: Value, path: str) -> Value:
    """The largest number of each channel."""
    return _global(g, x, "GlobalMaxPool", "ReduceMax")


def _global(g: Graph, x: Value, op: str, in_float64: str) -> Value:
    """onnxruntime has the global poolings in float32 alone."""
    x, shape = g.channels_first(x), (x.shape[0], x.shape[-1])
    space = range(2, len(x.shape))
    if g.dtype == np.float64:
        return g.node(in_float64, [x, g.whole(*space)], shape, keepdims=0)
    y = g.node(op, [x], (x.shape[0], *(1 for _ in space), x.shape[-1]), True)
    return g.node("Flatten", [y], shape, axis=1)


@lowers(AdaptiveAvgPool, AdaptiveMaxPool)
def adaptive(g: Graph, layer: AdaptiveAvgPool | AdaptiveMaxPool, x: Value, path: str) -> Value:
    """The mean or the largest number of each window: a pooling where all are of one length, and else one by one."""
    largest = isinstance(layer, AdaptiveMaxPool)
    space, shape = _space(x), layer.plan((1, *_lengths(x))).output
    made, x = (x.shape[0], *shape[1:]), g.channels_first(x)
    if all(n % m == 0 for n, m in zip(space, shape[1:-1], strict=True)):
        kernel = [n // m for n, m in zip(space, shape[1:-1], strict=True)]
        op = "MaxPool" if largest else "AveragePool"
        return g.node(op, [x], made, True, kernel_shape=kernel, strides=kernel)
    op = "ReduceMax" if largest else "ReduceMean"
    for a in range(len(space), 0, -1):  # gpubp's axis, and behind the channels it is one further
        m, parts = int(shape[a]), []
        for first, end in adaptive_windows(int(x.shape[a]), m) if m != x.shape[a] else ():
            window = (*x.shape[:a], end - first, *x.shape[a + 1 :])
            part = g.node("Slice", [x, g.whole(first), g.whole(end), g.whole(a + 1)], window, True)
            parts.append(g.node(op, [part, g.whole(a + 1)], (*x.shape[:a], 1, *x.shape[a + 1 :]), True, keepdims=1))
        if parts:
            x = g.node("Concat", parts, (*x.shape[:a], m, *x.shape[a + 1 :]), True, axis=a + 1)
    return x


@lowers(UpSampling)
def upsampling(g: Graph, layer: UpSampling, x: Value, path: str) -> Value:
    """Places again, or numbers between them; onnxruntime has Resize in float32 alone."""
    factors, nearest = each(layer.size, layer.axes), layer.interpolation == "nearest"
    x, space = g.channels_first(x), _space(x)
    shape = (x.shape[0], *(f * n for f, n in zip(factors, space, strict=True)), x.shape[-1])
    if g.dtype == np.float64:
        return _repeated(g, x, factors, shape) if nearest else _between(g, x, factors)
    scales = g.constant(np.asarray([1, 1, *factors], np.float32), "scales")
    way = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
    if nearest:
        way = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    return g.node("Resize", [x, "", scales], shape, True, **way)


def _repeated(g: Graph, x: Value, factors: tuple[int, ...], shape: tuple[Any, ...]) -> Value:
    """Each place with an axis of length f behind it, in which it stands f times."""
    behind = [4 + 2 * a - 1 for a in range(len(factors))]
    apart: list[Any] = [x.shape[0], x.shape[-1]]
    repeated: list[Any] = list(apart)
    for n, f in zip(_space(x), factors, strict=True):
        apart, repeated = [*apart, n, 1], [*repeated, n, f]
    ones = [1 if a not in behind else factors[behind.index(a)] for a in range(len(repeated))]
    y = g.node("Unsqueeze", [x, g.whole(*behind)], apart)
    y = g.node("Expand", [y, g.whole(*ones)], repeated)
    return g.node("Reshape", [y, g.whole(0, int(x.shape[-1]), *map(int, shape[1:-1]))], shape, True)


def _between(g: Graph, x: Value, factors: tuple[int, ...]) -> Value:
    """The product with a matrix for each axis, which is the last then; the axes of space go around."""
    d, space = len(factors), list(_space(x))
    stored: list[Any] = [x.shape[0], x.shape[-1], *space]
    for n, f in zip(reversed(space), reversed(factors), strict=True):
        at = (np.arange(n * f) + 0.5) / f - 0.5
        U = np.maximum(1.0 - np.abs(np.clip(at, 0, n - 1) - np.arange(n)[:, None]), 0.0)
        stored = [*stored[:-1], n * f]
        x = g.node("MatMul", [x, g.constant(U.astype(g.dtype), "U")], stored)
        stored = [*stored[:2], stored[-1], *stored[2:-1]]
        x = g.node("Transpose", [x], stored, perm=[0, 1, d + 1, *range(2, d + 1)])
    return replace(x, shape=(stored[0], *stored[2:], stored[1]), channels_first=True)


@lowers(Padding)
def padding(g: Graph, layer: Padding, x: Value, path: str) -> Value:
    """New places at both ends of each axis."""
    sides = sides_of(layer.padding, layer.axes)
    shape = (x.shape[0], *(p + n + q for n, (p, q) in zip(_space(x), sides, strict=True)), x.shape[-1])
    if layer.mode == "wrap":
        return _wrapped(g, g.channels_first(x), sides)
    pads = g.whole(0, 0, *(p for p, _ in sides), 0, 0, *(q for _, q in sides))
    value = [g.number(layer.value)] if layer.mode == "constant" else []
    return g.node("Pad", [g.channels_first(x), pads, *value], shape, True, mode=layer.mode)


def _wrapped(g: Graph, x: Value, sides: list[tuple[int, int]]) -> Value:
    """The end, all and the beginning of each axis, one behind the other: onnxruntime has no "wrap" of a batch without
    rows."""
    for a, (p, q) in enumerate(sides, 1):
        n, parts = int(x.shape[a]), [x]
        for first, end, at in ((n - p, n, 0), (0, q, 2)):
            if end > first:
                shape = (*x.shape[:a], end - first, *x.shape[a + 1 :])
                parts.insert(at, g.node("Slice", [x, g.whole(first), g.whole(end), g.whole(a + 1)], shape, True))
        if len(parts) > 1:
            x = g.node("Concat", parts, (*x.shape[:a], p + n + q, *x.shape[a + 1 :]), True, axis=a + 1)
    return x


@lowers(Cropping)
def cropping(g: Graph, layer: Cropping, x: Value, path: str) -> Value:
    """Less places at both ends of each axis."""
    sides, space = sides_of(layer.cropping, layer.axes), _space(x)
    shape = (x.shape[0], *(n - p - q for n, (p, q) in zip(space, sides, strict=True)), x.shape[-1])
    first, axes = g.whole(*(p for p, _ in sides)), g.whole(*range(2, len(x.shape)))
    end = g.whole(*(n - q for n, (_, q) in zip(space, sides, strict=True)))
    return g.node("Slice", [g.channels_first(x), first, end, axes], shape, True)


def _lengths(x: Value) -> tuple[int, ...]:
    return tuple(int(n) for n in x.shape[1:])


def _space(x: Value) -> tuple[int, ...]:
    return _lengths(x)[:-1]
