"""Gemm and MatMul with constant weights: Dense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import Dense
from .arithmetic import times_number, with_bias
from .attention import mixed, product_of_two, projected
from .layout import Axis, Layout, Part, length, rows_in_order, sizes
from .model import Node
from .reader import Reader, makes, reads
from .refused import Refused
from .scaling import into_dense, scaling_of
from .values import Array, Attending, Data, Linear, Value


@reads("Gemm")
def gemm(r: Reader, node: Node) -> Value:
    """y = alpha A B + beta C, A being the data"""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if node.whole("transA", 0):
        raise Refused("transA=1: its data are transposed")
    W = r.numbers(node, 1, "B")
    if W is None or W.ndim != 2:
        raise Refused("B must be a matrix")
    W = W.T if node.whole("transB", 0) else W
    x = r.needed(node, 0)
    layout = r.layout_of(x)
    if layout is None:
        raise Refused("A is a constant")
    if len(layout.ox) != 2:
        raise Refused(f"A has {len(layout.ox)} axes, and must have 2")
    found = times(r, node, x, W, 1)
    if alpha != 1.0:
        found = times_number(found, alpha)
    C = r.numbers(node, 2, "C")
    if C is None or beta == 0.0:
        return found
    if C.ndim > 2 or (C.ndim == 2 and C.shape[0] != 1) or C.shape[-1:] not in ((1,), (), (W.shape[1],)):
        raise Refused(f"C has the shape {C.shape}, which is no bias of {W.shape[1]} units", layout=found.layout)
    return with_bias(found, np.broadcast_to((C if beta == 1.0 else beta * C).reshape(-1), W.shape[1]), node)


@reads("MatMul")
def matmul(r: Reader, node: Node) -> Value:
    """x W over the last axis, W x over the one before it; or the products of an attention."""
    a, b = r.needed(node, 0), r.needed(node, 1)
    one, other = r.layout_of(a), r.layout_of(b)
    if one is not None and other is not None:
        return product_of_two(r, node, a, b)
    if one is None and other is None:
        raise Refused("both of its factors are constants")
    W = r.numbers(node, 1 if one is not None else 0, "weights")
    assert W is not None
    if 2 < W.ndim <= len((one or other or r.input).ox) and W.size == np.prod(W.shape[-2:]):
        W = W.reshape(W.shape[-2:])
    if one is not None:
        if W.ndim not in (1, 2):
            raise Refused(f"its weights have the shape {W.shape}, and must be a matrix", layout=one)
        found = times(r, node, a, W if W.ndim == 2 else W[:, None], len(one.ox) - 1)
        if W.ndim == 1:
            ox = found.layout.ox[:-1]
            return replace(found, layout=Layout(found.layout.gp, ox, found.layout.batch))
        return found
    assert other is not None
    if W.ndim != 2 or len(other.ox) < 2:
        raise Refused(f"its weights have the shape {W.shape}, and must be a matrix", layout=other)
    return times(r, node, b, W.T, len(other.ox) - 2)


def times(r: Reader, node: Node, value: Value, W: Array, axis: int) -> Linear:
    """Data along an axis of the file's tensor, times W (inputs, units)."""
    layout = r.layout(value)
    of = layout.ox[axis]
    if length(of) != W.shape[0]:
        raise Refused(f"its weights are for {W.shape[0]} numbers, and get {length(of)}", layout=layout)
    unit = Part(W.shape[1])
    ox = (*layout.ox[:axis], (unit,), *layout.ox[axis + 1 :])
    if isinstance(value, Attending):
        return projected(r, node, mixed(value), W, of, unit, ox)
    b, nodes = None, (node,)
    if (before := scaling_of(r, value)) is not None:
        (W, b), value, nodes = into_dense(before, of, W), before.x, (*before.nodes, node)
        r.notes.append(
            f"{before.nodes[-1].shown}: the scaling before it is a part of its weights, and is trained as such"
        )
    x = r.with_last(r.data(value), of)
    last = x.layout.gp[-1]
    W = in_order(W, of, last)
    return Linear(x, Dense, W, (unit,), Layout((*x.layout.gp[:-1], (unit,)), ox, layout.batch), nodes, b)


def in_order(W: Array, of: Axis, wanted: Axis) -> Array:
    """Weights whose first axis has these parts in one order, in another."""
    inner = tuple(part for part in of if part.size != 1)
    order = rows_in_order(inner, tuple(part for part in wanted if part.size != 1))
    if order == list(range(len(inner))):
        return W
    return W.reshape(*sizes(inner), -1).transpose(*order, len(inner)).reshape(W.shape)


@makes(Linear)
def step_of_linear(r: Reader, value: Linear) -> Data:
    """A Dense, a convolution, or an attention, with its parameters."""
    if not value.made:
        arrays: dict[str, Any]
        b = value.b if value.b is None or value.factor == 1.0 else value.b * value.factor
        W = value.W if value.factor == 1.0 else value.W * value.factor
        if value.attention is not None:
            made = value.attention(r, value, W, b)
        else:
            layer = value.make(W.shape[-1], b is not None)
            W = W if value.stored is None else value.stored(W)
            arrays = {"W": W} if b is None else {"W": W, "b": b}
            made = r.step(layer, [value.x], value.layout, value.nodes, arrays)
        value.made.append(made.step)
        r.linears[made.step] = value
    return Data(value.made[0], value.layout)
