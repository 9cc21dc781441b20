"""exp, cos and their kin of numbers on the host, where they decide what a network computes: learning rates, constants.

Ordinary numerics takes them from Python and NumPy, exact numerics from `elementary`. Which of them is a setting of the
thread at work, so that schedules and layers need not be told:

    with host_numerics("exact"):
        rate = schedule(t)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .elementary import cos64, exp64, log64, sin64

_exact: ContextVar[bool] = ContextVar("exact", default=False)
_single: ContextVar[bool] = ContextVar("single", default=False)


@contextmanager
def host_numerics(numerics: str) -> Iterator[None]:
    """Inside, the functions here are those of "ordinary" or "exact" numerics.

    >>> with host_numerics("exact"):
    ...     is_exact_here()
    True
    """
    token = _exact.set(numerics == "exact")
    try:
        yield
    finally:
        _exact.reset(token)


def is_exact_here() -> bool:
    """Whether what is computed now must have the same bits on every machine.

    >>> is_exact_here()
    False
    """
    return _exact.get()


@contextmanager
def written_for(dtype: str) -> Iterator[None]:
    """Inside, formulas are written down for numbers of this type.

    >>> with written_for("float32"):
    ...     is_single_here()
    True
    """
    token = _single.set(dtype == "float32")
    try:
        yield
    finally:
        _single.reset(token)


def is_single_here() -> bool:
    """Whether a formula is written down now that computes float32 numbers in ordinary numerics; it may then take what
    is within their rounding.

    >>> is_single_here()
    False
    """
    return _single.get() and not _exact.get()


def exp(x: Any) -> Any:
    """eˣ of a number or an array

    >>> exp(0.0)
    1.0
    """
    return exp64(x) if _exact.get() else (np.exp if isinstance(x, np.ndarray) else math.exp)(x)


def cos(x: Any) -> Any:
    """The cosine of a number or an array

    >>> cos(0.0)
    1.0
    """
    return cos64(x) if _exact.get() else (np.cos if isinstance(x, np.ndarray) else math.cos)(x)


def sin(x: Any) -> Any:
    """The sine of a number or an array

    >>> sin(0.0)
    0.0
    """
    return sin64(x) if _exact.get() else (np.sin if isinstance(x, np.ndarray) else math.sin)(x)


def log(x: Any) -> Any:
    """The natural logarithm of a number or an array

    >>> log(1.0)
    0.0
    """
    return log64(x) if _exact.get() else (np.log if isinstance(x, np.ndarray) else math.log)(x)


def log10(x: Any) -> Any:
    """The logarithm to the base 10 of a number or an array

    >>> float(log10(100.0))
    2.0
    """
    return log64(x) / log64(10.0) if _exact.get() else np.log10(x)


def power(a: Any, b: Any) -> Any:
    """aᵇ of numbers or arrays, a ≥ 0; where all of b are whole numbers from 0 on, by products.

    >>> power(2.0, 10), power(4.0, 0.5)
    (1024.0, 2.0)
    """
    if not _exact.get():
        return a**b
    if isinstance(a, float | int) and isinstance(b, float | int):
        return _of_numbers(float(a), b)
    whole = bool(np.all((b == np.floor(b)) & (b >= 0) & (b < 2**53)))
    if whole:
        result = _by_products(np.asarray(a, np.float64), np.asarray(b).astype(np.int64))
    else:
        with np.errstate(all="ignore"):
            result = np.asarray(exp64(b * log64(a)))
    return result if result.ndim else float(result)


def _of_numbers(a: float, b: float) -> float:
    if b < 0 or b != math.floor(b):
        return float(exp64(b * log64(a)))
    result, n = 1.0, int(b)
    while n:
        if n & 1:
            result *= a
        a, n = a * a, n >> 1
    return result


def _by_products(a: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """aⁿ: the product of a, a², a⁴, …, of those that are in n. It depends on a and n alone, and so a training that is
    resumed at any step has the powers of one that never stopped."""
    result, square = np.ones(np.broadcast_shapes(a.shape, n.shape)), np.array(a)
    with np.errstate(all="ignore"):
        while np.any(n):
            result = np.where(n & 1, result * square, result)
            square, n = square * square, n >> 1
    return result
