"""Conversion of a column's values into NumPy arrays: numbers, times, booleans or text.

Text is read without spaces around it, and these words, in any case, are no value: nothing at all, NA, N/A, #N/A, NaN,
NaT, null, None and ?. Each function gives the values with NaN for what is missing, and which of them are `bad`:
there, but of another kind. How numbers and dates are read from text is told in `formats` and `dates`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
YES, NO = ("yes", "y", "true", "t", "1"), ("no", "n", "false", "f", "0")

_WHOLE_WRITTEN_AS_FRACTION = r"^([+-]?\d+)\.0+$"
_CLOCK = r"[T ]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?"
_DATE = rf"^\d{{4}}-\d\d-\d\d({_CLOCK})?$"
_WITH_ZONE = rf"^\d{{4}}-\d\d-\d\d{_CLOCK}(Z|[+-]\d\d(:?\d\d)?)$"
_SPACED_ZONES = ((r"(:\d\d(?:\.\d+)?) ?(?:UTC|GMT|Z)$", r"\1Z"), (r"(:\d\d(?:\.\d+)?) ([+-]\d\d:?\d\d)$", r"\1\2"))


class Values(NamedTuple):
    """`values` (n,) float64, NaN where a value is missing; `bad` (n,) bool, where a value is of another kind.

    >>> Values(np.array([1.0, np.nan]), np.array([False, True])).bad.sum()
    np.int64(1)
    """

    values: np.ndarray[Any, Any]
    bad: np.ndarray[Any, Any]


def kind_of(type: Any) -> str:
    """The kind of an Arrow type: "text", "number", "yes/no", "date", "time", "duration", "nothing", or "" for others.

    >>> import pyarrow
    >>> kind_of(pyarrow.int8()), kind_of(pyarrow.string()), kind_of(pyarrow.list_(pyarrow.int8()))
    ('number', 'text', '')
    """
    from pyarrow import types

    if types.is_dictionary(type):
        return kind_of(type.value_type)
    if types.is_boolean(type):
        return "yes/no"
    if types.is_integer(type) or types.is_floating(type) or types.is_decimal(type):
        return "number"
    if types.is_timestamp(type) or types.is_date(type):
        return "date"
    if types.is_time(type):
        return "time"
    if types.is_duration(type):
        return "duration"
    if types.is_null(type):
        return "nothing"
    return "text" if is_text(type) else ""


def is_text(type: Any) -> bool:
    """Whether an Arrow type is one of text.

    >>> import pyarrow
    >>> is_text(pyarrow.large_string())
    True
    """
    from pyarrow import types

    return bool(types.is_string(type) or types.is_large_string(type) or str(type) == "string_view")


def written(array: Any) -> Any:
    """An Arrow array of strings as they are written, without spaces around them, null for missing values.

    Raises DataError for text that is not UTF-8.

    >>> import pyarrow
    >>> written(pyarrow.array([" a ", "NA", "3.0", None])).to_pylist()
    ['a', None, '3.0', None]
    """
    import pyarrow
    from pyarrow import compute, types

    array = decoded(array)
    if types.is_floating(array.type):
        array = compute.if_else(compute.is_nan(array), pyarrow.scalar(None, array.type), array)
    elif types.is_duration(array.type):
        array = durations(array)
    try:
        text = compute.utf8_trim_whitespace(array.cast(pyarrow.string()))
        nothing = compute.is_in(compute.utf8_lower(text), value_set=pyarrow.array(MISSING))
    except pyarrow.ArrowInvalid as problem:
        raise DataError(f"text can't be read ({problem}): it is not UTF-8, or damaged") from problem
    return compute.if_else(nothing, pyarrow.scalar(None, pyarrow.string()), text)


def texts(array: Any) -> Any:
    """The same; whole numbers are written without a fraction.

    >>> import pyarrow
    >>> texts(pyarrow.array([" a ", "NA", "3.0", None])).to_pylist()
    ['a', None, '3', None]
    """
    from pyarrow import compute

    return compute.replace_substring_regex(written(array), _WHOLE_WRITTEN_AS_FRACTION, r"\1")


def numbers(array: Any) -> Values:
    """The numbers of an Arrow array of numbers, or of truths (1 and 0); infinite ones are bad. All text is bad.

    >>> import pyarrow
    >>> numbers(pyarrow.array([1.5, None, float("inf")]))
    Values(values=array([1.5, nan, nan]), bad=array([False, False,  True]))
    """
    import pyarrow

    if kind_of(array.type) not in ("number", "yes/no", "nothing"):
        return none(array)
    array = decoded(array)
    if pyarrow.types.is_boolean(array.type):
        array = array.cast(pyarrow.int8())
    values = host(array)
    bad = np.isinf(values)
    return Values(np.where(bad, np.nan, values), bad)


def clock(array: Any) -> Values:
    """Seconds since midnight, of an Arrow array of times of day.

    >>> import pyarrow
    >>> clock(pyarrow.array([61, None], pyarrow.time32("s"))).values
    array([61., nan])
    """
    import pyarrow

    if kind_of(array.type) not in ("time", "nothing"):
        return none(array)
    values = _seconds(decoded(array).cast(pyarrow.time64("us"), safe=False))
    return Values(values, np.zeros(len(array), bool))


def durations(array: Any) -> Any:
    """An Arrow array of durations as float64 seconds, null where nothing stands.

    >>> import pyarrow
    >>> durations(pyarrow.array([1500, None], pyarrow.duration("ms"))).to_pylist()
    [1.5, None]
    """
    import pyarrow
    from pyarrow import compute

    unit = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[array.type.unit]
    return compute.divide(array.cast(pyarrow.int64()).cast(pyarrow.float64(), safe=False), unit)


def moments(array: Any) -> Values:
    """Seconds since the beginning of 1970, UTC, of an Arrow array of dates, times, or text such as 2024-12-31 18:30.

    >>> import pyarrow
    >>> moments(pyarrow.array(["1970-01-02", "1970-01-01T01:00:30", "31.12.1970", None])).values
    array([86400.,  3630.,    nan,    nan])
    """
    import pyarrow
    from pyarrow import compute

    kind = kind_of(array.type)
    if kind == "date" or kind == "nothing":
        time = decoded(array).cast(pyarrow.timestamp("us"), safe=False)
        return Values(_seconds(time), np.zeros(len(array), bool))
    if kind != "text":
        return none(array)
    text = written(array)
    plain = _parsed(text, _DATE, pyarrow.timestamp("us"))
    values = _seconds(plain)
    bad = nulls(plain) & ~nulls(text)
    if bad.any():
        rest = compute.if_else(pyarrow.array(bad), text, None)
        for spaced, close in _SPACED_ZONES:
            rest = compute.replace_substring_regex(rest, spaced, close)
        zoned = _parsed(rest, _WITH_ZONE, pyarrow.timestamp("us", tz="UTC"))
        values = np.where(nulls(zoned), values, _seconds(zoned))
        bad &= nulls(zoned)
    return Values(values, bad)


def truths(array: Any) -> Values:
    """1 for yes, y, true and t, 0 for no, n, false and f, in any case; 1 and 0 stay.

    >>> import pyarrow
    >>> truths(pyarrow.array(["Yes", "no", "perhaps", ""])).values
    array([ 1.,  0., nan, nan])
    """
    import pyarrow
    from pyarrow import compute

    if kind_of(array.type) == "yes/no":
        return numbers(array)
    text = compute.utf8_lower(texts(array))
    yes, no = (host(compute.is_in(text, value_set=pyarrow.array(words))) for words in (YES, NO))
    values = np.where(yes > 0, 1.0, np.where(no > 0, 0.0, np.nan))
    return Values(values, np.isnan(values) & ~nulls(text))


def without_marks(array: Any, marks: Sequence[str]) -> Any:
    """An Arrow array with null where one of `marks` stands, in any case, or the number that a mark is.

    >>> import pyarrow
    >>> without_marks(pyarrow.array(["3", "Unknown", "-"]), ("-", "unknown")).to_pylist()
    ['3', None, None]
    >>> without_marks(pyarrow.array([3, -999]), ("-999",)).to_pylist()
    [3, None]
    """
    import pyarrow
    from pyarrow import compute

    kind = kind_of(array.type)
    if not marks or kind in ("", "nothing", "yes/no"):
        return array
    array = decoded(array)
    if kind == "text":
        text = compute.utf8_lower(written(array))
        found = compute.is_in(text, value_set=pyarrow.array([mark.lower().strip() for mark in marks]))
    else:
        meant = [mark for mark in map(_number_or_none, marks) if mark is not None]
        if kind != "number" or not meant:
            meant_text = pyarrow.array(list(marks), pyarrow.string())
            found = compute.is_in(array.cast(pyarrow.string()), value_set=meant_text)
        else:
            found = compute.is_in(array.cast(pyarrow.float64(), safe=False), value_set=pyarrow.array(meant))
    return compute.if_else(found, pyarrow.scalar(None, array.type), array)


def shown(array: Any, at: int) -> str:
    """Value number `at` of an Arrow array in at most 40 characters, for a message.

    >>> import pyarrow
    >>> shown(pyarrow.array(["a" * 50]), 0)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    try:
        value = str(array[at].as_py())
    except (ValueError, OverflowError):  # a date that Python has no name for
        value = f"a {array.type}"
    return value if len(value) <= 40 else f"{value[:39]}…"


def _parsed(text: Any, pattern: str, type: Any) -> Any:
    """Text as `type`, null where it does not match `pattern` or can't be converted, as the 31st of February."""
    import pyarrow
    from pyarrow import compute

    try:
        return text.cast(type)
    except pyarrow.ArrowInvalid:
        pass
    likely = compute.if_else(compute.match_substring_regex(text, pattern), text, pyarrow.scalar(None, text.type))
    try:
        return likely.cast(type)
    except pyarrow.ArrowInvalid:
        return pyarrow.array([_one(t, type) for t in likely], type)


def _one(text: Any, type: Any) -> Any:
    import pyarrow

    try:
        return text.cast(type).as_py()
    except pyarrow.ArrowInvalid:
        return None


def _number_or_none(mark: str) -> float | None:
    try:
        return float(mark)
    except ValueError:
        return None


def decoded(array: Any) -> Any:
    """An Arrow array itself, or the values of a dictionary array.

    >>> import pyarrow
    >>> str(decoded(pyarrow.array(["a", "b"]).dictionary_encode()).type)
    'string'
    """
    import pyarrow

    return array.dictionary_decode() if pyarrow.types.is_dictionary(array.type) else array


def _seconds(time: Any) -> np.ndarray[Any, Any]:
    import pyarrow

    return host(time.cast(pyarrow.int64())) / 1e6


def host(array: Any) -> np.ndarray[Any, Any]:
    """An Arrow array as float64 in NumPy, NaN for null.

    >>> import pyarrow
    >>> host(pyarrow.array([1, None]))
    array([ 1., nan])
    """
    import pyarrow

    if pyarrow.types.is_boolean(array.type):
        array = array.cast(pyarrow.int8())
    host = array.cast(pyarrow.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
    return np.asarray(host, np.float64)


def has_digits(text: Any) -> bool:
    """Whether a digit comes in an Arrow array of strings: without one there is no number and no date.

    >>> import pyarrow
    >>> has_digits(pyarrow.array(["Oslo", None])), has_digits(pyarrow.array(["5 km"]))
    (False, True)
    """
    from pyarrow import compute

    return bool(compute.any(compute.match_substring_regex(text, "[0-9]")).as_py())


def nulls(array: Any) -> np.ndarray[Any, Any]:
    """Which values of an Arrow array are null, (n,) bool.

    >>> import pyarrow
    >>> nulls(pyarrow.array([1, None])).tolist()
    [False, True]
    """
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), bool)


def none(array: Any) -> Values:
    """Values that are all of another kind.

    >>> import pyarrow
    >>> none(pyarrow.array(["abc", None])).bad.tolist()
    [True, False]
    """
    return Values(np.full(len(array), np.nan), ~nulls(array))
