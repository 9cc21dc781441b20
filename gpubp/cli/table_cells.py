"""The cells of a table as an ONNX file takes them: for each column an input (n, 1) of texts or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..tables import CategoryColumn, Column, NumberColumn, Preparation, TextColumn, YesNoColumn, values
from ..tables.dates import DateFormat, DurationFormat

Array = np.ndarray[Any, Any]
MISSING = 0.1  # the share of cells that are empty in random rows
YEARS = (315_532_800, 1_735_689_600)  # seconds from 1970: the beginning of 1980 and of 2025


def cells(prepared: Preparation, forms: Mapping[str, str], batch: Any, X: Array) -> dict[str, Array]:
    """What the inputs take for a record batch, by the name of the column.

    forms: "text", "number" or "prepared", by the name of the column. X (n, width): what `prepared` makes of the batch.

    >>> import pyarrow
    >>> from gpubp.tables import fit
    >>> table = pyarrow.table({"rooms": ["2", " 4 "], "town": ["Rome", None], "price": [1.5, 2.5]})
    >>> prepared = fit(table, "price")
    >>> batch = table.to_batches()[0]
    >>> found = cells(prepared, {"rooms": "number", "town": "text"}, batch, prepared.transform(batch))
    >>> found["rooms"].tolist(), found["town"].tolist()
    ([[2.0], [4.0]], [['Rome'], ['']])
    """
    found: dict[str, Array] = {}
    for column, place in prepared.places:
        array = batch.column(column.name)
        if forms[column.name] == "prepared":
            found[column.name] = X[:, place]
            continue
        if forms[column.name] == "number":
            read: Any = column if isinstance(column, NumberColumn) else column.written  # type: ignore[attr-defined]
            given = read.read(values.without_marks(array, prepared.missing)).values
        else:
            texts = values.decoded(array) if values.kind_of(array.type) == "text" else values.written(array)
            given = np.array(texts.fill_null("").to_pylist(), object)
        found[column.name] = given.reshape(-1, 1)
    return found


def random_batch(
    prepared: Preparation, forms: Mapping[str, str], examples: Mapping[str, str], rows: int, seed: int = 0
) -> Any:
    """A record batch with random cells that the preparation can read; some are empty.

    examples: a text for columns that are written in a way of their own, such as dates, by name.

    >>> from gpubp.tables import TableTarget
    >>> prepared = Preparation((NumberColumn("rooms", 3.0, 1.0),), TableTarget("price", "numbers"))
    >>> random_batch(prepared, {"rooms": "number"}, {}, 50).column("rooms").null_count > 0
    True
    """
    import pyarrow

    draw = np.random.default_rng(seed)
    made = {}
    for column in prepared.columns:
        cells, kind = _random_cells(column, forms[column.name], examples.get(column.name, ""), rows, draw)
        empty = draw.random(rows) < MISSING
        made[column.name] = pyarrow.array(
            [None if nothing else cell for cell, nothing in zip(cells, empty, strict=True)], kind
        )
    return pyarrow.RecordBatch.from_pydict(made)


def _random_cells(
    column: Column, form: str, example: str, rows: int, draw: np.random.Generator
) -> tuple[Sequence[Any], Any]:
    """(rows,) cells of a column, and their Arrow type."""
    import pyarrow

    text = pyarrow.string()
    if isinstance(column, YesNoColumn):
        return draw.choice(["yes", "no"], rows).tolist(), text
    if isinstance(column, CategoryColumn):
        return draw.choice([*column.levels, "another"], rows).tolist(), text
    if isinstance(column, TextColumn):
        known = [*column.vocabulary.words, "another"]
        lengths = draw.integers(0, column.length + 2, rows).tolist()
        return [" ".join(draw.choice(known, length).tolist()) for length in lengths], text
    written: Any = column.written  # type: ignore[attr-defined]
    if form == "text":  # in which the format says how a number or a date is written
        return [example] * rows, text
    if isinstance(written, DurationFormat):
        return draw.integers(0, 1_000_000, rows).tolist(), pyarrow.duration("s")
    if isinstance(written, DateFormat):
        if written.order == "time":
            return draw.integers(0, 86_400, rows).tolist(), pyarrow.time32("s")
        return draw.integers(*YEARS, rows).tolist(), pyarrow.timestamp("s")
    assert isinstance(column, NumberColumn)
    return column.original(draw.normal(size=rows)).tolist(), pyarrow.float64()
