"""Activation: what all elementwise layers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...backends import Array, Shape
from ...formula import trace
from ..base import Layer, Workspace
from ..plan import Plan

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
