"""Columns of dates and times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...formula.elementary import cos64, sin64
from ..dates import DateFormat
from .base import FAR, Array, Column, Notes, check_name, check_scale, check_written, mark_missing, refuse

DAY, YEAR = 86400.0, 365.2425 * 86400.0
PARTS = {"trend": 1, "year": 2, "week": 2, "day": 2}  # of a date, and how many numbers they become


@dataclass(frozen=True, repr=False)
class DateColumn(Column):
    """A column of dates: (5). mean, scale: in seconds since the beginning of 1970, of times of day since midnight.

    parts: of trend, year, week, day. written: how dates are written in text.

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
    written: DateFormat = DateFormat()

    def __post_init__(self) -> None:
        check_name(self)
        check_scale(self)
        check_written(self, DateFormat)
        parts = self.parts
        if not isinstance(parts, tuple) or not parts or list(parts) != [p for p in PARTS if p in parts]:
            raise ValueError(f"the parts of {self.name} are some of {', '.join(PARTS)}, and got {parts!r:.100}")

    @property
    def kind(self) -> str:  # type: ignore[override]
        """A date, or a time of day."""
        return "time of day" if self.written.order == "time" else "date"

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
        written = f"{self.written.describe()}; " if self.written.describe() else ""
        parts = " and ".join([", ".join(self.parts[:-1]), self.parts[-1]] if self.parts[1:] else self.parts)
        return f"{written}{parts}{beside}"

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(5) and (2)"""
        found = self.written.read(array)
        refuse(self.name, found.bad, array, first, self.written.wrong)
        t, column = found.values, 0
        for part in self.parts:
            if part == "trend":
                with np.errstate(over="ignore"):
                    y = (t - self.mean) / self.scale
                refuse(self.name, np.abs(y) > FAR, array, first, "which is far beyond the dates learnt from")
                out[:, column] = np.nan_to_num(y)
            else:
                angle = 2 * math.pi * _PASSED[part](t)
                out[:, column], out[:, column + 1] = np.nan_to_num(sin64(angle)), np.nan_to_num(cos64(angle))
            column += PARTS[part]
        mark_missing(self.name, t, out, self.missing, first, notes)


# 1970 began on a Thursday; weeks begin on Monday.
_PASSED: dict[str, Callable[[Array], Array]] = {
    "year": lambda t: t / YEAR % 1.0,
    "week": lambda t: (t / DAY + 3) / 7 % 1.0,
    "day": lambda t: t / DAY % 1.0,
}
