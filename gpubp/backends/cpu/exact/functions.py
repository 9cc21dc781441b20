"""Exact functions of one or two numbers, made of NumPy calls; they are called as ufuncs are.

fmax    a if a ≥ b or b is not a number, else b: of +0 and -0 it is a
fmin    a if a ≤ b or b is not a number, else b
sign    1, -1, +0, or what is not a number
exp, expm1, log, log1p, tanh, sin, cos, erf, erfc     formulas, see `gpubp/formula/elementary`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....formula.elementary import NAMES, into
from ...arrays import Array


def _elementary(name: str) -> Callable[..., Any]:
    def function(x: Any, out: Array | None = None) -> Any:
        numbers = np.asarray(x)
        kind = numbers.dtype if numbers.dtype.kind == "f" else np.dtype(np.float64)
        result = into(name, numbers, np.empty(numbers.shape, kind) if out is None else out)
        return result[()] if out is None and not numbers.ndim else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} of exact numerics"
    return function


def fmax(a: Any, b: Any, out: Array | None = None) -> Any:
    """The larger of two; the other one where one is not a number.

    >>> fmax(np.array([0.0, np.nan]), -0.0).tolist()
    [0.0, -0.0]
    """
    return chosen(np.greater_equal(a, b) | np.isnan(b), a, b, out)


def fmin(a: Any, b: Any, out: Array | None = None) -> Any:
    """The smaller of two; the other one where one is not a number.

    >>> fmin(np.array([-0.0, np.nan]), 0.0).tolist()
    [-0.0, 0.0]
    """
    return chosen(np.less_equal(a, b) | np.isnan(b), a, b, out)


def sign(x: Any, out: Array | None = None) -> Any:
    """-1, 0 or 1

    >>> sign(np.array([-3.0, -0.0, 2.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    numbers = np.asarray(x)
    one = numbers.dtype.type(1)
    found = np.where(numbers > 0, one, np.where(numbers < 0, -one, np.where(np.isnan(numbers), numbers, 0 * one)))
    return given(found, out)


def chosen(first: Array, a: Any, b: Any, out: Array | None) -> Any:
    """a where `first` says so, else b, in `out` if that is an array.

    >>> chosen(np.array([True, False]), 1.0, 2.0, None).tolist()
    [1.0, 2.0]
    """
    return given(np.where(first, a, b), out)


def given(found: Any, out: Array | None) -> Any:
    """An array in `out`, if that is one, or else as ufuncs give theirs: a single number as such.

    >>> given(np.array(2.0), None)
    np.float64(2.0)
    """
    if out is None:
        return found[()]
    np.copyto(out, found, casting="same_kind")
    return out


exp, expm1, log, log1p, tanh, sin, cos, erf, erfc = map(_elementary, NAMES)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "fmax": fmax, "fmin": fmin, "sign": sign, **{name: globals()[name] for name in NAMES},
}  # fmt: skip
