"""Text files: compressed or not, in any encoding, read as UTF-8 in bounded memory."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...endings import COMPRESSED
from ...errors import DataError
from .base import Source, require_pyarrow

BLOCK = 1 << 22  # bytes that are read at once, and the longest a row may be
UNPACKED = 5  # times the size of a compressed file
MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
BEGINNINGS = {
    b"PAR1": "a Parquet file; its name should end in .parquet",
    b"ARROW1": "an Arrow file; its name should end in .arrow",
    b"PK\x03\x04": "a .zip or .xlsx file; a workbook's name should end in .xlsx, and an archive has to be unpacked",
    b"\x1f\x8b": "compressed by gzip; its name should end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; its name should end in .zst",
    b"BZh": "compressed by bzip2; its name should end in .bz2",
    b"\xfd7zXZ": "compressed by xz; unpack it first",
    b"\xd0\xcf\x11\xe0": "an .xls file; save it as .xlsx or .csv",
    b"SQLite format 3": "a database of SQLite; write the table as CSV",
    b"%PDF": "a PDF file",
}


def check_encoding(name: str) -> str:
    """The name of a text encoding. Raises ValueError if Python knows none of this name.

    >>> check_encoding("latin-1")
    'latin-1'
    """
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            f"{name!r} is no text encoding; names are utf-8, utf-16, latin-1, cp1252, cp1251, shift_jis and many others"
        ) from None
    return name


class TextSource(Source):
    """A text file.

    path: the file; another than `name` is a temporary copy. encoding: of its text; UTF-8 if it is None, or UTF-16 or
    UTF-32 by its mark.
    """

    def __init__(self, path: str, name: str, encoding: str | None) -> None:
        self.file, self.name, self.typed = path, name, encoding
        self.path = path if path == name else ""
        with self._bytes() as stream:
            start = stream.read(16)
        self.encoding = encoding or next((found for mark, found in MARKS if start.startswith(mark)), "utf-8")
        for beginning, what in BEGINNINGS.items():
            if start.startswith(beginning):
                raise DataError(f"{name} is no text, but {what}")

    @contextmanager
    def _bytes(self) -> Iterator[Any]:
        packed = next((COMPRESSED[end] for end in COMPRESSED if self.file.lower().endswith(end)), None)
        with require_pyarrow().input_stream(self.file, compression=packed) as stream:
            yield stream

    @contextmanager
    def utf8(self) -> Iterator[Any]:
        """A stream of pyarrow with the text as UTF-8."""
        with self._bytes() as stream:
            if codecs.lookup(self.encoding).name == "utf-8":
                yield stream
            else:
                yield require_pyarrow().transcoding_input_stream(stream, self.encoding, "utf-8")

    @contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """The text, with the line ends as they are, and U+FFFD for what is no text."""
        with self.utf8() as stream:
            yield io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", errors="replace", newline="")

    @property
    def bytes_about(self) -> int:
        """About how many bytes the text has."""
        packed = any(self.file.lower().endswith(end) for end in COMPRESSED)
        return os.path.getsize(self.file) * (UNPACKED if packed else 1)

    def not_text(self, where: str) -> str:
        """The message for text in another encoding, at a place such as ", line 3"."""
        return not_text(self.name, self.typed, where)

    def explain(self, problem: str) -> str | None:
        """Errors of decoding and unpacking in plain words."""
        return explain(problem, self.name, self.typed)


def not_text(name: str, encoding: str | None, where: str = "") -> str:
    """The message for text that is not in `encoding`, which the user gave; None is UTF-8.

    >>> not_text("a.csv", "utf-16", ", line 3")
    'a.csv, line 3: not utf-16 text; --encoding names the encoding that the file was written in'
    """
    if encoding:
        return f"{name}{where}: not {encoding} text; --encoding names the encoding that the file was written in"
    return (
        f"{name}{where}: not UTF-8 text; say what it is, as --encoding cp1252 (Windows), latin-1 or utf-16, or save it "
        "in UTF-8"
    )


def explain(problem: str, name: str, encoding: str | None) -> str | None:
    """An error of decoding or unpacking in plain words; None for another error.

    >>> explain("Truncated compressed stream", "a.csv.gz", None)
    'a.csv.gz is cut short: its compressed text has no end; copy or download it again'
    """
    if "codec can't decode" in problem or "does not start with BOM" in problem:
        return not_text(name, encoding)
    if "Truncated compressed" in problem:
        return f"{name} is cut short: its compressed text has no end; copy or download it again"
    return None


def padded(values: Sequence[Any], width: int) -> list[Any]:
    """The values and as many None as are missing to `width`.

    >>> padded([1], 3)
    [1, None, None]
    """
    return [*values, *[None] * (width - len(values))]
