"""Columns of numbers, and of yes and no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import values
from ..values import Values
from .base import FAR, Array, Column, Notes, check_name, check_scale, mark_missing, refuse


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
    not_one = "which is no number"

    def __post_init__(self) -> None:
        check_name(self)
        check_scale(self)

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
        refuse(self.name, found.bad, array, first, self.not_one)
        with np.errstate(over="ignore"):
            y = (found.values - self.mean) / self.scale  # (1)
            refuse(self.name, np.abs(y) > FAR, array, first, "which is far beyond the numbers learnt from")
        mark_missing(self.name, y, out, self.missing, first, notes)
        out[:, 0] = np.nan_to_num(y, copy=False)


@dataclass(frozen=True, repr=False)
class YesNoColumn(NumberColumn):
    """A column of yes and no: (1) and, if `missing`, (2), with yes as 1 and no as 0. mean: the share of yes.

    >>> YesNoColumn("garden", 0.5, 0.5).describe()
    'yes in 50% of the rows'
    """

    kind = "yes/no"
    not_one = "which is neither yes nor no"

    def describe(self) -> str:
        """The share of yes."""
        beside = "; missing: the mean, and a 1 beside it" if self.missing else ""
        return f"yes in {self.mean:.0%} of the rows{beside}"

    def read(self, array: Any) -> Values:
        """1 and 0."""
        return values.truths(array)
