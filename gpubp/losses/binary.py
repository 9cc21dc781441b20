"""BinaryCrossEntropy: cross-entropy of labels, each a yes or no of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import NotNegative
from ..errors import DataError, ShapeError
from ..formula import absolute, exp, fmax, log1p, maximum, sigmoid
from ..layers import Plan, Workspace
from .base import PointwiseLoss, Value
from .positions import row_means

Weights = NotNegative | tuple[NotNegative, ...] | None


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(PointwiseLoss):
    """Cross-entropy of yes-or-no answers, one for each output; z are logits, p = σ(z).

    l = -t log p - (1 - t) log(1 - p) = max(z, 0) - z t + log(1 + e^-|z|);  ∂l/∂z = σ(z) - t

    An infinite logit is a sure answer: l is 0 where it is right, and infinite elsewhere.
    Targets are 0 or 1, or a probability between. With several outputs this is the loss of multi-label problems.

    pos_weight: a, how many times as much a target 1 counts as a target 0; one number, or one for each output along the
    last axis. As in PyTorch's `binary_cross_entropy_with_logits` the mean is not divided by it:

    l = -a t log p - (1 - t) log(1 - p) = (1 - t) max(z, 0) + a t max(-z, 0) + b log(1 + e^-|z|),  b = 1 - t + a t;
    ∂l/∂z = b σ(z) - a t

    weight: g, a factor of l and ∂l/∂z; one number, or one for each output along the last axis. The mean is not divided
    by it either, as PyTorch's is not by its `weight`.

    ignore_index: the target of outputs that are left out, such as -100 for labels that nobody knows. Their loss and
    gradient are 0. Then a batch is one set of outputs j of all rows i, and the mean is over those that count:

        L = Σᵢⱼ wᵢ gⱼ lᵢⱼ / Σᵢⱼ wᵢ vᵢⱼ        w: row weights. v: 1 where an output counts, else 0

    So a row with many labels has a larger share in it than a row with few. Metrics do not count outputs that are left
    out. A batch of which nothing counts has the gradient 0 and the loss NaN.

    Raises ValueError for weights that are not finite, or below 0, and for an ignore_index that is a label; ShapeError
    where weights do not fit the outputs.

    >>> round(float(BinaryCrossEntropy().l(0.0, 1.0)), 4)
    0.6931
    >>> round(float(BinaryCrossEntropy(pos_weight=3.0).l(0.0, 1.0)), 4)
    2.0794
    >>> loss = BinaryCrossEntropy(ignore_index=-100)
    >>> loss.value_and_gradient([[0.0, 9.0]], [[1, -100]])[1].tolist()
    [[-0.5, 0.0]]
    """

    pos_weight: Weights = None
    weight: Weights = None
    ignore_index: int | None = None
    predicts = "labels"
    by_mask = True
    by_position = True
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ignore_index in (0, 1):
            raise ValueError(
                f"{type(self).__name__} leaves out targets that equal ignore_index, and {self.ignore_index} is a "
                "label; take a number that is none, such as -100"
            )
        if () in (self.weight, self.pos_weight):
            raise ValueError(f"{type(self).__name__} needs a number for each output in a weight, and got ()")
        if self.weight is not None and not np.any(self.weight):
            raise ValueError(f"{type(self).__name__}(weight={self.weight!r}) leaves every output without weight")

    @property
    def has_counts(self) -> bool:
        """Whether outputs are left out."""
        return self.ignore_index is not None

    @property
    def fits_outputs(self) -> int | None:
        """As many as there are numbers in pos_weight, or in weight."""
        return next(map(len, self.formula_arguments().values()), None)

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Numbers between 0 and 1, one for each output; -1 where outputs are left out."""
        y = super().targets(y, z)
        left_out = None if self.ignore_index is None else y == self.ignore_index
        counted = y if left_out is None else y[~left_out]
        if counted.size and not (counted.min() >= 0 and counted.max() <= 1):
            least, most, hint = counted.min(), counted.max(), "for class indices use SoftmaxCrossEntropy"
            if least < 0 and left_out is None:
                hint = f"ignore_index={least:.0f} leaves out such outputs, and {hint}"
            raise DataError(
                f"{type(self).__name__} needs targets between 0 and 1, and y goes from {least} to {most}; {hint}"
            )
        return y if left_out is None else np.where(left_out, -1.0, y)

    def plan(self, z: Shape, t: Shape) -> Plan:
        """As any pointwise loss; raises ShapeError where weights are not one for each output."""
        for name, numbers in self.formula_arguments().items():
            if z[-1] != (count := len(numbers)):
                raise ShapeError(
                    f"has {count} number{'s' if count > 1 else ''} in {name}, and the network has {z[-1]} outputs"
                )
        plan, more = super().plan(z, t), {"counted": z, "counts": z[:1]} if self.has_counts else {}
        return replace(plan, arrays={**plan.arrays, **more})

    def counts(self, ws: Workspace, t: Array) -> Array | None:
        """nᵢ, the mean of v over the outputs of a row"""
        return row_means(ws, ws.be.apply(_counts, t, out=ws.counted), ws.counts)

    def formula_arguments(self) -> Mapping[str, Sequence[float]]:
        """pos_weight and weight, if each output has one"""
        given = {"pos_weight": self.pos_weight, "weight": self.weight}
        return {name: numbers for name, numbers in given.items() if isinstance(numbers, tuple)}

    def _factors(self, t: Value, more: Sequence[Value]) -> tuple[Value, Value]:
        """(a, g v); None for either where it is 1"""
        of_outputs = dict(zip(self.formula_arguments(), more, strict=True))
        a, g = (of_outputs.get(name, getattr(self, name)) for name in ("pos_weight", "weight"))
        if self.ignore_index is None:
            return a, g
        return a, _counts(t) if g is None else g * _counts(t)

    def l(self, z: Value, t: Value, *more: Value) -> Value:  # noqa: E743
        """max(z, 0) - z t + log(1 + e^-|z|), where no exponential overflows; more: pos_weight and weight, if each
        output has one

        Where ∞ - ∞ or 0 ∞ is not a number, z (1⁻ - t) and 0 stand in; elsewhere neither is larger than the first two
        terms, because 1⁻ is 1 less some roundings.
        """
        a, g = self._factors(t, more)
        last = log1p(exp(-absolute(z)))
        if a is None:
            first = fmax(fmax(maximum(z, 0.0) - z * t, z * (_BELOW_ONE - t)), 0.0)
        else:
            no, yes = 1.0 - t, a * t
            first = fmax(no * maximum(z, 0.0), 0.0) + fmax(yes * maximum(-z, 0.0), 0.0)  # 0, not a number, is 0 ∞
            last = (no + yes) * last
        return first + last if g is None else fmax(first * g, 0.0) + last * g

    def dl(self, z: Value, t: Value, *more: Value) -> Value:
        """σ(z) - t, or with a pos_weight b σ(z) - a t; times the weight"""
        a, g = self._factors(t, more)
        made = sigmoid(z) - t if a is None else (1.0 - t + a * t) * sigmoid(z) - a * t
        return made if g is None else made * g


def _counts(t: Value) -> Value:
    """v: 1 for an output that counts"""
    return (t >= 0.0) * 1.0


_BELOW_ONE = 1.0 - 2.0**-20  # which both types of numbers hold
