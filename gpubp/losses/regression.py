"""Losses of numbers: squared, absolute, Huber and Poisson."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Shape
from ..config import Positive
from ..errors import DataError
from ..formula import absolute, exp, fmax, log, maximum, minimum, sign
from .base import PointwiseLoss, Value


@dataclass(frozen=True, repr=False)
class MeanSquaredError(PointwiseLoss):
    """l = (z - t)²,  ∂l/∂z = 2 (z - t)

    >>> MeanSquaredError().l(3.0, 1.0), MeanSquaredError().dl(3.0, 1.0)
    (4.0, 4.0)
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """(z - t)²"""
        e = z - t
        return e * e

    def dl(self, z: Value, t: Value) -> Value:
        """2 (z - t)"""
        return 2.0 * (z - t)


@dataclass(frozen=True, repr=False)
class HalfMeanSquaredError(PointwiseLoss):
    """l = ½ (z - t)²,  ∂l/∂z = z - t: the 1/2n of the textbooks, and what scikit-learn's regressor minimises.

    >>> HalfMeanSquaredError().l(3.0, 1.0), HalfMeanSquaredError().dl(3.0, 1.0)
    (2.0, 2.0)
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """½ (z - t)²"""
        e = z - t
        return 0.5 * (e * e)

    def dl(self, z: Value, t: Value) -> Value:
        """z - t"""
        return z - t


@dataclass(frozen=True, repr=False)
class MeanAbsoluteError(PointwiseLoss):
    """l = |z - t|,  ∂l/∂z = sign(z - t)

    >>> float(MeanAbsoluteError().l(1.0, 3.0))
    2.0
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """|z - t|"""
        return absolute(z - t)

    def dl(self, z: Value, t: Value) -> Value:
        """sign(z - t)"""
        return sign(z - t)


@dataclass(frozen=True, repr=False)
class Huber(PointwiseLoss):
    """Quadratic near 0 and linear beyond `delta` (Huber 1964).

    With e = z - t:  l = ½ e² for |e| ≤ δ, else δ (|e| - ½ δ);  ∂l/∂z = e cut to [-δ, δ]

    >>> float(Huber().l(3.0, 0.0)), float(Huber().dl(3.0, 0.0))
    (2.5, 1.0)
    """

    delta: Positive = 1.0

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """With a = min(|e|, δ), both pieces are a (|e| - ½ a)"""
        e = absolute(z - t)
        a = minimum(e, self.delta)
        return a * (e - 0.5 * a)

    def dl(self, z: Value, t: Value) -> Value:
        """e cut to [-δ, δ]"""
        return maximum(minimum(z - t, self.delta), -self.delta)


@dataclass(frozen=True, repr=False)
class Poisson(PointwiseLoss):
    """Half the deviance of counts t from a Poisson distribution of mean μ = eᶻ; z are logarithms.

    l = μ - t + t log(t/μ) = eᶻ - t + t (log t - z), with 0 log 0 = 0;  ∂l/∂z = eᶻ - t

    Targets are 0 or more. (McCullagh and Nelder 1989)

    >>> float(Poisson().l(0.0, 1.0)), float(Poisson().dl(0.0, 3.0))
    (0.0, -2.0)
    """

    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers of 0 or more, one for each output."""
        y = super().targets(y, z)
        if y.size and not y.min() >= 0:
            raise DataError(f"Poisson needs targets of 0 or more, counts or rates, and y goes down to {y.min()}")
        return y

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """eᶻ - t + t (log t - z); the last term is above -1e30 t but where eᶻ is infinite, and 0 for t = 0 at z = -∞"""
        return exp(z) - t + fmax(t * (log(maximum(t, _LEAST)) - z), _FAR * t)

    def dl(self, z: Value, t: Value) -> Value:
        """eᶻ - t"""
        return exp(z) - t


_FAR = -1e30
_LEAST = 1e-30  # in place of a 0 under a logarithm that is multiplied by it; in reach of float32
