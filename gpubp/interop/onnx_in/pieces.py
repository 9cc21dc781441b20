"""Gather, Slice, Split and Concat: parts of constants, units of a Dense, words, time steps, branches side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import Embedding, LastStep
from .folding import check_room
from .layout import Layout, Part, flat, length, order_of, sizes
from .model import Node
from .reader import Reader, expanded, makes, reads
from .refused import Refused
from .sizes import Size
from .values import Array, Const, Data, Expr, Filled, Joined, Linear, Piece, Value


@reads("Gather")
def gather(r: Reader, node: Node) -> Value:
    """The vectors of words, a part of a constant, or one place of an axis."""
    x, at = r.needed(node, 0), r.needed(node, 1)
    if isinstance(x, Filled):
        x = expanded(x)
    if isinstance(x, Const):
        axis = _axis_of(node.whole("axis", 0), x.array.ndim)
        if isinstance(at, Const | Filled):
            places = (expanded(at) if isinstance(at, Filled) else at).array
            return Const(_taken(r, x.array, places, axis))
        return _embedding(r, node, x, axis, at)
    if not isinstance(at, Const) or at.array.dtype.kind not in "iu":
        raise Refused("its places depend on the input", layout=r.layout_of(x))
    layout = r.layout(x)
    axis = layout.axis(node.whole("axis", 0))
    if at.array.size != 1:
        raise Refused("it takes several places of the network's data, and gpubp has no layer that does", layout=layout)
    place, known = int(at.array.reshape(())), length(layout.ox[axis])
    if isinstance(known, Size) and place == -1:
        return _last(r, x, axis, at.array.ndim == 0)
    if isinstance(known, Size) or not -known <= place < known:
        raise Refused(f"it takes place {place} of an axis of length {known}", layout=layout)
    return part_of(r, node, x, axis, place % known, place % known + 1, taken=at.array.ndim == 0)


def _axis_of(number: int, rank: int) -> int:
    if not -rank <= number < rank:
        raise Refused(f"axis {number} of a constant of {rank} axes")
    return number % rank


def _taken(r: Reader, array: Array, places: Array, axis: int) -> Array:
    if places.dtype.kind not in "iu":
        raise Refused(f"its places are of {places.dtype}")
    n = array.shape[axis]
    if places.size and (places.min() < -n or places.max() >= n):
        raise Refused(f"it takes places of an axis of length {n} that are not there")
    check_room(r, [*array.shape[:axis], *places.shape, *array.shape[axis + 1 :]], [array])
    return np.asarray(np.take(array, places, axis))


def _embedding(r: Reader, node: Node, x: Const, axis: int, at: Value) -> Data:
    words = r.data(at)
    if x.array.ndim != 2 or axis or x.array.dtype.kind != "f":
        raise Refused(
            "gpubp's Embedding takes vectors from a matrix of real numbers, along axis 0", layout=words.layout
        )
    if not words.words:
        raise Refused("its places are computed by the network")
    V, d = x.array.shape
    number = Part(d)
    l = words.layout
    return r.step(
        Embedding(V, d), [words], replace(l, gp=(*l.gp, (number,)), ox=(*l.ox, (number,))), (node,), {"W": x.array}
    )


@reads("Slice")
def slice_of(r: Reader, node: Node) -> Value:
    """A range of places of one or more axes."""
    x = r.needed(node, 0)
    starts, ends = r.list_of(node, "starts", 1), r.list_of(node, "ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        raise Refused("its starts and ends do not fit each other")
    axes = r.list_of(node, "axes", 3) or list(range(len(starts)))
    steps = r.list_of(node, "steps", 4) or [1] * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts):
        raise Refused("its axes and steps do not fit its starts")
    if isinstance(x, Filled) and x.array.size > 1:
        x = expanded(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if isinstance(x, Const):
            axis = _axis_of(int(axis), x.array.ndim)
            if step == 0 or any(isinstance(n, Size) for n in (start, end, step)):
                raise Refused(
                    "it takes as much of a constant as there are rows or time steps; say how many: "
                    "from_onnx(..., input_shape=...)"
                )
            x = Const(x.array[(slice(None),) * axis + (slice(start, end, step),)], x.name)
            continue
        if isinstance(x, Filled):
            axis = _axis_of(int(axis), len(x.shape))
            count: Any = x.shape[axis]
            if start == 0 and step == 1 and (end == count or isinstance(end, int) and end >= 2**31 - 1):
                continue
            if any(isinstance(n, Size) for n in (count, start, end, step)) or step == 0:
                raise Refused(f"it takes a part of an axis of length {count}")
            kept = len(range(*slice(start, end, step).indices(count)))
            x = Filled(x.array, (*x.shape[:axis], kept, *x.shape[axis + 1 :]))
            continue
        layout = r.layout(x)
        axis = layout.axis(int(axis))
        known = length(layout.ox[axis])
        if start == 0 and step == 1 and (end == known or isinstance(end, int) and end >= 2**31 - 1):
            continue
        if isinstance(known, Size):
            if start == -1 and step == 1 and isinstance(end, int) and end >= 2**31 - 1:
                x = _last(r, x, axis, False)
                continue
            raise Refused(f"it takes a part of an axis of length {known}", layout=layout)
        if step != 1 or isinstance(start, Size) or isinstance(end, Size):
            raise Refused(f"steps of {step}; gpubp has no layer that takes them", layout=layout)
        first, last, _ = slice(start, end).indices(known)
        if first >= last:
            raise Refused("it takes nothing of its input")
        x = part_of(r, node, x, axis, first, last)
    return x


@reads("Split")
def split(r: Reader, node: Node) -> list[Value]:
    """An axis in pieces."""
    x = r.needed(node, 0)
    if isinstance(x, Filled):
        x = expanded(x)
    layout = r.layout_of(x)
    number = node.whole("axis", 0)
    axis = layout.axis(number) if layout else _axis_of(number, x.array.ndim)  # type: ignore[union-attr]
    known = length(layout.ox[axis]) if layout else x.array.shape[axis]  # type: ignore[union-attr]
    lengths = r.list_of(node, "split", 1)
    count = len(node.outputs)
    if isinstance(known, Size) or not count:
        raise Refused(f"it divides an axis of length {known}", layout=layout)
    if lengths is None:
        each = -(-known // count)
        lengths = [min(each, known - each * i) for i in range(count)]
    if len(lengths) != count or sum(lengths) != known or any(n < 1 for n in lengths):
        raise Refused(f"pieces of {lengths} of an axis of length {known}", layout=layout)
    ends = np.cumsum(lengths).tolist()
    found: list[Value] = []
    for start, end in zip([0, *ends], ends, strict=False):
        if isinstance(x, Const):
            found.append(Const(x.array[(slice(None),) * axis + (slice(start, end),)], x.name))
        else:
            found.append(part_of(r, node, x, axis, start, end))
    return found


def part_of(r: Reader, node: Node, x: Value, axis: int, start: int, stop: int, taken: bool = False) -> Value:
    """Places `start` to below `stop` of an axis of data: some units of a Dense, the last time step, or a piece."""
    layout = r.layout(x)
    of, known = layout.ox[axis], length(layout.ox[axis])
    if stop - start == known:
        return x if not taken else _without(r, x, axis)
    if isinstance(x, Joined) and x.axis == axis:
        at = 0
        for value, n in zip(x.values, x.lengths, strict=True):
            n = n if isinstance(n, int) else 0
            if at <= start and stop <= at + n:
                return part_of(r, node, value, axis, start - at, stop - at, taken)
            at += n
    if r.batch in of:
        raise Refused("it takes some of the rows, and gpubp's layers have each row by itself", layout=layout)
    if isinstance(x, Linear) and len(of) == 1 and of[0] in x.units and x.attention is None and x.groups == 1:
        return _units(x, of[0], axis, start, stop, taken)
    x = x if isinstance(x, Piece) else r.data(x)
    if isinstance(x, Data) and stop == known and stop - start == 1 and len(layout.gp) == 3 and layout.gp[1] == of:
        return _last(r, x, axis, taken)
    if not isinstance(x, Data):
        x = r.data(x)
    new = Part(stop - start)
    by = () if taken or stop - start == 1 else (new,)
    ox = [*layout.ox[:axis], *([] if taken else [by]), *layout.ox[axis + 1 :]]
    gp = tuple(_with(group, of, by) for group in layout.gp)
    return Piece(x, axis, start, stop, Layout(gp, tuple(ox), layout.batch), node, by)


def _with(group: tuple[Part, ...], old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[Part, ...]:
    if old and group[: len(old)] == old:
        return (*new, *group[len(old) :])
    return tuple(part for part in group if part not in old)


def _without(r: Reader, x: Value, axis: int) -> Value:
    if isinstance(x, Expr | Joined):
        x = r.data(x)
    layout = r.layout(x)
    return replace(x, layout=layout.squeezed([axis]))  # type: ignore[arg-type]


def _units(x: Linear, part: Part, axis: int, start: int, stop: int, taken: bool) -> Linear:
    """Some of the units: of a Dense, whose weights are cut."""
    shape, place = sizes(x.units), x.units.index(part)

    def cut(a: Array) -> Array:
        a = a.reshape(*a.shape[:-1], *shape)
        at = a.ndim - len(shape) + place
        a = a[(slice(None),) * at + (slice(start, stop),)]
        return a.reshape(*a.shape[: a.ndim - len(shape)], -1)

    new = Part(stop - start)
    by = {part: () if stop - start == 1 else (new,)}
    gp = tuple(tuple(p for old in group for p in by.get(old, (old,))) for group in x.layout.gp)
    ox = [*x.layout.ox[:axis], *([] if taken else [by[part]]), *x.layout.ox[axis + 1 :]]
    units = tuple(p for old in x.units for p in by.get(old, (old,)))
    b = None if x.b is None else cut(x.b)
    return replace(
        x, W=cut(x.W), b=b, units=units, layout=Layout(gp, tuple(ox), x.layout.batch), made=[], unscaled=None
    )


def _last(r: Reader, x: Value, axis: int, taken: bool) -> Data:
    data = r.data(x)
    l = data.layout
    if len(l.gp) != 3 or l.gp[1] != l.ox[axis]:
        raise Refused("it takes the last place of an axis that is not the time of gpubp's rows", layout=l)
    ox = [*l.ox[:axis], *([] if taken else [()]), *l.ox[axis + 1 :]]
    return r.step(LastStep(), [data], Layout((l.gp[0], l.gp[2]), tuple(ox), l.batch))


@reads("Concat")
def concat(r: Reader, node: Node) -> Value:
    """Constants joined; branches side by side; pieces put together again."""
    values = [r.needed(node, i) for i in range(len(node.inputs))]
    if not values:
        raise Refused("it has no inputs")
    number = node.whole("axis", 1)
    if all(isinstance(v, Const | Filled) for v in values):
        arrays = [(expanded(v) if isinstance(v, Filled) else v).array for v in values]  # type: ignore[union-attr]
        axis = _axis_of(number, arrays[0].ndim)
        shapes = {(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays}
        if len(shapes) > 1 or any(a.ndim != arrays[0].ndim for a in arrays):
            raise Refused(f"it joins constants of shapes {[a.shape for a in arrays]}")
        check_room(r, [sum(a.size for a in arrays)], arrays)
        return Const(np.concatenate(arrays, axis))
    if len(values) == 1:
        return values[0]
    whole = _put_together(r, values, number)
    return whole if whole is not None else _joined(r, node, values, number)


def _joined(r: Reader, node: Node, values: list[Value], number: int) -> Value:
    layouts = [r.layout_of(v) for v in values]
    if any(l is None for l in layouts):
        raise Refused(
            "it joins results of the network and constants, and gpubp has no layer that does",
            layout=next(l for l in layouts if l is not None),
        )
    some = [l for l in layouts if l is not None]
    axis = some[0].axis(number)
    if any(len(l.ox) != len(some[0].ox) for l in some):
        raise Refused("its inputs have different numbers of axes")
    lengths = tuple(length(l.ox[axis]) for l in some)
    if any(isinstance(n, Size) for n in lengths):
        raise Refused("it joins rows or time steps, and gpubp's Parallel joins the numbers of a step", layout=some[0])
    new = Part(sum(int(n) for n in lengths if isinstance(n, int)))
    l = some[0]
    kept = tuple(tuple(part for part in group if part not in l.ox[axis]) for group in l.gp)
    made = Layout((*kept[:-1], (*kept[-1], new)), (*l.ox[:axis], (new,), *l.ox[axis + 1 :]), l.batch)
    return Joined(tuple(values), lengths, axis, made, node)


@makes(Joined)
def _make(r: Reader, value: Joined) -> Data:
    if not value.made:
        value.made.append(_side_by_side(r, value.node, [r.data(v) for v in value.values], value.axis))
    return value.made[0]


def _put_together(r: Reader, values: Sequence[Value], number: int) -> Data | None:
    """The data whose pieces these are, in their order. Single places come before what the joined axis has else."""
    pieces = [v for v in values if isinstance(v, Piece)]
    if len(pieces) < len(values):
        return None
    first, at = pieces[0], 0
    axis = first.layout.axis(number)
    for piece in pieces:
        if piece.whole.step != first.whole.step or piece.axis != first.axis or piece.start != at:
            return None
        if (piece.stop - at == 1) != (len(first.part) == 0) or len(piece.layout.ox) != len(first.layout.ox):
            return None
        for n, (one, other) in enumerate(zip(piece.layout.ox, first.layout.ox, strict=True)):
            if n != axis and one != other:
                return None
        if piece.part and piece.layout.ox[axis] != piece.part:
            return None
        at = piece.stop
    of = first.whole.layout.ox[first.axis]
    if at != length(of):
        return None
    joined = of if first.part else (*of, *first.layout.ox[axis])
    ox = (*first.layout.ox[:axis], joined, *first.layout.ox[axis + 1 :])
    return Data(first.whole.step, Layout(first.whole.layout.gp, ox, first.layout.batch))


def _side_by_side(r: Reader, node: Node, data: list[Data], number: int) -> Data:
    """Parallel, along gpubp's last axis."""
    axis = data[0].layout.axis(number)
    lengths = []
    rest = set()
    for n, x in enumerate(data):
        if len(x.layout.ox) != len(data[0].layout.ox):
            raise Refused("its inputs have different numbers of axes")
        of = x.layout.ox[axis]
        data[n] = x = _last_axis(r, x, of)
        if isinstance(length(of), Size):
            raise Refused("it joins time steps, and gpubp's Parallel joins the numbers of a step", layout=x.layout)
        lengths.append(length(of))
        without = Layout(x.layout.gp[:-1], tuple(a for i, a in enumerate(x.layout.ox) if i != axis), x.layout.batch)
        rest.add((order_of(without), x.layout.row[:-1]))
    if len(rest) > 1:
        raise Refused("its inputs have different shapes, or their numbers in different order", layout=data[0].layout)
    l, new = data[0].layout, Part(sum(int(n) for n in lengths if isinstance(n, int)))
    ox = (*l.ox[:axis], (new,), *l.ox[axis + 1 :])
    return r.step(None, data, Layout((*l.gp[:-1], (new,)), ox, l.batch), (node,), merge="concatenate")


def _last_axis(r: Reader, x: Data, of: Any) -> Data:
    """The data with the joined axis last, as one part in one order."""
    if not flat([of]):  # one number
        gp = x.layout.gp if x.layout.gp[-1] and length(x.layout.gp[-1]) == 1 and len(x.layout.gp) > 1 else None
        return x if gp else r.regrouped(x, (*x.layout.gp, ()))
    x = r.with_last(x, of)
    if flat([x.layout.gp[-1]]) != flat([of]):
        raise Refused("it joins images that were made rows, in another order of their numbers", layout=x.layout)
    return x
