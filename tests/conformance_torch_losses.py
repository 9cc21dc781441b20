"""PyTorch's samples of losses, each written with gpubp's; see test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpubp as bp
from conformance_runs import NotExpressible

Array = np.ndarray
Expressed = Callable[[Any, list[Array]], "tuple[bp.Loss, Array, Array]"]
LOSSES: dict[str, Expressed] = {}


def expresses(*losses: str) -> Callable[[Expressed], Expressed]:
    """Enter a function for these losses: it returns the loss, outputs and targets with a row first."""

    def enter(function: Expressed) -> Expressed:
        LOSSES.update({f"nn.{loss}": function for loss in losses})
        return function

    return enter


def _rows(a: Array) -> Array:
    """Single numbers and vectors as rows of one number."""
    return a.reshape(-1, 1) if a.ndim < 2 else a


def _pointwise(loss: bp.Loss, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    return loss, _rows(arrays[0]), _rows(arrays[1])


NUMBERS: dict[str, Callable[[Any], bp.Loss]] = {
    "nn.MSELoss": lambda m: bp.MeanSquaredError(),
    "nn.L1Loss": lambda m: bp.MeanAbsoluteError(),
    "nn.HuberLoss": lambda m: bp.Huber(m.delta),
    "nn.SmoothL1Loss": lambda m: bp.SmoothL1(m.beta) if m.beta != 1 else bp.Huber(1.0),
    "nn.SoftMarginLoss": lambda m: bp.SoftMargin(),
    "nn.HingeEmbeddingLoss": lambda m: bp.HingeEmbedding(m.margin),
}
LOSSES.update({name: lambda m, arrays, made=made: _pointwise(made(m), arrays) for name, made in NUMBERS.items()})


@expresses("BCEWithLogitsLoss", "BCELoss")
def binary_cross_entropy(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """With a weight for each output."""
    made = bp.BinaryCrossEntropy if type(m).__name__ == "BCEWithLogitsLoss" else bp.BinaryCrossEntropyOfProbabilities
    weight = None if m.weight is None else m.weight.tolist()
    return _pointwise(made() if weight is None else made(weight=weight), arrays)


@expresses("PoissonNLLLoss")
def poisson(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """gpubp's is half the deviance, which is 0 at best: it differs by a number that the outputs do not change."""
    raise NotExpressible("the Poisson loss without what makes it 0 at best, a term of the targets alone")


@expresses("CrossEntropyLoss", "NLLLoss")
def classes(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """The classes go to the last axis."""
    z, t = arrays
    if z.ndim == 1:
        z, t = z[None], t[None]
    soft = t.ndim == z.ndim
    made = bp.SoftmaxCrossEntropy if type(m).__name__ == "CrossEntropyLoss" else bp.NegativeLogLikelihood
    arguments: dict[str, Any] = {} if m.weight is None else {"class_weight": m.weight.tolist()}
    if getattr(m, "label_smoothing", 0.0):
        arguments["label_smoothing"] = m.label_smoothing
    if not soft and (t == m.ignore_index).any():
        arguments["ignore_index"] = m.ignore_index
    return made(**arguments), np.moveaxis(z, 1, -1), np.moveaxis(t, 1, -1) if soft else t


@expresses("KLDivLoss")
def divergence(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """PyTorch's mean is one over rows and classes, "batchmean" the one over rows."""
    z, t = arrays
    if m.log_target:
        t = np.exp(t)
    if z.ndim < 2:
        raise NotExpressible("a distribution of a single class")
    return bp.KLDivergence(), z, t


@expresses("MultiMarginLoss")
def multi_margin(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """With weights of classes, and the square."""
    arguments = {} if m.weight is None else {"class_weight": m.weight.tolist()}
    return bp.MultiMargin(p=m.p, margin=m.margin, **arguments), arrays[0], arrays[1]


@expresses("GaussianNLLLoss")
def gaussian(m: Any, arrays: list[Array]) -> tuple[bp.Loss, Array, Array]:
    """Means and logarithms of variances side by side."""
    mean, t, var = arrays
    var = np.maximum(np.broadcast_to(var, mean.shape), m.eps)
    return bp.GaussianNLL(), np.concatenate([mean, np.log(var)], axis=-1), t
