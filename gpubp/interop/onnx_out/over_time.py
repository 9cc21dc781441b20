"""ONNX nodes of layers that make one vector of a sequence: its last step, its mean, its largest numbers."""

from __future__ import annotations

import math

import numpy as np

from ...layers import LastStep, MaxOverTime, MeanOverTime
from .graph import Graph, Value
from .lowering import lowers


@lowers(LastStep)
def last_step(g: Graph, layer: LastStep, x: Value, path: str) -> Value:
    """y = x_T; 0 of a row without steps."""
    x, shape = g.channels_last(x), (x.shape[0], x.shape[2])
    if g.mask is None:
        return g.node("Gather", [x, g.constant(np.asarray(-1, np.int64))], shape, axis=1)
    there = g.mask.as_whole(g)
    place = g.node("Mul", [there, g.mask.places], there.shape)  # 0 where there is no step
    last = g.node("ReduceMax", [place, g.whole(1)], (x.shape[0], 1), keepdims=1)
    y = g.node("GatherND", [x, last], shape, batch_dims=1)
    return g.node("Where", [g.mask.some(g), y, g.number(0.0)], shape)


@lowers(MeanOverTime)
def mean_over_time(g: Graph, layer: MeanOverTime, x: Value, path: str) -> Value:
    """y = Σ x_t / T, or / √T"""
    shape, axis = (x.shape[0], x.shape[2]), g.whole(2 if x.channels_first else 1)
    if g.mask is None:
        if not layer.root:
            return g.node("ReduceMean", [x, axis], shape, keepdims=0)
        y = g.node("ReduceSum", [x, axis], shape, keepdims=0)
        return g.node("Mul", [y, g.number(1.0 / math.sqrt(int(x.shape[1])))], shape)
    y = g.node("ReduceSum", [g.mask.without_padding(g, x), axis], shape, keepdims=0)
    steps = g.node("Cast", [g.mask.at_least_one(g)], shape[:1], to=g.element_type)
    T = g.node("Unsqueeze", [steps, g.whole(1)], (shape[0], 1))
    return g.node("Div", [y, g.node("Sqrt", [T], T.shape) if layer.root else T], shape)


@lowers(MaxOverTime)
def max_over_time(g: Graph, layer: MaxOverTime, x: Value, path: str) -> Value:
    """y = max x_t; 0 of a row without steps."""
    shape, axis = (x.shape[0], x.shape[2]), g.whole(2 if x.channels_first else 1)
    if g.mask is None:
        return g.node("ReduceMax", [x, axis], shape, keepdims=0)
    y = g.node("ReduceMax", [g.mask.without_padding(g, x, -math.inf), axis], shape, keepdims=0)
    return g.node("Where", [g.mask.some(g), y, g.number(0.0)], shape)
