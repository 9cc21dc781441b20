"""Dropout: in training every number is set to 0 with probability p, and the others are scaled by 1 / (1 - p).

    Forward   (1) y  = x m / (1 - p)        m is 1 where a number is kept, else 0, so that ⟨y⟩ = x
    Backward  (2) dx = dy m / (1 - p)       y is x times a number that does not depend on x

SpatialDropout has one m for all places of a channel in a row. AlphaDropout puts α' = -λα in the place of what it drops,
which is what SELU gives for -∞ (α = 1.6733, λ = 1.0507), and brings mean 0 and variance 1 back:

    Forward   (3) y  = a (x m + α' (1 - m)) + b        a = 1/√(q + α'² q p),  b = -a p α',  q = 1 - p
    Backward  (4) dx = a m dy

For (3): if x has mean 0 and variance 1, x m + α' (1 - m) has the mean p α' and the variance q + α'² q p.

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

Value = Any  # a number, an array, or a symbol of a formula
DROPPED = -1.7580993408473766  # -λα of SELU


class _Dropped(Layer):
    """What all share: the masks, and that nothing happens in evaluation, or where nothing is dropped."""

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
        """(1) or (3)"""
        ws.drops = ws.training and threshold_of(self.rate) > 0
        if not ws.drops:
            return x
        key = (ws.context.seed, zlib.crc32(ws.path.encode()))
        first = ws.context.first * math.prod(ws.kept.shape[1:])  # of the whole batch's numbers, which are counted
        ws.be.random_mask(ws.kept, threshold_of(self.rate), key, ws.context.step, first)
        return self._dropped(ws, x)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2) or (4)"""
        return self._gradient(ws, dy) if ws.drops else dy

    def _dropped(self, ws: Workspace, x: Array) -> Array:
        return self._masked(ws, x, ws.y)  # (1)  y = x m / (1 - p)

    def _gradient(self, ws: Workspace, dy: Array) -> Array:
        return self._masked(ws, dy, ws.dx)  # (2)  dx = dy m / (1 - p)

    def _masked(self, ws: Workspace, a: Array, out: Array) -> Array:
        scale = LANES / (LANES - threshold_of(self.rate))
        ws.xp.multiply(a, ws.kept, out=out)
        return ws.xp.multiply(out, ws.be.constant(scale, ws.dtype), out=out)


@dataclass(frozen=True, repr=False)
class Dropout(_Dropped):
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
class SpatialDropout(_Dropped):
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


@dataclass(frozen=True, repr=False)
class AlphaDropout(_Dropped):
    """Dropout for networks of SELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017).

    rate: p, as in Dropout. Input of any shape, output the same. Raises ValueError for another rate.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.AlphaDropout(0.1), input_shape=3, device="cpu")
    >>> net.predict([[1.0, 2.0, 3.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    rate: BelowOne = 0.5
    exact = True

    def plan(self, x: Shape) -> Plan:
        """The mask as bools and as numbers, and output as input."""
        planned = super().plan(x)
        return replace(planned, arrays={**planned.arrays, "m": x})

    def _dropped(self, ws: Workspace, x: Array) -> Array:
        ws.xp.copyto(ws.m, ws.kept)
        return ws.be.apply(self._alpha_dropped, x, ws.m, out=ws.y)  # (3)

    def _gradient(self, ws: Workspace, dy: Array) -> Array:
        return ws.be.apply(self._scaled, dy, ws.m, out=ws.dx)  # (4)

    def _scale(self) -> tuple[float, float]:
        p = threshold_of(self.rate) / LANES
        a = 1.0 / math.sqrt((1.0 - p) * (1.0 + DROPPED * DROPPED * p))
        return a, -a * p * DROPPED

    def _alpha_dropped(self, x: Value, m: Value) -> Value:
        a, b = self._scale()
        return a * (x * m + DROPPED * (1.0 - m)) + b

    def _scaled(self, dy: Value, m: Value) -> Value:
        return self._scale()[0] * dy * m


def dropout_layers(rate: float) -> list[Layer]:
    """A Dropout of this rate in a list, or none for 0.

    >>> dropout_layers(0.2), dropout_layers(0)
    ([Dropout(0.2)], [])
    """
    return [Dropout(rate)] if rate else []
