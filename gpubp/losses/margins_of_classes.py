"""Losses of one class among K by margins: how much the output of the right class is above the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..config import Positive, Range
from ..formula import maximum, row_max, row_sum
from ..layers import Workspace
from .base import Value
from .classification import SoftmaxCrossEntropy
from .focal import one_hot
from .probabilities import times


@dataclass(frozen=True, repr=False)
class CategoricalHinge(SoftmaxCrossEntropy):
    """Hinge loss of one class among K; z (B, ..., K) are scores (Crammer, Singer 2001, in Keras's form).

        (1) m = maxₖ (1 - qₖ) zₖ        (2) ℓ = max(0, 1 + m - Σₖ q z)
        (3) dz = c ((1 - q) h / Σ h - q) where ℓ > 0, else 0;   h = 1 where (1 - q) z = m, else 0

    Targets: class indices, or rows of numbers q that sum to 1. The class itself stands in (1) with (1 - 1) z = 0: m is
    0 or more for one class, as in Keras's `CategoricalHinge`, and not as in scikit-learn's `hinge_loss`. Where several
    are largest, they share the gradient. Scores are no logits: there are no probabilities. Raises what
    `SoftmaxCrossEntropy` raises of targets.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.parameters["b"][...] = [0.5, 2.0, 1.75]
    >>> net.loss_and_gradients(CategoricalHinge(), [[1.0, 2.0]], [1])[0]
    0.75
    """

    label_smoothing: ClassVar[float] = 0.0  # type: ignore[misc]
    ignore_index: ClassVar[None] = None  # type: ignore[misc]
    class_weight: ClassVar[None] = None  # type: ignore[misc]
    outputs_are: ClassVar[str] = "scores"
    exact = True

    def _parts(self, z: Value, q: Value) -> tuple[Value, Value, Value]:
        """(1 - q) z, (1) and ℓ before it is cut off, 0 where all q are 0"""
        others = times(1.0 - q, z)
        m = row_max(others)
        return others, m, (1.0 + m - row_sum(times(q, z))) * (row_sum(q) > 0.0)

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(2)"""
        return maximum(self._parts(z, self.q(*targets) * 1.0)[2], 0.0)

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(2) and (3), from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        q = self.q(*targets) * 1.0
        others, m, loss = self._parts(z, q)
        h = (others >= m) * 1.0
        return maximum(loss, 0.0), ((1.0 - q) * h / row_sum(h) - q) * ((loss > 0.0) * c)


@dataclass(frozen=True, repr=False)
class MultiMargin(SoftmaxCrossEntropy):
    """Hinge loss of the right class t against each other class; z (B, ..., K) are scores (Weston, Watkins 1999).

        (1) hₖ = max(0, margin - zₜ + zₖ) for k ≠ t, hₜ = 0        (2) ℓ = aₜ/K Σₖ hₖᵖ
        (3) dz = c aₜ p/K (hₖᵖ⁻¹ - [k = t] Σⱼ hⱼᵖ⁻¹), with h⁰ = 1 where h > 0, else 0

    p: 1 or 2. margin: how much zₜ must be above the others. class_weight: aₖ, how much each class counts, K numbers or
    class -> number. As of PyTorch's `MultiMarginLoss(p, margin, weight)`, the mean is not divided by the weights.
    Targets: class indices, or one-hot rows. Scores are no logits: there are no probabilities.

    Raises ValueError for arguments that can't be, ShapeError where class weights do not fit the outputs, DataError for
    other targets.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(4, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.parameters["b"][...] = [0.5, 2.0, 1.75, 1.5]
    >>> net.loss_and_gradients(MultiMargin(), [[1.0, 2.0]], [1])[0]                  # (¾ + ½) / 4
    0.3125
    """

    label_smoothing: ClassVar[float] = 0.0  # type: ignore[misc]
    ignore_index: ClassVar[None] = None  # type: ignore[misc]
    class_weight: Any = field(default=None, kw_only=True)
    p: Annotated[int, Range(1, 2)] = 1
    margin: Positive = 1.0
    outputs_are: ClassVar[str] = "scores"
    exact = True

    @property
    def has_counts(self) -> bool:
        """False: the mean is over rows, whatever their classes weigh."""
        return False

    def counts(self, ws: Workspace, t: Array) -> Array | None:
        """None: each row counts 1"""
        return None

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Class indices as int32, or one-hot rows."""
        return one_hot(self, super().targets(y, z))

    def _parts(self, z: Value, q: Value) -> tuple[Value, Value, Value]:
        """The right class as 1 and 0, h and aₜ/K"""
        one = (q > 0.0) * 1.0
        other = 1.0 - one
        h = other * maximum(self.margin - row_sum(times(one, z)) + z, 0.0)
        return one, h, row_sum(q * 1.0) / row_sum(one + other)

    def _powers(self, h: Value) -> Value:
        return h if self.p == 1 else h * h

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(2)"""
        _, h, share = self._parts(z, self.q(*targets))
        return row_sum(self._powers(h)) * share

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(2) and (3), from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        one, h, share = self._parts(z, self.q(*targets))
        slope = (h > 0.0) * 1.0 if self.p == 1 else 2.0 * h
        return row_sum(self._powers(h)) * share, (slope - one * row_sum(slope)) * (share * c)
