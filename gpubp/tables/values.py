"""Conversion of a column's values into NumPy arrays: numbers, times, booleans or text.

Text is read without spaces around it, and these words, in any case, are no value: nothing at all, NA, N/A, #N/A, NaN,
null, None and ?. Each function gives the values with NaN for what is missing, and which of them are `bad`: there, but
of another kind.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?")
YES, NO = ("yes", "y", "true", "t", "1"), ("no", "n", "false", "f", "0")

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WHOLE_WRITTEN_AS_FRACTION = r"^([+-]?\d+)\.0+$"
_DATE = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"
_WITH_ZONE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$"


class Values(NamedTuple):
    """`values` (n,) float64, NaN where a value is missing; `bad` (n,) bool, where a value is of another kind.

    >>> Values(np.array([1.0, np.nan]), np.array([False, True])).bad.sum()
    np.int64(1)
    """

    values: np.ndarray[Any, Any]
    bad: np.ndarray[Any, Any]


def kind_of(type: Any) -> str:
    """The kind of an Arrow type: "text", "number", "yes/no", "date", "nothing", or "" for any other.

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


def texts(array: Any) -> Any:
    """An Arrow array of strings, null for missing values; whole numbers are written without a fraction.

    >>> import pyarrow
    >>> texts(pyarrow.array([" a ", "NA", "3.0", None])).to_pylist()
    ['a', None, '3', None]
    """
    import pyarrow
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_floating(array.type):
        array = compute.if_else(compute.is_nan(array), pyarrow.scalar(None, array.type), array)
    try:
        text = compute.utf8_trim_whitespace(array.cast(pyarrow.string()))
        nothing = compute.is_in(compute.utf8_lower(text), value_set=pyarrow.array(MISSING))
    except pyarrow.ArrowInvalid as problem:
        raise DataError(f"text can't be read ({problem}): it is not UTF-8, or damaged") from problem
    text = compute.if_else(nothing, pyarrow.scalar(None, pyarrow.string()), text)
    return compute.replace_substring_regex(text, _WHOLE_WRITTEN_AS_FRACTION, r"\1")


def numbers(array: Any, text: Any = None) -> Values:
    """The numbers of an Arrow array of numbers, of truths (1 and 0), or of text. text: `texts(array)`, if it is known.

    >>> import pyarrow
    >>> numbers(pyarrow.array(["1.5", "NA", "-2e3", "abc"]))
    Values(values=array([ 1.5e+00, nan, -2.0e+03, nan]), bad=array([False, False, False,  True]))
    """
    import pyarrow

    kind = kind_of(array.type)
    if kind in ("number", "yes/no", "nothing"):
        if pyarrow.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pyarrow.types.is_boolean(array.type):
            array = array.cast(pyarrow.int8())
        values = _host(array.cast(pyarrow.float64(), safe=False))
        return Values(values, np.isinf(values))
    if kind == "date":
        return _none(array)
    text = texts(array) if text is None else text
    found = _parsed(text, _NUMBER, pyarrow.float64())
    values = _host(found)
    bad = np.isinf(values) | (_nulls(found) & ~_nulls(text))
    return Values(np.where(bad, np.nan, values), bad)


def moments(array: Any, text: Any = None) -> Values:
    """Seconds since the beginning of 1970, UTC, of an Arrow array of dates, times, or text such as 2024-12-31 18:30.

    >>> import pyarrow
    >>> moments(pyarrow.array(["1970-01-02", "1970-01-01T01:00:30", "31.12.1970", None])).values
    array([86400.,  3630.,    nan,    nan])
    """
    import pyarrow
    from pyarrow import compute

    kind = kind_of(array.type)
    if kind == "date" or kind == "nothing":
        if pyarrow.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        time = array.cast(pyarrow.timestamp("us"), safe=False)
        return Values(_seconds(time), np.zeros(len(array), bool))
    if kind != "text":
        return _none(array)
    text = texts(array) if text is None else text
    plain = _parsed(text, _DATE, pyarrow.timestamp("us"))
    values = _seconds(plain)
    bad = _nulls(plain) & ~_nulls(text)
    if bad.any():
        zoned = _parsed(compute.if_else(pyarrow.array(bad), text, None), _WITH_ZONE, pyarrow.timestamp("us", tz="UTC"))
        values = np.where(_nulls(zoned), values, _seconds(zoned))
        bad &= _nulls(zoned)
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
    yes, no = (_host(compute.is_in(text, value_set=pyarrow.array(words))) for words in (YES, NO))
    values = np.where(yes > 0, 1.0, np.where(no > 0, 0.0, np.nan))
    return Values(values, np.isnan(values) & ~_nulls(text))


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


def _seconds(time: Any) -> np.ndarray[Any, Any]:
    import pyarrow

    return _host(time.cast(pyarrow.int64())) / 1e6


def _host(array: Any) -> np.ndarray[Any, Any]:
    """float64, NaN for null."""
    import pyarrow

    if pyarrow.types.is_boolean(array.type):
        array = array.cast(pyarrow.int8())
    host = array.cast(pyarrow.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
    return np.asarray(host, np.float64)


def _nulls(array: Any) -> np.ndarray[Any, Any]:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), bool)


def _none(array: Any) -> Values:
    """Values that are all of another kind."""
    return Values(np.full(len(array), np.nan), ~_nulls(array))
