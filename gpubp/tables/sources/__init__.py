"""The kinds of tables: one file for each, all with the methods of `Source`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ... import endings
from ...endings import ENDINGS, advice, is_stream, is_table
from ...errors import DataError
from .arrow_files import ORC, ArrowFile
from .base import Source, plain, require_pyarrow
from .delimited import Delimited
from .folder import Folder
from .json_lines import JSONLines
from .memory import Memory
from .parquet import Parquet
from .spreadsheet import Spreadsheet
from .standard_input import StandardInput
from .text import check_encoding, explain

__all__ = [
    "ENDINGS",
    "Source",
    "advice",
    "check_encoding",
    "explain",
    "has_first_line",
    "is_table",
    "open_source",
    "plain",
    "require_pyarrow",
]


def open_source(given: Any, encoding: str | None = None, header: bool = True) -> Source:
    """The source of a path, or of a table in memory. encoding, header: as `Table` takes them.

    Raises DataError for a file that is not there, for one of another kind, and for an option that does not go with it.
    """
    if not isinstance(given, str | os.PathLike):
        return _without(Memory(given), "a table in memory", encoding, header)
    path = os.fspath(given)
    if not is_table(path) and not os.path.isdir(path):
        raise DataError(
            f"{path} is no table by its name; tables end in {endings.COUNTED}, or are a folder of Parquet "
            f"files{advice(path)}"
        )
    if is_stream(path):
        return StandardInput(path, encoding, header)
    if os.path.isdir(path):
        return _without(Folder(path), path, encoding, header)
    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    kind = endings.kind(path)
    if kind in endings.JSON_LINES:
        return _without(JSONLines(path, path, encoding), path, None, header)
    if kind in endings.DELIMITED:
        return Delimited(path, path, encoding, header)
    if kind in endings.SPREADSHEETS:
        return _without(Spreadsheet(path, header), path, encoding, True)
    make = Parquet if kind in endings.PARQUET else ORC if kind in endings.ORC else ArrowFile
    return _without(make(path), path, encoding, header)


def has_first_line(given: Any) -> bool:
    """Whether a table has its names in the first line, and so may have none: text, a workbook, standard input.

    >>> has_first_line("houses.csv"), has_first_line("houses.parquet")
    (True, False)
    """
    if not isinstance(given, str | os.PathLike) or os.path.isdir(given):
        return False
    path = os.fspath(given)
    return is_stream(path) or endings.kind(path) in (*endings.DELIMITED, *endings.SPREADSHEETS)


def _without(source: Source, name: str, encoding: str | None, header: bool) -> Source:
    """The source. Raises DataError where an option was given that means nothing for it."""
    if encoding is not None:
        raise DataError(f"{name} has no encoding that could be chosen; leave out --encoding {encoding}")
    if not header:
        raise DataError(f"{name} has the names of its columns in itself; leave out --no-header")
    return source
