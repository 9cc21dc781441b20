"""Elementwise formulas in C: a function that replaces each number of an array by the formula of it.

The operations are those of the kernels for GPUs (see `backends/cuda/formula_source.py`), with the names that <math.h>
has for the type. Comparisons are 1 or 0 of the numbers' type, because formulas multiply with them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...backends.cuda.formula_source import Kind, Values, indent
from ...formula import OPERATIONS, Number, Program
from .words import LETTER, TYPE, literal

MATH = ("fabs", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "erfc")  # of <math.h>
HELPERS = ("larger", "smaller", "sign")  # of `library.FUNCTIONS`
_START = {"row_sum": "0.0", "row_max": "-INFINITY"}


class _Values(Values):
    """The lines of a program's values in C99."""

    def __init__(self, program: Program, dtype: Any) -> None:
        self.type = np.dtype(dtype).name
        letter = LETTER[self.type]
        operations = {}
        for name, operation in OPERATIONS.items():
            text = re.sub(rf"\b({'|'.join(MATH)})\(", rf"\1{letter}(", operation.c)
            text = re.sub(rf"\b({'|'.join(HELPERS)})\(", r"$\1(", text)
            if operation.gives_bool:
                text = f"{text} ? 1.0{letter} : 0.0{letter}"
            operations[name] = operation._replace(c=text, gives_bool=False)
        super().__init__(program, self.type, (Kind("full"),), operations)

    def operand(self, value: int | Number) -> str:
        if not isinstance(value, Number):
            return f"v{value}"
        word = literal(value, self.type)
        return f"({word})" if word.startswith("-") else word  # or a - -1 would be a decrement

    def line(self, value: int) -> str:
        line = super().line(value).replace("const real", f"const {TYPE[self.type]}")
        return line.replace("a0[i]", "y[i]") if value == 0 else line


def c_formula(name: str, program: Program, dtype: Any) -> str:
    """The function of a formula of one number, or of one row of numbers where it has `row_sum` or `row_max`.

    "$" stands before the names of the file's own functions.

    >>> from gpubp.formula import maximum, trace
    >>> print(c_formula("apply_relu", trace(lambda x: maximum(x, 0.0), 1), "float32"))
    static void $apply_relu(float *y, size_t n)
    {
        for (size_t i = 0; i < n; i++) {
            const float v0 = y[i];
            const float v1 = $larger(v0, 0.0f);
            y[i] = v1;
        }
    }
    <BLANKLINE>
    """
    values = _Values(program, dtype)
    c, (result,) = TYPE[values.type], program.outputs
    if not over_rows(program):
        lines = [values.line(v) for v in values.needed([result], lambda value: True)]
        body = _loop([*lines, f"y[i] = {values.operand(result)};"])
        return _function(f"static void ${name}({c} *y, size_t n)", body)
    live = values.needed([result], lambda value: True)
    body = []
    for stage in range(1, max(values.stage) + 1):
        reduced = [v for v in live if values.reduces(v) and values.stage[v] == stage]
        body += [f"{c} v{v} = {_start(values, v)};" for v in reduced]
        (wanted, joins) = values.operands(reduced), [program.steps[v - program.inputs].operation for v in reduced]
        lines = [values.line(v) for v in values.needed(wanted, lambda v: values.varies[v])]
        for v, join, o in zip(reduced, joins, wanted, strict=True):
            lines.append(f"v{v} = {values.operations[join].c.format(f'v{v}', values.operand(o))};")
        body += _loop(lines) if reduced else []
        same = [v for v in live if values.stage[v] == stage and not values.varies[v] and not values.reduces(v)]
        body += [values.line(v) for v in same]
    lines = [values.line(v) for v in values.needed([result], lambda v: values.varies[v])]
    body += _loop([*lines, f"y[i] = {values.operand(result)};"])
    rows = ["for (size_t r = 0; r < rows; r++, y += n) {", *indent(body), "}"]
    return _function(f"static void ${name}({c} *y, size_t rows, size_t n)", rows)


def over_rows(program: Program) -> bool:
    """Whether a formula has sums or maxima of rows.

    >>> from gpubp.formula import row_sum, trace
    >>> over_rows(trace(lambda x: x / row_sum(x), 1))
    True
    """
    return any(OPERATIONS[step.operation].reduces for step in program.steps)


def helpers_of(program: Program) -> set[str]:
    """The functions of `library.FUNCTIONS` that a formula calls.

    >>> from gpubp.formula import maximum, trace
    >>> helpers_of(trace(lambda x: maximum(x, 0.0), 1))
    {'larger'}
    """
    text = " ".join(OPERATIONS[step.operation].c for step in program.steps)
    return {name for name in HELPERS if re.search(rf"\b{name}\(", text)}


def _start(values: _Values, value: int) -> str:
    start = _START[values.program.steps[value - values.program.inputs].operation]
    return f"0.0{LETTER[values.type]}" if start == "0.0" else start


def _loop(lines: list[str]) -> list[str]:
    return ["for (size_t i = 0; i < n; i++) {", *indent(lines), "}"]


def _function(head: str, body: list[str]) -> str:
    return "\n".join([head, "{", *indent(body), "}"]) + "\n"
