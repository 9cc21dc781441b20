"""ReLU and its kin: x above 0, and 0 or little below."""

from __future__ import annotations

from dataclasses import dataclass

from ...config import Positive
from ...formula import exp, expm1, maximum, minimum
from .base import Activation, Value


@dataclass(frozen=True, repr=False)
class ReLU(Activation):
    """The rectified linear unit (Nair and Hinton 2010).

    y = max(x, 0),  dx = dy [y > 0]; the derivative at 0 is taken as 0.

    max_value: y is at most this, and where it is, dx is 0; ReLU(6.0) is ReLU6 (Krizhevsky 2010).

    >>> float(ReLU().f(-3.0)), float(ReLU(6.0).f(7.0))
    (0.0, 6.0)
    """

    max_value: Positive | None = None

    def f(self, x: Value) -> Value:
        """max(x, 0)"""
        return maximum(x, 0.0) if self.max_value is None else minimum(maximum(x, 0.0), self.max_value)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 where x came through"""
        return dy * (y > 0.0) if self.max_value is None else dy * ((y > 0.0) * (y < self.max_value))


@dataclass(frozen=True, repr=False)
class LeakyReLU(Activation):
    """ReLU that lets `slope` of the negative side through (Maas, Hannun and Ng 2013).

    y = max(x, 0) + slope · min(x, 0),  dx = dy ([x > 0] (1 - slope) + slope)

    >>> float(LeakyReLU(0.1).f(-3.0))
    -0.30000000000000004
    """

    slope: float = 0.01

    def f(self, x: Value) -> Value:
        """x, or slope · x"""
        return maximum(x, 0.0) + self.slope * minimum(x, 0.0) if self.slope else maximum(x, 0.0)  # 0 · (-∞) is none

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1, or slope"""
        return dy * ((x > 0.0) * (1.0 - self.slope) + self.slope)


@dataclass(frozen=True, repr=False)
class ThresholdedReLU(Activation):
    """x where it is above a threshold, elsewhere 0 or another value (Konda, Memisevic and Krueger 2014).

    y = x for x > θ, else value;  dx = dy [x > θ]

    theta: the threshold θ. value: what takes the place of numbers that are not above it; PyTorch's
    `Threshold(theta, value)`.

    >>> [float(ThresholdedReLU(1.0).f(x)) for x in (0.5, 1.5)]
    [0.0, 1.5]
    """

    theta: float = 1.0
    value: float = 0.0

    def f(self, x: Value) -> Value:
        """max keeps x finite where its factor is 0"""
        above = maximum(x, self.theta) * (x > self.theta)
        return above + self.value * (x <= self.theta) if self.value else above

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 where x came through"""
        return dy * (x > self.theta)


@dataclass(frozen=True, repr=False)
class ELU(Activation):
    """The exponential linear unit (Clevert, Unterthiner and Hochreiter 2015).

    y = x for x > 0, else α (eˣ - 1);  dx = dy for x > 0, else dy α eˣ

    >>> float(ELU().f(2.0))
    2.0
    """

    alpha: float = 1.0

    def f(self, x: Value) -> Value:
        """Of max(x, 0) and min(x, 0) one is 0, and e⁰ - 1 too"""
        return maximum(x, 0.0) + self.alpha * expm1(minimum(x, 0.0))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1, or α eˣ; min keeps eˣ finite where its factor is 0"""
        return dy * ((x > 0.0) * 1.0 + (x <= 0.0) * (self.alpha * exp(minimum(x, 0.0))))


@dataclass(frozen=True, repr=False)
class SELU(Activation):
    """The scaled exponential linear unit (Klambauer, Unterthiner, Mayr and Hochreiter 2017).

    y = λ x for x > 0, else λ α (eˣ - 1);  dx = dy λ for x > 0, else dy λ α eˣ

    alpha, scale: α and λ. With theirs, the default, numbers of mean 0 and variance 1 have these again behind a Dense
    with `LeCunNormal` weights and a SELU.

    >>> float(SELU().f(1.0))
    1.0507009873554805
    """

    alpha: float = 1.6732632423543772
    scale: float = 1.0507009873554805

    def f(self, x: Value) -> Value:
        """Of max(x, 0) and min(x, 0) one is 0, and e⁰ - 1 too"""
        return self.scale * (maximum(x, 0.0) + self.alpha * expm1(minimum(x, 0.0)))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """λ, or λ α eˣ; min keeps eˣ finite where its factor is 0"""
        return dy * (self.scale * ((x > 0.0) * 1.0 + (x <= 0.0) * (self.alpha * exp(minimum(x, 0.0)))))


@dataclass(frozen=True, repr=False)
class CELU(Activation):
    """An exponential linear unit whose derivative has no jump at 0, whatever α is (Barron 2017).

    y = x for x > 0, else α (e^(x/α) - 1);  dx = dy for x > 0, else dy e^(x/α)

    alpha: α, above 0.

    >>> float(CELU(2.0).f(2.0))
    2.0
    """

    alpha: Positive = 1.0

    def f(self, x: Value) -> Value:
        """Of max(x, 0) and min(x, 0) one is 0, and e⁰ - 1 too"""
        return maximum(x, 0.0) + self.alpha * expm1(minimum(x, 0.0) / self.alpha)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1, or e^(x/α); min keeps it finite where its factor is 0"""
        return dy * ((x > 0.0) * 1.0 + (x <= 0.0) * exp(minimum(x, 0.0) / self.alpha))
