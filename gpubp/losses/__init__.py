"""Losses: the weighted mean L = Σᵢ cᵢ ℓᵢ of the losses ℓᵢ of the rows, with cᵢ = wᵢ / Σ w.

z are the network's outputs, t the targets. A row's loss is the mean over its n outputs, ℓᵢ = (1/n) Σⱼ l(zᵢⱼ, tᵢⱼ), so

    (1) ∂L/∂zᵢⱼ = cᵢ (1/n) ∂l/∂z (zᵢⱼ, tᵢⱼ)

Row weights carry everything that makes rows unequal: sample weights, the trainer's class weights, and the weight 0 of
the rows that fill up the last batch. Losses of classes can also leave out positions, and weigh classes themselves, and
each position can have a weight (`positions.py`); then cᵢ = wᵢ / Σ w n, with n how much the positions of a row count.
Where the mathematics is better there, z are logits: the sigmoid or softmax is part of the loss.
"""

from .base import Loss, PointwiseLoss
from .binary import BinaryCrossEntropy
from .classification import SoftmaxCrossEntropy
from .focal import BinaryFocal, Focal
from .gaussian import GaussianNLL
from .margins import Hinge, HingeEmbedding, SoftMargin, SquaredHinge
from .margins_of_classes import CategoricalHinge, MultiMargin
from .outputs import answers_in, numbers_told, outputs_are, told_outputs, usual_outputs
from .probabilities import (
    BinaryCrossEntropyOfProbabilities,
    CrossEntropyOfProbabilities,
    KLDivergence,
    NegativeLogLikelihood,
)
from .quantiles import Quantile
from .regression import HalfMeanSquaredError, Huber, LogCosh, MeanAbsoluteError, MeanSquaredError, Poisson
from .relative import MeanAbsolutePercentageError, MeanSquaredLogarithmicError
from .similarity import CosineSimilarity

__all__ = [
    "BinaryCrossEntropy", "BinaryCrossEntropyOfProbabilities", "BinaryFocal", "CategoricalHinge", "CosineSimilarity",
    "CrossEntropyOfProbabilities", "Focal", "GaussianNLL", "HalfMeanSquaredError", "Hinge", "HingeEmbedding", "Huber",
    "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "MultiMargin", "NegativeLogLikelihood", "PointwiseLoss", "Poisson", "Quantile",
    "SoftMargin", "SoftmaxCrossEntropy", "SquaredHinge", "answers_in", "numbers_told", "outputs_are", "told_outputs",
    "usual_outputs",
]  # fmt: skip
