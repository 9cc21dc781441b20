"""Losses: the weighted mean L = Σᵢ cᵢ ℓᵢ of the losses ℓᵢ of the rows, with cᵢ = wᵢ / Σ w.

z are the network's outputs, t the targets. A row's loss is the mean over its n outputs, ℓᵢ = (1/n) Σⱼ l(zᵢⱼ, tᵢⱼ), so

    (1) ∂L/∂zᵢⱼ = cᵢ (1/n) ∂l/∂z (zᵢⱼ, tᵢⱼ)

Row weights carry everything that makes rows unequal: sample weights, class weights, and the weight 0 of the rows that
fill up the last batch. Where the mathematics is better there, z are logits: the sigmoid or softmax is part of the loss.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .backends import Array, Shape
from .config import Configurable
from .errors import DataError
from .formula import absolute, equal, exp, log, log1p, maximum, minimum, row_max, row_sum, sigmoid, sign
from .layers import Plan, Workspace

__all__ = [
    "BinaryCrossEntropy",
    "HalfMeanSquaredError",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PointwiseLoss",
    "Poisson",
    "SoftmaxCrossEntropy",
]

Value = Any  # a number, an array, or a symbol of a formula


class Loss(Configurable, ABC):
    """The loss of each row and its derivative.

    predicts: what the outputs stand for: "numbers", "labels" (each output a yes or no of its own) or "classes" (one of
    them). Metrics go by it.

    >>> import gpubp as bp
    >>> bp.MeanSquaredError().predicts
    'numbers'
    """

    predicts: ClassVar[str]

    @abstractmethod
    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """`y` as forward and backward want it for outputs (B, ...) of shape `z`; raises DataError if it doesn't fit."""

    @abstractmethod
    def plan(self, z: Shape, t: Shape) -> Plan:
        """The arrays that the formulas need for outputs and targets of these shapes, batch first."""

    @abstractmethod
    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓ (B,)"""

    @abstractmethod
    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """∂L/∂z, after forward"""


class PointwiseLoss(Loss):
    """A loss that compares number with number. Write your own as a class with `l` and `dl`.

    >>> import gpubp as bp
    >>> class Quartic(bp.PointwiseLoss):
    ...     predicts = "numbers"
    ...     def l(self, z, t):
    ...         e = z - t
    ...         return e * e * e * e
    ...     def dl(self, z, t):
    ...         e = z - t
    ...         return 4 * e * e * e
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> loss, gradients = net.loss_and_gradients(Quartic(), [[1.0, 2.0]], [3.0])
    """

    predicts = "numbers"

    @abstractmethod
    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """The loss of one number"""

    @abstractmethod
    def dl(self, z: Value, t: Value) -> Value:
        """∂l/∂z"""

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """One number for each output; (B,) stands for (B, 1)."""
        if y.dtype.kind not in "fiub":
            raise DataError(f"y holds {y.dtype}, and {self!r} needs numbers")
        if y.ndim == 1 and len(z) == 2 and z[1] == 1:
            y = y[:, None]
        if y.shape[1:] != z[1:]:
            raise DataError(
                f"y has rows of shape {y.shape[1:]}, and the network gives rows of shape {z[1:]}; they must be equal "
                f"for {self!r}"
            )
        return y

    def plan(self, z: Shape, t: Shape) -> Plan:
        """e: the losses of single numbers"""
        return Plan(output=(z[0],), arrays={"e": z, "rows": (z[0],), "dz": z})

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓᵢ = (1/n) Σⱼ l"""
        ws.be.apply(self.l, z, t, out=ws.e)
        return _row_means(ws, ws.e, math.prod(z.shape[1:]))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1)"""
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(z.shape[1:]), ws.dtype)
        return ws.be.apply(self._dz, z, t, c, mean, out=ws.dz)

    def _dz(self, z: Value, t: Value, c: Value, mean: Value) -> Value:
        return self.dl(z, t) * (c * mean)  # (1)


@dataclass(frozen=True, repr=False)
class MeanSquaredError(PointwiseLoss):
    """l = (z - t)²,  ∂l/∂z = 2 (z - t)

    >>> MeanSquaredError().l(3.0, 1.0), MeanSquaredError().dl(3.0, 1.0)
    (4.0, 4.0)
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """(z - t)²"""
        e = z - t
        return e * e

    def dl(self, z: Value, t: Value) -> Value:
        """2 (z - t)"""
        return 2.0 * (z - t)


@dataclass(frozen=True, repr=False)
class HalfMeanSquaredError(PointwiseLoss):
    """l = ½ (z - t)²,  ∂l/∂z = z - t: the 1/2n of the textbooks, and what scikit-learn's regressor minimises.

    >>> HalfMeanSquaredError().l(3.0, 1.0), HalfMeanSquaredError().dl(3.0, 1.0)
    (2.0, 2.0)
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """½ (z - t)²"""
        e = z - t
        return 0.5 * (e * e)

    def dl(self, z: Value, t: Value) -> Value:
        """z - t"""
        return z - t


@dataclass(frozen=True, repr=False)
class MeanAbsoluteError(PointwiseLoss):
    """l = |z - t|,  ∂l/∂z = sign(z - t)

    >>> float(MeanAbsoluteError().l(1.0, 3.0))
    2.0
    """

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """|z - t|"""
        return absolute(z - t)

    def dl(self, z: Value, t: Value) -> Value:
        """sign(z - t)"""
        return sign(z - t)


@dataclass(frozen=True, repr=False)
class Huber(PointwiseLoss):
    """Quadratic near 0 and linear beyond `delta` (Huber 1964).

    With e = z - t:  l = ½ e² for |e| ≤ δ, else δ (|e| - ½ δ);  ∂l/∂z = e cut to [-δ, δ]

    >>> float(Huber().l(3.0, 0.0)), float(Huber().dl(3.0, 0.0))
    (2.5, 1.0)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise ValueError(f"Huber needs a delta above 0 and got {self.delta!r}")

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """With a = min(|e|, δ), both pieces are a (|e| - ½ a)"""
        e = absolute(z - t)
        a = minimum(e, self.delta)
        return a * (e - 0.5 * a)

    def dl(self, z: Value, t: Value) -> Value:
        """e cut to [-δ, δ]"""
        return maximum(minimum(z - t, self.delta), -self.delta)


@dataclass(frozen=True, repr=False)
class Poisson(PointwiseLoss):
    """Half the deviance of counts t from a Poisson distribution of mean μ = eᶻ; z are logarithms.

    l = μ - t + t log(t/μ) = eᶻ - t + t (log t - z), with 0 log 0 = 0;  ∂l/∂z = eᶻ - t

    Targets are 0 or more. (McCullagh and Nelder 1989)

    >>> float(Poisson().l(0.0, 1.0)), float(Poisson().dl(0.0, 3.0))
    (0.0, -2.0)
    """

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers of 0 or more, one for each output."""
        y = super().targets(y, z)
        if y.size and not y.min() >= 0:
            raise DataError(f"Poisson needs targets of 0 or more, counts or rates, and y goes down to {y.min()}")
        return y

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """eᶻ - t + t (log t - z)"""
        return exp(z) - t + t * (log(maximum(t, _LEAST)) - z)

    def dl(self, z: Value, t: Value) -> Value:
        """eᶻ - t"""
        return exp(z) - t


_LEAST = 1e-30  # in place of a 0 under a logarithm that is multiplied by it; in reach of float32


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(PointwiseLoss):
    """Cross-entropy of yes-or-no answers, each output's own; z are logits, p = σ(z).

    l = -t log p - (1 - t) log(1 - p) = max(z, 0) - z t + log(1 + e^-|z|);  ∂l/∂z = σ(z) - t

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
        """max(z, 0) - z t + log(1 + e^-|z|), where no exponential overflows"""
        return maximum(z, 0.0) - z * t + log1p(exp(-absolute(z)))

    def dl(self, z: Value, t: Value) -> Value:
        """σ(z) - t"""
        return sigmoid(z) - t


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of one class among K; z (B, ..., K) are logits.

        (1) s = z - maxₖ z      (2) S = Σₖ eˢ      (3) ℓ = log S - Σₖ q s      (4) dz = c (eˢ/S - q)

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
        return log(row_sum(exp(s))) - row_sum(q * s)  # (2), (3)  ℓ = log S - Σ q s

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(3) and (4), which share all that is costly; from z, the targets, the row's share in the loss, 1/positions"""
        *targets, c, mean = inputs
        q, c = self.q(*targets), c * mean
        e = exp(z - row_max(z))
        return self.l(z, *targets), (e / row_sum(e) - q) * c  # (4)  dz = c (eˢ/S - q)

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1), (2), (3); in training also (4), in the same pass"""
        even = ws.be.constant(self.label_smoothing / z.shape[-1], ws.dtype)
        ws.targets = (t, even) if t.ndim == z.ndim else (t.reshape(*t.shape, 1), ws.classes, even)
        if ws.training:
            self._l_and_dz(ws, z)
        else:
            ws.be.apply(self.l, z, *ws.targets, out=ws.position)
        return _row_means(ws, ws.position, math.prod(z.shape[1:-1]))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(4)"""
        if not ws.training:
            self._l_and_dz(ws, z)
        return ws.dz

    def _l_and_dz(self, ws: Workspace, z: Array) -> None:
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(z.shape[1:-1]), ws.dtype)
        ws.be.apply(self.l_and_dz, z, *ws.targets, c, mean, out=(ws.position, ws.dz))


def _row_means(ws: Workspace, values: Array, n: int) -> Array:
    """(B,) means of the n values of each row."""
    if n == 1:
        return values.reshape(-1)
    ws.be.sum_last(values.reshape(-1, n), out=ws.rows)
    return ws.be.apply(_product, ws.rows, ws.be.constant(1.0 / n, ws.dtype), out=ws.rows)


def _product(a: Value, b: Value) -> Value:
    return a * b


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
