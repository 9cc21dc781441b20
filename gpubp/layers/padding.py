"""Padding adds places around images, and cropping takes some away.

    x (B, …, n, …, C)   y (B, …, p + n + q, …, C)        n places along an axis of space, p in front and q behind

    Padding    (1) y[i + p] = x[i]                        (2) dx[i] = dy[i + p] + Σ dy of the places that copy x[i]
               The places in front, and those behind likewise, by the mode:
               "constant"  y[p - i] = the value           "reflect"  y[p - i] = y[p + i], as in a mirror
               "edge"      y[p - i] = y[p]                "wrap"     y[p - i] = y[p + n - i], which is x again
    Cropping   (3) y[i] = x[i + p],  n - p - q places     (4) dx[i + p] = dy[i],  0 elsewhere

Modes are named as in `numpy.pad`. Corners hold the padding of padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from ..backends import Array, Shape
from ..config import CountOrZero
from ..errors import ShapeError
from .base import Workspace
from .channelwise import Channelwise
from .plan import Plan
from .windows import Sides, check_rank

Mode = Literal["constant", "reflect", "edge", "wrap"]
OfTime = CountOrZero | Sides
OfImage = CountOrZero | tuple[CountOrZero, CountOrZero] | tuple[Sides, Sides]
OfVolume = CountOrZero | tuple[CountOrZero, CountOrZero, CountOrZero] | tuple[Sides, Sides, Sides]
Places = tuple[slice, ...]


class Box(NamedTuple):
    """A part of y: its places; where in x its numbers come from, None for a constant; and the axes along which one
    number is repeated."""

    new: Places
    source: Places | None
    repeated: tuple[int, ...]


def sides_of(padding: OfTime | OfImage | OfVolume, axes: int) -> list[tuple[int, int]]:
    """(in front, behind) of each axis.

    >>> sides_of(1, 2), sides_of((1, 2), 2), sides_of((1, 2), 1), sides_of(((1, 2), (0, 3)), 2)
    ([(1, 1), (1, 1)], [(1, 1), (2, 2)], [(1, 2)], [(1, 2), (0, 3)])
    """
    given = padding if isinstance(padding, tuple) and axes > 1 else (padding,) * axes
    return [p if isinstance(p, tuple) else (p, p) for p in given]  # type: ignore[misc]


class Padding(Channelwise):
    """(1), (2)"""

    padding: OfTime | OfImage | OfVolume
    mode: Mode
    value: float

    def plan(self, x: Shape) -> Plan:
        """Longer axes."""
        check_rank(x, self.axes)
        sides = sides_of(self.padding, self.axes)
        y = (x[0], *(n + p + q for n, (p, q) in zip(x[1:-1], sides, strict=True)), x[-1])
        lacking = {"reflect": 1, "wrap": 0}.get(self.mode)
        if lacking is not None and any(max(p, q) + lacking > n for n, (p, q) in zip(x[1:-1], sides, strict=True)):
            raise ShapeError(
                f'pads {x} with the input itself, by mode="{self.mode}", and the input has too few places for '
                f'padding={self.padding}; take less padding, or mode="edge"'
            )
        return Plan(output=y, arrays={"y": y, "dx": x, "part": x}, overwrites=("y", "dx"), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        for new, source, _ in self._boxes(x.shape):
            ws.xp.copyto(ws.y[new], ws.be.constant(self.value, ws.dtype) if source is None else x[source])  # (1)
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        inner, *others = self._boxes(ws.dx.shape)
        ws.xp.copyto(ws.dx, dy[inner.new])  # (2)  dx[i] = dy[i + p]
        for new, source, repeated in others if self.mode != "constant" else ():
            part, into = dy[new], ws.dx[source]
            if repeated:
                part = ws.xp.sum(part, axis=repeated, keepdims=True, out=ws.part[source])
            ws.xp.add(into, part, out=into)  # (2)  … + Σ dy of copies
        return ws.dx

    def _boxes(self, x: Shape) -> Iterator[Box]:
        """x itself, and the new places, in boxes beside it and at its corners."""
        sides = sides_of(self.padding, self.axes)
        for of_axes in product(*(self._along(n, p, q) for n, (p, q) in zip(x[1:-1], sides, strict=True))):
            new, sources = zip(*of_axes, strict=True)
            source = None if None in sources else (slice(None), *sources)
            repeated = tuple(
                a for a, (n, s) in enumerate(of_axes, 1) if self.mode == "edge" and s and _length(s) < _length(n)
            )
            yield Box((slice(None), *new), source, repeated)

    def _along(self, n: int, p: int, q: int) -> list[tuple[slice, slice | None]]:
        """Places along an axis and those of x that they hold: of x itself, in front and behind."""
        of_mode: dict[str, tuple[slice | None, slice | None]] = {
            "constant": (None, None),
            "edge": (slice(0, 1), slice(n - 1, n)),
            "wrap": (slice(n - p, n), slice(0, q)),
            "reflect": (slice(p, 0, -1), slice(n - 2, n - 2 - q if n - 2 - q >= 0 else None, -1)),
        }
        front, behind = of_mode[self.mode]
        found: list[tuple[slice, slice | None]] = [(slice(p, p + n), slice(0, n))]
        found += [(slice(0, p), front)] if p else []
        return [*found, (slice(p + n, p + n + q), behind)] if q else found


class Cropping(Channelwise):
    """(3), (4)"""

    cropping: OfTime | OfImage | OfVolume

    def plan(self, x: Shape) -> Plan:
        """Shorter axes."""
        check_rank(x, self.axes)
        sides = sides_of(self.cropping, self.axes)
        space = tuple(n - p - q for n, (p, q) in zip(x[1:-1], sides, strict=True))
        if min(space) < 1:
            raise ShapeError(f"takes {self.cropping} places away at the sides of {x}, and leaves none; take less")
        y = (x[0], *space, x[-1])
        return Plan(output=y, arrays={"y": y, "dx": x}, overwrites=("y",), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        ws.xp.copyto(ws.y, x[self._inner(ws.y.shape)])  # (3)  y[i] = x[i + p]
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4): where nothing is written, dx stays 0 from the beginning."""
        ws.xp.copyto(ws.dx[self._inner(dy.shape)], dy)  # (4)  dx[i + p] = dy[i]
        return ws.dx

    def _inner(self, y: Shape) -> Places:
        return _inside(y, sides_of(self.cropping, self.axes))


def _inside(inner: Shape, sides: list[tuple[int, int]]) -> Places:
    """Where the smaller images lie in the larger ones."""
    return (slice(None), *(slice(p, p + n) for n, (p, _) in zip(inner[1:-1], sides, strict=True)))


@dataclass(frozen=True, repr=False)
class ZeroPadding1D(Padding):
    """Steps of zeros around sequences (batch, time, channels).

    padding: a number for both ends, or (in front, behind). Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.ZeroPadding1D((2, 0)).plan((32, 50, 8)).output
    (32, 52, 8)
    """

    padding: OfTime = 1
    axes = 1
    mode = "constant"
    value = 0.0
    exact = True


@dataclass(frozen=True, repr=False)
class ZeroPadding2D(Padding):
    """Pixels of zeros around images (batch, height, width, channels).

    padding: a number for all sides, (above and below, left and right), or ((above, below), (left, right)),
    as in Keras. Raises ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.ZeroPadding2D(((0, 1), (2, 2))).plan((32, 28, 28, 1)).output
    (32, 29, 32, 1)
    """

    padding: OfImage = 1
    axes = 2
    mode = "constant"
    value = 0.0
    exact = True


@dataclass(frozen=True, repr=False)
class ZeroPadding3D(Padding):
    """Places of zeros around volumes (batch, depth, height, width, channels).

    padding: a number for all sides, one for each axis, or a pair (in front, behind) for each axis. Raises ShapeError
    for inputs that are no volumes.

    >>> import gpubp as bp
    >>> bp.ZeroPadding3D(1).plan((32, 4, 28, 28, 1)).output
    (32, 6, 30, 30, 1)
    """

    padding: OfVolume = 1
    axes = 3
    mode = "constant"
    value = 0.0
    exact = True


@dataclass(frozen=True, repr=False)
class Padding1D(Padding):
    """Steps around sequences (batch, time, channels), made of the sequences themselves or of one number.

    padding: a number for both ends, or (in front, behind). mode: "constant" for `value`; "reflect" for the input as in
    a mirror on its edge, "edge" for its nearest place, "wrap" for the input again (PyTorch's reflect, replicate and
    circular). Raises ShapeError for inputs that are no sequences, and for those that are too small to be mirrored or
    repeated.

    >>> import gpubp as bp
    >>> bp.Padding1D((2, 0), mode="reflect").plan((32, 50, 8)).output
    (32, 52, 8)
    """

    padding: OfTime = 1
    mode: Mode = "constant"
    value: float = 0.0
    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class Padding2D(Padding):
    """Pixels around images (batch, height, width, channels), made of the images themselves or of one number.

    padding: a number for all sides, (above and below, left and right), or ((above, below), (left, right)), as in Keras.
    mode: "constant" for `value`; "reflect" for the input as in a mirror on its edge, "edge" for its nearest place,
    "wrap" for the input again (PyTorch's reflect, replicate and circular). Raises ShapeError for inputs that are no
    images, and for those that are too small to be mirrored or repeated.

    >>> import gpubp as bp
    >>> bp.Padding2D(((0, 1), (2, 2)), mode="reflect").plan((32, 28, 28, 1)).output
    (32, 29, 32, 1)
    """

    padding: OfImage = 1
    mode: Mode = "constant"
    value: float = 0.0
    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class Padding3D(Padding):
    """Places around volumes (batch, depth, height, width, channels), made of the volumes themselves or of one number.

    padding: a number for all sides, one for each axis, or a pair (in front, behind) for each axis. mode: "constant" for
    `value`; "reflect" for the input as in a mirror on its edge, "edge" for its nearest place, "wrap" for the input
    again (PyTorch's reflect, replicate and circular). Raises ShapeError for inputs that are no volumes, and for those
    that are too small to be mirrored or repeated.

    >>> import gpubp as bp
    >>> bp.Padding3D(1, mode="reflect").plan((32, 4, 28, 28, 1)).output
    (32, 6, 30, 30, 1)
    """

    padding: OfVolume = 1
    mode: Mode = "constant"
    value: float = 0.0
    axes = 3
    exact = True


@dataclass(frozen=True, repr=False)
class Cropping1D(Cropping):
    """Sequences (batch, time, channels) without the steps at their sides.

    cropping: a number for both ends, or (in front, behind). Raises ShapeError for inputs that are no sequences, and for
    those that nothing would be left of.

    >>> import gpubp as bp
    >>> bp.Cropping1D((2, 0)).plan((32, 50, 8)).output
    (32, 48, 8)
    """

    cropping: OfTime
    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class Cropping2D(Cropping):
    """Images (batch, height, width, channels) without the pixels at their sides.

    cropping: a number for all sides, (above and below, left and right), or ((above, below), (left, right)),
    as in Keras. Raises ShapeError for inputs that are no images, and for those that nothing
    would be left of.

    >>> import gpubp as bp
    >>> bp.Cropping2D(((0, 1), (2, 2))).plan((32, 28, 28, 1)).output
    (32, 27, 24, 1)
    """

    cropping: OfImage
    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class Cropping3D(Cropping):
    """Volumes (batch, depth, height, width, channels) without the places at their sides.

    cropping: a number for all sides, one for each axis, or a pair (in front, behind) for each axis. Raises ShapeError
    for inputs that are no volumes, and for those that nothing would be left of.

    >>> import gpubp as bp
    >>> bp.Cropping3D(1).plan((32, 4, 28, 28, 1)).output
    (32, 2, 26, 26, 1)
    """

    cropping: OfVolume
    axes = 3
    exact = True


def _length(places: slice) -> int:
    return int(places.stop - places.start)
