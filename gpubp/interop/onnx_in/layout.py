"""Layout: how the numbers of a tensor in the file lie in the array that gpubp has in its place.

The file has images as (batch, channels, height, width) and gpubp as (batch, height, width, channels). Neither is
turned into the other: the axes of both are made of the same parts, such as b, c, h, w, and a layout lists them twice,

    gp    [b] [h] [w] [c]      the axes of gpubp's array, each a product of parts
    ox    [b] [c] [h] [w]      the axes of the file's tensor

A Transpose in the file exchanges axes of `ox`, a Reshape puts parts together or divides them, and neither needs a
layer. Behind Flatten `ox` is [b] [c h w], and the rows of the next weights are brought from c h w to h w c. A part of
length 1 stands in `gp` alone, or nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .refused import Refused
from .sizes import Length, Size, divided


class Part:
    """A part of one or more axes. size: its length. Two parts are the same only if they are one object.

    >>> Part(3) == Part(3)
    False
    """

    __slots__ = ("size",)

    def __init__(self, size: Length) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"Part({self.size})"


Axis = tuple[Part, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Layout:
    """The axes of gpubp's array and of the file's tensor, in parts. batch: the part that counts the rows.

    >>> b, c, h = Part(2), Part(3), Part(4)
    >>> image = Layout(((b,), (h,), (c,)), ((b,), (c,), (h,)), b)
    >>> image.shape, image.row
    ((2, 3, 4), (4, 3))
    >>> image.transposed([0, 2, 1]).shape, image.reshaped([2, 12])[0].ox == ((b,), (c, h))
    ((2, 4, 3), True)
    """

    gp: Axes
    ox: Axes
    batch: Part

    @property
    def shape(self) -> tuple[Length, ...]:
        """Of the file's tensor."""
        return tuple(map(length, self.ox))

    @property
    def row(self) -> tuple[Length, ...]:
        """The shape of a row of gpubp's array."""
        return tuple(map(length, self.gp[1:]))

    def axis(self, number: int) -> int:
        """An axis of the file's tensor, counted from its begin; Refused if there is none."""
        if not -len(self.ox) <= number < len(self.ox):
            raise Refused(f"axis {number} of a tensor of {len(self.ox)} axes")
        return number % len(self.ox)

    def transposed(self, order: Sequence[int]) -> Layout:
        """Of the tensor with its axes in another order."""
        if sorted(order) != list(range(len(self.ox))):
            raise Refused(f"perm {list(order)} is no order of {len(self.ox)} axes")
        return Layout(self.gp, tuple(self.ox[n] for n in order), self.batch)

    def squeezed(self, axes: Iterable[int] | None) -> Layout:
        """Of the tensor without these axes of length 1; None for all."""
        if axes is not None:
            named = [self.axis(n) for n in axes]
        else:
            named = [n for n, axis in enumerate(self.ox) if length(axis) == 1]
            if any(self.batch in self.ox[n] for n in named):
                raise Refused("it names no axes, and so leaves out that of the rows, of which the file has 1")
        for n in named:
            if length(self.ox[n]) != 1 or self.batch in self.ox[n]:
                raise Refused(f"axis {n} can't be left out, because it does not always have the length 1")
        return Layout(self.gp, tuple(axis for n, axis in enumerate(self.ox) if n not in named), self.batch)

    def unsqueezed(self, axes: Iterable[int]) -> Layout:
        """Of the tensor with further axes of length 1, which are these of the result."""
        new = list(axes)
        rank = len(self.ox) + len(new)
        places = {n % rank for n in new if -rank <= n < rank}
        if len(places) < len(new):
            raise Refused(f"axes {new} of a tensor of {rank} axes")
        old = iter(self.ox)
        return Layout(self.gp, tuple(() if n in places else next(old) for n in range(rank)), self.batch)

    def reshaped(self, wanted: Sequence[Length]) -> tuple[Layout, dict[Part, Axis]]:
        """Of the tensor in another shape, and which parts had to be divided. Raises Refused if that can't be followed.

        A part of length 1 that counts the rows goes where the first length 1 is wanted.
        """
        parts = [part for axis in self.ox for part in axis if part.size != 1 or part is self.batch]
        divided_parts: dict[Part, Axis] = {}
        made: list[Axis] = []
        problem = Refused(
            f"it makes the shape {shown(wanted)} of {shown(self.shape)}; gpubp reads a Reshape that keeps each row by "
            "itself, and joins or divides whole axes"
        )
        for size in wanted:
            axis: list[Part] = []
            left: Any = size
            if size == 1 and parts and parts[0] is self.batch and self.batch.size == 1:
                axis.append(parts.pop(0))
            while left != 1:
                if not parts:
                    raise problem
                part = parts.pop(0)
                rest = divided(left, part.size)
                if rest is not None:
                    axis.append(part)
                    left = rest
                    continue
                other = divided(part.size, left)
                if other is None or part is self.batch or isinstance(part.size, Size):
                    raise problem
                first, second = Part(left), Part(other)
                divided_parts[part] = first, second
                axis.append(first)
                parts.insert(0, second)
                left = 1
            made.append(tuple(axis))
        if parts == [self.batch] and self.batch.size == 1 and made:
            made[-1] = (*made[-1], parts.pop())
        if parts:
            raise problem
        gp = tuple(replaced(axis, divided_parts) for axis in self.gp)
        return Layout(gp, tuple(made), self.batch), divided_parts


def replaced(axis: Axis, by: dict[Part, Axis]) -> Axis:
    """An axis with parts that were divided.

    >>> a, b, c = Part(6), Part(2), Part(3)
    >>> replaced((a,), {a: (b, c)}) == (b, c)
    True
    """
    found: list[Part] = []
    for part in axis:
        found += replaced(by[part], by) if part in by else (part,)
    return tuple(found)


def length(axis: Axis) -> Length:
    """The length of an axis.

    >>> length((Part(2), Part(3))), length(())
    (6, 1)
    """
    found: Any = 1
    for part in axis:
        found = part.size * found
    return found  # type: ignore[no-any-return]


def flat(axes: Iterable[Axis]) -> list[Part]:
    """The parts of all axes in their order, without those of length 1.

    >>> len(flat([(Part(2), Part(1)), (Part(3),)]))
    2
    """
    return [part for axis in axes for part in axis if part.size != 1]


def shown(shape: Iterable[Length]) -> str:
    """A shape in messages.

    >>> shown((Size(1, ("batch",)), 3))
    '(batch, 3)'
    """
    return f"({', '.join(map(str, shape))})"


def order_of(layout: Layout) -> Any:
    """Where each number of gpubp's array lies in the file's tensor: the same for two layouts that agree in this.

    Neighbouring parts that are neighbours in both are one, so that the same order has one description.

    >>> b, c, d, e = Part(2), Part(6), Part(2), Part(3)
    >>> order_of(Layout(((b,), (c,)), ((b,), (c,)), b)) == order_of(Layout(((b,), (d, e)), ((b,), (d, e)), b))
    True
    """
    gp = flat(layout.gp)
    ox = [[part for part in axis if part.size != 1] for axis in layout.ox]
    place = {part: n for n, part in enumerate(gp)}
    axes = []
    for axis in ox:
        runs: list[list[Any]] = []  # [place of the first part, how many parts, length]
        for part in axis:
            at = place.get(part, -1)
            if runs and at == runs[-1][0] + runs[-1][1]:
                runs[-1][1] += 1
                runs[-1][2] = part.size * runs[-1][2]
            else:
                runs.append([at, 1, part.size])
        axes.append(runs)
    firsts = sorted(run[0] for runs in axes for run in runs)
    return tuple(tuple((firsts.index(run[0]), run[2]) for run in runs) for runs in axes)


def rows_in_order(part_order: Axis, wanted: Axis) -> list[int]:
    """The axes of a transpose from parts in one order to the same parts in another.

    >>> a, b = Part(2), Part(3)
    >>> rows_in_order((a, b), (b, a))
    [1, 0]
    """
    return [part_order.index(part) for part in wanted]


def sizes(axis: Axis) -> tuple[int, ...]:
    """The lengths of parts, which must be known; Refused if one is not.

    >>> sizes((Part(2), Part(3)))
    (2, 3)
    """
    found = tuple(part.size for part in axis)
    if any(isinstance(n, Size) for n in found):
        raise Refused(f"it depends on {math.nan if not found else shown(found)}, and a layer needs known sizes")
    return tuple(int(n) for n in found if isinstance(n, int))
