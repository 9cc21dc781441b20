"""Activations: elementwise functions y = f(x), so dx = dy · f'(x).

Each is two lines of mathematics: `f` gives y, and `df` gives dx from x, y and dy. They are formulas (see
`gpubp.formula`): one kernel each on a GPU. Called with numbers they just compute:

    >>> float(SiLU().f(0.0))
    0.0

σ(x) = 1/(1 + e⁻ˣ), with σ' = σ(1 - σ);  tanh' = 1 - tanh²;  [x > 0] is 1 where x > 0 and else 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..formula import absolute, exp, expm1, log1p, maximum, minimum, sigmoid, tanh, trace
from .base import Layer, Workspace
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula


class Activation(Layer):
    """y = f(x), dx = dy · f'(x). Write your own as a class with these two methods.

    >>> import gpubp as bp
    >>> class Square(bp.Activation):
    ...     def f(self, x):
    ...         return x * x
    ...     def df(self, x, y, dy):
    ...         return dy * 2 * x
    >>> bool(bp.gradcheck(Square(), (4, 3)))
    True
    """

    over_time = "each"

    @abstractmethod
    def f(self, x: Value) -> Value:
        """y from x"""

    @abstractmethod
    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """dx from x, y and dy"""

    @property
    def is_by_formulas(self) -> bool:
        """Whether f and df are all of the activation; else its class has a forward or backward of its own."""
        return type(self).forward is Activation.forward and type(self).backward is Activation.backward

    def plan(self, x: Shape) -> Plan:
        """Output as input."""
        arrays = {"y": x, "dx": x}
        if not self.is_by_formulas:
            return Plan(output=x, arrays=arrays)
        trace(self.f, 1, 1)  # where it can't be, the network isn't made
        reads = [name for k, name in enumerate(("x", "y")) if k in trace(self.df, 3, 1).read()]
        return Plan(output=x, arrays=arrays, overwrites=("y", "dx"), reads=reads)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """y = f(x)"""
        ws.x = x
        return ws.be.apply(self.f, x, out=ws.y)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """dx = dy · f'(x)"""
        return ws.be.apply(self.df, ws.x, ws.y, dy, out=ws.dx)


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
class ReLU(Activation):
    """The rectified linear unit (Nair and Hinton 2010).

    y = max(x, 0),  dx = dy [y > 0]; the derivative at 0 is taken as 0.

    >>> float(ReLU().f(-3.0))
    0.0
    """

    def f(self, x: Value) -> Value:
        """max(x, 0)"""
        return maximum(x, 0.0)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """1 where something came through"""
        return dy * (y > 0.0)


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
class Softplus(Activation):
    """A smooth ReLU (Dugas, Bengio, Bélisle, Nadeau and Garcia 2001).

    y = log(1 + eˣ) = max(x, 0) + log(1 + e^-|x|), the second without overflow;  dx = dy σ(x)

    >>> float(Softplus().f(1000.0))
    1000.0
    """

    def f(self, x: Value) -> Value:
        """log(1 + eˣ)"""
        return maximum(x, 0.0) + log1p(exp(-absolute(x)))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(log(1 + eˣ))' = eˣ / (1 + eˣ) = σ(x)"""
        return dy * sigmoid(x)


@dataclass(frozen=True, repr=False)
class SiLU(Activation):
    """The sigmoid-weighted linear unit, also called swish (Elfwing, Uchibe and Doya 2017).

    y = x σ(x),  dx = dy (σ + y (1 - σ))

    >>> float(SiLU().f(0.0))
    0.0
    """

    def f(self, x: Value) -> Value:
        """x σ(x), which is 0 far below 0, at -∞ too"""
        return maximum(x, -_FAR) * sigmoid(x)

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x σ)' = σ + x σ (1 - σ)"""
        s = sigmoid(x)
        return dy * (s + minimum(y, _FAR) * (1.0 - s))  # 1 - σ is 0 far above 0, at ∞ too


@dataclass(frozen=True, repr=False)
class GELU(Activation):
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016), by default in their tanh form.

    y = x Φ(x), with Φ(x) ≈ σ(2u) = (1 + tanh u)/2,  u = √(2/π) (x + 0.044715 x³)
    dx = dy (σ + x σ (1 - σ) 2u'),  u' = √(2/π) (1 + 3 · 0.044715 x²),  σ = σ(2u)

    approximate: "tanh", the one form there is: NumPy has no error function.

    >>> round(float(GELU().f(1.0)), 4)
    0.8412
    """

    approximate: str = "tanh"

    def __post_init__(self) -> None:
        if self.approximate != "tanh":
            raise ValueError(
                f'GELU has the form approximate="tanh" and got {self.approximate!r}: NumPy has no error function '
                "for the other"
            )

    def f(self, x: Value) -> Value:
        """x Φ(x), which is 0 far below 0, at -∞ too"""
        return maximum(x, -_FAR) * sigmoid(x * (_A + _B * (x * x)))

    def df(self, x: Value, y: Value, dy: Value) -> Value:
        """(x σ(2u))' = σ + x σ (1 - σ) 2u', the second term 0 far from 0, where x² may overflow"""
        square = minimum(x * x, _FAR)
        s = sigmoid(x * (_A + _B * square))
        return dy * (s + minimum(y, _FAR) * (1.0 - s) * (_A + 3.0 * _B * square))


_FAR = 1e6  # beyond it, and already from there to -_FAR, σ is 1 or 0 to the last bit
_A = 2.0 * math.sqrt(2.0 / math.pi)  # 2u = x (A + B x²)
_B = 0.044715 * _A
