"""The names of variables in formulas: what a reader of the source calls the intermediate numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..formula import Program
from ..formula.program import Tracer
from ..formula.symbols import Symbol, operand_of


def variables_of(formula: Callable[..., Any], program: Program) -> dict[int, str]:
    """Value number of the program -> the variable that the formula holds it in; nothing while a profiler runs.

    >>> from gpubp.formula import sigmoid, trace
    >>> def f(x):
    ...     s = sigmoid(x)
    ...     return x * s
    >>> program = trace(f, 1)
    >>> variables_of(f, program)
    {0: 'x', 4: 's'}
    """
    if sys.getprofile() is not None:  # a profiler can't always be put back
        return {}
    return _variables(formula, program.inputs)


@lru_cache(maxsize=1024)
def _variables(formula: Callable[..., Any], inputs: int) -> dict[int, str]:
    code = getattr(getattr(formula, "__func__", formula), "__code__", None)
    found: dict[int, str] = {}

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            for name, value in frame.f_locals.items():
                if isinstance(value, Symbol):
                    found.setdefault(int(operand_of(value)), name)

    sys.setprofile(look)
    try:
        formula(*Tracer(inputs).inputs)
    finally:
        sys.setprofile(None)
    return found
