"""Dropout: in training every number is set to 0 with probability p, and the others are scaled by 1 / (1 - p).

    Forward   (1) y  = x m / (1 - p)        m is 1 where a number is kept, else 0, so that ⟨y⟩ = x
    Backward  (2) dx = dy m / (1 - p)       y is x times a number that does not depend on x

The masks come from counted random numbers (`backends/philox.py`): they depend on the trainer's seed, the layer's place
and the number of the step, and are the same to the bit on every device.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..backends.philox import LANES, threshold_of
from ..config import BelowOne
from .base import Layer, Look, Workspace
from .plan import Buffer, Plan


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """y = x m / (1 - p) in training, y = x in evaluation (Srivastava et al. 2014).

    rate: p, from 0 to 65535/65536; it is met to 1/65536. Raises ValueError for another, and for one that rounds to 1.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dropout(0.5), input_shape=3, device="cpu")
    >>> net.predict([[1.0, 2.0, 3.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    rate: BelowOne = 0.5
    draws = ("kept",)
    over_time = "each"
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if threshold_of(self.rate) == LANES:
            raise ValueError(
                f"Dropout meets its rate to 1/65536, and {self.rate!r} rounds to 1, which keeps nothing; the highest "
                "rate is 65535/65536, about 0.99998"
            )

    def plan(self, x: Shape) -> Plan:
        """The mask, and output as input."""
        arrays: dict[str, Any] = {"kept": Buffer(x, "bool"), "y": x, "dx": x}
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
        first = ws.context.first * math.prod(x.shape[1:])  # of the whole batch's numbers, which are counted
        ws.be.random_mask(ws.kept, threshold_of(self.rate), key, ws.context.step, first)
        return self._masked(ws, x, ws.y)  # (1)  y = x m / (1 - p)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(2)"""
        return self._masked(ws, dy, ws.dx) if ws.drops else dy  # (2)  dx = dy m / (1 - p)

    def _masked(self, ws: Workspace, a: Array, out: Array) -> Array:
        scale = LANES / (LANES - threshold_of(self.rate))
        ws.xp.multiply(a, ws.kept, out=out)
        return ws.xp.multiply(out, ws.be.constant(scale, ws.dtype), out=out)


def dropout_layers(rate: float) -> list[Layer]:
    """A Dropout of this rate in a list, or none for 0.

    >>> dropout_layers(0.2), dropout_layers(0)
    ([Dropout(0.2)], [])
    """
    return [Dropout(rate)] if rate else []
