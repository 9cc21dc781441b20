"""Adaptive pooling: images of any size become images of one size, by windows that share them out evenly.

    x (B, …, n, …, C)   y (B, …, m, …, C)        n places along an axis of space become m

Windows that go by the size of the image are of He, Zhang, Ren and Sun, "Spatial pyramid pooling" (2014). Output i of
an axis has the window, as in PyTorch,

    (1)  from ⌊i n/m⌋ to ⌈(i + 1) n/m⌉          neighbours overlap where m does not divide n

The windows of all axes together are boxes, and one axis goes after the other, the last first: from z to z', where the
first z is x and the last z' is y,

    AdaptiveAvgPool   (2) z'[i] = Σ z[j] / k[i] over the k[i] places of (1)
                      (3) dz[j] = Σ dz'[i] / k[i] over the windows that j lies in
    AdaptiveMaxPool   (4) z'[i] = max z[j] over the places of (1)
                      (5) dz[j] = Σ dz'[i] over the windows whose first largest number is z[j]

Of several largest, (5) takes the first row, and in it the first column: the first row by row, as in `MaxPool2D`.
Where m divides n, all windows of an axis are taken at once.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from .base import Workspace
from .channelwise import Channelwise
from .over_time import hits, where_first
from .plan import Plan
from .windows import check_rank


def adaptive_windows(n: int, m: int) -> list[tuple[int, int]]:
    """(1): where each of m windows on n places begins and ends.

    >>> adaptive_windows(5, 3)
    [(0, 2), (1, 4), (3, 5)]
    """
    return [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]


class Adaptive(Channelwise):
    """One axis after the other, the last first; the numbers between two axes are ws.z1, and ws.z2."""

    size: int | tuple[int | None, ...]

    def plan(self, x: Shape) -> Plan:
        """The numbers behind each axis, and their gradients."""
        check_rank(x, self.axes)
        shapes = [x]
        for a, m in self._in_turn(x):
            z = shapes[-1]
            shapes.append((*z[:a], m, *z[a + 1 :]))
        arrays: dict[str, Shape] = {"y": shapes[-1], "dx": x}
        for k, z in enumerate(shapes[1:-1], 1):
            arrays |= {f"z{k}": z, f"dz{k}": z}
        for k, (a, m) in enumerate(self._in_turn(x)):
            arrays |= self._memory(k, a, shapes[k], shapes[k + 1], longest_window(shapes[k][a], m))
        constants = {
            f"to_the_end{k}": np.arange(shape[0], 0, -1.0)
            for k in range(self.axes)
            if (shape := arrays.get(f"left{k}")) is not None
        }
        reads = ("x", "y") if constants else ()
        return Plan(output=shapes[-1], arrays=arrays, constants=constants, overwrites=("y", "dx"), reads=reads)

    @abstractmethod
    def _memory(self, k: int, a: int, z: Shape, y: Shape, longest: int) -> dict[str, Shape]:
        """What the derivative of axis k of the turn needs: it is axis a, from z to y, with windows of so many places
        at most."""

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(2) or (4), axis by axis"""
        ws.x = z = x
        for k, (a, m) in enumerate(self._in_turn(x.shape)):
            y, n = self._behind(ws, k), z.shape[a]
            for window, number in zip(_windows(z, a, m), _numbers(y, a, n), strict=True):
                self._pool(ws, window, number, a + (n % m == 0))
            z = y
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3) or (5), axis by axis, in the other order"""
        for k, (a, m) in reversed(list(enumerate(self._in_turn(ws.x.shape)))):
            dz = getattr(ws, f"dz{k}") if k else ws.dx
            if dz.shape[a] % m:
                ws.xp.copyto(dz, ws.be.constant(0.0, ws.dtype))
            self._share_out(ws, k, a, m, dy, dz)
            dy = dz
        return ws.dx

    @abstractmethod
    def _pool(self, ws: Workspace, window: Array, number: Array, axis: int) -> None:
        """number ← the mean or the largest number of a window along an axis"""

    @abstractmethod
    def _share_out(self, ws: Workspace, k: int, a: int, m: int, dy: Array, dz: Array) -> None:
        """dz ← what it gets of dy along axis a; it is 0 before where windows overlap."""

    def _in_turn(self, x: Shape) -> list[tuple[int, int]]:
        """(axis, m), the last axis first."""
        sizes = self.size if isinstance(self.size, tuple) else (self.size,) * self.axes
        return [(a, x[a] if m is None else m) for a, m in enumerate(sizes, 1)][::-1]

    def _before(self, ws: Workspace, k: int) -> Any:
        return getattr(ws, f"z{k}") if k else ws.x

    def _behind(self, ws: Workspace, k: int) -> Any:
        return getattr(ws, f"z{k + 1}") if k + 1 < self.axes else ws.y


class AdaptiveAvgPool(Adaptive):
    """(2), (3)"""

    def _memory(self, k: int, a: int, z: Shape, y: Shape, longest: int) -> dict[str, Shape]:
        return {f"part{k}": y}

    def _pool(self, ws: Workspace, window: Array, number: Array, axis: int) -> None:
        ws.xp.sum(window, axis=axis, keepdims=True, out=number)
        ws.xp.multiply(number, ws.be.constant(1.0 / window.shape[axis], ws.dtype), out=number)  # (2)  z' = Σ z / k

    def _share_out(self, ws: Workspace, k: int, a: int, m: int, dy: Array, dz: Array) -> None:
        n, part = dz.shape[a], getattr(ws, f"part{k}")
        for window, of_dy, share in zip(_windows(dz, a, m), _numbers(dy, a, n), _numbers(part, a, n), strict=True):
            ws.xp.multiply(of_dy, ws.be.constant(1.0 / window.shape[a + (n % m == 0)], ws.dtype), out=share)
            if n % m:
                ws.xp.add(window, share, out=window)  # (3)  dz[j] = Σ dz'[i] / k
            else:
                ws.xp.copyto(window, share)


class AdaptiveMaxPool(Adaptive):
    """(4), (5)"""

    def _memory(self, k: int, a: int, z: Shape, y: Shape, longest: int) -> dict[str, Shape]:
        memory = {f"first{k}": y, f"left{k}": (longest,)}
        if z[a] % y[a] == 0:
            return {f"hits{k}": z, **memory}
        window = (*z[:a], longest, *z[a + 1 :])
        return {f"hits{k}": window, f"part{k}": window, **memory}

    def _pool(self, ws: Workspace, window: Array, number: Array, axis: int) -> None:
        ws.xp.max(window, axis=axis, keepdims=True, out=number)  # (4)  z'[i] = max z[j]

    def _share_out(self, ws: Workspace, k: int, a: int, m: int, dy: Array, dz: Array) -> None:
        z, y, n = self._before(ws, k), self._behind(ws, k), dz.shape[a]
        found, first, left = (getattr(ws, f"{name}{k}") for name in ("hits", "first", "left"))
        ws.xp.copyto(left, getattr(ws, f"to_the_end{k}"))  # in the network's precision
        axis = a + (n % m == 0)
        parts = zip(_windows(z, a, m), _windows(dz, a, m), *(_numbers(of, a, n) for of in (y, dy, first)), strict=True)
        for window, of_dz, largest, of_dy, of_first in parts:
            length = window.shape[axis]
            to_the_end = left[len(left) - length :].reshape(length, *(1 for _ in window.shape[axis + 1 :]))
            of_window = found.reshape(window.shape) if n % m == 0 else _beginning(found, a, length)
            ws.be.apply(hits, window, largest, to_the_end, out=of_window)
            ws.xp.max(of_window, axis=axis, keepdims=True, out=of_first)
            taken = _beginning(getattr(ws, f"part{k}"), a, length) if n % m else of_dz
            ws.be.apply(where_first, of_dy, of_window, of_first, out=taken)
            if n % m:
                ws.xp.add(of_dz, taken, out=of_dz)  # (5)  dz[j] = Σ dz'[i] where z[j] is the first largest


def longest_window(n: int, m: int) -> int:
    """Places of the longest of m windows on n, of any number of them.

    With n = q m + r, window i begins at i q + (i r - f)/m for f = i r mod m, and has q + ⌈(f + r)/m⌉ places. f is at
    most m - gcd(r, m).

    >>> longest_window(6, 3), longest_window(7, 3), longest_window(8, 3)
    (2, 3, 4)
    """
    q, r = divmod(n, m)
    return q + (r > 0) + (r > math.gcd(r, m))


def _windows(z: Array, a: int, m: int) -> list[Array]:
    """The windows along axis a, one by one; all at once, along axis a + 1, where they do not overlap."""
    n = z.shape[a]
    if n % m == 0:
        return [z.reshape(*z.shape[:a], m, n // m, *z.shape[a + 1 :])]
    return [z[(*(slice(None),) * a, slice(first, end))] for first, end in adaptive_windows(n, m)]


def _numbers(y: Array, a: int, n: int) -> list[Array]:
    """The number of each window of `_windows`, as an axis of length 1 in the place of the window's."""
    m = y.shape[a]
    if n % m == 0:
        return [y.reshape(*y.shape[: a + 1], 1, *y.shape[a + 1 :])]
    return [y[(*(slice(None),) * a, slice(i, i + 1))] for i in range(m)]


def _beginning(a: Array, axis: int, length: int) -> Array:
    return a[(*(slice(None),) * axis, slice(0, length))]


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool1D(AdaptiveAvgPool):
    """The mean of each of a fixed number of windows, so that sequences of any size give one output size.

    Input (batch, time, channels), output the same with other lengths.
    size: steps of the output. Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.AdaptiveAvgPool1D(5).plan((32, 50, 8)).output
    (32, 5, 8)
    """

    size: Count
    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool2D(AdaptiveAvgPool):
    """The mean of each of a fixed number of windows, so that images of any size give one output size.

    Input (batch, height, width, channels), output the same with other lengths. size: (height, width) of the output,
    None for that of the input, or one number for both. Raises ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.AdaptiveAvgPool2D((4, 3)).plan((32, 13, 9, 64)).output
    (32, 4, 3, 64)
    """

    size: Count | tuple[Count | None, Count | None]
    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool3D(AdaptiveAvgPool):
    """The mean of each of a fixed number of windows, so that volumes of any size give one output size.

    Input (batch, depth, height, width, channels), output the same with other lengths. size: (depth, height, width) of
    the output, None for that of the input, or one number for all. Raises ShapeError for inputs that are no volumes.

    >>> import gpubp as bp
    >>> bp.AdaptiveAvgPool3D(2).plan((32, 4, 13, 9, 64)).output
    (32, 2, 2, 2, 64)
    """

    size: Count | tuple[Count | None, Count | None, Count | None]
    axes = 3
    exact = True


@dataclass(frozen=True, repr=False)
class AdaptiveMaxPool1D(AdaptiveMaxPool):
    """The largest number of each of a fixed number of windows, so that sequences of any size give one output size.

    Input (batch, time, channels), output the same with other lengths.
    size: steps of the output. Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.AdaptiveMaxPool1D(5).plan((32, 50, 8)).output
    (32, 5, 8)
    """

    size: Count
    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class AdaptiveMaxPool2D(AdaptiveMaxPool):
    """The largest number of each of a fixed number of windows, so that images of any size give one output size.

    Input (batch, height, width, channels), output the same with other lengths. size: (height, width) of the output,
    None for that of the input, or one number for both. Raises ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.AdaptiveMaxPool2D((4, 3)).plan((32, 13, 9, 64)).output
    (32, 4, 3, 64)
    """

    size: Count | tuple[Count | None, Count | None]
    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class AdaptiveMaxPool3D(AdaptiveMaxPool):
    """The largest number of each of a fixed number of windows, so that volumes of any size give one output size.

    Input (batch, depth, height, width, channels), output the same with other lengths. size: (depth, height, width) of
    the output, None for that of the input, or one number for all. Raises ShapeError for inputs that are no volumes.

    >>> import gpubp as bp
    >>> bp.AdaptiveMaxPool3D(2).plan((32, 4, 13, 9, 64)).output
    (32, 2, 2, 2, 64)
    """

    size: Count | tuple[Count | None, Count | None, Count | None]
    axes = 3
    exact = True
