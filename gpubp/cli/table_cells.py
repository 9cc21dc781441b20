"""The cells of a table as an ONNX file takes them: for each column an input (n, 1) of texts or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..tables import CategoryColumn, Column, NumberColumn, Preparation, TextColumn, YesNoColumn, values
from ..tables.dates import DateFormat, DurationFormat
from ..tables.formats import NumberFormat

Array = np.ndarray[Any, Any]
MISSING = 0.1  # the share of cells that are empty in random rows
DAY = (0, 86_399)  # seconds
DATES = (-5e9, 1e11)  # seconds from 1970: the years 1811 and 5138


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
            given = np.array(_texts(column, array), object)
        found[column.name] = given.reshape(-1, 1)
    return found


def _texts(column: Column, array: Any) -> list[str]:
    """The cells (n,) of a column as texts; dates, times and durations of a file that has such types as in ISO 8601.

    Raises DataError where the column was learnt from texts of another form.
    """
    kind, written = values.kind_of(array.type), getattr(column, "written", None)
    if kind == "text":
        return list(values.decoded(array).fill_null("").to_pylist())
    if kind in ("nothing", "yes/no") or written is None:
        return list(values.written(array).fill_null("").to_pylist())
    seconds = written.read(array).values
    nothing = np.isnan(seconds)
    if isinstance(written, DurationFormat):
        return ["" if no else _clock(x) for x, no in zip(seconds.tolist(), nothing, strict=True)]
    if isinstance(written, DateFormat) and _is_plain(written):
        moments = (np.where(nothing, 0.0, seconds) * 1e6).round().astype("datetime64[us]")
        texts = [str(moment)[0 if written.order == "iso" else 11 :] for moment in moments]
        return ["" if no else text for text, no in zip(texts, nothing, strict=True)]
    if _is_plain(written):
        return list(values.written(array).fill_null("").to_pylist())
    raise DataError(
        f"the cells of {column.name} are no texts, but each a {kind}, and the ONNX file reads texts such as "
        f"{written.example}: --as-number {column.name} lets it take numbers"
    )


def _is_plain(written: Any) -> bool:
    """Whether such values are written in one way that everybody knows."""
    if isinstance(written, DateFormat):
        return written.order in ("iso", "time")
    return isinstance(written, DurationFormat) or written == NumberFormat()


def _clock(seconds: float) -> str:
    """h:mm:ss, with a fraction if there is one.

    >>> _clock(130520.0), _clock(-60.25)
    ('36:15:20', '-0:01:00.250000')
    """
    whole, part = divmod(round(abs(seconds) * 1e6), 1_000_000)
    fraction = f".{part:06}" if part else ""
    return f"{'-' if seconds < 0 else ''}{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}{fraction}"


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
    if form == "text" and not _is_plain(written):
        return [example] * rows, text
    z = draw.normal(size=rows)
    x = column.original(z) if isinstance(column, NumberColumn) else column.mean + column.scale * z  # type: ignore[attr-defined]
    if isinstance(written, DurationFormat):
        return np.rint(x).astype(np.int64).tolist(), pyarrow.duration("s")
    if isinstance(written, DateFormat):
        kind = pyarrow.time32("s") if written.order == "time" else pyarrow.timestamp("s")
        return np.rint(x.clip(*(DAY if written.order == "time" else DATES))).astype(np.int64).tolist(), kind
    return x.tolist(), pyarrow.float64()
