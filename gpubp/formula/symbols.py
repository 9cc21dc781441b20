"""Symbol: a value that a formula computes with while it is traced, and the errors of unsupported operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

FUNCTIONS = (
    "absolute", "cos", "equal", "erf", "erfc", "exp", "expm1", "fmax", "fmin", "log", "log1p", "maximum", "minimum",
    "row_max", "row_sum", "sigmoid", "sign", "sin", "sqrt", "tanh",
)  # fmt: skip
OPERATORS = {  # of NumPy's numbers and a symbol, which NumPy makes calls of its functions
    "add", "subtract", "multiply", "divide", "greater", "greater_equal", "less", "less_equal",
}  # fmt: skip
OTHER_NAMES = {"abs": "absolute", "fabs": "absolute", "sum": "row_sum", "max": "row_max", "amax": "row_max"}
MENDS = {
    "negative": "write -x",
    "square": "write x * x",
    "power": "write powers as products, or with exp, log and sqrt",
    "reciprocal": "write 1.0 / x",
    "true_divide": "write x / y",
    "where": "multiply by comparisons, as in (x > 0.0) * a + (x <= 0.0) * b",
    "heaviside": "write (x > 0.0) * 1.0",
    "clip": "write `from gpubp.formula import maximum, minimum` and minimum(maximum(x, low), high)",
    "mean": "write `from gpubp.formula import row_sum` and row_sum(x) / n, for rows of n numbers",
    "norm": "write `from gpubp.formula import row_sum, sqrt` and sqrt(row_sum(x * x)), for rows",
    "logaddexp": "write it with exp, log1p and maximum of gpubp.formula",
    "dot": "products of matrices are calls in forward: ws.be.gemm(a, b, out=ws.name)",
}
MENDS["matmul"] = MENDS["dot"]
OVER_ROWS = {"row_sum", "row_max", "mean", "norm"}


class FormulaError(TypeError):
    """A formula does what can't be computed number by number on every device; the message says where, and how else.

    >>> issubclass(FormulaError, TypeError)
    True
    """


class _NoAttribute(FormulaError, AttributeError):
    """What `hasattr` and `getattr` with a default expect."""


class Recorder(Protocol):
    """What a symbol needs of the tracer that it belongs to. no_rows: why its formula has none; "" where it has rows."""

    no_rows: str

    def record(self, operation: str, *operands: Any) -> Symbol: ...


def _operator(operation: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The methods for symbol + other and for other + symbol."""
    return (
        lambda symbol, other: symbol.tracer.record(operation, symbol, other),
        lambda symbol, other: symbol.tracer.record(operation, other, symbol),
    )


def _refuses(what: str, mend: str, of_rows: str = "") -> Callable[..., Any]:
    def refuse(self: Symbol, *others: Any) -> NoReturn:
        raise FormulaError(f"a formula has no {what}; {mend}{'' if self.tracer.no_rows else of_rows}")

    return refuse


def mend_of(function: str, no_rows: str = "") -> str:
    """What to write in place of a function or method of that name.

    no_rows: why the formula has no rows; "" where it has rows.

    >>> mend_of("tanh")
    'write `from gpubp.formula import tanh` and tanh(x)'
    """
    name = OTHER_NAMES.get(function, function)
    if no_rows and name in OVER_ROWS:
        return no_rows
    if name in FUNCTIONS:
        arguments = "x, y" if name in ("equal", "fmax", "fmin", "maximum", "minimum") else "x"
        return f"write `from gpubp.formula import {name}` and {name}({arguments})"
    usable = ", ".join(f for f in FUNCTIONS if not (no_rows and f in OVER_ROWS))
    return MENDS.get(name, f"write it with operators and with the functions of gpubp.formula: {usable}")


class Symbol:
    """A value that a formula computes with while it is traced: an input, or the result of an operation."""

    __slots__ = ("index", "is_bool", "tracer")
    __array_priority__ = 1000  # CuPy's numbers leave operators to the methods below
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tracer: Recorder, index: int, is_bool: bool) -> None:
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

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.tracer.record("absolute", self)

    def __eq__(self, other: object) -> Any:
        raise FormulaError(
            "a formula has no == and !=, which computed numbers hardly ever meet; use > and <, or, for whole numbers, "
            "`from gpubp.formula import equal`"
        )

    def __pow__(self, power: Any) -> Any:
        if not isinstance(power, Symbol) and power == 2:
            return self * self
        mend = (
            mend_of("sqrt") if power is not self and repr(power) == "0.5" else "write it as products or with exp, log"
        )
        raise FormulaError(f"a formula knows the power 2 only and got {_shown(power)}; {mend}")

    __rpow__ = _refuses("power of a number", "write exp(x * log(a)) with exp and log of gpubp.formula")

    def __bool__(self) -> bool:
        raise FormulaError(
            "a formula has no branches (if, and, or, not, min, max): it is one expression for every element at once. "
            "Multiply by a comparison instead of `if`, as in x * (x > 0), and use maximum and minimum of gpubp.formula"
        )

    def __format__(self, form: str) -> str:
        return f"{float(self) if form else str(self):{form}}"  # .2f is of a number, and float(self) says why not

    __float__ = __int__ = __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = _refuses(
        "single number to give to float(x), round(x) or math.exp(x)",
        "it is written down for all numbers at once: use the functions of gpubp.formula, as in "
        "`from gpubp.formula import exp`",
    )
    __len__ = __iter__ = __getitem__ = __contains__ = _refuses(
        "elements or rows: no x[0], len(x) or loop over x",
        "each of its values is one number",
        "; sums over the last axis are row_sum(x) of gpubp.formula",
    )
    __and__ = __rand__ = _refuses("&", "multiply comparisons with each other, (x > 0) * (x < 1)")
    __or__ = __ror__ = __xor__ = __rxor__ = _refuses("| and ^", "write maximum((x > 1) * 1.0, (x < 0) * 1.0)")
    __invert__ = _refuses("~", "write 1.0 - (x > 0)")
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = _refuses(
        "% and //", mend_of("floor")
    )
    __matmul__ = __rmatmul__ = _refuses("@", MENDS["dot"])
    __array__ = _refuses("array to give to NumPy", mend_of("array"))

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        """Operators with NumPy's numbers; its functions are refused, because they know no other device."""
        if ufunc.__name__ in OPERATORS and method == "__call__" and not options:
            return self.tracer.record(ufunc.__name__, *operands)
        raise self._of_numpy(ufunc.__name__)

    def __array_function__(self, function: Any, *call: Any) -> Any:
        raise self._of_numpy(function.__name__)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        raise _NoAttribute(f"a value of a formula has no .{name}; {mend_of(name, self.tracer.no_rows)}")

    def _of_numpy(self, name: str) -> FormulaError:
        mend = mend_of(name, self.tracer.no_rows)
        return FormulaError(f"np.{name} can't write a formula down, which is computed on every device; {mend}")


def _shown(value: Any) -> str:
    return "another value of the formula" if isinstance(value, Symbol) else f"{value!r:.100}"


def operand_of(value: Any) -> int | float:
    """The number of a symbol's value, or a constant as a float; FormulaError if it is neither.

    >>> operand_of(2)
    2.0
    """
    if isinstance(value, Symbol):
        return value.index
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError):
        pass
    hint = "; is a return missing?" if value is None else ""
    raise FormulaError(f"a formula computes with its arguments and with numbers, and came upon {_shown(value)}{hint}")


_HERE = str(Path(__file__).parents[1])


def name_of(function: Callable[..., Any]) -> str:
    """A formula's name as its source spells it, a method's with its class.

    >>> name_of(name_of), name_of("".join)
    ('name_of', 'str.join')
    """
    name: str = getattr(function, "__name__", type(function).__name__)
    owner = getattr(function, "__self__", None)
    if owner is not None:
        return f"{type(owner).__name__}.{name}"
    return str(getattr(function, "__qualname__", name)).rpartition("<locals>.")[2]


def place_of(function: Callable[..., Any], problem: BaseException) -> str:
    """Where in a formula the error arose: its name, or that of the method which it calls, as `dl` of a loss."""
    trace, owner = problem.__traceback__, getattr(function, "__self__", None)
    while trace is not None:
        code, first = trace.tb_frame.f_code, next(iter(trace.tb_frame.f_locals.values()), None)
        if not code.co_filename.startswith(_HERE) and owner is not None and first is owner:
            return f"{type(owner).__name__}.{code.co_name}"
        trace = trace.tb_next
    return name_of(function)
