"""R², the share of the targets' variance that the outputs explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import EXACT, ORDINARY, EpochMetric, HostNumbers


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
    by_mask = True
    by_position = True
    exact = True

    def result(
        self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
    ) -> float:
        """(1), (2), and the mean over the outputs"""
        return self._score(outputs, targets, weights, ORDINARY)

    def exact_result(
        self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
    ) -> float:
        """The same, by exact sums"""
        return self._score(outputs, targets, weights, EXACT)

    def _score(self, outputs: Any, targets: Any, weights: Any, by: HostNumbers) -> float:
        if len(weights) < 2:
            return float("nan")
        w, of = weights[:, None], by.total(weights)
        if weights.ndim > 1:  # of positions, as many numbers each
            w = np.broadcast_to(weights[..., None], outputs.shape).reshape(len(weights), -1)
            counts = by.total(w, 0) > 0
            outputs, targets = (a.reshape(w.shape)[:, counts] for a in (outputs, targets))
            w, of = w[:, counts], by.total(w[:, counts], 0)
        z, t = outputs.reshape(len(weights), -1), targets.reshape(len(weights), -1)
        mean = by.total(w * t, 0) / of  # (1)
        residual, total = (by.total(w * np.square(e), 0) for e in (t - z, t - mean))
        varies = total != 0
        of_equal = np.where(np.isnan(residual), residual, residual != 0)  # of targets that are all equal
        share = np.divide(residual, total, out=of_equal, where=varies)
        return float(by.total(1.0 - share) / len(share))  # (2)
