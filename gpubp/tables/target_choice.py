"""The choice of what the target is, numbers or classes, from what the survey of it has found."""

from __future__ import annotations

import re

from ..errors import DataError
from .number_use import all_the_same, rounded
from .reading_choice import (
    ALIKE,
    MOST_CLASSES,
    ROWS_OF_A_CLASS,
    Numbers,
    Others,
    as_dates,
    as_numbers,
    can_be_classes,
    date_format,
    mistaken,
    number_format,
)
from .readings import spread
from .survey import Levels, Survey
from .table import CellError
from .target import TableTarget
from .yes_no import differ_in_case, yes_and_no

CLASSES = 20  # different whole numbers in a target: up to so many are classes


def choose_target(survey: Survey, kind: str | None, others: Others) -> TableTarget:
    """The description of the target. kind: "numbers" or "classes", None to choose. Raises CellError, DataError."""
    name, levels = survey.name, survey.levels
    chosen = (
        None
        if kind == "classes" and survey.kind == "text" and _ambiguous(survey, others)
        else as_numbers(survey, others)
    )
    if chosen is None and kind != "classes":
        chosen = _times(survey, others)
    code = survey.numbers.code if chosen is not None and chosen.reading.whole else None
    if chosen is None and (kind is None or survey.kind == "number"):
        problem = mistaken(survey, others.way_out(survey), CLASSES)
        if problem is not None:
            raise problem
    different = len(levels.counts)
    if kind is None:
        few = different <= CLASSES and survey.present >= 5 * different and not levels.forgotten
        if chosen is None and not few and (survey.kind == "date" or _all_dates(survey)):
            also = "; --loss softmax takes each for a class" if can_be_classes(survey) else ""
            raise DataError(f"the target {name} can't be predicted{_looks(survey)}{also}")
        classes = chosen is None or code is not None or survey.kind == "yes/no" or (chosen.reading.whole and few)
        kind = "classes" if classes else "numbers"
        if classes:
            _refuse_own_classes(survey, chosen is not None)
    if kind == "numbers":
        return _numbers(survey, chosen)
    if levels.forgotten or different > MOST_CLASSES:
        advice = ": --loss mse predicts it as numbers" if chosen is not None else _looks(survey)
        raise DataError(
            f"the target {name} has more than {MOST_CLASSES:,} different values, which can't be classes{advice}"
        )
    if not can_be_classes(survey):
        advice = ": --loss mse predicts it as numbers" if chosen is not None else _looks(survey)
        raise DataError(
            f"the target {name} has {different:,} different values in {levels.rows:,} rows: nothing can be learnt "
            f"of classes that come once{advice}"
        )
    if chosen is not None and not chosen.reading.whole:
        raise DataError(
            f"the target {name} holds fractions, and classes are whole numbers or texts: --loss mse predicts numbers"
        )
    if different < 2:
        raise DataError(
            f"the target {name} is {next(iter(levels.counts))!r} in every row: there is nothing to tell apart"
        )
    return _classes(survey, chosen if code is None else None)


def _numbers(survey: Survey, chosen: Numbers | None) -> TableTarget:
    name, levels = survey.name, survey.levels
    if chosen is None:
        reading = survey.numbers.best
        if reading.first_wrong is None:
            raise DataError(f"the target {name} has no numbers{_looks(survey)}")
        at, shown = reading.first_wrong
        raise CellError(at, name, f"holds {shown!r}, and a target of numbers needs numbers{_looks(survey)}")
    mean, scale = spread(name, chosen.reading)
    why = all_the_same(survey, chosen.reading)
    if why:
        raise DataError(f"the target {name} can't be predicted: {why}")
    few = 2 <= len(levels.counts) <= levels.rows / ROWS_OF_A_CLASS and not levels.forgotten
    note = "--loss softmax would make them classes" if chosen.reading.whole and few else ""
    return TableTarget(
        name, "numbers", mean, scale, written=chosen.written, note=note or rounded(survey, chosen.reading)
    )


def _classes(survey: Survey, numbers: Numbers | None) -> TableTarget:
    name, levels = survey.name, survey.levels
    answers = yes_and_no(levels.counts)
    if answers is not None and survey.kind == "text":
        return TableTarget(name, "classes", classes=tuple(sorted(answers.spellings)), any_case=True)
    names = list(levels.counts)
    whole = numbers is not None and survey.kind != "yes/no" and all(re.fullmatch(r"-?\d{1,15}", n) for n in names)
    note = differ_in_case(names)
    return TableTarget(name, "classes", classes=tuple(sorted(map(int, names)) if whole else sorted(names)), note=note)


def _times(survey: Survey, others: Others) -> Numbers | None:
    """Times of day as numbers of seconds; None if the target has none."""
    dates = as_dates(survey, others) if survey.kind in ("time", "text") and "time" in survey.dates.fitting() else None
    return Numbers(*dates) if dates is not None else None


def _all_dates(survey: Survey) -> bool:
    best = survey.dates.best
    return 0 < best.moments.count == survey.present


def _ambiguous(survey: Survey, others: Others) -> bool:
    try:
        as_numbers(survey, others)
    except CellError:
        return True
    return False


def _refuse_own_classes(survey: Survey, numbers: bool) -> None:
    """Raise DataError for a target of which nearly every row is its own class."""
    levels, present = survey.levels, survey.levels.rows
    different = len(levels.counts)
    if not levels.unique and (levels.forgotten or different <= CLASSES or present >= ROWS_OF_A_CLASS * different):
        return
    many = f"more than {different:,}" if levels.forgotten else f"{different:,}"
    raise DataError(
        f"the target {survey.name} has {many} different values in {present:,} rows, and nothing can be learnt of "
        f"classes that come once{_looks(survey)}{'; --loss mse predicts them as numbers' if numbers else ''}"
    )


def _looks(survey: Survey) -> str:
    """What the values of a target look like that are neither numbers nor classes, and what would make them so."""
    numbers, dates, levels = survey.numbers, survey.dates, survey.levels
    shown = [level for level, _ in Levels.ordered(levels)[:2]]
    example = " and ".join(repr(level[:30]) for level in shown)
    if numbers.code is not None:
        return f": they look like codes, such as {numbers.code[1]!r}"
    if numbers.tried and numbers.alike >= ALIKE * numbers.tried:
        if len(numbers.units) > 1:
            units = " and ".join(repr(text) for _, text in sorted(numbers.units.values())[:2])
            return f": they are numbers in several units, {units}; give all values in one"
        places = [*numbers.examples.values(), *([numbers.best.first_wrong] if numbers.best.first_wrong else [])]
        ways = " and ".join(repr(text) for text in dict.fromkeys(text for _, text in places[-2:]))
        return (
            f": they are numbers written in several ways, {ways}; write all in one, or correct those that "
            f"are not {number_format(survey).describe() or 'written 1234.5'}"
        )
    if survey.kind == "date" or dates.best.moments.count > dates.best.wrong:
        return f": they are {date_format(survey).plural}, {example}; give them as numbers, such as days since one day"
    if numbers.best.moments.count > numbers.best.wrong:
        at, word = numbers.best.first_wrong or (0, "")
        return f": most are numbers, and {word!r} is none"
    if levels.characters > 25 * max(1, levels.rows) or any(" " in level for level in shown):
        return f": they look like free text, {example}; a column of few different values can be classes"
    return f": they look like names, {example}; a column of few different values can be classes"
