"""Normalization: activations brought to mean 0 and variance 1, then scaled and shifted by trained parameters.

With ⟨·⟩ a mean, over the rows for BatchNorm and over the features of a row for LayerNorm:

    Forward   (1) mean = ⟨x⟩   (2) var = ⟨(x - mean)²⟩   (3) rstd = 1/√(var + eps)   (4) xhat = (x - mean) rstd
              (5) y = gamma xhat + beta
    Backward  (6) dbeta = Σ dy   (7) dgamma = Σ dy xhat        over the rows
              (8) dxhat = dy gamma
              (9) dx = rstd (dxhat - ⟨dxhat⟩ - xhat ⟨dxhat xhat⟩)      x directly, through mean, and through rstd

For (9): ∂xhatⱼ/∂xᵢ = rstd (δᵢⱼ - cᵢ - cᵢ xhatᵢ xhatⱼ), cᵢ being xᵢ's share in the mean: ∂mean/∂xᵢ = cᵢ; ∂var/∂xᵢ =
2 cᵢ (xᵢ - mean), because deviations from a mean sum to 0; and ∂rstd/∂var = -½ rstd³.

BatchNorm's means are weighted by the rows' shares c in the loss, so that padding and rows of weight 0 count for
nothing. Its gamma is the same for all rows, so that with (6) and (7)

    (9') dx = gamma rstd (dy - c (dbeta + xhat dgamma))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..config import NotNegative, UpToOne
from ..errors import ShapeError
from ..formula import sqrt
from ..initializers import Constant, Zeros
from .base import Layer, Workspace
from .plan import Parameter, Plan

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """Normalization of each feature over the batch (Ioffe and Szegedy 2015); of each channel, for images.

    momentum: of the running mean and variance that evaluation uses, running ← momentum · running + (1 - momentum) ·
    batch, as in Keras; PyTorch's momentum is 1 minus that. The variance is the biased one, as in Keras; PyTorch's
    running variance is n/(n - 1) times as large. eps: as in (3). Where gamma and beta are frozen the layer uses the
    running values in training too, so that a frozen body stays what it was. A batch whose weights are all 0 leaves the
    running values as they are. One with a single number of each feature leaves the running variance, with a warning.
    Input (B, ..., n), output the same.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.BatchNorm(), input_shape=3, device="cpu")
    >>> list(net.parameters), list(net.states)
    (['gamma', 'beta'], ['mean', 'var'])
    """

    momentum: UpToOne = 0.9
    eps: NotNegative = 1e-5
    exact = True

    def plan(self, x: Shape) -> Plan:
        """gamma, beta, mean, var (n,); the share c of every number of a feature, and c0 of those of a row"""
        _check_axes(x)
        n, positions, one = x[-1:], math.prod(x[:-1]), (x[0], *[1] * (len(x) - 1))
        mean = Parameter(n, Zeros(), decay=False)
        var = Parameter(n, Constant(1.0), decay=False, rows=2 if positions == x[0] else 1)
        return Plan(
            output=x,
            parameters=_scale_and_shift(n),
            states={"mean": mean, "var": var},
            arrays={"xhat": x, "y": x, "dx": x, "m": n, "v": n, "rstd": n, "c": (positions, 1), "c0": one},
            overwrites=("y", "dx"),
            reads=(),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        ws.by_batch = ws.training and ws.trainable
        if not ws.by_batch:
            ws.be.apply(self._rstd, ws.var, out=ws.rstd)
            ws.be.apply(_normalized, x, ws.mean, ws.rstd, out=ws.xhat)
            return ws.be.apply(_scaled, ws.xhat, ws.gamma, ws.beta, out=ws.y)
        inner = math.prod(x.shape[1:-1])
        ws.xp.multiply(ws.context.piece_share.reshape(ws.c0.shape), ws.be.constant(1.0 / inner, ws.dtype), out=ws.c0)
        ws.xp.copyto(ws.c.reshape(-1, inner), ws.c0.reshape(-1, 1))
        ws.be.weighted_sum_rows(x, ws.c, out=ws.m)  # (1)  mean = Σ c x
        mean = ws.over_workers(ws.m)
        squares = _products(ws, x)
        ws.be.apply(_deviations, x, mean, out=(ws.xhat, squares))
        ws.be.weighted_sum_rows(squares, ws.c, out=ws.v)  # (2)  var = Σ c (x - mean)²
        var = ws.over_workers(ws.v)
        ws.be.apply(self._rstd, var, out=ws.rstd)  # (3)
        if ws.context.leads:
            ws.be.apply(self._running, ws.mean, mean, out=ws.mean)
            ws.be.apply(self._running, ws.var, var, out=ws.var)
        return ws.be.apply(_normal, ws.xhat, ws.rstd, ws.gamma, ws.beta, out=(ws.xhat, ws.y))[1]  # (4), (5)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(6), (7)"""
        _scale_and_shift_gradients(ws, dy)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(9')"""
        if not ws.by_batch:
            return ws.be.apply(_scaled_twice, dy, ws.gamma, ws.rstd, out=ws.dx)
        dbeta, dgamma = ws.over_workers(ws.dbeta), ws.over_workers(ws.dgamma)
        return ws.be.apply(_through_batch, dy, ws.xhat, ws.gamma, ws.rstd, dbeta, dgamma, ws.c0, out=ws.dx)

    def _rstd(self, var: Value) -> Value:
        return 1.0 / sqrt(var + self.eps)  # (3)  rstd = 1/√(var + eps)

    def _running(self, running: Value, batch: Value) -> Value:
        return self.momentum * running + (1.0 - self.momentum) * batch


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Normalization of each row over its last axis (Ba, Kiros and Hinton 2016).

    eps: as in (3). Input (B, ..., n), output the same.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LayerNorm(eps=0.0), input_shape=2, device="cpu")
    >>> net.predict([[1.0, 3.0]]).tolist()
    [[-1.0, 1.0]]
    """

    eps: NotNegative = 1e-5
    over_time = "each"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """gamma, beta (n,); one mean and one rstd a row"""
        _check_axes(x)
        one = (*x[:-1], 1)
        return Plan(
            output=x,
            parameters=_scale_and_shift(x[-1:]),
            arrays={"xhat": x, "y": x, "dxhat": x, "dx": x, "sum": one, "other": one, "rstd": one},
            overwrites=("y", "dx"),
            reads=(),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        mean = ws.be.constant(1.0 / x.shape[-1], ws.dtype)  # times a sum
        ws.be.sum_last(x, out=ws.sum)
        ws.be.apply(_minus_mean, x, ws.sum, mean, out=ws.xhat)  # (1)
        squares = _products(ws, x)
        ws.xp.multiply(ws.xhat, ws.xhat, out=squares)
        ws.be.sum_last(squares, out=ws.sum)
        ws.be.apply(self._rstd, ws.sum, mean, out=ws.rstd)  # (2), (3)
        return ws.be.apply(_normal, ws.xhat, ws.rstd, ws.gamma, ws.beta, out=(ws.xhat, ws.y))[1]  # (4), (5)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(6), (7)"""
        _scale_and_shift_gradients(ws, dy)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(8), (9)"""
        mean = ws.be.constant(1.0 / dy.shape[-1], ws.dtype)
        ws.xp.multiply(dy, ws.gamma, out=ws.dxhat)  # (8)
        ws.be.sum_last(ws.dxhat, out=ws.sum)
        products = _products(ws, dy)
        ws.xp.multiply(ws.dxhat, ws.xhat, out=products)
        ws.be.sum_last(products, out=ws.other)
        return ws.be.apply(_through_row, ws.dxhat, ws.xhat, ws.rstd, ws.sum, ws.other, mean, out=ws.dx)  # (9)

    def _rstd(self, squares: Value, mean: Value) -> Value:
        return 1.0 / sqrt(squares * mean + self.eps)  # (3)  rstd = 1/√(var + eps)


def _scale_and_shift(shape: Shape) -> dict[str, Parameter]:
    return {"gamma": Parameter(shape, Constant(1.0), decay=False), "beta": Parameter(shape, Zeros(), decay=False)}


def _products(ws: Workspace, like: Array) -> Array:
    """Memory for products that are summed at once; all layers share it, and so it is in the cache."""
    return ws.be.scratch("products", like.shape, ws.dtype)


def _scale_and_shift_gradients(ws: Workspace, dy: Array) -> None:
    ws.be.sum_rows(dy, out=ws.dbeta)  # (6)  dbeta = Σ dy
    products = _products(ws, dy)
    ws.xp.multiply(dy, ws.xhat, out=products)
    ws.be.sum_rows(products, out=ws.dgamma)  # (7)  dgamma = Σ dy xhat


def _normalized(x: Value, mean: Value, rstd: Value) -> Value:
    return (x - mean) * rstd


def _deviations(x: Value, mean: Value) -> tuple[Value, Value]:
    deviation = x - mean
    return deviation, deviation * deviation


def _normal(deviation: Value, rstd: Value, gamma: Value, beta: Value) -> tuple[Value, Value]:
    xhat = deviation * rstd
    return xhat, gamma * xhat + beta


def _minus_mean(x: Value, total: Value, mean: Value) -> Value:
    return x - total * mean


def _scaled(xhat: Value, gamma: Value, beta: Value) -> Value:
    return gamma * xhat + beta


def _scaled_twice(dy: Value, gamma: Value, rstd: Value) -> Value:
    return dy * (gamma * rstd)


def _through_batch(dy: Value, xhat: Value, gamma: Value, rstd: Value, dbeta: Value, dgamma: Value, c: Value) -> Value:
    return (dy - c * (dbeta + xhat * dgamma)) * (gamma * rstd)  # (9')


def _through_row(dxhat: Value, xhat: Value, rstd: Value, total: Value, products: Value, mean: Value) -> Value:
    return rstd * (dxhat - total * mean - xhat * (products * mean))  # (9)


def _check_axes(x: Shape) -> None:
    if len(x) < 2:
        raise ShapeError(f"expects rows of numbers, (batch, ..., features), and got the shape {x}")
