"""Workbooks of Excel, .xlsx: the first sheet, by openpyxl, row by row. Cells are read as the text of a CSV file."""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ...errors import DataError, GpubpError, MissingDependencyError
from .base import ROWS, Source, look_like_values, text_batch
from .text import padded

LOOKED_AT = 100  # rows, for the width of the table and for formulas without a value


class Spreadsheet(Source):
    """The first visible sheet of a workbook. header: whether its first row names the columns."""

    def __init__(self, path: str, header: bool) -> None:
        self.path = self.name = path
        self.header = header
        with self._sheets() as sheets:
            self.sheet = sheets[0].title
            rows = list(islice(_filled(sheets[0]), LOOKED_AT))
            others = [s.title for s in sheets[1:] if next(_filled(s), None)]
        if not rows:
            where = f"; its data are in {', '.join(others)}: move that sheet to the front" if others else ""
            raise DataError(f"{path}: the first sheet, {self.sheet}, is empty{where}")
        if others:
            self.notes = (f"{path}: the sheet {self.sheet} is read, and not {', '.join(others)}",)
        self._width = max(len(row) for _, row in rows)
        first = padded([text or "" for text in rows[0][1]], self._width)
        self.names = [text or "" for text in first] if header else [""] * self._width
        self.values_as_names = header and look_like_values([name.strip() for name in self.names])
        self._refuse_formulas(rows)

    @contextmanager
    def _sheets(self, values: bool = True) -> Iterator[list[Any]]:
        """The visible sheets. values: of formulas; if not, the formulas."""
        try:
            import openpyxl
        except ImportError as problem:
            raise MissingDependencyError("Reading .xlsx needs openpyxl: pip install 'gpubp[excel]'") from problem
        book = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of styles and extensions that are not read
                book = openpyxl.load_workbook(self.path, read_only=True, data_only=values)
                sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
                if not sheets:
                    raise DataError(f"{self.path} has no visible sheet")
                for sheet in sheets:
                    sheet.reset_dimensions()  # which some programs write wrongly
                yield sheets
        except (GpubpError, MemoryError):
            raise
        except Exception as problem:  # openpyxl has no class for damage; zipfile, XML, KeyError and others come through
            told = " ".join(str(problem).split())[:120]
            raise DataError(f"{self.path} is no .xlsx workbook, or is damaged or cut short ({told})") from problem
        finally:
            if book is not None:
                book.close()

    def _refuse_formulas(self, rows: Sequence[tuple[int, list[str | None]]]) -> None:
        """Raise DataError for a formula without a value: a program wrote the file that does not calculate."""
        empty = {(number, i) for number, row in rows for i, text in enumerate(padded(row, self._width)) if text is None}
        if not empty:
            return
        with self._sheets(values=False) as sheets:
            for number, row in islice(_filled(sheets[0]), LOOKED_AT):
                for i, text in enumerate(row):
                    if (number, i) in empty and text is not None and text.startswith("="):
                        raise DataError(
                            f"{self.path}, row {number}: {self.names[i] or f'column {i + 1}'} is the formula "
                            f"{text[:40]}, whose value is not in the file: open it in a spreadsheet program and save it"
                        )

    def _rows(self) -> Iterator[tuple[int, list[str | None]]]:
        with self._sheets() as sheets:
            for number, row in islice(_filled(sheets[0]), int(self.header), None):
                if len(row) > self._width:
                    raise DataError(
                        f"{self.path}, row {number}: {len(row)} values, and the first rows have {self._width} columns"
                    )
                yield number, row

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of some ten thousand rows."""
        rows = self._rows()
        while some := list(islice(rows, ROWS)):
            yield text_batch([[row[i] if i < len(row) else None for _, row in some] for i in at])

    def about_rows(self) -> int:
        """About how many rows there are: the file is compressed, and a cell has some bytes."""
        return os.path.getsize(self.path) // (2 * self._width)

    def header_below(self, name: str) -> str:
        """The row, of the first hundred with values."""
        with self._sheets() as sheets:
            for number, row in islice(_filled(sheets[0]), 1, LOOKED_AT):
                if name in [(text or "").strip() for text in row]:
                    return f"row {number}"
        return ""

    def place(self, row: int) -> str:
        """The row, as the spreadsheet counts it."""
        found = next(islice(self._rows(), row, None), None)
        return f"row {found[0]}" if found else super().place(row)


def _filled(sheet: Any) -> Iterator[tuple[int, list[str | None]]]:
    """(number, texts) of the rows in which something stands, without the empty cells at the end."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        texts = [_text(value) for value in row]
        while texts and texts[-1] is None:
            texts.pop()
        if texts:
            yield number, texts


def _text(value: Any) -> str | None:
    """The text of a cell; dates and times as 2024-12-31 18:05:00, durations as 26:30:00.

    >>> _text(datetime.datetime(2024, 12, 31)), _text(True), _text(3.5), _text(datetime.timedelta(hours=26))
    ('2024-12-31', 'true', '3.5', '26:00:00')
    """
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return str(value.date() if midnight else value)
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(value)
