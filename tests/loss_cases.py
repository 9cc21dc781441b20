"""The losses on which every property test runs; see `cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp as bp

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LossCase:
    """A loss on outputs of one shape.

    shape: of the outputs z, batch first. targets: (rng, shape) -> y as a user gives it. torch: (torch, z, t) -> the
    losses of single numbers, rows or positions; their mean over a row is the row's. None also where rows count
    unequally: `tests/test_counted_losses.py` compares those. last: what stands between a Dense and a loss that can't
    take every number; torch then takes its inputs.
    """

    id: str
    loss: bp.Loss
    shape: Shape
    targets: Callable[[np.random.Generator, Shape], np.ndarray]
    torch: Callable[[Any, Any, Any], Any] | None = None
    last: bp.Layer | None = None

    def layers(self) -> bp.Layer:
        """A network's layers whose outputs the loss can take."""
        dense = bp.Dense(self.shape[-1])
        return dense if self.last is None else bp.Sequential(dense, self.last)

    def __str__(self) -> str:
        return self.id


def numbers(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Any numbers."""
    return rng.normal(size=shape)


def yes_or_no(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """0 and 1."""
    return rng.integers(0, 2, shape)


def unknown(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """0 and 1, and -100 at a third of the outputs."""
    return np.where(rng.uniform(size=shape) < 1 / 3, -100, yes_or_no(rng, shape))


def shares(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Numbers from 0 to 1."""
    return rng.uniform(size=shape)


def classes(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Class indices, the last axis being one output a class."""
    return rng.integers(0, shape[-1], shape[:-1])


def padded(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Class indices, and -100 at a third of the positions."""
    return np.where(rng.uniform(size=shape[:-1]) < 1 / 3, -100, classes(rng, shape))


def distributions(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Rows that sum to 1."""
    p = rng.uniform(size=shape)
    return p / p.sum(axis=-1, keepdims=True)


def some_left_out(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Rows that sum to 1, and one that sums to 0."""
    return distributions(rng, shape) * (np.arange(shape[0]) != 2)[:, None]


def one_hot(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Rows with a single 1."""
    return np.eye(shape[-1])[classes(rng, shape)]


def signs(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """-1 and 1."""
    return 2 * yes_or_no(rng, shape) - 1


def half(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Any numbers, one for two outputs."""
    return rng.normal(size=(*shape[:-1], shape[-1] // 2))


def counts(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.poisson(1.5, size=shape)


LOSSES = [
    LossCase("MSE", bp.MeanSquaredError(), (6, 3), numbers, lambda torch, z, t: (z - t) ** 2),
    LossCase("MSE-one-output", bp.MeanSquaredError(), (6, 1), numbers, lambda torch, z, t: (z - t) ** 2),
    LossCase("MSE-more-axes", bp.MeanSquaredError(), (4, 2, 3), numbers, lambda torch, z, t: (z - t) ** 2),
    LossCase("HalfMSE", bp.HalfMeanSquaredError(), (6, 3), numbers, lambda torch, z, t: 0.5 * (z - t) ** 2),
    LossCase("MAE", bp.MeanAbsoluteError(), (6, 3), numbers, lambda torch, z, t: (z - t).abs()),
    LossCase(
        "Huber",
        bp.Huber(0.7),
        (6, 3),
        numbers,
        lambda torch, z, t: torch.nn.functional.huber_loss(z, t, reduction="none", delta=0.7),
    ),
    LossCase(
        "Poisson",
        bp.Poisson(),
        (6, 3),
        counts,
        lambda torch, z, t: torch.nn.functional.poisson_nll_loss(z, t, reduction="none") + torch.xlogy(t, t) - t,
    ),
    LossCase(
        "BCE",
        bp.BinaryCrossEntropy(),
        (6, 1),
        yes_or_no,
        lambda torch, z, t: torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none"),
    ),
    LossCase(
        "BCE-multi-label",
        bp.BinaryCrossEntropy(),
        (6, 4),
        shares,
        lambda torch, z, t: torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none"),
    ),
    LossCase(
        "BCE-pos-weight",
        bp.BinaryCrossEntropy(pos_weight=3.5),
        (6, 2),
        shares,
        lambda torch, z, t: torch.nn.functional.binary_cross_entropy_with_logits(
            z, t, reduction="none", pos_weight=torch.tensor(3.5)
        ),
    ),
    LossCase(
        "BCE-weights",
        bp.BinaryCrossEntropy(pos_weight=(0.5, 1.0, 4.0), weight=(2.0, 0.0, 0.75)),
        (4, 2, 3),
        yes_or_no,
        lambda torch, z, t: torch.nn.functional.binary_cross_entropy_with_logits(
            z, t, torch.tensor([2.0, 0.0, 0.75]), reduction="none", pos_weight=torch.tensor([0.5, 1.0, 4.0])
        ),
    ),
    LossCase("BCE-ignored", bp.BinaryCrossEntropy(weight=1.5, ignore_index=-100), (4, 2, 3), unknown),
    LossCase(
        "CE",
        bp.SoftmaxCrossEntropy(),
        (6, 5),
        classes,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t.long(), reduction="none"),
    ),
    LossCase(
        "CE-one-hot",
        bp.SoftmaxCrossEntropy(),
        (6, 5),
        one_hot,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t, reduction="none"),
    ),
    LossCase(
        "CE-distributions",
        bp.SoftmaxCrossEntropy(),
        (6, 5),
        some_left_out,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t, reduction="none"),
    ),
    LossCase(
        "CE-smoothing",
        bp.SoftmaxCrossEntropy(label_smoothing=0.1),
        (6, 5),
        classes,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t.long(), reduction="none", label_smoothing=0.1),
    ),
    LossCase(
        "CE-one-hot-smoothing",
        bp.SoftmaxCrossEntropy(label_smoothing=0.1),
        (6, 5),
        one_hot,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t, reduction="none", label_smoothing=0.1),
    ),
    LossCase(
        "CE-positions",
        bp.SoftmaxCrossEntropy(),
        (4, 3, 5),
        classes,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z.movedim(-1, 1), t.long(), reduction="none"),
    ),
    LossCase(
        "CE-positions-smoothing",
        bp.SoftmaxCrossEntropy(label_smoothing=0.2),
        (4, 3, 5),
        distributions,
        lambda torch, z, t: torch.nn.functional.cross_entropy(
            z.movedim(-1, 1), t.movedim(-1, 1), reduction="none", label_smoothing=0.2
        ),
    ),
    LossCase("CE-ignored", bp.SoftmaxCrossEntropy(ignore_index=-100), (6, 5), padded),
    LossCase("CE-ignored-class", bp.SoftmaxCrossEntropy(0.1, ignore_index=0), (4, 3, 5), classes),
    LossCase("CE-class-weights", bp.SoftmaxCrossEntropy(class_weight=(1.0, 0.5, 0.0, 2.0, 3.0)), (6, 5), classes),
    LossCase("CE-weighted-distributions", bp.SoftmaxCrossEntropy(0.2, class_weight={1: 3.0}), (6, 5), distributions),
    LossCase(
        "CE-ignored-weighted",
        bp.SoftmaxCrossEntropy(0.1, ignore_index=-100, class_weight={0: 2.0, 3: 0.25}),
        (4, 3, 5),
        padded,
    ),
    LossCase("LogCosh", bp.LogCosh(), (6, 3), numbers, lambda torch, z, t: torch.log(torch.cosh(z - t))),
    LossCase(
        "Quantiles",
        bp.Quantile((0.1, 0.5, 0.8)),
        (6, 3),
        lambda rng, shape: rng.normal(size=shape[:1]),
        lambda torch, z, t: torch.maximum(
            z.new_tensor([0.1, 0.5, 0.8]) * (t[:, None] - z),
            z.new_tensor([0.9, 0.5, 0.2]) * (z - t[:, None]),
        ),
    ),
    LossCase(
        "Poisson-means",
        bp.Poisson(log=False),
        (6, 3),
        counts,
        lambda torch, z, t: (
            torch.nn.functional.poisson_nll_loss(
                torch.nn.functional.softplus(z), t, log_input=False, eps=1e-8, reduction="none"
            )
            + torch.xlogy(t, t)
            - t
        ),
        last=bp.Softplus(),
    ),
    LossCase(
        "MAPE",
        bp.MeanAbsolutePercentageError(),
        (6, 3),
        numbers,
        lambda torch, z, t: 100 * (z - t).abs() / t.abs(),
    ),
    LossCase(
        "MSLE",
        bp.MeanSquaredLogarithmicError(),
        (6, 3),
        counts,
        lambda torch, z, t: (torch.log1p(z.clamp(min=0)) - torch.log1p(t)) ** 2,
    ),
    LossCase(
        "SoftMargin",
        bp.SoftMargin(),
        (6, 3),
        signs,
        lambda torch, z, t: torch.nn.functional.soft_margin_loss(z, t, reduction="none"),
    ),
    LossCase("Hinge", bp.Hinge(), (6, 1), signs, lambda torch, z, t: (1 - t * z).clamp(min=0)),
    LossCase(
        "SquaredHinge", bp.SquaredHinge(), (6, 3), yes_or_no, lambda torch, z, t: (1 - (2 * t - 1) * z).relu() ** 2
    ),
    LossCase(
        "HingeEmbedding",
        bp.HingeEmbedding(0.7),
        (6, 3),
        signs,
        lambda torch, z, t: torch.nn.functional.hinge_embedding_loss(z, t, margin=0.7, reduction="none"),
    ),
    LossCase(
        "BinaryFocal",
        bp.BinaryFocal(1.5, alpha=0.25),
        (6, 3),
        yes_or_no,
        lambda torch, z, t: (
            torch.where(t > 0.5, 0.25, 0.75)
            * torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
            * torch.sigmoid(-(2 * t - 1) * z) ** 1.5
        ),
    ),
    LossCase(
        "BCE-of-probabilities",
        bp.BinaryCrossEntropyOfProbabilities(),
        (6, 3),
        shares,
        lambda torch, z, t: torch.nn.functional.binary_cross_entropy(torch.sigmoid(z), t, reduction="none"),
        last=bp.Sigmoid(),
    ),
    LossCase(
        "NLL",
        bp.NegativeLogLikelihood(),
        (4, 2, 5),
        classes,
        lambda torch, z, t: torch.nn.functional.nll_loss(
            torch.log_softmax(z, -1).movedim(-1, 1), t.long(), reduction="none"
        ),
        last=bp.LogSoftmax(),
    ),
    LossCase(
        "NLL-ignored-weighted",
        bp.NegativeLogLikelihood(-100, {0: 2.0, 3: 0.25}),
        (6, 5),
        padded,
        last=bp.LogSoftmax(),
    ),
    LossCase(
        "CE-of-probabilities",
        bp.CrossEntropyOfProbabilities(),
        (6, 5),
        distributions,
        lambda torch, z, t: torch.nn.functional.cross_entropy(z, t, reduction="none"),
        last=bp.Softmax(),
    ),
    LossCase(
        "KL",
        bp.KLDivergence(),
        (4, 2, 5),
        distributions,
        lambda torch, z, t: torch.nn.functional.kl_div(torch.log_softmax(z, -1), t, reduction="none").sum(dim=-1),
        last=bp.LogSoftmax(),
    ),
    LossCase(
        "Focal",
        bp.Focal(1.5),
        (4, 2, 5),
        classes,
        lambda torch, z, t: (
            (1 - torch.softmax(z, -1).gather(-1, t.long()[..., None])[..., 0]) ** 1.5
            * torch.nn.functional.cross_entropy(z.movedim(-1, 1), t.long(), reduction="none")
        ),
    ),
    LossCase("Focal-ignored-weighted", bp.Focal(ignore_index=-100, class_weight={0: 2.0, 3: 0.25}), (6, 5), padded),
    LossCase(
        "CategoricalHinge",
        bp.CategoricalHinge(),
        (6, 5),
        one_hot,
        lambda torch, z, t: (1 + ((1 - t) * z).amax(dim=1) - (t * z).sum(dim=1)).clamp(min=0),
    ),
    LossCase(
        "MultiMargin",
        bp.MultiMargin(2, 0.8, class_weight=(1.0, 0.5, 0.0, 2.0, 3.0)),
        (6, 5),
        classes,
        lambda torch, z, t: torch.nn.functional.multi_margin_loss(
            z, t.long(), p=2, margin=0.8, weight=torch.tensor([1.0, 0.5, 0.0, 2.0, 3.0]).double(), reduction="none"
        ),
    ),
    LossCase(
        "Cosine",
        bp.CosineSimilarity(),
        (4, 2, 3),
        numbers,
        lambda torch, z, t: -torch.nn.functional.cosine_similarity(z, t, dim=-1),
    ),
    LossCase(
        "GaussianNLL",
        bp.GaussianNLL(full=True),
        (6, 4),
        half,
        lambda torch, z, t: torch.nn.functional.gaussian_nll_loss(
            z[:, :2], t, z[:, 2:].exp(), full=True, reduction="none"
        ).mean(dim=1),
    ),
]
