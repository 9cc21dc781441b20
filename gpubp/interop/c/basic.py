"""Calls of Dense, activations, softmax, normalizations, embeddings, and layers that compute in training alone."""

from __future__ import annotations

import math

import numpy as np

from ...layers import (
    Activation,
    AlphaDropout,
    BatchNorm,
    Dense,
    Dropout,
    EmbedColumns,
    Embedding,
    Flatten,
    GaussianNoise,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    LogSoftmax,
    PReLU,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
    Reshape,
    RMSNorm,
    Softmax,
    SpatialDropout,
)  # fmt: skip
from ...layers.plan import join
from .code import Code, Name, Part, Value
from .formulas import over_rows
from .lowering import OF_FORMULAS, lowers


@lowers(Dense)
def dense(code: Code, layer: Dense, x: Value, path: str, keep: bool) -> Value:
    """y = x W + b"""
    rows, n, m = math.prod(x.shape[:-1]), x.shape[-1], layer.units
    y = code.new((*x.shape[:-1], m))
    W = code.array(join(path, "W"))
    b = code.array(join(path, "b")) if layer.use_bias else None
    code.call("dense", x, W, b, y, rows, n, m)
    code.multiplications += rows * n * m
    return y


@lowers(OF_FORMULAS)
def activation(code: Code, layer: Activation, x: Value, path: str, keep: bool) -> Value:
    """The formula of each number, or of each row."""
    name = code.formula(layer.f, type(layer).__name__)
    y = code.own(x, keep)
    rows = [math.prod(x.shape[:-1]), x.shape[-1]] if over_rows(code.formulas[name]) else [x.size]
    code.call(name, y, *rows)
    return y.seen_as(x.shape)


@lowers(Softmax, LogSoftmax)
def softmax(code: Code, layer: Softmax | LogSoftmax, x: Value, path: str, keep: bool) -> Value:
    """Probabilities along an axis, or their logarithms."""
    axis = layer.place((1, *x.shape)) - 1
    y = code.own(x, keep)
    before, n, behind = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    code.call("softmax" if isinstance(layer, Softmax) else "log_softmax", y, before, n, behind)
    return y.seen_as(x.shape)


@lowers(PReLU)
def prelu(code: Code, layer: PReLU, x: Value, path: str, keep: bool) -> Value:
    """y = max(x, 0) + a min(x, 0)"""
    slopes = math.prod(code.parameter(join(path, "a")).shape)
    y = code.own(x, keep)
    code.call("prelu", y, code.array(join(path, "a")), x.size // slopes, slopes)
    return y.seen_as(x.shape)


@lowers(BatchNorm)
def batch_norm(code: Code, layer: BatchNorm, x: Value, path: str, keep: bool) -> Value:
    """y = gamma ((x - mean) rstd) + beta, by the running mean and variance."""
    var = code.parameter(join(path, "var"))
    mean, of = code.array(join(path, "mean")), _scale_and_shift(code, path, len(var))
    rstd = code.array(join(path, "rstd"), 1 / np.sqrt(var + var.dtype.type(layer.eps)))
    y = code.own(x, keep)
    code.call("batch_norm", y, mean, rstd, *of, math.prod(x.shape[:-1]), x.shape[-1])
    return y.seen_as(x.shape)


@lowers(LayerNorm)
def layer_norm(code: Code, layer: LayerNorm, x: Value, path: str, keep: bool) -> Value:
    """Each row brought to mean 0 and variance 1, then scaled and shifted."""
    y, n = code.own(x, keep), math.prod(x.shape[len(x.shape) - layer.axes :])
    code.call("layer_norm", y, *_scale_and_shift(code, path, n), float(layer.eps), x.size // n, n)
    return y.seen_as(x.shape)


@lowers(RMSNorm)
def rms_norm(code: Code, layer: RMSNorm, x: Value, path: str, keep: bool) -> Value:
    """Each row divided by its root mean square, then scaled."""
    y, n = code.own(x, keep), math.prod(x.shape[len(x.shape) - layer.axes :])
    code.call("rms_norm", y, _scale(code, path, n), float(layer.eps), x.size // n, n)
    return y.seen_as(x.shape)


@lowers(GroupNorm, InstanceNorm)
def group_norm(code: Code, layer: GroupNorm | InstanceNorm, x: Value, path: str, keep: bool) -> Value:
    """Each group of channels brought to mean 0 and variance 1 over all places, then scaled and shifted."""
    y, n = code.own(x, keep), x.shape[-1]
    groups = layer.groups if isinstance(layer, GroupNorm) else n
    of = _scale_and_shift(code, path, n)
    code.call("group_norm", y, *of, float(layer.eps), x.size // n, n, n // groups)
    return y.seen_as(x.shape)


def _scale_and_shift(code: Code, path: str, n: int) -> tuple[Name, Name]:
    """gamma and beta; 1 and 0 where the layer has none"""
    beta = join(path, "beta")
    return _scale(code, path, n), code.array(beta, None if beta in code.parameters else np.zeros(n))


def _scale(code: Code, path: str, n: int) -> Name:
    gamma = join(path, "gamma")
    return code.array(gamma, None if gamma in code.parameters else np.ones(n))


@lowers(AlphaDropout, Dropout, GaussianNoise, SpatialDropout, RandomFlip, RandomRotation, RandomTranslation, RandomZoom)
def only_in_training(code: Code, layer: Layer, x: Value, path: str, keep: bool) -> Value:
    """These layers give their input in prediction."""
    return x


@lowers(Flatten, Reshape)
def view(code: Code, layer: Layer, x: Value, path: str, keep: bool) -> Value:
    """The same numbers in another shape."""
    return x.seen_as(layer.plan((1, *x.shape)).output[1:])


@lowers(Embedding)
def embedding(code: Code, layer: Embedding, x: Value, path: str, keep: bool) -> Value:
    """y = W[x]"""
    y = code.new((*x.shape, layer.dim))
    code.call("embedding", x, code.array(join(path, "W")), y, x.size, layer.vocabulary, layer.dim)
    return y


@lowers(EmbedColumns)
def embed_columns(code: Code, layer: EmbedColumns, x: Value, path: str, keep: bool) -> Value:
    """The numbers stay, and the columns of words become vectors behind them."""
    m = x.size - len(layer.embeddings)
    y = code.new((m + sum(e.dim for e in layer.embeddings),))
    if m:
        code.call("copy", x, y, m)
    start = m
    for j, e in enumerate(layer.embeddings):
        W = code.array(join(path, f"{j}.W"))
        code.call("embedding", Part(x, m + j), W, Part(y, start), 1, e.vocabulary, e.dim)
        start += e.dim
    return y
