"""Rows of the data for `gpubp explain`: some of them by their numbers, and what their inputs and targets mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ..datasets import Dataset
from ..errors import DataError
from ..explain.expressions import Key
from ..tables import CellError, Notes, Preparation, Table
from ..tables.columns import CategoryColumn, NumberColumn, TextColumn
from ..text import words_of
from .arguments import is_sounds, is_table
from .files import load_data
from .large_data import load_arrays
from .reading_options import check_columns
from .sound_options import check_sounds, sounds_beside
from .table_options import print_notes, table_for
from .task import Task

Array = np.ndarray[Any, Any]
LONGEST = 60  # characters of a value


class RowNumbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """Numbers of rows, from 1, as "3" or "3,7".

    >>> RowNumbers().convert("3, 7", None, None)
    (3, 7)
    """

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            self.fail(
                f"{value!r} is no row, such as 3, and no list of rows, such as 3,7; the first is row 1", param, ctx
            )
        return tuple(map(int, parts))


@dataclass(frozen=True)
class ExplainedRows:
    """Rows of the data as the network takes them.

    X, t: inputs and targets. places: where each row stands, in words. labels: what a number means, by its key.
    """

    X: Any
    t: Array
    places: tuple[str, ...]
    labels: dict[Key, str]


def explained_rows(data: str, task: Task, model: str, rows: Sequence[int], options: Mapping[str, Any]) -> ExplainedRows:
    """The rows with these numbers, the first being row 1, of what the user calls `data`.

    Raises DataError for a row that is not there, or has no target, and as `gpubp evaluate` does.
    """
    if task.sound is not None or is_sounds(data):
        check_sounds(task, model, [data])
        X, y, _ = sounds_beside(data, task, options["memory"])
        return _of_arrays(Dataset(data, X, y), task, rows)
    if task.table is not None or is_table(data):
        return _of_table(*table_for(data, task.table, model, options), model, task, rows)
    if data.lower().endswith(".npy"):
        return _of_arrays(load_arrays(data, options["target"], options["memory"]), task, rows)
    return _of_arrays(load_data(data, options["folder"]), task, rows)


def _of_arrays(dataset: Dataset, task: Task, rows: Sequence[int]) -> ExplainedRows:
    """Of the test rows, if there are any, as `gpubp predict` numbers them."""
    X, y, of = dataset.X, dataset.y, ""
    if dataset.X_test is not None and dataset.y_test is not None:
        X, y, of = dataset.X_test, dataset.y_test, "the test rows of "
    _check_rows(rows, len(X), f"{of}{dataset.name}")
    at = np.asarray(rows) - 1
    t = task.targets(y[at])
    labels = {}
    if task.kind == "classes" and t.ndim == 1:
        labels = _targets([f"the class {task.name(k)}" for k in t.tolist()])
    places = tuple(f"row {row} of {of}{dataset.name}" for row in rows)
    return ExplainedRows(np.asarray(X[at]), t, places, labels)


def _of_table(table: Table, prepared: Preparation, model: str, task: Task, rows: Sequence[int]) -> ExplainedRows:
    check_columns(table, prepared, model, target=True)
    target, notes = prepared.target, Notes()
    found: dict[int, tuple[Array, Array, dict[str, Any]]] = {}
    count = 0
    try:
        for first, batch in table.batches([*prepared.needed, target.name]):
            count = first + len(batch)
            for row in {row for row in rows if first < row <= count}:
                one = batch.slice(row - 1 - first, 1)
                X, t = prepared.transform(one, row - 1, notes), prepared.targets(one, row - 1, missing=True)
                if not (t[0] >= 0 if t.dtype == np.int32 else np.isfinite(t[0])):
                    raise DataError(
                        f"{table.name}, {table.place(row - 1)}: no {target.name} is given, and without it there is no "
                        "loss to explain"
                    )
                found[row] = X, t, one.to_pylist()[0]
            if count >= max(rows):
                break
    except CellError as problem:
        raise table.located(problem) from problem
    _check_rows(rows, count, table.name)
    print_notes(notes.found, table, prepared)
    raw = [found[row][2] for row in rows]
    labels = {
        Key("", "x", (i, j)): label
        for i, values in enumerate(raw)
        for j, label in enumerate(labels_of(prepared, values))
    }
    scaled = ", standardized" if target.kind == "numbers" else ""
    labels |= _targets([f"{target.name}: {_shown(values[target.name])}{scaled}" for values in raw])
    places = tuple(f"{place} of {table.name}" for place in table.places([row - 1 for row in rows]))
    X, t = (np.concatenate([found[row][k] for row in rows]) for k in (0, 1))
    return ExplainedRows(X, t, places, labels)


def labels_of(prepared: Preparation, values: Mapping[str, Any]) -> list[str]:
    """What each number of a row of a table means. values: of the row, by column.

    >>> import pyarrow
    >>> from gpubp.tables import fit
    >>> table = pyarrow.table({"rooms": [2, 4], "town": ["Rome", "Oslo"], "price": [1.5, 2.5]})
    >>> labels_of(fit(table, "price"), table.to_pylist()[0])
    ['rooms: 2, standardized', 'town = Oslo (town: Rome)', 'town = Rome (town: Rome)']
    """
    found: list[str] = []
    for column, _ in prepared.places:
        told = f"{column.name}: {_shown(values[column.name])}"
        if isinstance(column, TextColumn):
            text = values[column.name]
            words = list(words_of(text))[: column.length] if isinstance(text, str) else []
            found += [f"{name}: {word}" for name, word in zip(column.outputs, words, strict=False)]
            found += [f"{name}: none" for name in column.outputs[len(words) :]]
        elif isinstance(column, NumberColumn):
            how = "its logarithm standardized" if column.log else "standardized"
            found += [f"{told}, {how}" if name == column.name else f"{name} ({told})" for name in column.outputs]
        elif isinstance(column, CategoryColumn) and column.embedded:
            found.append(f"{told}, as the number of a word")
        else:
            found += [f"{name} ({told})" for name in column.outputs]
    return found


def _targets(told: Sequence[str]) -> dict[Key, str]:
    """Labels of targets, which are (n,) or (n, 1)."""
    return {Key("", "t", (i, *at)): text for i, text in enumerate(told) for at in ((), (0,))}


def _check_rows(rows: Sequence[int], count: int, name: str) -> None:
    missing = [row for row in rows if row > count]
    if missing:
        there = f"there are {count:,}" if count != 1 else "there is one"
        raise DataError(f"there is no row {missing[0]} in {name}: {there}, and the first is row 1")


def _shown(value: Any) -> str:
    text = "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
