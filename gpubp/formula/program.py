"""Program: a formula written down, and `trace`, which writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .symbols import FormulaError, Symbol, name_of, operand_of, place_of


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
        Operation("erf", "erf({0})"),
        Operation("erfc", "erfc({0})"),
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
    """Collects the operations of one formula while it runs on symbols. no_rows: as in `trace`."""

    def __init__(self, inputs: int, no_rows: str = "") -> None:
        self.no_rows = no_rows
        self.inputs = [Symbol(self, i, False) for i in range(inputs)]
        self.steps: list[Step] = []
        self.is_bool = [False] * inputs
        self._known: dict[Step, Symbol] = {}

    def record(self, operation: str, *operands: Any) -> Symbol:
        if self.no_rows and OPERATIONS[operation].reduces:
            raise FormulaError(f"{operation} is computed over rows; {self.no_rows}")
        if all(isinstance(o, Symbol) and o.is_bool for o in operands):
            if operation != "multiply":
                raise FormulaError(
                    f"a formula can't {operation} comparisons alone, because libraries differ in what that "
                    "means; multiply one of them by a number first"
                )
            return self._both(*operands)
        return self._write(operation, *operands)

    def _both(self, a: Symbol, b: Symbol) -> Symbol:
        """The product of two comparisons, computed with numbers; it counts as a comparison, which it is to NumPy."""
        if self.is_bool[a.index] and self.is_bool[b.index]:
            a = self._write("multiply", a, 1.0)
        return Symbol(self, self._write("multiply", a, b).index, True)

    def _greater_0(self, product: Symbol) -> Symbol:
        """A result that is a product of comparisons as a comparison, for an output that is a mask."""
        return product if self.is_bool[product.index] else self._write("greater", product, 0.0)

    def _write(self, operation: str, *operands: Any) -> Symbol:
        step = Step(operation, tuple(_operand(o) for o in operands))
        if step not in self._known:
            is_bool = OPERATIONS[operation].gives_bool
            self._known[step] = Symbol(self, len(self.inputs) + len(self.steps), is_bool)
            self.steps.append(step)
            self.is_bool.append(is_bool)
        return self._known[step]

    def program(self, results: tuple[Any, ...]) -> Program:
        results = tuple(self._greater_0(r) if isinstance(r, Symbol) and r.is_bool else r for r in results)
        outputs = tuple(_operand(result) for result in results)
        return Program(len(self.inputs), tuple(self.steps), outputs, tuple(self.is_bool))


def _operand(value: Any) -> int | Number:
    number = operand_of(value)
    return number if isinstance(number, int) else Number(number)


def trace(function: Callable[..., Any], inputs: int, outs: int | None = None, no_rows: str = "") -> Program:
    """Run `function` on `inputs` symbols and return what it computes as a `Program`.

    outs: how many values it must give. no_rows: why the formula can't use `row_sum` and `row_max`, if it can't. Raises
    FormulaError, which names the function or method, for what can't be written down, another number of values, or
    None. Its own errors get a note that names it.

    >>> from gpubp.formula import sigmoid
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
    tracer = Tracer(inputs, no_rows)
    try:
        given = function(*tracer.inputs)
        results = tuple(given) if isinstance(given, tuple | list) else (given,)
        program = tracer.program(results)
    except FormulaError as problem:
        problem.args = (f"{place_of(function, problem)}: {problem}",)
        raise
    except Exception as problem:
        problem.add_note(f"in the formula {place_of(function, problem)}, called with {inputs} symbols of its values")
        raise
    if outs not in (None, len(results)):
        values = "1 value" if len(results) == 1 else f"{len(results)} values"
        raise FormulaError(f"{name_of(function)} gives {values}, and {outs} are needed")
    return program
