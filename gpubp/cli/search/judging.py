"""The score of a trial, losses and metrics row by row, and the gain of one network over another on the same rows.

    v_i, w_i             the metric on row i of n rows, of the one network and of the other
    d_i = w_i - v_i      for a loss or an error; v_i - w_i where higher is better
    (1)  d̄ = Σ d_i / n   the gain
    (2)  s² = Σ (d_i - d̄)² / (n - 1)
    (3)  d̄ ± t s / √n    holds the gain on all such rows with a probability of about 95%

t is the 97.5% quantile of Student's distribution with n - 1 degrees of freedom. Both networks answer the same rows, so
that what makes rows easy or hard for both cancels. Source of (3): Student, "The probable error of a mean", Biometrika 6
(1908). It needs rows that were chosen by chance, and of which no trial was judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ...backends import as_numpy
from ..task import Task

Array = np.ndarray[Any, Any]
METRICS = {"loss": "loss", "accuracy": "accuracy", "mse": "mean_squared_error", "mae": "mean_absolute_error"}
QUANTILE = 1.959963984540054  # of the normal distribution, 97.5%


def check_metric(metric: str, task: Task) -> None:
    """Raise UsageError for a metric that does not suit the task."""
    if (metric == "accuracy") if task.kind == "numbers" else (metric in ("mse", "mae")):
        others = "loss, mse or mae" if task.kind == "numbers" else "loss or accuracy"
        raise click.UsageError(f"--metric {metric} does not go with {task.describe()}: give {others}")


def rises(metric: str) -> bool:
    """Whether higher is better."""
    return metric == "accuracy"


def by_row(task: Task, metric: str, z: Array, y: Array) -> Array:
    """The metric on each row, (n,), whose mean is that of `evaluate_model`, for outputs z (n, outputs) and targets y.

    >>> from gpubp.losses import MeanSquaredError
    >>> by_row(Task(MeanSquaredError(), 1), "mae", np.array([[1.0], [2.0]]), np.array([3.0, 2.5])).tolist()
    [2.0, 0.5]
    """
    z = np.asarray(as_numpy(z), np.float64).reshape(len(y), -1)
    y = np.asarray(y)
    if metric == "accuracy":
        if task.kind == "classes":
            truth = y if y.ndim == 1 else y.argmax(axis=1)
            return np.asarray(z.argmax(axis=1) == truth, np.float64)
        return np.asarray(((z > 0) == (y.reshape(z.shape) > 0.5)).mean(axis=1))
    if metric in ("mse", "mae"):
        off = task.unit * (z - y.reshape(z.shape))
        return np.asarray((off**2 if metric == "mse" else np.abs(off)).mean(axis=1))
    return task.without_smoothing().loss.rows(z, y)


@dataclass(frozen=True)
class Gain:
    """What one network gains over another: (1), and the ends of (3), on `rows` rows. best, other: their metrics.

    >>> found = Gain.of(np.array([1.0, 2.0, 3.0, 2.0]), np.array([3.0, 4.0, 6.0, 3.0]), higher=False)
    >>> found.gain, found.sure
    (2.0, True)
    """

    gain: float
    low: float
    high: float
    best: float
    other: float
    rows: int

    @classmethod
    def of(cls, best: Array, other: Array, higher: bool) -> Gain:
        """The gain by the metric row by row, (n,) of each network. higher: whether a higher metric is better."""
        d = best - other if higher else other - best
        n = len(d)
        mean = float(d.mean())
        half = math.inf
        if n > 1:
            half = student(n - 1) * float(d.std(ddof=1)) / math.sqrt(n)  # (3)
        return cls(mean, mean - half, mean + half, float(best.mean()), float(other.mean()), n)

    @property
    def sure(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def share(self) -> float:
        """The gain as a share of the other's metric; not a number where that is 0."""
        return self.gain / abs(self.other) if self.other else math.nan


def student(freedom: int) -> float:
    """The 97.5% quantile of Student's distribution, from 4 degrees of freedom on to about 0.3%.

    By its expansion in powers of 1 / freedom: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5.

    >>> round(student(9), 3), round(student(1000), 3)
    (2.262, 1.962)
    """
    z = QUANTILE
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**k for k, term in enumerate(terms, 1))
