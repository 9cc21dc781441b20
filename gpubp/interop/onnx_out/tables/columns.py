"""All columns of a table side by side, each by the nodes of its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....errors import ExportError
from ....tables import CategoryColumn, Column, DateColumn, Preparation, TextColumn, YesNoColumn
from ....tables.dates import DurationFormat
from ....tables.formats import NumberFormat
from ....tables.values import NO, YES
from ..graph import BATCH, Value
from .categories import category_columns
from .cells import Cells, cells_of
from .date_texts import read_dates, read_durations
from .forms import NUMBER, PREPARED, TEXT, Form
from .moments import date_columns
from .number_texts import read_numbers
from .rows import Rows
from .scaling import scaled_columns
from .strings import words
from .texts import text_column, unspaced


def check(table: Preparation, forms: Mapping[str, Form]) -> None:
    """Raise ExportError that names every column that can't be written in its form, and says what to do."""
    problems = [why for column in table.columns if (why := _problem(column, forms[column.name].form))]
    if problems:
        raise ExportError("; ".join(problems))


def _problem(column: Column, form: str) -> str:
    """Why a column can't be written in a form, "" if it can."""
    if form != TEXT or not isinstance(column, TextColumn) or not unspaced(column):
        return ""
    return (
        f"{column.name} has words of scripts without spaces between words, which ONNX can't find: "
        f"columns={{{column.name!r}: {PREPARED!r}}}, or --prepared on the command line, takes their numbers, as "
        "Preparation.transform gives them"
    )


def numbers_of(rows: Rows, table: Preparation, forms: Mapping[str, Form], inputs: Mapping[str, Value]) -> Value:
    """X (n, width) float32, as `Preparation.transform` makes it, of the inputs of all columns, by name."""
    g = rows.g
    written = [c for c in table.columns if forms[c.name].form == TEXT and not isinstance(c, TextColumn)]
    tidied = cells_of(rows, [inputs[c.name] for c in written], table.missing)
    cells = {column.name: cell for column, cell in zip(written, tidied, strict=True)}
    made: list[Value] = []
    for column, _ in table.places:
        g.path = column.name
        given, form = inputs[column.name], forms[column.name].form
        if form == PREPARED:
            made.append(given)
        elif isinstance(column, TextColumn):
            made.append(text_column(rows, column, given, table.missing))
        elif isinstance(column, CategoryColumn):
            made += category_columns(rows, column, cells[column.name])
        else:
            read = _given_number(rows, column, given, table.missing) if form == NUMBER else None
            x, nothing, bad, why = read or _read(rows, column, cells[column.name])
            rows.refuse(bad, f"column {column.name}: a value {why}")
            of: Any = date_columns if isinstance(column, DateColumn) else scaled_columns
            made += of(rows, column, x, rows.any(nothing, bad))
    g.path = ""
    return rows.op("Concat", *made, shape=(BATCH, table.width), axis=1) if len(made) > 1 else made[0]


Read = tuple[Value, Value, Value, str]  # x (n,) float64, finite; which are missing; which are bad, and what these are


def _given_number(rows: Rows, column: Any, given: Value, marks: tuple[str, ...]) -> Read:
    """The numbers of an input of numbers."""
    x = rows.flat(given)
    nothing = rows.op("IsNaN", x)
    if not isinstance(column, DateColumn) and isinstance(column.written, NumberFormat):
        for mark in _numbers(marks):
            nothing = rows.any(nothing, rows.op("Equal", x, mark))
    if isinstance(column, YesNoColumn):
        good, why = rows.any(*(rows.op("Equal", x, truth) for truth in (0.0, 1.0))), "is neither 1 for yes nor 0 for no"
    else:
        good, why = rows.no(rows.op("IsInf", x)), "is infinite"
    x = rows.where(rows.all(good, rows.no(nothing)), x, 0.0)
    return x, nothing, rows.no(rows.any(good, nothing)), why


def _read(rows: Rows, column: Any, cells: Cells) -> Read:
    """The numbers of texts."""
    if isinstance(column, YesNoColumn):
        yes, no = (rows.matches(cells.tidy, _truth(answers)) for answers in (YES, NO))
        bad = rows.no(rows.any(yes, no, cells.nothing))
        return rows.where(yes, 1.0, 0.0), cells.nothing, bad, column.wrong("")
    written = column.written
    if isinstance(written, NumberFormat):
        x, bad = read_numbers(rows, column.name, written, cells)
    elif isinstance(written, DurationFormat):
        x, bad = read_durations(rows, cells)
    else:
        x, bad = read_dates(rows, written, cells)
    return x, cells.nothing, bad, written.wrong("1")


def _truth(answers: tuple[str, ...]) -> str:
    *said, number = answers
    return f"{words(said)}|{number}(?:\\.0+)?"


def _numbers(marks: tuple[str, ...]) -> list[float]:
    """The numbers among marks of missing values."""
    found = []
    for mark in marks:
        try:
            number = float(mark)
        except ValueError:
            continue
        if not math.isnan(number):
            found.append(number)
    return found
