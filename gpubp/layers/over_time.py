"""From sequences to one vector each: the last step, the mean and the largest numbers over time.

x (B, T, n)   y (B, n)          B rows, T time steps, n numbers a step

LastStep       (1) y = x_T
               (2) dx_T = dy,  dx_t = 0 before it
MeanOverTime   (3) y = Σ_t x_t / T
               (4) dx_t = dy / T
MaxOverTime    (5) y = max_t x_t                     number by number
               (6) dx_t = [t = τ] dy                 τ being the first step with x_τ = y: where several are
                                                     largest, one derivative of max is to go with the first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..errors import ShapeError
from .base import Layer, Workspace
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class LastStep(Layer):
    """The last time step of each sequence.

    Input (B, T, n), output (B, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LastStep(), input_shape=(3, 2), device="cpu")
    >>> net.predict([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]).tolist()
    [[5.0, 6.0]]
    """

    over_time: ClassVar[str] = "ends"

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence."""
        y = vector_of_each(x)
        return Plan(output=y, arrays={"y": y, "dx": x}, overwrites=("y", "dx"), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.xp.copyto(ws.y, x[:, -1])  # (1)  y = x_T
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        ws.xp.copyto(ws.dx, ws.be.constant(0.0, ws.dtype))
        ws.xp.copyto(ws.dx[:, -1], dy)  # (2)  dx_T = dy
        return ws.dx


@dataclass(frozen=True, repr=False)
class MeanOverTime(Layer):
    """The mean of each sequence over its time steps (Keras's GlobalAveragePooling1D).

    Input (B, T, n), output (B, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MeanOverTime(), input_shape=(3, 2), device="cpu")
    >>> net.predict([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]).tolist()
    [[3.0, 4.0]]
    """

    over_time: ClassVar[str] = "ends"

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence."""
        y = vector_of_each(x)
        return Plan(output=y, arrays={"y": y, "dx": x, "part": y}, overwrites=("y", "dx"), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        ws.xp.sum(x, axis=1, out=ws.y)
        return ws.xp.multiply(ws.y, ws.be.constant(1.0 / x.shape[1], ws.dtype), out=ws.y)  # (3)  y = Σ x_t / T

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4)"""
        ws.xp.multiply(dy, ws.be.constant(1.0 / ws.dx.shape[1], ws.dtype), out=ws.part)
        ws.xp.copyto(ws.dx, ws.part[:, None])  # (4)  dx_t = dy / T
        return ws.dx


@dataclass(frozen=True, repr=False)
class MaxOverTime(Layer):
    """The largest number of each sequence over its time steps, column by column (Keras's GlobalMaxPooling1D).

    Input (B, T, n), output (B, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MaxOverTime(), input_shape=(3, 2), device="cpu")
    >>> net.predict([[[1.0, 9.0], [7.0, 4.0], [5.0, 6.0]]]).tolist()
    [[7.0, 9.0]]
    """

    over_time: ClassVar[str] = "ends"

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence, and how many steps there are from each to the end."""
        y = vector_of_each(x)
        to_the_end = np.arange(x[1], 0, -1.0).reshape(-1, 1)
        return Plan(
            output=y,
            arrays={"y": y, "dx": x, "left": (x[1], 1), "hits": x, "first": y},
            constants={"to_the_end": to_the_end},
            overwrites=("y", "dx"),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(5)"""
        ws.x = x
        return ws.xp.max(x, axis=1, out=ws.y)  # (5)  y = max_t x_t

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6): of the steps with x_t = y, the first is the one with most steps to the end."""
        ws.xp.copyto(ws.left, ws.to_the_end)  # in the network's precision
        ws.be.apply(_hits, ws.x, ws.y[:, None], ws.left, out=ws.hits)
        ws.xp.max(ws.hits, axis=1, out=ws.first)
        return ws.be.apply(_where_first, dy[:, None], ws.hits, ws.first[:, None], out=ws.dx)  # (6)  dx_t = [t = τ] dy


def _hits(x: Value, y: Value, left: Value) -> Value:
    return (x >= y) * left


def _where_first(dy: Value, hits: Value, first: Value) -> Value:
    return dy * (hits >= first)


def vector_of_each(x: Shape) -> Shape:
    """(B, n) of sequences (B, T, n); ShapeError for other shapes.

    >>> vector_of_each((32, 50, 8))
    (32, 8)
    """
    if len(x) != 3:
        raise ShapeError(f"expects sequences, (batch, time, numbers), and got the shape {x}")
    return x[0], x[2]
