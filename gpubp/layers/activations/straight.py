"""Activations without exp: lines that are cut off, and HardSwish, which is made of one."""

from __future__ import annotations

from dataclasses import dataclass

from ...config import NotNegative
from ...formula import absolute, maximum, minimum
from .base import Activation, Value


@dataclass(frozen=True, repr=False)
class HardSigmoid(Activation):
    """A sigmoid of three straight lines (Courbariaux, Bengio and David 2015).

    y = min(max(h, 0), 1),  h = slope · x + offset;  dx = dy · slope for 0 < h < 1, else 0

    slope, offset: of the line between the ends; the defaults are those of PyTorch and Keras 3. In ONNX they are alpha
    and beta, and slope is 0.2 by default, as in Keras 2.

    >>> [float(HardSigmoid().f(x)) for x in (-4.0, 0.0, 4.0)]
    [0.0, 0.5, 1.0]
    """

    slope: float = 1 / 6
    offset: float = 0.5

    def f(self, x: Value) -> Value:
        """h, between 0 and 1"""
        return minimum(maximum(self.slope * x + self.offset, 0.0), 1.0)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """The slope between the ends"""
        return dy * ((y > 0.0) * (y < 1.0) * self.slope)


@dataclass(frozen=True, repr=False)
class HardSwish(Activation):
    """x σ(x) with a sigmoid of straight lines (Howard and others 2019).

    y = x h,  h = min(max(x/6 + ½, 0), 1);  dx = dy (x/3 + ½) for |x| < 3, dy for x ≥ 3, else 0

    >>> [float(HardSwish().f(x)) for x in (-4.0, 0.0, 4.0)]
    [0.0, 0.0, 4.0]
    """

    def f(self, x: Value) -> Value:
        """x h, which is 0 from -3 downwards; max keeps x finite there"""
        x = maximum(x, -3.0)
        return x * (minimum(x, 3.0) / 6.0 + 0.5)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x (x/6 + ½))' = x/3 + ½, and x' = 1; max and min keep x finite where its factor is 0"""
        near = minimum(maximum(x, -3.0), 3.0)
        return dy * ((absolute(x) < 3.0) * (near / 3.0 + 0.5) + (x >= 3.0) * 1.0)


@dataclass(frozen=True, repr=False)
class Hardtanh(Activation):
    """x between two ends (Collobert 2004); what NumPy calls clip.

    y = min(max(x, min_value), max_value),  dx = dy for min_value < x < max_value, else 0

    min_value, max_value: the ends; one of them may be None, for none.

    >>> [float(Hardtanh().f(x)) for x in (-4.0, 0.5, 4.0)]
    [-1.0, 0.5, 1.0]
    """

    min_value: float | None = -1.0
    max_value: float | None = 1.0

    def __post_init__(self) -> None:
        low, high = self.min_value, self.max_value
        if low is None and high is None:
            raise ValueError("Hardtanh needs one end at least, and got None and None")
        if low is not None and high is not None and not low < high:
            raise ValueError(f"Hardtanh needs min_value below max_value, and got {low} and {high}")

    def f(self, x: Value) -> Value:
        """x between the ends"""
        y = x if self.min_value is None else maximum(x, self.min_value)
        return y if self.max_value is None else minimum(y, self.max_value)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 between the ends"""
        if self.min_value is None or self.max_value is None:
            return dy * (y > self.min_value if self.max_value is None else y < self.max_value)
        return dy * ((y > self.min_value) * (y < self.max_value))


@dataclass(frozen=True, repr=False)
class Softshrink(Activation):
    """x moved towards 0 by a threshold λ, and 0 where |x| is not above λ (Donoho 1995).

    y = x - λ for x > λ, x + λ for x < -λ, else 0;  dx = dy [|x| > λ]

    threshold: λ, 0 or more.

    >>> [float(Softshrink(0.5).f(x)) for x in (-1.0, 0.25, 2.0)]
    [-0.5, 0.0, 1.5]
    """

    threshold: NotNegative = 0.5

    def f(self, x: Value) -> Value:
        """x without its part between -λ and λ"""
        return x - minimum(maximum(x, -self.threshold), self.threshold)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 where something is left"""
        return dy * (absolute(x) > self.threshold)


@dataclass(frozen=True, repr=False)
class Hardshrink(Activation):
    """x, and 0 where |x| is not above a threshold λ (Donoho and Johnstone 1994).

    y = x [|x| > λ],  dx = dy [|x| > λ]

    threshold: λ, 0 or more.

    >>> [float(Hardshrink(0.5).f(x)) for x in (-1.0, 0.25, 2.0)]
    [-1.0, 0.0, 2.0]
    """

    threshold: NotNegative = 0.5

    def f(self, x: Value) -> Value:
        """x, or 0"""
        return x * (absolute(x) > self.threshold)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 where x came through"""
        return dy * (absolute(x) > self.threshold)
