"""Losses of numbers: squared, absolute, Huber, log-cosh and Poisson."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Shape
from ..config import Positive
from ..errors import DataError
from ..formula import absolute, exp, expm1, fmax, log, log1p, maximum, minimum, sign, tanh
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
class LogCosh(PointwiseLoss):
    """Quadratic near 0 and linear far from it, with all derivatives (Saleh, Saleh 2022).

    With e = z - t:  l = log cosh e = log(1 + ½ w² / (1 + w)), w = e^|e| - 1;  ∂l/∂z = tanh e

    The second form keeps all digits near 0. From |e| = 20 on, l grows as |e|, which overflows nowhere.

    >>> round(float(LogCosh().l(3.0, 1.0)), 4), round(float(LogCosh().dl(3.0, 1.0)), 4)
    (1.325, 0.964)
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """log(1 + ½ w² / (1 + w)) + |e| - a, w = eᵃ - 1, a = min(|e|, 20)"""
        e = absolute(z - t)
        a = minimum(e, 20.0)
        w = expm1(a)
        return log1p(0.5 * (w * w) / (1.0 + w)) + (e - a)

    def dl(self, z: Value, t: Value) -> Value:
        """tanh(z - t)"""
        return tanh(z - t)


@dataclass(frozen=True, repr=False)
class Poisson(PointwiseLoss):
    """Half the deviance of counts t from a Poisson distribution of mean μ (McCullagh, Nelder 1989).

    l = μ - t + t log(t/μ), with 0 log 0 = 0

    log: whether z are logarithms, μ = eᶻ:  l = eᶻ - t + t (log t - z);  ∂l/∂z = eᶻ - t
    If not, z are the means, of 0 or more, as Softplus gives them:  l = z - t + t (log t - log(z + ε));
    ∂l/∂z = 1 - t/(z + ε).  eps: ε, which keeps log z finite.

    Targets are 0 or more. PyTorch's `PoissonNLLLoss(log_input, eps=eps)` leaves out - t + t log t, which does not
    depend on z, and Keras's `Poisson` is of log=False and leaves it out, too. Metrics judge μ, and not its logarithm.

    >>> float(Poisson().l(0.0, 1.0)), float(Poisson().dl(0.0, 3.0))
    (0.0, -2.0)
    >>> float(Poisson(log=False).dl(2.0, 3.0))
    -0.4999999925
    """

    log: bool = True
    eps: Positive = 1e-8
    exact = True

    @property
    def outputs_are(self) -> str:
        """What z are: "logarithms" or "means"."""
        return "logarithms" if self.log else "means"

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers of 0 or more, one for each output."""
        return not_below_0(self, super().targets(y, z), "counts or rates")

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """μ - t + t (log t - log μ); of logarithms the last term is above -1e30 t but where eᶻ is infinite, and 0 for
        t = 0 at z = -∞; of means log μ is not above log 1e30"""
        of_t = log(maximum(t, _LEAST))
        if self.log:
            return exp(z) - t + fmax(t * (of_t - z), _FAR * t)
        return z - t + t * (of_t - log(minimum(z, -_FAR) + self.eps))

    def dl(self, z: Value, t: Value) -> Value:
        """eᶻ - t, or 1 - t/(z + ε)"""
        return exp(z) - t if self.log else 1.0 - t / (z + self.eps)


def not_below_0(loss: PointwiseLoss, y: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    """Targets y of 0 or more; DataError for others. what: what they stand for.

    >>> not_below_0(Poisson(), np.array([0.0, 2.0]), "counts").tolist()
    [0.0, 2.0]
    """
    if y.size and not y.min() >= 0:
        raise DataError(f"{type(loss).__name__} needs targets of 0 or more, {what}, and y goes down to {y.min()}")
    return y


_FAR = -1e30
_LEAST = 1e-30  # in place of a 0 under a logarithm that is multiplied by it; in reach of float32
