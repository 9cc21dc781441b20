"""Global pooling: the whole of an image becomes one number per channel.

    x (B, H, W, C), or (B, D, H, W, C)   y (B, C)      B images or volumes, C channels, n places in each

    GlobalAvgPool   (1) y = Σ x / n       over all places       (2) dx = dy / n
    GlobalMaxPool   (3) y = max x         over all places       (4) dx[π] = dy at the first place π, row by row, with
                                                                    x = y, and 0 elsewhere

The mean in place of a large Dense at the end of a network is of Lin, Chen and Yan, "Network in network" (2013). Where
several numbers are largest, one derivative of max is to go with the first, as in `MaxPool2D`. The mean and the
largest number of a sequence are `MeanOverTime` and `MaxOverTime`, which go by the lengths of rows too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from .base import Workspace
from .channelwise import Channelwise
from .over_time import hits, where_first
from .plan import Plan
from .windows import check_rank


class Global(Channelwise):
    """What all of these share: their axes of space."""

    def _space(self, x: Shape) -> tuple[int, ...]:
        """The axes that go; raises ShapeError for shapes with others."""
        check_rank(x, self.axes)
        return tuple(range(1, self.axes + 1))

    def _whole(self, y: Array) -> Array:
        """(B, C) as one place of images."""
        return y.reshape(len(y), *(1 for _ in range(self.axes)), -1)


class GlobalAvgPool(Global):
    """(1), (2)"""

    def plan(self, x: Shape) -> Plan:
        """A number a channel."""
        self._space(x)
        y = (x[0], x[-1])
        return Plan(output=y, arrays={"y": y, "dx": x, "part": y})

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.shape = x.shape
        ws.xp.sum(x, axis=self._space(x.shape), out=ws.y)
        return ws.xp.multiply(ws.y, self._share(ws), out=ws.y)  # (1)  y = Σ x / n

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        part = ws.xp.multiply(dy, self._share(ws), out=ws.part)
        ws.xp.copyto(ws.dx, self._whole(part))  # (2)  dx = dy / n
        return ws.dx

    @staticmethod
    def _share(ws: Workspace) -> Any:
        return ws.be.constant(1.0 / math.prod(ws.shape[1:-1]), ws.dtype)


@dataclass(frozen=True, repr=False)
class GlobalAvgPool2D(GlobalAvgPool):
    """The mean of each channel over the whole image: (batch, height, width, channels) -> (batch, channels).

    Raises ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.GlobalAvgPool2D().plan((32, 7, 7, 64)).output
    (32, 64)
    """

    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class GlobalAvgPool3D(GlobalAvgPool):
    """The mean of each channel over the whole volume: (batch, depth, height, width, channels) -> (batch, channels).

    Raises ShapeError for inputs that are no volumes.

    >>> import gpubp as bp
    >>> bp.GlobalAvgPool3D().plan((32, 4, 7, 7, 64)).output
    (32, 64)
    """

    axes = 3
    exact = True


class GlobalMaxPool(Global):
    """(3), (4)"""

    def plan(self, x: Shape) -> Plan:
        """A number a channel, and how many places there are from each to the end."""
        self._space(x)
        y, places = (x[0], x[-1]), (*x[1:-1], 1)
        arrays = {"y": y, "dx": x, "left": places, "hits": x, "first": y}
        to_the_end = np.arange(math.prod(places), 0, -1.0).reshape(places)
        return Plan(output=y, arrays=arrays, constants={"to_the_end": to_the_end}, overwrites=("y", "dx"))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        ws.x = x
        return ws.xp.max(x, axis=self._space(x.shape), out=ws.y)  # (3)  y = max x

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4): of the places with x = y, the first is the one with most places to the end."""
        y, first, dy = (self._whole(a) for a in (ws.y, ws.first, dy))
        ws.xp.copyto(ws.left, ws.to_the_end)  # in the network's precision
        ws.be.apply(hits, ws.x, y, ws.left[None], out=ws.hits)
        ws.xp.max(ws.hits, axis=self._space(ws.x.shape), out=ws.first)
        return ws.be.apply(where_first, dy, ws.hits, first, out=ws.dx)  # (4)  dx = dy at the first with x = y


@dataclass(frozen=True, repr=False)
class GlobalMaxPool2D(GlobalMaxPool):
    """The largest number of each channel of the whole image: (batch, height, width, channels) -> (batch, channels).

    Raises ShapeError for inputs that are no images.

    >>> import gpubp as bp
    >>> bp.GlobalMaxPool2D().plan((32, 7, 7, 64)).output
    (32, 64)
    """

    axes = 2
    exact = True


@dataclass(frozen=True, repr=False)
class GlobalMaxPool3D(GlobalMaxPool):
    """The largest number of each channel of the whole volume: (batch, depth, height, width, channels) -> (batch,
    channels).

    Raises ShapeError for inputs that are no volumes.

    >>> import gpubp as bp
    >>> bp.GlobalMaxPool3D().plan((32, 4, 7, 7, 64)).output
    (32, 64)
    """

    axes = 3
    exact = True
