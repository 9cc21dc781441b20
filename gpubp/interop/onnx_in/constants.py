"""Nodes that make constants, and those that only constants go through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arithmetic import as_expr
from .folding import check_room, fold
from .masks import with_mask
from .model import Node
from .reader import Reader, expanded, reads
from .refused import Refused
from .sizes import NoSize, Size
from .values import Attending, Const, Ending, Expr, Filled, Statistic, Term, Value


@reads("Constant")
def constant(r: Reader, node: Node) -> Value:
    """An array that the node itself holds."""
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            found = node.attributes[name]
            if isinstance(found, Refused):
                raise Refused(str(found))
            if name != "value":
                kind = np.float32 if "float" in name else np.int64
                found = np.array(node.list(name) if name.endswith("s") else node.number(name, 0.0), kind)
            if not isinstance(found, np.ndarray):
                raise Refused(f"its {name} is no tensor")
            return Const(found, node.outputs[0] if node.outputs else "")
    raise Refused(f"it holds {', '.join(node.attributes) or 'nothing'}")


@reads("ConstantOfShape")
def constant_of_shape(r: Reader, node: Node) -> Value:
    """One number in any shape, which is kept as one number."""
    shape = r.list_of(node, "", 0)
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "fiub":
        raise Refused("its value is no single number")
    if shape is None or len(shape) > 16 or any(isinstance(n, int) and n < 0 for n in shape):
        raise Refused(f"the shape {shape}")
    return Filled(value.reshape(()), tuple(shape))


@reads("Range")
def numbers(r: Reader, node: Node) -> Value:
    """start, start + step, ... up to below a limit"""
    ends = [r.constant(node, i, "limit") for i in range(3)]
    if any(a is None or a.size != 1 or a.dtype.kind not in "fiu" for a in ends):
        raise Refused("its limits are not known; say the length of the axes: from_onnx(..., input_shape=...)")
    start, limit, step = (float(a.reshape(())) for a in ends if a is not None)
    if not step or not math.isfinite((limit - start) / step):
        raise Refused(f"from {start} to {limit} in steps of {step}")
    check_room(r, [max(0, math.ceil((limit - start) / step))], [])
    kind = ends[0].dtype if ends[0] is not None else np.float32
    return Const(np.arange(start, limit, step).astype(kind))


@reads("Where")
def where(r: Reader, node: Node) -> Value:
    """One of two constants; or the scores of an attention where a query may look, and -∞ elsewhere."""
    condition, yes, no = (r.needed(node, i) for i in range(3))
    if isinstance(condition, Filled) and condition.array.size == 1 and not isinstance(yes, Const | Filled):
        return yes if bool(condition.array) else no
    if isinstance(condition, Filled) and condition.array.size == 1 and isinstance(no, Attending):
        return yes if bool(condition.array) else no
    if isinstance(condition, Const | Filled):
        told = (expanded(condition) if isinstance(condition, Filled) else condition).array
        for scores, other, there in ((yes, no, told), (no, yes, ~told if told.dtype == bool else told)):
            if isinstance(scores, Attending) and isinstance(other, Const | Filled) and other.array.size == 1:
                if scores.kind != "scores" or there.dtype != bool:
                    break
                return with_mask(scores, np.where(there, 0.0, float(other.array.reshape(()))), node)
    values = [condition, yes, no]
    formula = None if all(isinstance(v, Const | Filled) for v in values) else _formula(r, node, values)
    if formula is not None:
        return formula
    if not all(isinstance(v, Const | Filled) for v in values):
        layout = next((r.layout_of(v) for v in values if r.layout_of(v)), None)
        raise Refused("it chooses between results of the network, and gpubp has no layer that does", layout=layout)
    return fold(r, "Where", values)


def _formula(r: Reader, node: Node, values: Sequence[Value]) -> Expr | None:
    """A choice number by number, of functions of one and the same data; None where it is none."""
    if any(isinstance(v, Attending | Statistic | Ending) for v in values):
        return None
    operands: list[Any] = []
    base: Expr | None = None
    for value in values:
        if isinstance(value, Const | Filled):
            if value.array.size != 1 or value.array.dtype.kind not in "fiub":
                return None
            operands.append(float(value.array.reshape(())))
            continue
        expr = as_expr(r, value)
        base = base or expr
        if (expr.base.step, expr.layout) != (base.base.step, base.layout):
            return None
        operands.append(expr.term)
    return None if base is None else Expr(base.base, Term("Where", tuple(operands), node))


@reads("Trilu")
def trilu(r: Reader, node: Node) -> Value:
    """The upper or the lower triangle of a constant matrix."""
    array = r.constant(node, 0, "matrix")
    k = r.constant(node, 1, "k")
    if array is None or array.ndim < 2 or (k is not None and (k.size != 1 or k.dtype.kind not in "iu")):
        raise Refused("it has no matrix, or no diagonal")
    check_room(r, array.shape, [array])
    at = 0 if k is None else int(np.clip(int(k.reshape(())), -(2**31), 2**31))
    return Const(np.triu(array, at) if node.whole("upper", 1) else np.tril(array, at))


@reads("Tile")
def tile(r: Reader, node: Node) -> Value:
    """A constant repeated along its axes."""
    array, repeats = r.constant(node, 0, "input"), r.list_of(node, "repeats", 1)
    if array is None or repeats is None or len(repeats) != array.ndim:
        raise Refused("its repeats do not fit its axes")
    if any(isinstance(n, Size) or n < 0 for n in repeats):
        if array.size == 1:
            return Filled(array.reshape(()), tuple(repeats))
        raise Refused("it repeats a constant as often as there are rows")
    check_room(r, [a * n for a, n in zip(array.shape, repeats, strict=True)], [array])
    return Const(np.tile(array, repeats))


@reads("ReduceProd", "Size")
def product(r: Reader, node: Node) -> Value:
    """The product of lengths."""
    if node.op == "Size":
        layout = r.layout_of(r.needed(node, 0))
        if layout is None:
            raise Refused("Size of a constant is not computed")
        items: list[Any] = list(layout.shape)
    else:
        array = r.constant(node, 0, "input")
        if array is None or array.ndim != 1 or array.size > 16 or array.dtype.kind not in "iuO":
            raise Refused("it multiplies the network's data, and gpubp has no layer that does")
        items = array.tolist()
    found: Any = 1
    try:
        for item in items:
            found = item * found
    except NoSize as problem:
        raise Refused(str(problem)) from None
    made = np.empty((1,) if node.op == "ReduceProd" and node.whole("keepdims", 1) else (), object)
    made[...] = found
    return Const(made if isinstance(found, Size) else made.astype(np.int64))
