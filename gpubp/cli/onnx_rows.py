"""Rows on which an ONNX file is compared with its network: those of --check, or random ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.row_groups import RowGroups
from ..errors import DataError, ExportError
from ..network.network import Network
from ..tables import CellError, Notes, Preparation
from .arguments import is_sounds, is_table
from .files import rows_to_predict
from .large_data import rows_of_file
from .onnx_check import Agreement, OnnxFile, compare
from .random_rows import random_rows
from .reading_options import check_columns
from .sound_options import check_sounds, sounds_to_predict
from .table_cells import cells, random_batch
from .table_options import print_notes, table_for
from .task import Task

RANDOM, MOST = 100, 10_000  # rows: random ones, and of --check


class Rows(NamedTuple):
    """Rows to compare: X as net.predict takes them, and where they come from a table, its record batches.

    >>> Rows(np.zeros((2, 3))).batches
    ()
    """

    X: Any
    batches: tuple[Any, ...] = ()


def compare_rows(file: OnnxFile, network: Network, rows: Rows | None) -> Agreement:
    """Compare a file with its network. rows: None for random ones. Raises ExportError if that can't be done."""
    rows = rows or _random(file, network)
    prepared = Preparation.of(network)
    if prepared is None or not file.columns:
        return compare(file, network, rows.X)
    first, parts = 0, []
    for batch in rows.batches:
        parts.append(cells(prepared, file.of_columns("form"), batch, rows.X[first : first + len(batch)]))
        first += len(batch)
    return compare(file, network, rows.X, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _random(file: OnnxFile, network: Network) -> Rows:
    prepared = Preparation.of(network)
    if prepared is None or not file.columns:
        return Rows(random_rows(network, RANDOM))
    batch = random_batch(prepared, file.of_columns("form"), file.of_columns("example"), RANDOM)
    try:
        return Rows(prepared.transform(batch), (batch,))
    except CellError as problem:
        raise ExportError(f"no random cells of {problem.column} suit; --check DATA compares real rows") from problem


def rows_of(task: Task, model: str, data: str, options: dict[str, Any]) -> Rows:
    """The first rows of the data that --check names. options: "folder" of MNIST, and those of `reading_options`.

    Raises GpubpError for data that are not there, or that the model does not take.
    """
    if task.table is not None or is_table(data):
        return _rows_of_table(task, model, data, options)
    if task.sound is not None or is_sounds(data):
        check_sounds(task, model, (data,))
        X, _ = sounds_to_predict(task, (data,), None)
    else:
        X = rows_of_file(data, None) if data.lower().endswith(".npy") else rows_to_predict(data, options["folder"])
    return Rows((X.read(0) if isinstance(X, RowGroups) else X)[:MOST])


def _rows_of_table(task: Task, model: str, data: str, options: dict[str, Any]) -> Rows:
    found, prepared = table_for(data, task.table, model, options)
    check_columns(found, prepared, model, False)
    notes, batches, parts, count = Notes(), [], [], 0
    try:
        for first, batch in found.batches(prepared.needed):
            batches.append(batch.slice(0, MOST - count))
            parts.append(prepared.transform(batches[-1], first, notes))
            count += len(batches[-1])
            if count >= MOST:
                break
    except CellError as problem:
        raise found.located(problem) from problem
    if not count:
        raise DataError(f"{found.name} has no rows")
    print_notes(notes.found, found, prepared)
    return Rows(np.concatenate(parts), tuple(batches))
