"""Pooling: each window of an image becomes one number per channel.

    x (B, H, W, C)   y (B, H', W', C)      B images, C channels; window (h', w') looks at the pixels (h, w) with
                                           h = h's + i - p, w = w's + j - q, taps i, j = 0 … k-1 (see `windows`)

    MaxPool2D         (1) y = max x over the window
                      (2) dx[h, w] = Σ dy[h', w'] over the windows whose first largest pixel is (h, w), row by row:
                          where several are largest, one derivative of max is to go with the first, as in PyTorch
    AvgPool2D         (3) y = Σ x / m,  m being the window's pixels in the image
                      (4) dx[h, w] = Σ dy[h', w'] / m[h', w'] over the windows that (h, w) lies in

All is done tap by tap on whole images: the pixels under one tap are a strided view of x, as many as y has. (2) takes
the taps in order and hands on what is left: a pixel as large as y takes all of dy, and leaves 0 to those behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..formula import maximum
from .base import Layer, Workspace
from .plan import Plan
from .windows import Padding, Pair, Windows, largest_padding, pair, parts, windows_of

Value = Any  # a number, an array, or a symbol of a formula


class _Pool2D(Layer):
    """What both poolings share: where their windows are."""

    size: Pair
    stride: Pair | None
    padding: Padding

    def __post_init__(self) -> None:
        name = type(self).__name__
        if any(p >= k for p, k in zip(largest_padding(self.padding, 2), pair(self.size), strict=True)):
            raise ValueError(
                f"{name} needs padding smaller than its windows, since one that sees no pixel has no value, and got "
                f"padding={self.padding} for windows of {self.size}"
            )

    def _windows(self, x: Shape) -> Windows:
        return windows_of(x, pair(self.size), pair(self.size if self.stride is None else self.stride), self.padding)


@dataclass(frozen=True, repr=False)
class MaxPool2D(_Pool2D):
    """The largest number of each window, channel by channel.

    size: of a window, a number or (height, width). stride: from one to the next; None for `size`, side by side.
    padding: "valid" for none (pixels that fill no window are left out), "same" for ⌈image/stride⌉ outputs as in Keras,
    or a number of places on every side, or (above and below, left and right); places outside the image are never
    largest.

    >>> import gpubp as bp
    >>> bp.MaxPool2D(2).plan((32, 28, 28, 8)).output
    (32, 14, 14, 8)
    """

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """A number a window."""
        windows = self._windows(x)
        y = (x[0], *windows.shape, x[-1])
        arrays = {"y": y, "dx": x, "left": y, "taken": y}
        return Plan(output=y, arrays=arrays, overwrites=("dx",) if windows.tiled or not windows.apart else ())

    def largest(self, *x: Value) -> Value:
        """(1) of the pixels under the taps"""
        y = x[0]
        for other in x[1:]:
            y = maximum(y, other)
        return y

    def shares(self, left: Value, y: Value, *x: Value) -> tuple[Value, ...]:
        """(2): what each pixel takes of what is left, one after the other, and what they leave"""
        found = []
        for pixel in x:
            taken = left * (pixel >= y)
            left = left - taken
            found.append(taken)
        return (*found, left)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.x = x
        windows = self._windows(x.shape)
        for images in _some(ws, x):
            self._forward(ws, windows, x[images], ws.y[images])
        return ws.y

    def _forward(self, ws: Workspace, windows: Windows, x: Array, y: Array) -> None:
        if not windows.padding:
            ws.be.apply(self.largest, *(x[:, h, w] for _, (h, w) in _taps(windows)), out=y)  # (1)  y = max x
            return
        ws.xp.copyto(y, ws.be.constant(-np.inf, ws.dtype))
        for (from_h, from_w), (h, w) in _taps(windows):
            part = y[:, from_h, from_w]
            ws.xp.maximum(part, x[:, h, w], out=part)  # (1)  y = max x

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        windows = self._windows(ws.x.shape)
        for images in _some(ws, ws.x):
            self._backward(ws, windows, ws.x[images], ws.y[images], dy[images], ws.dx[images])
        return ws.dx

    def _backward(self, ws: Workspace, windows: Windows, x: Array, y: Array, dy: Array, dx: Array) -> None:
        whole_left, whole_taken = ws.left[: len(x)], ws.taken[: len(x)]
        if windows.apart and not windows.padding:
            self._side_by_side(ws, windows, x, y, dy, dx, whole_left)
            return
        if not windows.apart:
            ws.xp.copyto(dx, ws.be.constant(0.0, ws.dtype))
        if windows.padding:
            ws.xp.copyto(whole_left, dy)
        last = len(windows.taps) - 1
        for n, ((from_h, from_w), (h, w)) in enumerate(_taps(windows)):
            left, pixels = whole_left[:, from_h, from_w], dx[:, h, w]
            before = left if n or windows.padding else dy
            if n == last and not windows.padding:
                _collect(ws, windows, pixels, before)
                continue
            taken = pixels if windows.apart else whole_taken[:, from_h, from_w]
            ws.be.apply(self.shares, before, y[:, from_h, from_w], x[:, h, w], out=(taken, left))
            if not windows.apart:
                _collect(ws, windows, pixels, taken)  # (2)  dx = Σ dy where x is the first with x = y

    def _side_by_side(
        self, ws: Workspace, windows: Windows, x: Array, y: Array, dy: Array, dx: Array, left: Array
    ) -> None:
        """(2) where each pixel is in one window at most: as many taps at once as a device likes."""
        pixels = [(slice(None), h, w) for _, (h, w) in _taps(windows)]
        before = dy
        for some in parts(len(pixels), ws.be.outputs - 1):
            taking, after = pixels[some], left
            if some.stop == len(pixels):  # the last takes what is left
                after = dx[taking.pop()]
            if taking:
                ws.be.apply(self.shares, before, y, *(x[at] for at in taking), out=(*(dx[at] for at in taking), after))
            else:
                ws.xp.copyto(after, before)
            before = left


@dataclass(frozen=True, repr=False)
class AvgPool2D(_Pool2D):
    """The mean of each window, channel by channel.

    size, stride, padding: as in MaxPool2D; places outside the image are not counted, as in Keras (and in PyTorch with
    count_include_pad=False).

    >>> import gpubp as bp
    >>> bp.AvgPool2D(3, stride=2, padding="same").plan((32, 28, 28, 8)).output
    (32, 14, 14, 8)
    """

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """A number a window, and 1/m."""
        windows = self._windows(x)
        y = (x[0], *windows.shape, x[-1])
        arrays: dict[str, Shape] = {"y": y, "dx": x, "part": y}
        if not windows.padding:
            return Plan(output=y, arrays=arrays)
        rows, columns = (np.array([axis.inside(o) for o in range(axis.outputs)], np.float64) for axis in windows)
        share = 1 / (rows[:, None] * columns)[:, :, None]
        return Plan(output=y, arrays=arrays | {"share": share.shape}, constants={"exact_share": share})

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        ws.x = x
        windows = self._windows(x.shape)
        ws.xp.copyto(ws.y, ws.be.constant(0.0, ws.dtype))
        for (from_h, from_w), (h, w) in _taps(windows):
            y = ws.y[:, from_h, from_w]
            ws.xp.add(y, x[:, h, w], out=y)
        return ws.xp.multiply(ws.y, self._share(ws, windows), out=ws.y)  # (3)  y = Σ x / m

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4)"""
        windows = self._windows(ws.x.shape)
        part = ws.xp.multiply(dy, self._share(ws, windows), out=ws.part)
        if not windows.apart:
            ws.xp.copyto(ws.dx, ws.be.constant(0.0, ws.dtype))
        for (from_h, from_w), (h, w) in _taps(windows):
            _collect(ws, windows, ws.dx[:, h, w], part[:, from_h, from_w])  # (4)  dx = Σ dy / m
        return ws.dx

    @staticmethod
    def _share(ws: Workspace, windows: Windows) -> Any:
        """1/m, one number where all windows lie in the image"""
        if not windows.padding:
            return ws.be.constant(1.0 / len(windows.taps), ws.dtype)
        ws.xp.copyto(ws.share, ws.exact_share)  # in the network's precision
        return ws.share


def _some(ws: Workspace, x: Array) -> list[slice]:
    """All images, in parts on which a device works best at a time."""
    return parts(len(x), max(1, ws.be.block // math.prod(x.shape[1:])))


def _collect(ws: Workspace, windows: Windows, dx: Array, part: Array) -> None:
    """dx = Σ part. A pixel in one window at most is assigned, and one that is in none stays 0 from the beginning."""
    if windows.apart:
        ws.xp.copyto(dx, part)
    else:
        ws.xp.add(dx, part, out=dx)


def _taps(windows: Windows) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each tap, row by row: which outputs it has a pixel for, and which pixels they are."""
    found = []
    for i, j in windows.taps:
        (from_h, h), (from_w, w) = windows.rows.tap(i), windows.columns.tap(j)
        found.append(((from_h, from_w), (h, w)))
    return found
