"""Formulas: elementwise mathematics, written once and computed on every device.

A formula is an ordinary Python function of elementwise arithmetic, as a textbook writes it:

    def f(x):                    # y = x σ(x)
        return x * sigmoid(x)

Called with numbers or arrays it computes. Called by `trace` with symbols it writes itself down as a
`Program`: a list of operations without loops or branches. A backend turns the program into what its device
does best, so that no second version of the formula can ever disagree with the first:

    NumPy     one call an operation, each into a given buffer (`backends/lowering.py`)
    CUDA      one kernel, each value in a register (`backends/cuda/formula_source.py`); each operation's C++ stands in
              `OPERATIONS`

Beside arithmetic there are `row_sum` and `row_max`, over the last axis, so that a softmax is a formula too. Equal
subexpressions are computed once, arithmetic on constants is done while tracing, and the order of operations is the
one that Python's grammar gives the source line, on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Program", "absolute", "cos", "equal", "exp", "expm1", "fmax", "fmin", "log", "log1p", "maximum", "minimum",
    "row_max", "row_sum", "sigmoid", "sign", "sin", "sqrt", "tanh", "trace",
]  # fmt: skip


class Operation(NamedTuple):
    """One operation: the name NumPy and CuPy share for it, and how C++ spells it.

    reduces: whether it takes a whole row of the last axis to one number; C++ then spells how two parts are joined.
    """

    ufunc: str
    c: str
    gives_bool: bool = False
    reduces: bool = False


OPERATIONS = {
    operation.ufunc: operation
    for operation in (
        Operation("add", "{0} + {1}"),
        Operation("subtract", "{0} - {1}"),
        Operation("multiply", "{0} * {1}"),
        Operation("divide", "{0} / {1}"),
        Operation("negative", "-{0}"),
        Operation("absolute", "fabs({0})"),
        Operation("sign", "sign({0})"),
        Operation("sqrt", "sqrt({0})"),
        Operation("exp", "exp({0})"),
        Operation("expm1", "expm1({0})"),
        Operation("log", "log({0})"),
        Operation("log1p", "log1p({0})"),
        Operation("tanh", "tanh({0})"),
        Operation("sin", "sin({0})"),
        Operation("cos", "cos({0})"),
        Operation("maximum", "larger({0}, {1})"),
        Operation("minimum", "smaller({0}, {1})"),
        Operation("fmax", "({0} >= {1} || {1} != {1} ? {0} : {1})"),
        Operation("fmin", "({0} <= {1} || {1} != {1} ? {0} : {1})"),
        Operation("greater", "{0} > {1}", gives_bool=True),
        Operation("greater_equal", "{0} >= {1}", gives_bool=True),
        Operation("less", "{0} < {1}", gives_bool=True),
        Operation("less_equal", "{0} <= {1}", gives_bool=True),
        Operation("equal", "{0} == {1}", gives_bool=True),
        Operation("row_sum", "{0} + {1}", reduces=True),
        Operation("row_max", "larger({0}, {1})", reduces=True),
    )
}


def _operator(operation: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The methods for symbol + other and for other + symbol."""
    return (
        lambda symbol, other: symbol.tracer.record(operation, symbol, other),
        lambda symbol, other: symbol.tracer.record(operation, other, symbol),
    )


class Symbol:
    """A value that a formula computes with while it is traced: an input, or the result of an operation."""

    __slots__ = ("index", "is_bool", "tracer")
    __array_ufunc__ = None  # a NumPy operand defers to the methods below instead of looping over us
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tracer: Tracer, index: int, is_bool: bool) -> None:
        self.tracer = tracer
        self.index = index
        self.is_bool = is_bool

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __gt__ = _operator("greater")[0]
    __ge__ = _operator("greater_equal")[0]
    __lt__ = _operator("less")[0]
    __le__ = _operator("less_equal")[0]

    def __neg__(self) -> Any:
        return self.tracer.record("negative", self)

    def __abs__(self) -> Any:
        return self.tracer.record("absolute", self)

    def __eq__(self, other: object) -> Any:
        raise TypeError("a formula has no == and !=, which computed numbers hardly ever meet; use > and <")

    def __pow__(self, power: Any) -> Any:
        if not isinstance(power, Symbol) and power == 2:
            return self * self
        raise TypeError(f"a formula knows the power 2 only and got {power!r}; write it as products or with exp, log")

    def __bool__(self) -> bool:
        raise TypeError(
            "a formula has no branches: it is one expression for every element at once. Multiply by a "
            "comparison instead of `if`, as in x * (x > 0)"
        )


class Number(float):
    """A constant of a formula. It equals no value number, and 0 is not -0, so that programs which compute different
    things never count as equal: to Python, 3.0 == 3.

    >>> Number(3.0) == 3, Number(3.0) == Number(3.0), Number(0.0) == Number(-0.0)
    (False, True, False)
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.hex() == other.hex()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.hex())


class Step(NamedTuple):
    """One operation of a program. Operands are value numbers (int) or constants (Number)."""

    operation: str
    operands: tuple[int | Number, ...]


@dataclass(frozen=True)
class Program:
    """A formula written down: `inputs` values come from outside, step k computes value `inputs + k`.

    `outputs` are value numbers or constants; `is_bool` says of every value whether it is a comparison's.
    """

    inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[int | Number, ...]
    is_bool: tuple[bool, ...]

    def read(self) -> list[int]:
        """The inputs that it reads."""
        read = {o for step in self.steps for o in step.operands} | set(self.outputs)
        return [k for k in range(self.inputs) if any(isinstance(o, int) and o == k for o in read)]

    def last_reads(self) -> list[int]:
        """For each value, the last step that reads it (-1: none)."""
        last = [-1] * (self.inputs + len(self.steps))
        for k, step in enumerate(self.steps):
            for operand in step.operands:
                if isinstance(operand, int):
                    last[operand] = k
        return last


class Tracer:
    """Collects the operations of one formula while it runs on symbols."""

    def __init__(self, inputs: int) -> None:
        self.inputs = [Symbol(self, i, False) for i in range(inputs)]
        self.steps: list[Step] = []
        self.is_bool = [False] * inputs
        self._known: dict[Step, Symbol] = {}

    def record(self, operation: str, *operands: Any) -> Symbol:
        bools = [isinstance(o, Symbol) and o.is_bool for o in operands]
        if all(bools):
            raise TypeError(
                f"a formula can't {operation} comparisons alone, because libraries differ in what that "
                "means; multiply one of them by a number first"
            )
        step = Step(operation, tuple(self._operand(o) for o in operands))
        if step not in self._known:
            is_bool = OPERATIONS[operation].gives_bool
            self._known[step] = Symbol(self, len(self.inputs) + len(self.steps), is_bool)
            self.steps.append(step)
            self.is_bool.append(is_bool)
        return self._known[step]

    def _operand(self, value: Any) -> int | Number:
        if isinstance(value, Symbol):
            return value.index
        return Number(value)

    def program(self, results: tuple[Any, ...]) -> Program:
        outputs = tuple(self._operand(result) for result in results)
        return Program(len(self.inputs), tuple(self.steps), outputs, tuple(self.is_bool))


def trace(function: Callable[..., Any], inputs: int) -> Program:
    """Run `function` on `inputs` symbols and return what it computes as a `Program`.

    >>> def f(x):
    ...     return x * sigmoid(x)
    >>> for step in trace(f, 1).steps:
    ...     print(step.operation, step.operands)
    negative (0,)
    exp (1,)
    add (1.0, 2)
    divide (1.0, 3)
    multiply (0, 4)
    """
    tracer = Tracer(inputs)
    results = function(*tracer.inputs)
    return tracer.program(results if isinstance(results, tuple) else (results,))


def _call(operation: str, *operands: Any) -> Any:
    symbol = next((o for o in operands if isinstance(o, Symbol)), None)
    return getattr(np, operation)(*operands) if symbol is None else symbol.tracer.record(operation, *operands)


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
