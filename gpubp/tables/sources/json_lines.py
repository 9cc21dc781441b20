"""JSON lines: an object in each line. Numbers, truth values and text are read as the text of a CSV file would be."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import DataError
from . import text as text_source
from .base import ROWS, require_pyarrow
from .text import TextSource

MOST = 10_000  # different names


class JSONLines(TextSource):
    """A file with a JSON object in each line, whose keys may differ from line to line.

    The names are found in a first pass. A column with an object or a list in some line is given as an empty list.
    """

    def __init__(self, path: str, name: str, encoding: str | None) -> None:
        super().__init__(path, name, encoding)
        names: dict[str, None] = {}
        self._nested: set[str] = set()
        self._rows = 0
        for row in self._objects():
            self._rows += 1
            names |= dict.fromkeys(row)
            self._nested |= {key for key, value in row.items() if isinstance(value, dict | list)}
            if len(names) > MOST:
                raise DataError(f"{name} has more than {MOST:,} different names in its objects, and these are columns")
        if not names:
            raise DataError(f'{name} is empty; each line of a {".jsonl"} file is an object, as {{"rooms": 3}}')
        self.names = list(names)

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of some ten thousand rows."""
        pa = require_pyarrow()
        wanted = [self.names[i] for i in at]
        rows: list[dict[str, Any]] = []
        for row in self._objects():
            rows.append(row)
            if len(rows) == ROWS:
                yield self._batch(pa, wanted, rows)
                rows = []
        if rows:
            yield self._batch(pa, wanted, rows)

    def _batch(self, pa: Any, wanted: Sequence[str], rows: Sequence[dict[str, Any]]) -> Any:
        arrays = [
            pa.nulls(len(rows), pa.list_(pa.string()))
            if name in self._nested
            else pa.array([_text(row.get(name)) for row in rows], pa.string())
            for name in wanted
        ]
        return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])

    def _objects(self) -> Iterator[dict[str, Any]]:
        for number, line in self._lines():
            try:
                row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
            except UnicodeDecodeError:
                raise DataError(self.not_text(f", line {number}")) from None
            except (ValueError, RecursionError) as problem:
                why = problem.msg if isinstance(problem, json.JSONDecodeError) else "it is nested too deeply"
                raise DataError(f"{self.name}, line {number}: no JSON ({why}); each line is an object") from None
            if not isinstance(row, dict):
                raise DataError(
                    f'{self.name}, line {number}: {line.decode()[:40]} is no object, such as {{"rooms": 3}}; a file '
                    "that is one list becomes lines by pandas.read_json(a).to_json(b, orient='records', lines=True)"
                )
            yield row

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """(number, line) of the lines that are not blank."""
        most, number = text_source.BLOCK, 0
        with self.utf8() as stream:
            lines = io.BufferedReader(stream)
            while line := lines.readline(most + 1):
                number += 1
                if len(line) > most:
                    raise DataError(f"{self.name}, line {number}: it is longer than {most:,} bytes")
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line.strip()

    def about_rows(self) -> int:
        """The number of rows."""
        return self._rows

    def place(self, row: int) -> str:
        """The line."""
        for at, (number, _) in enumerate(self._lines()):
            if at == row:
                return f"line {number}"
        return super().place(row)


def _text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
