"""Tables in memory: DataFrames of pandas and polars, and tables of pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import DataError
from .base import ROWS, Source, require_pyarrow


class Memory(Source):
    """A DataFrame of pandas or polars, a pyarrow Table, or another object that gives an Arrow stream."""

    def __init__(self, table: Any) -> None:
        self.name = "the table"
        pa = require_pyarrow()
        if not isinstance(table, pa.Table):
            if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
                table = _of_pandas(pa, table)
            elif hasattr(table, "__arrow_c_stream__") and getattr(table, "ndim", 2) != 1:
                table = _of_stream(pa, table)
            else:
                lazy = "; .collect() makes a DataFrame of it" if hasattr(table, "collect") else ""
                raise DataError(f"a table is a file, a DataFrame or a pyarrow Table, and not {table!r:.60}{lazy}")
        self._table, self.names = table, [str(name) for name in table.column_names]

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of some ten thousand rows, without a copy."""
        yield from self._table.select(list(at)).to_batches(max_chunksize=ROWS)

    def about_rows(self) -> int:
        """The number of rows."""
        return len(self._table)


def _of_pandas(pa: Any, frame: Any) -> Any:
    """A frame as an Arrow table. A column of objects of several kinds, such as 1 and "a", becomes text."""
    arrays = []
    for i in range(frame.shape[1]):
        column = frame.iloc[:, i]
        try:
            arrays.append(pa.array(column, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError):
            missing = column.isna().to_numpy()
            words = [None if gone else str(value) for gone, value in zip(missing, column, strict=True)]
            arrays.append(pa.array(words, pa.string()))
    arrays = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns])


def _of_stream(pa: Any, frame: Any) -> Any:
    """A frame of polars and the like as an Arrow table. A type that Arrow has not, as Int128, becomes text."""
    try:
        return pa.table(frame)
    except (pa.ArrowException, NotImplementedError):
        if not (hasattr(frame, "columns") and hasattr(frame, "get_column")):
            raise
    arrays = []
    for name in frame.columns:
        column = frame.get_column(name)
        try:
            arrays.append(pa.chunked_array(column))
        except (pa.ArrowException, NotImplementedError):
            try:
                arrays.append(pa.chunked_array(column.cast(str)))
            except Exception as problem:  # polars has its own classes
                raise DataError(
                    f"the column {name} is of type {column.dtype}, which Arrow can't hold; drop it"
                ) from problem
    return pa.Table.from_arrays(arrays, names=list(frame.columns))
