"""The operations that elementary functions are made of: those of formulas, and five on the bits of float64 numbers.

Every one of them has one right result, on every device: the functions have the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..program import Number, Program, Step, Tracer
from ..symbols import Symbol, operand_of

Array = np.ndarray[Any, Any]

WHOLE = (
    6755399441055744.0  # 1.5 * 2**52: near it the float64 numbers are whole, and their last bits are a whole number's
)
FRACTION, ONE = (1 << 52) - 1, 1023 << 52  # bits of a float64 number
LOW = (1 << 27) - 1


class Spelling(NamedTuple):
    """How an operation is written for Numba and in C. `bits` takes a float64 number for an int64, `number` back."""

    numba: str
    c: str


def _alike(text: str) -> Spelling:
    return Spelling(text, text)


SPELLINGS = {
    "add": _alike("{0} + {1}"),
    "subtract": _alike("{0} - {1}"),
    "multiply": _alike("{0} * {1}"),
    "divide": _alike("{0} / {1}"),
    "negative": _alike("-{0}"),
    "absolute": Spelling("abs({0})", "fabs({0})"),
    "sqrt": _alike("sqrt({0})"),
    "greater": _alike("{0} > {1}"),
    "greater_equal": _alike("{0} >= {1}"),
    "less": _alike("{0} < {1}"),
    "less_equal": _alike("{0} <= {1}"),
    "equal": _alike("{0} == {1}"),
    "select": Spelling("{1} if {0} else {2}", "{0} ? {1} : {2}"),
    "power_of_two": _alike("number(bits({0} + 6755399441056767.0) << 52)"),
    "exponent": _alike("number((bits({0}) >> 52) | 4841369599423283200) - 4503599627371519.0"),
    "mantissa": _alike("number((bits({0}) & 4503599627370495) | 4607182418800017408)"),
    "high": _alike("number(bits({0}) & -134217728)"),
    "with_sign": _alike("number((bits({0}) & 9223372036854775807) | (bits({1}) & ~9223372036854775807))"),
}


def _traced(operation: str, *operands: Any) -> Any:
    symbol = next((o for o in operands if isinstance(o, Symbol)), None)
    return None if symbol is None else symbol.tracer.record(operation, *operands)


def equal(a: Any, b: Any) -> Any:
    """Whether two numbers are the same.

    >>> bool(equal(0.0, -0.0))
    True
    """
    found = _traced("equal", a, b)
    return np.equal(a, b) if found is None else found


def select(where: Any, a: Any, b: Any) -> Any:
    """a where the comparison is true, else b; both are computed.

    >>> select(np.array([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    found = _traced("select", where, a, b)
    return np.where(where, a, b) if found is None else found


def power_of_two(n: Any) -> Any:
    """2**n of a whole number from -1022 to 1023.

    >>> float(power_of_two(-3.0))
    0.125
    """
    found = _traced("power_of_two", n)
    return _of(DO["power_of_two"], n) if found is None else found


def exponent(x: Any) -> Any:
    """e of x = m 2**e with 1 ≤ m < 2, for x > 0 that is not subnormal.

    >>> float(exponent(12.0)), float(mantissa(12.0))
    (3.0, 1.5)
    """
    found = _traced("exponent", x)
    return _of(DO["exponent"], x) if found is None else found


def mantissa(x: Any) -> Any:
    """m of x = m 2**e, as in `exponent`.

    >>> float(mantissa(0.75))
    1.5
    """
    found = _traced("mantissa", x)
    return _of(DO["mantissa"], x) if found is None else found


def high(x: Any) -> Any:
    """The first 26 bits of x, so that a product of two such numbers is exact.

    >>> float(high(1.0 + 2.0**-20 + 2.0**-40) - 1.0) == 2.0**-20
    True
    """
    found = _traced("high", x)
    return _of(DO["high"], x) if found is None else found


def with_sign(x: Any, y: Any) -> Any:
    """x with the sign of y.

    >>> float(with_sign(2.0, -0.0))
    -2.0
    """
    found = _traced("with_sign", x, y)
    return np.copysign(x, y) if found is None else found


def whole(x: Any) -> Any:
    """The nearest whole number, of two the even one, of |x| < 2**51.

    >>> float(whole(2.5)), float(whole(-3.5))
    (2.0, -4.0)
    """
    return (x + WHOLE) - WHOLE


def horner(x: Any, *coefficients: float) -> Any:
    """c₀ xⁿ + c₁ xⁿ⁻¹ + …

    >>> horner(2.0, 3.0, 1.0, 5.0)
    19.0
    """
    total: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _of(do: Callable[..., None], *operands: Any) -> Any:
    given = [np.asarray(o, np.float64) for o in operands]
    do(*given, out := np.empty(np.broadcast_shapes(*(a.shape for a in given))))
    return out


def _power_of_two(n: Array, out: Array) -> None:
    np.add(n, WHOLE + 1023.0, out=out)
    bits = out.view(np.int64)
    np.left_shift(bits, 52, out=bits)


def _exponent(x: Array, out: Array) -> None:
    bits = out.view(np.int64)
    np.right_shift(x.view(np.int64), 52, out=bits)
    np.bitwise_or(bits, 1075 << 52, out=bits)
    np.subtract(out, 2.0**52 + 1023.0, out=out)


def _mantissa(x: Array, out: Array) -> None:
    bits = out.view(np.int64)
    np.bitwise_and(x.view(np.int64), FRACTION, out=bits)
    np.bitwise_or(bits, ONE, out=bits)


def _high(x: Array, out: Array) -> None:
    np.bitwise_and(x.view(np.int64), ~LOW, out=out.view(np.int64))


def _select(where: Array, a: Array, b: Array, out: Array) -> None:
    if out is not b:
        np.copyto(out, b)
    np.copyto(out, a, where=where)


DO: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in SPELLINGS if hasattr(np, name)},
    "select": _select,  # out may be b, not a
    "power_of_two": _power_of_two,
    "exponent": _exponent,
    "mantissa": _mantissa,
    "high": _high,
    "with_sign": np.copysign,
}


class Steps(Tracer):
    """Writes an elementary function down."""

    def record(self, operation: str, *operands: Any) -> Symbol:
        step = Step(operation, tuple(o if isinstance(o, int) else Number(o) for o in map(operand_of, operands)))
        if step not in self._known:
            is_bool = operation in ("greater", "greater_equal", "less", "less_equal", "equal")
            self._known[step] = Symbol(self, len(self.inputs) + len(self.steps), is_bool)
            self.steps.append(step)
            self.is_bool.append(is_bool)
        return self._known[step]


def written(function: Callable[[Any], Any]) -> Program:
    """An elementary function as a program of such operations.

    >>> [step.operation for step in written(lambda x: select(x > 0.0, x, 0.0)).steps]
    ['greater', 'select']
    """
    steps = Steps(1)
    return steps.program((function(*steps.inputs),))
