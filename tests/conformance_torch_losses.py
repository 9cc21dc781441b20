"""PyTorch's samples of losses, each written with gpubp's; see test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp as bp
from conformance_runs import NotExpressible, close

Array = np.ndarray


def _rows(a: Array) -> Array:
    """Single numbers and vectors as rows of one number."""
    return a.reshape(-1, 1) if a.ndim < 2 else a


@dataclass
class SameLoss:
    """What a module of a loss is in gpubp, with its targets.

    outputs: of the module's first input, z; also of its gradient. each: what reduction="none" gives, see `Loss.rows`.
    factor: what the mean here is multiplied by. offset: added to the loss of each number, a term of the targets.
    further: columns that z has behind those.
    """

    loss: bp.Loss
    t: Array
    outputs: Callable[[Array], Array] = _rows
    each: str = "number"
    factor: float = 1.0
    offset: Array | float = 0.0
    further: Array | None = None


LOSSES: dict[str, Callable[[Any, list[Array]], SameLoss]] = {}
Expressed = Callable[[Any, list[Array]], SameLoss]


def expresses(*losses: str) -> Callable[[Expressed], Expressed]:
    """Enter a function for these losses: it takes the module and its inputs."""

    def enter(function: Expressed) -> Expressed:
        LOSSES.update({f"nn.{loss}": function for loss in losses})
        return function

    return enter


NUMBERS: dict[str, Callable[[Any], bp.Loss]] = {
    "nn.MSELoss": lambda m: bp.MeanSquaredError(),
    "nn.L1Loss": lambda m: bp.MeanAbsoluteError(),
    "nn.HuberLoss": lambda m: bp.Huber(m.delta),
    "nn.SmoothL1Loss": lambda m: bp.SmoothL1(m.beta) if m.beta != 1 else bp.Huber(1.0),
    "nn.SoftMarginLoss": lambda m: bp.SoftMargin(),
    "nn.HingeEmbeddingLoss": lambda m: bp.HingeEmbedding(m.margin),
}


def _of_numbers(name: str) -> Expressed:
    return lambda m, arrays: SameLoss(NUMBERS[name](m), _rows(arrays[1]))


LOSSES.update({name: _of_numbers(name) for name in NUMBERS})


@expresses("BCEWithLogitsLoss", "BCELoss")
def binary_cross_entropy(m: Any, arrays: list[Array]) -> SameLoss:
    """With a weight for each output."""
    made = bp.BinaryCrossEntropyOfProbabilities if type(m).__name__ == "BCELoss" else bp.BinaryCrossEntropy
    return SameLoss(made(weight=None if m.weight is None else m.weight.tolist()), _rows(arrays[1]))


@expresses("PoissonNLLLoss")
def poisson(m: Any, arrays: list[Array]) -> SameLoss:
    """gpubp's is half the deviance, which is 0 at best; PyTorch leaves a term of the targets out."""
    t = arrays[1]
    entropy = t * np.log(np.maximum(t, 1e-300))
    offset = t - entropy
    if m.full:  # Stirling's formula for log t!
        offset = offset + (t > 1) * (entropy - t + 0.5 * np.log(2 * np.pi * np.maximum(t, 1)))
    return SameLoss(bp.Poisson(log=m.log_input, eps=m.eps), t, offset=offset)


def _classes_last(a: Array) -> Array:
    return a[None] if a.ndim == 1 else np.moveaxis(a, 1, -1)


@expresses("CrossEntropyLoss", "NLLLoss")
def classes(m: Any, arrays: list[Array]) -> SameLoss:
    """The classes go to the last axis."""
    z, t = arrays
    soft = t.ndim == z.ndim
    made = bp.SoftmaxCrossEntropy if type(m).__name__ == "CrossEntropyLoss" else bp.NegativeLogLikelihood
    arguments: dict[str, Any] = {} if m.weight is None else {"class_weight": m.weight.tolist()}
    if getattr(m, "label_smoothing", 0.0):
        arguments["label_smoothing"] = m.label_smoothing
    if not soft and (t == m.ignore_index).any():
        arguments["ignore_index"] = m.ignore_index
    t = _classes_last(t) if soft else t[None] if z.ndim == 1 else t
    return SameLoss(made(**arguments), t, _classes_last, "position")


@expresses("KLDivLoss")
def divergence(m: Any, arrays: list[Array]) -> SameLoss:
    """PyTorch's "mean" is one over rows and classes, and "batchmean" the one over rows."""
    z, t = arrays
    if z.ndim < 2:
        raise NotExpressible("a distribution of a single class")
    if m.reduction == "none":
        raise NotExpressible("the terms of single classes, whose sum is the divergence")
    factor = 1 / z.shape[1] if m.reduction == "mean" else 1.0
    return SameLoss(bp.KLDivergence(), np.exp(t) if m.log_target else t, each="row", factor=factor)


@expresses("MultiMarginLoss")
def multi_margin(m: Any, arrays: list[Array]) -> SameLoss:
    """With weights of classes, and the square."""
    arguments = {} if m.weight is None else {"class_weight": m.weight.tolist()}
    return SameLoss(bp.MultiMargin(p=m.p, margin=m.margin, **arguments), arrays[1], each="position")


@expresses("GaussianNLLLoss")
def gaussian(m: Any, arrays: list[Array]) -> SameLoss:
    """Mean and logarithm of the variance of each number, which is a row of its own."""
    mean, t, var = arrays
    further = np.log(np.maximum(np.broadcast_to(var, mean.shape), m.eps)).reshape(-1, 1)
    each_alone = lambda a: a.reshape(-1, 1)  # noqa: E731
    return SameLoss(bp.GaussianNLL(), each_alone(t), each_alone, "position", further=further)


def compare_loss(m: Any, inputs: list[Any], same: SameLoss) -> None:
    """Raise AssertionError where the loss or its gradient differs by more than 1e-9."""
    given = inputs[0].requires_grad_()
    out = m(given, *inputs[1:])
    out.sum().backward()
    wanted, z = out.detach().numpy(), same.outputs(given.detach().numpy())
    columns, slope = z.shape[-1], same.outputs(given.grad.numpy())
    z = z if same.further is None else np.concatenate([z, same.further], axis=-1)
    L, dz = same.loss.value_and_gradient(z, same.t)
    each = same.loss.rows(z, same.t, each=same.each) + same.offset
    if m.reduction in ("none", "sum"):  # L is their sum over how much counts
        ours = np.reshape(each, wanted.shape) if m.reduction == "none" else each.sum()
        factor = each.size if same.each == "number" else each.sum() / L
    else:
        ours, factor = same.factor * L + np.mean(same.offset), same.factor
    close([ours, factor * dz[..., :columns]], [wanted, slope], 1e-9, 1e-9)
