"""CSV and Parquet files as record batches, one after the other, in bounded memory.

CSV is read as text, whatever it looks like: what a column is follows from the whole of it and not from its first rows.
Files are strangers' files; what is wrong with one becomes a DataError that names it, and the line or row.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError, MissingDependencyError

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
BLOCK = 1 << 22  # bytes of CSV read at once, and the longest a row may be
HEADER = 1 << 20  # bytes that the first line of a CSV file may have
ROWS = 1 << 15  # of a Parquet file, at once


class CellError(DataError):
    """A value that can't be used: `problem`, in row number `row` of `column`, rows counted from 0.

    >>> CellError(15, "age", "holds 'abc', which is no number").row
    15
    """

    def __init__(self, row: int, column: str, problem: str) -> None:
        super().__init__(f"row {row + 1}: {column} {problem}")
        self.row, self.column, self.problem = row, column, problem


def require_pyarrow() -> Any:
    """pyarrow, or MissingDependencyError with the command that installs it.

    >>> require_pyarrow().__name__
    'pyarrow'
    """
    try:
        import pyarrow
    except ImportError as problem:
        raise MissingDependencyError("Reading tables needs pyarrow: pip install 'gpubp[tables]'") from problem
    return pyarrow


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether the name of a file is that of a table.

    >>> is_table("houses.csv.gz"), is_table("houses.npz")
    (True, False)
    """
    return os.fspath(path).lower().endswith(ENDINGS)


class Table:
    """Rows with named columns: the path of a .csv, .tsv, .csv.gz or .parquet file, a pandas or polars DataFrame,
    or a pyarrow Table.

    Nothing is kept in memory; `batches` reads the file from its beginning. The first line of CSV names the columns;
    they are separated by commas, or by the semicolons, tabs or bars that stand in the first line instead; UTF-8.
    name: to call it by. columns: their names.

    Raises DataError where it can't be read, MissingDependencyError without pyarrow.

    >>> import pyarrow
    >>> table = Table(pyarrow.table({"rooms": [3, 4], "price": [210.0, 260.0]}))
    >>> table.columns, [(first, len(batch)) for first, batch in table.batches()]
    (['rooms', 'price'], [(0, 2)])
    """

    def __init__(self, source: Any) -> None:
        self._pa = require_pyarrow()
        self._whole: Any = None
        self._separator = ","
        self.path: str | None = None
        if isinstance(source, Table):
            self.__dict__.update(source.__dict__)
            return
        if isinstance(source, str | os.PathLike):
            self.path = self.name = os.fspath(source)
            if not is_table(self.path):
                raise DataError(f"{self.path} is no table by its name; tables end in {', '.join(ENDINGS)}")
            if not Path(self.path).is_file():
                raise DataError(f"there is no file {self.path}")
            self._raw = self._parquet_names() if self._is_parquet else self._csv_names()
        else:
            self.name = "the table"
            if not isinstance(source, self._pa.Table):
                pandas = type(source).__module__.partition(".")[0] == "pandas"
                if not (pandas and hasattr(source, "columns")) and not hasattr(source, "__arrow_c_stream__"):
                    raise DataError(f"a table is a file, a DataFrame or a pyarrow Table, and not {source!r:.60}")
                with self._damage():
                    source = (
                        self._pa.Table.from_pandas(source, preserve_index=False) if pandas else self._pa.table(source)
                    )
            self._whole, self._raw = source, [str(name) for name in source.column_names]
        self.columns = [name or f"column {i + 1}" for i, name in enumerate(self._raw)]
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise DataError(f"{self.name} has more than one column called {', '.join(twice)}; give each its own name")

    @property
    def _is_parquet(self) -> bool:
        return self.path is not None and self.path.lower().endswith(".parquet")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row, record batch), with all columns or some."""
        first = 0
        with self._damage():
            for batch in self._batches(columns):
                if len(batch):
                    yield first, batch
                first += len(batch)

    def _batches(self, columns: Sequence[str] | None) -> Iterator[Any]:
        wanted = self.columns if columns is None else list(columns)
        chosen = [self.columns.index(name) for name in wanted]
        if self._whole is not None:
            batches = self._whole.to_batches(max_chunksize=ROWS)
        elif self._is_parquet:
            batches = self._parquet().iter_batches(batch_size=ROWS, columns=[self._raw[i] for i in chosen])
        else:
            batches = self._csv()
        for batch in batches:
            where = [batch.schema.get_field_index(self._raw[i]) for i in chosen] if self._is_parquet else chosen
            yield self._pa.RecordBatch.from_arrays([batch.column(i) for i in where], names=wanted)

    def group_sizes(self) -> list[int]:
        """How many rows each row group of a Parquet file has."""
        with self._damage():
            metadata = self._parquet().metadata
            return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]

    def place(self, row: int) -> str:
        """The name of row number `row`, counted from 0: for CSV its line, the header being line 1."""
        if self.path is None or self._is_parquet:
            return f"row {row + 1}"
        try:
            with self._text() as text:
                reader = csv.reader(text, delimiter=self._separator)
                next(reader)
                before, records = reader.line_num, -1
                for record in reader:
                    records += bool(record)
                    if records == row:
                        return f"line {before + 1}"
                    before = reader.line_num
        except (OSError, ValueError, csv.Error):
            pass
        return f"row {row + 1}"

    def located(self, problem: CellError) -> DataError:
        """A CellError as a DataError with the name of the table and the line."""
        return DataError(f"{self.name}, {self.place(problem.row)}: {problem.column} {problem.problem}")

    # -- CSV

    def _csv(self) -> Any:
        from pyarrow import csv as arrow_csv

        return arrow_csv.open_csv(
            self.path,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=arrow_csv.ParseOptions(delimiter=self._separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(self._raw, self._pa.string())),
        )

    @contextmanager
    def _text(self) -> Iterator[io.TextIOWrapper]:
        compression = "gzip" if str(self.path).lower().endswith(".gz") else None
        with self._pa.input_stream(self.path, compression=compression) as stream:
            yield io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", errors="replace", newline="")

    def _csv_names(self) -> list[str]:
        with self._damage(), self._text() as text:
            start = text.read(HEADER)
        line = start.lstrip("\r\n").partition("\n")[0]
        if not line.strip():
            raise DataError(f"{self.name} is empty; the first line of a CSV file names its columns")
        if "\0" in line:
            raise DataError(f"{self.name} is no CSV file: its first line holds a zero byte")
        if "\ufffd" in line:
            raise DataError(f"{self.name}: its first line is not UTF-8 text; save the file as CSV in UTF-8")
        separators = "\t" if ".tsv" in str(self.path).lower()[-7:] else ",;\t|"
        self._separator = max(separators, key=line.count)
        try:
            return next(record for record in csv.reader(io.StringIO(start), delimiter=self._separator) if record)
        except (csv.Error, StopIteration) as problem:
            raise DataError(f"{self.name} is no CSV file: its first line can't be read ({problem})") from problem

    # -- Parquet

    def _parquet(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.path)

    def _parquet_names(self) -> list[str]:
        with self._damage():
            return list(self._parquet().schema_arrow.names)

    # -- what goes wrong

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (DataError, MemoryError):
            raise
        except (self._pa.ArrowException, OSError, ValueError, TypeError, KeyError) as problem:
            raise DataError(self._told(str(problem))) from problem

    def _told(self, message: str) -> str:
        found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message)
        if found:
            record, wanted, came = map(int, found.groups())
            return (
                f"{self.name}, {self.place(record - 2)}: {came} value{'s' if came > 1 else ''}, and the header names "
                f"{wanted} columns; put text with a comma in it between quotation marks"
            )
        if "invalid UTF8" in message:
            found = re.search(r"column #(\d+): Row #(\d+)", message)
            where = f", {self.place(int(found[2]) - 2)}, {self.columns[int(found[1])]}" if found else ""
            return f"{self.name}{where}: not UTF-8 text; save the file as CSV in UTF-8"
        if "straddl" in message:
            return f"{self.name} has a row longer than {BLOCK:,} bytes: is a quotation mark left open?"
        return (
            f"{self.name} can't be read ({' '.join(message.split())[:200]}): it is damaged, cut short or something else"
        )
