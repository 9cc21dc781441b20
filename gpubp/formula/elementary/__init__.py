"""exp, expm1, log, log1p, tanh, sin, cos, erf and erfc with the same bits on every device: exact numerics.

Libraries and processors differ in the last bits of these functions, but not in those of + - * / √ and of comparisons.
So each function is a formula of these, and of five operations on the bits of a number (`steps.py`). Its one definition
is lowered to NumPy (`passes.py`), Numba and CUDA (`source.py`):

    float32     computed in float64 and rounded once (`single.py`)                          error below 0.506 ulp
    float64     with sums and products of two numbers each, head and tail (`double.py`)     error below 0.51 ulp
    float64     erfc, and in ordinary numerics erf (`plain.py`)                             error below 5 ulp, and 1 ulp

erf and erfc are here for ordinary numerics too, because NumPy has none, and CUDA's erf may be 2 ulp from the truth.

sin and cos keep this up to |x| = 10⁶. Beyond, their error is |x| 2⁻⁵³, and from 2⁵⁰ on the angle is taken for 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..program import Program
from . import double, plain, single
from .passes import compute
from .source import DEVICE, c_source, python_function, python_source
from .steps import Array, written

__all__ = [
    "DEVICE", "NAMES", "OWN", "c_function", "c_functions", "cos64", "exp64", "expm1_64", "into", "like_ufunc",
    "log1p_64", "log64", "numba_function", "numba_functions", "of_numbers", "program_of", "sin64", "tanh64",
]  # fmt: skip

NAMES = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "erfc")
OWN = ("erf", "erfc")  # those of ordinary numerics
NUMBA_IMPORTS = """\
from numpy import float64 as double, inf as INF, nan as NAN
from gpubp.backends.cpu.pointers import bits, number


"""


@lru_cache(maxsize=64)
def program_of(name: str, dtype: str, numerics: str = "exact") -> Program:
    """The function of that name for numbers of type float32 or float64, as a program of float64 numbers.

    numerics: "exact", or "ordinary" for one of OWN.

    >>> len(program_of("exp", "float32").steps) < 40
    True
    """
    is_plain = name == "erfc" or numerics == "ordinary"
    return written(getattr(single if dtype == "float32" else plain if is_plain else double, name))


def into(name: str, x: Array, out: Array) -> Array:
    """out = the function of x, elementwise, of float32 or float64; out may be x.

    >>> into("exp", x := np.zeros(2, "float32"), x).tolist()
    [1.0, 1.0]
    """
    return compute(program_of(name, out.dtype.name), x, out)


@lru_cache(maxsize=64)
def numba_function(name: str, dtype: str, numerics: str = "exact") -> str:
    """Source of a function for Numba, see `source.python_source`.

    >>> numba_function("exp", "float32").splitlines()[1]
    'def _exp(x):'
    """
    return python_source(name, program_of(name, dtype, numerics))


def numba_functions(operations: Sequence[str], dtype: str, numerics: str = "exact") -> str:
    """Source of those among the operations that are functions here, and what it imports; "" if there are none.

    >>> numba_functions(["add"], "float32")
    ''
    """
    used = [name for name in (NAMES if numerics == "exact" else OWN) if name in operations]
    return NUMBA_IMPORTS + "".join(f"{numba_function(name, dtype, numerics)}\n\n" for name in used) if used else ""


@lru_cache(maxsize=64)
def c_function(name: str, dtype: str, numerics: str = "exact") -> str:
    """Source of a function in C, see `source.c_source`.

    >>> c_function("exp", "float32").splitlines()[0]
    'static __device__ real exact_exp(const real x)'
    """
    return c_source(name, program_of(name, dtype, numerics))


def c_functions(program: Program, dtype: str, numerics: str = "exact") -> str:
    """Source in C of those functions that the program of a formula calls; "" if there are none.

    >>> c_functions(Program(1, (), (0,), (False,)), "float32")
    ''
    """
    operations = {step.operation for step in program.steps}
    used = [name for name in (NAMES if numerics == "exact" else OWN) if name in operations]
    return DEVICE + "".join(c_function(name, dtype, numerics) for name in used) if used else ""


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


@lru_cache(maxsize=64)
def _scalar_function(name: str, numerics: str = "exact") -> Callable[[float], float]:
    return python_function(name, program_of(name, "float64", numerics))


def like_ufunc(name: str, x: Any) -> Any:
    """One of OWN in ordinary numerics, of a number or an array, with the type that a function of NumPy gives.

    >>> like_ufunc("erf", np.zeros(2, "float32")), float(like_ufunc("erf", 0.5))
    (array([0., 0.], dtype=float32), 0.5204998778130465)
    """
    if isinstance(x, float | int):
        return np.float64(_scalar_function(name, "ordinary")(float(x)))
    given = np.asarray(x)
    kind = given.dtype if given.dtype == np.float32 else np.dtype(np.float64)
    return compute(program_of(name, kind.name, "ordinary"), given, np.empty(given.shape, kind))[()]


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
