"""Normalization over the places of an image or sequence, for groups of channels: GroupNorm and InstanceNorm.

    x (B, ..., C)      B rows, C channels, which are in g groups of C/g neighbours, and the places between them

With ⟨·⟩ a mean over all places of a row and the channels of a group, which are N numbers:

    Forward   (1) mean = ⟨x⟩   (2) var = ⟨(x - mean)²⟩   (3) rstd = 1/√(var + eps)
              (4) xhat = (x - mean) rstd   (5) y = gamma xhat + beta        gamma, beta: for each channel
    Backward  (6) s = Σ dy   (7) r = Σ dy xhat             over the places of a row, for each channel
              (8) dbeta = Σ s   (9) dgamma = Σ r           over the rows
              (10) dx = rstd (gamma dy - ⟨gamma dy⟩ - xhat ⟨gamma dy xhat⟩)

As in `normalization.py`; gamma is the same at all places, and so the means in (10) are Σ gamma s / N and Σ gamma r / N
over the channels of the group. Where rows have fewer than T time steps, by the mask μ (B, T) of `time_steps`, sums are
over a row's own steps, N counts them alone, and dx is 0 at the others.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..backends.over_rows import rows_in_parts
from ..config import Count, NotNegative
from ..errors import ShapeError
from ..formula import maximum, sqrt
from .base import Layer, Workspace
from .normalization import check_axes, check_eps, check_features, normalized, products_of, scale_and_shift
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula


class _GroupedNorm(Layer):
    """What both share. `_groups` says how many groups there are."""

    eps: float
    affine: bool
    use_bias: bool
    over_time = "keeps"

    def __post_init__(self) -> None:
        check_eps(type(self).__name__, self.eps)

    @abstractmethod
    def _groups(self, channels: int) -> int: ...

    def plan(self, x: Shape) -> Plan:
        """gamma, beta (C,); a mean and an rstd for each channel of a row, and two sums"""
        check_axes(x)
        n, groups = x[-1:], self._groups(x[-1])
        if math.prod(x[1:]) == groups:
            raise ShapeError(
                f"has groups of one number for inputs of the shape {x}, which say nothing of a variance; it normalizes "
                "over the places of a row and the channels of a group"
            )
        channels, of_groups = (x[0], *[1] * (len(x) - 2), x[-1]), (x[0], groups, 1)
        steps = {"share": (x[0], *[1] * (len(x) - 1))} if len(x) > 2 else {}
        inner = {"xhat": x} if self.affine else {}
        return Plan(
            output=x,
            parameters=scale_and_shift(n, self.affine, self.use_bias),
            arrays={
                **inner, "y": x, "dx": x, "mean": channels, "rstd": channels, "s": channels, "r": channels,
                "first": channels, "second": channels, "of_group": of_groups, **steps,
            },
            overwrites=("y", "dx"),
            reads=() if self.affine else ("y",),
        )  # fmt: skip

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5), for some rows after the others"""
        check_features(ws, x)
        share = self._share(ws, x)
        for rows in rows_in_parts(ws.be, x.shape):
            self._normalize(ws, x[rows], share if ws.mask is None else share[rows], rows)
        return ws.y

    def _normalize(self, ws: Workspace, x: Array, share: Any, rows: slice) -> None:
        y, mean, rstd = ws.y[rows], ws.mean[rows], ws.rstd[rows]
        xhat = ws.xhat[rows] if self.affine else y
        squares = products_of(ws, x)
        mask = None if ws.mask is None else _steps(ws.mask[rows], x)
        own = x if mask is None else ws.xp.multiply(x, mask, out=squares)
        self._means(ws, ws.be.sum_places(own, out=mean), share, mean)  # (1)
        if mask is None:
            ws.be.apply(_deviations, x, mean, out=(xhat, squares))
        else:
            ws.be.apply(_deviations_of_steps, x, mean, mask, out=(xhat, squares))
        self._means(ws, ws.be.sum_places(squares, out=rstd), share, rstd)  # (2)
        ws.be.apply(self._rstd, rstd, out=rstd)  # (3)
        normalized(ws, xhat, rstd, y)  # (4), (5)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(6) to (10), for some rows after the others"""
        xhat = ws.xhat if self.affine else ws.y
        share = self._share(ws, dy) if ws.mask is None else ws.share
        for rows in rows_in_parts(ws.be, dy.shape):
            products = products_of(ws, dy[rows])
            ws.be.sum_places(dy[rows], out=ws.s[rows])  # (6)
            ws.xp.multiply(dy[rows], xhat[rows], out=products)
            ws.be.sum_places(products, out=ws.r[rows])  # (7)
            if ws.wants_dx:
                self._input_gradient(ws, dy[rows], xhat[rows], share if ws.mask is None else share[rows], rows)
        if ws.trainable:
            if self.use_bias:
                ws.be.sum_rows(ws.s, out=ws.dbeta)  # (8)
            ws.be.sum_rows(ws.r, out=ws.dgamma)  # (9)
        return ws.dx if ws.wants_dx else None

    def _input_gradient(self, ws: Workspace, dy: Array, xhat: Array, share: Any, rows: slice) -> None:
        """(10)"""
        s, r, first, second, dx = ws.s[rows], ws.r[rows], ws.first[rows], ws.second[rows], ws.dx[rows]
        if self.affine:
            s = ws.xp.multiply(s, ws.gamma, out=first)
            r = ws.xp.multiply(r, ws.gamma, out=second)
        self._means(ws, s, share, first)
        self._means(ws, r, share, second)
        of_group: list[Array] = [dy, xhat, ws.rstd[rows], first, second, *([ws.gamma] if self.affine else [])]
        if ws.mask is None:
            ws.be.apply(_through_group if self.affine else _through_plain_group, *of_group, out=dx)  # (10)
        else:
            f = _through_steps if self.affine else _through_plain_steps
            ws.be.apply(f, _steps(ws.mask[rows], dy), *of_group, out=dx)

    def _share(self, ws: Workspace, x: Array) -> Any:
        """1/N; one number for each row where these have lengths"""
        others = math.prod(x.shape[1:]) // self._groups(x.shape[-1])
        if ws.mask is None:
            return ws.be.constant(1.0 / others, ws.dtype)
        one = ws.be.constant(float(x.shape[1] / others), ws.dtype)  # of one time step
        ws.be.sum_last(ws.mask, out=ws.share.reshape(-1, 1))
        return ws.be.apply(_share_of_steps, ws.share, one, out=ws.share)

    def _means(self, ws: Workspace, sums: Array, share: Any, out: Array) -> None:
        """The mean over its group for each channel, from the channels' sums (B, ..., C); out may be these."""
        B, C = sums.shape[0], sums.shape[-1]
        groups = self._groups(C)
        if groups == C:
            ws.xp.multiply(sums, share, out=out)
            return
        of_group, means = (B, groups, C // groups), ws.of_group[:B]
        ws.be.sum_last(sums.reshape(of_group), out=means)
        ws.xp.multiply(means, share if ws.mask is None else share.reshape(B, 1, 1), out=means)
        ws.xp.copyto(out.reshape(of_group), means)

    def _rstd(self, var: Value) -> Value:
        return 1.0 / sqrt(var + self.eps)  # (3)  rstd = 1/√(var + eps)


@dataclass(frozen=True, repr=False)
class GroupNorm(_GroupedNorm):
    """Normalization of each group of channels over all pixels or time steps of a row (Wu and He 2018).

    groups: how many, which divides the channels. eps: as in (3). affine: whether there are gamma and beta, which each
    channel has for itself. use_bias: whether there is beta beside gamma. With one group the mean is over all numbers
    of a row.
    Input (B, ..., C), as images (B, H, W, C), sequences (B, T, C) or rows (B, C); output the same. Raises ValueError
    for other arguments, ShapeError where groups does not divide the channels, and where a group is one number.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.GroupNorm(2, eps=0.0), input_shape=4, device="cpu")
    >>> net.predict([[1.0, 3.0, 10.0, 30.0]]).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    groups: Count
    eps: NotNegative = 1e-5
    affine: bool = True
    use_bias: bool = True
    exact = True

    def _groups(self, channels: int) -> int:
        if channels % self.groups:
            raise ShapeError(f"has {self.groups} groups, which must divide the {channels} channels of its input")
        return self.groups


@dataclass(frozen=True, repr=False)
class InstanceNorm(_GroupedNorm):
    """Normalization of each channel over all pixels or time steps of a row (Ulyanov, Vedaldi and Lempitsky 2016).

    eps: as in (3). affine: whether there are gamma and beta, as in ONNX; PyTorch's InstanceNorm has none unless
    affine=True is said. use_bias: whether there is beta beside gamma. It has no running values: evaluation computes as
    training does.
    Input (B, ..., C), as images (B, H, W, C) or sequences (B, T, C); output the same. Raises ValueError for other
    arguments, ShapeError where a channel has one place.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.InstanceNorm(eps=0.0), input_shape=(2, 2), device="cpu")
    >>> net.predict([[[1.0, 10.0], [3.0, 30.0]]]).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    eps: NotNegative = 1e-5
    affine: bool = True
    use_bias: bool = True
    exact = True

    def _groups(self, channels: int) -> int:
        return channels


def _steps(mask: Array, x: Array) -> Array:
    """The mask, for numbers of the shape of x"""
    steps: Array = mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
    return steps


def _deviations(x: Value, mean: Value) -> tuple[Value, Value]:
    deviation = x - mean
    return deviation, deviation * deviation


def _deviations_of_steps(x: Value, mean: Value, mu: Value) -> tuple[Value, Value]:
    deviation = (x - mean) * mu
    return deviation, deviation * deviation


def _share_of_steps(steps: Value, one: Value) -> Value:
    return one / maximum(steps, 1.0)


def _through_group(dy: Value, xhat: Value, rstd: Value, first: Value, second: Value, gamma: Value) -> Value:
    return rstd * (dy * gamma - first - xhat * second)  # (10)


def _through_plain_group(dy: Value, xhat: Value, rstd: Value, first: Value, second: Value) -> Value:
    return rstd * (dy - first - xhat * second)  # (10)


def _through_steps(mu: Value, dy: Value, xhat: Value, rstd: Value, first: Value, second: Value, gamma: Value) -> Value:
    return mu * _through_group(dy, xhat, rstd, first, second, gamma)


def _through_plain_steps(mu: Value, dy: Value, xhat: Value, rstd: Value, first: Value, second: Value) -> Value:
    return mu * _through_plain_group(dy, xhat, rstd, first, second)
