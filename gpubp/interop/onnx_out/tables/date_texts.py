"""Nodes that read dates, times of day and durations from texts: `gpubp.tables.dates` in a graph.

A regular expression says which texts are written so. Then a text is split at all that is no digit, and the groups of
digits that remain are year, month, day, hour, minute, second and its fraction, in the order of the format. Where a
group may be left out before others, as the day of 2024/12, another expression tells so, and it is put in.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import NamedTuple

from ....tables.dates import FIRST_YEAR, LAST_YEAR, MONTHS, DateFormat
from ..graph import BATCH, Value
from .calendar import of_two_halves, seconds_of_date, seconds_of_day
from .cells import Cells
from .rows import Rows
from .strings import W, parts, places, tokens

GROUPS = 8  # of digits, at most, in a date
_MINUTE, _SECOND = "[0-5][0-9]", "[0-5][0-9](?:[.,][0-9]{1,9})?"
_AFTER = f"(?::{_MINUTE}(?::{_SECOND})?)?"
_S = r"[\t\n\f\r ]"  # a space in a date
_HALF = rf"{_S}?[AaPp]\.?[Mm]\.?"
_H24, _H12 = "(?:[01]?[0-9]|2[0-3])", "(?:0?[1-9]|1[0-2])"
_CLOCK = f"(?:{_H24}{_AFTER}|{_H12}{_AFTER}{_HALF})"
_TIME = rf"(?:[T ,]{_S}*{_CLOCK})?"
_DAY, _YEAR = "[0-9]{1,2}", "(?:[0-9]{4}|[0-9]{2})"
_ISO = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO_CLOCK = rf"(?:[01][0-9]|2[0-3])(?::{_MINUTE}(?::[0-5][0-9](?:\.[0-9]{{1,9}})?)?)?"
_ZONE = r"(?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?"
_SPACED_ZONE = r"(?:[01][0-9]|2[0-3]):?[0-5][0-9]"
# what may stand behind the first three letters of each month
_LONG = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "(?:t|t?ember)", "ober", "ember", "ember")
_HALF_LETTERS = "AaPpMm"


class Groups(NamedTuple):
    """Groups of digits of texts. texts: (n, 8) as they are written, empty behind the last. numbers: in float64."""

    texts: Value
    numbers: Value


def read_durations(rows: Rows, cells: Cells) -> tuple[Value, Value]:
    """Seconds of durations (n,) float64, 0 where there is none, and which texts are bad.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> cells = Cells(*(Value(name, ("batch",)) for name in ("given", "tidy", "nothing")))
    >>> [found.shape for found in read_durations(rows, cells)]
    [('batch',), ('batch',)]
    """
    days, rest = f"[0-9]+{_S}+days?,?{_S}+", f"[0-9]+:{_MINUTE}(?::{_SECOND})?"
    good = rows.all(rows.matches(cells.given, f"{W}[-+]?(?:{days})?{rest}{W}"), rows.no(cells.nothing))
    text = rows.where(good, cells.tidy, "0:00")
    found = _groups(rows, text, ["days", "day", " ", ":", ",", ".", "-", "+"])
    found = _put_in(rows, found, rows.matches(text, f"[-+]?{rest}"), 0, "0")
    day = rows.op("Mul", rows.column(found.numbers, 0), 86400.0)
    hour, minute = (rows.column(found.numbers, k) for k in (1, 2))
    seconds = rows.op("Add", day, seconds_of_day(rows, hour, minute, _second(rows, found, 3)))
    below = rows.matches(text, "-.*")
    return rows.where(below, rows.op("Neg", seconds), seconds), rows.no(rows.any(good, cells.nothing))


def read_dates(rows: Rows, written: DateFormat, cells: Cells) -> tuple[Value, Value]:
    """Seconds since 1970 or since midnight (n,) float64, 0 where there is none, and which texts are bad.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> cells = Cells(*(Value(name, ("batch",)) for name in ("given", "tidy", "nothing")))
    >>> [found.shape for found in read_dates(rows, DateFormat("dmy", "."), cells)]
    [('batch',), ('batch',)]
    """
    pattern = f"{W}(?:{_pattern(written)}){W}"
    good = rows.all(rows.matches(cells.given, pattern), rows.no(cells.nothing))
    if written.order == "name":  # i and k of other alphabets count as letters in any case
        good = rows.all(good, rows.matches(cells.tidy, r"[\x00-\x7f]*"))
    example = "2024-12-31" if written.order == "iso" else written.example
    text = rows.where(good, cells.tidy, example)
    read = {"iso": _iso, "name": _named, "compact": _compact, "time": _time}.get(written.order, _numeric)
    seconds, real = read(rows, text, written)
    good = rows.all(good, real)
    return rows.where(good, seconds, 0.0), rows.no(rows.any(good, cells.nothing))


def _pattern(written: DateFormat) -> str:
    order, s = written.order, _separator(written)
    if order == "iso":
        zone = f"(?:Z|[+-]{_ZONE})?"
        minutes = rf"(?:[01][0-9]|2[0-3]):{_MINUTE}(?::[0-5][0-9](?:\.[0-9]{{1,9}})?)?"
        return rf"{_ISO}(?:[T ](?:{_ISO_CLOCK}{zone}|{minutes} ?(?:UTC|GMT|Z)|{minutes} [+-]{_SPACED_ZONE}))?"
    if order == "my":
        return f"{_DAY}{s}[0-9]{{4}}"
    if order == "ymd":
        return f"[0-9]{{4}}{s}{_DAY}(?:{s}{_DAY})?{_TIME}"
    if order == "yymd":
        return f"[0-9]{{2}}{s}{_DAY}{s}{_DAY}{_TIME}"
    if order == "name":
        return "|".join(_names("|".join(f"{m}(?:{_LONG[k]})?" for k, m in enumerate(MONTHS))))
    if order == "compact":
        return r"[0-9]{8}(?:\.0+)?"
    if order == "time":
        return f"{_H24}:{_MINUTE}(?::{_SECOND})?|{_H12}{_AFTER}{_HALF}"
    return f"{_DAY}{s}{_DAY}{s}{_YEAR}{_TIME}"


def _separator(written: DateFormat) -> str:
    return rf"{_S}?[{written.separator}]{_S}?"


def _names(month: str) -> list[str]:
    """31 Dec 2024, Dec 31, 2024 and Dec 2024 with a pattern of months."""
    weekday = rf"(?i:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?{_S}+)?"
    day, month = rf"{_DAY}(?:st|nd|rd|th|\.)?", rf"(?i:{month})\.?"
    return [
        rf"{weekday}{day}[ -]?{month}[ ,-]{_S}*{_YEAR}{_TIME}",
        rf"{weekday}{month}{_S}*{day},?{_S}+{_YEAR}{_TIME}",
        rf"{month}[ -][0-9]{{4}}",
    ]


def _numeric(rows: Rows, text: Value, written: DateFormat) -> tuple[Value, Value]:
    order = written.order
    found = _groups(rows, text, list(dict.fromkeys([written.separator, *" T,:.", *_HALF_LETTERS])))
    if order == "my":
        found = _put_in(rows, found, rows.always(), 0, "1")
        order = "dmy"
    if order == "ymd":
        month_alone = rows.matches(text, f"[0-9]{{4}}{_separator(written)}{_DAY}{_TIME}")
        found = _put_in(rows, found, month_alone, 2, "1")
    at = {"dmy": (2, 1, 0), "mdy": (2, 0, 1), "ymd": (0, 1, 2), "yymd": (0, 1, 2)}[order]
    return _date_and_time(rows, text, found, at)


def _named(rows: Rows, text: Value, written: DateFormat) -> tuple[Value, Value]:
    small = rows.op("StringNormalizer", text, case_change_action="LOWER", is_case_sensitive=1, locale="C")
    found = _groups(rows, small, [*" -,.:", *string.ascii_lowercase])
    month_alone = rows.matches(text, _names("[a-z]+")[2])
    found = _put_in(rows, found, month_alone, 0, "1")
    month = None
    for k, name in enumerate(MONTHS):
        ways = "|".join(_names(f"{name}(?:{_LONG[k]})?"))
        one = rows.where(rows.matches(text, ways), float(k + 1), 0.0)
        month = one if month is None else rows.op("Add", month, one)
    assert month is not None
    return _date_and_time(rows, text, found, (1, None, 0), month)


def _date_and_time(
    rows: Rows, text: Value, found: Groups, at: Sequence[int | None], month: Value | None = None
) -> tuple[Value, Value]:
    """Seconds and whether there is such a day. at: the groups of year, month and day; the others follow."""
    year_at, month_at, day_at = at
    assert year_at is not None and day_at is not None
    if month is None:
        assert month_at is not None
        month = rows.column(found.numbers, month_at)
    year = rows.column(found.numbers, year_at)
    century = rows.where(rows.op("GreaterOrEqual", year, 69.0), 1900.0, 2000.0)
    short = rows.matches(rows.column(found.texts, year_at), "[0-9]{2}")
    year = rows.where(short, rows.op("Add", year, century), year)
    days, real = seconds_of_date(rows, year, month, rows.column(found.numbers, day_at))
    return rows.op("Add", days, _clock(rows, text, found, 2 if month_at is None else 3)), real


def _clock(rows: Rows, text: Value, found: Groups, first: int) -> Value:
    """Seconds since midnight of the groups from number `first` on."""
    hour, minute = (rows.column(found.numbers, first + k) for k in (0, 1))
    half = rows.matches(text, rf".*[0-9]{_HALF}")
    after = rows.matches(text, rf".*[0-9]{_S}?[Pp]\.?[Mm]\.?")
    return seconds_of_day(rows, of_two_halves(rows, hour, half, after), minute, _second(rows, found, first + 2))


def _second(rows: Rows, found: Groups, at: int) -> Value:
    """A second with its fraction, which is the next group."""
    whole, fraction = rows.column(found.numbers, at), rows.column(found.texts, at + 1)
    begun = rows.op("StringConcat", "0", rows.mark(), shape=(1,))
    part = rows.cast(rows.op("StringConcat", begun, rows.op("StringConcat", fraction, "0")), "DOUBLE")
    return rows.op("Add", whole, part)


def _iso(rows: Rows, text: Value, written: DateFormat) -> tuple[Value, Value]:
    west = rows.matches(text, f".*[T ][0-9:.]* ?-{_ZONE}")
    local, ahead = parts(rows, text, "+", 2)
    year, month, rest, behind = parts(rows, local, "-", 4)
    for piece in ("-", month, "-", rest):
        year = rows.op("StringConcat", year, piece)
    zone = rows.op("StringConcat", *parts(rows, rows.where(west, behind, ahead), ":", 2))
    zone = rows.op("StringConcat", zone, rows.where(rows.matches(zone, "[0-9]{2}"), "00", ""))
    clock = rows.cast(rows.where(rows.op("Equal", zone, ""), "0", zone), "DOUBLE")
    hours = rows.op("Floor", rows.op("Div", clock, 100.0))
    minutes = rows.op("Sub", clock, rows.op("Mul", hours, 40.0))  # 100 h + m - 40 h = 60 h + m
    shift = rows.op("Mul", rows.where(west, rows.op("Neg", minutes), minutes), 60.0)
    found = _groups(rows, year, [*"- T:.ZUCGM"])
    of_year, of_month, of_day, hour, minute = (rows.column(found.numbers, k) for k in range(5))
    days, real = seconds_of_date(rows, of_year, of_month, of_day, first_year=0)
    seconds = rows.op("Add", days, seconds_of_day(rows, hour, minute, _second(rows, found, 5)))
    return rows.op("Sub", seconds, shift), real


def _compact(rows: Rows, text: Value, written: DateFormat) -> tuple[Value, Value]:
    x = rows.cast(parts(rows, text, ".", 2)[0], "DOUBLE")
    year = rows.op("Floor", rows.op("Div", x, 10_000.0))
    rest = rows.op("Sub", x, rows.op("Mul", year, 10_000.0))
    month = rows.op("Floor", rows.op("Div", rest, 100.0))
    day = rows.op("Sub", rest, rows.op("Mul", month, 100.0))
    seconds, real = seconds_of_date(rows, year, month, day, FIRST_YEAR)
    return seconds, rows.all(real, rows.op("LessOrEqual", year, float(LAST_YEAR)))


def _time(rows: Rows, text: Value, written: DateFormat) -> tuple[Value, Value]:
    found = _groups(rows, text, [*" :,.", *_HALF_LETTERS])
    return _clock(rows, text, found, 0), rows.always()


def _groups(rows: Rows, text: Value, delimiters: Sequence[str]) -> Groups:
    """The pieces between delimiters, which are groups of digits."""
    g = rows.g
    pieces, of = tokens(rows, text, delimiters)
    place, _ = places(rows, of)
    at = rows.op("Add", rows.op("Mul", of, GROUPS, shape=of.shape), place, shape=of.shape)
    size = rows.op("Mul", rows.count(), GROUPS, shape=(1,))
    empty = rows.op("Expand", "", size, shape=("groups",))
    filled = g.node("ScatterElements", [empty, at, pieces], ("groups",), axis=0)
    texts = g.node("Reshape", [filled, g.whole(-1, GROUPS)], (BATCH, GROUPS))
    return _numbered(rows, texts)


def _numbered(rows: Rows, texts: Value) -> Groups:
    nothing = rows.op("Equal", texts, "", shape=texts.shape)
    return Groups(texts, rows.cast(rows.op("Where", nothing, "0", texts, shape=texts.shape), "DOUBLE"))


def _put_in(rows: Rows, found: Groups, where: Value, at: int, digits: str) -> Groups:
    """The groups with `digits` put in as number `at`, in the rows `where`."""
    g, texts = rows.g, found.texts
    before = g.node("Slice", [texts, g.whole(0), g.whole(at), g.whole(1)], (BATCH, at))
    after = g.node("Slice", [texts, g.whole(at), g.whole(GROUPS - 1), g.whole(1)], (BATCH, GROUPS - 1 - at))
    column = rows.side_by_side([rows.where(where, digits, digits)])
    shape = (BATCH, GROUPS)
    longer = rows.op("Concat", *([before] if at else []), column, after, shape=shape, axis=1)
    return _numbered(rows, rows.op("Where", rows.side_by_side([where]), longer, texts, shape=shape))
