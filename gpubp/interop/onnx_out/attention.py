"""ONNX nodes of attention and of positions."""

from __future__ import annotations

import math

import numpy as np

from ...layers import MultiHeadAttention, PositionalEmbedding, PositionalEncoding
from ...layers.attention import NEVER
from ...layers.plan import join
from ...layers.positions import encoding
from .graph import Graph, Value
from .lowering import lowers
from .time_mask import places_of


@lowers(MultiHeadAttention)
def attention(g: Graph, layer: MultiHeadAttention, x: Value, path: str) -> Value:
    """y = softmax(Q Kᵀ + m) V WO + bO, of all heads at once"""
    x = g.channels_last(x)
    (rows, T, n), h = x.shape, layer.heads
    n = int(n)
    d = n // h
    W, bQ, WO, bO = (g.parameter(join(path, name)) for name in ("WQKV", "bQ", "WO", "bO"))
    QKV = g.node("MatMul", [x, W], (rows, T, 3 * n))
    Q, K, V = g.node_of_several("Split", [QKV], [x.shape] * 3, axis=2, num_outputs=3)
    Q = g.node("Mul", [g.node("Add", [Q, bQ], x.shape), g.number(1.0 / math.sqrt(d))], x.shape)
    in_heads = [g.node("Reshape", [a, g.whole(0, 0, h, d)], (rows, T, h, d)) for a in (Q, K, V)]
    Q, V = (g.node("Transpose", [a], (rows, h, T, d), perm=[0, 2, 1, 3]) for a in in_heads[::2])
    K = g.node("Transpose", [in_heads[1]], (rows, h, d, T), perm=[0, 2, 3, 1])
    S = g.node("MatMul", [Q, K], (rows, h, T, T))
    seen = _seen(g, layer, x)
    if seen is not None:
        S = g.node("Where", [seen, S, g.number(NEVER)], S.shape)
    P = g.node("Softmax", [S], S.shape, axis=-1)
    if g.mask is not None and seen is not None:  # a row of P in which nothing is seen is 0
        P = g.node("Where", [seen, P, g.number(0.0)], P.shape)
    O = g.node("MatMul", [P, V], (rows, h, T, d))
    O = g.node("Reshape", [g.node("Transpose", [O], (rows, T, h, d), perm=[0, 2, 1, 3]), g.whole(0, 0, n)], x.shape)
    return g.node("Add", [g.node("MatMul", [O, WO], x.shape), bO], x.shape)


def _seen(g: Graph, layer: MultiHeadAttention, x: Value) -> Value | str | None:
    """At which steps each query looks, in a shape that goes with (batch, h, T, T); None for all."""
    rows, T, _ = x.shape
    seen: Value | str | None = None
    if g.mask is not None:
        seen = g.node("Unsqueeze", [g.mask.there, g.whole(1, 2)], (rows, 1, 1, T))
    if not layer.causal:
        return seen
    back: Value | str
    if isinstance(T, int):
        back = g.constant(np.tri(T, dtype=bool), "back")
    else:
        places = places_of(g, x)
        column = g.node("Unsqueeze", [places, g.whole(1)], (T, 1))
        back = g.node("GreaterOrEqual", [column, places], (T, T))
    return back if seen is None else g.node("And", [seen, back], (rows, 1, T, T))


@lowers(PositionalEncoding)
def positional_encoding(g: Graph, layer: PositionalEncoding, x: Value, path: str) -> Value:
    """y = x + PE, whose angles are computed in float64 where there are any number of steps."""
    x = g.channels_last(x)
    T, n = x.shape[1:]
    if isinstance(T, int):
        return g.node("Add", [x, g.constant(encoding(T, int(n)).astype(g.dtype), "PE")], x.shape)
    double = int(g.onnx.TensorProto.DOUBLE)
    column = g.node("Unsqueeze", [places_of(g, x), g.whole(1)], (T, 1))
    place = g.node("Cast", [column], column.shape, to=double)
    columns = np.arange(int(n))
    angle = g.node("Div", [place, g.constant(10000.0 ** (columns // 2 * 2 / int(n)), "wavelengths")], (T, n))
    phases = g.constant(columns % 2 * (np.pi / 2), "phases")  # of sines alone: older runtimes have no float64 cosine
    PE = g.node("Sin", [g.node("Add", [angle, phases], (T, n))], (T, n))
    return g.node("Add", [x, g.node("Cast", [PE], (T, n), to=g.element_type)], x.shape)


@lowers(PositionalEmbedding)
def positional_embedding(g: Graph, layer: PositionalEmbedding, x: Value, path: str) -> Value:
    """y_t = x_t + P_t. A row with more steps than P has vectors is an error of the runtime; padding may go beyond."""
    x = g.channels_last(x)
    P, shape = g.parameter(join(path, "P")), x.shape[1:]
    if isinstance(shape[0], int):
        if shape[0] < layer.length:
            P = g.changed(join(path, "P"), g.array(join(path, "P"))[: shape[0]])
        return g.node("Add", [x, P], x.shape)
    assert g.mask is not None
    places, counts = places_of(g, x), g.mask.counts(g)
    longest = g.node("ReduceMax", [counts, g.whole(0)], (1,), keepdims=1)
    within = g.node("Less", [places, longest], shape[:1])
    place = g.node("Where", [within, places, g.whole(0)], shape[:1])
    return g.node("Add", [x, g.node("Gather", [P, place], shape, axis=0)], x.shape)
