"""AlphaDropout: dropout that keeps mean 0 and variance 1, for networks of SELU.

    Forward   (1) y  = a (x m + α' (1 - m)) + b        m is 1 where a number is kept, with probability q = 1 - p, else 0
    Backward  (2) dx = a m dy

α' = -λα is what SELU gives for -∞ (α = 1.6733, λ = 1.0507). If x has mean 0 and variance 1, x m + α' (1 - m) has the
mean p α' and the variance q + α'² q p; so a = 1/√(q + α'² q p) and b = -a p α' bring mean 0 and variance 1 back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ..backends import Array, Shape
from ..backends.philox import LANES, threshold_of
from ..config import BelowOne
from .base import Workspace
from .dropout import Dropping
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula
DROPPED = -1.7580993408473766  # α'


@dataclass(frozen=True, repr=False)
class AlphaDropout(Dropping):
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

    def dropped(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.xp.copyto(ws.m, ws.kept)
        return ws.be.apply(self._alpha_dropped, x, ws.m, out=ws.y)  # (1)

    def gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        return ws.be.apply(self._scaled, dy, ws.m, out=ws.dx)  # (2)

    def _scale(self) -> tuple[float, float]:
        p = threshold_of(self.rate) / LANES
        a = 1.0 / math.sqrt((1.0 - p) * (1.0 + DROPPED * DROPPED * p))
        return a, -a * p * DROPPED

    def _alpha_dropped(self, x: Value, m: Value) -> Value:
        a, b = self._scale()
        return a * (x * m + DROPPED * (1.0 - m)) + b

    def _scaled(self, dy: Value, m: Value) -> Value:
        return self._scale()[0] * dy * m
