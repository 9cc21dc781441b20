"""The choice of a column's kind from what the survey of it has found."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from .columns import CategoryColumn, Column, DateColumn, TextColumn, YesNoColumn
from .dates import DateFormat
from .number_use import no_use, rounded
from .preparation import LeftOut
from .reading_choice import ALIKE, FEW, Dates, Numbers, Others, as_dates, as_numbers, mistake, mistaken, number_format
from .readings import spread
from .scaling import number_column
from .survey import Survey
from .table import CellError
from .text_survey import KNOWN, LONG, MANY, SEVERAL
from .yes_no import differ_in_case, yes_and_no

ONE_HOT = 32  # levels; a category of more is embedded
MOST_EMBEDDED = 10_000  # levels; the rarer ones are grouped
LONGEST_VECTOR = 32
RARE = 5  # rows that a level needs, in a table of 500 rows or more
FEW_WORDS, LONGEST_WORD = 12, 12  # beside digits: of one unit, or of months


def choose_column(
    survey: Survey, categorical: bool, numeric: bool, others: Others, text: bool = False
) -> Column | LeftOut:
    """The description of a column that is no target. others: the columns of the table.

    Raises CellError for few values of another kind, and where values can be read in two ways.
    """
    name = survey.name
    way_out = others.way_out(survey)
    if survey.kind == "" and survey.rows:
        return LeftOut(name, f"it is of type {survey.type}")
    if not survey.present:
        return LeftOut(name, "it has no value")
    if categorical:
        return _category(survey, asked=True)
    if text:
        return survey.words.column(name, "") or LeftOut(name, "none of its words comes twice")
    numbers = as_numbers(survey, others)
    dates = None if numeric else as_dates(survey, others)
    if numeric:
        return _asked_number(survey, numbers, way_out)
    if numbers is None and dates is None:
        problem = mistaken(survey, way_out, ONE_HOT)
        if problem is not None:
            raise problem
    if dates is not None:
        return _date(survey, dates)
    if numbers is not None and numbers.reading.whole and survey.numbers.code is not None:
        if survey.counted < survey.present:
            row, shown = survey.numbers.code
            told = f"holds {shown!r}, a code, and the column begins with other numbers"
            raise CellError(row, name, f"{told}: --categorical {name}, or --numeric {name}")
        return _category(survey)
    if numbers is not None:
        return _number(survey, numbers)
    if survey.counted < survey.present and survey.kind == "text":
        more = ", and the column begins with numbers"
        raise mistake(survey, survey.numbers.best, number_format(survey), way_out, more)
    answers = yes_and_no(survey.levels.counts)
    if answers is not None:
        p = answers.yes / (answers.yes + answers.no)
        return YesNoColumn(name, p, math.sqrt(p * (1 - p)), survey.missing > 0)
    return _category(survey)


def _asked_number(survey: Survey, numbers: Numbers | None, way_out: str) -> Column:
    """A column that was called numeric. Times of day are numbers of seconds then."""
    if numbers is None and "time" in survey.dates.fitting():
        numbers = Numbers(survey.dates.readings["time"], DateFormat("time"))
    if numbers is None:
        best = survey.numbers.best
        raise mistake(survey, best, number_format(survey), way_out)
    name = survey.name
    if numbers.reading.whole and numbers.reading.rising:
        note = "it rises from row to row, as numbers of rows do, and new rows may have other numbers"
    else:
        note = no_use(survey, numbers.reading) or rounded(survey, numbers.reading)
    made = number_column(name, *spread(name, numbers.reading), survey.missing > 0, numbers.reading.sample)
    return replace(made, written=numbers.written, note=note)


def _number(survey: Survey, numbers: Numbers) -> Column | LeftOut:
    name, reading, missing = survey.name, numbers.reading, survey.missing > 0
    mean, scale = spread(name, reading)
    why = no_use(survey, reading)
    if why:
        return LeftOut(name, why)
    if survey.kind == "yes/no":
        return YesNoColumn(name, mean, scale, missing)
    made = number_column(name, mean, scale, missing, reading.sample)
    return replace(made, written=numbers.written, note=rounded(survey, reading))


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
    prose = levels.characters > LONG * max(1, levels.rows)
    if own and not asked:
        looks = _looks(survey)
        looks = f"; {looks}" if looks else _unlike(survey)
        found = None if looks else _text(survey, SEVERAL, "nearly every row has a text of its own")
        return found or LeftOut(name, f"nearly every row has a value of its own{looks or _no_text(survey)}")
    if not asked and (prose or len(levels.counts) > 0.5 * rows > 0.5 * FEW):
        why = "its texts are long" if prose else "most rows have a text of their own"
        found = _text(survey, SEVERAL if prose else MANY, why)
        if found is not None:
            return found
    if prose and not asked:
        return LeftOut(name, f"it is prose, of {levels.characters // levels.rows} characters in the mean")
    least = 1 if own or prose else min(RARE, max(1, survey.rows // 100))
    frequent = [level for level, count in levels.ordered() if count >= least][:MOST_EMBEDDED]
    other = levels.forgotten or len(frequent) < len(levels.counts)
    missing = survey.missing > 0
    width = len(frequent) + other + missing
    if width < 2:
        return LeftOut(
            name, f"it is {frequent[0]!r} in every row" if frequent else f"every value is rare{_no_text(survey)}"
        )
    embed = 0 if width <= ONE_HOT else min(LONGEST_VECTOR, math.ceil(math.sqrt(width)))
    if own:
        note = "nearly every row has a value of its own, so that values of new rows are mostly new levels"
    elif asked:
        note = ""
    else:
        note = f"{_looks(survey)}; they are taken for a category" if _looks(survey) else differ_in_case(frequent)
    return CategoryColumn(name, tuple(sorted(frequent)), other, missing, embed, note)


def _text(survey: Survey, several: float, why: str) -> TextColumn | None:
    """The column as text, if its values have several words in the mean, most of which come again."""
    words = survey.words
    if words.given_up or words.mean < several or words.parts < SEVERAL or words.known < KNOWN:
        return None
    note = f"{why}, of {words.mean:.3g} words in the mean: it is read as text; --drop {survey.name} leaves it out"
    return words.column(survey.name, note)


def _no_text(survey: Survey) -> str:
    """Why values of several words, most of which differ, are no texts; an empty text for other values."""
    words = survey.words
    if words.given_up or words.mean < SEVERAL:
        return ""
    if words.parts < SEVERAL and words.known >= KNOWN:
        return f", and is no text of words between spaces; --text {survey.name} reads its words"
    if words.known >= KNOWN:
        return ""
    return f", and only {words.known:.0%} of its words come twice; --text {survey.name} reads them"


def _looks(survey: Survey) -> str:
    """What texts look like that are nearly numbers or dates, or an empty text."""
    numbers, dates, rows = survey.numbers, survey.dates, survey.present
    if numbers.tried and numbers.alike >= ALIKE * numbers.tried:
        if len(numbers.units) > 1:
            units = " and ".join(repr(text) for _, text in sorted(numbers.units.values())[:2])
            return f"its numbers have several units, as {units}"
        wrong = numbers.best.first_wrong
        return f"its numbers are written in several ways, as {wrong[1]!r}" if wrong else ""
    if dates.tried and dates.alike >= ALIKE * dates.tried and rows > FEW:
        wrong = dates.best.first_wrong
        return f"its dates are written in several ways, as {wrong[1]!r}" if wrong else ""
    for best, what in ((numbers.best, "numbers"), (dates.best, "dates or times")):
        if best.wrong and best.moments.count > best.wrong and rows > FEW:
            return f"most of its values are {what}, and {best.first_wrong[1] if best.first_wrong else ''!r:.40} is none"
    return ""


def _unlike(survey: Survey) -> str:
    """A note on digits that are no number and no date of a known format: with signs, a unit, or names of months."""
    some = sorted(survey.levels.counts)[:1000]
    alike = [level for level in some if re.fullmatch(r"\W*(\d+\W*)+", level)]
    if not some or len(alike) < ALIKE * len(some):
        words = {level: re.sub(r"[\d\W_]+", " ", level).strip() for level in some if re.match(r"\W*\d", level)}
        few = len(set(words.values())) <= FEW_WORDS and max(map(len, words.values()), default=0) <= LONGEST_WORD
        alike = list(words) if few else []
    if len(alike) < ALIKE * len(some) or not alike:
        return ""
    return f", as {alike[0][:30]!r}, which is neither a number nor a date of a known format"
