"""The quantile loss, whose minimum is a quantile of the targets instead of their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Shape
from ..config import BetweenZeroAndOne
from ..errors import ShapeError
from ..formula import maximum
from ..layers import Plan
from .base import PointwiseLoss, Value


@dataclass(frozen=True, repr=False)
class Quantile(PointwiseLoss):
    """The pinball loss, whose best output is the q-quantile of the targets (Koenker, Bassett 1978).

    l = q (t - z) for t > z, else (1 - q)(z - t);  ∂l/∂z = -q for z < t, 1 - q for z > t, and 0 for z = t

    q: the share, between 0 and 1; 0.5 is the median, and half the absolute error. Several numbers give several
    quantiles at once, an output each: (0.1, 0.5, 0.9) needs three outputs along the last axis, and its 0.1 and 0.9 are
    the ends of an interval for 80% of the targets. Targets are then one number for all outputs, (B,) or (B, 1), or (B,
    K), one each. Nothing forbids the outputs to cross. Raises ShapeError where there are not as many outputs as
    quantiles.

    >>> round(float(Quantile(0.9).l(1.0, 3.0)), 2), round(float(Quantile(0.9).l(3.0, 1.0)), 2)
    (1.8, 0.2)
    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3), input_shape=(2,), device="cpu")
    >>> loss, gradients = net.loss_and_gradients(Quantile((0.1, 0.5, 0.9)), [[1.0, 2.0]], [3.0])
    """

    q: BetweenZeroAndOne | tuple[BetweenZeroAndOne, ...] = 0.5
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.q == ():
            raise ValueError("Quantile needs a share for each output, and got ()")

    @property
    def fits_outputs(self) -> int | None:
        """As many as there are quantiles, where there are several."""
        return len(self.q) if isinstance(self.q, tuple) else None

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """One number for each output, or one for all quantiles."""
        if isinstance(self.q, tuple) and y.shape[1:] != z[1:]:
            if y.shape[1:] == z[1:-1]:
                y = y[..., None]
            if y.shape[1:] == (*z[1:-1], 1):
                y = np.broadcast_to(y, (*y.shape[:-1], z[-1]))
        return super().targets(y, z)

    def plan(self, z: Shape, t: Shape) -> Plan:
        """As any pointwise loss; raises ShapeError where there is not one output for each quantile."""
        if isinstance(self.q, tuple) and z[-1] != len(self.q):
            raise ShapeError(
                f"has {len(self.q)} quantile{'s' if len(self.q) != 1 else ''}, and the network has {z[-1]} "
                f"output{'s' if z[-1] != 1 else ''}; it needs one for each"
            )
        return super().plan(z, t)

    def formula_arguments(self) -> Mapping[str, Sequence[float]]:
        """q, if each output has one"""
        return {"q": self.q} if isinstance(self.q, tuple) else {}

    def l(self, z: Value, t: Value, q: Value = None) -> Value:  # noqa: E743
        """max(q (t - z), (q - 1)(t - z)); q: that of the output, if each has one"""
        share: Value = self.q if q is None else q
        e = t - z
        return maximum(share * e, (share - 1.0) * e)

    def dl(self, z: Value, t: Value, q: Value = None) -> Value:
        """(1 - q) [z > t] - q [z < t]"""
        share: Value = self.q if q is None else q
        return (z > t) * (1.0 - share) - (z < t) * share
