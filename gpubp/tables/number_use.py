"""Whether a column of numbers is of any use: constants, numbers of rows, and numbers that float64 can't tell apart."""

from __future__ import annotations

import numpy as np

from .readings import Reading
from .survey import LARGEST_EXACT, Survey


def no_use(survey: Survey, reading: Reading) -> str:
    """Why a column of numbers is of no use, or an empty text."""
    same = all_the_same(survey, reading)
    if same and (survey.missing == 0 or survey.huge.differ):
        return same
    if reading.whole and reading.by_one and survey.present > 2:
        return "it counts the rows"
    if reading.whole and reading.rising and _called_id(survey.name) and survey.present > 2:
        return "it is called id and rises from row to row"
    return ""


def all_the_same(survey: Survey, reading: Reading) -> str:
    """What a column is whose numbers are all the same, at least in float64; an empty text if they are not."""
    moments = reading.moments
    largest = max(abs(moments.low), abs(moments.high))
    if survey.huge.differ and (moments.high - moments.low) / np.spacing(largest) < survey.present / 2:
        return f"it holds whole numbers such as {survey.huge.first}, which differ by less than float64 can tell"
    return f"it is {moments.low:g} in every row" if moments.low == moments.high else ""


def rounded(survey: Survey, reading: Reading) -> str:
    """A note on whole numbers that float64 can't hold exactly, or an empty text."""
    if not survey.huge.differ or survey.type in ("float", "double", "halffloat"):
        return ""
    largest = max(abs(reading.moments.low), abs(reading.moments.high))
    step = f"{np.spacing(largest):,.0f}"
    return f"its whole numbers beyond {LARGEST_EXACT:,.0f} are rounded, the largest to multiples of {step}"


def _called_id(name: str) -> bool:
    lower = name.lower().replace(" ", "_").replace("-", "_")
    return lower in ("id", "index", "key", "row") or lower.endswith(("_id", "_key")) or name.endswith(("Id", "ID"))
