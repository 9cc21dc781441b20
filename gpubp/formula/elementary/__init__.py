"""exp, expm1, log, log1p, tanh, sin, cos and erf with the same bits on every device: exact numerics.

Libraries and processors differ in the last bits of these functions, but not in those of + - * / √ and of comparisons.
So each function is a formula of these, and of five operations on the bits of a number (`steps.py`). Its one definition
is lowered to NumPy (`passes.py`), Numba and CUDA (`source.py`):

    float32     computed in float64 and rounded once (`single.py`)                          error below 0.506 ulp
    float64     with sums and products of two numbers each, head and tail (`double.py`)     error below 0.51 ulp

sin and cos keep this up to |x| = 10⁶. Beyond, their error is |x| 2⁻⁵³, and from 2⁵⁰ on the angle is taken for 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..program import Program
from . import double, single
from .passes import compute
from .source import DEVICE, c_source, python_function, python_source
from .steps import Array, written

__all__ = [
    "DEVICE", "NAMES", "c_function", "cos64", "exp64", "expm1_64", "into", "log1p_64", "log64", "numba_function",
    "of_numbers", "program_of", "sin64", "tanh64",
]  # fmt: skip

NAMES = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf")


@lru_cache(maxsize=32)
def program_of(name: str, dtype: str) -> Program:
    """The function of that name for numbers of type float32 or float64, as a program of float64 numbers.

    >>> len(program_of("exp", "float32").steps) < 40
    True
    """
    return written(getattr({"float32": single, "float64": double}[dtype], name))


def into(name: str, x: Array, out: Array) -> Array:
    """out = the function of x, elementwise, of float32 or float64; out may be x.

    >>> into("exp", x := np.zeros(2, "float32"), x).tolist()
    [1.0, 1.0]
    """
    return compute(program_of(name, out.dtype.name), x, out)


@lru_cache(maxsize=32)
def numba_function(name: str, dtype: str) -> str:
    """Source of a function for Numba, see `source.python_source`.

    >>> numba_function("exp", "float32").splitlines()[1]
    'def _exp(x):'
    """
    return python_source(name, program_of(name, dtype))


@lru_cache(maxsize=32)
def c_function(name: str, dtype: str) -> str:
    """Source of a function in C, see `source.c_source`.

    >>> c_function("exp", "float32").splitlines()[0]
    'static __device__ real exact_exp(const real x)'
    """
    return c_source(name, program_of(name, dtype))


def of_numbers(name: str, x: Any) -> Any:
    """The function of a number or an array, as float64.

    >>> of_numbers("exp", [0.0, 0.0]).tolist()
    [1.0, 1.0]
    """
    if isinstance(x, float | int):
        return _scalar_function(name)(float(x))
    given = np.asarray(x, np.float64)
    result = into(name, given, np.empty(given.shape))
    return result if given.ndim else float(result)


@lru_cache(maxsize=32)
def _scalar_function(name: str) -> Callable[[float], float]:
    return python_function(name, program_of(name, "float64"))


def exp64(x: Any) -> Any:
    """eˣ of a number or an array, as float64

    >>> exp64(1.0)
    2.718281828459045
    """
    return of_numbers("exp", x)


def expm1_64(x: Any) -> Any:
    """eˣ - 1 of a number or an array, as float64

    >>> expm1_64(1.0)
    1.718281828459045
    """
    return of_numbers("expm1", x)


def log64(x: Any) -> Any:
    """The logarithm of a number or an array, as float64

    >>> log64([1.0, 2.0]).tolist()
    [0.0, 0.6931471805599453]
    """
    return of_numbers("log", x)


def log1p_64(x: Any) -> Any:
    """log(1 + x) of a number or an array, as float64

    >>> log1p_64(1.0)
    0.6931471805599453
    """
    return of_numbers("log1p", x)


def tanh64(x: Any) -> Any:
    """The hyperbolic tangent of a number or an array, as float64

    >>> tanh64(0.0)
    0.0
    """
    return of_numbers("tanh", x)


def sin64(x: Any) -> Any:
    """The sine of a number or an array, as float64

    >>> sin64(0.0)
    0.0
    """
    return of_numbers("sin", x)


def cos64(x: Any) -> Any:
    """The cosine of a number or an array, as float64

    >>> cos64(0.0)
    1.0
    """
    return of_numbers("cos", x)
