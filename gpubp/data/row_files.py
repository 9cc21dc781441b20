"""Reads files of any size as row groups: .npy in blocks, Parquet in its own row groups (pyarrow)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backends import Shape
from ..config import Count, argument
from ..errors import DataError, MissingDependencyError
from .row_groups import MEMORY, Array, RowGroups, one_line

BLOCKS = 32  # of an .npy file in a window, so that a shuffled window holds rows from as many places
BATCH = 1 << 16  # rows of a Parquet file that are decoded at a time


def open_rows(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
    width: int | None = None,
    memory: int = MEMORY,
) -> RowGroups:
    """The rows of a file as `X` for `Trainer.fit`, `evaluate` and `Network.predict`, however large it is.

    path: an .npy file, (n, ...), whose numbers stay of their type; or .parquet, (n, width) of float32.
    columns: of a Parquet file, all if not given; they must hold numbers if there is no transform.
    transform: from a `pyarrow.RecordBatch` of these columns to an array (rows, width), for text, missing values and
    scaling. width: how many numbers it gives a row; found out by the first row if not given.
    memory: bytes of rows to hold at a time, see `RowGroups`.

    What is open is nothing: the file is read when rows are asked for, and should stay as it is until then. So the rows
    can be pickled, with a transform that can be; another process reads the file itself.
    Raises DataError where it is missing, damaged, or holds no numbers; MissingDependencyError without pyarrow.

    >>> import os, tempfile, numpy as np, gpubp as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "X.npy")
    >>> np.save(path, np.random.default_rng(0).normal(size=(1000, 4)).astype("float32"))
    >>> X, y = bp.open_rows(path, memory=8192), np.load(path)[:, 0]
    >>> net = bp.Network(bp.Dense(1), input_shape=4, device="cpu")
    >>> history = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.03)).fit(X, y, epochs=5)
    >>> history["loss"][-1] < 1e-3
    True
    """
    memory, width = argument("open_rows", "memory", Count, memory), argument("open_rows", "width", Count | None, width)
    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    if Path(path).suffix.lower() == ".npy":
        if columns is not None or transform is not None or width is not None:
            raise ValueError("columns, transform and width are for Parquet files; an .npy file is read as it is")
        return _npy(path, memory)
    if Path(path).suffix.lower() == ".parquet":
        own = None if transform is None else partial(_of_batch, transform)
        return parquet_rows(path, columns, own, width, memory)
    raise DataError(f"{path} is neither .npy nor .parquet: write it by numpy.save, or by pyarrow.parquet.write_table")


def _npy(path: str | os.PathLike[str], memory: int) -> RowGroups:
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        if start != b"\x93NUMPY":
            raise DataError(f"{path} is not an .npy file: it begins with {start!r}. Write one with np.save(path, X)")
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError:
        raise
    except Exception as problem:  # NumPy knows several kinds for a damaged file
        if "Python objects" in str(problem):
            raise DataError(f"{path} holds Python objects; store an array of numbers, rows of one length") from problem
        raise DataError(f"{path} is cut short or damaged ({one_line(problem)}): copy or write it again") from problem
    if not mapped.ndim or not len(mapped):
        raise DataError(f"{path} has no rows")
    if mapped.dtype.kind not in "fiub":
        raise DataError(f"{path} holds {mapped.dtype}, and the network needs numbers")
    if not mapped.flags.c_contiguous:
        raise DataError(
            f"{path} is stored column by column, and rows are read from it: write np.ascontiguousarray(X) once"
        )
    return blocks(path, len(mapped), mapped.shape[1:], mapped.dtype, int(mapped.offset), memory, os.fspath(path))


def blocks(
    path: str | os.PathLike[str], rows: int, row: Shape, dtype: np.dtype[Any], offset: int, memory: int, name: str
) -> RowGroups:
    """The rows of a file that are stored one after the other from byte `offset` on.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "numbers")
    >>> np.arange(6.0).tofile(path)
    >>> blocks(path, 3, (2,), np.dtype("float64"), 0, 1 << 20, "six numbers")[1].tolist()
    [2.0, 3.0]
    """
    count = math.prod(row)
    size = max(1, memory // 2 // BLOCKS // max(1, count * dtype.itemsize))
    starts = np.minimum(np.arange(0, rows + size, size), rows)

    read = partial(_block, os.path.abspath(path), starts, row, dtype, offset)
    return RowGroups(np.diff(starts), read, row, dtype, memory=memory, name=name)


def _block(path: str, starts: Array, row: Shape, dtype: np.dtype[Any], offset: int, k: int) -> Array:
    """The rows of block k, which begins with the row starts[k]."""
    first, last, count = int(starts[k]), int(starts[k + 1]), math.prod(row)
    numbers = np.fromfile(path, dtype, (last - first) * count, offset=offset + first * count * dtype.itemsize)
    if len(numbers) < (last - first) * count:
        raise ValueError("it has become shorter")
    return numbers.reshape(last - first, *row)


def parquet_rows(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None,
    transform: Callable[[Any, int], Any] | None,
    width: int | None,
    memory: int,
) -> RowGroups:
    """The row groups of a Parquet file; `transform` gets the number of the batch's first row too.

    >>> import os, tempfile, pyarrow, pyarrow.parquet
    >>> path = os.path.join(tempfile.mkdtemp(), "numbers.parquet")
    >>> pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "b": [3, 4]}), path)
    >>> parquet_rows(path, None, None, None, 1 << 20)[1].tolist()
    [2.0, 4.0]
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as problem:
        raise MissingDependencyError("Reading Parquet needs pyarrow: pip install 'gpubp[tables]'") from problem
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"{path} is no Parquet file, or is cut short or damaged ({one_line(problem)})") from problem
    chosen = list(schema.names if columns is None else columns)
    missing = [name for name in chosen if name not in schema.names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names)}")
    if transform is None:
        _require_numbers(path, schema, chosen, pa)
        width = len(chosen)
    sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    if not sum(sizes):
        raise DataError(f"{path} has no rows")
    file = _Parquet(os.path.abspath(path), metadata, chosen, transform or _as_numbers, sizes)
    if width is None:
        width = next(file.batches(next(k for k, size in enumerate(sizes) if size), 1)).shape[1]
    return RowGroups(sizes, partial(file.group, width), (width,), memory=memory, name=os.fspath(path))


class _Parquet(NamedTuple):
    """A Parquet file. made: from a batch and the number of its first row to numbers. sizes: rows of each group."""

    path: str
    metadata: Any
    columns: list[str]
    made: Callable[[Any, int], Any]
    sizes: list[int]

    def batches(self, k: int, most: int) -> Iterator[Array]:
        """The numbers of group k, at most so many rows at a time."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path, metadata=self.metadata) as file:
            first = sum(self.sizes[:k])
            for batch in file.iter_batches(most, row_groups=[k], columns=self.columns):
                yield np.asarray(self.made(batch, first))
                first += batch.num_rows

    def group(self, width: int, k: int) -> Array:
        """The rows of group k (size, width)."""
        group, end = np.empty((self.sizes[k], width), np.float32), 0
        for part in self.batches(k, BATCH):
            if part.ndim != 2 or part.shape[1] != width:
                raise ValueError(
                    f"transform gave an array of shape {part.shape}, and {width} numbers a row are promised"
                )
            if len(part) == len(group):
                return part
            group[end : end + len(part)] = part
            end += len(part)
        if end < len(group):
            raise ValueError(f"it gave {end} of {len(group)} rows")
        return group


def _of_batch(transform: Callable[[Any], Any], batch: Any, first: int) -> Any:
    return transform(batch)


def _require_numbers(path: str | os.PathLike[str], schema: Any, columns: Sequence[str], pa: Any) -> None:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    for name in columns:
        held = schema.field(name).type
        if not any(kind(held) for kind in kinds):
            raise DataError(
                f"the column {name} of {path} holds {held}, and the network needs numbers: name other columns=, or "
                "give a transform= that turns it into numbers"
            )


def _as_numbers(batch: Any, first: int) -> Array:
    """The columns as one array; missing values become NaN."""
    import pyarrow as pa

    columns = [column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False) for column in batch.columns]
    return np.stack(columns, axis=1)
