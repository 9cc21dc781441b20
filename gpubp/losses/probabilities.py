"""Cross-entropies of outputs that are probabilities or their logarithms, as a last layer Sigmoid, Softmax or LogSoftmax
gives them.

A network that ends before such a layer, with `BinaryCrossEntropy` or `SoftmaxCrossEntropy`, trains the same and keeps
the digits of probabilities near 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Shape
from ..formula import log, maximum, row_sum
from ..formula.elementary import exp64
from .base import Value
from .binary import BinaryCrossEntropy
from .classification import SoftmaxCrossEntropy


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropyOfProbabilities(BinaryCrossEntropy):
    """Cross-entropy of yes-or-no answers, one for each output; z are probabilities, as Sigmoid gives them.

    l = -t log z - (1 - t) log(1 - z), with logarithms of -100 or more;  ∂l/∂z = (z - t) / max(z (1 - z), 1e-12)

    Targets are 0 or 1, or a probability between. weight, ignore_index: as of `BinaryCrossEntropy`. The limits are those
    of PyTorch's `BCELoss`; Keras's `BinaryCrossentropy` cuts z to [1e-7, 1 - 1e-7]. Outputs below 0 or above 1 have no
    logarithm, and the loss NaN. Raises what `BinaryCrossEntropy` raises.

    >>> round(float(BinaryCrossEntropyOfProbabilities().l(0.25, 1.0)), 4)                # log 4
    1.3863
    >>> float(BinaryCrossEntropyOfProbabilities().dl(0.25, 1.0))
    -4.0
    """

    pos_weight: ClassVar[None] = None  # type: ignore[misc]
    outputs_are: ClassVar[str] = "probabilities"
    exact = True

    def l(self, z: Value, t: Value, *more: Value) -> Value:  # noqa: E743
        """-t max(log z, -100) - (1 - t) max(log(1 - z), -100), times the weight; more: that of each output"""
        _, g = self._factors(t, more)
        made = -(t * maximum(log(z), _LEAST_LOG)) - (1.0 - t) * maximum(log(1.0 - z), _LEAST_LOG)
        return made if g is None else made * g

    def dl(self, z: Value, t: Value, *more: Value) -> Value:
        """(z - t) / max(z (1 - z), 1e-12), times the weight"""
        _, g = self._factors(t, more)
        made = (z - t) / maximum(z * (1.0 - z), _LEAST)
        return made if g is None else made * g


@dataclass(frozen=True, repr=False)
class NegativeLogLikelihood(SoftmaxCrossEntropy):
    """Negative log-likelihood of one class among K; z (B, ..., K) are log-probabilities, as LogSoftmax gives them.

        (1) ℓ = -Σₖ q z, with 0 · (-∞) = 0        (2) dz = -c q

    With LogSoftmax before it, this is `SoftmaxCrossEntropy`. Any z are taken: that they are logarithms of
    probabilities is not tested, and without LogSoftmax the loss has no minimum.

    Targets: class indices (B, ...), or probabilities q (B, ..., K). ignore_index, class_weight, and the mean over what
    counts: as of `SoftmaxCrossEntropy`. So it is PyTorch's `NLLLoss(weight, ignore_index)`, and ONNX's
    NegativeLogLikelihoodLoss, where classes are axis 1. Raises what `SoftmaxCrossEntropy` raises.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.parameters["b"][...] = [-0.5, -2.0]
    >>> net.loss_and_gradients(NegativeLogLikelihood(), [[1.0, 2.0]], [1])[0]
    2.0
    """

    label_smoothing: ClassVar[float] = 0.0  # type: ignore[misc]
    outputs_are: ClassVar[str] = "log-probabilities"
    exact = True

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1)"""
        return -row_sum(times(self.q(*targets), z))

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(1) and (2), from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        return self.l(z, *targets), -(self.q(*targets) * c)


@dataclass(frozen=True, repr=False)
class CrossEntropyOfProbabilities(SoftmaxCrossEntropy):
    """Cross-entropy of one class among K; z (B, ..., K) are probabilities, as Softmax gives them.

        (1) ℓ = -Σₖ q log z, with logarithms of -100 or more        (2) dz = -c q / max(z, 1e-12)

    Targets, ignore_index, class_weight, and the mean over what counts: as of `SoftmaxCrossEntropy`. Keras's
    `CategoricalCrossentropy` divides z by their sum first, and cuts them to [1e-7, 1 - 1e-7]. Outputs below 0 have the
    loss NaN. Raises what `SoftmaxCrossEntropy` raises.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.parameters["b"][...] = [0.75, 0.25]
    >>> round(net.loss_and_gradients(CrossEntropyOfProbabilities(), [[1.0, 2.0]], [1])[0], 4)        # log 4
    1.3863
    """

    label_smoothing: ClassVar[float] = 0.0  # type: ignore[misc]
    outputs_are: ClassVar[str] = "probabilities"
    exact = True

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1)"""
        return -row_sum(self.q(*targets) * maximum(log(z), _LEAST_LOG))

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(1) and (2), from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        return self.l(z, *targets), -(self.q(*targets) * c) / maximum(z, _LEAST)


@dataclass(frozen=True, repr=False)
class KLDivergence(NegativeLogLikelihood):
    """The Kullback-Leibler divergence from the outputs' distribution to the targets' (Kullback, Leibler 1951).

    z (B, ..., K) are logarithms of probabilities, as LogSoftmax gives them:

        (1) ℓ = Σₖ q (log q - z), with 0 log 0 = 0 and 0 · (-∞) = 0        (2) dz = -c q

    Targets: probabilities q (B, ..., K), of sum 1, or class indices. log_target: whether y holds log q. The gradient is
    that of the cross-entropy; the loss is 0 where both distributions are the same.

    Of outputs (B, K) it is PyTorch's `KLDivLoss(reduction="batchmean", log_target)`; with more axes it is the mean over
    the positions, where PyTorch divides by B alone. Keras's `KLDivergence` takes probabilities: give it the
    exponentials of these outputs. Raises DataError for rows of y that do not sum to 1.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(2, weight_initializer=bp.Zeros())), input_shape=(2,), device="cpu")
    >>> net.parameters["0.b"][...] = np.log([0.25, 0.75])
    >>> round(net.loss_and_gradients(KLDivergence(), [[1.0, 2.0]], [[0.5, 0.5]])[0], 4)   # ½ log 2 + ½ log ⅔
    0.1438
    """

    ignore_index: ClassVar[None] = None  # type: ignore[misc]
    class_weight: ClassVar[None] = None  # type: ignore[misc]
    log_target: bool = False
    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Probabilities, or class indices as int32."""
        if self.log_target and y.shape[1:] == z[1:] and y.dtype.kind == "f":
            y = exp64(y)
        return super().targets(y, z)

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1)"""
        q = self.q(*targets) * 1.0
        return row_sum(q * log(maximum(q, _TINY)) - times(q, z))


def times(q: Value, z: Value) -> Value:
    """q z of q from 0 on, where 0 · (-∞) is 0: a z without weight is not below -1e30

    >>> with np.errstate(all="ignore"):
    ...     times(np.array([0.0, 0.5]), np.array([-np.inf, -3.0])).tolist()
    [-0.0, -1.5]
    """
    return q * maximum(z, -1e30 / ((q <= 0.0) * 1.0))


_LEAST_LOG, _LEAST = -100.0, 1e-12
_TINY = 1e-30  # in reach of float32
