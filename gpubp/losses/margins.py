"""Losses of yes-or-no answers that are scores: the sign of an output is the answer, its size how sure it is.

Targets are 0 and 1, or -1 and 1; the losses keep them as t = 0 or 1 and compute with s = 2t - 1, -1 or 1. The product
s z is above 0 where the answer is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Shape
from ..config import Positive
from ..errors import DataError
from ..formula import absolute, exp, log1p, maximum, sigmoid
from .base import PointwiseLoss, Value


def yes_or_no(loss: PointwiseLoss, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Targets of 0 and 1, or of -1 and 1, as 0 and 1; DataError for others.

    >>> yes_or_no(Hinge(), np.array([-1, 1])).tolist()
    [0.0, 1.0]
    """
    yes = y == 1
    if not ((yes | (y == 0)).all() or (yes | (y == -1)).all()):
        strange = y[~(yes | (y == 0) | (y == -1))]
        shown = f"y holds {strange.flat[0]}" if strange.size else "y holds -1, 0 and 1"
        raise DataError(f"{type(loss).__name__} needs targets of 0 and 1, or of -1 and 1, and {shown}")
    t: np.ndarray[Any, Any] = yes.astype(np.float32)
    return t


class _Score(PointwiseLoss):
    """A loss of s z"""

    outputs_are: ClassVar[str] = "scores"
    predicts = "labels"

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """0 or 1 for each output; y may have -1 for 0."""
        return yes_or_no(self, super().targets(y, z))


@dataclass(frozen=True, repr=False)
class SoftMargin(_Score):
    """Logistic loss of a margin (Friedman, Hastie, Tibshirani 2000).

    With s = 2t - 1, -1 or 1:  l = log(1 + e^-sz) = max(-s z, 0) + log(1 + e^-|z|);  ∂l/∂z = -s σ(-s z)

    It is `BinaryCrossEntropy` of targets that may be -1 and 1, so that σ(z) are probabilities. As PyTorch's
    `SoftMarginLoss`. Raises DataError for other targets than 0 and 1, or -1 and 1.

    >>> round(float(SoftMargin().l(0.0, 1.0)), 4), float(SoftMargin().dl(0.0, 1.0))
    (0.6931, -0.5)
    """

    outputs_are: ClassVar[str] = "logits"
    exact = True

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """max(-s z, 0) + log(1 + e^-|z|), where no exponential overflows"""
        s = 2.0 * t - 1.0
        return maximum(-(s * z), 0.0) + log1p(exp(-absolute(z)))

    def dl(self, z: Value, t: Value) -> Value:
        """-s σ(-s z)"""
        s = 2.0 * t - 1.0
        return -(s * sigmoid(-(s * z)))


@dataclass(frozen=True, repr=False)
class Hinge(_Score):
    """Hinge loss of support vector machines (Cortes, Vapnik 1995).

    With s = 2t - 1, -1 or 1:  l = max(1 - s z, 0);  ∂l/∂z = -s where s z < 1, else 0

    Outputs are scores and no logits: answers are right or wrong by their sign, and there are no probabilities. As
    Keras's `Hinge` and scikit-learn's `hinge_loss` of two classes. Raises DataError for other targets than 0 and 1, or
    -1 and 1.

    >>> float(Hinge().l(0.25, 1.0)), float(Hinge().dl(0.25, 1.0)), float(Hinge().l(2.0, 1.0))
    (0.75, -1.0, 0.0)
    """

    exact = True

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """max(1 - s z, 0)"""
        return maximum(1.0 - (2.0 * t - 1.0) * z, 0.0)

    def dl(self, z: Value, t: Value) -> Value:
        """-s where s z < 1"""
        s = 2.0 * t - 1.0
        return -(s * (s * z < 1.0))


@dataclass(frozen=True, repr=False)
class SquaredHinge(_Score):
    """The square of the hinge loss, which has a derivative everywhere (Lee, Mangasarian 2001).

    With s = 2t - 1, -1 or 1:  l = max(1 - s z, 0)²;  ∂l/∂z = -2 s max(1 - s z, 0)

    Outputs are scores, as of `Hinge`. As Keras's `SquaredHinge`. Raises DataError for other targets than 0 and 1, or -1
    and 1.

    >>> float(SquaredHinge().l(0.5, 1.0)), float(SquaredHinge().dl(0.5, 1.0))
    (0.25, -1.0)
    """

    exact = True

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """max(1 - s z, 0)²"""
        m = maximum(1.0 - (2.0 * t - 1.0) * z, 0.0)
        return m * m

    def dl(self, z: Value, t: Value) -> Value:
        """-2 s max(1 - s z, 0)"""
        s = 2.0 * t - 1.0
        return -2.0 * s * maximum(1.0 - s * z, 0.0)


@dataclass(frozen=True, repr=False)
class HingeEmbedding(PointwiseLoss):
    """Loss of distances z: pairs that belong together come near, others stay a margin apart (Hadsell et al. 2006).

    l = z for t = 1, max(margin - z, 0) for t = -1 or 0;  ∂l/∂z = 1 for t = 1, else -1 where z < margin

    Targets are 1 for pairs that belong together, and -1 or 0 for others. As PyTorch's `HingeEmbeddingLoss`. Raises
    DataError for other targets.

    >>> loss = HingeEmbedding()
    >>> float(loss.l(0.25, 1.0)), float(loss.l(0.25, 0.0)), float(loss.dl(0.25, 0.0))
    (0.25, 0.75, -1.0)
    """

    margin: Positive = 1.0
    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """0 or 1 for each output; y may have -1 for 0."""
        return yes_or_no(self, super().targets(y, z))

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """max(s z + (1 - t) margin, -1e30 t): nothing is cut off at t = 1, and all below 0 at t = 0"""
        return maximum((2.0 * t - 1.0) * z + (1.0 - t) * self.margin, _FAR * t)

    def dl(self, z: Value, t: Value) -> Value:
        """s where the loss is not cut off"""
        s = 2.0 * t - 1.0
        return s * (s * z + (1.0 - t) * self.margin > _FAR * t)


_FAR = -1e30
