"""Nodes that read numbers from texts such as 1.234,50 or ($1,234.50) or 12.- kr: `gpubp.tables.formats` in a graph.

One regular expression says which texts are numbers from 0 on, and another which are below 0. Together they are the
texts that (1) and (2) of `formats` take, with the format of one column in place of all formats:

    D   mark of decimals     T   separator of thousands     U   unit
    X   digits such as 12, 1.234,5, ,5 or 12, and 1e5; then .- or ,-- for no cents, where no digit follows
    from 0 on     [+] X      [+] U X      U +X     [+] X U
    below 0       -X  X- (X)    -U X   U -X   U X-   (U X)   U (X)     -X U   X U-   (X U)   (X) U

What is neither digit nor mark is then taken out, and a Cast reads the rest.
"""

from __future__ import annotations

from typing import NamedTuple

from ....tables.formats import NumberFormat
from ....tables.units import AFTER, BEFORE, COUNTED
from ..graph import Value
from .cells import Cells
from .rows import Rows
from .strings import W, escaped, one_of, parts, without

DASHES = "-−–—"
SPACE = one_of("\t\n\f\r \xa0\u202f\u2009")
_MINUS, _DASH = one_of(DASHES[:3]), one_of(DASHES)
_POWER = "[eE][+-]?[0-9]+"


class Patterns(NamedTuple):
    """Regular expressions of RE2 of the numbers from 0 on and of those below it.

    >>> Patterns("[0-9]+", "-[0-9]+").negative
    '-[0-9]+'
    """

    positive: str
    negative: str


def patterns(written: NumberFormat) -> Patterns:
    """The patterns of a format, with spaces around them.

    >>> "kr" in patterns(NumberFormat(unit="kr")).positive
    True
    """
    S, unit = f"{SPACE}*", written.unit
    body, first, closed, digit_first, open_end = _digits(written)
    x, x0 = f"(?:{body})", f"(?:{first})"
    if not unit:
        positive = [rf"(?:\+{S})?{x}"]
        negative = [f"{_MINUS}{S}{x}", _minus_behind(closed, open_end), rf"\({S}{x}{S}\)"]
    else:
        positive, negative = [], []
    if unit in BEFORE:
        u = escaped(unit)
        ux = f"{u}(?:{SPACE}+{x}|{x0})"  # a mark of decimals just behind a unit counts as part of it
        positive += [rf"(?:\+{S})?{ux}", rf"{u}{S}\+{x}"]
        negative += [f"{_MINUS}{S}{ux}", f"{u}{S}{_MINUS}{x}", rf"\({S}{ux}{S}\)"]
        negative += [rf"{u}{S}\((?:{SPACE}+{x}|{x0}){S}\)"]
        negative += [f"{u}(?:{SPACE}+{_minus_behind(closed, open_end)}|{_minus_behind(digit_first, open_end)})"]
    if unit in AFTER:
        u = escaped(unit) + ("s?" if unit in COUNTED else "")
        digits_behind = any(letter.isdecimal() for letter in unit)
        xu = f"(?:{closed}|{open_end}){S}{u}" if digits_behind else f"{x}{S}{u}"
        positive.append(rf"(?:\+{S})?{xu}")
        negative += [f"{_MINUS}{S}{xu}", f"{xu}{S}{_MINUS}", rf"\({S}{xu}{S}\)"]
        if not digits_behind:
            negative.append(rf"\({S}{x}{S}\){S}{u}")
    return Patterns(*(f"{W}(?:{'|'.join(ways)}){W}" for ways in (positive, negative)))


def _digits(written: NumberFormat) -> tuple[str, str, str, str, str]:
    """X; X that begins with a digit; both that end with a digit, without .-; X that ends with the mark of decimals."""
    d, t = escaped(written.decimal), {" ": SPACE, "'": "['’]"}.get(written.thousands, escaped(written.thousands))
    groups = ["[0-9]+"]
    if t:
        groups.append(f"[1-9][0-9]{{0,2}}(?:{t}[0-9]{{3}})+")
    if written.thousands == ",":  # as in India
        groups.append("[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
    whole = f"(?:{'|'.join(groups)})"
    first = f"(?:{whole}(?:{d}[0-9]+)?(?:{_POWER})?|{whole}{d}{_POWER})"
    closed = f"(?:{first}|{d}[0-9]+(?:{_POWER})?)"
    open_end, cents = f"{whole}{d}", f"(?:[.,]{_DASH}{{1,2}})?"
    return f"{closed}{cents}|{open_end}", f"{first}{cents}|{open_end}", closed, first, open_end


def _minus_behind(closed: str, open_end: str) -> str:
    """X with a minus behind it, which must not be taken for the dash of .- and ,-"""
    S = f"{SPACE}*"
    cents = f"[.,]{_DASH}"
    return f"(?:{closed}(?:{cents}{_DASH})?{S}|{closed}{cents}{SPACE}+|{open_end}{SPACE}+){_MINUS}"


def read_numbers(rows: Rows, name: str, written: NumberFormat, cells: Cells) -> tuple[Value, Value]:
    """The numbers of texts (n,) float64, 0 where there is none, and which are bad. name: of the column.

    >>> import numpy as np
    >>> from gpubp.interop.onnx_out.graph import Graph
    >>> rows = Rows(Graph({}, np.dtype(np.float32)), Value("x", ("batch", 1)))
    >>> cells = Cells(*(Value(name, ("batch",)) for name in ("given", "tidy", "nothing")))
    >>> [found.shape for found in read_numbers(rows, "price", NumberFormat(",", "."), cells)]
    [('batch',), ('batch',)]
    """
    pattern = patterns(written)
    below = rows.matches(cells.given, pattern.negative)
    good = rows.all(rows.any(rows.matches(cells.given, pattern.positive), below), rows.no(cells.nothing))
    text = rows.where(good, cells.tidy, "0")
    if written.unit:
        for unit in (f"{written.unit}s", written.unit) if written.unit in COUNTED else (written.unit,):
            text = rows.op("StringConcat", *parts(rows, text, unit, 2))
    before, small = parts(rows, text, "e", 2)
    before, large = parts(rows, before, "E", 2)
    power = rows.op("StringConcat", small, large)
    sign = rows.where(rows.matches(power, "-.*"), "-", "")
    other = "," if written.decimal == "." else "."
    separators = {" ", other, written.thousands, *("’" if written.thousands == "'" else "")} - {""}
    both = without(rows, rows.side_by_side([before, power]), f"{DASHES}+(){''.join(sorted(separators))}")
    mantissa, digits = rows.column(both, 0), rows.column(both, 1)
    whole, fraction = parts(rows, mantissa, written.decimal, 2)
    digits = parts(rows, digits, written.decimal, 2)[0]
    for piece in (rows.mark(), fraction, "e", sign, rows.where(rows.op("Equal", digits, ""), "0", digits)):
        whole = rows.op("StringConcat", whole, piece)
    x = rows.cast(whole, "DOUBLE")
    rows.g.nodes[-1].name = rows.g.named(f"column {name}: a number is too large or too small")
    return rows.where(below, rows.op("Neg", x), x), rows.no(rows.any(good, cells.nothing))
