"""ONNX nodes of ensembles: the mean of what the members' outputs stand for.

The members' outputs become one tensor Z (N, batch, ..., K), and so each step is one node, for any N:

    "numbers"   y = Σ Z / N
    "classes"   y = log Σ softmax(Z) - log N                       by LogSoftmax and ReduceLogSumExp
    "labels"    y = log Σ σ(Z) - log Σ σ(-Z)                       by Softplus, since 1 - σ(z) = σ(-z)
"""

from __future__ import annotations

import math

from ...layers import Ensemble
from ...layers.plan import join
from .activations import log_sigmoid
from .graph import Graph, Value
from .lowering import lower, lowers


@lowers(Ensemble)
def ensemble(g: Graph, layer: Ensemble, x: Value, path: str) -> Value:
    """The mean over the members."""
    zs = [lower(g, member, x, join(path, str(i))) for i, member in enumerate(layer.members)]
    N = len(zs)
    if layer.average == "numbers":
        zs = g.alike(zs)
        z = zs[0]
        if N == 1:
            return z
        total = g.node("Sum", zs, z.shape, z.channels_first)
        return g.node("Mul", [total, g.number(1.0 / N)], z.shape, z.channels_first)
    zs = [g.channels_last(z) for z in zs]
    shape = zs[0].shape
    Z = g.node("Concat", [_with_axis(g, z) for z in zs], (N, *shape), axis=0)
    if layer.average == "classes":
        logs = g.node("LogSoftmax", [Z], Z.shape, axis=-1)
        return g.node("Sub", [_log_of_sum(g, logs), g.number(math.log(N))], shape)
    yes, no = log_sigmoid(g, Z), log_sigmoid(g, g.node("Neg", [Z], Z.shape))
    return g.node("Sub", [_log_of_sum(g, yes), _log_of_sum(g, no)], shape)


def _with_axis(g: Graph, z: Value) -> Value:
    return g.node("Unsqueeze", [z, g.whole(0)], (1, *z.shape))


def _log_of_sum(g: Graph, logs: Value) -> Value:
    return g.node("ReduceLogSumExp", [logs, g.whole(0)], logs.shape[1:], keepdims=0)
