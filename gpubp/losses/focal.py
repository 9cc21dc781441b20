"""Focal losses: cross-entropies in which rows that are already predicted well count less (Lin et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..backends import Shape
from ..config import NotNegative, UpToOne
from ..errors import DataError
from ..formula import absolute, exp, fmax, fmin, log, log1p, maximum, row_max, row_sum, sigmoid
from .base import Value
from .binary import BinaryCrossEntropy
from .classification import SoftmaxCrossEntropy


@dataclass(frozen=True, repr=False)
class BinaryFocal(BinaryCrossEntropy):
    """Focal loss of yes-or-no answers, one for each output; z are logits (Lin et al. 2017).

    With s = 2t - 1, -1 or 1, the probability p = σ(s z) of the right answer, and L = -log p:

        l = a (1 - p)^γ L        ∂l/∂z = -s a (1 - p)^γ (γ p L + 1 - p)

    gamma: γ; 0 gives binary cross-entropy. alpha: a = α for t = 1 and 1 - α for t = 0; without it a = 1. Targets are 0
    and 1. ignore_index: as of `BinaryCrossEntropy`. As torchvision's `sigmoid_focal_loss` and, from logits, Keras's
    `BinaryFocalCrossentropy`, whose alphas are 0.25 by default; in Keras it counts with `apply_class_balancing=True`.
    Raises DataError for other targets.

    For the derivative: ∂p/∂z = s p (1 - p), so ∂L/∂z = -s (1 - p) and ∂(1 - p)^γ/∂z = -s γ p (1 - p)^γ.

    >>> round(float(BinaryFocal().l(0.0, 1.0)), 4)                 # log 2 / 4
    0.1733
    >>> round(float(BinaryFocal(alpha=0.25).l(0.0, 1.0)), 4)
    0.0433
    """

    pos_weight: ClassVar[None] = None  # type: ignore[misc]
    weight: ClassVar[None] = None  # type: ignore[misc]
    ignore_index: int | None = field(default=None, kw_only=True)
    gamma: NotNegative = 2.0
    alpha: UpToOne | None = None
    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """0 or 1 for each output; -1 where outputs are left out."""
        y = super().targets(y, z)
        strange = y[(y != 0) & (y != 1) & (y != -1)]
        if strange.size:
            raise DataError(f"BinaryFocal needs targets of 0 and 1, and y holds {strange.flat[0]}")
        return y

    def _parts(self, z: Value, t: Value) -> tuple[Value, Value, Value]:
        """s, L and a (1 - p)^γ, where (1 - p)^γ = exp(-γ log(1 + e^sz)) and no exponential overflows; 0 if left out"""
        counts = self._factors(t, ())[1]
        if counts is not None:
            t = maximum(t, 0.0)
        s = 2.0 * t - 1.0
        m, rest = s * z, log1p(exp(-absolute(z)))
        factor: Value = 1.0 if self.alpha is None else self.alpha * t + (1.0 - self.alpha) * (1.0 - t)
        if self.gamma:
            factor = factor * exp(-self.gamma * (maximum(m, 0.0) + rest))
        if counts is not None:
            factor = factor * counts
        return s, maximum(-m, 0.0) + rest, factor

    def l(self, z: Value, t: Value, *more: Value) -> Value:  # noqa: E743
        """a (1 - p)^γ L"""
        _, L, factor = self._parts(z, t)
        return factor * L

    def dl(self, z: Value, t: Value, *more: Value) -> Value:
        """-s a (1 - p)^γ (γ p L + 1 - p), with p L = 0 at p = 0"""
        s, L, factor = self._parts(z, t)
        if not self.gamma:
            return -(s * factor * sigmoid(-(s * z)))
        return -(s * factor * (self.gamma * fmax(sigmoid(s * z) * L, 0.0) + sigmoid(-(s * z))))


@dataclass(frozen=True, repr=False)
class Focal(SoftmaxCrossEntropy):
    """Focal loss of one class among K; z (B, ..., K) are logits (Lin et al. 2017, from p = σ(z) to p = softmax(z)).

    With s = z - maxₖ z, p = eˢ / Σₖ eˢ, and of the class t:  L = -log pₜ,  u = 1 - pₜ = Σ_{k≠t} pₖ

        (1) l = aₜ u^γ L        (2) ∂l/∂zₖ = aₜ u^γ (1 + γ pₜ L / u) (pₖ - [k = t])

    gamma: γ; 0 gives `SoftmaxCrossEntropy`. For (2): ∂L/∂zₖ = pₖ - [k = t] and ∂u/∂L = pₜ.

    Targets: class indices, or one-hot rows. ignore_index, class_weight: as of `SoftmaxCrossEntropy`, with its mean over
    what counts: L = Σ w l / Σ w aₜ. Keras's `CategoricalFocalCrossentropy` is alpha times this, and clips p.

    Raises DataError for rows that are not one-hot, and what `SoftmaxCrossEntropy` raises.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> loss, _ = net.loss_and_gradients(Focal(), [[1.0, 2.0]], [0])
    >>> round(loss, 4)                               # (2/3)² log 3
    0.4883
    """

    label_smoothing: ClassVar[float] = 0.0  # type: ignore[misc]
    ignore_index: int | None = field(default=None, kw_only=True)
    class_weight: Any = field(default=None, kw_only=True)
    gamma: NotNegative = 2.0
    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Class indices as int32, -1 where they are left out; or one-hot rows."""
        return one_hot(self, super().targets(y, z))

    def _parts(self, z: Value, q: Value) -> tuple[Value, Value, Value, Value]:
        """p, and of every position L, u and aₜ u^γ"""
        s = z - row_max(z)
        e = exp(s)
        total, one = row_sum(e), (q > 0.0) * 1.0
        p = e / total
        L = log(total) - row_sum(fmin(one * s, 0.0))  # 0 for 0 · (-∞)
        u = row_sum((1.0 - one) * p)
        factor = row_sum(q * 1.0)
        if self.gamma:
            factor = factor * exp(self.gamma * log(maximum(u, _LEAST)))
        return p, L, u, factor

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1)"""
        _, L, _, factor = self._parts(z, self.q(*targets))
        return factor * L

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(1) and (2), from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        q = self.q(*targets)
        p, L, u, factor = self._parts(z, q)
        slope = factor
        if self.gamma:
            p_t = row_sum((q > 0.0) * p)
            slope = factor * (1.0 + self.gamma * fmax(p_t * L, 0.0) / maximum(u, _LEAST))
        return factor * L, (p - (q > 0.0)) * (slope * c)


def one_hot(loss: SoftmaxCrossEntropy, t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Targets that are class indices or one-hot rows; DataError for other probabilities.

    >>> one_hot(Focal(), np.array([[0.0, 1.0]])).tolist()
    [[0.0, 1.0]]
    """
    if t.dtype != np.int32:
        strange = t[(t != 0) & (t != 1)]
        if strange.size:
            raise DataError(
                f"{type(loss).__name__} needs class indices or one-hot rows, and y holds the probability "
                f"{strange.flat[0]:g}"
            )
    return t


_LEAST = 1e-30  # in reach of float32
