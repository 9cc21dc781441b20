"""Preparation: turns table rows into numbers and the target into the form that a loss needs; saved as JSON.

A row of X holds the numbers of all columns that are not embedded, in the order of the columns, then one number of a
word for each category that is (see `layers.columns`), and then the words of the columns of text (see `layers.texts`).
The target is no part of X.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..config import Configurable, from_config
from ..errors import DataError, ModelFileError
from ..layers import EmbedColumns, Embedding, WordColumns
from . import values
from .columns import Column, Notes, TextColumn
from .sketch import row_draws
from .table import CellError, Table
from .target import TableTarget
from .text_layers import word_columns

Array = np.ndarray[Any, Any]
METADATA = "table"  # where a network's metadata has it
SPLIT = 0x7AB1E  # the key of the draws that hold rows out


@dataclass(frozen=True, repr=False)
class LeftOut(Configurable):
    """A column that is left out, and why.

    >>> LeftOut("id", "it counts the rows").why
    'it counts the rows'
    """

    name: str
    why: str


@dataclass(frozen=True, repr=False)
class Preparation(Configurable):
    """How the columns of a table become rows of numbers. It is immutable, so threads may share it.

    columns: those that a network sees. target: the one to predict. left_out: the others. header: whether the first line
    of the file named the columns. missing: words in lower case that mean that nothing is known. Made by `fit`.
    width: the numbers of a row.

    >>> import pyarrow
    >>> from gpubp.tables import fit
    >>> table = pyarrow.table({"rooms": [2, 4], "town": ["Rome", "Oslo"], "price": [1.5, 2.5]})
    >>> prepared = fit(table, "price")
    >>> prepared.outputs
    ['rooms', 'town = Oslo', 'town = Rome']
    >>> prepared.transform(table.to_batches()[0]).tolist(), prepared.targets(table.to_batches()[0]).tolist()
    ([[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [-1.0, 1.0])
    """

    columns: tuple[Column, ...]
    target: TableTarget
    left_out: tuple[LeftOut, ...] = ()
    header: bool = True
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("columns", Column), ("left_out", LeftOut)):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not all(isinstance(c, kind) for c in given):
                raise ValueError(f"{name} are a list of columns, and got {given!r:.100}")
        if not isinstance(self.target, TableTarget):
            raise ValueError(f"the target is a column, and got {self.target!r:.100}")
        if not isinstance(self.header, bool):
            raise ValueError(f"a table has a header or none, and got {self.header!r}")
        if not isinstance(self.missing, tuple) or not all(isinstance(mark, str) for mark in self.missing):
            raise ValueError(f"marks of missing values are a list of texts, and got {self.missing!r:.100}")
        named: tuple[Any, ...] = (*self.columns, *self.left_out, self.target)
        names = [c.name for c in named]
        if len(set(names)) != len(names) or not self.columns:
            raise ValueError(f"a table has some columns, each once, and got {', '.join(map(str, names)):.200}")

    @cached_property
    def places(self) -> list[tuple[Column, slice]]:
        """Each column, and which numbers of a row are its own."""
        places, start = [], 0
        for column in sorted(self.columns, key=_part):  # stable: the order of the columns otherwise
            places.append((column, slice(start, start + column.width)))
            start += column.width
        return places

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return int(self.places[-1][1].stop)

    @property
    def outputs(self) -> list[str]:
        """The name of each number of a row."""
        return [name for column, _ in self.places for name in column.outputs]

    @property
    def needed(self) -> list[str]:
        """The names of the columns that `transform` reads, in the order of the table."""
        return [column.name for column in self.columns]

    @property
    def texts(self) -> list[TextColumn]:
        """The columns of text."""
        return [column for column in self.columns if isinstance(column, TextColumn)]

    @property
    def embedding(self) -> EmbedColumns | WordColumns | None:
        """The layer that a network of such rows begins with; None where no column is embedded, or text.

        >>> from gpubp.tables import CategoryColumn
        >>> street = CategoryColumn("street", tuple(f"street {i}" for i in range(90)), embed=9)
        >>> Preparation((street,), TableTarget("price", "numbers")).embedding
        EmbedColumns(Embedding(92, 9))
        """
        return self.embedding_of("bag")

    def embedding_of(self, model: str) -> EmbedColumns | WordColumns | None:
        """The same, with texts read by `model`: "bag", the sum of the vectors of their words, "gru" or "encoder"."""
        words: list[Any] = [column for column, _ in self.places if column.embedded]
        embed = EmbedColumns(*(Embedding(c.vocabulary, c.embed) for c in words)) if words else None
        return word_columns(self.texts, embed, model, self.target.kind == "numbers") if self.texts else embed

    def transform(self, batch: Any, first: int = 0, notes: Notes | None = None) -> Array:
        """X (n, width) float32 of a record batch, whose first row is number `first` of its table.

        notes: takes what is strange and no error, as levels that are new. Raises CellError for a value of the wrong
        kind, DataError where a column is missing.
        """
        notes = Notes() if notes is None else notes
        X = np.zeros((len(batch), self.width), np.float32)
        for column, place in self.places:
            column.fill(X[:, place], self._column(batch, column.name), first, notes)
        return X

    def targets(self, batch: Any, first: int = 0, missing: bool = False) -> Array:
        """Targets for a loss (n,): float32 of mean 0 and deviation 1, or int32 numbers of classes. Raises CellError.

        missing: as `TableTarget.read` takes it.
        """
        found = self.target.read(self._column(batch, self.target.name), first, missing)
        return found.astype(np.int32 if self.target.kind == "classes" else np.float32)

    def _column(self, batch: Any, name: str) -> Any:
        at = batch.schema.get_field_index(name)
        if at < 0:
            raise DataError(f"the table has no column {name!r}; it has {', '.join(batch.schema.names)}")
        return values.without_marks(batch.column(at), self.missing)

    def check(self, columns: Sequence[str], what: str = "the table", target: bool = False) -> list[str]:
        """Raise DataError if a needed column is missing; returns the columns that are not used.

        target: whether the target is needed too.

        >>> from gpubp.tables import NumberColumn
        >>> prepared = Preparation((NumberColumn("rooms", 3.0, 1.0),), TableTarget("price", "numbers"))
        >>> prepared.check(["room", "price"])
        Traceback (most recent call last):
        ...
        gpubp.errors.DataError: the table lacks the column rooms (it has room)
        """
        wanted = [*self.needed, *([self.target.name] if target else [])]
        missing = [name for name in wanted if name not in columns]
        if missing:
            told = [
                f"{name}{close_to(name, [c for c in columns if c not in wanted], ' (it has {})')}" for name in missing
            ]
            raise DataError(f"{what} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(told)}")
        if not self.header:
            self._check_count(columns, what)
        known = {*wanted, self.target.name, *(column.name for column in self.left_out)}
        return [name for name in columns if name not in known]

    def _check_count(self, columns: Sequence[str], what: str) -> None:
        """Without a header a column is known by its place, so that a column more or less shifts the others."""
        count = len(self.columns) + len(self.left_out) + 1
        known = [f"column {i + 1}" for i in range(count)]
        if list(columns) not in (known, known[:-1] if self.target.name == known[-1] else known):
            raise DataError(
                f"{what} has {len(columns)} columns, and {count} are expected, as in training: without a header they "
                f"are known by their place, and {self.target.name} is the target"
            )

    def rows(
        self,
        batch: Any,
        first: int = 0,
        notes: Notes | None = None,
        target: bool = True,
        held: tuple[float, int] | None = None,
    ) -> tuple[Array, Any, Array, Array]:
        """(X, t, held, kept) of a record batch: as `arrays` gives them of a table, and which rows were taken (rows,);
        `first` is the number of its first row.

        Raises CellError, and DataError where a column is missing.
        """
        notes = Notes() if notes is None else notes
        X = self.transform(batch, first, notes)
        part = held_out(first, len(batch), *held) if held else np.zeros(len(batch), bool)
        if not target:
            return X, None, part, np.ones(len(batch), bool)
        t = self.targets(batch, first, missing=True)
        kept = t >= 0 if t.dtype == np.int32 else ~np.isnan(t)
        notes.add(self.target.name, "no target", ~kept, first)
        return (X, t, part, kept) if kept.all() else (X[kept], t[kept], part[kept], kept)

    def arrays(
        self, table: Any, notes: Notes | None = None, target: bool = True, held: tuple[float, int] | None = None
    ) -> tuple[Array, Array | None, Array]:
        """(X, t, held): all rows of a Table, or of what can be made one, as `transform` and `targets` give them.

        target: whether t is wanted; it is None if not, and rows without a target are left out if so. held: the share of
        the rows that are held out, and a seed, for `held_out`; the third array (n,) says which they are.
        Raises DataError with the name of the table and the line or row of a value that can't be used.
        """
        return joined(self.parts(table, notes, target, held))

    def parts(
        self, table: Any, notes: Notes | None = None, target: bool = True, held: tuple[float, int] | None = None
    ) -> Iterator[tuple[Array, Array | None, Array, Array]]:
        """The same in parts of some ten thousand rows, as `rows` gives them."""
        table, rows = Table.like(table, self.header), 0
        self.check(table.columns, table.name, target)
        wanted = [*self.needed, *([self.target.name] if target else [])]
        try:
            for first, batch in table.batches(wanted):
                part = self.rows(batch, first, notes, target, held)
                rows += len(part[0])
                yield part
        except CellError as problem:
            raise table.located(problem) from problem
        if not rows:
            raise DataError(f"{table.name} has no rows{' with a ' + self.target.name if target else ''}")

    def keep_in(self, network: Any) -> None:
        """Put the preparation into the metadata of a network, which is saved with it.

        Raises ValueError where the network takes rows of another width.
        """
        if tuple(network.input_shape) != (self.width,):
            raise ValueError(
                f"the rows of the table are {self.width} numbers, and of the network {network.input_shape}"
            )
        network.metadata[METADATA] = self.config()

    def _trimmed(self) -> Preparation:
        """The same without spaces around names, which versions before kept and `Table` leaves out."""
        named: tuple[Any, ...] = (*self.columns, *self.left_out, self.target)
        if all(c.name == c.name.strip() for c in named):
            return self
        columns: tuple[Any, ...] = self.columns
        return replace(
            self,
            columns=tuple(replace(c, name=c.name.strip()) for c in columns),
            left_out=tuple(replace(c, name=c.name.strip()) for c in self.left_out),
            target=replace(self.target, name=self.target.name.strip()),
        )

    @classmethod
    def of(cls, network: Any) -> Preparation | None:
        """The preparation in a network's metadata, None if there is none. Raises ModelFileError if it is invalid."""
        told = network.metadata.get(METADATA)
        if told is None:
            return None
        try:
            made = from_config(told)
            if not isinstance(made, cls):
                raise ValueError(f"{made!r:.100} is none")
            made = made._trimmed()
            if tuple(network.input_shape) != (made.width,):
                raise ValueError(f"its rows are {made.width} numbers, and those of the network {network.input_shape}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as problem:
            raise ModelFileError(f"the model does not say well how its table is prepared: {problem}") from problem
        return made


def _part(column: Column) -> int:
    """Numbers stand first in a row, then categories that are embedded, then texts."""
    return 2 if isinstance(column, TextColumn) else int(column.embedded)


def joined(parts: Iterable[tuple[Array, Array | None, Array, Array]]) -> tuple[Array, Array | None, Array]:
    """(X, t, held) of all parts of a table, as `Preparation.parts` gives them; t is None where theirs are.

    >>> joined([(np.eye(2), None, np.zeros(2, bool), np.ones(2, bool))])[0].shape
    (2, 2)
    """
    Xs, ts, held, _ = zip(*parts, strict=True)
    return np.concatenate(Xs), None if ts[0] is None else np.concatenate(ts), np.concatenate(held)


def held_out(first: int, rows: int, share: float, seed: int) -> Array:
    """Which of the rows first, first + 1, ... are held out, (rows,) bool: about `share`, drawn by row number.

    >>> held_out(0, 8, 0.5, seed=0).tolist() == [*held_out(0, 3, 0.5, seed=0), *held_out(3, 5, 0.5, seed=0)]
    True
    """
    held: Array = row_draws(first, rows, (seed % 2**64, SPLIT)) < share
    return held


def close_to(name: str, names: Iterable[str], form: str = "; did you mean {}?") -> str:
    """`form` filled with the known names that resemble `name`; an empty text if there are none.

    >>> close_to("pirce", ["price", "rooms"])
    '; did you mean price?'
    """
    lower: Mapping[str, str] = {n.lower(): n for n in names}
    found = [lower[n] for n in difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.6)]
    return form.format(" or ".join(found)) if found else ""
