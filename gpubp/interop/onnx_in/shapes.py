"""Reshape, Transpose and their kin: other axes for the same numbers, which need no layer by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import Dropout
from .elementwise import evaluated, shortest
from .folding import check_room, whole_numbers
from .layout import Axis, Layout, Part, length, replaced
from .model import Node
from .reader import Reader, expanded, reads
from .refused import Refused
from .scaling import scaling_of
from .sizes import Length, Size, divided
from .tensors import NUMBERS, type_name
from .values import (
    Attending,
    Const,
    Data,
    Ending,
    Expr,
    Filled,
    Joined,
    Later,
    Linear,
    Normalized,
    Padded,
    Piece,
    Statistic,
    Term,
    Value,
)

Change = Callable[[Layout], tuple[Layout, dict[Part, Axis]]]


def with_layout(r: Reader, value: Value, change: Change) -> Value:
    """The value with other axes in the file's tensor. Parts that are divided are so wherever the value has them."""
    if (before := scaling_of(r, value)) is not None:
        layout, cut = change(before.layout)
        return replace(before, x=Data(before.x.step, layout), layout=layout, axis=replaced(before.axis, cut))
    if isinstance(value, Expr | Padded | Joined):
        value = r.data(value)
    if isinstance(value, Data):
        return Data(value.step, change(value.layout)[0], value.words)
    assert isinstance(value, Later | Linear | Normalized | Statistic | Attending | Ending | Piece)
    layout, cut = change(value.layout)
    if isinstance(value, Linear):
        return replace(value, layout=layout, units=replaced(value.units, cut), unscaled=None)
    if isinstance(value, Normalized | Statistic):
        if cut and set(value.axis) & cut.keys():
            value = replace(value, axis=replaced(value.axis, cut))
        return replace(value, layout=layout)
    if isinstance(value, Attending):
        return replace(value, layout=layout, heads=replaced(value.heads, cut))
    return replace(value, layout=layout)


@reads("Identity", "Dropout")
def identity(r: Reader, node: Node) -> Value | list[Value]:
    """The same; Dropout is a layer, which does something in training."""
    x = r.needed(node, 0)
    if node.op == "Identity" or isinstance(x, Const | Filled):
        return x
    if len(node.outputs) > 1 and node.outputs[1] in r.readers:
        raise Refused("its mask is used")
    rate = node.number("ratio", 0.5)
    if len(node.inputs) > 1 and node.inputs[1]:
        array = r.numbers(node, 1, "ratio")
        rate = float(array.reshape(-1)[0]) if array is not None and array.size == 1 else -1.0
    if not 0.0 <= rate < 1.0:
        raise Refused(f"a ratio of {rate}")
    if rate == 0.0 or isinstance(x, Attending):
        return x
    data = r.data(x)
    return replace(r.step(Dropout(shortest(rate)), [data], data.layout), words=data.words)


@reads("Cast", "CastLike")
def cast(r: Reader, node: Node) -> Value:
    """Of constants it is computed; of data it changes nothing between types of real numbers."""
    x = r.needed(node, 0)
    to = node.whole("to", 0) if isinstance(node.attributes.get("to", 0), int) else _old_type(node.text("to", ""))
    if node.op == "CastLike":
        like = r.needed(node, 1)
        kinds = {name: kind for kind, name in NUMBERS.items()}
        to = 1 if not isinstance(like, Const) else kinds.get(str(like.array.dtype), 0)
    if isinstance(x, Filled):
        return Filled(_cast(x.array, to), x.shape)
    if isinstance(x, Const):
        return Const(_cast(x.array, to), x.name)
    real = NUMBERS.get(to, "").startswith("float") or to == 16
    if isinstance(x, Expr) and real and not isinstance(x.term, str):  # a comparison as a number
        return Expr(x.base, Term("Cast", (x.term,), node))
    if isinstance(x, Expr) and to == 9 and isinstance(x.term, Term) and x.term.op in TRUTHS:
        return x
    if NUMBERS.get(to, "") in ("int32", "int64") and (words := _words(x)) is not None:
        return words
    if not real or isinstance(x, Data) and x.words and x.step:
        raise Refused(f"it makes {type_name(to)} of the network's data", layout=r.layout_of(x))
    if to in (10, 16):
        r.notes.append(f"{node.shown}: what the file computes in {type_name(to)} is computed in float32")
    return x


TRUTHS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "IsNaN")


def _words(x: Value) -> Data | None:
    """The input where it is made whole numbers, maybe by a formula that leaves those from 0 on as they are."""
    if isinstance(x, Data) and x.step == 0:
        return replace(x, words=True)
    if isinstance(x, Expr) and x.base.step == 0 and not isinstance(x.term, str):
        some = np.arange(2000.0)
        if np.array_equal(evaluated(x.term, some), some):
            return replace(x.base, words=True)
    return None


def _old_type(name: str) -> int:
    known = {"FLOAT": 1, "INT32": 6, "INT64": 7, "BOOL": 9, "FLOAT16": 10, "DOUBLE": 11}
    return known.get(name.upper(), 0)


def _cast(array: Any, to: int) -> Any:
    if array.dtype.kind == "O":
        if to in (6, 7):
            return array
        raise Refused(f"it makes {type_name(to)} of lengths that are not known")
    if to == 16:
        return array.astype(np.float32)
    if to not in NUMBERS or array.dtype.kind not in "fiub":
        raise Refused(f"it makes {type_name(to)} of {array.dtype}")
    with np.errstate(all="ignore"):
        return array.astype(NUMBERS[to])


@reads("Transpose")
def transpose(r: Reader, node: Node) -> Value:
    """The axes in another order."""
    x = r.needed(node, 0)
    order = node.list("perm")
    if isinstance(x, Filled):
        x = expanded(x)
    if isinstance(x, Const):
        if order is not None and sorted(order) != list(range(x.array.ndim)):
            raise Refused(f"perm {order} is no order of {x.array.ndim} axes")
        return Const(x.array.transpose(order), x.name)
    return with_layout(r, x, lambda l: (l.transposed(order or range(len(l.ox))[::-1]), {}))


@reads("Squeeze", "Unsqueeze")
def squeeze(r: Reader, node: Node) -> Value:
    """Axes of length 1 left out, or put in."""
    x = r.needed(node, 0)
    axes = r.list_of(node, "axes", 1)
    if any(not isinstance(n, int) for n in axes or ()) or (axes is None and node.op == "Unsqueeze"):
        raise Refused(f"axes {axes}")
    if isinstance(x, Filled):
        shape = _squeezed(x.shape, axes) if node.op == "Squeeze" else _unsqueezed(x.shape, axes or [])
        if x.array.size == 1:
            return Filled(x.array.reshape(()), shape)
        x = expanded(x)
    if isinstance(x, Const):
        shape = _squeezed(x.array.shape, axes) if node.op == "Squeeze" else _unsqueezed(x.array.shape, axes or [])
        return Const(x.array.reshape(shape), x.name)
    if node.op == "Squeeze":
        return with_layout(r, x, lambda l: (l.squeezed(axes), {}))
    return with_layout(r, x, lambda l: (l.unsqueezed(axes or []), {}))


def _squeezed(shape: tuple[Any, ...], axes: list[int] | None) -> tuple[Any, ...]:
    named = {n % len(shape) for n in axes if -len(shape) <= n < len(shape)} if axes is not None and shape else None
    named = {n for n, size in enumerate(shape) if size == 1} if named is None else named
    if any(shape[n] != 1 for n in named):
        raise Refused(f"axes {axes} of a constant of shape {shape}")
    return tuple(size for n, size in enumerate(shape) if n not in named)


def _unsqueezed(shape: tuple[Any, ...], axes: list[int]) -> tuple[Any, ...]:
    rank = len(shape) + len(axes)
    places = {n % rank for n in axes if -rank <= n < rank}
    if len(places) < len(axes) or rank > 16:
        raise Refused(f"axes {axes} of a constant of shape {shape}")
    old = iter(shape)
    return tuple(1 if n in places else next(old) for n in range(rank))


@reads("Flatten")
def flatten(r: Reader, node: Node) -> Value:
    """(…, …) of all axes before `axis` and all others."""
    x = r.needed(node, 0)
    number = node.whole("axis", 1)
    if isinstance(x, Const):
        axis = number + x.array.ndim if number < 0 else number
        if not 0 <= axis <= x.array.ndim:
            raise Refused(f"axis {number}")
        return Const(x.array.reshape(math.prod(x.array.shape[:axis]), -1), x.name)

    def change(l: Layout) -> tuple[Layout, dict[Part, Axis]]:
        axis = number + len(l.ox) if number < 0 else number
        if not 0 <= axis <= len(l.ox):
            raise Refused(f"axis {number} of a tensor of {len(l.ox)} axes")
        first, second = (tuple(part for of in some for part in of) for some in (l.ox[:axis], l.ox[axis:]))
        return replace(l, ox=(first, second)), {}

    return with_layout(r, x, change)


@reads("Reshape")
def reshape(r: Reader, node: Node) -> Value:
    """Another shape: 0 keeps a length, -1 is what is left."""
    x = r.needed(node, 0)
    wanted = r.list_of(node, "shape", 1)
    if wanted is None or len(wanted) > 16:
        raise Refused("it has no shape, or one of more than 16 axes")
    keeps = not node.whole("allowzero", 0)
    if isinstance(x, Filled):
        shape = _meant(wanted, x.shape, keeps)
        if x.array.size == 1:
            return Filled(x.array.reshape(()), tuple(shape))
        x = expanded(x)
    if isinstance(x, Const):
        meant = _meant(wanted, x.array.shape, keeps)
        if any(isinstance(n, Size) for n in meant) or math.prod(meant) != x.array.size:
            raise Refused(f"it makes the shape {meant} of a constant of shape {x.array.shape}")
        return Const(x.array.reshape([int(n) for n in meant if isinstance(n, int)]), x.name)
    return with_layout(r, x, lambda l: l.reshaped(_meant(wanted, l.shape, keeps)))


def _meant(wanted: list[Any], shape: tuple[Length, ...], keeps: bool) -> list[Length]:
    """The shape with 0 and -1 replaced."""
    meant: list[Any] = list(wanted)
    for n, size in enumerate(meant):
        if size == 0 and keeps:
            if n >= len(shape):
                raise Refused(f"shape {wanted} of a tensor of {len(shape)} axes")
            meant[n] = shape[n]
    if any(isinstance(n, int) and n < (-1 if meant.count(-1) == 1 else 0) for n in meant):
        raise Refused(f"the shape {wanted} is none")
    if -1 in meant:
        at = meant.index(-1)
        whole, known = length(tuple(map(Part, shape))), length(tuple(Part(n) for i, n in enumerate(meant) if i != at))
        left = divided(whole, known)
        if left is None:
            raise Refused(f"the shape {wanted} does not fit {shape}")
        meant[at] = left
    return meant


@reads("Shape")
def shape_of(r: Reader, node: Node) -> Value:
    """The lengths of the axes."""
    x = r.needed(node, 0)
    layout = r.layout_of(x)
    shape = layout.shape if layout else x.shape if isinstance(x, Filled) else x.array.shape  # type: ignore[union-attr]
    end = node.whole("end", len(shape))
    return Const(whole_numbers(list(shape)[node.whole("start", 0) : end]))


@reads("Expand")
def expand(r: Reader, node: Node) -> Value:
    """A constant repeated, of which one row is kept; data where nothing is repeated."""
    x = r.needed(node, 0)
    wanted = r.list_of(node, "", 1)
    if wanted is None or len(wanted) > 16 or any(isinstance(n, int) and n < 1 for n in wanted):
        raise Refused(f"the shape {wanted}")
    layout = r.layout_of(x)
    if layout is not None:
        rank = len(layout.ox)
        if len(wanted) <= rank and all(n in (1, layout.shape[rank - len(wanted) + i]) for i, n in enumerate(wanted)):
            return x
        raise Refused("it repeats the network's data", layout=layout)
    array = x.array  # type: ignore[union-attr]
    old: tuple[Any, ...] = x.shape if isinstance(x, Filled) else array.shape
    rank = max(len(old), len(wanted))
    old, new = (1,) * (rank - len(old)) + tuple(old), [1] * (rank - len(wanted)) + wanted
    if any(a != b and 1 not in (a, b) for a, b in zip(old, new, strict=True)):
        raise Refused(f"it makes the shape {wanted} of {old}")
    shape = tuple(b if a == 1 else a for a, b in zip(old, new, strict=True))
    if isinstance(x, Filled) and array.size > 1:
        array = expanded(x).array
    if array.size > 1 and not any(isinstance(n, Size) for n in shape):
        check_room(r, shape, [array])
        return Const(np.broadcast_to(array, shape))
    return Filled(array.reshape(old) if array.size > 1 else array.reshape(()), shape)
