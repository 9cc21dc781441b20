"""Survey: statistics of a column in one pass, as numbers, dates and categories, before its kind is known.

Levels are counted in bounded memory: where there are more than LEVELS different ones, or they have more than HELD
characters together, the rarer half is forgotten.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import values
from .date_survey import DateSurvey
from .number_survey import NumberSurvey
from .readings import Moments
from .text_survey import LONG, TRIED, TextSurvey

LEVELS = 20_000  # different ones, counted at once
HELD = 50_000_000  # characters of them
FEW_DIFFERENT = 0.1  # of the values: a column of so few different ones is a category, and its words are not counted
MAYBE_CODES = 2_000  # different whole numbers in a batch; of more they are not counted before one begins with 0
LARGEST_EXACT = 2.0**53  # up to it float64 holds every whole number


@dataclass
class Levels:
    """How often each text occurs.

    forgotten: whether some were, and their counts with them. unique: whether most rows had their own when that began.

    >>> import pyarrow
    >>> levels = Levels()
    >>> levels.add(pyarrow.array(["a", "b", "a", None]))
    True
    >>> levels.ordered()
    [('a', 2), ('b', 1)]
    """

    counts: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    rows: int = 0
    forgotten: bool = False
    unique: bool = False
    held: int = 0  # characters of all levels

    def add(self, text: Any, most: int = 0) -> bool:
        """Add an Arrow array of strings; returns whether all are counted.

        most: of more different ones in the array, if it is not 0, only some are counted.
        """
        from pyarrow import compute

        counted = compute.value_counts(text.drop_null())
        if 0 < most < len(counted):
            self.rows += len(text) - text.null_count
            self.unique, self.forgotten = len(counted) > 0.5 * self.rows, True
            self.counts.update(counted.field(0)[: most // 2].to_pylist())
            return False
        for level, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
            self.held += 0 if level in self.counts else len(level)
            self.counts[level] += count
            self.rows += count
            self.characters += len(level) * count
        if len(self.counts) > LEVELS or self.held > HELD:
            if not self.forgotten:
                self.unique = len(self.counts) > 0.5 * self.rows
            self.forgotten = True
            self.counts = Counter(dict(self.ordered()[: min(LEVELS, len(self.counts)) // 2]))
            self.held = sum(map(len, self.counts))
        return True

    def ordered(self) -> list[tuple[str, int]]:
        """(text, count), the most frequent first, equally frequent ones in alphabetical order."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))


class Survey:
    """The statistics of a column after the batches so far.

    counting: count levels whatever the column looks like, because it is the target, or was called a category. enough:
    of more levels than can be counted it is enough to know that. text: whether the column was called text. decimal,
    thousands, dates: as `fit` takes them.

    >>> import pyarrow
    >>> survey = Survey("rooms")
    >>> survey.add(pyarrow.array(["3", "4", "NA"]), first=0)
    >>> survey.rows, survey.missing, survey.numbers.best.moments.mean
    (3, 1, 3.5)
    """

    def __init__(
        self,
        name: str,
        counting: bool = False,
        enough: bool = False,
        *,
        text: bool = False,
        decimal: str | None = None,
        thousands: str | None = None,
        dates: str | None = None,
    ) -> None:
        self.name, self.counting, self.enough = name, counting, enough
        self.rows = self.missing = 0
        self.kind = ""  # by its type, see `values.kind_of`; "" for a type that is of no use
        self.type = ""
        self.levels = Levels()
        self.numbers, self.dates = NumberSurvey(decimal, thousands), DateSurvey(dates)
        self.counted = 0  # rows whose levels were counted
        self.huge = HugeNumbers()
        self.words = TextSurvey(text)
        self.words.given_up = counting and not text

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
        fits = False
        text = values.written(array) if self.kind == "text" else None
        if self.kind in ("date", "time", "duration"):
            nothing = array.null_count
            fits = self.dates.add_typed(self.kind, array, first, rows)
        elif text is None:
            found = values.numbers(array)
            nothing = int((np.isnan(found.values) & ~found.bad).sum())
            fits = self.numbers.add_typed(found, array, first, rows)
        else:
            nothing = text.null_count
            fits = self.numbers.add(text, first, rows) or self.dates.add(text, first, rows)
        number = self.numbers.best
        if fits and number.whole and number.moments.count:
            self.dates.add_digits(array if text is None else text, first, rows)
            self.huge.add(array if text is None else text, number.moments)
        elif nothing < len(array):
            self.dates.compact.given_up = True
        self.missing += nothing
        if not fits or self.words.asked:
            self.words.add(values.texts(array) if text is None else text)
        if self._counts(fits):
            may_be_codes = fits and not self.counting and self.numbers.code is None
            if self.levels.add(values.texts(array), LEVELS if self.enough else MAYBE_CODES if may_be_codes else 0):
                self.counted += len(array) - nothing
        if self.words.texts >= TRIED and not self.levels.forgotten:
            few = len(self.levels.counts) < FEW_DIFFERENT * self.levels.rows
            self.words.give_up(few and self.levels.characters < LONG * self.levels.rows)

    def _counts(self, fits: bool) -> bool:
        """Whether the levels of this batch are needed: of what may be a category, or a code."""
        if self.counting:
            return not (self.enough and self.levels.forgotten)
        if self.kind in ("number", "date", "time", "duration"):
            return False
        if fits and self.numbers.all_plain and self.numbers.code is None:
            return self.numbers.best.whole and self.kind == "text" and not self.levels.forgotten
        return not fits or self.numbers.code is not None


@dataclass
class HugeNumbers:
    """Whether whole numbers differ that float64 can't tell apart, as those from 2**53 on.

    >>> import pyarrow
    >>> huge = HugeNumbers()
    >>> huge.add(pyarrow.array([2**62, 2**62 + 1]), Moments(low=2.0**62, high=2.0**62))
    >>> huge.differ
    True
    """

    first: Any = None
    differ: bool = False

    def add(self, array: Any, moments: Moments) -> None:
        """Add a batch, an Arrow array of numbers or texts. moments: of all numbers so far."""
        from pyarrow import compute

        if self.differ or max(abs(moments.low), abs(moments.high)) < LARGEST_EXACT:
            return
        ends = compute.min_max(values.decoded(array))
        low, high = ends["min"].as_py(), ends["max"].as_py()
        self.first = low if self.first is None else self.first
        self.differ = low is not None and not low == high == self.first
