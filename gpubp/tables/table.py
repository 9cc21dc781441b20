"""Table: rows with named columns from a file, a folder or memory, as record batches in bounded memory.

Files are strangers' files; what is wrong with one becomes a DataError that names it, and the line or row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import DataError
from .sources import (
    ENDINGS,
    Source,
    check_encoding,
    explain,
    has_first_line,
    is_table,
    open_source,
    plain,
    require_pyarrow,
)

__all__ = ["ENDINGS", "CellError", "Table", "is_table"]


class CellError(DataError):
    """A value that can't be used: `problem`, in row number `row` of `column`, rows counted from 0.

    >>> CellError(15, "age", "holds 'abc', which is no number").row
    15
    """

    def __init__(self, row: int, column: str, problem: str) -> None:
        super().__init__(f"row {row + 1}: {column} {problem}")
        self.row, self.column, self.problem = row, column, problem


class Table:
    """Rows with named columns: the path of a file, a folder of Parquet files, a pandas or polars DataFrame, or a
    pyarrow Table.

    Files are CSV and other delimited text, JSON lines, Parquet, Arrow, ORC and .xlsx; docs/tables.md lists the endings.
    "-" is CSV from standard input. Nothing is kept in memory; `batches` reads the file from its beginning.
    encoding: of a text file, such as "cp1252"; by default UTF-8, or UTF-16 if the file begins with its mark. header:
    whether the first line names the columns; if not, they are called column 1, column 2, ...
    name: to call it by. path: of the file or folder, None in memory. columns: their names, without spaces around them.
    notes: what the user should know, as that other sheets are not read.

    Raises DataError where it can't be read, ValueError for an unknown encoding, MissingDependencyError without pyarrow.

    >>> import pyarrow
    >>> table = Table(pyarrow.table({"rooms": [3, 4], "price": [210.0, 260.0]}))
    >>> table.columns, [(first, len(batch)) for first, batch in table.batches()]
    (['rooms', 'price'], [(0, 2)])
    """

    def __init__(self, source: Any, *, encoding: str | None = None, header: bool = True) -> None:
        self._pa = require_pyarrow()
        if isinstance(source, Table):
            self.__dict__.update(source.__dict__)
            return
        self.header = header
        self._source: Source | None = None
        self._encoding = None if encoding is None else check_encoding(encoding)
        self.name = "the table" if not isinstance(source, str) and not hasattr(source, "__fspath__") else str(source)
        with self._damage():
            self._source = open_source(source, encoding, header)
        self.name, self.notes = self._source.name, self._source.notes
        self.path: str | None = self._source.path or None
        self.columns = [name.strip() or f"column {i + 1}" for i, name in enumerate(self._source.names)]
        twice = sorted(name for name, count in Counter(self.columns).items() if count > 1)
        if twice:
            advice = f": {self.advice}" if self.values_as_names else "; give each its own name"
            raise DataError(f"{self.name} has more than one column called {', '.join(twice)}{advice}")

    @classmethod
    def like(cls, source: Any, header: bool) -> Table:
        """A Table whose first line is no header if `header` is False and such tables may have none.

        >>> import pyarrow
        >>> Table.like(pyarrow.table({"column 1": [1]}), header=False).columns
        ['column 1']
        """
        return cls(source, header=header or not has_first_line(source))

    @property
    def values_as_names(self) -> bool:
        """Whether the names of the columns look like a row of values."""
        assert self._source is not None
        return self._source.values_as_names

    @property
    def advice(self) -> str:
        """What to do where `values_as_names`."""
        shown = ", ".join(self.columns[:6]) + (", ..." if len(self.columns) > 6 else "")
        return f"its first line looks like values and not like names: {shown}; --no-header says that it is a row"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row, record batch), with all columns or some."""
        assert self._source is not None
        wanted = self.columns if columns is None else list(columns)
        first = 0
        with self._damage():
            for batch in self._source.batches([self.columns.index(name) for name in wanted]):
                if len(batch):
                    yield first, self.tidy(batch, wanted)
                first += len(batch)

    def tidy(self, batch: Any, names: Sequence[str]) -> Any:
        """A record batch of the file with the columns `names`, of types that all functions of pyarrow know.

        Raises DataError for damaged values, which pyarrow takes from a file without looking at them.
        """
        columns = []
        for name, column in zip(names, batch.columns, strict=True):
            try:
                column.validate(full=True)
            except self._pa.ArrowInvalid as problem:
                why = "text that is not UTF-8, or damaged" if "UTF8" in str(problem) else "damaged values"
                raise DataError(f"{self.name}: {name} holds {why}") from problem
            columns.append(plain(column))
        return self._pa.RecordBatch.from_arrays(columns, names=list(names))

    def as_written(self, columns: Sequence[str]) -> list[str]:
        """The names of columns as they stand in the file, with spaces around them."""
        assert self._source is not None
        return [self._source.names[self.columns.index(name)] for name in columns]

    def group_sizes(self) -> list[int]:
        """How many rows each row group of a Parquet file has; an empty list for other tables."""
        assert self._source is not None
        with self._damage():
            return self._source.group_sizes()

    def about_rows(self) -> int:
        """How many rows there are, or about how many."""
        assert self._source is not None
        with self._damage():
            return self._source.about_rows()

    def place(self, row: int) -> str:
        """The name of row number `row`, counted from 0: for text its line, a header being line 1; for .xlsx its row."""
        assert self._source is not None
        return self._source.place(row)

    def header_below(self, name: str) -> str:
        """Where a name stands that is no column, below the first line, in what may be the header; "" if nowhere.

        >>> import pyarrow
        >>> Table(pyarrow.table({"rooms": [3, 4]})).header_below("price")
        ''
        """
        assert self._source is not None
        return self._source.header_below(name) if self.header else ""

    def places(self, rows: Sequence[int]) -> list[str]:
        """The names of several rows.

        >>> import pyarrow
        >>> Table(pyarrow.table({"rooms": [3, 4]})).places([1, 0])
        ['row 2', 'row 1']
        """
        assert self._source is not None
        return self._source.places(rows)

    def located(self, problem: CellError) -> DataError:
        """A CellError as a DataError with the name of the table and the line."""
        hint = ""
        if problem.row == 0 and not self.header:
            hint = "; if this line names the columns, delete it: the table is read as one without a header"
        return DataError(f"{self.name}, {self.place(problem.row)}: {problem.column} {problem.problem}{hint}")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except (self._pa.ArrowException, OSError, ValueError, TypeError, KeyError) as problem:
            message = " ".join(str(problem).split())
            if self._source is not None:
                told = self._source.explain(message)
            else:
                told = explain(message, self.name, self._encoding)
            raise DataError(
                told or f"{self.name} can't be read ({message[:200]}): it is damaged, cut short or something else"
            ) from problem
