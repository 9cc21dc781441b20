"""Formats of numbers in text: decimal mark, thousands separator and unit, as in 1.234,50 or $1,234.50 or 12%.

A text is taken apart into (1), and its digits are read by the decimal mark D and the separator T:

    (1)  [(] [sign] [unit] [sign] digits [exponent] [unit] [sign] [)]       (12) and 12- are -12, as are $(12), (12) €
    (2)  whole part [D fraction]        whole part: digits, or groups of three with T between them

A mark and dashes at the end of the digits, as in 12.- and 12,--, are no sign: they stand for no cents. A first group
is not 0, so that 0,123 has no thousands. Spaces of any width are one separator, and so are ' and ’.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..config import Configurable
from . import values
from .units import AFTER, BEFORE, COUNTED, CURRENCY_SIGNS, PLURAL
from .values import Values

DECIMALS = (".", ",")
THOUSANDS = (",", ".", " ", "'", "_")

_SPACE = r"\s\x{a0}\x{202f}\x{2009}"
_MINUS = r"\-−–"
_BODY = rf"\d(?:[\d.,'’_{_SPACE}]*\d)?[.,]?|[.,]\d+"
_PATTERN = (
    rf"^(?P<open>\()?[{_SPACE}]*(?P<sign>[+{_MINUS}])?[{_SPACE}]*(?P<before>[^{_SPACE}\d.,'’_()+{_MINUS}]"
    rf"[^{_SPACE}\d()+{_MINUS}]{{0,4}})?[{_SPACE}]*(?P<second>[+{_MINUS}])?(?P<body>{_BODY})(?P<power>[eE][+-]?\d+)?"
    rf"[{_SPACE}]*(?P<after>[^{_SPACE}\d.,'’_()+{_MINUS}][^()]{{0,9}}?)?[{_SPACE}]*(?P<end>[{_MINUS}])?(?P<close>\))?$"
)

_NO_CENTS = (rf"(\d)[.,][{_MINUS}—]{{1,2}}([^\d]*)$", r"\1\2")
_UNIT_OUTSIDE = (
    (rf"^([^{_SPACE}\d()+{_MINUS}]{{1,5}})[{_SPACE}]*\(([^()]*)\)$", r"(\1\2)"),
    (rf"^\(([^()]*)\)[{_SPACE}]*([^{_SPACE}\d()][^\d()]{{0,9}})$", r"(\1\2)"),
)


def spelled(separator: str) -> str:
    """A separator as --decimal and --thousands take it, and as it is compared: one kind of space and of apostrophe.

    >>> spelled("’"), spelled("\\u202f")
    ("'", ' ')
    """
    return "'" if separator == "’" else " " if separator.isspace() else separator


class Parts(NamedTuple):
    """Texts taken apart by (1), each with n entries.

    body: the digits and separators, an Arrow array, null where a text is no number. power: the exponents, or empty
    texts. unit: the units, or empty texts; leading: which of them stand before the number. negative: which numbers are
    below 0. nothing: which texts are missing.
    """

    body: Any
    power: Any
    unit: Any
    leading: np.ndarray[Any, Any]
    negative: np.ndarray[Any, Any]
    nothing: np.ndarray[Any, Any]

    @property
    def sound(self) -> np.ndarray[Any, Any]:
        """Which texts are numbers of some format, (n,) bool."""
        return ~values.nulls(self.body)

    def numbers(self, decimal: str, thousands: str, unit: str) -> Values:
        """The numbers by (2), bad where a text is not written so, or with another unit."""
        import pyarrow
        from pyarrow import compute

        fits = compute.and_(compute.match_substring_regex(self.body, digits(decimal, thousands)), _is(self.unit, unit))
        body = compute.if_else(fits, self.body, pyarrow.scalar(None, pyarrow.string()))
        if thousands:
            body = compute.replace_substring(body, thousands, "")
        if decimal != ".":
            body = compute.replace_substring(body, decimal, ".")
        number = compute.binary_join_element_wise(compute.utf8_rtrim(body, "."), self.power, "")
        found = values.host(number.cast(pyarrow.float64()))
        bad = ~self.nothing & ~np.isfinite(found)
        return Values(np.where(bad, np.nan, np.where(self.negative, -found, found)), bad)


def split(text: Any) -> Parts:
    """Take an Arrow array of strings apart.

    >>> import pyarrow
    >>> parts = split(pyarrow.array(["$1,234.50", "($7)", "w7", None]))
    >>> parts.unit.to_pylist(), parts.numbers(".", ",", "$").values
    (['$', '$', None, None], array([1234.5,   -7. ,    nan,    nan]))
    """
    import pyarrow
    from pyarrow import compute

    for pattern, plainer in (_NO_CENTS, *_UNIT_OUTSIDE):
        text = compute.replace_substring_regex(text, pattern, plainer)
    found = compute.extract_regex(text, _PATTERN)

    def part(name: str) -> Any:
        return compute.struct_field(found, name)

    def filled(name: str) -> np.ndarray[Any, Any]:
        return np.asarray(values.host(compute.binary_length(part(name))) > 0)

    before, after = part("before"), compute.utf8_trim_whitespace(part("after"))
    one = compute.replace_substring_regex(after, PLURAL, r"\1")
    after = compute.if_else(compute.is_in(one, value_set=pyarrow.array(sorted(COUNTED))), one, after)
    signs = [compute.is_in(part(name), value_set=pyarrow.array(["-", "−", "–"])) for name in ("sign", "second", "end")]
    minus = np.sum([values.host(sign) > 0 for sign in signs], axis=0)
    said = minus + np.sum([values.host(_is(part(name), "+")) > 0 for name in ("sign", "second")], axis=0)
    inside, left, right = filled("open"), filled("before"), filled("after")
    known = [
        values.host(compute.is_in(u, value_set=pyarrow.array(sorted(s)))) > 0
        for u, s in ((before, BEFORE), (after, AFTER))
    ]
    sound = (inside == filled("close")) & (said + inside <= 1) & ~(left & right)
    sound &= (known[0] | ~left) & (known[1] | ~right)
    body = compute.replace_substring_regex(part("body"), rf"[{_SPACE}]", " ")
    body = compute.replace_substring(body, "’", "'")
    any_format = "|".join(digits(d, t) for d in DECIMALS for t in ("", *THOUSANDS) if d != t)
    sound &= values.host(compute.match_substring_regex(body, any_format)) > 0
    none, there = pyarrow.scalar(None, pyarrow.string()), pyarrow.array(sound)
    unit = compute.binary_join_element_wise(before, after, "")
    return Parts(
        compute.if_else(there, body, none),
        part("power"),
        compute.if_else(there, unit, none),
        left,
        (minus > 0) | inside,
        values.nulls(text),
    )


def split_plain(text: Any) -> Parts:
    """The same for strings that all are numbers as in a program, in less time.

    >>> import pyarrow
    >>> split_plain(pyarrow.array(["-1.234"])).numbers(",", ".", "").values
    array([-1234.])
    """
    import pyarrow
    from pyarrow import compute

    if compute.any(compute.match_substring(text, "e", ignore_case=True)).as_py():
        return split(text)
    none = pyarrow.array([""]).take(pyarrow.array(np.zeros(len(text), np.int32)))
    negative = values.host(compute.starts_with(text, "-")) > 0
    return Parts(compute.utf8_ltrim(text, "+-"), none, none, np.zeros(len(text), bool), negative, values.nulls(text))


def digits(decimal: str, thousands: str) -> str:
    """(2) as a regular expression of RE2.

    >>> import re
    >>> [bool(re.search(digits(",", "."), text)) for text in ("1.234,5", "12,5", "1.23", "0.123", "12,34,5")]
    [True, True, False, False, False]
    """
    d, t = f"[{decimal}]", f"[{thousands}]"
    groups = rf"|[1-9]\d{{0,2}}(?:{t}\d{{3}})+" if thousands else ""
    if thousands == ",":  # as in India
        groups += r"|[1-9]\d?(?:,\d{2})+,\d{3}"
    return rf"^(?:(?:\d+{groups})(?:{d}\d*)?|{d}\d+)$"


@dataclass(frozen=True, repr=False)
class NumberFormat(Configurable):
    """How the numbers of a column are written.

    decimal: "." or ",". thousands: "", or one of , . space ' _. unit: "", or the unit of all values. leading: whether
    the unit stands before the number.

    >>> import pyarrow
    >>> NumberFormat(",", ".").read(pyarrow.array(["1.234,50", "-7", "abc"]))
    Values(values=array([1234.5,   -7. ,    nan]), bad=array([False, False,  True]))
    """

    plural = "numbers"

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    leading: bool = False

    def __post_init__(self) -> None:
        if self.decimal not in DECIMALS or self.thousands not in ("", *THOUSANDS) or self.decimal == self.thousands:
            raise ValueError(
                f"the decimal mark is . or , and the thousands separator another of {' '.join(THOUSANDS)}, and got "
                f"{self.decimal!r:.20} and {self.thousands!r:.20}"
            )
        if not isinstance(self.unit, str) or self.unit not in ("", *AFTER) or not isinstance(self.leading, bool):
            raise ValueError(f"the unit of numbers is one of those in gpubp.tables.units, and got {self.unit!r:.40}")

    @property
    def plain(self) -> bool:
        """Whether numbers are written as in a program, 1234.5."""
        return self == NumberFormat()

    @property
    def example(self) -> str:
        """A number that is written so.

        >>> NumberFormat(".", ",", "$", leading=True).example, NumberFormat(unit="%").example
        ('$1,234.50', '12%')
        """
        short = "12" if self.decimal == "." else "12,5"
        body = short if self.unit and not self.thousands else f"1{self.thousands}234{self.decimal}50"
        if not self.unit:
            return body
        space = "" if self.unit in CURRENCY_SIGNS or self.unit in "%‰°" else " "
        unit = f"{self.unit}s" if self.unit in COUNTED else self.unit
        return f"{unit}{space}{body}" if self.leading else f"{body}{space}{unit}"

    def describe(self) -> str:
        """ "written ..." with an example, or nothing where numbers are written as in a program.

        >>> NumberFormat(",", ".").describe(), NumberFormat().describe()
        ('written 1.234,50', '')
        """
        return "" if self.plain else f"written {self.example}"

    def wrong(self, text: str = "") -> str:
        """What a text is that is not written so, for a message.

        >>> NumberFormat(",").wrong(), NumberFormat().wrong("abc"), NumberFormat().wrong("1,5")
        ('which is no number written 1234,50', 'which is no number', 'which is no number written 1234.5')
        """
        digits = any(letter.isdecimal() for letter in text)
        written = self.describe() or ("written 1234.5" if digits else "")
        return f"which is no number {written}".strip()

    def read(self, array: Any) -> Values:
        """The numbers of an Arrow array: of numbers as they are, of text by (1) and (2)."""
        if values.kind_of(array.type) != "text":
            return values.numbers(array)
        text = values.written(array)
        if self.decimal == "." and not self.unit and (found := plain_numbers(text)) is not None:
            return found
        return split(text).numbers(self.decimal, self.thousands, self.unit)


def plain_numbers(text: Any) -> Values | None:
    """The numbers of an Arrow array of strings that all are as in a program; None if one is not.

    >>> import pyarrow
    >>> plain_numbers(pyarrow.array(["1e3", None])).values, plain_numbers(pyarrow.array(["1,5"]))
    (array([1000.,   nan]), None)
    """
    import pyarrow

    try:
        found = values.host(text.cast(pyarrow.float64()))
    except pyarrow.ArrowInvalid:
        return None
    return None if np.isinf(found).any() else Values(found, np.zeros(len(found), bool))


def _is(text: Any, word: str) -> Any:
    from pyarrow import compute

    return compute.equal(text, word)
