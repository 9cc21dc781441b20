"""Accuracy: how exactly a number can be computed from the digits that a page shows of others.

Each printed number is rounded, so it is known up to half a unit of its last digit. Through an operation f these errors
become at most about

    (1)  err f(a, b, ...) = |f(a + err a, b, ...) - f(a, b, ...)| + |f(a, b + err b, ...) - f(a, b, ...)| + ...

which is small where numbers are multiplied, and may be larger than the result where they cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..expressions import Constant, Element, Expression, Given, Key, Largest, Operation, Sum
from ..forms.numbers import number, parsed

Errors = Callable[[Element], float]


def digit(value: float, digits: int) -> float:
    """One unit in the last place of a number with so many significant digits; 0 for 0.

    >>> digit(0.49402, 3), digit(-984.0, 3)
    (0.001, 1.0)
    """
    if value == 0 or not math.isfinite(value):
        return 0.0
    return float(10.0 ** (math.floor(math.log10(abs(value))) + 1 - digits))


def shown_error(value: float) -> float:
    """By how much a number may differ from the digits that a page shows of it.

    >>> shown_error(0.5), shown_error(1 / 3)
    (0.0, 5e-07)
    """
    text = number(value)
    return 0.0 if not math.isfinite(value) or parsed(text) == value else digit(value, 6) / 2


def error_of(expression: Expression, errors: Errors) -> float:
    """(1) of an expression. errors: of an element.

    >>> x, y = (Element(n, (), v, Key("", n, ())) for n, v in (("x", 2.0), ("y", 3.0)))
    >>> round(error_of(Operation("multiply", [x, y]), lambda e: 0.1), 9)
    0.5
    """
    known: dict[int, float] = {}

    def find(e: Expression) -> float:
        if id(e) not in known:
            known[id(e)] = _error(e, [find(o) for o in e.operands], errors)
        return known[id(e)]

    return find(expression)


def _error(e: Expression, errors: list[float], of: Errors) -> float:
    if isinstance(e, Element):
        return of(e)
    if isinstance(e, Constant | Given):
        return shown_error(e.value)
    if isinstance(e, Sum):
        return math.fsum(errors)
    if isinstance(e, Largest):
        reaching = [err for o, err in zip(e.operands, errors, strict=True) if o.value + err >= e.value]
        return max(reaching, default=math.inf)
    assert isinstance(e, Operation)
    values = [o.value for o in e.operands]
    found = 0.0
    for k, err in enumerate(errors):
        if err:
            ends = [_operated(e.name, [*values[:k], v, *values[k + 1 :]]) for v in (values[k] + err, values[k] - err)]
            found += max(abs(end - e.value) for end in ends)
    return math.inf if math.isnan(found) else found


def _operated(name: str, values: list[float]) -> float:
    return Operation(name, [Constant(v) for v in values]).value


def value_with(expression: Expression, given: Mapping[Key, float]) -> float:
    """The value of an expression, where some of its elements have other values.

    >>> x = Element("x", (), 2.0, Key("", "x", ()))
    >>> value_with(Sum([x, Constant(1.0)]), {x.key: 5.0})
    6.0
    """
    known: dict[int, float] = {}

    def find(e: Expression) -> float:
        if id(e) not in known:
            known[id(e)] = _value(e, [find(o) for o in e.operands], given)
        return known[id(e)]

    return find(expression)


def _value(e: Expression, values: list[float], given: Mapping[Key, float]) -> float:
    if isinstance(e, Element):
        return given.get(e.key, e.value)
    read: list[Any] = [Constant(v) for v in values]
    if isinstance(e, Sum | Largest):
        return type(e)(read).value
    return _operated(e.name, values) if isinstance(e, Operation) else e.value


def digits_of(value: float) -> str:
    """The digits of a number as a page shows it, without sign, point and exponent.

    >>> digits_of(-0.0204464), digits_of(20.0), digits_of(0.0)
    ('204464', '2', '')
    """
    return number(abs(float(value))).partition("e")[0].replace(".", "").strip("0")
