"""Upsampling: every axis of an image becomes f times as long.

    x (B, …, n, …, C)   y (B, …, f n, …, C)        n places along an axis of space; number r of the f at place i of x is
                                                   y[i f + r]

    "nearest"  (1) y[i f + r] = x[i]               (2) dx[i] = Σ_r dy[i f + r]

"linear" (in images "bilinear") takes the two places of x that are nearest. As in Keras, and in PyTorch with
align_corners=False, places are the centres of pixels: that of y[i f + r] lies (r + ½)/f - ½ behind that of x[i]. So

    "linear"   (3) w = |(r + ½)/f - ½| = |2r + 1 - f| / 2f
               (4) y[i f + r] = (1 - w) x[i] + w x[j]       j = i - 1 where 2r + 1 < f, and i + 1 where 2r + 1 > f
               (5) dx[i] = Σ_r (1 - w) dy[i f + r] + Σ w dy[k f + r] over the k and r with i as their j

x[-1] is x[0] there, and x[n] is x[n-1]. The weights of several axes are multiplied: one axis goes after the other, the
last first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, Literal

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from .base import Workspace
from .channelwise import Channelwise
from .plan import Plan
from .windows import Pair, Triple, check_rank, each, parts

Value = Any  # a number, an array, or a symbol of a formula
Places = tuple[slice, ...]
AT_ONCE = 16  # terms of a sum


class UpSampling(Channelwise):
    """(1) and (2), or (4) and (5) along each axis; the numbers between two axes are ws.z1, and ws.z2."""

    size: int | tuple[int, ...]
    interpolation: str

    def plan(self, x: Shape) -> Plan:
        """f times as long axes."""
        check_rank(x, self.axes)
        shapes = [x]
        for a, f in self._in_turn():
            z = shapes[-1]
            shapes.append((*z[:a], f * z[a], *z[a + 1 :]))
        arrays: dict[str, Shape] = {"y": shapes[-1], "dx": x}
        constants = {}
        for k, (_, f) in enumerate(self._in_turn() if self.interpolation != "nearest" else ()):
            arrays |= {f"z{k}": shapes[k], f"dz{k}": shapes[k]} if k else {}
            arrays |= {f"part{k}": shapes[k + 1], f"sum{k}": shapes[k], f"w{k}": (f,)}
            constants[f"exact_w{k}"] = np.abs(2.0 * np.arange(f) + 1 - f) / (2 * f)
        return Plan(output=shapes[-1], arrays=arrays, constants=constants, overwrites=("y", "dx"), reads=())

    def between(self, near: Value, far: Value, w: Value) -> Value:
        """(4)"""
        return (1.0 - w) * near + w * far

    def total(self, *terms: Value) -> Value:
        """Their sum, from the first to the last."""
        return reduce(lambda a, b: a + b, terms)

    def near_part(self, dy: Value, w: Value) -> Value:
        """(5), of the nearest place"""
        return (1.0 - w) * dy

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1), or (4) axis by axis"""
        if self.interpolation == "nearest":
            places = x[(slice(None), *(slice(None), None) * self.axes)]
            ws.xp.copyto(self._apart(ws.y), places)  # (1)  y[i f + r] = x[i]
            return ws.y
        z = x
        for k, (a, f) in enumerate(self._in_turn()):
            y = ws.y if k + 1 == self.axes else getattr(ws, f"z{k + 1}")
            self._along(ws, z, _split(y, a, f), a, self._weights(ws, k, a))
            z = y
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2), or (5) axis by axis, in the other order"""
        if self.interpolation == "nearest":
            copies, every = self._apart(dy), slice(None)
            places = product(*([every], *(x for f in each(self.size, self.axes) for x in ([every], range(f)))))
            return self._sum(ws, [copies[place] for place in places], ws.dx)  # (2)  dx[i] = Σ_r dy[i f + r]
        for k, (a, f) in reversed(list(enumerate(self._in_turn()))):
            dz = getattr(ws, f"dz{k}") if k else ws.dx
            part, total = getattr(ws, f"part{k}"), getattr(ws, f"sum{k}")
            self._back_along(ws, _split(dy, a, f), dz, a, (self._weights(ws, k, a), _split(part, a, f), total))
            dy = dz
        return ws.dx

    def _along(self, ws: Workspace, z: Array, y: Array, a: int, w: Array) -> None:
        """y (…, n, f, …) ← (4)"""
        z, f = _split(z, a, 1), y.shape[a + 1]
        if f % 2:
            ws.xp.copyto(y[_cut(a + 1, f // 2, f // 2 + 1)], z)  # w = 0
        for r, near, far, edge in _halves(a, f):
            of_y = y[_cut(a + 1, r.start, r.stop)]
            if z.shape[a] > 1:
                ws.be.apply(self.between, z[near], z[far], w[r], out=of_y[near])  # (4)  y = (1 - w) x[i] + w x[j]
            ws.xp.copyto(of_y[edge], z[edge])

    def _back_along(self, ws: Workspace, dy: Array, dz: Array, a: int, memory: tuple[Array, Array, Array]) -> None:
        """dz ← (5), from dy (…, n, f, …)"""
        w, part, total = memory
        ws.be.apply(self.near_part, dy, w, out=part)
        self._sum(ws, _apart_along(part, a + 1), dz)  # (5)  dx[i] = Σ (1 - w) dy[i f + r] + …
        for r, near, far, edge in _halves(a, dy.shape[a + 1]):
            cut = _cut(a + 1, r.start, r.stop)
            ws.xp.multiply(dy[cut], w[r], out=part[cut])
            self._sum(ws, _apart_along(part[cut], a + 1), total)
            for place, of in ((far, near), (edge, edge)):
                into = dz[place]
                if into.size:
                    ws.xp.add(into, total[of], out=into)  # (5)  … + Σ w dy[k f + r]

    def _sum(self, ws: Workspace, terms: list[Array], out: Array) -> Array:
        """out ← Σ of the terms, some at a time"""
        for some in parts(len(terms), AT_ONCE):
            ws.be.apply(self.total, *([out] if some.start else []), *terms[some], out=out)
        return out

    def _weights(self, ws: Workspace, k: int, a: int) -> Array:
        """(3), along the axis behind axis a"""
        w = getattr(ws, f"w{k}")
        ws.xp.copyto(w, getattr(ws, f"exact_w{k}"))  # in the network's precision
        return w.reshape(-1, *(1 for _ in range(a, self.axes + 1)))

    def _apart(self, y: Array) -> Array:
        """(B, n, f, …, C), with an axis of f behind each axis of n places"""
        for a, f in self._in_turn():
            y = _split(y, a, f)
        return y

    def _in_turn(self) -> list[tuple[int, int]]:
        """(axis, f), the last axis first."""
        return list(enumerate(each(self.size, self.axes), 1))[::-1]


def _halves(a: int, f: int) -> list[tuple[slice, Places, Places, Places]]:
    """The numbers r whose other place is the one before, and those whose it is the one behind; then along axis a, the
    places that have such a place, those places, and the one at the edge, which has none."""
    before, behind = _cut(a, 0, -1), _cut(a, 1, None)
    half = f // 2
    found = [(slice(0, half), behind, before, _cut(a, 0, 1)), (slice(-half, None), before, behind, _cut(a, -1, None))]
    return found if half else []


def _split(y: Array, a: int, f: int) -> Array:
    """(…, n, f, …)"""
    return y.reshape(*y.shape[:a], y.shape[a] // f, f, *y.shape[a + 1 :])


def _apart_along(y: Array, a: int) -> list[Array]:
    """The numbers at each place along axis a."""
    return [y[(*(slice(None),) * a, r)] for r in range(y.shape[a])]


def _cut(a: int, first: int, end: int | None) -> Places:
    """first … end-1 along axis a"""
    return (*(slice(None),) * a, slice(first, end))


@dataclass(frozen=True, repr=False)
class UpSampling1D(UpSampling):
    """Sequences of f times as many steps: (batch, time, channels) -> (batch, f time, channels).

    size: f. interpolation: "nearest" repeats each step, as Keras does; "linear" goes straight from one to the next.
    Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.UpSampling1D(2).plan((32, 50, 8)).output
    (32, 100, 8)
    """

    size: Count = 2
    interpolation: Literal["nearest", "linear"] = "nearest"
    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class UpSampling2D(UpSampling):
    """Images of f times the height and width: (batch, height, width, channels) -> (batch, f height, f width, channels).

    size: f, a number or (of the height, of the width). interpolation: "nearest" repeats each pixel; "bilinear" goes
    straight from one to the next along both axes, as Keras does, and PyTorch with align_corners=False. Raises
    ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.UpSampling2D(2).plan((32, 7, 7, 64)).output
    (32, 14, 14, 64)
    """

    size: Pair = 2
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class UpSampling3D(UpSampling):
    """Volumes made f times as large along each axis: (batch, depth, height, width, channels).

    size: f, a number or (of the depth, of the height, of the width). interpolation: "nearest" repeats each place, as
    Keras does; "trilinear" goes straight from one to the next along all axes. Raises ShapeError for inputs that are no
    volumes.

    >>> import gpubp as bp
    >>> bp.UpSampling3D((1, 2, 2)).plan((32, 4, 7, 7, 64)).output
    (32, 4, 14, 14, 64)
    """

    size: Triple = 2
    interpolation: Literal["nearest", "trilinear"] = "nearest"
    axes = 3
    exact = True
