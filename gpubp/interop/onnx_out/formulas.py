"""Formulas as ONNX nodes: one node for each operation of the traced formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...formula import trace
from .graph import Graph, Value

PLAIN = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "negative": "Neg", "absolute": "Abs",
    "sign": "Sign", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sin": "Sin", "cos": "Cos",
    "maximum": "Max", "minimum": "Min",
}  # fmt: skip
COMPARED = {
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual",
    "equal": "Equal",
}  # fmt: skip
ROWS = {"row_sum": "ReduceSum", "row_max": "ReduceMax"}


def formula(g: Graph, function: Callable[..., Any], *inputs: Value) -> Value:
    """Add the nodes of a formula of one value; returns it, in the shape and order of the first input.

    Inputs must be stored in one order; with the channels last where the formula sums rows. `fmax(a, b)` takes b where a
    is NaN, and ONNX's Max does not, so it is written with IsNaN.

    >>> import numpy as np
    >>> g = Graph({}, np.dtype(np.float32))
    >>> y = formula(g, lambda x: x * (x > 0.0), Value("x", ("batch", 3)))
    >>> [node.op_type for node in g.nodes]
    ['Greater', 'Cast', 'Mul']
    """
    program = trace(function, len(inputs), 1)
    first = inputs[0]
    values: list[Value] = list(inputs)
    flags: dict[int, Value] = {}  # comparisons as numbers

    def add(op: str, of: list[Any], shape: Any, **more: Any) -> Value:
        return g.node(op, of, shape, first.channels_first, **more)

    def operand(o: Any) -> Value | str:
        if not isinstance(o, int):
            return g.number(o)
        if not program.is_bool[o]:
            return values[o]
        if o not in flags:
            flags[o] = add("Cast", [values[o]], values[o].shape, to=g.element_type)
        return flags[o]

    for operation, operands in program.steps:
        of = [operand(o) for o in operands]
        shapes = [value.shape for value in of if isinstance(value, Value)]
        shape = max(shapes, key=lambda s: (len(s), [isinstance(n, str) or n > 1 for n in s]))
        if operation in ROWS:
            made = add(ROWS[operation], [of[0], g.whole(-1)], (*shape[:-1], 1), keepdims=1)
        elif operation in PLAIN:
            made = add(PLAIN[operation], of, shape)
        elif operation in COMPARED:
            made = add(COMPARED[operation], of, shape)
        elif operation in ("expm1", "log1p"):
            one = g.number(1.0)
            made = (
                add("Sub", [add("Exp", of, shape), one], shape)
                if operation == "expm1"
                else add("Log", [add("Add", [of[0], one], shape)], shape)
            )
        else:  # fmax, fmin
            larger = add("Max" if operation == "fmax" else "Min", of, shape)
            made = larger
            for this, other in ((0, 1), (1, 0)):
                if isinstance(of[this], Value):
                    made = add("Where", [add("IsNaN", [of[this]], shape), of[other], made], shape)
        values.append(made)
    (result,) = program.outputs
    found = operand(result)
    return (
        found
        if isinstance(found, Value)
        else add("Add", [add("Mul", [first, g.number(0.0)], first.shape), found], first.shape)
    )
