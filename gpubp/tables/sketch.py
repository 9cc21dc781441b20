"""RowSample: a random sample of a column's numbers in bounded memory, for quantiles, median and skewness.

Bottom-k sampling (Cohen and Kaplan, Summarizing data using bottom-k sketches, 2007): row i gets a uniform number uᵢ,
and the k rows with the smallest are kept. These are a simple random sample without replacement. uᵢ depends on i alone,
so the sample is the same however the rows are divided into batches. Of up to k rows it holds all, and is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends.order import exact_sum
from ..backends.philox import fill_uniform

Array = np.ndarray[Any, Any]
KEPT = 4096  # numbers of a column: the error of a quantile is about 0.8% of the rows, or less
SAMPLE = (0, 0x5A3B1E)  # the key of the draws


def row_draws(first: int, rows: int, key: tuple[int, int]) -> Array:
    """A uniform number from 0 to below 1 for each of the rows first, first + 1, ..., (rows,), by row number and key.

    >>> row_draws(0, 8, (0, 1)).tolist() == [*row_draws(0, 3, (0, 1)), *row_draws(3, 5, (0, 1))]
    True
    """
    begin = first // 8 * 8  # `fill_uniform` draws eight at a time
    drawn = np.empty(first + rows - begin)
    fill_uniform(drawn, key, np.zeros(1, np.uint64), begin)
    return drawn[first - begin :]


@dataclass
class RowSample:
    """Up to `size` of the numbers added so far, drawn by row number.

    >>> sample = RowSample()
    >>> sample.add(np.array([5.0, 1.0, 9.0]), np.array([0, 2, 3]))
    >>> sample.values.tolist(), float(np.median(sample.values))
    ([5.0, 1.0, 9.0], 5.0)
    """

    size: int = KEPT
    values: Array = field(default_factory=lambda: np.empty(0))
    _rows: Array = field(default_factory=lambda: np.empty(0, np.int64))
    _drawn: Array = field(default_factory=lambda: np.empty(0))

    def add(self, x: Array, rows: Array) -> None:
        """Add x (n,), which stand in the rows of the numbers `rows` (n,), rising."""
        if not len(x):
            return
        first = int(rows[0])
        drawn = row_draws(first, int(rows[-1]) - first + 1, SAMPLE)[rows - first]
        if len(self.values) == self.size:  # of a large table nearly all rows end here
            may = drawn <= self._drawn.max()
            x, rows, drawn = x[may], rows[may], drawn[may]
        x, rows, drawn = (np.concatenate(pair) for pair in ((self.values, x), (self._rows, rows), (self._drawn, drawn)))
        if len(x) > self.size:
            kept = np.sort(np.lexsort((rows, drawn))[: self.size])  # of equal draws, the row that comes first
            x, rows, drawn = x[kept], rows[kept], drawn[kept]
        self.values, self._rows, self._drawn = x, rows, drawn

    @property
    def skewness(self) -> float:
        """The third moment of (x - μ) / σ; 0 of numbers that are all the same.

        >>> sample = RowSample(values=np.array([0.0, 0.0, 0.0, 4.0]))
        >>> round(sample.skewness, 4)
        1.1547
        """
        x = self.values
        largest = float(np.abs(x).max(initial=0.0))
        if largest == 0.0 or not math.isfinite(largest):
            return 0.0
        x = x / largest  # so that no power overflows
        x = x - exact_sum(x) / len(x)
        variance = exact_sum(x * x) / len(x)
        return exact_sum(x * x * x) / len(x) / (variance * math.sqrt(variance)) if variance > 1e-24 else 0.0
