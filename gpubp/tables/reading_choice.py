"""The choice of the format of a column: of numbers, durations, dates and times; the errors where two formats fit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from .date_survey import ASKED, DOUBTFUL
from .dates import DateFormat, DurationFormat
from .formats import NumberFormat
from .number_survey import Pair, quoted
from .readings import FEW_TEXTS, FEW_WRONG, Reading
from .survey import Survey
from .table import CellError

MOST_CLASSES = 10_000
ROWS_OF_A_CLASS = 2  # in the mean; with fewer nothing is learnt of a class
MANY = 1_000  # classes; of more, each needs ROWS_OF_A_CLASS even where classes were asked for
FEW = 20  # values; of fewer it is hard to say what is a mistake
ALIKE = 0.9  # share of values that are numbers of some format: then it is a column of numbers

# texts that mean that nothing is known, beside those that are always read so
UNKNOWN = frozenset(
    "- -- --- . .. ... * ** x xx n.a. n.a na. n/d nd n.d. nil nul unknown unk missing undefined unavailable tbd tba "
    "inf -inf +inf infinity -infinity none. not_available not_applicable #value! #div/0! #ref! #num! #null! – — "
    "0000-00-00 00.00.0000 00/00/0000".split()
) | {"not available", "not applicable", "not known", "no data", "no value", "not given", "not reported"}


AnyFormat = NumberFormat | DurationFormat | DateFormat


class Numbers(NamedTuple):
    """A column read as numbers: its statistics, and how they are written."""

    reading: Reading
    written: AnyFormat


class Dates(NamedTuple):
    """A column read as dates or times of day: its statistics, and how they are written."""

    reading: Reading
    written: DateFormat


class Others:
    """What the columns of a table say about the format of one of them.

    target: the name of the column to predict. numeric: those that were called so. usual: the decimal mark and the
    thousands separator of columns where none came. comma: a column that has decimal commas, or None.
    """

    def __init__(self, surveys: Iterable[Survey] = (), target: str = "", numeric: Iterable[str] = ()) -> None:
        self.surveys, self.target, self.numeric = list(surveys), target, set(numeric)
        marks: dict[str, Survey] = {}
        separators = set()
        for survey in self.surveys:
            fitting = survey.numbers.fitting() if survey.kind == "text" else []
            if len(fitting) == 1:
                decimal, thousands = survey.numbers.key(fitting[0])
                marks.setdefault(decimal, survey)
                separators |= {thousands} - {""}
        self.comma: Survey | None = marks.get(",")
        one = separators.pop() if len(separators) == 1 else ""
        self.usual = ("," if self.comma is not None and "." not in marks else ".", one)

    def allow(self, option: str, mark: str, but: Survey) -> bool:
        """Whether --decimal or --thousands `mark` leaves a format to all columns but one."""
        at = 0 if option == "--decimal" else 1
        for survey in self.surveys:
            fitting = survey.numbers.fitting() if survey is not but and survey.kind == "text" else []
            keys = [survey.numbers.key(pair) for pair in fitting]
            if keys and not any(key[at] in ("", mark) and key[1 - at] != mark for key in keys):
                return False
        return True

    def allow_dates(self, order: str, but: Survey) -> bool:
        """Whether --dates `order` fits all columns of dates but one."""
        for survey in self.surveys:
            fitting = survey.dates.fitting() if survey is not but and survey.kind == "text" else []
            if set(DOUBTFUL) & set(fitting) and not set(ASKED[order]) & set(fitting):
                return False
        return True

    def way_out(self, survey: Survey) -> str:
        """The options that take a column for what it also may be."""
        if survey.name in self.numeric:
            return f"leave out --numeric {survey.name}"
        if survey.name != self.target:
            return f"--categorical {survey.name}, or --drop {survey.name}"
        return "--loss softmax if these are classes" if can_be_classes(survey) else ""


def can_be_classes(survey: Survey) -> bool:
    """Whether the values of a target are few enough for classes, where classes are asked for."""
    levels = survey.levels
    different = len(levels.counts)
    rare = different > MANY and levels.rows < ROWS_OF_A_CLASS * different
    return not (levels.forgotten or different > MOST_CLASSES or rare)


def as_numbers(survey: Survey, others: Others) -> Numbers | None:
    """The column as numbers or durations; None if it is neither. Raises CellError where two formats fit."""
    numbers, present = survey.numbers, survey.present
    if survey.kind == "duration":
        return Numbers(survey.dates.readings["duration"], DurationFormat())
    if survey.kind != "text":
        reading = numbers.best
        return Numbers(reading, NumberFormat()) if survey.kind != "" and whole_of(reading, present) else None
    fitting = [pair for pair in numbers.fitting() if whole_of(numbers.readings[numbers.key(pair)], present)]
    plain = numbers.all_plain or numbers.unit == ""
    if len(fitting) > 1 and not (fitting[0] == (".", "") and plain and others.comma in (None, survey)):
        raise two_numbers(survey, fitting, others)
    if fitting:
        return Numbers(numbers.readings[numbers.key(fitting[0])], numbers.format(fitting[0], others.usual))
    duration = survey.dates.readings["duration"]
    if "duration" in survey.dates.fitting() and whole_of(duration, present):
        return Numbers(duration, DurationFormat())
    return None


def as_dates(survey: Survey, others: Others) -> Dates | None:
    """The column as dates or times of day; None if it is neither. Raises CellError where two orders fit."""
    dates = survey.dates
    fitting = [order for order in dates.fitting() if whole_of(dates.readings[order], survey.present)]
    if len([order for order in fitting if order in DOUBTFUL]) > 1:
        raise two_dates(survey, others)
    for order in fitting:
        written = dates.format(order)
        if isinstance(written, DateFormat):
            return Dates(dates.readings[order], written)
    if not dates.compact.given_up and whole_of(dates.compact, survey.present):
        return Dates(dates.compact, DateFormat("compact"))
    return None


def whole_of(reading: Reading, present: int) -> bool:
    """Whether the reading fits all values of a column."""
    return reading.wrong == 0 and not reading.given_up and 0 < reading.moments.count == present


def two_numbers(survey: Survey, fitting: list[Pair], others: Others) -> CellError:
    """The error for a column that numbers of two formats fit: what the first value is in each, and by which option.

    An option is for all columns, and only advised where it leaves a format to the others.
    """
    numbers = survey.numbers
    row, shown = min(numbers.examples.values())
    ways = []
    for pair in fitting[:3]:
        written = numbers.format(pair)
        key = numbers.key(pair)
        by = ("--thousands", pair[1]) if not key[0] and key[1] else ("--decimal", pair[0])
        ways.append((f"{value_of(shown, pair, written.unit):.15g}", *by, others.allow(*by, survey)))
    readings = " or ".join(way[0] for way in ways)
    options = [f"{option} {quoted(mark)} for {number}" for number, option, mark, works in ways if works]
    beside = ""
    if others.comma is not None and others.comma is not survey:
        mark = others.comma.numbers.examples[","][1]
        beside = f", and {others.comma.name} is written with a decimal comma ({mark})"
    return CellError(
        row,
        survey.name,
        f"holds {shown!r}, which is {readings}{beside}, and all values can be read both ways: "
        f"{_either(*options, others.way_out(survey))}",
    )


def value_of(text: str, pair: Pair, unit: str) -> float:
    """The number that a text is by a format."""
    import pyarrow

    return float(NumberFormat(*pair, unit).read(pyarrow.array([text])).values[0])


def two_dates(survey: Survey, others: Others) -> CellError:
    """The error for a column of dates that several orders fit, of which no value tells which is right."""
    import pyarrow

    row, shown = survey.dates.first or (0, "")
    days = []
    fitting = [order for order in survey.dates.fitting() if order in DOUBTFUL]
    for order in fitting:
        seconds = float(survey.dates.format(order).read(pyarrow.array([shown])).values[0])
        day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        days.append(f"{day.day} {day:%B %Y}")
    ways = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
    possible = {asked: way for asked, way in ways.items() if set(ASKED[asked]) & set(fitting)}
    options = [f"--dates {asked} for {way}" for asked, way in possible.items() if others.allow_dates(asked, survey)]
    return CellError(
        row,
        survey.name,
        f"holds {shown!r}, which is {' or '.join(dict.fromkeys(days))}, and no value tells which part is the day, "
        f"the month and the year: {_either(*options, others.way_out(survey))}",
    )


def mistaken(survey: Survey, way_out: str, levels: int) -> CellError | None:
    """The error for a column of numbers or dates of which few values are something else; None if it is none.

    way_out: what to do with the column as a whole. levels: as many different values may be categories, with some words
    that mean that nothing is known.
    """
    numbers, dates = survey.numbers, survey.dates
    if survey.kind in ("number", "yes/no") and numbers.best.wrong:
        return _infinite(survey)
    for reading, written in ((numbers.best, number_format(survey)), (dates.best, date_format(survey))):
        count = reading.moments.count
        if not reading.wrong:
            continue
        words = reading.wrong_texts
        unknown = all(word.lower() in UNKNOWN for word in words) and count >= reading.wrong
        if not reading.given_up and reading.few_wrong and count >= FEW:
            return mistake(survey, reading, written, way_out)
        few = len(words) <= FEW_TEXTS and count >= max(FEW, reading.wrong)
        if unknown or few and len(survey.levels.counts) > levels:
            return mistake(survey, reading, written, way_out)
    if numbers.asked and numbers.tried and numbers.alike >= ALIKE * numbers.tried:
        more = f", as {' and '.join(numbers.asked)} says"
        return mistake(survey, numbers.best, number_format(survey), way_out, more)
    if dates.dates and dates.other_order_fits(survey.present):
        more = f", as --dates {dates.dates} says"
        order = ASKED[dates.dates][0]
        return mistake(survey, dates.readings[order], dates.format(order), way_out, more)
    return None


def number_format(survey: Survey) -> NumberFormat:
    """The number format that most values of a column fit."""
    return survey.numbers.format(survey.numbers.pair_of(survey.numbers.best))


def date_format(survey: Survey) -> DateFormat | DurationFormat:
    """The date format that most values of a column fit."""
    return survey.dates.format(survey.dates.order_of(survey.dates.best))


def mistake(survey: Survey, reading: Reading, written: AnyFormat, way_out: str, more: str = "") -> CellError:
    """The error for the first value of another kind. written: the format of the others. more: why it is an error."""
    at, shown = reading.first_wrong or (0, "")
    count, few = reading.moments.count, reading.wrong <= FEW_WRONG * survey.present
    told = f", and {f'{count:,} other values' if few else 'others'} are {written.plural}" if count else ""
    advice = _either("correct it", _missing(reading), way_out)
    return CellError(at, survey.name, f"holds {shown[:40]!r}, {written.wrong(shown)}{more}{told}: {advice}")


def _missing(reading: Reading) -> str:
    """The advice --missing for words that may mean that nothing is known, or no advice."""
    words = sorted({word.lower(): word for word in sorted(reading.wrong_texts)}.values())
    known = all(word.lower() in UNKNOWN for word in words)
    if not words or not known and (len(words) > FEW_TEXTS or any(re.search(r"[\d,…]", word) for word in words)):
        return ""
    return f"--missing {shlex.quote(','.join(words))} if nothing is known there"


def _either(*advice: str) -> str:
    return ", or ".join(word for word in advice if word)


def _infinite(survey: Survey) -> CellError:
    reading = survey.numbers.best
    row, shown = reading.first_wrong or (0, "inf")
    marks = ",".join(sorted(reading.wrong_texts))
    return CellError(
        row,
        survey.name,
        f"holds {shown}, and numbers are finite: --missing {marks} takes it for missing, or correct it",
    )
