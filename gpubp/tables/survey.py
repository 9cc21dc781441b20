"""Survey: statistics of a column in one pass, as numbers, dates and categories, before its kind is known.

Numbers are gathered by Chan, Golub and LeVeque's merging of means and sums of squares (Updating formulae and a pairwise
algorithm for computing sample variances, 1979), batch after batch:

    (1)  δ = m_b - m_a        n = n_a + n_b
    (2)  m = m_a + δ n_b / n
    (3)  S = S_a + S_b + δ² n_a n_b / n          S = Σ (x - m)², the variance is S / n

Levels are counted in bounded memory: where there are more than LEVELS different ones, the rarer half is forgotten.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import values
from .sketch import RowSample
from .values import Values

LEVELS = 20_000  # different ones, counted at once
FEW_WRONG = 0.05  # of the values of a column: then they are mistakes, and no sign of another kind
FEW_TEXTS = 3  # different ones: so many may be somebody's way of writing that nothing is known
TRIED = 1000  # values; of so many, not few were wrong: the column is no such column


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
            mean = float(x.mean())
            squares = float(np.square(x - mean).sum())
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
class Levels:
    """How often each text occurs.

    forgotten: whether some were, and their counts with them. unique: whether most rows had their own when that began.

    >>> import pyarrow
    >>> levels = Levels()
    >>> levels.add(pyarrow.array(["a", "b", "a", None]))
    >>> levels.ordered()
    [('a', 2), ('b', 1)]
    """

    counts: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    rows: int = 0
    forgotten: bool = False
    unique: bool = False

    def add(self, text: Any) -> None:
        """Add an Arrow array of strings."""
        from pyarrow import compute

        counted = compute.value_counts(text.drop_null())
        for level, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
            self.counts[level] += count
            self.rows += count
            self.characters += len(level) * count
        if len(self.counts) > LEVELS:
            if not self.forgotten:
                self.unique = len(self.counts) > 0.5 * self.rows
            self.forgotten = True
            self.counts = Counter(dict(self.ordered()[: LEVELS // 2]))

    def ordered(self) -> list[tuple[str, int]]:
        """(text, count), the most frequent first, equally frequent ones in alphabetical order."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))


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
        x = found.values[~np.isnan(found.values)]
        wrong = int(found.bad.sum())
        if wrong and self.first_wrong is None:
            at = int(found.bad.argmax())
            self.first_wrong = (first + (at if rows is None else int(rows[at])), values.shown(text, at))
        self.wrong += wrong
        if wrong and len(self.wrong_texts) <= FEW_TEXTS:
            self.wrong_texts |= {values.shown(text, int(i)) for i in np.flatnonzero(found.bad)[:TRIED]}
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


class Survey:
    """The statistics of a column after the batches so far.

    counting: count levels whatever the column looks like, because it is the target, or was called a category. enough:
    of more levels than can be counted it is enough to know that.

    >>> import pyarrow
    >>> survey = Survey("rooms")
    >>> survey.add(pyarrow.array(["3", "4", "NA"]), first=0)
    >>> survey.rows, survey.missing, survey.numbers.moments.mean
    (3, 1, 3.5)
    """

    def __init__(self, name: str, counting: bool = False, enough: bool = False) -> None:
        self.name, self.counting, self.enough = name, counting, enough
        self.rows = self.missing = 0
        self.kind = ""  # by its type, see `values.kind_of`; "" for a type that is of no use
        self.type = ""
        self.levels = Levels()
        self.numbers, self.moments = Reading(), Reading()
        self.counted = 0  # rows whose levels were counted

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    def add(self, array: Any, first: int, rows: np.ndarray[Any, Any] | None = None) -> None:
        """Add a batch, an Arrow array whose first row is number `first`; or its rows are `first + rows`."""
        self.kind, self.type = values.kind_of(array.type), str(array.type)
        self.rows += len(array)
        if self.kind == "":
            return
        counting = self.counting and not (self.enough and self.levels.forgotten)
        text = values.texts(array) if counting or self.kind not in ("number", "date") else None
        fits = False
        nothing = array.null_count if text is None else text.null_count
        if not self.numbers.given_up:
            found = values.numbers(array, text)
            nothing = int((np.isnan(found.values) & ~found.bad).sum())
            fits = self.numbers.add(found, array if text is None else text, first, rows)
        if not fits and not self.moments.given_up and self.kind in ("date", "text"):
            fits = self.moments.add(values.moments(array, text), array if text is None else text, first, rows)
        self.missing += nothing
        if text is not None and (not fits or counting):
            self.levels.add(text)
            self.counted += len(array) - nothing
