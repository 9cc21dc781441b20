"""The choice of a column's kind from what the survey of it has found."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np

from .columns import CategoryColumn, Column, DateColumn, YesNoColumn
from .dates import DateFormat
from .preparation import LeftOut
from .reading_choice import ALIKE, FEW, Dates, Numbers, Others, as_dates, as_numbers, mistake, mistaken, number_format
from .readings import Reading, spread
from .scaling import number_column
from .survey import LARGEST_EXACT, Survey
from .yes_no import yes_and_no

ONE_HOT = 32  # levels; a category of more is embedded
MOST_EMBEDDED = 10_000  # levels; the rarer ones are grouped
LONGEST_VECTOR = 32
RARE = 5  # rows that a level needs, in a table of 500 rows or more
PROSE = 100  # characters a value has in the mean: text, and no category


def choose_column(survey: Survey, categorical: bool, numeric: bool, others: Others) -> Column | LeftOut:
    """The description of a column that is no target. others: the columns of the table.

    Raises CellError for few values of another kind, and where values can be read in two ways.
    """
    name = survey.name
    way_out = f"--categorical {name}, or --drop {name}"
    if survey.kind == "" and survey.rows:
        return LeftOut(name, f"it is of type {survey.type}")
    if not survey.present:
        return LeftOut(name, "it has no value")
    if categorical:
        return _category(survey, asked=True)
    numbers = as_numbers(survey, others)
    dates = None if numeric else as_dates(survey)
    if numeric:
        return _asked_number(survey, numbers)
    if numbers is None and dates is None:
        problem = mistaken(survey, way_out, ONE_HOT)
        if problem is not None:
            raise problem
    if dates is not None:
        return _date(survey, dates)
    if numbers is not None and numbers.reading.whole and survey.numbers.code is not None:
        if survey.counted < survey.present:
            row, shown = survey.numbers.code
            code = Reading(first_wrong=(row, shown))
            raise mistake(
                survey, code, "a code, and begins with other numbers", f"--categorical {name}, or --numeric {name}"
            )
        return _category(survey)
    if numbers is not None:
        return _number(survey, numbers)
    if survey.counted < survey.present and survey.kind == "text":
        raise mistake(
            survey, survey.numbers.best, f"{number_format(survey).wrong()}, and the column begins with numbers", way_out
        )
    answers = yes_and_no(survey.levels.counts)
    if answers is not None:
        p = answers.yes / (answers.yes + answers.no)
        return YesNoColumn(name, p, math.sqrt(p * (1 - p)), survey.missing > 0)
    return _category(survey)


def _asked_number(survey: Survey, numbers: Numbers | None) -> Column:
    """A column that was called numeric. Times of day are numbers of seconds then."""
    if numbers is None and "time" in survey.dates.fitting():
        numbers = Numbers(survey.dates.readings["time"], DateFormat("time"))
    if numbers is None:
        best = survey.numbers.best
        raise mistake(survey, best, number_format(survey).wrong(), f"leave out --numeric {survey.name}")
    name = survey.name
    if numbers.reading.whole and numbers.reading.rising:
        note = "it rises from row to row, as numbers of rows do, and new rows may have other numbers"
    else:
        note = _no_use(survey, numbers.reading) or _rounded(survey, numbers.reading)
    made = number_column(name, *spread(name, numbers.reading), survey.missing > 0, numbers.reading.sample)
    return replace(made, written=numbers.written, note=note)


def _number(survey: Survey, numbers: Numbers) -> Column | LeftOut:
    name, reading, missing = survey.name, numbers.reading, survey.missing > 0
    mean, scale = spread(name, reading)
    why = _no_use(survey, reading)
    if why:
        return LeftOut(name, why)
    if survey.kind == "yes/no":
        return YesNoColumn(name, mean, scale, missing)
    made = number_column(name, mean, scale, missing, reading.sample)
    return replace(made, written=numbers.written, note=_rounded(survey, reading))


def _no_use(survey: Survey, reading: Reading) -> str:
    """Why a column of numbers is of no use, or nothing."""
    moments, missing = reading.moments, survey.missing > 0
    largest = max(abs(moments.low), abs(moments.high))
    if survey.huge.differ and (moments.high - moments.low) / np.spacing(largest) < survey.present / 2:
        return f"it holds whole numbers such as {survey.huge.first}, which differ by less than float64 can tell"
    if moments.low == moments.high and not missing:
        return f"it is {moments.low:g} in every row"
    if reading.whole and reading.by_one and survey.present > 2:
        return "it counts the rows"
    if reading.whole and reading.rising and _called_id(survey.name) and survey.present > 2:
        return "it is called id and rises from row to row"
    return ""


def _rounded(survey: Survey, reading: Reading) -> str:
    largest = max(abs(reading.moments.low), abs(reading.moments.high))
    if not survey.huge.differ or survey.type in ("float", "double", "halffloat"):
        return ""
    step = f"{np.spacing(largest):,.0f}"
    return f"its whole numbers beyond {LARGEST_EXACT:,.0f} are rounded, the largest to multiples of {step}"


def _date(survey: Survey, dates: Dates) -> Column | LeftOut:
    reading, written = dates
    moments, missing = reading.moments, survey.missing > 0
    if moments.low == moments.high and not missing:
        return LeftOut(survey.name, "it is the same in every row")
    if written.order == "time":
        parts: tuple[str, ...] = ("trend", "day")
    else:
        parts = ("trend", "year", "week", *(["day"] if reading.in_the_day else []))
    return DateColumn(survey.name, moments.mean, moments.scale, parts, missing, written)


def _category(survey: Survey, asked: bool = False) -> Column | LeftOut:
    """asked: it was called a category, and is one even where it is of little use."""
    name, levels, rows = survey.name, survey.levels, survey.present
    own = levels.unique or (len(levels.counts) > 0.9 * rows and rows > FEW)
    prose = levels.characters > PROSE * max(1, levels.rows)
    if own and not asked:
        return LeftOut(name, f"nearly every row has a value of its own{_looks(survey)}")
    if prose and not asked:
        return LeftOut(name, f"it is prose, of {levels.characters // levels.rows} characters in the mean")
    least = 1 if own or prose else min(RARE, max(1, survey.rows // 100))
    frequent = [level for level, count in levels.ordered() if count >= least][:MOST_EMBEDDED]
    other = levels.forgotten or len(frequent) < len(levels.counts)
    missing = survey.missing > 0
    width = len(frequent) + other + missing
    if width < 2:
        return LeftOut(name, f"it is {frequent[0]!r} in every row" if frequent else "every value is rare")
    embed = 0 if width <= ONE_HOT else min(LONGEST_VECTOR, math.ceil(math.sqrt(width)))
    note = ""
    if own:
        note = "nearly every row has a value of its own, so that values of new rows are mostly new levels"
    elif len(survey.numbers.units) > 1 and not asked and _alike(survey):
        note = f"{_units(survey)}, and are taken for a category"
    return CategoryColumn(name, tuple(sorted(frequent)), other, missing, embed, note)


def _alike(survey: Survey) -> bool:
    numbers = survey.numbers
    return numbers.tried > 0 and numbers.alike >= ALIKE * numbers.tried


def _units(survey: Survey) -> str:
    units = " and ".join(repr(text) for _, text in sorted(survey.numbers.units.values())[:2])
    return f"its numbers have several units, as {units}"


def _looks(survey: Survey) -> str:
    """What values look like of which nearly every row has its own."""
    if _alike(survey):
        if len(survey.numbers.units) > 1:
            return f"; {_units(survey)}"
        wrong = survey.numbers.best.first_wrong
        return f"; they are numbers written in several ways, as {wrong[1]!r}" if wrong else ""
    some = sorted(survey.levels.counts)[:1000]
    alike = [level for level in some if re.fullmatch(r"\W*(\d+\W*)+", level)]
    if len(alike) < ALIKE * len(some) or not alike:
        return ""
    return f", as {alike[0][:20]!r}, which is neither a number nor a date of a known format"


def _called_id(name: str) -> bool:
    lower = name.lower().replace(" ", "_").replace("-", "_")
    return lower in ("id", "index", "key", "row") or lower.endswith(("_id", "_key")) or name.endswith(("Id", "ID"))
