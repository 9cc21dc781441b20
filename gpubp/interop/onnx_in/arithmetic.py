"""Add, Mul and their kin: with constants they are biases, positions and factors, and else sums and formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from ...layers import PositionalEmbedding, PositionalEncoding
from ...layers.positions import encoding
from .elementwise import ALONE, DEEPEST
from .folding import fold
from .layout import Axis, Layout, length, rows_in_order, shown, sizes
from .masks import masked
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .scaling import scaled
from .sizes import Size
from .statistics import of_two as of_two_statistics
from .statistics import with_number as statistic_with_number
from .values import (
    Array,
    Attending,
    Const,
    Data,
    Ending,
    Expr,
    Filled,
    Linear,
    Normalized,
    Scaled,
    Statistic,
    Term,
    Value,
)

BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")


@reads(*BINARY)
def binary(r: Reader, node: Node) -> Value:
    """Two operands; older files may have Max and Min of more."""
    values = [r.needed(node, i) for i in range(len(node.inputs))]
    if len(values) == 1 and node.op in ("Max", "Min"):
        return values[0]
    if len(values) < 2:
        raise Refused(f"it has {len(values)} inputs")
    found = values[0]
    for other in values[1:]:
        found = _of_two(r, node, found, other)
    return found


def _of_two(r: Reader, node: Node, a: Value, b: Value) -> Value:
    if isinstance(a, Const | Filled) and isinstance(b, Const | Filled):
        return fold(r, node.op, [a, b])
    for value, other, first in ((a, b, True), (b, a, False)):
        if isinstance(other, Const | Filled):
            array = aligned(node, other, r.layout_of(value))
            if array.size == 1:
                return _with_number(r, node, value, float(array.reshape(())), first)
            return _with_array(r, node, value, array, first)
    found = of_two_statistics(r, node, a, b)
    return found if found is not None else _of_data(r, node, a, b)


def aligned(node: Node, constant: Const | Filled, layout: Layout | None) -> Array:
    """The constant with the axes of the data it is combined with. Raises Refused where it does not fit them."""
    array = constant.array
    if array.dtype.kind not in "fiub":
        raise Refused(f"its constant is of {array.dtype}")
    if layout is not None:
        _check_fits(constant.shape if isinstance(constant, Filled) else array.shape, node, layout)
    if array.size != 1 and isinstance(constant, Filled):
        array = np.broadcast_to(array, [int(n) if isinstance(n, int) else 1 for n in constant.shape])
    if array.size == 1 or layout is None:
        return array.astype(np.float64) if array.size == 1 else array
    rank = len(layout.ox)
    if node.whole("broadcast", 0) and "axis" in node.attributes:  # files of opset 6 and before
        axis = layout.axis(node.whole("axis", 0))
        array = array.reshape(array.shape + (1,) * max(0, rank - axis - array.ndim))
    if array.ndim > rank:
        if array.shape[: array.ndim - rank] != (1,) * (array.ndim - rank):
            raise Refused(f"its constant has {array.ndim} axes, and its data {rank}")
        array = array.reshape(array.shape[array.ndim - rank :])
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    for n, (size, axis_parts) in enumerate(zip(array.shape, layout.ox, strict=True)):
        if layout.batch in axis_parts and size != 1:
            if (array != array.take([0], n)).any():
                raise Refused("its constant differs from row to row")
            array = array.take([0], n)
        elif size not in (1, length(axis_parts)):
            raise Refused(f"its constant of shape {array.shape} does not fit the data {shown(layout.shape)}")
    return array.astype(np.float32) if array.dtype.kind != "f" or array.dtype.itemsize < 4 else array


def _check_fits(shape: Any, node: Node, layout: Layout) -> None:
    """Refused where broadcasting would give the data another shape."""
    if node.whole("broadcast", 0):
        return  # which only the constant is given then
    data = layout.shape
    longer = len(shape) > len(data)
    if longer or any(n != 1 and n != of for n, of in zip(shape[::-1], data[::-1], strict=False)):
        raise Refused(f"its constant of shape {shown(shape)} does not fit the data {shown(data)}", layout=layout)


def _with_number(r: Reader, node: Node, value: Value, c: float, first: bool) -> Value:
    """value op c, or where not `first`, c op value."""
    op = node.op
    if isinstance(value, Statistic):
        return statistic_with_number(node, value, c, first)
    scales = op == "Mul" or (op == "Div" and first and c)
    factor = c if op == "Mul" else 1.0 / c if c else c
    scales = bool(scales) and math.isfinite(factor)
    if op in ("Add", "Sub") and c == 0.0 and first or scales and factor == 1.0:
        return value
    if isinstance(value, Attending) and value.kind == "scores" and scales:
        return replace(value, factor=value.factor * factor, nodes=(*value.nodes, node))
    if isinstance(value, Linear) and scales and value.attention is None:
        before, a, shift = value.unscaled or (value, 1.0, 0.0)
        larger = replace(times_number(value, factor), nodes=(*value.nodes, node))
        return replace(larger, unscaled=(before, a * factor, shift * factor))
    if isinstance(value, Linear) and (op == "Add" or op == "Sub" and first):
        more = c if op == "Add" else -c
        before, a, shift = value.unscaled or (value, 1.0, 0.0)
        moved = with_bias(value, np.full(value.W.shape[-1], more), node)
        return moved if value.attention is not None else replace(moved, unscaled=(before, a, shift + more))
    if isinstance(value, Normalized) and (scales or op == "Add"):
        n = np.prod(sizes(value.axis))
        return _scaled_or_shifted(value, np.full(int(n), factor if scales else c), scales, node)
    if isinstance(value, Scaled) and (scales or op in ("Add", "Sub") and first):
        vector = np.full(len(value.a), factor if scales else c if op == "Add" else -c, value.a.dtype)
        return scaled(r, value, "Mul" if scales else "Add", vector, value.axis, node)
    expr = as_expr(r, value)
    return _expr(r, expr.base, Term(op, (expr.term, c) if first else (c, expr.term), node))


def _with_array(r: Reader, node: Node, value: Value, array: Array, first: bool) -> Value:
    op = node.op
    if isinstance(value, Attending):
        return masked(value, array, node)
    if op == "Sub" and first:
        op, array = "Add", -array
    if op == "Div" and first and array.all():
        op, array = "Mul", 1.0 / array
    if isinstance(value, Statistic | Expr | Ending):
        value = r.data(value)
    layout = r.layout(value)
    if isinstance(value, Linear) and op in ("Add", "Mul"):
        vector = spread(array, layout, value.units)
        if vector is not None and op == "Add":
            return with_bias(value, vector, node)
        if vector is not None and value.attention is None:
            b = None if value.b is None else value.b * vector
            return replace(value, W=value.W * vector, b=b, nodes=(*value.nodes, node), made=[], unscaled=None)
    if isinstance(value, Normalized) and op in ("Add", "Mul"):
        vector = spread(array, layout, value.axis)
        if vector is not None:
            return _scaled_or_shifted(value, vector, op == "Mul", node)
    if op == "Add" and len(layout.gp) == 3 and (found := _positions(r, node, r.data(value), array)) is not None:
        return found
    if op == "Sub":
        negative = _scaled(r, value, np.full_like(array, -1.0), "Mul", node)
        value, op = (value, op) if negative is None else (negative, "Add")
    if op in ("Add", "Mul") and (made := _scaled(r, value, array, op, node)) is not None:
        return made
    does = {"Add": "adds", "Mul": "multiplies by", "Sub": "subtracts from", "Div": "divides"}.get(op, "compares with")
    raise Refused(
        f"it {does} a constant of shape {array.shape}; gpubp has biases of Dense and convolutions, scales and shifts "
        "of LayerNorm and BatchNorm, and PositionalEmbedding",
        layout=layout,
    )


def _scaled(r: Reader, value: Any, array: Array, op: str, node: Node) -> Scaled | None:
    """Scaling along one axis of the file's tensor, which the next layer takes into its weights."""
    layout = r.layout(value)
    axes = [n for n, size in enumerate(array.shape) if size != 1]
    if len(axes) != 1 or (vector := spread(array, layout, layout.ox[axes[0]])) is None:
        return None
    return scaled(r, value, op, vector, layout.ox[axes[0]], node)


def spread(array: Array, layout: Layout, parts: Axis) -> Array | None:
    """A constant with the axes of the file's tensor as a vector over `parts`; None where it varies elsewhere."""
    dims: list[int] = []
    names: list[Any] = []
    for size, axis in zip(array.shape, layout.ox, strict=True):
        names += axis
        dims += [1] * len(axis) if size == 1 else sizes(axis)
    if any(n != 1 and name not in parts for n, name in zip(dims, names, strict=True)):
        return None
    array = array.reshape(dims)
    inside = [name for name in names if name in parts]
    array = array.transpose([names.index(n) for n in inside] + [i for i, n in enumerate(names) if n not in parts])
    array = array.reshape([dims[names.index(n)] for n in inside])
    wanted = tuple(part for part in parts if part in inside)
    array = array.transpose(rows_in_order(tuple(inside), wanted))
    array = array.reshape([dims[names.index(p)] if p in inside else 1 for p in parts])
    found: Array = np.broadcast_to(array, sizes(parts)).reshape(-1)
    return found


def times_number(value: Linear, c: float) -> Linear:
    """The linear function times a number. 0 goes into the weights, because a bias is divided by the factor."""
    factor = value.factor * c
    if factor:
        return replace(value, factor=factor, made=[])
    b = None if value.b is None else np.zeros_like(value.b)
    return replace(value, W=np.zeros_like(value.W), b=b, factor=1.0, made=[])


def with_bias(value: Linear, vector: Array, node: Node) -> Linear:
    """The linear function with another constant added, behind its factor."""
    vector = vector.astype(value.W.dtype if value.factor == 1.0 else np.float64) / value.factor
    b = vector if value.b is None else value.b + vector
    return replace(value, b=b, nodes=(*value.nodes, node), made=[], unscaled=None)


def _scaled_or_shifted(value: Normalized, vector: Array, scales: bool, node: Node) -> Normalized:
    gamma, beta, nodes = value.gamma, value.beta, (*value.nodes, node)
    if scales:
        return replace(
            value,
            gamma=vector if gamma is None else gamma * vector,
            beta=None if beta is None else beta * vector,
            nodes=nodes,
            made=[],
        )
    return replace(value, beta=vector if beta is None else beta + vector, nodes=nodes, made=[])


def _positions(r: Reader, node: Node, x: Data, array: Array) -> Data | None:
    """A vector for each time step, added: as PositionalEncoding has them, or learned."""
    time, numbers = x.layout.gp[1], x.layout.gp[2]
    if any(isinstance(part.size, Size) for part in time):
        raise Refused("it adds a constant to some number of time steps; say how many: from_onnx(..., input_shape=...)")
    vector = spread(array, x.layout, (*time, *numbers))
    if vector is None or spread(array, x.layout, numbers) is not None:
        return None
    P = vector.reshape(int(np.prod(sizes(time))), -1)
    if np.array_equal(P, encoding(*P.shape).astype(P.dtype)):
        return r.step(PositionalEncoding(), [x], x.layout)
    return r.step(PositionalEmbedding(len(P)), [x], x.layout, arrays={"P": P})


# -- formulas ---------------------------------------------------------------------------------------------------------


def as_expr(r: Reader, value: Value) -> Expr:
    """The value as a function of data."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, Linear) and value.unscaled is not None:
        before, a, shift = value.unscaled
        term: Term | str = "x" if a == 1 else Term("Mul", ("x", a), value.nodes[-1])
        return Expr(r.data(before), term if shift == 0 else Term("Add", (term, shift), value.nodes[-1]))
    return Expr(r.data(value), "x")


def _expr(r: Reader, base: Data, term: Term) -> Expr:
    if term.depth > DEEPEST:
        raise Refused(f"a formula of more than {DEEPEST} operators within each other")
    return Expr(base, term)


def _of_data(r: Reader, node: Node, a: Value, b: Value) -> Value:
    one, other = as_expr(r, a), as_expr(r, b)
    same = one.base.step == other.base.step and one.layout == other.layout
    plain = isinstance(one.term, str) and isinstance(other.term, str)
    if same and not (plain and node.op == "Add"):
        return _expr(r, one.base, Term(node.op, (one.term, other.term), node))
    if node.op != "Add":
        does = {"Mul": "multiplies", "Sub": "subtracts", "Div": "divides"}.get(node.op, "compares")
        raise Refused(f"it {does} two results of the network, and gpubp has no layer that does", layout=one.layout)
    return added(r, node, [r.data(a), r.data(b)], "add")


def added(r: Reader, node: Node, data: list[Data], merge: str) -> Data:
    """The sum of data of one shape."""
    for i in range(1, len(data)):
        data[0], data[i] = r.same_order(data[0], data[i])
    data = [r.same_order(d, data[0])[0] for d in data]
    return r.step(None, data, data[0].layout, (node,), merge=merge)


@reads("Mod", "And", "Or")
def of_constants(r: Reader, node: Node) -> Value:
    """Computed with shapes and masks, and of comparisons of the same data."""
    values = [r.needed(node, i) for i in range(2)]
    if node.op != "Mod" and all(isinstance(v, Expr) for v in values):
        return _of_data(r, node, *values)
    if not all(isinstance(v, Const | Filled) for v in values):
        raise Refused("gpubp has no layer for this operator", layout=r.layout_of(values[0]) or r.layout_of(values[1]))
    return fold(r, node.op, values)


@reads("Sum")
def total(r: Reader, node: Node) -> Value:
    """A sum of several results of the network, or of one and constants."""
    values = [r.needed(node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return values[0]
    if all(isinstance(v, Const | Filled) for v in values):
        return fold(r, "Sum", values)
    data, bases = [v for v in values if isinstance(v, Data)], [v.base for v in values if isinstance(v, Expr)]
    x_and_f = len(values) == 2 and len(data) == len(bases) == 1 and data[0].step == bases[0].step
    if x_and_f or any(isinstance(v, Const | Filled) for v in values):
        return reduce(partial(_of_two, r, replace(node, op="Add")), values)
    return added(r, node, [r.data(v) for v in values], "sum")


PLAIN = (
    "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Exp", "Log", "Neg", "Abs", "Sqrt", "Reciprocal", "Erf", "Sign",
    "Floor", "Ceil", "Round", "Not", "IsNaN", "HardSwish", "Mish", "Sin", "Cos",
)  # fmt: skip
UNARY: dict[str, tuple[tuple[str, float], ...]] = dict.fromkeys(PLAIN, ()) | {
    "LeakyRelu": (("alpha", 0.01),),
    "Elu": (("alpha", 1.0),),
    "Celu": (("alpha", 1.0),),
    "Selu": (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805)),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "Swish": (("alpha", 1.0),),
    "ThresholdedRelu": (("alpha", 1.0),),
    "Shrink": (("bias", 0.0), ("lambd", 0.5)),
}


@reads(*UNARY)
def activation(r: Reader, node: Node) -> Value:
    """A function of single numbers."""
    x = r.needed(node, 0)
    more = tuple(node.number(name, default) for name, default in UNARY[node.op])
    if isinstance(x, Const | Filled):
        return fold(r, node.op, [x], more)
    if isinstance(x, Statistic):
        return statistic_with_number(node, x, None, True)
    if isinstance(x, Attending) and node.op == "IsNaN":  # a softmax of scores is never one
        return Filled(np.array(False), x.layout.shape)
    if isinstance(x, Ending) and x.kind == "Softmax" and node.op == "Log":
        return replace(x, kind="LogSoftmax")
    expr = as_expr(r, x)
    inner = expr.term
    whole = isinstance(inner, Term) and inner.operands == ("x",) and {inner.op, node.op} <= ALONE.keys()
    part_of_mish = isinstance(inner, Term) and (inner.op, node.op) == ("Softplus", "Tanh")
    if whole and not part_of_mish or isinstance(inner, Term) and inner.depth >= DEEPEST - 1:
        expr = Expr(r.data(expr), "x")
    return _expr(r, expr.base, Term(node.op, (expr.term,), node, more))


@reads("Gelu")
def gelu(r: Reader, node: Node) -> Value:
    """GELU, by the error function or by tanh."""
    form = node.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise Refused(f"approximate={form!r}")
    expr = as_expr(r, r.needed(node, 0))
    return _expr(r, expr.base, Term("GeluTanh" if form == "tanh" else "Gelu", (expr.term,), node))


@reads("Clip")
def clip(r: Reader, node: Node) -> Value:
    """max(min(x, high), low), by attributes or by inputs"""
    x = r.needed(node, 0)
    limits = []
    for n, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        array = r.numbers(node, n, name)
        if array is not None and array.size != 1:
            raise Refused(f"its {name} is no single number")
        limits.append(node.number(name, default) if array is None else float(array.reshape(())))
    if isinstance(x, Const | Filled):
        return fold(r, "Clip", [x], tuple(limits))
    expr = as_expr(r, x)
    return _expr(r, expr.base, Term("Min", (Term("Max", (expr.term, limits[0]), node), limits[1]), node))
