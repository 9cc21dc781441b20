"""Random formulas for tests: lists of instructions that run on symbols and on arrays alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from gpubp import formula
from gpubp.formula import OPERATIONS

UNARY = ["negative", "absolute", "sign", "sqrt"]
ROUNDED = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "sin",
    "cos",
]  # NumPy's last bit depends on where the arrays lie in memory
OWN = ["erf", "erfc"]  # by formulas of gpubp's own, with one result on all devices
COMPARISONS = [name for name, operation in OPERATIONS.items() if operation.gives_bool]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin", *COMPARISONS]
ROWS = [name for name, operation in OPERATIONS.items() if operation.reduces]  # in test_lowering.py
CONSTANTS = [0.0, -0.0, 1.0, 2.0, 3.0, 4.0, -1.5, 0.1]  # some of them equal the number of a value
SHAPES = [(2, 3), (3,), (2, 1), (1,), (), (1, 3), (4, 2, 3)]


class Formula:
    """A formula from a list of (operation, operands); an operand is the number of a value (int) or a constant."""

    def __init__(self, inputs: int, steps: list[tuple[str, tuple]], outputs: list[int | float]) -> None:
        self.inputs, self.steps, self.outputs = inputs, steps, outputs

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        values = list(inputs)

        def value(operand: int | float) -> Any:
            return values[operand] if isinstance(operand, int) else operand

        for operation, operands in self.steps:
            values.append(evaluate(operation, *map(value, operands)))
        return tuple(value(o) for o in self.outputs)

    def __repr__(self) -> str:
        return f"Formula({self.inputs}, {self.steps}, {self.outputs})"


def evaluate(operation: str, *operands: Any) -> Any:
    match operation:
        case "add":
            return operands[0] + operands[1]
        case "subtract":
            return operands[0] - operands[1]
        case "multiply":
            return operands[0] * operands[1]
        case "divide":
            return operands[0] / operands[1]
        case "negative":
            return -operands[0]
        case "greater":
            return operands[0] > operands[1]
        case "greater_equal":
            return operands[0] >= operands[1]
        case "less":
            return operands[0] < operands[1]
        case "less_equal":
            return operands[0] <= operands[1]
    return getattr(formula, operation)(*operands)


@st.composite
def formulas(draw: Any) -> Formula:
    inputs = draw(st.integers(1, 4))
    steps: list[tuple[str, tuple]] = []
    is_bool = [False] * inputs
    for _ in range(draw(st.integers(0, 12))):
        unary = draw(st.booleans())
        operation = draw(st.sampled_from(UNARY if unary else BINARY))
        numbers = [i for i, b in enumerate(is_bool) if not b]
        values = range(len(is_bool)) if operation == "multiply" else numbers  # other comparisons can't stand alone
        operands: list[int | float] = [draw(st.sampled_from(values))]
        if not unary:
            operands.append(draw(st.integers(0, len(is_bool) - 1) | st.sampled_from(CONSTANTS)))
            if draw(st.booleans()):
                operands.reverse()
        steps.append((operation, tuple(operands)))
        both = operation == "multiply" and all(isinstance(o, int) and is_bool[o] for o in operands)
        is_bool.append(both or OPERATIONS[operation].gives_bool)
    recent = st.integers(max(0, len(is_bool) - 4), len(is_bool) - 1)
    anything = recent | st.integers(0, len(is_bool) - 1) | st.sampled_from(CONSTANTS)
    return Formula(inputs, steps, draw(st.lists(anything, min_size=1, max_size=4)))


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    a = rng.normal(size=shape).astype(dtype)
    a.flat[::4] = rng.choice([0.0, -0.0, 1.0, -2.0], size=a.ravel()[::4].shape)  # ties, and zeros of both signs
    return a
