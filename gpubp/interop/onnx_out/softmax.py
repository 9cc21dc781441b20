"""ONNX nodes of Softmax and LogSoftmax, one each, and of PReLU."""

from __future__ import annotations

import math

import numpy as np

from ...layers import LogSoftmax, PReLU, Softmax
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lowers


@lowers(Softmax, LogSoftmax)
def softmax(g: Graph, layer: Softmax | LogSoftmax, x: Value, path: str) -> Value:
    """y = eˢ / Σ eˢ, or its logarithm; along time, padding counts as -∞, and y is 0 there."""
    axis, mask = layer.place(x.shape), g.mask  # type: ignore[arg-type]
    of_time = axis == 1 and mask is not None
    if of_time:
        x = mask.without_padding(g, x, -math.inf)
    stored = axis if not x.channels_first else axis + 1 if axis < len(x.shape) - 1 else 1
    op = "Softmax" if isinstance(layer, Softmax) else "LogSoftmax"
    y = g.node(op, [x], x.shape, x.channels_first, axis=stored)
    return mask.without_padding(g, y) if of_time else y


@lowers(PReLU)
def prelu(g: Graph, layer: PReLU, x: Value, path: str) -> Value:
    """y = x, and a x below 0, with the slopes in a shape that goes with x."""

    def side_of(op: str) -> Value:
        return g.node(op, [x, g.number(0.0)], x.shape, x.channels_first)

    name = join(path, "a")
    a = g.array(name)
    if x.channels_first and layer.slopes != "single":
        a = a.reshape(*[1] * (len(x.shape) - 1 - a.ndim), *a.shape)
        a = a.transpose(a.ndim - 1, *range(a.ndim - 1))
    if g.dtype == np.float64:  # of which onnxruntime has no PRelu
        below = g.node("Mul", [side_of("Min"), g.changed(name, a)], x.shape, x.channels_first)
        return g.node("Add", [side_of("Max"), below], x.shape, x.channels_first)
    return g.node("PRelu", [x, g.changed(name, a)], x.shape, x.channels_first)
