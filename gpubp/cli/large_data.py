"""Data larger than memory: rows of more than `memory` bytes are read from disk when needed.

By default that is a quarter of the memory that is free; in exact numerics 1 GB on every machine, because the order of
rows that are read from disk depends on it. An .npy file and a Parquet file are read where they lie. Other
tables, most of them text, would have to be read anew in every epoch, so their rows are prepared once, into a file of
float32 that is removed at the end.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..backends import get_backend
from ..data.row_files import blocks, open_rows, parquet_rows
from ..data.row_groups import RowGroups
from ..datasets import Dataset, read_npy
from ..errors import DataError, in_bytes
from ..tables import CellError, Notes, Preparation, Table, joined
from ..training.trainer import Trainer
from . import together
from .console import note
from .held_rows import RowDigest
from .process import raise_on_interrupt

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SHARE = 4  # of the free memory, data take one in so many parts
EXACT_MEMORY = 1 << 30  # another number would change the bits of what is trained on more

Array = np.ndarray[Any, Any]
Parts = Iterator[tuple[Array, Array | None, Array, Array]]  # as `Preparation.parts` gives them


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """A number of bytes, as "512MB" or "2G".

    >>> Size().convert("1.5KB", None, None)
    1536
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip().upper())
        size = int(float(found[1]) * UNITS[found[2]]) if found else 0
        if not 0 < size < 1 << 60:
            self.fail(f"{value!r} is no size, such as 512MB or 4GB", param, ctx)
        return size


memory_option = click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="Read larger data from disk, holding so much of them.  [default: a quarter of what is free; 1GB for --exact]",
)


def usual_memory(exact: bool = False) -> int:
    """The default of --memory: bytes of rows that may be in memory. exact: in exact numerics. All processes call it.

    >>> usual_memory() > 0
    True
    """
    return EXACT_MEMORY if exact else together.least(max(1, free_memory() // SHARE // together.beside()))


def free_memory() -> int:
    """Bytes of main memory that are free.

    >>> free_memory() > 0
    True
    """
    try:  # what is free, and what the system keeps of files and would give away
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return get_backend("cpu").memory()[0]


def note_need(trainer: Trainer, rows: int, advice: str) -> None:
    """Note that a training on a CPU needs more memory than is free, as the system would end it without a word.

    rows: of a step. advice: what needs less. Counted are parameters, gradients and moments, the arrays of a step, and
    those of a tile of predictions, about half of what a step on so many rows has.
    """
    network = trainer.network
    if network.backend.name != "cpu" or network.has_lengths:
        return
    size = network.dtype.itemsize * sum(p.size for p in network.parameters.values())
    held = (2 + len(trainer.optimizer.moments)) * size
    needs, free = held + network.step_memory(rows) + network.step_memory(min(network.backend.tiles)) // 2, free_memory()
    if needs > free:
        note(
            f"this needs about {in_bytes(needs)} of memory, {in_bytes(held)} of it for what belongs to parameters, and "
            f"{in_bytes(free)} are free: the system may end it without a word; less is needed with {advice}"
        )


def load_arrays(path: str, target: str | None, memory: int | None) -> Dataset:
    """X from the .npy file `path` and y from the .npy file `target`.

    Raises DataError where they are none, or do not belong together; UsageError without a target.
    """
    if target is None:
        raise click.UsageError(f"--target says in which .npy file y lies, with a row for each of {path}")
    if not target.lower().endswith(".npy"):
        raise click.UsageError(f"--target {target}: for {path} it is an .npy file with y")
    X = rows_of_file(path, memory)
    if not Path(target).is_file():
        raise DataError(f"there is no file {target}")
    y = read_npy(target)
    if X.ndim < 2:
        raise DataError(f"{path} has shape {X.shape}; (rows, features) is expected: for one feature reshape(-1, 1)")
    if len(X) != len(y):
        raise DataError(f"{path} has {len(X):,} rows and {target} {len(y):,}; each row of X needs its one y")
    return Dataset(Path(path).stem, X, y)


def rows_of_file(path: str, memory: int | None) -> Any:
    """The rows of an .npy file: an array, or row groups if they are too large for memory."""
    memory = memory or usual_memory()
    rows = open_rows(path, memory=memory)
    if max(rows.nbytes, 4 * math.prod(rows.shape)) <= memory:  # as float32
        return read_npy(path)
    note(f"{path}, {in_bytes(rows.nbytes)}, is read from disk as it is needed, {in_bytes(memory)} at a time (--memory)")
    return rows


def rows_of_table(
    table: Table,
    prepared: Preparation,
    notes: Notes,
    target: bool,
    held: tuple[float, int] | None,
    memory: int | None,
    digest: RowDigest | None = None,
) -> tuple[Any, Array | None, Array]:
    """(X, t, held) as `Preparation.arrays` gives them, where X are row groups if they are too many for memory.

    digest: takes the rows as they pass.
    """
    memory = memory or usual_memory()
    size = table.about_rows() * prepared.width * 4
    parts = prepared.parts(table, notes, target, held)
    parts = parts if digest is None else digest.through(parts)
    if size <= memory:
        return joined(parts)
    groups = table.group_sizes()
    if groups and max(groups) * prepared.width * 4 <= memory // 2:
        note(f"{table.name} is read from disk as it is needed, {in_bytes(memory)} at a time (--memory)")
        return _in_place(table, prepared, parts, memory)
    place = _place(table, size)
    note(
        f"{table.name} is prepared once, as {place} of about {in_bytes(size)}, which is removed at the end, and read "
        f"from there, {in_bytes(memory)} at a time (--memory)"
    )
    return _prepared_once(place, table, prepared, parts, memory)


def _in_place(table: Table, prepared: Preparation, parts: Parts, memory: int) -> tuple[RowGroups, Array | None, Array]:
    """Read the targets and check all values in a first pass; later the rows are read from where they are."""
    ts, masks, taken = zip(*((t, part, kept) for _, t, part, kept in parts), strict=True)
    t = None if ts[0] is None else np.concatenate(ts)
    part, kept = np.concatenate(masks), np.concatenate(taken)

    written = table.as_written(prepared.needed)

    def transform(batch: Any, first: int) -> Array:
        try:
            return prepared.transform(table.tidy(batch.select(written), prepared.needed), first)
        except CellError as problem:
            raise table.located(problem) from problem

    X = parquet_rows(str(table.path), written, transform, prepared.width, memory)
    return (X if kept.all() else X.where(kept)), t, part


def _prepared_once(
    place: Path, table: Table, prepared: Preparation, parts: Parts, memory: int
) -> tuple[RowGroups, Array | None, Array]:
    """Write the prepared rows into the file `place`, which is removed at the end, and read them from there."""
    click.get_current_context().call_on_close(lambda: place.unlink(missing_ok=True))
    ts, masks, rows = [], [], 0
    with open(place, "wb", buffering=0) as file:
        for X, t, part, _ in parts:
            _append(file, place, X)
            rows += len(X)
            masks.append(part)
            if t is not None:
                ts.append(t)
    row, name = (prepared.width,), table.name
    groups = blocks(place, rows, row, np.dtype(np.float32), 0, memory, name)
    return groups, np.concatenate(ts) if ts else None, np.concatenate(masks)


def _append(file: FileIO, place: Path, X: Array) -> None:
    """Write rows at the end of a file. Raises ClickException where that fails."""
    content = np.ascontiguousarray(X).reshape(-1).view(np.uint8).data
    try:
        while len(content):  # a disk that takes a part of it says why at the rest
            content = content[file.write(content) or 0 :]
    except OSError as problem:
        told = f"{place}, with the prepared rows, can't be written: {problem.strerror} after {in_bytes(file.tell())}"
        raise click.ClickException(f"{told}. It is removed; $TMPDIR says where there is room") from problem


def _place(table: Table, size: int) -> Path:
    """A new file in $TMPDIR, or beside the table; ClickException where there is no room."""
    beside = Path(table.path or tempfile.gettempdir()).absolute().parent
    folder = Path(os.environ.get("TMPDIR") or (beside if os.access(beside, os.W_OK) else tempfile.gettempdir()))
    try:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise click.ClickException(
                f"{table.name} needs about {in_bytes(size)} of disk to be prepared, and {folder} has {in_bytes(free)}: "
                "$TMPDIR says where there is room"
            )
        raise_on_interrupt()
        handle, name = tempfile.mkstemp(".rows", f".{Path(table.name).name}.", folder)
    except OSError as problem:
        raise click.ClickException(
            f"{folder} can't be written to ({problem.strerror}): $TMPDIR says where there is room"
        ) from problem
    os.close(handle)
    return Path(name)
