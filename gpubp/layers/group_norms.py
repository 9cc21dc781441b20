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
        """(1) to (5)"""
        check_features(ws, x)
        xhat = ws.xhat if self.affine else ws.y
        share = self._share(ws, x)
        squares = products_of(ws, x)
        own = x if ws.mask is None else ws.xp.multiply(x, _steps(ws, x), out=squares)
        self._means(ws, _over_places(ws, own, ws.mean), share, ws.mean)  # (1)
        if ws.mask is None:
            ws.be.apply(_deviations, x, ws.mean, out=(xhat, squares))
        else:
            ws.be.apply(_deviations_of_steps, x, ws.mean, _steps(ws, x), out=(xhat, squares))
        self._means(ws, _over_places(ws, squares, ws.rstd), share, ws.rstd)  # (2)
        ws.be.apply(self._rstd, ws.rstd, out=ws.rstd)  # (3)
        return normalized(ws, xhat, ws.y)  # (4), (5)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(6) to (10)"""
        xhat = ws.xhat if self.affine else ws.y
        products = products_of(ws, dy)
        _over_places(ws, dy, ws.s)  # (6)
        ws.xp.multiply(dy, xhat, out=products)
        _over_places(ws, products, ws.r)  # (7)
        if ws.trainable:
            if self.use_bias:
                ws.be.sum_rows(ws.s, out=ws.dbeta)  # (8)
            ws.be.sum_rows(ws.r, out=ws.dgamma)  # (9)
        return self._input_gradient(ws, dy, xhat) if ws.wants_dx else None

    def _input_gradient(self, ws: Workspace, dy: Array, xhat: Array) -> Array:
        """(10)"""
        s, r, share = ws.s, ws.r, ws.share if ws.mask is not None else self._share(ws, dy)
        if self.affine:
            s = ws.xp.multiply(s, ws.gamma, out=ws.first)
            r = ws.xp.multiply(r, ws.gamma, out=ws.second)
        self._means(ws, s, share, ws.first)
        self._means(ws, r, share, ws.second)
        of_group: list[Array] = [dy, xhat, ws.rstd, ws.first, ws.second, *([ws.gamma] if self.affine else [])]
        if ws.mask is None:
            return ws.be.apply(_through_group if self.affine else _through_plain_group, *of_group, out=ws.dx)  # (10)
        f = _through_steps if self.affine else _through_plain_steps
        return ws.be.apply(f, _steps(ws, dy), *of_group, out=ws.dx)

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
        of_group = (B, groups, C // groups)
        ws.be.sum_last(sums.reshape(of_group), out=ws.of_group)
        ws.xp.multiply(ws.of_group, share if ws.mask is None else share.reshape(B, 1, 1), out=ws.of_group)
        ws.xp.copyto(out.reshape(of_group), ws.of_group)

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


def _over_places(ws: Workspace, a: Array, out: Array) -> Array:
    """out (B, 1, ..., C) = Σ of a (B, ..., C) over the places, one axis after the other: so a float32 sum is as exact
    over images as over their sides."""
    while a.ndim > 3:
        part = ws.be.scratch(f"over places {a.ndim}", (a.shape[0], *a.shape[2:]), ws.dtype)
        a = ws.xp.sum(a, axis=1, out=part)
    if a.ndim == 3:
        ws.xp.sum(a, axis=1, out=out.reshape(a.shape[0], a.shape[2]))
    else:
        ws.xp.copyto(out, a)
    return out


def _steps(ws: Workspace, x: Array) -> Array:
    """The mask, for numbers of the shape of x"""
    mask: Array = ws.mask
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


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
