"""Nodes that count days: from year, month and day to seconds since the beginning of 1970, and times of day.

With L(y) = ⌊y/4⌋ - ⌊y/100⌋ + ⌊y/400⌋ the leap years up to the year y, and c_m the days before month m of a year that is
none (Gregorian calendar, as `since_1970` in `gpubp.tables.dates` has it):

    (1) days = 365 (y - 1970) + L(y - 1) - L(1969) + c_m + [m > 2] (L(y) - L(y - 1)) + d - 1
"""

from __future__ import annotations

import numpy as np

from ..graph import Value
from .rows import Rows

DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BEFORE = 1969 // 4 - 1969 // 100 + 1969 // 400


def seconds_of_date(rows: Rows, year: Value, month: Value, day: Value, first_year: int = 1) -> tuple[Value, Value]:
    """Seconds since 1970 (n,) float64 of the beginning of a day, and whether there is such a day. All in float64.

    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> seconds, real = seconds_of_date(rows, *(Value(name, ("batch",)) for name in ("year", "month", "day")))
    >>> seconds.shape
    ('batch',)
    """
    op = rows.op
    real = rows.all(op("GreaterOrEqual", month, 1.0), op("LessOrEqual", month, 12.0), op("GreaterOrEqual", day, 1.0))
    real = rows.all(real, op("GreaterOrEqual", year, float(first_year)))
    number = rows.cast(rows.where(real, month, 1.0), "INT64")
    table = rows.g.constant(np.array([0.0, *np.cumsum(DAYS)]))
    ends = rows.g.node("Gather", [table, number], number.shape)
    begins = rows.g.node("Gather", [table, op("Sub", number, 1)], number.shape)
    leaps, before = _leap_years(rows, year), _leap_years(rows, op("Sub", year, 1.0))
    leap = op("Sub", leaps, before)
    length = op("Sub", ends, begins)
    length = op("Add", length, rows.where(op("Equal", number, 2), leap, 0.0))
    real = rows.all(real, op("LessOrEqual", day, length))
    days = op("Mul", op("Sub", year, 1970.0), 365.0)
    days = op("Add", days, op("Sub", before, float(_BEFORE)))
    days = op("Add", days, op("Add", begins, rows.where(op("Greater", number, 2), leap, 0.0)))
    days = op("Add", days, op("Sub", day, 1.0))  # (1)
    return op("Mul", days, 86400.0), real


def _leap_years(rows: Rows, year: Value) -> Value:
    four, hundred, many = (rows.op("Floor", rows.op("Div", year, by)) for by in (4.0, 100.0, 400.0))
    return rows.op("Add", rows.op("Sub", four, hundred), many)


def seconds_of_day(rows: Rows, hour: Value, minute: Value, second: Value) -> Value:
    """Seconds since midnight."""
    minutes = rows.op("Add", rows.op("Mul", hour, 60.0), minute)
    return rows.op("Add", rows.op("Mul", minutes, 60.0), second)


def of_two_halves(rows: Rows, hour: Value, half: Value, after: Value) -> Value:
    """The hour of 24, where `half` of a clock with twelve, of which 12 is the first, and `after` noon."""
    twelve = rows.where(rows.op("Equal", hour, 12.0), 0.0, hour)
    twelve = rows.op("Add", twelve, rows.where(after, 12.0, 0.0))
    return rows.where(half, twelve, hour)
