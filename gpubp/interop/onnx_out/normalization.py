"""ONNX nodes of normalization by running statistics, and over each row."""

from __future__ import annotations

from ...layers import BatchNorm, LayerNorm
from ...layers.plan import join
from .graph import Graph, Value
from .lowering import lowers


@lowers(BatchNorm)
def batch_norm(g: Graph, layer: BatchNorm, x: Value, path: str) -> Value:
    """y = gamma (x - mean) / √(var + eps) + beta, a feature at a time; ONNX has the features behind the batch.

    It stays one node before or after a convolution, so that the parameters in the file are those of the network.
    """
    x = g.channels_first(x)
    of = [g.parameter(join(path, name)) for name in ("gamma", "beta", "mean", "var")]
    return g.node("BatchNormalization", [x, *of], x.shape, x.channels_first, epsilon=layer.eps)


@lowers(LayerNorm)
def layer_norm(g: Graph, layer: LayerNorm, x: Value, path: str) -> Value:
    """The same with mean and var of the last axis of each row."""
    x = g.channels_last(x)
    of = [g.parameter(join(path, name)) for name in ("gamma", "beta")]
    return g.node("LayerNormalization", [x, *of], x.shape, axis=-1, epsilon=layer.eps)
