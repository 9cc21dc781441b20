"""R², the share of the targets' variance that the outputs explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import EpochMetric


@dataclass(frozen=True, repr=False)
class R2(EpochMetric):
    """R² of each output, and their mean: as scikit-learn's `r2_score`.

        (1)  t̄ⱼ = Σᵢ wᵢ tᵢⱼ / Σ w      (2)  R²ⱼ = 1 - Σᵢ wᵢ (tᵢⱼ - zᵢⱼ)² / Σᵢ wᵢ (tᵢⱼ - t̄ⱼ)²

    over all rows of the epoch, in float64. An output whose targets are all equal has 1 if it meets them, else 0. With
    fewer than two rows the result is NaN.

    >>> R2().result(np.array([[1.0], [2.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]), np.ones(3))
    0.5
    """

    name = "r2"
    kinds = ("numbers",)
    higher_is_better = True

    def result(
        self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
    ) -> float:
        """(1), (2), and the mean over the outputs"""
        if len(weights) < 2:
            return float("nan")
        z, t, w = outputs.reshape(len(weights), -1), targets.reshape(len(weights), -1), weights[:, None]
        mean = (w * t).sum(axis=0) / w.sum()  # (1)
        residual, total = (w * (t - z) ** 2).sum(axis=0), (w * (t - mean) ** 2).sum(axis=0)
        varies = total != 0
        of_equal = np.where(np.isnan(residual), residual, residual != 0)  # of targets that are all equal
        share = np.divide(residual, total, out=of_equal, where=varies)
        return float((1.0 - share).mean())  # (2)
