"""From sequences to one vector each: the last step, the mean and the largest numbers over time.

    x (B, T, n)   y (B, n)          B rows, T time steps, n numbers a step

    LastStep       (1) y = x_T
                   (2) dx_T = dy,  dx_t = 0 before it
    MeanOverTime   (3) y = Σ_t x_t / T                   with root: Σ_t x_t / √T
                   (4) dx_t = dy / T                     with root: dy / √T
    MaxOverTime    (5) y = max_t x_t                     number by number
                   (6) dx_t = [t = τ] dy                 τ being the first step with x_τ = y: where several are
                                                         largest, one derivative of max is to go with the first

Where rows have fewer than T steps, by the mask μ (B, T) of `time_steps`, y is of each row's own steps: (1) takes the
last with μ_t = 1, (3) has T = Σ_t μ_t, and (5) the largest of those with μ_t = 1. The first two are then a sum
with weights w (B, T), which add up to 1, or to √T:

                   (7) y = Σ_t w_t x_t,  dx_t = w_t dy

In (5) the steps with μ_t = 0 count as -∞, which is below all numbers of a row, however small these are.
A row without any step has y = 0 and dx = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..formula import maximum, minimum, sqrt
from .base import Layer, Workspace
from .plan import Plan
from .time_steps import check_sequences

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

    over_time = "ends"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence, and the weights of its steps."""
        y = vector_of_each(x)
        arrays = {"y": y, "dx": x, **_weights(x), "numbers": (1, x[1]), "places": x[:2]}
        constants = {"steps": np.arange(1.0, x[1] + 1).reshape(1, -1)}
        return Plan(output=y, arrays=arrays, constants=constants, overwrites=("y", "dx"), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        if ws.mask is None:
            ws.xp.copyto(ws.y, x[:, -1])  # (1)  y = x_T
            return ws.y
        ws.xp.copyto(ws.numbers, ws.steps)  # in the network's precision
        ws.xp.multiply(ws.mask, ws.numbers, out=ws.places)
        ws.xp.max(ws.places, axis=1, keepdims=True, out=ws.last)
        ws.be.apply(_is_last, ws.mask, ws.places, ws.last, out=ws.w)
        return _weighted_sum(ws, x)  # (7)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        if ws.mask is not None:
            return _weighted(ws, dy)  # (7)
        ws.xp.copyto(ws.dx, ws.be.constant(0.0, ws.dtype))
        ws.xp.copyto(ws.dx[:, -1], dy)  # (2)  dx_T = dy
        return ws.dx


@dataclass(frozen=True, repr=False)
class MeanOverTime(Layer):
    """The mean of each sequence over its time steps (`GlobalAvgPool1D` is another name of it).

    root: divide the sum of T steps by √T and not by T. Of steps that differ at random, this sum is as large for any T,
    and the mean is the smaller the more there are; so longer texts count for more, as in TF-IDF with rows of length 1.
    Input (B, T, n), output (B, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MeanOverTime(), input_shape=(3, 2), device="cpu")
    >>> net.predict([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]).tolist()
    [[3.0, 4.0]]
    """

    root: bool = field(default=False, kw_only=True)

    over_time = "ends"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence, and the weights of its steps."""
        y = vector_of_each(x)
        arrays = {"y": y, "dx": x, "part": y, **_weights(x)}
        return Plan(output=y, arrays=arrays, overwrites=("y", "dx"), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(3)"""
        if ws.mask is None:
            share = ws.be.constant(self._share(x.shape[1]), ws.dtype)
            return ws.xp.multiply(ws.xp.sum(x, axis=1, out=ws.y), share, out=ws.y)  # (3)  y = Σ x_t / T
        ws.be.sum_last(ws.mask, out=ws.last)
        ws.be.apply(_root_share if self.root else _share, ws.mask, ws.last, out=ws.w)  # w_t = μ_t / Σ μ
        return _weighted_sum(ws, x)  # (7)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(4)"""
        if ws.mask is not None:
            return _weighted(ws, dy)  # (7)
        ws.xp.multiply(dy, ws.be.constant(self._share(ws.dx.shape[1]), ws.dtype), out=ws.part)
        ws.xp.copyto(ws.dx, ws.part[:, None])  # (4)  dx_t = dy / T
        return ws.dx

    def _share(self, T: int) -> float:
        return 1.0 / math.sqrt(T) if self.root else 1.0 / T


@dataclass(frozen=True, repr=False)
class MaxOverTime(Layer):
    """The largest number of each sequence over its time steps, column by column (`GlobalMaxPool1D` is
    another name of it).

    Input (B, T, n), output (B, n). Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MaxOverTime(), input_shape=(3, 2), device="cpu")
    >>> net.predict([[[1.0, 9.0], [7.0, 4.0], [5.0, 6.0]]]).tolist()
    [[7.0, 9.0]]
    """

    over_time = "ends"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """A vector a sequence, and how many steps there are from each to the end."""
        y = vector_of_each(x)
        arrays = {"y": y, "dx": x, "left": (*x[:2], 1), "hits": x, "first": y, "masked": x, "last": (x[0], 1)}
        constants = {"to_the_end": np.arange(x[1], 0, -1.0).reshape(-1, 1)}
        return Plan(output=y, arrays=arrays, constants=constants, overwrites=("y", "dx"))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(5)"""
        ws.x = x
        if ws.mask is None:
            return ws.xp.max(x, axis=1, out=ws.y)  # (5)  y = max_t x_t
        ws.be.apply(_no_padding, x, ws.mask[:, :, None], out=ws.masked)
        ws.xp.max(ws.masked, axis=1, out=ws.y)
        ws.xp.max(ws.mask, axis=1, keepdims=True, out=ws.last)
        return ws.be.apply(_zero_of_no_steps, ws.y, ws.last, out=ws.y)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6): of the steps with x_t = y, the first is the one with most steps to the end."""
        ws.xp.copyto(ws.left, ws.to_the_end)  # in the network's precision
        if ws.mask is not None:
            ws.xp.multiply(ws.left, ws.mask[:, :, None], out=ws.left)
        ws.be.apply(hits, ws.x, ws.y[:, None], ws.left, out=ws.hits)
        ws.xp.max(ws.hits, axis=1, out=ws.first)
        return ws.be.apply(where_first, dy[:, None], ws.hits, ws.first[:, None], out=ws.dx)  # (6)  dx_t = [t = τ] dy


GlobalAvgPool1D = MeanOverTime  # by the names of the poolings of images
GlobalMaxPool1D = MaxOverTime


def _weights(x: Shape) -> dict[str, Shape]:
    """The arrays for (7)."""
    return {"w": x[:2], "last": (x[0], 1), "terms": x}


def _weighted_sum(ws: Workspace, x: Array) -> Array:
    ws.xp.multiply(x, ws.w[:, :, None], out=ws.terms)
    return ws.xp.sum(ws.terms, axis=1, out=ws.y)  # (7)  y = Σ w_t x_t


def _weighted(ws: Workspace, dy: Array) -> Array:
    return ws.xp.multiply(dy[:, None], ws.w[:, :, None], out=ws.dx)  # (7)  dx_t = w_t dy


def _is_last(mu: Value, place: Value, last: Value) -> Value:
    return mu * (place >= last)  # of the places t μ_t


def _share(mu: Value, steps: Value) -> Value:
    return mu / maximum(steps, 1.0)


def _root_share(mu: Value, steps: Value) -> Value:
    return mu / sqrt(maximum(steps, 1.0))


def _no_padding(x: Value, mu: Value) -> Value:
    return minimum(x, (mu - 0.5) * math.inf)  # -∞ where μ = 0


def _zero_of_no_steps(y: Value, last: Value) -> Value:
    return maximum(y, minimum((0.5 - last) * math.inf, 0.0))


def hits(x: Value, y: Value, left: Value) -> Value:
    """Where x is a largest number y: how many places there are from it to the end, and 0 elsewhere.

    >>> hits(3.0, 3.0, 2.0), hits(1.0, 3.0, 2.0)
    (2.0, 0.0)
    """
    return (x >= y) * left


def where_first(dy: Value, hits: Value, first: Value) -> Value:
    """dy at the first of the hits, which has most places to the end, and 0 elsewhere.

    >>> where_first(5.0, 2.0, 2.0), where_first(5.0, 1.0, 2.0)
    (5.0, 0.0)
    """
    return dy * (hits >= first) * (hits > 0.0)


def vector_of_each(x: Shape) -> Shape:
    """(B, n) of sequences (B, T, n); ShapeError for other shapes.

    >>> vector_of_each((32, 50, 8))
    (32, 8)
    """
    check_sequences(x)
    return x[0], x[2]
