"""Scaling of inputs before a Dense or a convolution: (x - mean) / deviation, which becomes a part of their weights.

    y = (a x + c) W + b = x (a W) + (c W + b)

Behind a padding that is zeros of the file's own, c would be added to the zeros too, which only convolutions without
padding allow to leave out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .elementwise import ALONE, activation_of, agree, evaluated, places
from .formulas import replaced, waists
from .layout import Axis, Layout, flat, rows_in_order, sizes
from .model import Node
from .reader import Reader, makes, reads
from .refused import Refused
from .values import Array, Data, Expr, Scaled, Term, Value

WHY = (
    "it scales or shifts by a constant; gpubp does so in biases and weights of a Dense or a convolution beside it, in "
    "LayerNorm and BatchNorm, and PositionalEmbedding adds to time steps"
)


def scaled(r: Reader, value: Value, op: str, vector: Array, axis: Axis, node: Node) -> Scaled:
    """The value times a vector over `axis` ("Mul"), or plus one ("Add")."""
    if not isinstance(value, Scaled):
        x = r.data(value)
        value = Scaled(x, axis, np.ones(len(vector), vector.dtype), np.zeros(len(vector), vector.dtype), x.layout, ())
    if value.axis != axis:
        raise Refused(WHY, layout=value.layout)
    a, c = (value.a * vector, value.c * vector) if op == "Mul" else (value.a, value.c + vector)
    return replace(value, a=a, c=c, nodes=(*value.nodes, node))


def scaling_of(r: Reader, value: Value) -> Scaled | None:
    """The value as scaled data, where it is that; None for what becomes another layer.

    A formula a x + c of numbers is, unless x is what a Dense gives, whose weights can take it themselves.
    """
    if isinstance(value, Scaled):
        return value
    if not isinstance(value, Expr) or not isinstance(value.term, Term) or value.term.op in ALONE:
        return None
    base, term, nodes = value.base, value.term, (value.term.node,)
    if (found := _line(term)) is not None:
        if base.step in r.linears:
            return None
        return _by_numbers(base, found, value.layout, nodes)
    if activation_of(term) is not None:
        return None
    for inner in reversed(waists(term)):
        if (found := _line(replaced(term, inner))) is not None:
            return _by_numbers(r.data(Expr(base, inner)), found, value.layout, nodes)
    return None


def _by_numbers(x: Data, of: tuple[float, float], layout: Layout, nodes: tuple[Any, ...]) -> Scaled:
    return Scaled(x, (), np.array([of[0]]), np.array([of[1]]), layout, nodes)


def _line(term: Term) -> tuple[float, float] | None:
    """(a, c) of a formula a x + c; None for any other."""
    x = places(term)
    c, one = (float(v) for v in evaluated(term, np.array([0.0, 1.0])))
    with np.errstate(all="ignore"):
        return (one - c, c) if one != c and agree(evaluated(term, x), (one - c) * x + c) else None


def over(value: Scaled, of: Axis) -> tuple[Array, Array]:
    """a and c for each number along an axis of the file's tensor. Raises Refused where they vary elsewhere too."""
    inner = tuple(part for part in of if part.size != 1)
    own = tuple(part for part in value.axis if part.size != 1)
    if not set(own) <= set(inner):
        raise Refused(WHY, value.nodes[0], value.layout)
    shape = [sizes((part,))[0] if part in own else 1 for part in inner]
    order = rows_in_order(own, tuple(part for part in inner if part in own))

    def spread(a: Array) -> Array:
        a = a.reshape(sizes(own)).transpose(order) if own else a
        return np.broadcast_to(a.reshape(shape) if own else a.reshape([1] * len(shape)), sizes(inner)).reshape(-1)

    return spread(value.a), spread(value.c)


def into_dense(value: Scaled, of: Axis, W: Array) -> tuple[Array, Array | None]:
    """W (inputs, units) and the bias that do the scaling too."""
    a, c = (part.astype(W.dtype) for part in over(value, of))
    return a[:, None] * W, c @ W if c.any() else None


def into_convolution(value: Scaled, channels: Axis, W: Array, groups: int, padded: bool) -> tuple[Array, Array | None]:
    """W (filters, channels of a group, ...) and the bias that do the scaling too."""
    a, c = (part.astype(W.dtype).reshape(groups, -1) for part in over(value, channels))
    if padded and c.any():
        raise Refused(
            "it shifts images before a convolution that pads them with zeros, which gpubp does not shift",
            value.nodes[0],
            value.layout,
        )
    of_filter = np.arange(len(W)) // (len(W) // groups)
    wide: Any = (..., *[None] * (W.ndim - 2))
    b = (c[of_filter][wide] * W).reshape(len(W), -1).sum(axis=1) if c.any() else None
    return a[of_filter][wide] * W, b


@makes(Scaled)
def _make(r: Reader, value: Scaled) -> Data:
    raise Refused(WHY, value.nodes[0], value.layout)


@reads("ai.onnx.ml.Scaler")
def scaler(r: Reader, node: Node) -> Value:
    """(x - offset) · scale of each feature"""
    x = r.needed(node, 0)
    layout: Layout = r.layout(x)
    axis = layout.ox[-1]
    found: Value = x
    for name, op in (("offset", "Add"), ("scale", "Mul")):
        numbers = node.list(name, float)
        if numbers is None:
            continue
        n = int(np.prod(sizes(axis)))
        if len(numbers) not in (1, n) or r.batch in axis or not flat([axis]):
            raise Refused(f"its {name} has {len(numbers)} numbers, for {n} features")
        vector = np.broadcast_to(np.array(numbers, np.float32), n)
        found = scaled(r, found, op, -vector if name == "offset" else vector, axis, node)
    return found


@reads("ai.onnx.ml.ZipMap")
def zip_map(r: Reader, node: Node) -> Value:
    """Probabilities with the names of their classes: the same numbers."""
    return r.needed(node, 0)
