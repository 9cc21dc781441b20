"""Losses of classes: cross-entropy of labels, each a yes or no, and of one class among several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..errors import DataError
from ..formula import absolute, equal, exp, fmax, fmin, log, log1p, maximum, row_max, row_sum, sigmoid
from ..layers import Plan, Workspace
from .base import Loss, PointwiseLoss, Value, row_means


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(PointwiseLoss):
    """Cross-entropy of yes-or-no answers, each output's own; z are logits, p = σ(z).

    l = -t log p - (1 - t) log(1 - p) = max(z, 0) - z t + log(1 + e^-|z|);  ∂l/∂z = σ(z) - t

    An infinite logit is a sure answer: l is 0 where it is right, and infinite elsewhere.
    Targets are 0 or 1, or a probability between. With several outputs this is the loss of multi-label problems.

    >>> round(float(BinaryCrossEntropy().l(0.0, 1.0)), 4)
    0.6931
    """

    predicts = "labels"

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers between 0 and 1, one for each output."""
        y = super().targets(y, z)
        if y.size and not (y.min() >= 0 and y.max() <= 1):
            raise DataError(
                f"BinaryCrossEntropy needs targets between 0 and 1, and y goes from {y.min()} to {y.max()}; for class "
                "indices use SoftmaxCrossEntropy"
            )
        return y

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """max(z, 0) - z t + log(1 + e^-|z|), where no exponential overflows

        Where ∞ - ∞ or 0 ∞ is not a number, z (1⁻ - t) and 0 stand in; elsewhere neither is larger than the first two
        terms, because 1⁻ is 1 less some roundings.
        """
        first = fmax(fmax(maximum(z, 0.0) - z * t, z * (_BELOW_ONE - t)), 0.0)
        return first + log1p(exp(-absolute(z)))

    def dl(self, z: Value, t: Value) -> Value:
        """σ(z) - t"""
        return sigmoid(z) - t


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of one class among K; z (B, ..., K) are logits.

        (1) s = z - maxₖ z      (2) S = Σₖ eˢ      (3) ℓ = log S - Σₖ q s      (4) dz = c (eˢ/S - q)

    with 0 · (-∞) = 0 in (3): a logit of -∞ masks a class, which has p = 0. ℓ is infinite where q of it is not 0.

    (3) is -Σ q log p with p = eˢ/S and Σ q = 1; subtracting the maximum changes nothing in p and keeps eˢ finite. For
    (4): ∂ log S/∂zₖ = eˢ/S and ∂(Σ q s)/∂zₖ = qₖ, the maximum's part cancelling.

    Targets: class indices (B, ...), or probabilities q (B, ..., K) such as one-hot rows. label_smoothing: ε mixes the
    uniform distribution in, q ← (1 - ε) q + ε/K (Szegedy et al. 2015). With more axes a row's loss is the mean over its
    positions.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> loss, _ = net.loss_and_gradients(SoftmaxCrossEntropy(), [[1.0, 2.0]], [0])
    >>> round(loss, 4)                               # log 3
    1.0986
    """

    label_smoothing: float = 0.0
    predicts = "classes"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, and is {self.label_smoothing!r}")

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Class indices as int32, or probabilities."""
        classes = z[-1]
        if y.shape[1:] == z[1:] and y.ndim == len(z):
            return _probabilities(y, classes)
        if y.shape[1:] != z[1:-1]:
            raise DataError(
                f"y has rows of shape {y.shape[1:]}; SoftmaxCrossEntropy needs class indices, rows of shape {z[1:-1]}, "
                f"or one-hot rows of shape {z[1:]}"
            )
        if y.dtype.kind not in "iub":
            if y.dtype.kind != "f" or (y.size and not np.array_equal(y, np.floor(y))):
                raise DataError(f"SoftmaxCrossEntropy needs class indices, whole numbers from 0, and y holds {y.dtype}")
        if y.size and not (y.min() >= 0 and y.max() < classes):
            wrong = y.min() if y.min() < 0 else y.max()
            raise DataError(
                f"y holds the class {wrong}, and the network has {classes} outputs, for the classes 0 to {classes - 1}"
            )
        return y.astype(np.int32)

    def plan(self, z: Shape, t: Shape) -> Plan:
        """ℓ of every position (B, ..., 1) and of every row (B,), dz as z"""
        arrays = dict(position=(*z[:-1], 1), rows=(z[0],), dz=z)
        return Plan(output=(z[0],), arrays=arrays, constants={"classes": np.arange(z[-1], dtype=np.int32)})

    def q(self, t: Value, *more: Value) -> Value:
        """q from (class, all classes, ε/K) or (q, ε/K); q alone is taken as it is."""
        q = equal(t, more[0]) if len(more) == 2 else t
        return q * (1.0 - self.label_smoothing) + more[-1] if self.label_smoothing and more else q

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1), (2), (3)"""
        q = self.q(*targets)
        s = z - row_max(z)  # (1)  s = z - max z
        return log(row_sum(exp(s))) - row_sum(fmin(q * s, 0.0))  # (2), (3)  ℓ = log S - Σ q s, and 0 for 0 · (-∞)

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(3) and (4), which share all that is costly; from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        q = self.q(*targets)
        e = exp(z - row_max(z))
        return self.l(z, *targets), (e / row_sum(e) - q) * c  # (4)  dz = c (eˢ/S - q)

    def l_and_dz_of_positions(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """The same for rows of several positions; from z, the targets, the row's share in the loss, 1/positions"""
        *targets, c, mean = inputs
        return self.l_and_dz(z, *targets, c * mean)

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1), (2), (3); in training also (4), in the same pass"""
        even = ws.be.constant(self.label_smoothing / z.shape[-1], ws.dtype)
        ws.targets = (t, even) if t.ndim == z.ndim else (t.reshape(*t.shape, 1), ws.classes, even)
        if ws.training:
            self._l_and_dz(ws, z)
        else:
            ws.be.apply(self.l, z, *ws.targets, out=ws.position)
        return row_means(ws, ws.position, math.prod(z.shape[1:-1]))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(4)"""
        if not ws.training:
            self._l_and_dz(ws, z)
        return ws.dz

    def _l_and_dz(self, ws: Workspace, z: Array) -> None:
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        positions, out = math.prod(z.shape[1:-1]), (ws.position, ws.dz)
        if positions == 1:
            ws.be.apply(self.l_and_dz, z, *ws.targets, c, out=out)
        else:
            mean = ws.be.constant(1.0 / positions, ws.dtype)
            ws.be.apply(self.l_and_dz_of_positions, z, *ws.targets, c, mean, out=out)


_BELOW_ONE = 1.0 - 2.0**-20  # which both types of numbers hold


def _probabilities(y: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    if y.dtype.kind not in "fiub":
        raise DataError(f"y holds {y.dtype}, and SoftmaxCrossEntropy needs numbers")
    sums = y.sum(axis=-1, dtype=np.float64)
    if y.size and not (np.abs(sums - 1.0).max() < 1e-3 and y.min() >= 0):
        raise DataError(
            f"y has {classes} columns like the network's outputs, so its rows are taken as probabilities or one-hot; "
            f"they must be 0 or more and sum to 1, and one sums to {sums.flat[np.abs(sums - 1.0).argmax()]:g}"
        )
    return y
