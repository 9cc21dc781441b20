"""Code: the calls that compute a network's outputs for one row, with the arrays and functions that they need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...formula import Program, trace
from ...formula.host import host_numerics
from .memory import Life, offsets
from .words import identifier, literal

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """Numbers that a call reads or writes. number: which numbers; shape: of one row of them, batch left out.

    >>> Value(0, (2, 3)).size
    6
    """

    number: int
    shape: Shape

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def seen_as(self, shape: Shape) -> Value:
        """The same numbers in another shape."""
        return Value(self.number, shape)


class Part(NamedTuple):
    """The numbers of a value from `start` on, as an argument of a call.

    >>> Part(Value(0, (6,)), 2).start
    2
    """

    value: Value
    start: int


class Name(NamedTuple):
    """A constant array of the file, as an argument of a call.

    >>> Name("p_0_w").name
    'p_0_w'
    """

    name: str


Argument = Value | Part | Name | int | float | None


class Call(NamedTuple):
    """One call, or a comment on the calls behind it."""

    function: str = ""
    arguments: tuple[Argument, ...] = ()
    comment: str = ""

    def values(self) -> list[int]:
        """The numbers of the values that it needs."""
        found = [a.value if isinstance(a, Part) else a for a in self.arguments]
        return [a.number for a in found if isinstance(a, Value)]


@dataclass
class Code:
    """Calls under construction. Value 0 is the row x, which no call writes.

    parameters: a network's parameters and states, by name. dtype: "float32" or "float64". numerics: of the network.
    calls; arrays, axes, formulas: constant arrays, axes of windows, and programs of one input and one output, each by
    its name in C; multiplications: of one row, in products with weights.

    >>> code = Code({}, np.dtype("float32"), (3,))
    >>> y = code.new((3,))
    >>> code.call("copy", code.x, y, 3)
    >>> code.places(y)
    ({0: 'x', 1: 'y'}, 0)
    """

    parameters: Mapping[str, Array]
    dtype: np.dtype[Any]
    input_shape: Shape
    numerics: str = "ordinary"
    calls: list[Call] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    formulas: dict[str, Program] = field(default_factory=dict)
    multiplications: int = 0
    values: list[Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x = self.new(self.input_shape)

    def new(self, shape: Shape) -> Value:
        """A value that calls may write."""
        self.values.append(Value(len(self.values), shape))
        return self.values[-1]

    def own(self, x: Value, keep: bool) -> Value:
        """A value with the numbers of x that may be written: x itself, or a copy where x must be kept."""
        if not keep:
            return x
        y = self.new(x.shape)
        self.call("copy", x, y, x.size)
        return y

    def call(self, function: str, *arguments: Argument) -> None:
        """Add a call of a function of `library.FUNCTIONS`, or of a formula."""
        self.calls.append(Call(function, arguments))

    def comment(self, text: str) -> None:
        """Add a comment on the calls behind it."""
        self.calls.append(Call(comment=text))

    def parameter(self, name: str) -> Array:
        """A parameter or a running statistic by its full name."""
        return self.parameters[name]

    def array(self, name: str, numbers: Array | None = None) -> Name:
        """The constant array of a parameter, or of other numbers under the name."""
        made = f"p_{identifier(name)}"
        numbers = self.parameters[name] if numbers is None else numbers
        self.arrays[made] = np.asarray(numbers, self.dtype)
        return Name(made)

    def axis(self, name: str, of: tuple[int, ...]) -> Name:
        """The windows along one axis, for functions that take a `struct axis`."""
        made = f"a_{identifier(name)}"
        self.axes[made] = tuple(of)
        return Name(made)

    def formula(self, function: Callable[..., Any], name: str) -> str:
        """The function in C of a formula of one number; equal formulas are one function. name: of a new one."""
        with host_numerics(self.numerics):
            program = trace(function, 1, 1)
        wanted, count = f"apply_{identifier(name)}", 1
        for known, other in self.formulas.items():
            if other == program:
                return known
        while wanted in self.formulas:
            count += 1
            wanted = f"apply_{identifier(name)}_{count}"
        self.formulas[wanted] = program
        return wanted

    def places(self, result: Value) -> tuple[dict[int, str], int]:
        """The expression of each value in C, and how many numbers of working memory they need."""
        lives: dict[int, Life] = {}
        for step, call in enumerate(self.calls):
            for number in call.values():
                first = lives[number].first if number in lives else step
                lives[number] = Life(self.values[number].size, first, step)
        inner = [number for number in lives if number not in (0, result.number)]
        starts, total = offsets([lives[number] for number in inner])
        names = {n: "memory" if start == 0 else f"memory + {start}" for n, start in zip(inner, starts, strict=True)}
        return names | {0: "x", result.number: "y"}, total

    def spelled(self, argument: Argument, places: Mapping[int, str], prefix: str) -> str:
        """An argument of a call in C. prefix: of the names of arrays."""
        match argument:
            case Value(number=number):
                return places[number]
            case Part(value=value, start=start):
                return f"{places[value.number]} + {start}" if start else places[value.number]
            case Name(name=name):
                return f"&{prefix}{name}" if name in self.axes else f"{prefix}{name}"
            case None:
                return "NULL"
            case float():
                return literal(argument, self.dtype)
        return str(int(argument))
