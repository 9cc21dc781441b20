"""Attention: Q, K and V by Dense, softmax(Q Kᵀ · factor + mask) V, and a Dense behind it, in any way to write it.

The heads are a part of the units of Q, K and V, and so it does not matter by which Reshape and Transpose they were
brought to the front. gpubp's MultiHeadAttention has no biases of keys and values: the first changes nothing, and the
second is put into the bias behind the attention.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import MultiHeadAttention
from .layout import Axis, Layout, Part, flat, length, rows_in_order, shown, sizes
from .model import Node
from .reader import Reader, makes
from .refused import Refused
from .sizes import Size
from .values import Array, Attending, Data, Linear, Value

TWO = "it multiplies two results of the network, which is no part of an attention that gpubp has"


def product_of_two(r: Reader, node: Node, a: Value, b: Value) -> Attending:
    """Q Kᵀ, or the shares times V."""
    one, other = r.layout(a), r.layout(b)
    stand_in = one if one.shape == other.shape else None
    if len(one.ox) != len(other.ox) or len(one.ox) < 3:
        raise Refused(TWO, layout=stand_in)
    if isinstance(a, Linear) and isinstance(b, Linear):
        return _scores(r, node, a, b)
    if isinstance(a, Attending) and a.kind == "shares" and isinstance(b, Linear):
        return _mixed(node, a, b)
    raise Refused(TWO, layout=stand_in)


def _scores(r: Reader, node: Node, Q: Linear, K: Linear) -> Attending:
    if Q.x.step != K.x.step or Q.x.layout.ox != K.x.layout.ox:
        raise Refused("it is an attention between two inputs, and gpubp has self-attention", layout=Q.layout)
    time = _time_of(Q)
    lead, q, dims_of_q = Q.layout.ox[:-2], Q.layout.ox[-2], Q.layout.ox[-1]
    dims_of_k, k = K.layout.ox[-2], K.layout.ox[-1]
    heads = tuple(p for axis in lead for p in axis if p is not r.batch)
    of_k = tuple(p for axis in K.layout.ox[:-2] for p in axis if p is not r.batch)
    if q != time or k != time or flat([(*heads, *dims_of_q)]) != flat([Q.units]):
        raise Refused(TWO, layout=Q.layout)
    if flat([(*of_k, *dims_of_k)]) != flat([K.units]) or sizes(heads) != sizes(of_k):
        raise Refused(TWO, layout=Q.layout)
    if [n for axis in lead for n in axis if n is r.batch] != [r.batch] or len(heads) > 1 or len(flat([dims_of_q])) > 1:
        raise Refused(TWO, layout=Q.layout)
    layout = Layout(Q.x.layout.gp, (*lead, time, time), r.batch)
    return Attending("scores", Q, K, layout, (*Q.nodes, *K.nodes, node), heads=heads)


def _time_of(Q: Linear) -> Axis:
    if len(Q.x.layout.gp) != 3:
        raise Refused(f"it is an attention of rows of shape {shown(Q.x.layout.row)}, and gpubp's is of time steps")
    return Q.x.layout.gp[1]


def shares(value: Attending, node: Node, axis: int) -> Attending:
    """softmax of the scores"""
    if value.kind != "scores" or value.layout.axis(axis) != len(value.layout.ox) - 1:
        raise Refused("it is no softmax over the steps that a query looks at", layout=value.layout)
    return replace(value, kind="shares", nodes=(*value.nodes, node))


def _mixed(node: Node, a: Attending, V: Linear) -> Attending:
    time, batch = _time_of(a.Q), a.layout.batch
    heads = tuple(p for axis in V.layout.ox[:-2] for p in axis if p is not batch)
    dims = V.layout.ox[-1]
    places = [[p is batch or (p.size if p in heads + a.heads else None) for p in axis] for axis in a.layout.ox[:-2]]
    of_v = [[p is batch or (p.size if p in heads else None) for p in axis] for axis in V.layout.ox[:-2]]
    if V.x.step != a.Q.x.step or V.layout.ox[-2] != time or flat([(*heads, *dims)]) != flat([V.units]):
        raise Refused(TWO, layout=V.layout)
    if places != of_v or len(heads) > 1 or len(flat([dims])) > 1:
        raise Refused(TWO, layout=V.layout)
    gp = (V.x.layout.gp[0], time, (*heads, *dims))
    layout = Layout(gp, (*V.layout.ox[:-2], time, dims), batch)
    return replace(a, kind="mixed", V=V, layout=layout, heads=heads, nodes=(*a.nodes, *V.nodes, node))


def mixed(value: Attending) -> Attending:
    """The attention, which must be at its end but for the Dense behind it."""
    if value.kind != "mixed":
        raise _unfinished(value)
    return value


def projected(r: Reader, node: Node, value: Attending, W: Array, of: Axis, unit: Part, ox: tuple[Axis, ...]) -> Linear:
    """The Dense behind the attention, with its rows in the order of heads and their numbers."""
    V = value.V
    assert V is not None
    inner = tuple(part for part in value.layout.gp[-1] if part.size != 1)
    given = tuple(part for part in of if part.size != 1)
    if set(inner) != set(given):
        raise Refused(f"it takes {length(of)} numbers of an attention of {length(value.layout.gp[-1])}", layout=None)
    order = rows_in_order(given, inner)
    W = W.reshape(*sizes(given), -1).transpose(*order, len(given)).reshape(W.shape)
    layout = Layout((*value.layout.gp[:2], (unit,)), ox, r.batch)
    nodes = (*value.nodes, node)

    def make(r: Reader, linear: Linear, WO: Array, bO: Array | None) -> Data:
        return _layer(r, value, linear, WO, bO)

    return Linear(V.x, lambda units, bias: MultiHeadAttention(1), W, (unit,), layout, nodes, attention=make)


def _layer(r: Reader, value: Attending, linear: Linear, WO: Array, bO: Array | None) -> Data:
    """MultiHeadAttention with its four parameters."""
    Q, K, V = value.Q, value.K, value.V
    assert V is not None
    x, (n, m) = Q.x, WO.shape
    time = x.layout.gp[1]
    heads = math.prod(sizes(value.heads))
    widths = {Q.W.shape[0], Q.W.shape[-1], K.W.shape[-1], V.W.shape[-1], n, m}
    if len(widths) > 1 or any(part.W.ndim != 2 for part in (Q, K, V)):
        raise Refused(
            f"an attention with {sorted(widths)} numbers in different places; gpubp's has the same number everywhere",
            layout=linear.layout,
        )
    T = length(time)
    if value.causal and not isinstance(T, Size) and T > 2**14:
        raise Refused(f"a causal attention over {T:,} steps")
    ratio = Q.factor * K.factor * value.factor * math.sqrt(n // heads)
    ratio = 1.0 if abs(ratio - 1.0) < 1e-5 else ratio
    WQ, bQ = Q.W, np.zeros(n, Q.W.dtype) if Q.b is None else Q.b
    if ratio != 1.0:
        WQ, bQ = WQ * ratio, bQ * ratio
    WV, bV = (V.W, V.b) if V.factor == 1.0 else (V.W * V.factor, None if V.b is None else V.b * V.factor)
    bO = np.zeros(n, WO.dtype) if bO is None else bO
    if bV is not None and bV.any():
        bO = bO + bV.astype(np.float64) @ WO.astype(np.float64)
        r.notes.append(f"{value.nodes[-1].shown}: the bias of the values is a part of bO")
    if K.b is not None and K.b.any():
        r.notes.append(f"{value.nodes[-1].shown}: the bias of the keys, which changes nothing, is left out")
    arrays: dict[str, Any] = {"WQKV": np.concatenate([WQ, K.W, WV], axis=1), "WO": WO, "bQ": bQ, "bO": bO}
    return r.step(MultiHeadAttention(heads, value.causal), [x], linear.layout, linear.nodes, arrays)


def _unfinished(value: Attending) -> Refused:
    return Refused("it is a part of an attention without a Dense behind it", value.nodes[-1], value.layout)


@makes(Attending)
def _make(r: Reader, value: Attending) -> Data:
    raise _unfinished(value)
