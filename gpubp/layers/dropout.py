"""Dropout: in training every number is set to 0 with probability p, and the others are scaled by 1 / (1 - p).

    Forward   (1) y  = x m / (1 - p)        m is 1 where a number is kept, else 0, so that ⟨y⟩ = x
    Backward  (2) dx = dy m / (1 - p)       y is x times a number that does not depend on x

SpatialDropout has one m for all places of a channel in a row.

The masks come from counted random numbers (`backends/philox.py`): they depend on the trainer's seed, the layer's place
and the number of the step, and are the same to the bit on every device.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import Any

from ..backends import Array, Shape
from ..backends.philox import LANES, threshold_of
from ..config import BelowOne
from ..errors import ShapeError
from .base import Layer, Look, Workspace
from .plan import Buffer, Plan


class Dropping(Layer):
    """What all kinds of dropout share: the masks, and that y = x in evaluation, or where nothing is dropped.

    >>> issubclass(Dropout, Dropping)
    True
    """

    rate: float
    draws = ("kept",)
    over_time = "each"

    def __post_init__(self) -> None:
        super().__post_init__()
        if threshold_of(self.rate) == LANES:
            raise ValueError(
                f"{type(self).__name__} meets its rate to 1/65536, and {self.rate!r} rounds to 1, which keeps nothing; "
                "the highest rate is 65535/65536, about 0.99998"
            )

    def mask_shape(self, x: Shape) -> Shape:
        """Of the mask for inputs of shape x."""
        return x

    def plan(self, x: Shape) -> Plan:
        """The mask, and output as input."""
        arrays: dict[str, Any] = {"kept": Buffer(self.mask_shape(x), "bool"), "y": x, "dx": x}
        if threshold_of(self.rate) == 0:  # then y is x
            return Plan(output=x, arrays=arrays)
        return Plan(output=x, arrays=arrays, overwrites=("y", "dx"), reads=())

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """In evaluation, and where nothing is dropped, y is x."""
        look(self, X, path, None)
        return None if training and threshold_of(self.rate) else X

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.drops = ws.training and threshold_of(self.rate) > 0
        if not ws.drops:
            return x
        key = (ws.context.seed, zlib.crc32(ws.path.encode()))
        first = ws.context.first * math.prod(ws.kept.shape[1:])  # of the whole batch's numbers, which are counted
        ws.be.random_mask(ws.kept, threshold_of(self.rate), key, ws.context.step, first)
        return self.dropped(ws, x)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        return self.gradient(ws, dy) if ws.drops else dy

    def dropped(self, ws: Workspace, x: Array) -> Array:
        """(1), with the mask ws.kept."""
        return self._masked(ws, x, ws.y)  # (1)  y = x m / (1 - p)

    def gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2), with the mask ws.kept."""
        return self._masked(ws, dy, ws.dx)  # (2)  dx = dy m / (1 - p)

    def _masked(self, ws: Workspace, a: Array, out: Array) -> Array:
        ws.xp.multiply(a, ws.kept, out=out)
        return ws.xp.multiply(out, self._factor(ws), out=out)

    def _factor(self, ws: Workspace) -> Any:
        return ws.be.constant(LANES / (LANES - threshold_of(self.rate)), ws.dtype)  # 1 / (1 - p)


@dataclass(frozen=True, repr=False)
class Dropout(Dropping):
    """y = x m / (1 - p) in training, y = x in evaluation (Srivastava et al. 2014).

    rate: p, from 0 to 65535/65536; it is met to 1/65536. Raises ValueError for another, and for one that rounds to 1.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dropout(0.5), input_shape=3, device="cpu")
    >>> net.predict([[1.0, 2.0, 3.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    rate: BelowOne = 0.5
    exact = True


@dataclass(frozen=True, repr=False)
class SpatialDropout(Dropping):
    """Dropout of whole channels, the same for all places of a row (Tompson et al. 2015): neighbours are so alike that
    what is dropped at one place can be had from the next.

    rate: p, as in Dropout. Input (B, ..., C), as images (B, H, W, C) or sequences (B, T, C), output the same, as
    Keras's SpatialDropout1D, 2D and 3D, and PyTorch's Dropout1d, 2d and 3d. Raises ValueError for another rate,
    ShapeError for inputs without places.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.SpatialDropout(0.5), input_shape=(2, 1), device="cpu")
    >>> net.predict([[[1.0], [2.0]]]).tolist()
    [[[1.0], [2.0]]]
    """

    rate: BelowOne = 0.5
    exact = True

    def mask_shape(self, x: Shape) -> Shape:
        """(B, 1, ..., C)"""
        if len(x) < 3:
            raise ShapeError(
                f"drops channels at all their places, expects (batch, ..., channels) and got the shape {x}; for rows "
                "of numbers take Dropout"
            )
        return (x[0], *[1] * (len(x) - 2), x[-1])

    def plan(self, x: Shape) -> Plan:
        """The mask as bools and, for each channel of a row, m / (1 - p); output as input."""
        planned = super().plan(x)
        return replace(planned, arrays={**planned.arrays, "m": self.mask_shape(x)})

    def dropped(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.xp.multiply(ws.kept, self._factor(ws), out=ws.m)
        return ws.be.apply(_product, x, ws.m, out=ws.y)  # (1)

    def gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        return ws.be.apply(_product, dy, ws.m, out=ws.dx)  # (2)


def _product(x: Any, m: Any) -> Any:
    return x * m


def dropout_layers(rate: float) -> list[Layer]:
    """A Dropout of this rate in a list, or none for 0.

    >>> dropout_layers(0.2), dropout_layers(0)
    ([Dropout(0.2)], [])
    """
    return [Dropout(rate)] if rate else []
