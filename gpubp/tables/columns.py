"""The kinds of columns, each with the formula that turns its values into numbers.

x is what stands in a row, μ and σ are mean and standard deviation in the rows that were learnt from:

    number, yes/no   (1) y = (x - μ) / σ         yes is 1 and no is 0; 0, the mean, where nothing stands
                     (2) ... and 1 where nothing stands, if that occurred in those rows
    category         (3) yₗ = [x is level l]     one number a level, one for the rare ones, one for nothing, or
                     (4) y = number of the level, which an Embedding turns into a vector (see `layers.columns`)
    date             (5) trend (t - μ) / σ; the sine and cosine of 2π times the part of the year, of the week and of the
                         day that has passed; all of them 0 where nothing stands, and (2)

(1) with the mean in place of what is missing, and not the median, because a mean can be had in one pass and in bounded
memory, and to a network that is told of it by (2) it is one number as good as another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Configurable
from . import values
from .files import CellError
from .values import Values

MOST_LEVELS = 1_000_000  # of a column in a model file
FAR = 1e9  # standard deviations; with numbers beyond it no network computes anything
DAY, YEAR = 86400.0, 365.2425 * 86400.0
PARTS = {"trend": 1, "year": 2, "week": 2, "day": 2}  # of a date, and how many numbers they become

Array = np.ndarray[Any, Any]


class Notes:
    """Unusual values of a table that are no errors, by column: how many, and the first.

    >>> notes = Notes()
    >>> notes.add("city", "levels it was not trained with", np.array([False, True]), 100, ["Rome", "Atlantis"])
    >>> notes.found
    {('city', 'levels it was not trained with'): [1, 101, 'Atlantis']}
    """

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list[Any]] = {}

    def add(self, column: str, what: str, where: Array, first: int, shown: Any = None) -> None:
        """Note `what` of `column` in the rows `where` (n,) bool, of which the first is row number `first`."""
        count = int(where.sum())
        if not count:
            return
        at = int(where.argmax())
        example = None if shown is None else str(shown[at])
        self.found.setdefault((column, what), [0, first + at, example])[0] += count


class Column(Configurable):
    """The description of a column, by which its values become numbers.

    name: as in the file. kind: in a word. width: of how many numbers in a row it becomes. embedded: whether it is one
    number of a word, for an Embedding of `vocabulary` words and `embed` numbers.

    >>> NumberColumn("rooms", 3.5, 0.5).width
    1
    """

    name: str
    kind: str
    embedded = False

    @property
    def width(self) -> int:
        """How many numbers of a row the column becomes."""
        raise NotImplementedError

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """out (n, width) ← the column `array`, of Arrow, whose first row is number `first`. Raises CellError."""
        raise NotImplementedError

    def describe(self) -> str:
        """A description in a few words."""
        raise NotImplementedError

    @property
    def outputs(self) -> list[str]:
        """The names of its numbers."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class NumberColumn(Column):
    """A column of numbers: (1) and, if `missing`, (2).

    >>> import pyarrow
    >>> column, out = NumberColumn("rooms", 4.0, 2.0, missing=True), np.zeros((3, 2))
    >>> column.fill(out, pyarrow.array([5, None, 4]), 0, Notes())
    >>> out.tolist()
    [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """

    name: str
    mean: float
    scale: float
    missing: bool = False

    kind = "number"

    def __post_init__(self) -> None:
        _named(self)
        _finite(self)

    @property
    def width(self) -> int:
        """One, and one more for missing values if there were any."""
        return 1 + self.missing

    @property
    def outputs(self) -> list[str]:
        """The name, and the name of the number that marks missing values."""
        return [self.name, *([f"{self.name} is missing"] if self.missing else [])]

    def describe(self) -> str:
        """The mean and the scale."""
        beside = "; missing: the mean, and a 1 beside it" if self.missing else ""
        return f"mean {self.mean:.4g}, standard deviation {self.scale:.4g}{beside}"

    def read(self, array: Any) -> Values:
        """The numbers."""
        return values.numbers(array)

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(1) and (2)"""
        found = self.read(array)
        _refuse(self.name, found.bad, array, first, _not_a[self.kind])
        with np.errstate(over="ignore"):
            y = (found.values - self.mean) / self.scale  # (1)
            _refuse(self.name, np.abs(y) > FAR, array, first, "which is far beyond the numbers learnt from")
        _missing(self.name, y, out, self.missing, first, notes)
        out[:, 0] = np.nan_to_num(y, copy=False)


@dataclass(frozen=True, repr=False)
class YesNoColumn(NumberColumn):
    """A column of yes and no: (1) and, if `missing`, (2), with yes as 1 and no as 0. mean: the share of yes.

    >>> YesNoColumn("garden", 0.5, 0.5).describe()
    'yes in 50% of the rows'
    """

    kind = "yes/no"

    def describe(self) -> str:
        """The share of yes."""
        beside = "; missing: the mean, and a 1 beside it" if self.missing else ""
        return f"yes in {self.mean:.0%} of the rows{beside}"

    def read(self, array: Any) -> Values:
        """1 and 0."""
        return values.truths(array)


@dataclass(frozen=True, repr=False)
class CategoryColumn(Column):
    """A column of categories: (3), or (4) if `embed`, the length of the vectors, is not 0.

    levels: the texts. other: whether rare ones were seen, which share a number. missing: whether it was missing. In (4)
    the word after the levels stands for all others, and the one after it for nothing.

    >>> import pyarrow
    >>> column, out = CategoryColumn("city", ("Rome", "Oslo")), np.zeros((3, 2))
    >>> column.fill(out, pyarrow.array(["Oslo", "Rome", "Atlantis"]), 0, Notes())
    >>> out.tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    """

    name: str
    levels: tuple[str, ...]
    other: bool = False
    missing: bool = False
    embed: int = 0

    kind = "category"

    def __post_init__(self) -> None:
        _named(self)
        levels = self.levels
        if not (isinstance(levels, tuple) and all(isinstance(level, str) for level in levels)):
            raise ValueError(f"the levels of {self.name} are a list of texts, and got {levels!r:.100}")
        if len(set(levels)) != len(levels) or len(levels) > MOST_LEVELS:
            raise ValueError(f"the {len(levels):,} levels of {self.name} are too many, or not all different")
        if not 0 <= self.embed <= 4096:
            raise ValueError(f"{self.name} can't be embedded in {self.embed} numbers")
        if not self.embed and not self.width:
            raise ValueError(f"{self.name} has no levels")

    @property
    def embedded(self) -> bool:  # type: ignore[override]
        """Whether an Embedding comes after it."""
        return self.embed > 0

    @property
    def vocabulary(self) -> int:
        """Words of the embedding."""
        return len(self.levels) + 2

    @property
    def width(self) -> int:
        """One a level, or a single one."""
        return 1 if self.embed else len(self.levels) + self.other + self.missing

    @property
    def outputs(self) -> list[str]:
        """The column and the level."""
        if self.embed:
            return [self.name]
        more = [*(["another"] if self.other else []), *(["missing"] if self.missing else [])]
        return [f"{self.name} = {level}" for level in self.levels] + [f"{self.name} is {what}" for what in more]

    def describe(self) -> str:
        """The levels, or how many."""
        shown = ", ".join(level if len(level) <= 20 else f"{level[:19]}…" for level in self.levels[:4])
        more = f", ... {len(self.levels)} levels" if len(self.levels) > 4 else ""
        rest = [*(["rare ones"] if self.other else []), *(["missing"] if self.missing else [])]
        beside = f"{'; and ' if shown else ''}{' and '.join(rest)}" if rest else ""
        return f"{shown}{more}{beside}{f'; embedded in {self.embed} numbers' if self.embed else ''}"

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(3) or (4)"""
        import pyarrow
        from pyarrow import compute

        if values.kind_of(array.type) == "":
            _refuse(self.name, np.ones(len(array), bool), array, first, f"of type {array.type}, which is no category")
        text = values.texts(array)
        at = compute.index_in(text, value_set=pyarrow.array(self.levels, pyarrow.string()))
        code = np.asarray(at.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        nothing = np.asarray(text.is_null().to_numpy(zero_copy_only=False), bool)
        unknown = (code < 0) & ~nothing
        notes.add(self.name, "rare or new" if self.other else "new", unknown, first, text)
        if not self.missing:
            notes.add(self.name, "missing", nothing, first)
        if self.embed:
            out[:, 0] = np.where(nothing, len(self.levels) + 1, np.where(unknown, len(self.levels), code))  # (4)
            return
        out[...] = 0
        known = np.flatnonzero(code >= 0)
        out[known, code[known]] = 1  # (3)
        if self.other:
            out[unknown, len(self.levels)] = 1
        if self.missing:
            out[nothing, -1] = 1


@dataclass(frozen=True, repr=False)
class DateColumn(Column):
    """A column of dates: (5). mean, scale: in seconds since the beginning of 1970. parts: of trend, year, week, day.

    >>> import pyarrow
    >>> column, out = DateColumn("sold", 0.0, 86400.0, ("trend", "day")), np.zeros((1, 3))
    >>> column.fill(out, pyarrow.array(["1970-01-02 06:00"]), 0, Notes())
    >>> np.abs(out).round(6).tolist()
    [[1.25, 1.0, 0.0]]
    """

    name: str
    mean: float
    scale: float
    parts: tuple[str, ...] = ("trend", "year", "week")
    missing: bool = False

    kind = "date"

    def __post_init__(self) -> None:
        _named(self)
        _finite(self)
        parts = self.parts
        if not isinstance(parts, tuple) or not parts or list(parts) != [p for p in PARTS if p in parts]:
            raise ValueError(f"the parts of {self.name} are some of {', '.join(PARTS)}, and got {parts!r:.100}")

    @property
    def width(self) -> int:
        """Of all parts."""
        return sum(PARTS[part] for part in self.parts) + self.missing

    @property
    def outputs(self) -> list[str]:
        """The name and the part."""
        waves = [f"{wave} of the {p}" for p in self.parts if p != "trend" for wave in ("sine", "cosine")]
        ends = [*(["trend"] if "trend" in self.parts else []), *waves, *(["is missing"] if self.missing else [])]
        return [f"{self.name} {end}" for end in ends]

    def describe(self) -> str:
        """From when, and which parts."""
        beside = "; missing: zeros, and a 1 beside them" if self.missing else ""
        return f"{' and '.join([', '.join(self.parts[:-1]), self.parts[-1]] if self.parts[1:] else self.parts)}{beside}"

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(5) and (2)"""
        found = values.moments(array)
        _refuse(self.name, found.bad, array, first, _not_a["date"])
        t, column = found.values, 0
        for part in self.parts:
            if part == "trend":
                with np.errstate(over="ignore"):
                    y = (t - self.mean) / self.scale
                _refuse(self.name, np.abs(y) > FAR, array, first, "which is far beyond the dates learnt from")
                out[:, column] = np.nan_to_num(y)
            else:
                angle = 2 * math.pi * _PASSED[part](t)
                out[:, column], out[:, column + 1] = np.nan_to_num(np.sin(angle)), np.nan_to_num(np.cos(angle))
            column += PARTS[part]
        _missing(self.name, t, out, self.missing, first, notes)


# 1970 began on a Thursday; weeks begin on Monday.
_PASSED: dict[str, Callable[[Array], Array]] = {
    "year": lambda t: t / YEAR % 1.0,
    "week": lambda t: (t / DAY + 3) / 7 % 1.0,
    "day": lambda t: t / DAY % 1.0,
}
_not_a = {
    "number": "which is no number",
    "yes/no": "which is neither yes nor no",
    "date": "which is no date such as 2024-12-31 or 2024-12-31 18:30",
}


def _refuse(name: str, bad: Array, array: Any, first: int, why: str) -> None:
    if bad.any():
        at = int(bad.argmax())
        raise CellError(first + at, name, f"holds {values.shown(array, at)!r}, {why}")


def _missing(name: str, x: Array, out: Array, told: bool, first: int, notes: Notes) -> None:
    nothing = np.isnan(x)
    if told:
        out[:, -1] = nothing  # (2)
    else:
        notes.add(name, "missing", nothing, first)


def _named(column: Any) -> None:
    if not isinstance(column.name, str) or not column.name:
        raise ValueError(f"a column has a name, and got {column.name!r}")


def _finite(column: Any) -> None:
    numbers = (column.mean, column.scale)
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers) or not column.scale > 0:
        raise ValueError(f"{column.name} has the mean {column.mean!r} and the scale {column.scale!r}")
