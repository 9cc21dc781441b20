"""ONNX nodes of Dense, compositions, reshaping, and layers that compute in training alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...layers import (
    AlphaDropout,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Parallel,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
    Reshape,
    Residual,
    Sequential,
    SpatialDropout,
)
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lower, lowers


@lowers(Dense)
def dense(g: Graph, layer: Dense, x: Value, path: str) -> Value:
    """y = x W + b: Gemm for rows of numbers, MatMul and Add for more axes.

    Where x is an image with its channels first that was flattened, the rows of W are put into that order.
    """
    W = join(path, "W")
    if x in g.flattened:
        image, order = g.flattened[x]
        x = g.node("Flatten", [image], x.shape, axis=1)
        weights = g.changed(W, g.array(W)[order])
    else:
        x = g.channels_last(x)
        weights = g.parameter(W)
    shape = (*x.shape[:-1], layer.units)
    bias = [g.parameter(join(path, "b"))] if layer.use_bias else []
    if len(x.shape) == 2:
        return g.node("Gemm", [x, weights, *bias], shape)
    y = g.node("MatMul", [x, weights], shape)
    return g.node("Add", [y, *bias], shape) if bias else y


@lowers(Sequential)
def sequential(g: Graph, layer: Sequential, x: Value, path: str) -> Value:
    """One layer after the other; behind one that ends time there is no mask."""
    before = g.mask
    for i, child in enumerate(layer.layers):
        x = lower(g, child, x, join(path, str(i)))
        g.mask = g.mask if child.over_time in ("each", "keeps") else None
    g.mask = before
    return x


@lowers(Residual)
def residual(g: Graph, layer: Residual, x: Value, path: str) -> Value:
    """y = body(x) + shortcut(x)"""
    y = lower(g, layer.body, x, join(path, "0"))
    s = x if layer.shortcut is None else lower(g, layer.shortcut, x, join(path, "1"))
    y, s = g.alike([y, s])
    return g.node("Add", [y, s], y.shape, y.channels_first)


@lowers(Parallel)
def parallel(g: Graph, layer: Parallel, x: Value, path: str) -> Value:
    """The branches side by side on the last axis, or their sum."""
    ys = g.alike([lower(g, branch, x, join(path, str(i))) for i, branch in enumerate(layer.branches)])
    first = ys[0]
    if layer.merge == "add":
        return g.node("Sum", ys, first.shape, first.channels_first) if len(ys) > 1 else first
    shape = (*first.shape[:-1], sum(int(y.shape[-1]) for y in ys))
    axis = 1 if first.channels_first else len(shape) - 1
    return g.node("Concat", ys, shape, first.channels_first, axis=axis)


@lowers(Flatten)
def flatten(g: Graph, layer: Flatten, x: Value, path: str) -> Value:
    """All axes but the batch become one. Channels that are first stay so where a Dense reads the result."""
    inner = [int(n) for n in x.shape[1:]]
    shape = (x.shape[0], math.prod(inner))
    if x.channels_first and shape[1] in (inner[-1], math.prod(inner[:-1])):  # one pixel, or one channel
        return g.node("Flatten", [x], shape, axis=1)
    y = g.node("Flatten", [g.channels_last(x)], shape, axis=1)
    if x.channels_first:
        g.flattened[y] = x, np.moveaxis(np.arange(shape[1]).reshape(inner), -1, 0).ravel()
    return y


@lowers(Reshape)
def reshape(g: Graph, layer: Reshape, x: Value, path: str) -> Value:
    """The same numbers in another shape; images of one channel have it first as well as last."""
    x, to = g.channels_last(x), layer.shape
    y = g.node("Reshape", [x, g.whole(0, *to)], (x.shape[0], *to))
    if len(to) > 1 and to[-1] == 1:
        g.same(y, g.node("Reshape", [x, g.whole(0, 1, *to[:-1])], y.shape, True))
    return y


@lowers(AlphaDropout, Dropout, GaussianNoise, SpatialDropout, RandomFlip, RandomRotation, RandomTranslation, RandomZoom)
def only_in_training(g: Graph, layer: Any, x: Value, path: str) -> Value:
    """These layers give their input in prediction, and so have no node."""
    return x
