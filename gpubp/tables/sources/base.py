"""Source: what all kinds of tables can do, and the types of columns that the rest of the package is given."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import MissingDependencyError

ROWS = 1 << 15  # of a batch


class Source(ABC):
    """A table as it is stored.

    name: to call it by. names: the names of its columns, as they are written. notes: what the user should know of it.
    path: of the file or folder, "" if there is none. values_as_names: whether the names look like a row of values.
    """

    name: str
    names: list[str]
    notes: tuple[str, ...] = ()
    path: str = ""
    values_as_names: bool = False

    @abstractmethod
    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Yield record batches of the columns with these numbers, in this order, from the first row to the last."""

    @abstractmethod
    def about_rows(self) -> int:
        """How many rows there are, or about how many."""

    def place(self, row: int) -> str:
        """The name of row number `row`, counted from 0."""
        return f"row {row + 1}"

    def places(self, rows: Sequence[int]) -> list[str]:
        """The names of several rows."""
        return [self.place(row) for row in rows]

    def group_sizes(self) -> list[int]:
        """How many rows each part has that can be read by itself where it lies; an empty list if there are none."""
        return []

    def header_below(self, name: str) -> str:
        """The name of the row, below the first, in which `name` stands as a header does; "" if there is none."""
        return ""

    def explain(self, problem: str) -> str | None:
        """An error of pyarrow in plain words; None if the error is not known."""
        return None


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


def plain(array: Any) -> Any:
    """An Arrow array of the same values in a type that all functions of pyarrow know.

    Dictionaries and run-end encoded arrays are decoded. Views of text become text. The extension types arrow.json and
    arrow.bool8 become text and truth values. Any other array stays as it is.

    >>> import pyarrow
    >>> plain(pyarrow.array(["a", "b", "a"]).dictionary_encode()).type
    DataType(string)
    """
    import pyarrow
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        return plain(array.dictionary).take(array.indices)
    if types.is_run_end_encoded(kind):
        rows = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(array.run_ends.to_numpy(), rows, side="right")
        return plain(array.values).take(pyarrow.array(runs))
    if str(kind) == "string_view":
        try:
            return array.cast(pyarrow.string())
        except pyarrow.ArrowNotImplementedError:  # by older versions
            return pyarrow.array(array.to_pylist(), pyarrow.string())
    extension = getattr(kind, "extension_name", "")
    if extension == "arrow.json":
        return plain(array.storage)
    if extension == "arrow.bool8":
        return array.storage.cast(pyarrow.bool_())
    return array


def text_batch(columns: Sequence[list[str | None]]) -> Any:
    """A record batch of columns of text.

    >>> text_batch([["a", None], ["b", "c"]]).num_rows
    2
    """
    import pyarrow

    arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
    return pyarrow.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])


_NUMBER = re.compile(r"[-+]?[$€£]?\s?(\d[\d.,' ]*|\.\d+)(e[-+]?\d+)?\s?[%€]?", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d\d(:\d\d)?")
_FRACTION = re.compile(r"[-+]?\d*[.,]\d+(e[-+]?\d+)?", re.IGNORECASE)


def look_like_values(names: Sequence[str]) -> bool:
    """Whether the names of columns look like a row of values: many numbers or dates, a fraction, or repeated words.

    Names that count, as years or pandas' 0, 1, 2 do, are names.

    >>> look_like_values(["5.1", "3.5", "setosa"]), look_like_values(["town", "2019", "2020", "2021"])
    (True, False)
    """
    numbers = [name for name in names if _NUMBER.fullmatch(name) or _DATE.fullmatch(name)]
    if any(_FRACTION.fullmatch(name) for name in numbers):
        return True
    whole = [int(name) for name in numbers if name.isascii() and name.isdigit() and len(name) < 10]
    if len(whole) == len(numbers) > 1 and all(b - a == 1 for a, b in zip(whole, whole[1:], strict=False)):
        return False
    given = [name for name in names if name]
    return 3 * (len(numbers) + len(given) - len(set(given))) > max(3, len(names))
