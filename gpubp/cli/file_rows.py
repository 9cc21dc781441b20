"""Rows of the data as they stand in the file, so that a mistake in a report can be found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..datasets import Dataset
from ..report.content import FoundRows
from ..tables import Preparation, Table, held_out

Array = np.ndarray[Any, Any]
COLUMNS = 12  # shown
LONGEST = 40  # characters of a value


@dataclass(frozen=True)
class TableRows:
    """Where the rows that a table gave stand in it.

    held: (share, seed) of the rows that were held out, None where none were. side: True for the rows held out, False
    for the others. rows: the numbers of some of these, in their order; None for all.

    >>> import pyarrow
    >>> from gpubp.tables import fit
    >>> table = Table(pyarrow.table({"town": ["Rome", "Oslo", "Lima"], "price": [3.5, None, 2.5]}))
    >>> TableRows(table, fit(table, "price"))(np.array([1]))
    FoundRows(places=['row 3'], columns=['town'], values=[['Lima']])
    """

    table: Table
    prepared: Preparation
    held: tuple[float, int] | None = None
    side: bool = False
    rows: Array | None = None

    def __call__(self, places: Array) -> FoundRows:
        """The rows with these numbers (m,), read again from the table."""
        wanted = places if self.rows is None else self.rows[places]
        target = self.prepared.target.name
        columns = _some([name for name in self.table.columns if name != target], self.prepared.needed)
        found: dict[int, tuple[int, list[str]]] = {}
        count = 0
        for first, batch in self.table.batches([*columns, target]):
            numbers = self._kept(batch, first)
            here = wanted[(wanted >= count) & (wanted < count + len(numbers))].tolist()
            for row in here:
                at = int(numbers[row - count])
                found[row] = first + at, [_shown(batch.column(k)[at].as_py()) for k in range(len(columns))]
            count += len(numbers)
            if len(found) == len(set(wanted.tolist())):
                break
        lines = [found[row] for row in wanted.tolist()]
        stand = self.table.places([number for number, _ in lines])
        return FoundRows(stand, columns, [line for _, line in lines])

    def _kept(self, batch: Any, first: int) -> Array:
        """The rows of a batch that have a target and are of this side."""
        t = self.prepared.targets(batch, first, missing=True)
        kept = t >= 0 if t.dtype == np.int32 else ~np.isnan(t)
        if self.held is not None:
            kept &= held_out(first, len(batch), *self.held) == self.side
        return np.flatnonzero(kept)


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array. name: of the array, as "X_test". rows: the numbers of some of its rows, None for all.

    >>> ArrayRows("X", np.array([4, 7]))(np.array([1])).places
    ['X[7]']
    """

    name: str
    rows: Array | None = None

    def __call__(self, places: Array) -> FoundRows:
        """The rows with these numbers (m,)."""
        wanted = places if self.rows is None else self.rows[places]
        return FoundRows([f"{self.name}[{row}]" for row in wanted.tolist()])


@dataclass(frozen=True, repr=False)
class FileDataset(Dataset):
    """A Dataset from a table or from sounds. sources: where the rows of X and of X_test stand, by "X" and "X_test", and
    those of a table to validate with by "validation"; dataclasses with `rows`, such as TableRows."""

    sources: dict[str, Any] = field(default_factory=dict)


def _some(columns: Sequence[str], needed: Sequence[str]) -> list[str]:
    """At most COLUMNS columns in their order; of more, those that the network sees come first."""
    if len(columns) > COLUMNS:
        ordered = [*(c for c in columns if c in needed), *(c for c in columns if c not in needed)]
        columns = [c for c in columns if c in ordered[:COLUMNS]]
    return list(columns)


def _shown(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
