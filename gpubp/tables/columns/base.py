"""Column: the base of all kinds of columns, and the notes and checks that they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ...config import Configurable
from .. import values
from ..table import CellError

FAR = 1e9  # standard deviations; with numbers beyond it no network computes anything

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


class Column(Configurable, ABC):
    """The description of a column, by which its values become numbers.

    name: as in the file. kind: in a word. note: what is doubtful in taking it for that kind. width: of how many numbers
    in a row it becomes. embedded: whether it is one number of a word, for an Embedding of `vocabulary` words and
    `embed` numbers.

    >>> from gpubp.tables import NumberColumn
    >>> NumberColumn("rooms", 3.5, 0.5).width
    1
    """

    name: str
    kind: str
    note: str = ""
    embedded = False

    @property
    @abstractmethod
    def width(self) -> int:
        """How many numbers of a row the column becomes."""

    @abstractmethod
    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """out (n, width) ← the column `array`, of Arrow, whose first row is number `first`. Raises CellError."""

    @abstractmethod
    def describe(self) -> str:
        """A description in a few words."""

    @property
    @abstractmethod
    def outputs(self) -> list[str]:
        """The names of its numbers."""


def refuse(name: str, bad: Array, array: Any, first: int, why: str | Callable[[str], str]) -> None:
    """Raise CellError for the first value that is `bad` (n,) of an Arrow array whose first row is number `first`.

    why: what the value is, or a function that says so of its text.
    """
    if bad.any():
        at = int(bad.argmax())
        text = values.shown(array, at)
        raise CellError(first + at, name, f"holds {text!r}, {why if isinstance(why, str) else why(text)}")


def mark_missing(name: str, x: Array, out: Array, told: bool, first: int, notes: Notes) -> None:
    """(2) in the last column of out (n, width) if `told`; a note for each x (n,) that is NaN if not."""
    nothing = np.isnan(x)
    if told:
        out[:, -1] = nothing  # (2)
    else:
        notes.add(name, "missing", nothing, first)


def check_name(column: Any) -> None:
    """Raise ValueError for a column without a name."""
    if not isinstance(column.name, str) or not column.name:
        raise ValueError(f"a column has a name, and got {column.name!r}")


def check_note(column: Any) -> None:
    """Raise ValueError if the note of a column is no text."""
    if not isinstance(column.note, str):
        raise ValueError(f"the note on {column.name} is a text, and got {column.note!r:.100}")


def check_written(column: Any, *kinds: type) -> None:
    """Raise ValueError if the format of a column is none of these kinds."""
    if not isinstance(column.written, kinds):
        raise ValueError(f"{column.name} is written by a format, and got {column.written!r:.100}")


def check_scale(column: Any) -> None:
    """Raise ValueError if the mean or the scale of a column is no finite number, or the scale is not above 0."""
    numbers = (column.mean, column.scale)
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers) or not column.scale > 0:
        raise ValueError(f"{column.name} has the mean {column.mean!r} and the scale {column.scale!r}")
