"""Columns that decide the target alone: they are often not known yet when a prediction is wanted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.one_column import BINS, decided
from ..data.row_groups import RowGroups
from ..datasets import Dataset
from ..formula.elementary import expm1_64
from ..report.words import share
from ..tables import CategoryColumn, DateColumn, NumberColumn, Preparation
from .task import Task

Array = np.ndarray[Any, Any]
CERTAIN = 0.995  # of what a guess leaves, for numbers
NEARLY, RIGHT = 0.95, 0.98  # for classes, of what a guess leaves and of all rows: some rows may hold mistakes
LOOKED_AT = 20_000  # rows
GROUPS = 8  # of rows on disk, that these are taken from; more if they are small
FEATURES = 256  # of an array; with more it is no table


@dataclass(frozen=True)
class Deciding:
    """A column that decides the target alone.

    share: of the rows, or R² for numbers. advice: what to do about it. known: the share of the rows in which the column
    is not missing, if only these are meant; else 1.
    """

    column: str
    target: str
    share: float
    numbers: bool
    advice: str
    known: float = 1.0

    def told(self) -> str:
        """A sentence.

        >>> Deciding("alive", "survived", 1.0, False, "leave it out").told()
        'alive alone decides survived in 100% of the rows; if it is not known before survived is, leave it out'
        """
        how = f", with R² {self.share:.4f}" if self.numbers else f" in {share(self.share, 1)} of the rows"
        where = f" where it is not missing ({share(self.known, 1)} of all)" if self.known < 1 else ""
        return (
            f"{self.column} alone decides {self.target}{how}{where}; if it is not known before {self.target} is, "
            f"{self.advice}"
        )

    def fields(self) -> dict[str, Any]:
        """The fields of a JSON document."""
        return {"column": self.column, "R²" if self.numbers else "share": self.share, "known": self.known}


def deciding_columns(dataset: Dataset, task: Task, t: Array) -> tuple[Deciding, ...]:
    """The columns of a data set that decide its target alone, by some of the rows to train with.

    t: the targets as the loss takes them. Pictures, rows of very many numbers and several targets are not looked at.
    """
    classes = task.kind != "numbers"
    if t.ndim == 2 and task.kind == "classes":
        t = t.argmax(axis=1)
    if t.size != len(t) or len(dataset.input_shape) != 1:
        return ()
    if task.table is None and dataset.input_shape[0] > FEATURES:
        return ()
    X, t = _some(dataset.X, t.reshape(-1))
    t = t.astype(np.int64) if classes else t
    target = "y" if task.table is None else task.table.target.name
    columns = _features(X) if task.table is None else _columns(X, task.table, classes)
    found = []
    for name, x, ordered in columns:
        known = ~np.isnan(x)
        parts = [np.ones(len(x), bool)] + ([] if known.all() else [known])  # missing as a value of its own, and without
        for rows in parts:
            left, of = decided(x[rows], t[rows], ordered, classes)
            if left >= CERTAIN or (classes and left >= NEARLY and of >= RIGHT):
                drop = "leave it out of X" if task.table is None else f"leave it out: --drop {shlex.quote(name)}"
                found.append(Deciding(name, target, of, not classes, drop, float(rows.mean())))
                break
    return tuple(found)


def _some(X: Any, t: Array) -> tuple[Array, Array]:
    """At most LOOKED_AT rows, spread evenly, of a few groups where the rows are on disk."""
    if not isinstance(X, RowGroups):
        rows = np.unique(np.linspace(0, len(t) - 1, min(len(t), LOOKED_AT)).astype(np.int64))
        return np.asarray(X[rows]), t[rows]
    filled = np.flatnonzero(X.sizes)
    many = min(len(filled), max(GROUPS, LOOKED_AT * len(filled) // (10 * len(t))))
    groups = filled[np.unique(np.linspace(0, len(filled) - 1, many).astype(np.int64))]
    Xs, ts = [], []
    for k in groups.tolist():
        part = X.read(k)
        rows = np.unique(np.linspace(0, len(part) - 1, min(len(part), max(1, LOOKED_AT // many))).astype(np.int64))
        Xs.append(part[rows])
        ts.append(t[X.starts[k] + rows])
    return np.concatenate(Xs), np.concatenate(ts)


def _features(X: Array) -> Iterator[tuple[str, Array, bool]]:
    for k in range(X.shape[1]):
        yield f"feature {k} of X", X[:, k].astype(np.float64), True


def _columns(X: Array, table: Preparation, classes: bool) -> Iterator[tuple[str, Array, bool]]:
    """The name of each column, its values (n,), and whether they are numbers and no names."""
    for column, place in table.places:
        block = X[:, place]
        if isinstance(column, CategoryColumn):
            yield column.name, _levels(column, block), False
            continue
        if not isinstance(column, NumberColumn | DateColumn):
            continue
        x = block[:, 0].astype(np.float64)
        if isinstance(column, NumberColumn) and column.log:
            z = column.mean + column.scale * x
            x = np.sign(z) * expm1_64(np.abs(z)) * column.log  # a straight line stays one
        if isinstance(column, DateColumn) and classes:  # rows that follow each other in time are often of one class
            x = np.searchsorted(np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)[1:-1])), x).astype(np.float64)
        if column.missing:
            x[block[:, -1] != 0] = np.nan
        yield column.name, x, not (isinstance(column, DateColumn) and classes)


def _levels(column: CategoryColumn, block: Array) -> Array:
    """The level of each row: the number of a word, or the place of the 1; -1 without one, NaN where it is missing."""
    if column.embed:
        level = block[:, 0].astype(np.float64)
        return np.where(level == column.vocabulary - 1, np.nan, level)
    level = np.where(block.any(axis=1), block.argmax(axis=1), -1).astype(np.float64)
    return np.where(level == column.width - 1, np.nan, level) if column.missing else level
