"""The functions of formulas: of numbers and arrays they compute, and of symbols they write an operation down."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementary import NAMES, OWN, like_ufunc, of_numbers
from .host import is_exact_here
from .symbols import Symbol


def _call(operation: str, *operands: Any) -> Any:
    for operand in operands:
        if isinstance(operand, Symbol):
            return operand.tracer.record(operation, *operands)
    if operation in NAMES and is_exact_here():
        return of_numbers(operation, *operands)
    if operation in OWN:
        return like_ufunc(operation, *operands)
    return getattr(np, operation)(*operands)


def exp(x: Any) -> Any:
    """eˣ

    >>> float(exp(0.0))
    1.0
    """
    return _call("exp", x)


def expm1(x: Any) -> Any:
    """eˣ - 1, exact also near 0

    >>> float(expm1(0.0))
    0.0
    """
    return _call("expm1", x)


def log(x: Any) -> Any:
    """The natural logarithm

    >>> float(log(1.0))
    0.0
    """
    return _call("log", x)


def log1p(x: Any) -> Any:
    """log(1 + x), exact also near 0

    >>> float(log1p(0.0))
    0.0
    """
    return _call("log1p", x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent

    >>> float(tanh(0.0))
    0.0
    """
    return _call("tanh", x)


def sin(x: Any) -> Any:
    """The sine of an angle in radians

    >>> float(sin(0.0))
    0.0
    """
    return _call("sin", x)


def cos(x: Any) -> Any:
    """The cosine of an angle in radians

    >>> float(cos(0.0))
    1.0
    """
    return _call("cos", x)


def erf(x: Any) -> Any:
    """The error function, (2/√π) ∫ e^(-t²) dt from 0 to x, within 1 unit of the last place; erf' = (2/√π) e^(-x²).

    >>> float(erf(0.0)), float(erf(1.0))
    (0.0, 0.8427007929497149)
    """
    return _call("erf", x)


def erfc(x: Any) -> Any:
    """1 - erf x, with all its places also where it is small; the normal distribution has Φ(x) = ½ erfc(-x/√2).

    >>> float(erfc(0.0)), abs(float(erfc(10.0)) / 2.0884875837625448e-45 - 1.0) < 1e-15
    (1.0, True)
    """
    return _call("erfc", x)


def sqrt(x: Any) -> Any:
    """The square root

    >>> float(sqrt(9.0))
    3.0
    """
    return _call("sqrt", x)


def absolute(x: Any) -> Any:
    """The absolute value

    >>> float(absolute(-2.0))
    2.0
    """
    return _call("absolute", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1

    >>> float(sign(-2.0))
    -1.0
    """
    return _call("sign", x)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two; not a number if either is not

    >>> float(maximum(-2.0, 0.0))
    0.0
    """
    return _call("maximum", a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two; not a number if either is not

    >>> float(minimum(-2.0, 0.0))
    -2.0
    """
    return _call("minimum", a, b)


def fmax(a: Any, b: Any) -> Any:
    """The larger of two; the other one where one is not a number

    >>> float(fmax(float("nan"), 0.0))
    0.0
    """
    return _call("fmax", a, b)


def fmin(a: Any, b: Any) -> Any:
    """The smaller of two; the other one where one is not a number

    >>> float(fmin(float("nan"), 0.0))
    0.0
    """
    return _call("fmin", a, b)


def equal(a: Any, b: Any) -> Any:
    """Whether two whole numbers are the same, such as a class and a target; computed ones hardly ever meet.

    >>> bool(equal(2, 2))
    True
    """
    return _call("equal", a, b)


def row_sum(x: Any) -> Any:
    """The sum over the last axis, which stays with length 1

    >>> row_sum(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0], [7.0]]
    """
    return x.tracer.record("row_sum", x) if isinstance(x, Symbol) else np.sum(x, axis=-1, keepdims=True)


def row_max(x: Any) -> Any:
    """The largest number along the last axis, which stays with length 1

    >>> row_max(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[2.0], [4.0]]
    """
    return x.tracer.record("row_max", x) if isinstance(x, Symbol) else np.max(x, axis=-1, keepdims=True)


def sigmoid(x: Any) -> Any:
    """σ(x) = 1 / (1 + e⁻ˣ), the logistic function

    >>> float(sigmoid(0.0))
    0.5
    """
    return 1.0 / (1.0 + exp(-x))
