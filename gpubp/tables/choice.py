"""The choice of a column's kind, and of the target's, from what the survey of it has found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from ..errors import DataError
from . import values
from .columns import CategoryColumn, Column, DateColumn, YesNoColumn
from .preparation import LeftOut, TableTarget
from .scaling import number_column
from .survey import FEW_TEXTS, FEW_WRONG, Survey
from .table import CellError

ONE_HOT = 32  # levels; a category of more is embedded
MOST_EMBEDDED = 10_000  # levels; the rarer ones are grouped
LONGEST_VECTOR = 32
RARE = 5  # rows that a level needs, in a table of 500 rows or more
CLASSES = 20  # different whole numbers in a target: up to so many are classes
PROSE = 100  # characters a value has in the mean: text, and no category
FEW = 20  # values; of fewer it is hard to say what is a mistake


def choose_target(survey: Survey, kind: str | None) -> TableTarget:
    """The description of the target. kind: "numbers" or "classes", None to choose. Raises CellError, DataError."""
    name, numbers, levels = survey.name, survey.numbers, survey.levels
    of_numbers = numbers.wrong == 0
    if not of_numbers and not numbers.given_up and numbers.few_wrong and numbers.moments.count >= FEW and kind is None:
        raise mistake(survey, numbers, "number", "say whether it is numbers or classes")
    different = len(levels.counts)
    if kind is None:
        few = different <= CLASSES and survey.present >= 5 * different and not levels.forgotten
        kind = "classes" if not of_numbers or survey.kind == "yes/no" or (numbers.whole and few) else "numbers"
    if kind == "numbers":
        if not of_numbers:
            at, shown = numbers.first_wrong or (0, "")
            raise CellError(at, name, f"holds {shown!r}, and a target of numbers needs numbers")
        return TableTarget(name, kind, *spread(survey))
    if levels.forgotten or different > MOST_EMBEDDED:
        raise DataError(f"the target {name} has more than {MOST_EMBEDDED:,} different values, which can't be classes")
    if of_numbers and not numbers.whole:
        raise DataError(f"the target {name} holds fractions, and classes are whole numbers or texts")
    if different < 2:
        raise DataError(
            f"the target {name} is {next(iter(levels.counts))!r} in every row: there is nothing to tell apart"
        )
    names = list(levels.counts)
    whole = of_numbers and survey.kind != "yes/no" and all(re.fullmatch(r"-?\d{1,15}", n) for n in names)
    return TableTarget(name, kind, classes=tuple(sorted(map(int, names)) if whole else sorted(names)))


def choose_column(survey: Survey, categorical: bool, numeric: bool) -> Column | LeftOut:
    """The description of a column that is no target. Raises CellError for few values of another kind."""
    name, numbers, moments = survey.name, survey.numbers, survey.moments
    missing = survey.missing > 0
    if survey.kind == "" and survey.rows:
        return LeftOut(name, f"it is of type {survey.type}")
    if not survey.present:
        return LeftOut(name, "it has no value")
    if categorical:
        return _category(survey)
    if numeric:
        if numbers.wrong:
            raise mistake(survey, numbers, "number", "it was called numeric")
        return number_column(name, *spread(survey), missing, numbers.sample)
    for reading, what in ((numbers, "number"), (moments, "date")):
        if reading.moments.count < FEW or not reading.wrong:
            continue
        if not reading.given_up and reading.few_wrong:
            raise mistake(survey, reading, what, "correct it, or say that the column is a category, or drop it")
        words, mostly = reading.wrong_texts, reading.moments.count >= reading.wrong
        if mostly and len(words) <= FEW_TEXTS and len(survey.levels.counts) > ONE_HOT:
            advice = "write nothing, or NA, where nothing is known, or say that the column is a category"
            raise mistake(survey, reading, what, advice)
    if numbers.wrong == 0:
        found = (
            YesNoColumn(name, *spread(survey), missing)
            if survey.kind == "yes/no"
            else number_column(name, *spread(survey), missing, numbers.sample)
        )
        if numbers.moments.low == numbers.moments.high and not missing:
            return LeftOut(name, f"it is {numbers.moments.low:g} in every row")
        if numbers.whole and numbers.by_one and survey.present > 2:
            return LeftOut(name, "it counts the rows")
        if numbers.whole and numbers.rising and _called_id(name) and survey.present > 2:
            return LeftOut(name, "it is called id and rises from row to row")
        return found
    if moments.wrong == 0 and moments.moments.count:
        if moments.moments.low == moments.moments.high and not missing:
            return LeftOut(name, "it is the same in every row")
        parts = ("trend", "year", "week", *(["day"] if moments.in_the_day else []))
        return DateColumn(name, moments.moments.mean, moments.moments.scale, parts, missing)
    if survey.counted < survey.present and survey.kind == "text":
        raise mistake(survey, numbers, "number", "it begins with numbers; say that it is a category, or drop it")
    words = {level.lower() for level in survey.levels.counts}
    for yes, no in zip(values.YES[:4], values.NO[:4], strict=True):
        if words == {yes, no}:
            counts = {level.lower(): 0 for level in words}
            for level, count in survey.levels.counts.items():
                counts[level.lower()] += count
            p = counts[yes] / sum(counts.values())
            return YesNoColumn(name, p, math.sqrt(p * (1 - p)), missing)
    return _category(survey)


def _category(survey: Survey) -> Column | LeftOut:
    name, levels, rows = survey.name, survey.levels, survey.present
    if levels.unique or (len(levels.counts) > 0.9 * rows and rows > FEW):
        return LeftOut(name, f"nearly every row has a value of its own{_advice(levels.counts)}")
    if levels.characters > PROSE * max(1, levels.rows):
        return LeftOut(name, f"it is prose, of {levels.characters // levels.rows} characters in the mean")
    least = min(RARE, max(1, survey.rows // 100))
    frequent = [level for level, count in levels.ordered() if count >= least][:MOST_EMBEDDED]
    other = levels.forgotten or len(frequent) < len(levels.counts)
    missing = survey.missing > 0
    width = len(frequent) + other + missing
    if width < 2:
        return LeftOut(name, f"it is {frequent[0]!r} in every row" if frequent else "every value is rare")
    embed = 0 if width <= ONE_HOT else min(LONGEST_VECTOR, math.ceil(math.sqrt(width)))
    return CategoryColumn(name, tuple(sorted(frequent)), other, missing, embed)


def spread(survey: Survey) -> tuple[float, float]:
    """Mean and standard deviation of a column of numbers. Raises DataError where they are not finite."""
    moments = survey.numbers.moments
    if not math.isfinite(moments.mean) or not math.isfinite(moments.scale):
        raise DataError(
            f"{survey.name} holds numbers from {moments.low:g} to {moments.high:g}, which no network can take"
        )
    return moments.mean, moments.scale


def mistake(survey: Survey, reading: Any, what: str, advice: str) -> CellError:
    """The error for the first value of another kind in a column of `what`s."""
    at, shown = reading.first_wrong or (0, "")
    share = reading.wrong / max(1, survey.present)
    others = f"{reading.moments.count:,} other values are {what}s" if share <= FEW_WRONG else f"others are {what}s"
    return CellError(at, survey.name, f"holds {shown[:40]!r}, which is no {what}, and {others}: {advice}")


def _advice(counts: Iterable[str]) -> str:
    """Advice for numbers and dates in an unknown format, as $1,200 or 31.12.2024."""
    some = sorted(counts)[:1000]
    alike = [level for level in some if re.fullmatch(r"\W*(\d+\W*)+", level)]
    if len(alike) < 0.9 * len(some):
        return ""
    return f", as {alike[0][:20]!r}; numbers are read as 1234.5, and dates as 2024-12-31"


def _called_id(name: str) -> bool:
    lower = name.lower().replace(" ", "_").replace("-", "_")
    return lower in ("id", "index", "key", "row") or lower.endswith(("_id", "_key")) or name.endswith(("Id", "ID"))
