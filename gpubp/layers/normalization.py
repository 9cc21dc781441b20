"""Normalization: activations brought to mean 0 and variance 1, then scaled and shifted by trained parameters.

With ⟨·⟩ a mean, over the rows for BatchNorm, over the features of a row for LayerNorm, and over the places of a row and
the channels of a group for GroupNorm:

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

Without gamma, y = xhat, and dbeta and dgamma in (9') are the sums (6) and (7) all the same, as dbeta is without beta.
The other layers are in `row_norms.py` and `group_norms.py`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..backends.over_rows import rows_in_parts, sum_of_parts
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
    batch, as in Keras; PyTorch's momentum is 1 minus that. None: running values are the means over all batches so far,
    running ← (1 - 1/k) running + batch/k for batch k. The variance is the biased one, as in Keras and ONNX; PyTorch's
    running variance is n/(n - 1) times as large. eps: as in (3). affine: whether there are gamma and beta; without
    them y = xhat. use_bias: whether there is beta beside gamma.

    Where gamma and beta are frozen the layer uses the running values in training too, so that a frozen body stays what
    it was. Without gamma and beta, freezing goes by the names of the running values, which "1.*" matches too. A batch
    whose weights are all 0 leaves the running values as they are. One with a single number of each feature leaves the
    running variance, and with momentum=None all of them, with a warning.
    Input (B, ..., n), output the same. Raises ValueError for other arguments, ShapeError for inputs without features.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.BatchNorm(), input_shape=3, device="cpu")
    >>> list(net.parameters), list(net.states)
    (['gamma', 'beta'], ['mean', 'var'])
    """

    momentum: UpToOne | None = 0.9
    eps: NotNegative = 1e-5
    affine: bool = True
    use_bias: bool = True
    exact = True

    def __post_init__(self) -> None:
        if isinstance(self.momentum, int) and self.momentum == 1:  # as a number of features; old files may hold it
            warnings.warn(
                "BatchNorm(1) has the momentum 1, with which running values never change; how many features there are "
                "follows from the input: write BatchNorm(), or BatchNorm(1.0) if it is meant",
                stacklevel=3,
            )

    def plan(self, x: Shape) -> Plan:
        """gamma, beta, mean, var (n,); the share c of every number of a feature, and c0 of those of a row"""
        check_axes(x)
        n, positions, one = x[-1:], math.prod(x[:-1]), (x[0], *[1] * (len(x) - 1))
        rows = 2 if positions == x[0] else 1
        mean = Parameter(n, Zeros(), decay=False, rows=1 if self.momentum is not None else rows)
        var = Parameter(n, Constant(1.0), decay=False, rows=rows)
        count = {} if self.momentum is not None else {"count": Parameter((1,), Zeros(), decay=False, rows=rows)}
        parameters = scale_and_shift(n, self.affine, self.use_bias)
        sums = {name: n for name, of in (("total", "beta"), ("products", "gamma")) if of not in parameters}
        xhat = {"xhat": x} if self.affine else {}
        return Plan(
            output=x,
            parameters=parameters,
            states={"mean": mean, "var": var, **count},
            arrays={**xhat, **sums, "y": x, "dx": x, "m": n, "v": n, "rstd": n, "c": (positions, 1), "c0": one},
            overwrites=("y", "dx"),
            reads=() if self.affine else ("y",),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        ws.by_batch = ws.training and not ws.frozen
        xhat = ws.xhat if self.affine else ws.y
        if not ws.by_batch:
            ws.be.apply(self._rstd, ws.var, out=ws.rstd)
            ws.be.apply(_normalized, x, ws.mean, ws.rstd, out=xhat)
            return scaled_and_shifted(ws, xhat)
        inner = math.prod(x.shape[1:-1])
        ws.xp.multiply(ws.context.piece_share.reshape(ws.c0.shape), ws.be.constant(1.0 / inner, ws.dtype), out=ws.c0)
        ws.xp.copyto(ws.c.reshape(-1, inner), ws.c0.reshape(-1, 1))
        ws.be.weighted_sum_rows(x, ws.c, out=ws.m)  # (1)  mean = Σ c x
        mean = ws.over_workers(ws.m)
        parts = rows_in_parts(ws.be, x.shape)

        def some(k: int, v: Array) -> None:
            rows = parts[k]
            squares = products_of(ws, x[rows])
            ws.be.apply(_deviations, x[rows], mean, out=(xhat[rows], squares))
            ws.be.weighted_sum_rows(squares, ws.c[rows.start * inner : rows.stop * inner], out=v)

        var = ws.over_workers(sum_of_parts(ws.be, len(parts), some, ws.v))  # (2)  var = Σ c (x - mean)²
        ws.be.apply(self._rstd, var, out=ws.rstd)  # (3)
        if ws.context.leads:
            self._move(ws, mean, var)
        return normalized(ws, xhat, ws.rstd, ws.y)  # (4), (5)

    def _move(self, ws: Workspace, mean: Array, var: Array) -> None:
        """The running values, after a batch."""
        if self.momentum is not None:
            ws.be.apply(self._running, ws.mean, mean, out=ws.mean)
            ws.be.apply(self._running, ws.var, var, out=ws.var)
            return
        ws.xp.add(ws.count, ws.be.constant(1.0, ws.dtype), out=ws.count)
        ws.be.apply(_cumulative, ws.mean, mean, ws.count, out=ws.mean)
        ws.be.apply(_cumulative, ws.var, var, ws.count, out=ws.var)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(6), (7)"""
        total = ws.dbeta if self.use_bias else ws.total
        sums_of_products(ws, dy, ws.xhat, ws.dgamma, total)  # (6)  dbeta = Σ dy   (7)  dgamma = Σ dy xhat

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(9')"""
        if not self.affine:
            return self._plain_gradient(ws, dy)
        if not ws.by_batch:
            return ws.be.apply(_scaled_twice, dy, ws.gamma, ws.rstd, out=ws.dx)
        dbeta, dgamma = ws.over_workers(ws.dbeta if self.use_bias else ws.total), ws.over_workers(ws.dgamma)
        return ws.be.apply(_through_batch, dy, ws.xhat, ws.gamma, ws.rstd, dbeta, dgamma, ws.c0, out=ws.dx)

    def _plain_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(9') without gamma"""
        if not ws.by_batch:
            return ws.xp.multiply(dy, ws.rstd, out=ws.dx)
        sums_of_products(ws, dy, ws.y, ws.products, ws.total)
        total, products = ws.over_workers(ws.total), ws.over_workers(ws.products)
        return ws.be.apply(_through_plain_batch, dy, ws.y, ws.rstd, total, products, ws.c0, out=ws.dx)

    def _rstd(self, var: Value) -> Value:
        return 1.0 / sqrt(var + self.eps)  # (3)  rstd = 1/√(var + eps)

    def _running(self, running: Value, batch: Value) -> Value:
        return self.momentum * running + (1.0 - self.momentum) * batch  # type: ignore[operator]


def scale_and_shift(shape: Shape, affine: bool = True, use_bias: bool = True) -> dict[str, Parameter]:
    """gamma, at first 1, and beta, at first 0, which weight decay leaves alone; those that there are.

    >>> list(scale_and_shift((3,))), list(scale_and_shift((3,), use_bias=False)), scale_and_shift((3,), affine=False)
    (['gamma', 'beta'], ['gamma'], {})
    """
    both = {"gamma": Parameter(shape, Constant(1.0), decay=False), "beta": Parameter(shape, Zeros(), decay=False)}
    return {name: p for name, p in both.items() if affine and (use_bias or name == "gamma")}


def scaled_and_shifted(ws: Workspace, xhat: Array) -> Array:
    """(5): ws.y = gamma xhat + beta, by those of them that the layer has; without any, xhat itself.

    >>> import gpubp as bp
    >>> ws = bp.Network(bp.LayerNorm(), 2, device="cpu").workspace(rows=1)
    >>> scaled_and_shifted(ws, ws.be.to_device([[1.0, -1.0]])).tolist()
    [[1.0, -1.0]]
    """
    if "gamma" not in ws._plan.parameters:
        return xhat
    gamma = ws.gamma.reshape(-1)
    if "beta" not in ws._plan.parameters:
        return ws.xp.multiply(xhat, gamma, out=ws.y)
    return ws.be.apply(_scaled, xhat, gamma, ws.beta.reshape(-1), out=ws.y)


def normalized(ws: Workspace, xhat: Array, rstd: Array, y: Array) -> Array:
    """(4), (5): xhat, which is x - mean at first, becomes (x - mean) rstd, and y = gamma xhat + beta, by those of them
    that the layer has. y: ws.y, some of its rows or in another shape; it is xhat itself where there is no gamma.

    >>> import gpubp as bp
    >>> ws = bp.Network(bp.LayerNorm(), 2, device="cpu").workspace(rows=1)
    >>> ws.rstd[...] = 0.5
    >>> normalized(ws, ws.be.to_device([[2.0, -2.0]], "float32"), ws.rstd, ws.y).tolist()
    [[1.0, -1.0]]
    """
    if "gamma" not in ws._plan.parameters:
        return ws.xp.multiply(xhat, rstd, out=y)  # (4)
    gamma = ws.gamma.reshape(-1)
    if "beta" not in ws._plan.parameters:
        return ws.be.apply(_scaled_normal, xhat, rstd, gamma, out=(xhat, y))[1]
    return ws.be.apply(_normal, xhat, rstd, gamma, ws.beta.reshape(-1), out=(xhat, y))[1]


def products_of(ws: Workspace, like: Array) -> Array:
    """Memory for products that are summed at once; all layers share it, and so it is in the cache.

    >>> import gpubp as bp
    >>> ws = bp.Network(bp.LayerNorm(), 2, device="cpu").workspace(rows=1)
    >>> products_of(ws, ws.y).shape
    (1, 2)
    """
    return ws.be.scratch("products", like.shape, ws.dtype)


def sums_of_products(ws: Workspace, dy: Array, xhat: Array, dgamma: Array, dbeta: Array | None) -> None:
    """(6), (7): dbeta = Σ dy, where there is a place for it, and dgamma = Σ dy xhat, over all axes but the last; some
    rows after the others, so that dy and the products are still in the cache when they are summed.

    >>> import gpubp as bp
    >>> ws = bp.Network(bp.LayerNorm(), 2, device="cpu").workspace(rows=1)
    >>> dy, xhat = (ws.be.to_device([[x, 1.0]], "float32") for x in (2.0, 3.0))
    >>> sums_of_products(ws, dy, xhat, ws.dgamma, ws.dbeta), ws.dgamma.tolist(), ws.dbeta.tolist()
    (None, [6.0, 1.0], [2.0, 1.0])
    """
    parts = rows_in_parts(ws.be, dy.shape)

    def some(k: int, of_products: Array, of_dy: Array | None = None) -> None:
        rows = parts[k]
        products = products_of(ws, dy[rows])
        if of_dy is not None:
            ws.be.sum_rows(dy[rows], out=of_dy)
        ws.xp.multiply(dy[rows], xhat[rows], out=products)
        ws.be.sum_rows(products, out=of_products)

    sum_of_parts(ws.be, len(parts), some, dgamma, *(() if dbeta is None else (dbeta,)))


def _normalized(x: Value, mean: Value, rstd: Value) -> Value:
    return (x - mean) * rstd


def _deviations(x: Value, mean: Value) -> tuple[Value, Value]:
    deviation = x - mean
    return deviation, deviation * deviation


def _normal(deviation: Value, rstd: Value, gamma: Value, beta: Value) -> tuple[Value, Value]:
    xhat = deviation * rstd
    return xhat, gamma * xhat + beta


def _scaled_normal(deviation: Value, rstd: Value, gamma: Value) -> tuple[Value, Value]:
    xhat = deviation * rstd
    return xhat, gamma * xhat


def _scaled(xhat: Value, gamma: Value, beta: Value) -> Value:
    return gamma * xhat + beta


def _scaled_twice(dy: Value, gamma: Value, rstd: Value) -> Value:
    return dy * (gamma * rstd)


def _cumulative(running: Value, batch: Value, count: Value) -> Value:
    share = 1.0 / count
    return (1.0 - share) * running + share * batch


def _through_batch(dy: Value, xhat: Value, gamma: Value, rstd: Value, dbeta: Value, dgamma: Value, c: Value) -> Value:
    return (dy - c * (dbeta + xhat * dgamma)) * (gamma * rstd)  # (9')


def _through_plain_batch(dy: Value, xhat: Value, rstd: Value, total: Value, products: Value, c: Value) -> Value:
    return (dy - c * (total + xhat * products)) * rstd  # (9')


def check_axes(x: Shape) -> None:
    """Raise ShapeError if x is not the shape of rows of numbers.

    >>> check_axes((32, 10))
    """
    if len(x) < 2:
        raise ShapeError(f"expects rows of numbers, (batch, ..., features), and got the shape {x}")


def check_eps(of: str, eps: float) -> None:
    """Raise ValueError if eps is a count, as of features, which some libraries take in its place.

    >>> check_eps("RMSNorm", 1e-5)
    """
    if isinstance(eps, int) and eps >= 1:
        raise ValueError(
            f"{of} needs eps to be a small number such as 1e-5, and got {eps}; how many features there are follows "
            "from the input"
        )


def check_features(ws: Workspace, x: Array) -> None:
    """Raise ShapeError if the last axis of x is time, and rows have different lengths.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LayerNorm(affine=False), (None,), device="cpu")
    >>> net.predict([[1.0, 2.0, 3.0]])
    Traceback (most recent call last):
    ...
    gpubp.errors.ShapeError: ... normalizes over its last axis, which is time, and rows have different lengths; ...
    """
    if ws.mask is not None and x.ndim == 2:
        raise ShapeError(
            "normalizes over its last axis, which is time, and rows have different lengths; an Embedding makes a "
            "vector of each word",
            ws.path,
            repr(ws._layer),
        )
