"""Formulas in exact numerics: loops compute every operation except sums and maxima of rows.

    softmax     row_max      loop: x - m, exp      row_sum      loop: e / s

In exact numerics exp and its kin have one right result too (`gpubp/formula/elementary`), so that a loop can have them.
A record makes passes of NumPy with the same bits until the loop is compiled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .... import formula
from ....formula.elementary import NAMES, numba_functions
from ...recording import Call
from ..language import EXACT, Language
from ..loops import NAMES as TYPES
from ..loops import Fused, Loop
from ..stages import Part
from .functions import FUNCTIONS
from .library import REPLACED

OPERATIONS = {
    **EXACT,
    "fmax": "({0} if {0} >= {1} or {1} != {1} else {1})",
    "fmin": "({0} if {0} <= {1} or {1} != {1} else {1})",
    "sign": "(real(1) if {0} > 0 else real(-1) if {0} < 0 else {0} if {0} != {0} else real(0))",
    "equal": "{0} == {1}",
    **{name: f"_{name}({{0}})" for name in NAMES},
}
LANGUAGE = Language(OPERATIONS, numba_functions, alone=OPERATIONS)


def _row_max_source() -> str:
    """From the first number to the last; of long rows every eighth together, which are the same but for the sign of 0:
    among the zeros of a row whose largest number is 0 it is the last one."""
    larger = "{0} if {0} > {1} or {0} != {0} else {1}".format
    lanes = range(8)
    lines = [
        "def row_max(a0, a1):",
        "    n = a0.shape[1]",
        "    whole = n - n % 8 if n > 15 else 0",
        "    for i in range(a0.shape[0]):",
        "        s = a0[i, 0]",
        "        if whole:",
        *(f"            s{k} = a0[i, {k}]" for k in lanes),
        "            for j in range(8, whole, 8):",
        *(f"                x{k} = a0[i, j + {k}]" for k in lanes),
        *(f"                s{k} = {larger(f's{k}', f'x{k}')}" for k in lanes),
        "            s = s0",
        *(f"            s = {larger('s', f's{k}')}" for k in lanes[1:]),
        "        for j in range(max(whole, 1), n):",
        "            x = a0[i, j]",
        f"            s = {larger('s', 'x')}",
        "        if whole and s == 0:",
        "            j = n - 1",
        "            while a0[i, j] != 0:",
        "                j -= 1",
        "            s = a0[i, j]",
        "        a1[i] = s",
    ]
    return "\n".join(lines) + "\n"


def calls_of(part: Part, passes: list[Call]) -> list[Call]:
    """What a record does for a part of a formula: its loop, or its passes if there is none, or one ufunc is enough.

    >>> from gpubp.formula import Program
    >>> part = Part(Program(1, (), (0,), (False,)), [], [], None)
    >>> calls_of(part, [])
    []
    """
    found = part.call or _row_max(part)
    if found is None or (len(passes) < 2 and all(_is_ufunc(call) for call in passes)):
        return passes
    found[0].passes = passes
    return [Call(*found, {})]


def negative(x: Any) -> Any:
    """-x, as a formula.

    >>> negative(1.0)
    -1.0
    """
    return -x


BY_FORMULA = {
    REPLACED[name]: negative if name == "negative" else getattr(formula, name)
    for name in ("maximum", "minimum", "negative", *FUNCTIONS)
    if hasattr(formula, name) or name == "negative"
}


def formula_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The formula that a call by `xp` is, as maximum(a, b, out=c) of arrays of one type; None if it is none.

    >>> a = np.ones(3)
    >>> formula_of(REPLACED["maximum"], (a, 0.0), {"out": a}) is formula.maximum, formula_of(np.add, (a, a), {})
    (True, None)
    """
    out = kwargs.get("out")
    if len(kwargs) != 1 or not isinstance(out, np.ndarray) or out.dtype.char not in TYPES:
        return None
    if not all(isinstance(a, float | int) or getattr(a, "dtype", None) == out.dtype for a in args):
        return None
    return BY_FORMULA.get(function) if any(isinstance(a, np.ndarray) for a in args) else None


def _is_ufunc(call: Call) -> bool:
    """Whether it is a ufunc on numbers side by side, which is as quick as a loop."""
    shapes = {np.shape(a) for a in (*call.args, *call.kwargs.values())} - {()}
    return isinstance(call.function, np.ufunc) and len(shapes) < 2


def _row_max(part: Part) -> tuple[Fused, tuple[Any, ...]] | None:
    if [step.operation for step in part.program.steps] != ["row_max"] or len(part.outs) != 1:
        return None
    x, out = part.inputs[0], part.outs[0]
    if not x.size or x.dtype != out.dtype or x.dtype.char not in TYPES or np.may_share_memory(x, out):
        return None
    if not (x.flags.c_contiguous and out.flags.c_contiguous):
        return None
    return Fused("row_max", _row_max_of(TYPES[x.dtype.char]), []), (x.reshape(-1, x.shape[-1]), out.reshape(-1))


@lru_cache(maxsize=2)
def _row_max_of(dtype: str) -> Loop:
    return Loop(_row_max_source(), dtype, (("real", 2), ("real", 1)))
