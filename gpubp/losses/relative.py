"""Losses of ratios: how much an output differs from its target, relative to the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Shape
from ..config import Positive
from ..formula import absolute, log1p, maximum, minimum, sign
from .base import PointwiseLoss, Value
from .regression import not_below_0


@dataclass(frozen=True, repr=False)
class MeanAbsolutePercentageError(PointwiseLoss):
    """The absolute error in percent of the target.

    l = 100 |z - t| / max(|t|, ε);  ∂l/∂z = 100 sign(z - t) / max(|t|, ε)

    eps: ε, which stands for smaller targets; they count most, so that targets near 0 decide everything. As Keras's
    loss; scikit-learn's function of that name has no factor 100. (de Myttenaere et al. 2016)

    >>> float(MeanAbsolutePercentageError().l(3.0, 4.0)), float(MeanAbsolutePercentageError().dl(3.0, 4.0))
    (25.0, -25.0)
    """

    eps: Positive = 1e-7

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """100 |z - t| / max(|t|, ε)"""
        return 100.0 * absolute(z - t) / maximum(absolute(t), self.eps)

    def dl(self, z: Value, t: Value) -> Value:
        """100 sign(z - t) / max(|t|, ε)"""
        return 100.0 * sign(z - t) / maximum(absolute(t), self.eps)


@dataclass(frozen=True, repr=False)
class MeanSquaredLogarithmicError(PointwiseLoss):
    """The squared error of log(1 + z), for targets of 0 or more that differ by orders of magnitude.

    With z⁺ = max(z, 0):  l = e², e = log(1 + z⁺) - log(1 + t);  ∂l/∂z = 2 e / (1 + z⁺) for z > 0, else 0

    Outputs below 0 count as 0 and have no gradient, as in Keras, where 1e-7 stands for 0. A last layer such as Softplus
    avoids them. Raises DataError for targets below 0.

    >>> round(float(MeanSquaredLogarithmicError().l(0.0, 1.0)), 4)         # (log 2)²
    0.4805
    >>> round(float(MeanSquaredLogarithmicError().dl(1.0, 0.0)), 4)
    0.6931
    """

    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers of 0 or more, one for each output."""
        return not_below_0(self, super().targets(y, z), "whose logarithms are compared")

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """(log(1 + z⁺) - log(1 + t))²"""
        e = log1p(maximum(z, 0.0)) - log1p(t)
        return e * e

    def dl(self, z: Value, t: Value) -> Value:
        """2 (log(1 + z⁺) - log(1 + t)) / (1 + z⁺) where z > 0; it is 0 at z = ∞"""
        above = minimum(maximum(z, 0.0), _FAR)
        return (z > 0.0) * (2.0 * (log1p(above) - log1p(t)) / (1.0 + above))


_FAR = 1e30
