"""The scaling of a column of numbers, from its statistics: its mean and deviation, logarithm and bins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backends.order import exact_sum
from ..formula.elementary import log1p_64
from .columns import NumberColumn
from .columns.number import BINS
from .sketch import RowSample

Array = np.ndarray[Any, Any]
SKEWED = 1.0  # skewness; above it a column without numbers below 0 is seen through a logarithm
FEWEST = 50  # numbers of a column; of fewer the quantiles are chance
FEW = 3  # different numbers; of fewer a bin is the number itself


def number_column(name: str, mean: float, scale: float, missing: bool, sample: RowSample) -> NumberColumn:
    """The column of numbers that has this mean and scale, and this sample of its rows.

    >>> sample = RowSample(values=np.arange(100.0) ** 3)
    >>> column = number_column("price", 0.0, 1.0, False, sample)
    >>> column.log, [round(b) for b in column.edges]
    (125000.0, [0, 1728, 15625, 50653, 125000, 238328, 405224, 658503, 970299])
    """
    x = sample.values
    log = _log(sample)
    if log:
        z = log1p_64(x / log)
        mean = exact_sum(z) / len(z)
        scale = math.sqrt(exact_sum((z - mean) * (z - mean)) / len(z)) or 1.0
    return NumberColumn(name, mean, scale, missing, log, _edges(x, log))


def _log(sample: RowSample) -> float:
    """s of z = log1p(x / s): the median of the numbers above 0 of a skewed column; 0 for any other column."""
    x = sample.values
    if len(x) < FEWEST or x.min() < 0 or not sample.skewness > SKEWED:
        return 0.0
    s = float(np.median(x[x > 0]))
    return s if math.isfinite(x.max() / s) else 0.0


def _edges(x: Array, log: float) -> tuple[float, ...]:
    """Quantiles that divide x (n,) into up to BINS bins, equal ones merged; none where there are few numbers."""
    if len(x) < FEWEST or len(np.unique(x)) < FEW:
        return ()
    edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1), method="nearest"))
    if log:
        edges = edges[np.r_[True, np.diff(log1p_64(edges / log)) > 0]]
    return tuple(float(b) for b in edges) if len(edges) > 2 else ()
