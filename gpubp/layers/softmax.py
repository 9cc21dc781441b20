"""Softmax and its logarithm: numbers along one axis made probabilities, which are positive and sum to 1.

    s = x - max x       subtracting the maximum changes no y, and keeps eˢ finite

    Softmax       (1) y = eˢ / Σ eˢ               (2) dx = y (dy - Σ dy y)
    LogSoftmax    (3) y = s - log Σ eˢ            (4) dx = dy - eʸ Σ dy

For (2): ∂y_j/∂x_i = y_j ([i = j] - y_i). For (4): ∂y_j/∂x_i = [i = j] - e^(y_i). Sums and maxima are over the axis
(Bridle 1990). An x of -∞ masks its place: there y of (1) is 0, and y of (3) is -∞.

Where the axis is time and rows have fewer than T steps, by the mask μ (B, T) of `time_steps`, padding counts as -∞ in
sums and maxima, and y = dx = 0 there. A row without any step has y = 0 and dx = 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..errors import ShapeError
from ..formula import exp, log, maximum, minimum, row_max, row_sum
from .base import Layer, Workspace
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class AlongAxis(Layer):
    """What `Softmax` and `LogSoftmax` have in common: formulas of the last axis, computed along any axis.

    Another axis is brought to the end by copies, of x and dy before the formula, and of its result behind it.

    >>> Softmax(axis=1).plan((32, 10, 3)).output
    (32, 10, 3)
    """

    axis: int = -1

    @abstractmethod
    def f(self, x: Value) -> Value:
        """y from x"""

    @abstractmethod
    def df(self, y: Value, dy: Value) -> Value:
        """dx from y and dy"""

    @abstractmethod
    def f_of_steps(self, x: Value, mu: Value) -> Value:
        """y from x along time, and the mask of time steps"""

    @abstractmethod
    def df_of_steps(self, y: Value, dy: Value, mu: Value) -> Value:
        """dx from y and dy along time, and the mask of time steps"""

    @property
    def over_time(self) -> str:
        """Steps are mixed, by the mask, where the axis is time."""
        return "keeps"

    def plan(self, x: Shape) -> Plan:
        """y and dx; where the axis is not the last, also both with the axis at the end"""
        axis = self.place(x)
        if axis == len(x) - 1:
            return Plan(output=x, arrays={"y": x, "dx": x}, overwrites=("y", "dx"), reads=("y",))
        turned = list(x)
        turned[axis], turned[-1] = turned[-1], turned[axis]
        arrays = {"y": x, "dx": x, "y_turned": tuple(turned), "dx_turned": tuple(turned)}
        return Plan(output=x, arrays=arrays, overwrites=("y", "dx"), reads=())

    def place(self, x: Shape) -> int:
        """The axis of inputs of shape x, counted from 0. Raises ShapeError if there is none, or it is the batch's."""
        axis = self.axis + len(x) if self.axis < 0 else self.axis
        if axis == 0 or (axis < 0 and len(x) < 2):
            raise ShapeError(
                f"works along axis {self.axis} of inputs of shape {x}, which is the batch's; each row is by itself: "
                "take an axis from 1 on, or -1 for the last"
            )
        if not 0 < axis < len(x):
            raise ShapeError(f"works along axis {self.axis}, and its inputs have {len(x)} axes: {x}")
        return axis

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) or (3)"""
        axis = self.place(x.shape)
        if axis == x.ndim - 1:
            return self._y(ws, x, axis, ws.y)
        ws.xp.copyto(ws.y_turned, x.swapaxes(axis, -1))
        self._y(ws, ws.y_turned, axis, ws.y_turned)
        ws.xp.copyto(ws.y, ws.y_turned.swapaxes(axis, -1))
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2) or (4)"""
        axis = self.place(dy.shape)
        if axis == dy.ndim - 1:
            return self._dx(ws, ws.y, dy, axis, ws.dx)
        ws.xp.copyto(ws.dx_turned, dy.swapaxes(axis, -1))
        self._dx(ws, ws.y_turned, ws.dx_turned, axis, ws.dx_turned)
        ws.xp.copyto(ws.dx, ws.dx_turned.swapaxes(axis, -1))
        return ws.dx

    def _y(self, ws: Workspace, x: Array, axis: int, out: Array) -> Array:
        if axis == 1 and ws.mask is not None:
            return ws.be.apply(self.f_of_steps, x, _beside(ws.mask, x), out=out)
        return ws.be.apply(self.f, x, out=out)

    def _dx(self, ws: Workspace, y: Array, dy: Array, axis: int, out: Array) -> Array:
        if axis == 1 and ws.mask is not None:
            return ws.be.apply(self.df_of_steps, y, dy, _beside(ws.mask, y), out=out)
        return ws.be.apply(self.df, y, dy, out=out)


@dataclass(frozen=True, repr=False)
class Softmax(AlongAxis):
    """Probabilities of logits: y = eˢ/Σ eˢ with s = x - max x,  dx = y (dy - Σ dy y)  (Bridle 1990).

    axis: along which y sums to 1: any but the batch's, 0. The last, -1, are the numbers of a row, the channels of
    images and the numbers of a time step. An x of -∞ masks its place: y is 0 there. Input (B, ..., n), output the same.
    Along the time steps of rows of different lengths padding is left out.

    A network that is trained for classes ends without it, because `SoftmaxCrossEntropy` contains it;
    `net.predict_proba` gives the probabilities. Raises ShapeError where the inputs have no such axis.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Softmax(), input_shape=3, device="cpu")
    >>> net.predict([[0.0, 0.0, -1e9], [1e9, 0.0, 0.0]]).tolist()
    [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    """

    exact = True

    def f(self, x: Value) -> Value:
        """(1)"""
        e = exp(x - row_max(x))
        return e / row_sum(e)  # (1)  y = eˢ / Σ eˢ

    def df(self, y: Value, dy: Value) -> Value:
        """(2)"""
        return y * (dy - row_sum(dy * y))  # (2)  dx = y (dy - Σ dy y)

    def f_of_steps(self, x: Value, mu: Value) -> Value:
        """(1), and 0 at padding"""
        own, largest = _own_steps(x, mu)
        e = exp(own - largest)
        return e / maximum(row_sum(e), 1.0)  # the sum is 1 or more, but for a row without steps

    def df_of_steps(self, y: Value, dy: Value, mu: Value) -> Value:
        """(2), which is 0 where y is"""
        return self.df(y, dy)


@dataclass(frozen=True, repr=False)
class LogSoftmax(AlongAxis):
    """Logarithms of probabilities: y = s - log Σ eˢ with s = x - max x,  dx = dy - eʸ Σ dy  (Bridle 1990).

    It stays exact where the probabilities are too small for the type of numbers, as log of `Softmax` would not. axis,
    inputs, outputs and errors: as of `Softmax`. An x of -∞ has y = -∞. `SoftmaxCrossEntropy` contains this layer, too.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LogSoftmax(), input_shape=2, device="cpu")
    >>> net.predict([[0.0, 1000.0]]).tolist()
    [[-1000.0, 0.0]]
    """

    exact = True

    def f(self, x: Value) -> Value:
        """(3)"""
        s = x - row_max(x)
        return s - log(row_sum(exp(s)))  # (3)  y = s - log Σ eˢ

    def df(self, y: Value, dy: Value) -> Value:
        """(4)"""
        return dy - exp(y) * row_sum(dy)  # (4)  dx = dy - eʸ Σ dy

    def f_of_steps(self, x: Value, mu: Value) -> Value:
        """(3), and 0 at padding, where x is finite"""
        own, largest = _own_steps(x, mu)
        return mu * (x - largest - log(maximum(row_sum(exp(own - largest)), 1.0)))

    def df_of_steps(self, y: Value, dy: Value, mu: Value) -> Value:
        """(4), and 0 at padding"""
        return mu * (dy - exp(y) * row_sum(dy))


def _own_steps(x: Value, mu: Value) -> tuple[Value, Value]:
    """x with -∞ where μ is 0, and its maximum, which is finite in a row without steps too"""
    own = minimum(x, (mu - 0.5) * math.inf)
    return own, maximum(row_max(own), -1e30)


def _beside(mask: Array, x: Array) -> Array:
    """The mask (B, T) with the axes of x (B, ..., T)."""
    return mask.reshape(mask.shape[0], *[1] * (x.ndim - 2), mask.shape[1])
