"""ONNX nodes of normalization by running statistics, over each row, and over the places of a row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lowers


@lowers(BatchNorm)
def batch_norm(g: Graph, layer: BatchNorm, x: Value, path: str) -> Value:
    """y = gamma (x - mean) / √(var + eps) + beta, a feature at a time; ONNX has the features behind the batch.

    It stays one node before or after a convolution, so that the parameters in the file are those of the network.
    """
    x, n = g.channels_first(x), x.shape[-1]
    of = [*_scale_and_shift(g, layer, path, n), *(g.parameter(join(path, name)) for name in ("mean", "var"))]
    return g.node("BatchNormalization", [x, *of], x.shape, x.channels_first, epsilon=layer.eps)


@lowers(LayerNorm)
def layer_norm(g: Graph, layer: LayerNorm, x: Value, path: str) -> Value:
    """The same with mean and var of the last axes of each row."""
    x = g.channels_last(x)
    names = [*(["gamma"] if layer.affine else []), *(["beta"] if layer.affine and layer.use_bias else [])]
    of = [g.parameter(join(path, name)) for name in names]
    if not of:
        of = [g.constant(np.ones(x.shape[-layer.axes :], g.dtype))]  # which ONNX needs
    return g.node("LayerNormalization", [x, *of], x.shape, axis=-layer.axes, epsilon=layer.eps)


@lowers(RMSNorm)
def rms_norm(g: Graph, layer: RMSNorm, x: Value, path: str) -> Value:
    """y = gamma x / √(⟨x²⟩ + eps), by its formula: ONNX has an operator for it from opset 23 on."""
    x = g.channels_last(x)
    kept = len(x.shape) - layer.axes
    one = (*x.shape[:kept], *[1] * layer.axes)
    squares = g.node("Mul", [x, x], x.shape)
    mean = g.node("ReduceMean", [squares, g.whole(*range(-layer.axes, 0))], one, keepdims=1)
    xhat = g.node("Div", [x, _root(g, mean, layer.eps)], x.shape)
    return g.node("Mul", [xhat, g.parameter(join(path, "gamma"))], x.shape) if layer.affine else xhat


@lowers(GroupNorm)
def group_norm(g: Graph, layer: GroupNorm, x: Value, path: str) -> Value:
    """y = gamma xhat + beta, with xhat the groups as channels of InstanceNormalization: GroupNormalization has gamma
    and beta for each channel from opset 21 on."""
    if g.mask is not None or g.dtype == np.float64:
        xhat = _by_sums(g, layer.groups, layer.eps, x)
    else:
        x, inner = g.channels_first(x), math.prod(map(int, x.shape[1:]))
        shape = (layer.groups, inner // layer.groups)
        parts = g.node("Reshape", [x, g.whole(0, *shape)], (x.shape[0], *shape))
        of = [g.constant(np.full(layer.groups, value, g.dtype)) for value in (1.0, 0.0)]
        normal = g.node("InstanceNormalization", [parts, *of], parts.shape, epsilon=layer.eps)
        xhat = g.node("Reshape", [normal, g.whole(0, *map(int, x.stored[1:]))], x.shape, x.channels_first)
    xhat = g.channels_first(xhat)
    return _scaled_and_shifted(g, layer, xhat, path)


@lowers(InstanceNorm)
def instance_norm(g: Graph, layer: InstanceNorm, x: Value, path: str) -> Value:
    """y = gamma (x - mean) / √(var + eps) + beta, with mean and var of a channel's places in each row."""
    if g.mask is not None or g.dtype == np.float64:
        xhat = _by_sums(g, int(x.shape[-1]), layer.eps, x)
        y = _scaled_and_shifted(g, layer, xhat, path)
        return y if g.mask is not None else g.channels_first(y)  # in the order of float32
    x = g.channels_first(x)
    of = _scale_and_shift(g, layer, path, x.shape[-1])
    return g.node("InstanceNormalization", [x, *of], x.shape, x.channels_first, epsilon=layer.eps)


def _scale_and_shift(g: Graph, layer: BatchNorm | InstanceNorm, path: str, n: Any) -> list[str]:
    """gamma and beta, which ONNX needs; 1 and 0 where the layer has none."""
    found = []
    for name, value, there in (("gamma", 1.0, layer.affine), ("beta", 0.0, layer.affine and layer.use_bias)):
        found.append(g.parameter(join(path, name)) if there else g.constant(np.full(n, value, g.dtype)))
    return found


def _scaled_and_shifted(g: Graph, layer: GroupNorm | InstanceNorm, y: Value, path: str) -> Value:
    """gamma y + beta, by those of them that the layer has"""
    names = [*(["gamma"] if layer.affine else []), *(["beta"] if layer.affine and layer.use_bias else [])]
    shape = (int(y.shape[-1]), *[1] * (len(y.shape) - 2 if y.channels_first else 0))
    for op, name in zip(("Mul", "Add"), (join(path, name) for name in names), strict=False):
        y = g.node(op, [y, g.changed(name, g.array(name).reshape(shape))], y.shape, y.channels_first)
    return y


def _root(g: Graph, mean: Value, eps: float) -> Value:
    """√(mean + eps)"""
    return g.node("Sqrt", [g.node("Add", [mean, g.number(eps)], mean.shape)], mean.shape)


def _by_sums(g: Graph, groups: int, eps: float, x: Value) -> Value:
    """xhat by sums over x (B, T, ..., C), seen as (B, T, M, g, C/g), and over the time steps alone that a row has.

    onnxruntime has no InstanceNormalization of float64, and ONNX none of rows of different lengths.
    """
    x = g.channels_last(x)
    B, inner = x.shape[0], list(x.shape[1:-1] or [1])
    M, width = math.prod(map(int, inner[1:])), int(x.shape[-1]) // groups
    shape, one, axes = (B, inner[0], M, groups, width), (B, 1, 1, groups, 1), g.whole(1, 2, 4)
    first = inner[0] if isinstance(inner[0], int) else 0  # of any length
    seen = g.node("Reshape", [x, g.whole(0, first, M, groups, width)], shape)
    N: Value | str = g.number(float(first * M * width)) if g.mask is None else _counted(g, B, M * width)
    total = g.node("ReduceSum", [_steps(g, seen), axes], one, keepdims=1)
    deviation = _steps(g, g.node("Sub", [seen, g.node("Div", [total, N], one)], shape))
    squares = g.node("ReduceSum", [g.node("Mul", [deviation, deviation], shape), axes], one, keepdims=1)
    xhat = g.node("Div", [deviation, _root(g, g.node("Div", [squares, N], one), eps)], shape)
    back = [first, *map(int, inner[1:])] if len(x.shape) > 2 else []
    return g.node("Reshape", [xhat, g.whole(0, *back, int(x.shape[-1]))], x.shape)


def _steps(g: Graph, x: Value) -> Value:
    return x if g.mask is None else g.mask.without_padding(g, x)


def _counted(g: Graph, B: Any, of_a_step: int) -> Value:
    """How many numbers of a group a row has."""
    steps = g.node("Cast", [g.mask.at_least_one(g)], (B,), to=g.element_type)
    count = g.node("Mul", [steps, g.number(float(of_a_step))], (B,))
    return g.node("Unsqueeze", [count, g.whole(1, 2, 3, 4)], (B, 1, 1, 1, 1))
