"""CSV and its relatives: rows of text, separated by commas, semicolons, tabs, bars or spaces.

Values are read as text, whatever they look like: what a column is follows from the whole of it and not from its first
rows.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ...endings import kind
from ...errors import DataError
from . import text as text_source
from .base import look_like_values, require_pyarrow
from .text import TextSource

HEADER = 1 << 20  # bytes that the first line may have
LOOKED_AT = 100  # lines, to find the separator
SEPARATORS, SPACES = ",;\t|", " "
_DECIMAL_COMMA = re.compile(r"[-+]?\d+(\.\d{3})*,\d+|[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
_SAID = re.compile(r"sep=([,;\t|])\r?\n", re.IGNORECASE)  # Excel writes and reads such a first line
_ENDS, _GAP = re.compile(rb"^[ \t]+|[ \t]+(?=\r?$)", re.MULTILINE), re.compile(rb"[ \t]+")
_QUOTED = re.compile(rb'("(?:[^"]|"")*")')


class Delimited(TextSource):
    """A file whose lines are rows.

    header: whether the first line names the columns; if not, they are called column 1, column 2, ... separator: the
    one of the file, " " for runs of spaces and tabs.
    """

    def __init__(self, path: str, name: str, encoding: str | None, header: bool) -> None:
        super().__init__(path, name, encoding)
        self.header = header
        with self.text() as text:
            start = text.read(HEADER)
        said = _SAID.match(start)
        self._skipped = int(bool(said))
        start = start[said.end() :] if said else start
        line = next((line for line in io.StringIO(start, newline="") if line.strip("\r\n")), "")
        if not line.strip():
            told = "; the first line of a CSV file names its columns" if header else ""
            raise DataError(f"{name} is empty{told}")
        if "\0" in line:
            hint = "; if it is UTF-16, say --encoding utf-16-le" if "\0" in line[:4] and encoding is None else ""
            raise DataError(f"{name} is no CSV file: its first line holds a zero byte{hint}")
        if "\ufffd" in line:
            raise DataError(self.not_text(", line 1"))
        ending = kind(path)
        if said:
            self.separator = said[1]
        else:
            self.separator = "\t" if ending in (".tsv", ".tab") else find_separator(start, ending != ".csv")
        if self.separator == SPACES:
            start = one_tab(start.encode("utf-8", "replace")).decode()
        try:
            first = next(
                record for record in csv.reader(io.StringIO(start, newline=""), delimiter=self._mark) if record
            )
        except (csv.Error, StopIteration) as problem:
            raise DataError(f"{name} is no CSV file: its first line can't be read ({problem})") from problem
        self.names = first if header else [""] * len(first)
        self.values_as_names = header and look_like_values([word.strip() for word in first])

    @property
    def _mark(self) -> str:
        return "\t" if self.separator == SPACES else self.separator

    @contextmanager
    def utf8(self) -> Iterator[Any]:
        """As of every text, with one tab for each run of spaces where these are the separator."""
        with super().utf8() as stream:
            separated = getattr(self, "separator", ",") == SPACES
            yield require_pyarrow().TransformInputStream(stream, _Tabs()) if separated else stream

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of text of some megabytes of the file."""
        pa = require_pyarrow()
        from pyarrow import csv as arrow_csv

        known = self.names if self.header else [str(i) for i in range(len(self.names))]
        with self.utf8() as stream:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(
                    use_threads=False,
                    block_size=text_source.BLOCK,
                    column_names=None if self.header else known,
                    skip_rows=self._skipped,
                ),
                parse_options=arrow_csv.ParseOptions(delimiter=self._mark, newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(known, pa.string())),
            )
            for batch in reader:
                yield pa.RecordBatch.from_arrays([batch.column(i) for i in at], names=[str(i) for i in at])

    def _ends_in_separators(self) -> bool:
        """Whether the first rows end in a separator, one for each."""
        with self.text() as text:
            lines = [line.rstrip() for line in islice(text, 1 + self._skipped, LOOKED_AT) if line.strip()]
        return self.separator in ",;|" and all(line.endswith(self.separator) for line in lines)

    def about_rows(self) -> int:
        """From the size of the file and that of the first rows."""
        batch = next(self.batches(range(len(self.names))), None)
        if not batch:
            return 0
        row = batch.nbytes / len(batch) - 3 * batch.num_columns  # text with 4 bytes a cell for its place; here a comma
        return int(self.bytes_about / max(row, 1.0))

    def place(self, row: int) -> str:
        """The line, as an editor counts, or the row where that can't be found."""
        return self.places([row])[0]

    def places(self, rows: Sequence[int]) -> list[str]:
        """The lines of several rows, in one pass over the file."""
        found, wanted = {}, set(rows)
        try:
            with self.text() as text:
                reader = csv.reader(text, delimiter=self._mark)
                before, records = 0, -1 - self.header - self._skipped
                for record in reader:
                    records += bool(record)
                    if record and records in wanted:
                        found[records] = f"line {before + 1}"
                        if len(found) == len(wanted):
                            break
                    before = reader.line_num
        except (OSError, ValueError, csv.Error):
            pass
        return [found.get(row, f"row {row + 1}") for row in rows]

    def header_below(self, name: str) -> str:
        """The line, of the first hundred, whatever separates its names."""
        with self.text() as text:
            for number, line in enumerate(islice(text, 1, LOOKED_AT), 2):
                words = [re.split(re.escape(mark), line) for mark in SEPARATORS] if len(line) < HEADER else []
                if any(name in [word.strip().strip("\"'").strip() for word in some] for some in words):
                    return f"line {number}"
        return ""

    def explain(self, problem: str) -> str | None:
        """Errors of pyarrow's reader with the line."""
        found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", problem)
        if found:
            record, wanted, came = map(int, found.groups())
            who = "the header names" if self.header else "the first line has"
            if self.header and came == wanted + 1 and self._ends_in_separators():
                mark = _NAMES[self.separator]
                return f"{self.name}: the lines end in {mark}, but not the header; add {mark} at its end too"
            where = self.place(record - 1 - self.header - self._skipped)
            return (
                f"{self.name}, {where}: {came} value{'s' if came > 1 else ''}, and {who} "
                f"{wanted} columns; put text with {_NAMES[self.separator]} in it between quotation marks"
            )
        if "invalid UTF8" in problem:
            found = re.search(r"column #(\d+): Row #(\d+)", problem)
            if not found:
                return self.not_text("")
            column = self.names[int(found[1])].strip() or f"column {int(found[1]) + 1}"
            return self.not_text(f", {self.place(int(found[2]) - 1 - self.header - self._skipped)}, {column}")
        if "straddl" in problem:
            return f"{self.name} has a row longer than {text_source.BLOCK:,} bytes: is a quotation mark left open?"
        return super().explain(problem)


_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", SPACES: "a space"}


def find_separator(start: str, spaces: bool) -> str:
    """The separator of a text that begins with `start`: one of , ; tab | or, if `spaces`, " " for runs of spaces.

    It is the one that divides the first hundred lines into the same number of fields, the larger number of two; not a
    comma that is a decimal comma. If there is none, it is the most frequent one of the first line.

    >>> find_separator("area;price\\n11,5;200\\n", False), find_separator("1.5   2\\n10.5  3\\n", True)
    (';', ' ')
    """
    lines = list(islice(filter(str.strip, io.StringIO(start, newline="")), LOOKED_AT + 1))
    lines = lines[:LOOKED_AT] if len(lines) > 1 and (len(lines) > LOOKED_AT or len(start) == HEADER) else lines
    found = {}
    for mark in SEPARATORS:
        fields = _fields(lines, mark)
        if fields:
            found[mark] = fields
    if spaces:
        fields = _fields([one_tab(line.encode("utf-8", "replace")).decode() for line in lines], "\t")
        decimal = "," in found and fields and _commas_are_decimal(fields)
        if fields and ("\t" in found or decimal or not found):
            found = {mark: f for mark, f in found.items() if mark not in "\t,"} | {SPACES: fields}
    others = [mark for mark in found if mark != ","]
    if "," in found and any(_commas_are_decimal(found[mark]) for mark in others):
        del found[","]
    if not found:
        return max(SEPARATORS, key=lines[0].count)
    return max(found, key=lambda mark: len(found[mark][0]))


def _fields(lines: Sequence[str], mark: str) -> list[list[str]] | None:
    """The fields of each row; None if their number differs, or is 1."""
    try:
        records = [record for record in csv.reader(lines, delimiter=mark) if record]
    except csv.Error:
        return None
    counts = {len(record) for record in records}
    return records if len(counts) == 1 and counts != {1} else None


def _commas_are_decimal(records: Sequence[Sequence[str]]) -> bool:
    with_comma = [field.strip() for record in records for field in record if "," in field]
    return bool(with_comma) and all(map(_DECIMAL_COMMA.fullmatch, with_comma))


def one_tab(text: bytes) -> bytes:
    """A tab for each run of spaces and tabs between values; none at the beginning and the end of a line.

    >>> one_tab(b'  1.5   2 "a  b"  ')
    b'1.5\\t2\\t"a  b"'
    """

    if b'"' not in text:
        return b"\n".join([b"\t".join(line.split()) for line in text.split(b"\n")])  # the quickest way
    text = _ENDS.sub(b"", text)
    return b"".join(part if i % 2 else _GAP.sub(b"\t", part) for i, part in enumerate(_QUOTED.split(text)))


class _Tabs:
    """`one_tab` of a stream: whole lines are converted, what follows the last of them waits."""

    def __init__(self) -> None:
        self._rest = b""

    def __call__(self, part: Any) -> bytes:
        text = self._rest + bytes(part)
        end = text.rfind(b"\n") + 1 if len(part) else len(text)
        self._rest = text[end:]
        return one_tab(text[:end])
