"""Expressions: how one number of a step follows from others, as a small tree.

`origins.py` makes them of what a step has computed; the pages print them twice, with names and with numbers:

    y[0,0] = x[0,0]·W[0,0] + b[0]
           = 0.5·1.2 + 0.1

Each has a `value`, computed in float64 from the values of its elements. Two expressions of the same number are the same
object, so that a tree with many equal branches stays small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..formula import OPERATIONS, functions
from ..formula.elementary import OWN

Index = tuple[int, ...]


class Key(NamedTuple):
    """The name of a number of a step, which no other number has.

    path: the layer, as "1.0"; "loss" or "update" elsewhere. array: its name there, as "W". at: its index, as in W[4,1].

    >>> str(Key("2", "W", (4, 1))), str(Key("", "x", (0, 17)))
    ('2.W[4,1]', 'x[0,17]')
    """

    path: str
    array: str
    at: Index

    def __str__(self) -> str:
        place = f"[{','.join(map(str, self.at))}]" if self.at else ""
        return f"{self.path}.{self.array}{place}" if self.path else f"{self.array}{place}"

    @property
    def anchor(self) -> str:
        """The id of its line on a page, to which links lead; of ASCII letters, as not all programs follow others.

        >>> Key("2", "W", (4, 1)).anchor, Key("loss", "e′", ()).anchor
        ('n-2.W-4-1', 'n-loss.e_2032')
        """
        name = f"{self.path}.{self.array}" if self.path else self.array
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._") else f"_{ord(c):x}" for c in name)
        return "-".join(["n", plain, *map(str, self.at)])


class Expression:
    """One number, by what it is computed from; `value` is that number in float64."""

    __slots__ = ("size", "value")
    value: float
    size: int  # elements and constants in it, each as often as it is read

    @property
    def operands(self) -> tuple[Expression, ...]:
        """The expressions that it is computed from."""
        return ()

    def elements(self) -> Iterator[Element]:
        """Each element that it reads, once, in the order of reading.

        >>> x = Element("x", (0,), 2.0, Key("", "x", (0,)))
        >>> [e.name for e in Operation("multiply", (x, x)).elements()]
        ['x']
        """
        seen: set[int] = set()
        stack: list[Expression] = [self]
        while stack:
            one = stack.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, Element):
                yield one
            stack.extend(reversed(one.operands))


class Constant(Expression):
    """A number that a formula contains, such as the ½ of ½ e².

    >>> Constant(0.5).value
    0.5
    """

    __slots__ = ()

    def __init__(self, value: float) -> None:
        self.value, self.size = float(value), 1


class Element(Expression):
    """One number of a named array, as W[4,1]: a parameter, an input, or what another line computes.

    name, index: as the layer's formulas call it. key: which number of the step it is. place: where it stands in
    memory, see `memory.py`. part: of a number without a name, which is given one because its expression is long, that
    expression; else None.

    >>> Element("W", (4, 1), 0.3, Key("2", "W", (4, 1))).called
    'W[4,1]'
    """

    __slots__ = ("index", "key", "name", "part", "place")

    def __init__(
        self, name: str, index: Index, value: float, key: Key, place: Any = None, part: Expression | None = None
    ) -> None:
        self.name, self.index, self.key, self.place, self.part = name, index, key, place, part
        self.value, self.size = float(value), 1

    @property
    def called(self) -> str:
        """The name with its index."""
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name


class Operation(Expression):
    """An operation of `gpubp.formula.OPERATIONS` on other expressions; "sigmoid" is one too.

    >>> Operation("multiply", (Constant(2.0), Constant(3.0))).value
    6.0
    """

    __slots__ = ("_operands", "name")

    def __init__(self, name: str, operands: Sequence[Expression]) -> None:
        self.name, self._operands = name, tuple(operands)
        self.size = sum(o.size for o in operands)
        function: Any = getattr(functions, name) if name in ("sigmoid", *OWN) else getattr(np, name)
        with np.errstate(all="ignore"):
            self.value = float(function(*(np.float64(o.value) for o in operands)))

    @property
    def operands(self) -> tuple[Expression, ...]:
        """Its operands, in their order."""
        return self._operands


class Sum(Expression):
    """Σ of expressions, in any order of additions.

    >>> Sum([Constant(1.0), Constant(2.0), Constant(4.0)]).value
    7.0
    """

    __slots__ = ("_operands",)

    def __init__(self, terms: Sequence[Expression]) -> None:
        self._operands = tuple(terms)
        self.size = sum(t.size for t in terms)
        self.value = added([t.value for t in terms])

    @property
    def operands(self) -> tuple[Expression, ...]:
        """Its terms."""
        return self._operands


class Largest(Expression):
    """The largest of expressions.

    >>> Largest([Constant(1.0), Constant(2.0)]).value
    2.0
    """

    __slots__ = ("_operands",)

    def __init__(self, terms: Sequence[Expression]) -> None:
        self._operands = tuple(terms)
        self.size = sum(t.size for t in terms)
        self.value = float(np.max([t.value for t in terms]))

    @property
    def operands(self) -> tuple[Expression, ...]:
        """What it is the largest of."""
        return self._operands


class Given(Expression):
    """A number that no formula shows: drawn at random, looked up, or made by a function that is not elementwise.

    what: in words, such as "drawn at random".

    >>> Given("drawn at random", 1.0).what
    'drawn at random'
    """

    __slots__ = ("_operands", "what")

    def __init__(self, what: str, value: float, operands: Sequence[Expression] = ()) -> None:
        self.what, self._operands = what, tuple(operands)
        self.value, self.size = float(value), 1 + sum(o.size for o in operands)

    @property
    def operands(self) -> tuple[Expression, ...]:
        """The numbers that decide it, where they can be named."""
        return self._operands


def added(values: Sequence[float]) -> float:
    """Their sum, rounded once; infinite or NaN where numbers are, or where it is too large.

    >>> added([0.1] * 10), added([1e308, 1e308]), added([math.inf, 1.0])
    (1.0, inf, inf)
    """
    try:
        if all(map(math.isfinite, values)):
            return math.fsum(values)
    except OverflowError:
        pass
    with np.errstate(all="ignore"):
        return float(np.sum(values))


def operate(name: str, operands: Sequence[Expression]) -> Expression:
    """The expression of an operation, as people write it: sums are joined, 1 · a is a, a + 0 is a, and
    1 / (1 + e⁻ᵃ) is σ(a).

    Such changes leave the number as it is, but for the order of additions.

    >>> x = Element("x", (0,), 2.0, Key("", "x", (0,)))
    >>> operate("multiply", [Constant(1.0), x]) is x
    True
    """
    first, second = (*operands, None, None)[:2]
    if name == "add":
        terms = [t for o in operands for t in (o.operands if isinstance(o, Sum) else (o,)) if not _is(t, 0.0)]
        return Sum(terms) if len(terms) > 1 else (terms or [Constant(0.0)])[0]
    if name == "maximum":
        return Largest([t for o in operands for t in (o.operands if isinstance(o, Largest) else (o,))])
    if name == "multiply" and second is not None:
        if _is(first, 1.0):
            return second
        if _is(second, 1.0) and first is not None:
            return first
    if name == "divide" and _is(first, 1.0) and isinstance(second, Sum) and len(second.operands) == 2:
        one, power = second.operands
        if _is(one, 1.0) and _is_operation(power, "exp") and _is_operation(power.operands[0], "negative"):
            return Operation("sigmoid", power.operands[0].operands)
    if name not in OPERATIONS:
        raise ValueError(f"{name} is no operation of a formula")
    return Operation(name, operands)


def total(terms: Sequence[Expression]) -> Expression:
    """Σ terms without those that are the constant 0.

    >>> total([Constant(0.0), Constant(3.0)]).value
    3.0
    """
    found = [part for t in terms for part in (t.operands if isinstance(t, Sum) else (t,)) if not _is(part, 0.0)]
    return Sum(found) if len(found) > 1 else (found or [Constant(0.0)])[0]


def _is(expression: Expression | None, value: float) -> bool:
    return isinstance(expression, Constant) and expression.value == value


def _is_operation(expression: Expression, name: str) -> bool:
    return isinstance(expression, Operation) and expression.name == name
