"""Descent whose steps are scaled by the gradients of the steps before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import BelowOne, NotNegative, Positive
from ..formula import maximum, sqrt
from ..schedules import Schedule
from .base import Optimizer, Value


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """Steps scaled by a running root mean square of the gradient (Tieleman and Hinton 2012).

        (1) v ← ρ v + (1 - ρ) g²     (2) θ ← θ - η g / (√v + ε)

    centered: the variance stands in place of the mean square (Graves 2013), at least 0 where rounding would give less:

        (3) m ← ρ m + (1 - ρ) g     (2') θ ← θ - η g / (√max(v - m², 0) + ε)

    momentum: μ of a velocity b, in PyTorch's form, where η scales all of it; r is the root in (2) or (2'):

        (4) b ← μ b + g / (r + ε)     (5) θ ← θ - η b

    >>> RMSprop(rho=0.0).rule(1.0, 2.0, 0.0, 0.5)[1]
    4.0
    """

    learning_rate: float | Schedule = 1e-3
    rho: BelowOne = 0.9
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    centered: bool = False
    momentum: BelowOne = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None

    @property
    def moments(self) -> tuple[str, ...]:
        """v: the mean square; m, if centered: the mean; b, if there is momentum: the velocity."""
        return ("v", *["m"] * self.centered, *["b"] * bool(self.momentum))

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (3), (4), (2) or (5)"""
        *moments, eta = rest
        v = self.rho * moments[0] + (1.0 - self.rho) * (g * g)  # (1)
        kept, square = [v], v
        if self.centered:
            m = self.rho * moments[1] + (1.0 - self.rho) * g  # (3)
            kept, square = [v, m], maximum(v - m * m, 0.0)
        if not self.momentum:
            return theta - eta * g / (sqrt(square) + self.eps), *kept  # (2)
        b = self.momentum * moments[-1] + g / (sqrt(square) + self.eps)  # (4)
        return theta - eta * b, *kept, b  # (5)


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Steps scaled by the root of all squared gradients so far (Duchi, Hazan and Singer 2011).

        (1) v ← v + g²     (2) θ ← θ - η g / (√v + ε)

    initial_accumulator_value: what v is before the first step; more than 0 makes the first steps shorter.

    >>> Adagrad().rule(1.0, 2.0, 0.0, 0.5)[1]
    4.0
    """

    learning_rate: float | Schedule = 0.01
    eps: Positive = 1e-10
    weight_decay: NotNegative = 0.0
    initial_accumulator_value: NotNegative = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None

    @property
    def moments(self) -> tuple[str, ...]:
        """v: the sum of squares."""
        return ("v",)

    @property
    def initial_moments(self) -> Mapping[str, float]:
        """v's first value."""
        return {"v": self.initial_accumulator_value}

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        v, eta = rest
        v = v + g * g  # (1)
        return theta - eta * g / (sqrt(v) + self.eps), v  # (2)


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """Steps scaled by the root mean square of the steps before; the learning rate is 1 (Zeiler 2012).

        (1) v ← ρ v + (1 - ρ) g²     (2) Δ = √(d + ε) g / √(v + ε)     (3) θ ← θ - η Δ     (4) d ← ρ d + (1 - ρ) Δ²

    >>> Adadelta(rho=0.0, eps=1.0).rule(1.0, 1.0, 0.0, 3.0, 0.5)[1]
    1.0
    """

    learning_rate: float | Schedule = 1.0
    rho: BelowOne = 0.9
    eps: Positive = 1e-6
    weight_decay: NotNegative = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None

    @property
    def moments(self) -> tuple[str, ...]:
        """v, d: the mean squares of g and of Δ."""
        return ("v", "d")

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1) to (4)"""
        v, d, eta = rest
        v = self.rho * v + (1.0 - self.rho) * (g * g)  # (1)
        delta = sqrt(d + self.eps) / sqrt(v + self.eps) * g  # (2)
        return theta - eta * delta, v, self.rho * d + (1.0 - self.rho) * (delta * delta)  # (3), (4)
