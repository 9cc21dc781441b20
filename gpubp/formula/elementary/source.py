"""Elementary functions as source: for Numba, and in C for CUDA. Each line is one operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

from ..program import Number, Program, Step
from .steps import SPELLINGS

_DOUBLE, _SIGNED, _WORD = Struct("<d"), Struct("<q"), Struct("<Q")

DEVICE = """\
static __device__ __forceinline__ long long bits(double x) { return __double_as_longlong(x); }
static __device__ __forceinline__ double number(long long x) { return __longlong_as_double(x); }
"""


def python_source(name: str, program: Program) -> str:
    """A function `_name(x)` of a number of the type `real`, which Numba puts into the loop that calls it. Where it is
    compiled there are `njit`, `real`, `double`, `sqrt`, `bits`, `number`, `INF` and `NAN`.

    >>> from .steps import written
    >>> print(python_source("f", written(lambda x: x * x + 0.1)))
    @njit(nogil=True, error_model="numpy", forceinline=True)
    def _f(x):
        v0 = double(x)
        v1 = v0 * v0
        v2 = v1 + 0.1
        return real(v2)
    <BLANKLINE>
    """

    def operand(o: int | Number) -> str:
        if not isinstance(o, Number):
            return f"v{o}"
        return repr(float(o)) if math.isfinite(o) else "NAN" if math.isnan(o) else f"{'-' * (o < 0)}INF"

    lines = [f"v{k} = {SPELLINGS[s.operation].numba.format(*map(operand, s.operands))}" for k, s in _steps(program)]
    return (
        '@njit(nogil=True, error_model="numpy", forceinline=True)\n'
        f"def _{name}(x):\n    v0 = double(x)\n"
        + "".join(f"    {line}\n" for line in lines)
        + f"    return real({operand(program.outputs[0])})\n"
    )


def python_function(name: str, program: Program) -> Callable[[float], float]:
    """The same as Python runs it: for a single number NumPy's passes take ten times as long.

    >>> from .steps import written
    >>> python_function("f", written(lambda x: x * x + 0.1))(2.0)
    4.1
    """
    space: dict[str, Any] = {
        "njit": lambda **options: lambda f: f,
        "real": float, "double": float, "sqrt": math.sqrt, "INF": math.inf, "NAN": math.nan,
        "bits": _bits, "number": _number,
    }  # fmt: skip
    exec(compile(python_source(name, program), f"<{name}>", "exec"), space)
    function: Callable[[float], float] = space[f"_{name}"]
    return function


def _bits(x: float) -> int:
    found: int = _SIGNED.unpack(_DOUBLE.pack(x))[0]
    return found


def _number(n: int) -> float:
    found: float = _DOUBLE.unpack(_WORD.pack(n & 0xFFFFFFFFFFFFFFFF))[0]
    return found


def c_source(name: str, program: Program) -> str:
    """A function `exact_name(x)` of a number of the type `real`, without contraction of products and sums
    (`-fmad=false`, `-ffp-contract=off`). Before it stands `DEVICE`.

    >>> from .steps import written
    >>> print(c_source("f", written(lambda x: x * x + 0.1)))
    static __device__ real exact_f(const real x)
    {
        const double v0 = x;
        const double v1 = v0 * v0;
        const double v2 = v1 + 0x1.999999999999ap-4;
        return real(v2);
    }
    <BLANKLINE>
    """

    def operand(o: int | Number) -> str:
        if not isinstance(o, Number):
            return f"v{o}"
        if not math.isfinite(o):
            return f"number({'0x7ff8' if math.isnan(o) else '-0x0010' if o < 0 else '0x7ff0'}000000000000LL)"
        return f"({float(o).hex()})" if math.copysign(1.0, o) < 0 else float(o).hex()

    lines = [
        f"const {'bool' if program.is_bool[k] else 'double'} v{k} = "
        f"{SPELLINGS[s.operation].c.format(*map(operand, s.operands))};"
        for k, s in _steps(program)
    ]
    return (
        f"static __device__ real exact_{name}(const real x)\n{{\n    const double v0 = x;\n"
        + "".join(f"    {line}\n" for line in lines)
        + f"    return real({operand(program.outputs[0])});\n}}\n"
    )


def _steps(program: Program) -> Iterator[tuple[int, Step]]:
    return enumerate(program.steps, program.inputs)
