"""Pooling: each window of an image becomes one number per channel.

    x (B, H, W, C)   y (B, H', W', C)      B images, C channels; window (h', w') looks at the pixels (h, w) with
                                           h = h's + i d - p, w = w's + j d - q, taps i, j = 0 … k-1 (see `windows`)

    MaxPool   (1) y = max x over the window
              (2) dx[h, w] = Σ dy[h', w'] over the windows whose first largest pixel is (h, w), row by row:
                  where several are largest, one derivative of max is to go with the first, as in PyTorch
    AvgPool   (3) y = Σ x / m,  m being the window's pixels in the image, or as options say
              (4) dx[h, w] = Σ dy[h', w'] / m[h', w'] over the windows that (h, w) lies in

Means are of LeCun and others (1989), maxima of Yamaguchi, Sakamoto, Akabane and Fujimoto (1990).

Sequences (B, T, C) have one axis of space and volumes (B, D, H, W, C) three, with the same formulas: `pooling_1d`,
`pooling_3d`. All is done tap by tap on whole images: the pixels under one tap are a strided view of x, as many as y
has. (2) takes the taps in order and hands on what is left: a pixel as large as y takes all of dy, and leaves 0 to those
behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from ..errors import ShapeError
from ..formula import maximum
from .base import Workspace
from .channelwise import Channelwise
from .global_pooling import GlobalAvgPool2D as GlobalAvgPool2D  # where pickles of before look for it
from .plan import Plan
from .windows import Padding, PaddingOfAxis, PaddingOfVolume, Pair, Windows, each, largest_padding, parts, windows_of

Value = Any  # a number, an array, or a symbol of a formula
Places = tuple[slice, ...]


class Pool(Channelwise):
    """What both poolings share: where their windows are."""

    size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None
    padding: Padding | PaddingOfAxis | PaddingOfVolume
    dilation: int | tuple[int, ...]
    ceil_mode: bool

    def __post_init__(self) -> None:
        taps = zip(each(self.size, self.axes), each(self.dilation, self.axes), strict=True)
        spans = [(k - 1) * d + 1 for k, d in taps]
        if any(p >= e for p, e in zip(largest_padding(self.padding, self.axes), spans, strict=True)):
            raise ValueError(
                f"{type(self).__name__} needs padding smaller than its windows, since one that sees nothing of the "
                f"input has no value, and got padding={self.padding} for windows of {self.size}"
                f"{f' with dilation={self.dilation}' if self.dilation != 1 else ''}"
            )

    def windows(self, x: Shape) -> Windows:
        """Where the windows are on inputs of shape `x`; raises ShapeError if there are none."""
        stride = self.size if self.stride is None else self.stride
        sizes = [each(of, self.axes) for of in (self.size, stride, self.dilation)]
        return windows_of(x, sizes[0], sizes[1], self.padding, sizes[2], self.ceil_mode)

    def _checked(self, x: Shape) -> Windows:
        """The same, and ShapeError if a window sees nothing of the input."""
        windows = self.windows(x)
        if any(axis.d > 1 and min(map(axis.inside, range(axis.outputs))) < 1 for axis in windows):
            raise ShapeError(
                f"has a window all of whose {self.size} taps lie outside of inputs of {x[1:-1]}, with "
                f"dilation={self.dilation} and padding={self.padding}; take less of them"
            )
        return windows


class MaxPool(Pool):
    """(1), (2)"""

    def plan(self, x: Shape) -> Plan:
        """A number a window."""
        windows = self._checked(x)
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
        windows = self.windows(x.shape)
        for images in _some(ws, x):
            self._forward(ws, windows, x[images], ws.y[images])
        return ws.y

    def _forward(self, ws: Workspace, windows: Windows, x: Array, y: Array) -> None:
        if not windows.padding:
            ws.be.apply(self.largest, *(x[at] for _, at in _taps(windows)), out=y)  # (1)  y = max x
            return
        ws.xp.copyto(y, ws.be.constant(-np.inf, ws.dtype))
        for of_y, at in _taps(windows):
            part = y[of_y]
            ws.xp.maximum(part, x[at], out=part)  # (1)  y = max x

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        windows = self.windows(ws.x.shape)
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
        taps = _taps(windows)
        for n, (of_y, at) in enumerate(taps):
            left, pixels = whole_left[of_y], dx[at]
            before = left if n or windows.padding else dy
            if n == len(taps) - 1 and not windows.padding:
                _collect(ws, windows, pixels, before)
                continue
            taken = pixels if windows.apart else whole_taken[of_y]
            ws.be.apply(self.shares, before, y[of_y], x[at], out=(taken, left))
            if not windows.apart:
                _collect(ws, windows, pixels, taken)  # (2)  dx = Σ dy where x is the first with x = y

    def _side_by_side(
        self, ws: Workspace, windows: Windows, x: Array, y: Array, dy: Array, dx: Array, left: Array
    ) -> None:
        """(2) where each pixel is in one window at most: as many taps at once as a device likes."""
        pixels = [at for _, at in _taps(windows)]
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


class AvgPool(Pool):
    """(3), (4)"""

    count_include_pad: bool
    divisor_override: int | None

    def plan(self, x: Shape) -> Plan:
        """A number a window, and 1/m where m differs from window to window."""
        windows = self._checked(x)
        y = (x[0], *windows.shape, x[-1])
        arrays: dict[str, Shape] = {"y": y, "dx": x, "part": y}
        if self.one_count(windows):
            return Plan(output=y, arrays=arrays)
        share = 1 / reduce(np.multiply.outer, self.counts_of_axes(windows))[..., None]
        return Plan(output=y, arrays=arrays | {"share": share.shape}, constants={"exact_share": share})

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        ws.x = x
        windows = self.windows(x.shape)
        ws.xp.copyto(ws.y, ws.be.constant(0.0, ws.dtype))
        for of_y, at in _taps(windows):
            y = ws.y[of_y]
            ws.xp.add(y, x[at], out=y)
        return ws.xp.multiply(ws.y, self._share(ws, windows), out=ws.y)  # (3)  y = Σ x / m

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4)"""
        windows = self.windows(ws.x.shape)
        part = ws.xp.multiply(dy, self._share(ws, windows), out=ws.part)
        if not windows.apart:
            ws.xp.copyto(ws.dx, ws.be.constant(0.0, ws.dtype))
        for of_y, at in _taps(windows):
            _collect(ws, windows, ws.dx[at], part[of_y])  # (4)  dx = Σ dy / m
        return ws.dx

    def one_count(self, windows: Windows) -> int | None:
        """m where it is the same for all windows; None where it is not, or need not be."""
        if self.divisor_override is not None:
            return self.divisor_override
        if not windows.padding:
            return len(windows.taps)
        beyond = any(axis.padded > axis.p + axis.n + axis.q for axis in windows)
        return len(windows.taps) if self.count_include_pad and not beyond else None

    def counts_of_axes(self, windows: Windows) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """m of each window, as a product of numbers of its place along each axis."""
        if self.divisor_override is not None:
            ones = [np.ones(axis.outputs) for axis in windows]
            return [ones[0] * self.divisor_override, *ones[1:]]
        counts = ([axis.inside(o, self.count_include_pad) for o in range(axis.outputs)] for axis in windows)
        return [np.array(of_axis, np.float64) for of_axis in counts]

    def _share(self, ws: Workspace, windows: Windows) -> Any:
        """1/m, one number where all windows have the same"""
        if count := self.one_count(windows):
            return ws.be.constant(1.0 / count, ws.dtype)
        ws.xp.copyto(ws.share, ws.exact_share)  # in the network's precision
        return ws.share


@dataclass(frozen=True, repr=False)
class MaxPool2D(MaxPool):
    """The largest number of each window, channel by channel.

    size: of a window, a number or (height, width). stride: from one to the next; None for `size`, side by side.
    padding: "valid" for none (pixels that fill no window are left out), "same" for ⌈image/stride⌉ outputs as in Keras
    ("same_lower" with an odd place in front), a number of places on every side, (above and below, left and right), or
    ((above, below), (left, right)); places outside the image are never largest. dilation: pixels from one tap of a
    window to the next, a number or (down, across). ceil_mode: whether pixels at the end that fill no window have one
    that reaches beyond the image, as in PyTorch.

    >>> import gpubp as bp
    >>> bp.MaxPool2D(2).plan((32, 14, 15, 8)).output, bp.MaxPool2D(2, ceil_mode=True).plan((32, 14, 15, 8)).output
    ((32, 7, 7, 8), (32, 7, 8, 8))
    """

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"
    dilation: Pair = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)

    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class AvgPool2D(AvgPool):
    """The mean of each window, channel by channel.

    size, stride, padding, dilation, ceil_mode: as in MaxPool2D. count_include_pad: whether places of padding count in m
    as pixels that are 0; not by default, as in Keras, while PyTorch's default is True. What ceil_mode reaches beyond
    the padding never counts. divisor_override: m, whatever the window.

    >>> import gpubp as bp
    >>> bp.AvgPool2D(3, stride=2, padding="same").plan((32, 28, 28, 8)).output
    (32, 14, 14, 8)
    """

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"
    dilation: Pair = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)
    count_include_pad: bool = field(default=False, kw_only=True)
    divisor_override: Count | None = field(default=None, kw_only=True)

    axes = 2
    exact = True


def _some(ws: Workspace, x: Array) -> list[slice]:
    """All images, in parts on which a device works best at a time."""
    return parts(len(x), max(1, ws.be.block // math.prod(x.shape[1:])))


def _collect(ws: Workspace, windows: Windows, dx: Array, part: Array) -> None:
    """dx = Σ part. A pixel in one window at most is assigned, and one that is in none stays 0 from the beginning."""
    if windows.apart:
        ws.xp.copyto(dx, part)
    else:
        ws.xp.add(dx, part, out=dx)


def _taps(windows: Windows) -> list[tuple[Places, Places]]:
    """For each tap that has pixels, row by row: which outputs it has one for, and which pixels they are."""
    found = []
    for tap in windows.taps:
        of_y, at = zip(*(axis.tap(t) for axis, t in zip(windows, tap, strict=True)), strict=True)
        if all(places.stop > places.start for places in at):
            found.append(((slice(None), *of_y), (slice(None), *at)))
    return found
