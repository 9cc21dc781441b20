"""Printing: an expression as people write it, with names or with numbers, with no bracket that is not needed.

    x[0,0]·W[0,0] + x[0,1]·W[1,0] + b[0]
    0.5·1.2 + (−0.3)·0.7 + 0.1

Long sums show their largest terms. Expressions may share their parts many times over, so one that would be long when
written out is shortened: with names its inner parts are "…", with numbers they are the number that they come to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..expressions import Constant, Element, Expression, Given, Key, Largest, Operation, Sum, added
from .numbers import number, parsed, unit
from .styles import ATOM, POWER, PRODUCT, QUOTIENT, SIGNED, SUM, Text

TERMS = 12  # a longer sum is shortened
SHOWN = 5  # to so many terms, the largest
LIMIT = 60  # names or numbers in an expression, from where on inner parts are left out
FEWEST = 4  # an inner part of so many is always written out
UNITS = 5  # in the last place: what rounding may change before "=" becomes "≈"

Blank = Callable[[Key], str | None]


class Piece(NamedTuple):
    """A part of an expression. text: in the style. level: how tightly it holds together. value: of the digits shown."""

    text: str
    level: int
    value: float


class Printer:
    """Prints expressions in a style.

    blank: what stands in the place of the number with a key; None for a number that is printed. limit: how many names
    or numbers an expression shows at most.

    >>> x, y = (Element(n, (0,), v, Key("", n, (0,))) for n, v in (("x", -0.3), ("y", 0.25)))
    >>> e = Operation("multiply", [x, Operation("subtract", [Constant(1.0), y])])
    >>> Printer().names(e), Printer().numbers(e)
    ('x[0]·(1 − y[0])', '−0.3·(1 − 0.25)')
    """

    def __init__(self, style: Text | None = None, blank: Blank | None = None, limit: int = LIMIT) -> None:
        self.style = style or Text()
        self.blank = blank or (lambda key: None)
        self.limit = limit
        self._sizes: dict[int, tuple[Expression, int]] = {}

    def names(self, expression: Expression) -> str:
        """The expression with the names of what it reads."""
        return self._printed(expression, False, True, self.limit).text

    def numbers(self, expression: Expression) -> str:
        """The expression with the numbers of what it reads."""
        return self._printed(expression, True, True, self.limit).text

    def result(self, of: Element) -> str:
        """The number of a line by itself; it may be left out."""
        left_out = self.blank(of.key)
        return self.style.blank(left_out) if left_out is not None else self.style.number(of.value)[0]

    def relation(self, expression: Expression, value: float) -> str:
        """ "=" where the numbers shown come to the result shown, else "≈".

        Numbers are rounded when they are printed, and where large ones cancel, their roundings do not.

        >>> a, b = Constant(1.0000004), Constant(1.0)
        >>> Printer().relation(Operation("subtract", [a, b]), 4e-7)
        '≈'
        """
        with_digits = self._printed(expression, True, True, self.limit).value
        return "=" if agree(with_digits, value) else "≈"

    def _size(self, e: Expression) -> int:
        """How many names or numbers it shows when nothing but long sums is shortened."""
        stack = [e]
        while stack:  # not by recursion, because a recurrent layer's numbers may lie thousands of operations deep
            one = stack[-1]
            read = [] if isinstance(one, Given) or id(one) in self._sizes else _shown(one)
            missing = [o for o in read if id(o) not in self._sizes]
            if missing:
                stack += missing
                continue
            self._sizes.setdefault(id(one), (one, sum(self._sizes[id(o)][1] for o in read) or 1))
            stack.pop()
        return self._sizes[id(e)][1]

    def _printed(self, e: Expression, numbers: bool, leading: bool, budget: int) -> Piece:
        """leading: whether it stands where a minus sign needs no bracket. budget: of names and numbers."""
        if isinstance(e, Element):
            return self._element(e, numbers, leading)
        if isinstance(e, Constant):
            return self._number(e.value, None, leading)
        if isinstance(e, Given):
            return self._given(e, numbers, leading)
        size = self._size(e)
        whole = size <= max(budget, FEWEST)
        if not whole and budget < FEWEST:
            if numbers:
                return self._number(e.value, None, leading)
            return Piece(self.style.bracket(self.style.ellipsis), ATOM, e.value)
        inner = _Inner(self, numbers, budget if whole else budget // len(_shown(e)), whole)
        if isinstance(e, Sum):
            return self._sum(e, inner, leading)
        if isinstance(e, Largest):
            return self._largest(e, inner)
        assert isinstance(e, Operation)
        return self._operation(e, inner, leading)

    def _number(self, value: float, of: Element | None, leading: bool) -> Piece:
        text, level = self.style.number(value, of)
        shown = parsed(number(value))
        if shown < 0:
            return Piece(text, SIGNED, shown) if leading else Piece(self.style.bracket(text), ATOM, shown)
        return Piece(text, level, shown)

    def _element(self, e: Element, numbers: bool, leading: bool) -> Piece:
        if not numbers:
            return Piece(self.style.element(e), ATOM, e.value)
        left_out = self.blank(e.key)
        if left_out is not None:
            return Piece(self.style.blank(left_out, e), ATOM, e.value)
        return self._number(e.value, e, leading)

    def _given(self, e: Given, numbers: bool, leading: bool) -> Piece:
        if numbers:
            return self._number(e.value, None, leading)
        return Piece(self.style.words(e.what), ATOM, e.value)

    def _sum(self, e: Sum, inner: _Inner, leading: bool) -> Piece:
        shown = _shown(e)
        first, others, value = "", [], 0.0
        for k, term in enumerate(shown):
            minus = k > 0 and _is(term, "negative")
            piece = inner.tight(term.operands[0], QUOTIENT) if minus else inner(term, leading and k == 0)
            value += -piece.value if minus else piece.value
            if k == 0:
                first = piece.text
            else:
                others.append((self.style.minus if minus else "+", piece.text))
        left = len(e.operands) - len(shown)
        if left:
            rest = added([t.value for t in _hidden(e)])
            together = self.style.number(rest)[0] if inner.numbers else None
            others.append(("+", self.style.more(left, together)))
            value += parsed(number(rest))
        return Piece(self.style.plus(first, others), SUM, value)

    def _largest(self, e: Largest, inner: _Inner) -> Piece:
        shown = _shown(e)
        pieces = [inner(o, True) for o in shown]
        texts = [p.text for p in pieces]
        if len(shown) < len(e.operands):
            texts.append(self.style.more(len(e.operands) - len(shown), None))
        return Piece(self.style.call("maximum", texts), ATOM, _largest([p.value for p in pieces]))

    def _operation(self, e: Operation, inner: _Inner, leading: bool) -> Piece:
        style, name = self.style, e.name
        if name == "multiply":
            return self._product(e, inner, leading)
        if name == "negative":
            piece = inner.tight(e.operands[0], QUOTIENT)
            text = style.minus + piece.text
            return Piece(text, SIGNED, -piece.value) if leading else Piece(style.bracket(text), ATOM, -piece.value)
        if name in ("add", "subtract"):
            one = inner(e.operands[0], leading)
            two = inner.tight(e.operands[1], QUOTIENT) if name == "subtract" else inner(e.operands[1], False)
            text = style.plus(one.text, [(style.minus if name == "subtract" else "+", two.text)])
            return Piece(text, SUM, _of(e, [one, two]))
        if name == "divide":
            one, two = inner.tight(e.operands[0], PRODUCT, leading), inner.tight(e.operands[1], POWER)
            if style.drawn:
                one, two = inner(e.operands[0], True), inner(e.operands[1], True)
            return Piece(style.quotient(one.text, two.text), ATOM if style.drawn else QUOTIENT, _of(e, [one, two]))
        if name == "sqrt":
            one = inner(e.operands[0], True) if style.drawn else inner.tight(e.operands[0], ATOM)
            return Piece(style.root(one.text), ATOM if style.drawn else POWER, _of(e, [one]))
        pieces = [inner(o, True) for o in e.operands]
        return Piece(*self._called(e, pieces), _of(e, pieces))

    def _called(self, e: Operation, pieces: list[Piece]) -> tuple[str, int]:
        style, first = self.style, pieces[0]
        if e.name == "exp":
            return style.exp(first.text)
        if e.name == "absolute":
            return style.absolute(first.text), ATOM
        if e.name.startswith(("greater", "less", "equal")):
            return style.truth(f"{first.text} {style.sign(e.name)} {pieces[1].text}"), ATOM
        return style.call(e.name, [p.text for p in pieces]), ATOM

    def _product(self, e: Operation, inner: _Inner, leading: bool) -> Piece:
        factors = _factors(e, inner.whole)
        texts, value, level = [], 1.0, PRODUCT
        for k, (factor, power) in enumerate(factors):
            if power > 1:
                piece = inner.tight(factor, ATOM)
                texts.append(self.style.power(piece.text, power))
            else:
                last = k == len(factors) - 1
                piece = inner.tight(factor, QUOTIENT if last else PRODUCT, leading and k == 0)
                texts.append(piece.text)
                level = min(level, QUOTIENT) if piece.level == QUOTIENT else level
            value *= math.prod([piece.value] * power)
        if len(factors) == 1:
            level = POWER
        return Piece(
            self.style.times(texts, any(isinstance(f, Element) and f.name.startswith("∂") for f, _ in factors)),
            level,
            value,
        )


class _Inner(NamedTuple):
    """Prints what an expression reads. whole: whether nothing of it is left out."""

    printer: Printer
    numbers: bool
    budget: int
    whole: bool

    def __call__(self, e: Expression, leading: bool) -> Piece:
        return self.printer._printed(e, self.numbers, leading, self.budget)

    def tight(self, e: Expression, least: int, leading: bool = False) -> Piece:
        """In brackets, if it holds together less tightly than `least`."""
        piece = self(e, leading or isinstance(e, Sum) or _is(e, "add") or _is(e, "subtract"))
        if piece.level >= least or (piece.level == SIGNED and leading):
            return piece
        return Piece(self.printer.style.bracket(piece.text), ATOM, piece.value)


def agree(shown: float, value: float) -> bool:
    """Whether what the digits shown come to is a result, but for some units in its last place.

    >>> agree(0.4900004, 0.49), agree(0.4901, 0.49)
    (True, False)
    """
    result = parsed(number(value))
    if math.isnan(shown) or math.isnan(result):
        return math.isnan(shown) and math.isnan(result)
    return shown == result or abs(shown - result) <= UNITS * unit(result)


def _shown(e: Expression) -> Sequence[Expression]:
    """The operands that are printed: of a long sum the largest, in their order."""
    return e.operands if len(e.operands) <= TERMS else [e.operands[k] for k in sorted(_ranked(e)[:SHOWN])]


def _hidden(e: Expression) -> Sequence[Expression]:
    """The operands of a long sum that are not printed."""
    return [e.operands[k] for k in _ranked(e)[SHOWN:]]


def _ranked(e: Expression) -> list[int]:
    sizes = [o.value if isinstance(e, Largest) else abs(o.value) for o in e.operands]
    return sorted(range(len(sizes)), key=lambda k: -_orderly(sizes[k]))


def _orderly(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _factors(e: Operation, all_of_them: bool) -> list[tuple[Expression, int]]:
    """The factors of a product, and those of products in it; equal neighbours as one with its power."""
    found: list[tuple[Expression, int]] = []
    stack = list(reversed(e.operands))
    while stack:
        one = stack.pop()
        if all_of_them and _is(one, "multiply"):
            stack.extend(reversed(one.operands))
        elif found and found[-1][0] is one:
            found[-1] = one, found[-1][1] + 1
        else:
            found.append((one, 1))
    return found


def _is(e: Expression, name: str) -> bool:
    return isinstance(e, Operation) and e.name == name


def _of(e: Operation, pieces: Sequence[Piece]) -> float:
    """The operation on the digits shown."""
    return Operation(e.name, [Constant(p.value) for p in pieces]).value


def _largest(values: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)
