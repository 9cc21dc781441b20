"""Activations with derivatives of all orders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...config import Positive
from ...formula import absolute, erfc, exp, log1p, maximum, minimum, sigmoid, tanh
from ...formula.host import is_single_here
from ...formula.normal import below
from .base import Activation, Value


@dataclass(frozen=True, repr=False)
class Sigmoid(Activation):
    """The logistic function.

    y = σ(x),  dx = dy y (1 - y)

    >>> float(Sigmoid().f(0.0))
    0.5
    """

    def f(self, x: Value) -> Value:
        """σ(x)"""
        return sigmoid(x)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """σ' = σ(1 - σ)"""
        return dy * (y * (1.0 - y))


@dataclass(frozen=True, repr=False)
class Tanh(Activation):
    """The hyperbolic tangent.

    y = tanh x,  dx = dy (1 - y²)

    >>> float(Tanh().f(0.0))
    0.0
    """

    def f(self, x: Value) -> Value:
        """tanh x"""
        return tanh(x)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """tanh' = 1 - tanh²"""
        return dy * (1.0 - y * y)


@dataclass(frozen=True, repr=False)
class Softsign(Activation):
    """A sigmoid, x / (1 + |x|), that approaches -1 and 1 slowly, as 1/x does (Elliott 1993; Bergstra and others 2009).

    y = x / (1 + |x|),  dx = dy / (1 + |x|)²

    >>> float(Softsign().f(3.0))
    0.75
    """

    def f(self, x: Value) -> Value:
        """x / (1 + |x|), which is 1 far above 0, at ∞ too"""
        x = minimum(maximum(x, -_FARTHER), _FARTHER)
        return x / (1.0 + absolute(x))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x / (1 + x))' = 1 / (1 + x)², and the same for -x"""
        r = 1.0 / (1.0 + absolute(x))
        return dy * (r * r)


@dataclass(frozen=True, repr=False)
class Softplus(Activation):
    """A smooth ReLU (Dugas, Bengio, Bélisle, Nadeau and Garcia 2001).

    y = log(1 + e^(βx)) / β = max(x, 0) + log(1 + e^-|βx|) / β, the second without overflow;  dx = dy σ(βx)

    beta: β, above 0; the larger, the closer to ReLU. PyTorch's `threshold` is not needed, as nothing overflows.

    >>> float(Softplus().f(1000.0))
    1000.0
    """

    beta: Positive = 1.0

    def f(self, x: Value) -> Value:
        """log(1 + e^(βx)) / β"""
        soft = log1p(exp(-absolute(_times(self.beta, x))))
        return maximum(x, 0.0) + (soft if self.beta == 1 else soft / self.beta)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(log(1 + e^(βx)) / β)' = e^(βx) / (1 + e^(βx)) = σ(βx)"""
        return dy * sigmoid(_times(self.beta, x))


@dataclass(frozen=True, repr=False)
class LogSigmoid(Activation):
    """The logarithm of the logistic function.

    y = log σ(x) = min(x, 0) - log(1 + e^-|x|), the second without overflow;  dx = dy (1 - σ(x)) = dy / (1 + eˣ)

    >>> float(LogSigmoid().f(-1000.0))
    -1000.0
    """

    def f(self, x: Value) -> Value:
        """log σ(x) = -log(1 + e⁻ˣ)"""
        return minimum(x, 0.0) - log1p(exp(-absolute(x)))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(-log(1 + e⁻ˣ))' = e⁻ˣ / (1 + e⁻ˣ)"""
        return dy * (1.0 / (1.0 + exp(x)))


@dataclass(frozen=True, repr=False)
class SiLU(Activation):
    """The sigmoid-weighted linear unit (Elfwing, Uchibe and Doya 2017), also called swish.

    y = x σ(αx),  dx = dy (σ + α y (1 - σ)),  σ = σ(αx)

    alpha: α, above 0; another than 1 is from Ramachandran, Zoph and Le (2017).

    >>> float(SiLU().f(0.0))
    0.0
    """

    alpha: Positive = 1.0

    def f(self, x: Value) -> Value:
        """x σ(αx), which is 0 far below 0, at -∞ too"""
        return maximum(x, -_FAR / self.alpha) * sigmoid(_times(self.alpha, x))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x σ)' = σ + x α σ (1 - σ)"""
        s = sigmoid(_times(self.alpha, x))
        return dy * (s + _times(self.alpha, minimum(y, _FAR / self.alpha)) * (1.0 - s))  # 1 - σ is 0 far above 0


@dataclass(frozen=True, repr=False)
class GELU(Activation):
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016).

    y = x Φ(x),  Φ(x) = ½ (1 + erf(x/√2)) = ½ erfc(-x/√2), the second with all places far below 0, too
    dx = dy (Φ + x φ),  φ = Φ' = e^(-x²/2) / √(2π)

    approximate: "none", or "tanh" for their form without an error function, whose numbers differ by up to 0.0005; Keras
    says False and True. It has Φ ≈ σ(2u) = (1 + tanh u)/2 with u = √(2/π) (x + 0.044715 x³), and so
    φ ≈ σ (1 - σ) 2u' with u' = √(2/π) (1 + 3 · 0.044715 x²).

    float32 numbers of the first form have y within 6 units of the last place, and for x below 0 within x²/2 more: in
    ordinary numerics Φ(-|x|) is e^(-x²/2) times a rational function of |x| (`formula/normal.py`).

    >>> round(float(GELU().f(1.0)), 4), round(float(GELU("tanh").f(1.0)), 4)
    (0.8413, 0.8412)
    """

    approximate: Literal["none", "tanh"] | bool = "none"

    def __post_init__(self) -> None:
        if isinstance(self.approximate, bool):
            object.__setattr__(self, "approximate", "tanh" if self.approximate else "none")

    def f(self, x: Value) -> Value:
        """x Φ(x), which is 0 far below 0, at -∞ too; of float32 numbers as max(x, 0) - |x| Φ(-|x|)"""
        if self.approximate == "none" and is_single_here():
            a, e, ratio = below(x)
            return maximum(x, 0.0) - a * (e * ratio)
        return maximum(x, -_FAR) * (_normal(x) if self.approximate == "none" else sigmoid(x * (_A + _B * (x * x))))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x Φ)' = Φ + x φ;  (x σ(2u))' = σ + x σ (1 - σ) 2u'; the second term is 0 far out, where x² may overflow;
        of float32 numbers g = Φ(-|x|) - |x| φ, and 1 - g for x ≥ 0"""
        if self.approximate == "none" and is_single_here():
            a, e, ratio = below(x)
            g = e * (ratio - _DENSITY * a)
            return dy * (g + (x >= 0.0) * (1.0 - 2.0 * g))
        if self.approximate == "none":
            return dy * (_normal(x) + minimum(maximum(x, -_FAR), _FAR) * (_DENSITY * exp(-0.5 * (x * x))))
        square = minimum(x * x, _FAR)
        s = sigmoid(x * (_A + _B * square))
        return dy * (s + minimum(y, _FAR) * (1.0 - s) * (_A + 3.0 * _B * square))


@dataclass(frozen=True, repr=False)
class Mish(Activation):
    """A smooth function near ReLU that is a little below 0 for x < 0 (Misra 2019).

    y = x t,  t = tanh(log(1 + eˣ));  dx = dy (t + x (1 - t²) σ(x)), because (log(1 + eˣ))' = σ

    >>> float(Mish().f(0.0))
    0.0
    """

    def f(self, x: Value) -> Value:
        """x t, which is 0 far below 0, at -∞ too"""
        return maximum(x, -_FAR) * tanh(_softplus(x))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x t)' = t + x t'; far from 0, at ±∞ too, t' is 0"""
        t = tanh(_softplus(x))
        return dy * (t + minimum(maximum(x, -_FAR), _FAR) * ((1.0 - t * t) * sigmoid(x)))


@dataclass(frozen=True, repr=False)
class Tanhshrink(Activation):
    """The difference of x and its hyperbolic tangent, x - tanh x.

    y = x - tanh x,  dx = dy tanh² x

    >>> float(Tanhshrink().f(0.0))
    0.0
    """

    def f(self, x: Value) -> Value:
        """x - tanh x"""
        return x - tanh(x)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 - tanh' = tanh²"""
        t = tanh(x)
        return dy * (t * t)


def _times(factor: float, x: Value) -> Value:
    return x if factor == 1 else factor * x


def _normal(x: Value) -> Value:
    """Φ(x), the normal distribution"""
    return 0.5 * erfc(-math.sqrt(0.5) * x)


def _softplus(x: Value) -> Value:
    return maximum(x, 0.0) + log1p(exp(-absolute(x)))


_FAR = 1e6  # beyond it, and already from there to -_FAR, σ is 1 or 0 to the last bit
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_A = 2.0 * math.sqrt(2.0 / math.pi)  # 2u = x (A + B x²)
_B = 0.044715 * _A
_FARTHER = 1e20  # beyond it 1 + x is x to the last bit
