"""Formulas as ONNX nodes: one node for each operation of the traced formula, but for six that ONNX lacks.

    expm1(x)      tanh(x/2) (eˣ + 1), since tanh(x/2) = (eˣ - 1)/(eˣ + 1)
    log1p(x)      with u = 1 + x, rounded: log u where u - 1 is x, else x log(u)/(u - 1), and x where u is 1 (Kahan)
    fmax, fmin    of two numbers of which one is NaN, the other; ONNX's Max and Min give NaN
    erfc(x)       e^(-x²) times a polynomial of (|x| - k)/(|x| + k), see `gpubp/formula/elementary`
    erf(x)        in float64, where onnxruntime has no Erf: x times a polynomial of x², and far from 0 1 - erfc(x)

They keep small results exact to the last digits, as e^x - 1, log(1 + x) and 1 - erf(x) do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...formula import trace
from ...formula.elementary import plain, single
from ...formula.program import Program
from .graph import Graph, Value

ONE_NODE = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "negative": "Neg", "absolute": "Abs",
    "sign": "Sign", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sin": "Sin", "cos": "Cos",
    "maximum": "Max", "minimum": "Min",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual",
    "equal": "Equal",
}  # fmt: skip
ROWS = {"row_sum": "ReduceSum", "row_max": "ReduceMax"}


class _Nodes:
    """The nodes of one formula. program: what it computes. inputs: its values."""

    def __init__(self, g: Graph, program: Program, inputs: Sequence[Value]) -> None:
        self.g, self.program, self.first = g, program, inputs[0]
        self.values = list(inputs)
        self._flags: dict[int, Value] = {}  # comparisons as numbers

    def add(self, op: str, *of: Value | str, **more: Any) -> Value:
        shape = _shape_of(*of)
        return self.g.node(op, of, shape, self.first.channels_first and len(shape) > 2, **more)

    def operand(self, o: int | float) -> Value | str:
        """A value, or the name of a constant."""
        if not isinstance(o, int):
            with np.errstate(over="ignore"):  # what no float32 holds is infinite
                return self.g.number(o)
        if not self.program.is_bool[o]:
            return self.values[o]
        if o not in self._flags:
            self._flags[o] = self.add("Cast", self.values[o], to=self.g.element_type)
        return self._flags[o]

    def step(self, operation: str, of: list[Value | str]) -> Value:
        """The value of an operation."""
        if operation in ROWS:
            y = self.add(ROWS[operation], of[0], self.g.whole(-1), keepdims=1)
            return replace(y, shape=(*y.shape[:-1], 1))
        if operation in ONE_NODE:
            return self.add(ONE_NODE[operation], *of)
        if operation in ("expm1", "log1p"):
            return self._expm1(*of) if operation == "expm1" else self._log1p(*of)
        if operation in ("erf", "erfc"):
            return self._erfc(*of) if operation == "erfc" else self._erf(*of)
        return self._of_known("Max" if operation == "fmax" else "Min", *of)

    def _expm1(self, x: Value | str) -> Value:
        half = self.add("Tanh", self.add("Mul", x, self.g.number(0.5)))
        return self.add("Mul", half, self.add("Add", self.add("Exp", x), self.g.number(1.0)))

    def _log1p(self, x: Value | str) -> Value:
        one, zero = self.g.number(1.0), self.g.number(0.0)
        u = self.add("Add", x, one)
        rounded, log = self.add("Sub", u, one), self.add("Log", u)
        mended = self.add("Mul", log, self.add("Div", x, rounded))
        mended = self.add("Where", self.add("Equal", rounded, zero), x, mended)
        return self.add("Where", self.add("Equal", rounded, x), log, mended)

    def _of_known(self, op: str, a: Value | str, b: Value | str) -> Value:
        y = self.add(op, a, b)
        for this, other in ((a, b), (b, a)):
            if isinstance(this, Value):
                y = self.add("Where", self.add("IsNaN", this), other, y)
        return y

    def _horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        y: Value | str = self.g.number(coefficients[0])
        for coefficient in coefficients[1:]:
            y = self.add("Add", self.add("Mul", y, x), self.g.number(coefficient))
        assert isinstance(y, Value)
        return y

    def _tail(self, a: Value) -> Value:
        """erfc a for a ≥ 0"""
        k, far, tail = (2.5, 27.4, plain.TAIL) if self.g.dtype == np.float64 else (3.0, 10.5, single.TAIL)
        a = self.add("Min", a, self.g.number(far))
        w = self.add("Div", self.g.number(1.0), self.add("Add", a, self.g.number(k)))
        h = self._horner(self.add("Mul", self.add("Sub", a, self.g.number(k)), w), tail)
        power = self.add("Exp", self.add("Neg", self.add("Mul", a, a)))
        return self.add("Mul", power, self.add("Mul", w, h))

    def _erfc(self, x: Value | str) -> Value:
        y = self._tail(self.add("Abs", x))
        other = self.add("Sub", self.g.number(2.0), y)
        return self.add("Where", self.add("Less", x, self.g.number(0.0)), other, y)

    def _erf(self, x: Value | str) -> Value:
        if self.g.dtype != np.float64:
            return self.add("Erf", x)
        a = self.add("Abs", x)
        far = self.add("Mul", self.add("Sign", x), self.add("Sub", self.g.number(1.0), self._tail(a)))
        near = self.add("Add", x, self.add("Mul", x, self._horner(self.add("Mul", a, a), plain.NEAR)))
        return self.add("Where", self.add("Less", a, self.g.number(0.74)), near, far)


def formula(g: Graph, function: Callable[..., Any], *inputs: Value) -> Value:
    """Add the nodes of a formula of one value; returns it, in the shape of the first input.

    All inputs must have their channels in one place; a formula of rows gets them with the channels last.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> y = formula(g, lambda x: x * (x > 0.0), Value("x", ("batch", 3)))
    >>> [node.op_type for node in g.nodes]
    ['Greater', 'Cast', 'Mul']
    """
    program = trace(function, len(inputs), 1)
    if any(step.operation in ROWS for step in program.steps):
        inputs = tuple(g.channels_last(x) for x in inputs)
    nodes, first = _Nodes(g, program, inputs), inputs[0]
    for operation, operands in program.steps:
        nodes.values.append(nodes.step(operation, [nodes.operand(o) for o in operands]))
    found = nodes.operand(program.outputs[0])
    if isinstance(found, Value) and found.shape == first.shape:
        return found
    shape = g.node("Shape", [first], (len(first.shape),))
    return g.node("Expand", [found, shape], first.shape, first.channels_first)


def _shape_of(*of: Value | str) -> tuple[int | str, ...]:
    """The common shape of values; constants are numbers."""
    shapes = [value.shape for value in of if isinstance(value, Value)]
    axes = max(map(len, shapes))
    longer = [(1,) * (axes - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in each if n != 1), 1) for each in zip(*longer, strict=True))
