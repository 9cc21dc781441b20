"""Reading: statistics of a column read as numbers, or as times, in one pass.

Numbers are gathered by Chan, Golub and LeVeque's merging of means and sums of squares (Updating formulae and a pairwise
algorithm for computing sample variances, 1979), batch after batch:

    (1)  δ = m_b - m_a        n = n_a + n_b
    (2)  m = m_a + δ n_b / n
    (3)  S = S_a + S_b + δ² n_a n_b / n          S = Σ (x - m)², the variance is S / n
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends.order import exact_sum
from ..errors import DataError
from . import values
from .sketch import RowSample
from .values import Values

FEW_WRONG = 0.05  # of the values of a column: then they are mistakes, and no sign of another kind
FEW_TEXTS = 3  # different ones: so many may be somebody's way of writing that nothing is known
KEPT_TEXTS = 12  # different ones that do not fit, for messages
TRIED = 1000  # values; of so many, not few were wrong: the column is no such column
SAMPLE = TRIED + TRIED // 4  # values of a batch that are looked at before the others, so that most readings end early


@dataclass
class Moments:
    """Count, mean, sum of squares, minimum and maximum of the numbers so far.

    >>> m = Moments()
    >>> m.add(np.array([1.0, 2.0])); m.add(np.array([6.0, 7.0]))
    >>> m.count, m.mean, m.variance
    (4, 4.0, 6.5)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, x: np.ndarray[Any, Any]) -> None:
        """Add x (n,), finite."""
        if not len(x):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near 1e200 have squares that no float64 holds
            mean = exact_sum(x) / len(x)
            squares = exact_sum(np.square(x - mean))
            delta, n = mean - self.mean, self.count + len(x)  # (1)
            self.mean += delta * len(x) / n  # (2)
            self.squares += squares + delta * delta * self.count * len(x) / n  # (3)
        self.count = n
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    @property
    def variance(self) -> float:
        """S / n, and 0 of no numbers."""
        return self.squares / self.count if self.count else 0.0

    @property
    def scale(self) -> float:
        """The standard deviation, 1 where all numbers are the same."""
        if self.count == 0 or self.low == self.high:
            return 1.0
        return math.sqrt(self.variance) or 1.0


@dataclass
class Reading:
    """A column read as numbers, or as times: the values that fit, and the count and first of those that do not."""

    moments: Moments = field(default_factory=Moments)
    sample: RowSample = field(default_factory=RowSample)
    wrong: int = 0
    first_wrong: tuple[int, str] | None = None
    wrong_texts: set[str] = field(default_factory=set)  # some of them
    given_up: bool = False
    whole: bool = True  # every number is whole
    rising: bool = True  # every number is higher than the one before it
    by_one: bool = True  # and by one a row, from the first row to the last
    in_the_day: bool = False  # a moment that is not midnight
    _last: float = math.nan
    _offset: float = math.nan

    def add(self, found: Values, text: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> bool:
        """Add a batch, as Survey.add does; returns whether all of it fits."""
        import pyarrow

        x = found.values[~np.isnan(found.values)]
        wrong = int(found.bad.sum())
        if wrong and self.first_wrong is None:
            at = int(found.bad.argmax())
            self.first_wrong = (first + (at if rows is None else int(rows[at])), values.shown(text, at))
        self.wrong += wrong
        if wrong and len(self.wrong_texts) <= KEPT_TEXTS:
            some = text.filter(pyarrow.array(found.bad))[:TRIED].unique()[:KEPT_TEXTS]
            self.wrong_texts |= {values.shown(some, i) for i in range(len(some))}
        self.moments.add(x)
        if len(x):
            with np.errstate(over="ignore", invalid="ignore"):
                steps = np.diff(x, prepend=self._last if self._last == self._last else x[0] - 1)
            numbers = first + (np.arange(len(found.values)) if rows is None else rows)
            numbers = numbers[~np.isnan(found.values)]
            self.sample.add(x, numbers)
            offsets = x - numbers
            self._offset = offsets[0] if self._offset != self._offset else self._offset
            self.whole = self.whole and bool((np.floor(x) == x).all())
            self.rising = self.rising and bool((steps > 0).all())
            self.by_one = self.by_one and bool((offsets == self._offset).all())
            self.in_the_day = self.in_the_day or bool((x % 86400 != 0).any())
            self._last = float(x[-1])
        if self.wrong > TRIED and not self.few_wrong:
            self.given_up = True
        return not wrong

    @property
    def few_wrong(self) -> bool:
        """Whether so few values are wrong that they are mistakes."""
        return self.wrong <= FEW_WRONG * (self.moments.count + self.wrong)


def spread(name: str, reading: Reading) -> tuple[float, float]:
    """Mean and standard deviation of a column of numbers. Raises DataError where they are not finite.

    >>> spread("rooms", Reading())
    (0.0, 1.0)
    """
    moments = reading.moments
    if not math.isfinite(moments.mean) or not math.isfinite(moments.scale):
        raise DataError(f"{name} holds numbers from {moments.low:g} to {moments.high:g}, which no network can take")
    return moments.mean, moments.scale
