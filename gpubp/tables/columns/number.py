"""Columns of numbers, and of yes and no.

x is the number in a row, μ and σ are mean and standard deviation of z in the rows that were learnt from. (1) and (2)
are those of every column, with z in place of x:

    (6) z = sign(x) log1p(|x| / s)                        of a skewed column without numbers below 0; else z = x
    (7) eₜ = 0.35 clip((z - bₜ₋₁) / (bₜ - bₜ₋₁), 0, 1)    t = 1 ... T, one number for each bin; 0 where nothing stands

(6) s is the median of the numbers above 0. A number below 0, which no row had that was learnt from, is mirrored, so
that it is finite and the order of numbers stays.

(7) is the piecewise linear encoding of Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular
Deep Learning (NeurIPS 2022). The edges b₀ ... b_T are quantiles. The first bin is clipped at -2 and the last at 3
instead of 0 and 1, so that numbers beyond the outer edges differ. The factor 0.35 makes a bend cost 8 times as much of
an L2 penalty as a straight line, which (1) has: without it small tables are overfitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...formula.elementary import expm1_64, log1p_64
from ...rounding import brief
from .. import values
from ..dates import DateFormat, DurationFormat
from ..formats import NumberFormat
from ..values import Values
from .base import FAR, Array, Column, Notes, check_name, check_note, check_scale, check_written, mark_missing, refuse

BINS = 8
BEND = 0.35  # the factor of (7)
BELOW, ABOVE = -2.0, 3.0  # where the first and the last bin are clipped


@dataclass(frozen=True, repr=False)
class NumberColumn(Column):
    """A column of numbers: (1), (2) if `missing`, (6) with s = `log` if that is not 0, (7) if there are `edges`.

    mean, scale: μ and σ of z. edges: of the bins, rising, in the units of the column.

    written: how numbers are written in text. note: what is doubtful in taking it for numbers.

    >>> import pyarrow
    >>> column, out = NumberColumn("rooms", 4.0, 2.0, missing=True), np.zeros((3, 2))
    >>> column.fill(out, pyarrow.array([5, None, 4]), 0, Notes())
    >>> out.tolist()
    [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0]]
    >>> NumberColumn("rooms", 4.0, 2.0, edges=(1.0, 3.0, 9.0)).outputs
    ['rooms', 'rooms up to 3', 'rooms from 3']
    """

    name: str
    mean: float
    scale: float
    missing: bool = False
    log: float = 0.0
    edges: tuple[float, ...] = ()
    written: NumberFormat | DurationFormat | DateFormat = NumberFormat()
    note: str = ""

    kind = "number"

    def __post_init__(self) -> None:
        check_name(self)
        check_scale(self)
        if self.log < 0:
            raise ValueError(f"the log of {self.name} is a number from 0, and got {self.log!r}")
        if len(self.edges) == 1 or not (np.diff(self._scaled(np.array(self.edges))) > 0).all():
            raise ValueError(f"the edges of {self.name} are two or more numbers that rise, and got {self.edges!r:.100}")
        check_note(self)
        check_written(self, NumberFormat, DurationFormat, DateFormat)

    @property
    def width(self) -> int:
        """One, one for each bin, and one more for missing values if there were any."""
        return 1 + max(0, len(self.edges) - 1) + self.missing

    @property
    def outputs(self) -> list[str]:
        """The name, the bins, and the name of the number that marks missing values."""
        inner = [f"{b:.6g}" for b in self.edges[1:-1]]
        bins = [f"from {low} to {high}" for low, high in zip(inner[:-1], inner[1:], strict=True)]
        bins = [f"up to {inner[0]}", *bins, f"from {inner[-1]}"] if inner else ["in its bin"] if self.edges else []
        return [self.name, *(f"{self.name} {b}" for b in bins), *([f"{self.name} is missing"] if self.missing else [])]

    def describe(self) -> str:
        """How they are written, the logarithm, the mean and the scale, and the bins."""
        written = f"{self.written.describe()}; " if self.written.describe() else ""
        log = f"log(1 + x / {brief(self.log)}): " if self.log else ""
        bins = f"; {len(self.edges) - 1} bins beside it" if self.edges else ""
        beside = "; missing: the mean, and a 1 beside it" if self.missing else ""
        return f"{written}{log}mean {brief(self.mean)}, standard deviation {brief(self.scale)}{bins}{beside}"

    def read(self, array: Any) -> Values:
        """The numbers."""
        return self.written.read(array)

    def wrong(self, text: str) -> str:
        """What a text is that is no such number, for a message."""
        return self.written.wrong(text)

    def fill(self, out: Array, array: Any, first: int, notes: Notes) -> None:
        """(1), (2), (6) and (7)"""
        found = self.read(array)
        refuse(self.name, found.bad, array, first, self.wrong)
        with np.errstate(over="ignore"):
            z = self._scaled(found.values)
            y = (z - self.mean) / self.scale  # (1)
            refuse(self.name, np.abs(y) > FAR, array, first, "which is far beyond the numbers learnt from")
            if self.log:
                notes.add(self.name, "below 0", found.values < 0, first, found.values)
            if self.edges:
                out[:, 1 : len(self.edges)] = np.nan_to_num(self._in_bins(z), copy=False)
        mark_missing(self.name, y, out, self.missing, first, notes)
        out[:, 0] = np.nan_to_num(y, copy=False)

    def _scaled(self, x: Array) -> Array:
        if not self.log:
            return x
        z: Array = log1p_64(np.abs(x) / self.log)
        return np.sign(x) * z  # (6)

    def original(self, y: Array) -> Array:
        """x in the units of the column, from the first number that `fill` makes of it: (1) and (6) solved for x.

        >>> NumberColumn("rooms", 4.0, 2.0).original(np.array([0.5, 0.0])).tolist()
        [5.0, 4.0]
        """
        z = self.mean + self.scale * y.astype(np.float64)
        return np.sign(z) * expm1_64(np.abs(z)) * self.log if self.log else z

    def _in_bins(self, z: Array) -> Array:
        """(7), (n, T)"""
        b = self._scaled(np.array(self.edges))
        low, high = np.zeros(len(b) - 1), np.ones(len(b) - 1)
        low[0], high[-1] = BELOW, ABOVE
        return BEND * np.clip((z[:, None] - b[:-1]) / np.diff(b), low, high)  # (7)


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

    def wrong(self, text: str) -> str:
        """What a text is that is neither, for a message."""
        return "which is neither yes nor no"
