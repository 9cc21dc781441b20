"""Formats of dates, times of day and durations in text, such as 31.12.2024, 12/31/24 6:05 PM, 18:05 and 36:15:00.

    order      written
    iso        2024-12-31, 2024-12-31 18:30, 2024-12-31T18:30:00Z
    dmy, mdy   day, month and year of four or two digits, with one separator: 31.12.2024, 12/31/24
    ymd        year of four digits, month and day, or year and month: 2024/12/31, 2024-12
    yymd       year of two digits, month and day, with -: 24-12-31
    my         month and year of four digits: 12/2024
    name       31 Dec 2024, 31st December 2024, December 31, 2024, Dec 2024
    compact    20241231, from 1900 to 2100
    time       18:05, 18:05:30, 6:05 PM

Each but compact and time may have a time of day after it. Years of two digits are those of POSIX: 69 to 99 are 19xx.
Months have their English names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Configurable
from . import values
from .values import Values

Array = np.ndarray[Any, Any]

SEPARATORS = (".", "/", "-")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EXAMPLES = {
    "iso": "2024-12-31",
    "dmy": "31{0}12{0}2024",
    "mdy": "12{0}31{0}2024",
    "ymd": "2024{0}12{0}31",
    "yymd": "24{0}12{0}31",
    "my": "12{0}2024",
    "name": "31 Dec 2024",
    "compact": "20241231",
    "time": "18:05",
}
NUMERIC = ("dmy", "mdy", "ymd", "yymd", "my")
FIRST_YEAR, LAST_YEAR = 1900, 2100  # of eight digits that are a date

_CLOCK = (
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d(?:[.,]\d{1,9})?))?)?(?:\s?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_TIME = rf"(?:[T ,]\s*{_CLOCK})?$"
_WEEKDAY = r"^(?i:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_MONTH = (
    r"(?P<month>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_YEAR = r"(?P<year>\d{4}|\d\d)"
_NAMED = (
    rf"{_WEEKDAY}{_DAY}[ -]?{_MONTH}[ ,-]\s*{_YEAR}{_TIME}",
    rf"{_WEEKDAY}{_MONTH}\s*{_DAY},?\s+{_YEAR}{_TIME}",
    rf"^{_MONTH}[ -](?P<year>\d{{4}})$",
)
_DURATION = (
    r"^(?P<sign>[-+])?(?:(?P<days>\d+)\s+days?,?\s+)?"
    r"(?P<hour>\d+):(?P<minute>\d\d)(?::(?P<second>\d\d(?:[.,]\d{1,9})?))?$"
)


@dataclass(frozen=True, repr=False)
class DateFormat(Configurable):
    """How the dates or times of a column are written: an order of the table above, and the separator of numbers.

    >>> import pyarrow
    >>> DateFormat("dmy", ".").read(pyarrow.array(["02.01.1970", "13.13.1970", None]))
    Values(values=array([86400.,    nan,    nan]), bad=array([False,  True, False]))
    """

    order: str = "iso"
    separator: str = ""

    @property
    def plural(self) -> str:
        """What such values are called."""
        return "times of day" if self.order == "time" else "dates"

    def __post_init__(self) -> None:
        numeric = self.order in NUMERIC
        if self.order not in EXAMPLES or self.separator not in (SEPARATORS if numeric else ("",)):
            raise ValueError(f"dates are written in no order {self.order!r:.20} with {self.separator!r:.20} between")

    @property
    def example(self) -> str:
        """A date that is written so.

        >>> DateFormat("mdy", "/").example
        '12/31/2024'
        """
        return EXAMPLES[self.order].format(self.separator)

    def describe(self) -> str:
        """ "written ..." with an example, or nothing for 2024-12-31; times of day are numbers of seconds.

        >>> DateFormat("dmy", "/").describe(), DateFormat().describe(), DateFormat("time").describe()
        ('written 31/12/2024', '', 'times of day, in seconds')
        """
        if self.order == "time":
            return "times of day, in seconds"
        return "" if self.order == "iso" else f"written {self.example}"

    def wrong(self, text: str = "") -> str:
        """What a text is that is not written so, for a message.

        >>> DateFormat().wrong()
        'which is no date such as 2024-12-31 or 2024-12-31 18:30'
        """
        if self.order == "time":
            return "which is no time of day such as 18:05 or 18:05:30 or 6:05 PM"
        return f"which is no date such as {self.example}{' or 2024-12-31 18:30' if self.order == 'iso' else ''}"

    def read(self, array: Any) -> Values:
        """Seconds since the beginning of 1970, UTC, or since midnight, of an Arrow array of dates, times, or text."""
        kind = values.kind_of(array.type)
        if self.order == "time":
            return clock_times(values.written(array)) if kind == "text" else values.clock(array)
        if self.order == "compact" and kind in ("number", "text"):
            return eight_digits(array)
        if self.order == "iso" or kind != "text":
            return values.moments(array)
        text = values.written(array)
        if self.order == "name":
            return _named(text)
        return _numeric(text, self.order, self.separator)


@dataclass(frozen=True, repr=False)
class DurationFormat(Configurable):
    """Durations, read as seconds: 36:15, which is hours and minutes, 36:15:20, or 2 days 01:00:00.

    >>> import pyarrow
    >>> DurationFormat().read(pyarrow.array(["36:15", "1 days 00:00:01", "x"])).values
    array([130500.,  86401.,     nan])
    """

    plural = "durations"

    def describe(self) -> str:
        """How they are read.

        >>> DurationFormat().describe()
        'durations h:mm:ss, in seconds'
        """
        return "durations h:mm:ss, in seconds"

    def wrong(self, text: str = "") -> str:
        """What a text is that is no duration, for a message.

        >>> DurationFormat().wrong()
        'which is no duration such as 36:15 or 36:15:20'
        """
        return "which is no duration such as 36:15 or 36:15:20"

    def read(self, array: Any) -> Values:
        """Seconds of an Arrow array of durations, of times of day, of numbers, or of text."""
        kind = values.kind_of(array.type)
        if kind == "duration":
            return Values(values.host(values.durations(array)), np.zeros(len(array), bool))
        if kind == "time":
            return values.clock(array)
        if kind != "text":
            return values.numbers(array)
        array = values.written(array)
        part = _extracted(array, _DURATION)
        sign = np.where(_is(part("sign"), "-"), -1.0, 1.0)
        minute, second = _number(part("minute")), _number(part("second"), 0.0)
        seconds = sign * (86400 * _number(part("days"), 0.0) + 3600 * _number(part("hour")) + 60 * minute + second)
        return _checked(np.where((minute < 60) & (second < 60), seconds, np.nan), array)


def clock_times(text: Any) -> Values:
    """Seconds since midnight, of an Arrow array of texts such as 18:05, 18:05:30 and 6:05 PM.

    >>> import pyarrow
    >>> clock_times(pyarrow.array(["00:01", "6:00 pm", "24:00", "7"])).values.tolist()
    [60.0, 64800.0, nan, nan]
    """
    part = _extracted(text, rf"^{_CLOCK}$")
    there = (values.host(_length(part("minute"))) > 0) | (values.host(_length(part("half"))) > 0)
    return _checked(np.where(there, _seconds_of_day(part), np.nan), text)


def eight_digits(array: Any) -> Values:
    """Seconds since 1970 of an Arrow array of numbers, or of text, such as 20241231.

    >>> import pyarrow
    >>> eight_digits(pyarrow.array([19700102, 20230229])).values
    array([86400.,    nan])
    """
    if values.kind_of(array.type) == "text":
        array = values.written(array)
        part = _extracted(array, r"^(?P<all>\d{8})(?:\.0+)?$")
        x = _number(part("all"))
    else:
        x = values.host(values.decoded(array))
    inside = (x >= FIRST_YEAR * 10_000) & (x < (LAST_YEAR + 1) * 10_000) & (x == np.floor(x))
    x = np.where(inside, x, np.nan)
    return _checked(since_1970(x // 10_000, x // 100 % 100, x % 100), array)


def since_1970(year: Array, month: Array, day: Array) -> Array:
    """Seconds from the beginning of 1970 to that of a day, NaN where there is no such day; all (n,) float64.

    >>> since_1970(np.array([1970.0, 2023.0]), np.array([1.0, 2.0]), np.array([2.0, 29.0]))
    array([86400.,    nan])
    """
    good = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype(np.int64).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + np.where(good, day - 1, 0).astype(np.int64)
    good &= days.astype("datetime64[M]") == months
    return np.where(good, days.astype(np.int64) * 86400.0, np.nan)


def _numeric(text: Any, order: str, separator: str) -> Values:
    s = rf"\s?[{separator}]\s?"
    if order == "my":
        part = _extracted(text, rf"^(?P<month>\d{{1,2}}){s}(?P<year>\d{{4}})$")
        return _checked(since_1970(_number(part("year")), _number(part("month")), np.ones(len(text))), text)
    if order == "yymd":
        pattern = rf"^(?P<year>\d\d){s}(?P<month>\d{{1,2}}){s}(?P<day>\d{{1,2}}){_TIME}"
    elif order == "ymd":
        pattern = rf"^(?P<year>\d{{4}}){s}(?P<month>\d{{1,2}})(?:{s}(?P<day>\d{{1,2}}))?{_TIME}"
    else:
        first, then = ("day", "month") if order == "dmy" else ("month", "day")
        pattern = rf"^(?P<{first}>\d{{1,2}}){s}(?P<{then}>\d{{1,2}}){s}{_YEAR}{_TIME}"
    part = _extracted(text, pattern)
    day = _number(part("day"), 1.0 if order == "ymd" else np.nan)
    return _checked(since_1970(_full_year(part("year")), _number(part("month")), day) + _seconds_of_day(part), text)


def _named(text: Any) -> Values:
    import pyarrow
    from pyarrow import compute

    seconds = np.full(len(text), np.nan)
    for pattern in _NAMED:
        part = _extracted(text, pattern)
        names = compute.utf8_lower(compute.utf8_slice_codeunits(part("month"), 0, 3))
        month = values.host(compute.index_in(names, value_set=pyarrow.array(MONTHS))) + 1
        whole = "<day>" in pattern
        day = _number(part("day")) if whole else np.where(np.isnan(month), np.nan, 1.0)
        of_day = _seconds_of_day(part) if whole else 0.0
        found = since_1970(_full_year(part("year")), month, day) + of_day
        seconds = np.where(np.isnan(seconds), found, seconds)
    return _checked(seconds, text)


def _extracted(text: Any, pattern: str) -> Any:
    """A function that gives the group of that name, an Arrow array."""
    from pyarrow import compute

    found = compute.extract_regex(text, pattern)
    return lambda name: compute.struct_field(found, name)


def _number(text: Any, default: float = np.nan) -> Array:
    """Digits as float64; `default` where the group is empty."""
    import pyarrow
    from pyarrow import compute

    text = compute.replace_substring(compute.if_else(_empty(text), pyarrow.scalar(None, text.type), text), ",", ".")
    found = values.host(text.cast(pyarrow.float64()))
    return np.where(np.isnan(found), default, found)


def _full_year(text: Any) -> Array:
    year, short = _number(text), values.host(_length(text)) == 2
    return np.where(short, np.where(year >= 69, 1900 + year, 2000 + year), year)


def _seconds_of_day(part: Any) -> Array:
    """0 where there is no time; NaN for one that does not exist."""
    hour, minute, second = _number(part("hour"), 0.0), _number(part("minute"), 0.0), _number(part("second"), 0.0)
    half = values.host(_length(part("half"))) > 0
    after = _is(part("half"), "p") | _is(part("half"), "P")
    good = np.where(half, (hour >= 1) & (hour <= 12), hour <= 23) & (minute < 60) & (second < 60)
    hour = np.where(half, hour % 12 + 12 * after, hour)
    return np.where(good, hour * 3600 + minute * 60 + second, np.nan)


def _checked(seconds: Array, array: Any) -> Values:
    return Values(seconds, np.isnan(seconds) & ~values.nulls(array))


def _is(text: Any, word: str) -> Array:
    from pyarrow import compute

    return np.asarray(values.host(compute.equal(text, word)) > 0)


def _length(text: Any) -> Any:
    from pyarrow import compute

    return compute.binary_length(text)


def _empty(text: Any) -> Any:
    from pyarrow import compute

    return compute.equal(_length(text), 0)
