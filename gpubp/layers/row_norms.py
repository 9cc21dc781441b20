"""Normalization of each row over its last axes, as LayerNorm and RMSNorm do it.

With ⟨·⟩ a mean over the last axes of a row, of which there are n numbers:

    LayerNorm   Forward   (1) mean = ⟨x⟩   (2) var = ⟨(x - mean)²⟩   (3) rstd = 1/√(var + eps)
                          (4) xhat = (x - mean) rstd   (5) y = gamma xhat + beta
                Backward  (6) dbeta = Σ dy   (7) dgamma = Σ dy xhat        over the rows
                          (8) dxhat = dy gamma
                          (9) dx = rstd (dxhat - ⟨dxhat⟩ - xhat ⟨dxhat xhat⟩)
    RMSNorm     Forward   (10) rrms = 1/√(⟨x²⟩ + eps)   (11) xhat = x rrms   (12) y = gamma xhat
                Backward  (13) dgamma = Σ dy xhat        over the rows
                          (14) dxhat = dy gamma
                          (15) dx = rrms (dxhat - xhat ⟨dxhat xhat⟩)

For (9) see `normalization.py`. For (15): ∂xhatⱼ/∂xᵢ = rrms (δᵢⱼ - xhatᵢ xhatⱼ / n), because ∂rrms/∂xᵢ = -rrms³ xᵢ / n.
It is (9) without the mean. Without gamma, dxhat = dy, and y = xhat.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape, may_share
from ..backends.over_rows import rows_in_parts
from ..config import Count, NotNegative
from ..errors import ShapeError
from ..formula import sqrt
from . import normalization
from .base import Layer, Workspace
from .normalization import check_eps, check_features, normalized, products_of, scale_and_shift, sums_of_products
from .plan import Parameter, Plan

Value = Any  # a number, an array, or a symbol of a formula


class _RowNorm(Layer):
    """What both share: the axes, and the parameters, which each place of a row has for itself."""

    eps: float
    axes: int
    affine: bool

    @property
    def over_time(self) -> str:
        """Over one axis, which is no axis of time, each step by itself; over more, time may be one of them."""
        return "each" if self.axes == 1 else "mixes"

    @abstractmethod
    def _parameters(self, shape: Shape) -> dict[str, Parameter]: ...

    def plan(self, x: Shape) -> Plan:
        """gamma, beta of the last axes; one mean and one rstd a row"""
        if len(x) < self.axes + 1:
            axes = "its last axis" if self.axes == 1 else f"its last {self.axes} axes"
            raise ShapeError(
                f"normalizes each row over {axes} and expects (batch, ..., features); it got the shape {x}"
            )
        over, rows = x[len(x) - self.axes :], self._rows(x)
        one, parameters = (*rows[:-1], 1), self._parameters(over)
        inner = {"xhat": rows, "dxhat": rows} if parameters else {}
        return Plan(
            output=x,
            parameters=parameters,
            arrays={**inner, "y": x, "dx": x, "sum": one, "other": one, "rstd": one},
            overwrites=("y", "dx"),
            reads=() if parameters else ("y",),
        )

    def _rows(self, x: Shape) -> Shape:
        """The shape with the last axes as one."""
        kept = len(x) - self.axes
        return (*x[:kept], math.prod(x[kept:]))

    def _view(self, ws: Workspace, a: Array) -> Array:
        """a with the last axes as one; where its numbers don't lie so, they are copied, as a part of the step."""
        rows = a.reshape(self._rows(a.shape))
        if rows.size and not may_share(rows, a):
            copied = ws.be.scratch("row norm", a.shape, a.dtype)
            ws.xp.copyto(copied, a)
            rows = copied.reshape(rows.shape)
        return rows

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(6), (7); (13)"""
        dbeta = ws.dbeta.reshape(-1) if "beta" in ws._plan.parameters else None
        # (6)  dbeta = Σ dy   (7)  dgamma = Σ dy xhat
        sums_of_products(ws, self._view(ws, dy), ws.xhat, ws.dgamma.reshape(-1), dbeta)

    def _dxhat(self, ws: Workspace, dy: Array, rows: slice) -> Array:
        """(8)  dxhat = dy gamma, of some rows; dy itself without gamma"""
        return ws.xp.multiply(dy[rows], ws.gamma.reshape(-1), out=ws.dxhat[rows]) if self.affine else dy[rows]


@dataclass(frozen=True, repr=False)
class LayerNorm(_RowNorm):
    """Normalization over the last axis, or the last axes, of each row (Ba, Kiros and Hinton 2016).

    eps: as in (3). axes: over how many of the last axes (PyTorch's normalized_shape has so many numbers). affine:
    whether there are gamma and beta, which have the shape of these axes. use_bias: whether there is beta beside gamma.
    Input (B, ..., n), output the same. Raises ValueError for other arguments, ShapeError for inputs of fewer axes.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.LayerNorm(eps=0.0), input_shape=2, device="cpu")
    >>> net.predict([[1.0, 3.0]]).tolist()
    [[-1.0, 1.0]]
    """

    eps: NotNegative = 1e-5
    axes: Count = 1
    affine: bool = True
    use_bias: bool = True
    exact = True

    def __post_init__(self) -> None:
        try:
            check_eps("LayerNorm", self.eps)
        except ValueError as problem:  # old files may hold it
            warnings.warn(str(problem), stacklevel=3)

    def _parameters(self, shape: Shape) -> dict[str, Parameter]:
        return scale_and_shift(shape, self.affine, self.use_bias)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        check_features(ws, x)
        x = self._view(ws, x)
        whole = ws.y.reshape(x.shape)
        mean = ws.be.constant(1.0 / x.shape[-1], ws.dtype)  # times a sum
        for rows in rows_in_parts(ws.be, x.shape):
            y = whole[rows]
            xhat = ws.xhat[rows] if self.affine else y
            self._normalize(ws, x[rows], mean, ws.sum[rows], xhat, ws.rstd[rows], y)
        return ws.y

    def _normalize(self, ws: Workspace, x: Array, mean: Any, total: Array, xhat: Array, rstd: Array, y: Array) -> None:
        """(1) to (5) of some rows"""
        ws.be.sum_last(x, out=total)
        ws.be.apply(_minus_mean, x, total, mean, out=xhat)  # (1)
        squares = products_of(ws, x)
        ws.xp.multiply(xhat, xhat, out=squares)
        ws.be.sum_last(squares, out=total)
        ws.be.apply(self._rstd, total, mean, out=rstd)  # (2), (3)
        normalized(ws, xhat, rstd, y)  # (4), (5)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(8), (9)"""
        dy = self._view(ws, dy)
        xhat, dx = ws.xhat if self.affine else ws.y.reshape(dy.shape), ws.dx.reshape(dy.shape)
        mean = ws.be.constant(1.0 / dy.shape[-1], ws.dtype)
        for rows in rows_in_parts(ws.be, dy.shape):
            dxhat = self._dxhat(ws, dy, rows)
            products, total, other = products_of(ws, dxhat), ws.sum[rows], ws.other[rows]
            ws.be.sum_last(dxhat, out=total)
            ws.xp.multiply(dxhat, xhat[rows], out=products)
            ws.be.sum_last(products, out=other)
            ws.be.apply(_through_row, dxhat, xhat[rows], ws.rstd[rows], total, other, mean, out=dx[rows])  # (9)
        return ws.dx

    def _rstd(self, squares: Value, mean: Value) -> Value:
        return 1.0 / sqrt(squares * mean + self.eps)  # (3)  rstd = 1/√(var + eps)


@dataclass(frozen=True, repr=False)
class RMSNorm(_RowNorm):
    """Division of each row by its root mean square over its last axis, or its last axes (Zhang and Sennrich 2019).

    eps: as in (10); PyTorch's eps=None is np.finfo(dtype).eps. axes: over how many of the last axes. affine: whether
    there is gamma, which has the shape of these axes.
    Input (B, ..., n), output the same. Raises ValueError for other arguments, ShapeError for inputs of fewer axes.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.RMSNorm(eps=0.0), input_shape=2, device="cpu")
    >>> net.predict([[1.0, 7.0]]).round(6).tolist()                    # divided by √((1 + 49) / 2) = 5
    [[0.2, 1.4]]
    """

    eps: NotNegative = 1e-5
    axes: Count = 1
    affine: bool = True
    exact = True

    def __post_init__(self) -> None:
        check_eps("RMSNorm", self.eps)

    def _parameters(self, shape: Shape) -> dict[str, Parameter]:
        return scale_and_shift(shape, self.affine, use_bias=False)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(10) to (12)"""
        check_features(ws, x)
        x = self._view(ws, x)
        y = ws.y.reshape(x.shape)
        mean = ws.be.constant(1.0 / x.shape[-1], ws.dtype)  # times a sum
        for rows in rows_in_parts(ws.be, x.shape):
            squares, total, rrms = products_of(ws, x[rows]), ws.sum[rows], ws.rstd[rows]
            ws.xp.multiply(x[rows], x[rows], out=squares)
            ws.be.sum_last(squares, out=total)
            ws.be.apply(self._rrms, total, mean, out=rrms)  # (10)
            if self.affine:
                ws.be.apply(_scaled, x[rows], rrms, ws.gamma.reshape(-1), out=(ws.xhat[rows], y[rows]))  # (11), (12)
            else:
                ws.xp.multiply(x[rows], rrms, out=y[rows])  # (11)
        return ws.y

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(14), (15)"""
        dy = self._view(ws, dy)
        xhat, dx = ws.xhat if self.affine else ws.y.reshape(dy.shape), ws.dx.reshape(dy.shape)
        mean = ws.be.constant(1.0 / dy.shape[-1], ws.dtype)
        for rows in rows_in_parts(ws.be, dy.shape):
            dxhat = self._dxhat(ws, dy, rows)
            products, other = products_of(ws, dxhat), ws.other[rows]
            ws.xp.multiply(dxhat, xhat[rows], out=products)
            ws.be.sum_last(products, out=other)
            ws.be.apply(_through_length, dxhat, xhat[rows], ws.rstd[rows], other, mean, out=dx[rows])  # (15)
        return ws.dx

    def _rrms(self, squares: Value, mean: Value) -> Value:
        return 1.0 / sqrt(squares * mean + self.eps)  # (10)  rrms = 1/√(⟨x²⟩ + eps)


def _minus_mean(x: Value, total: Value, mean: Value) -> Value:
    return x - total * mean


def _scaled(x: Value, rstd: Value, gamma: Value) -> tuple[Value, Value]:
    xhat = x * rstd
    return xhat, gamma * xhat


def _through_row(dxhat: Value, xhat: Value, rstd: Value, total: Value, products: Value, mean: Value) -> Value:
    return rstd * (dxhat - total * mean - xhat * (products * mean))  # (9)


def _through_length(dxhat: Value, xhat: Value, rrms: Value, products: Value, mean: Value) -> Value:
    return rrms * (dxhat - xhat * (products * mean))  # (15)


normalization.LayerNorm = LayerNorm  # type: ignore[attr-defined]  # where pickles of before look for it
