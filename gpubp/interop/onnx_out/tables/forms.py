"""The form in which each column of a table is given to an ONNX graph, and what to say about it.

form       the input of the graph
number     (n, 1) float64, NaN where nothing is known: a number as it stands in the table without its unit, seconds of
           durations and of times of day, seconds since the beginning of 1970 UTC of dates, 1 and 0 of yes and no
text       (n, 1) strings, "" where nothing is known: as the column is written in a file
prepared   (n, width) float32: what `Preparation.transform` makes of the column

Numbers that are written as in a program are given as numbers, and all others as texts, unless it is asked for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....errors import ExportError
from ....tables import (
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    Preparation,
    TextColumn,
    YesNoColumn,
    close_to,
)
from ....tables.dates import DateFormat, DurationFormat
from ....tables.formats import NumberFormat

NUMBER, TEXT, PREPARED = "number", "text", "prepared"
FORMS = (NUMBER, TEXT, PREPARED)


@dataclass(frozen=True)
class Form:
    """How a column is given: one of FORMS. example: a value. told: what to give, in words.

    >>> form_of(NumberColumn("rooms", 3.0, 1.0), NUMBER)
    Form(form='number', example='1234.5', told='a number; NaN where missing')
    """

    form: str
    example: str
    told: str


def possible(column: Column) -> tuple[str, ...]:
    """The forms in which a column can be given, the usual one first.

    >>> possible(NumberColumn("price", 3.0, 1.0, written=NumberFormat(",", "."))), possible(CategoryColumn("a", ("b",)))
    (('text', 'number', 'prepared'), ('text', 'prepared'))
    """
    if isinstance(column, CategoryColumn | TextColumn):
        return TEXT, PREPARED
    plain = (
        isinstance(column, NumberColumn) and not isinstance(column, YesNoColumn) and column.written == NumberFormat()
    )
    return (NUMBER, TEXT, PREPARED) if plain else (TEXT, NUMBER, PREPARED)


def chosen(table: Preparation, columns: Mapping[str, str] | str | None) -> dict[str, Form]:
    """The form of each column that a network sees, by name. columns: those that are asked for.

    Raises ExportError for columns that are not known, and forms that they don't have, all at once.

    >>> from gpubp.tables import TableTarget
    >>> table = Preparation((NumberColumn("rooms", 3.0, 1.0),), TableTarget("price", "numbers"))
    >>> chosen(table, {"rooms": "text"})["rooms"].form
    'text'
    >>> chosen(table, {"room": "text"})
    Traceback (most recent call last):
    ...
    gpubp.errors.ExportError: the network sees no column 'room'; did you mean rooms?
    """
    known, problems = {column.name: column for column in table.columns}, []
    asked = dict.fromkeys(known, columns) if isinstance(columns, str) else dict(columns or {})
    for name, form in asked.items():
        if name not in known:
            problems.append(f"the network sees no column {name!r}{close_to(str(name), known)}")
        elif form not in possible(known[name]):
            forms = " or ".join(possible(known[name]))
            problems.append(f"{name}, a column of kind {known[name].kind}, is given as {forms}, and not as {form!r}")
    if problems:
        raise ExportError("; ".join(problems))
    return {name: form_of(column, asked.get(name, possible(column)[0])) for name, column in known.items()}


def form_of(column: Column, form: str) -> Form:
    """The form `form` of a column."""
    if form == PREPARED:
        one = "1 number" if column.width == 1 else f"{column.width} numbers"
        return Form(form, "", f"{one} as Preparation.transform makes them of the column")
    return Form(form, *(_number(column) if form == NUMBER else _text(column)))


def _number(column: Column) -> tuple[str, str]:
    nothing = "; NaN where missing"
    if isinstance(column, YesNoColumn):
        return "1", f"1 for yes and 0 for no{nothing}"
    written = column.written if isinstance(column, NumberColumn | DateColumn) else None
    if isinstance(written, DurationFormat):
        return "130500", f"a duration in seconds{nothing}"
    if isinstance(written, DateFormat):
        if written.order == "time":
            return "65100", f"a time of day in seconds since midnight{nothing}"
        return "1735603200", f"a date in seconds since 1970-01-01 00:00 UTC{nothing}"
    unit = f" of {written.unit}, without the unit" if isinstance(written, NumberFormat) and written.unit else ""
    return "1234.5", f"a number{unit}{nothing}"


def _text(column: Column) -> tuple[str, str]:
    nothing = "; empty where missing"
    if isinstance(column, YesNoColumn):
        return "yes", f"yes or no, true or false, y or n, t or f, 1 or 0{nothing}"
    if isinstance(column, CategoryColumn):
        level = column.levels[0] if column.levels else ""
        return level, f"a category such as {level:.40}{nothing}" if level else f"a category{nothing}"
    if isinstance(column, TextColumn):
        example = " ".join(column.vocabulary.words[:3])
        return example, f"a text, of which the first {column.length} words are read{nothing}"
    written = column.written if isinstance(column, NumberColumn | DateColumn) else None
    if isinstance(written, DurationFormat):
        return "36:15:20", f"a duration written 36:15 or 36:15:20{nothing}"
    assert written is not None
    what = "a number" if isinstance(written, NumberFormat) else f"a {written.plural[:-1]}"
    if isinstance(written, DateFormat):
        what = "a time of day" if written.order == "time" else "a date"
    return written.example, f"{what} written {written.example}{nothing}"
