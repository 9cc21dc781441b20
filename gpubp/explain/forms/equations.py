"""Equations: a line of an explanation as left = names = numbers = result, ready to be laid out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..content import Content, Line
from ..expressions import Constant, Element, Expression, Given, Index, Key, operate, total
from .printing import Printer
from .styles import Derivative

NEAR = 1e-3  # of the sum of the sizes of its terms: what rounding may change a chain rule by


class Equation(NamedTuple):
    """left = side = side …; each side comes with the sign before it: "=", "≈", or "←" where the left side is a number
    that is changed. The last side is the result."""

    left: str
    sides: tuple[tuple[str, str], ...]


class Gradients:
    """Which line computes ∂L/∂a, for the numbers a of an explanation.

    >>> from gpubp.explain.content import Section
    >>> line = Line("dW", (0,), Key("0", "dW", (0,)), None, 2.0, Key("0", "W", (0,)))
    >>> Gradients(Content("a", 0.5, 1, (Section("backward", "0", "layer 0", lines=(line,)),))).key(line.gradient_of)
    Key(path='0', array='dW', at=(0,))
    """

    def __init__(self, content: Content) -> None:
        own = [line for line in content.lines() if line.gradient_of is not None and line.key.path != "chain"]
        self._keys = {line.gradient_of: line.key for line in own}
        self._named = {str(line.gradient_of): line.key for line in own}
        self._handed: tuple[Expression, dict[Index, Key]] | None = None

    def own(self, key: Key) -> Key:
        """The key of a gradient in the backward pass, for that which the chain rule of one number has for it."""
        return self._named.get(key.array, key) if key.path == "chain" else key

    def key(self, of: Key, line: Line | None = None) -> Key:
        """The key of the number ∂L/∂of, which `line` reads. Inside a composition no line may compute it, because the
        composition's own ∂L/∂y is handed on; what no line computes has a key that is like no other number's.
        """
        known = self._keys.get(of)
        if known is None and line is not None and line.expression is not None:
            known = self._handed_to(line.expression).get(of.at)
        return known or Key("", f"∂L/∂{of}", ())

    def _handed_to(self, expression: Expression) -> dict[Index, Key]:
        """The keys of the ∂L/∂y that an expression reads, by the index of y. It may read thousands."""
        if self._handed is None or self._handed[0] is not expression:
            read = [e for e in expression.elements() if e.name.rpartition(".")[2] == "dy"]
            self._handed = expression, {e.index: e.key for e in reversed(read)}
        return self._handed[1]

    def chain(self, line: Line) -> Expression | None:
        """Σ ∂L/∂y · ∂y/∂a of a gradient's line; None where its terms are not known, or are not all of it."""
        of = line.gradient_of
        if of is None or not line.factors:
            return None
        products = [f.product for f in line.factors]
        if not abs(sum(products) - line.value) <= NEAR * sum(map(abs, products)):
            return None
        return total([
            operate("multiply", [
                Derivative(None, f.above, f.gradient, self.key(f.above, line)),
                Derivative(f.above, of, f.local, Key("", f"∂{f.above}/∂{of}", ())),
            ])
            for f in line.factors
        ])  # fmt: skip


def equation(line: Line, printer: Printer) -> Equation:
    """The formula of a line with names, with numbers, and its result.

    >>> x = Element("x", (0,), -0.3, Key("", "x", (0,)))
    >>> equation(Line("y", (0,), Key("0", "y", (0,)), operate("multiply", [Constant(2.0), x]), -0.6), Printer())
    Equation(left='y[0]', sides=(('=', '2·x[0]'), ('=', '2·(−0.3)'), ('=', '−0.6')))
    """
    own = Element(line.name, line.index, line.value, line.key)
    return _equation(printer.style.element(own), own, line.expression, printer, line.replaces)


def grouped(lines: Iterable[Line]) -> Iterator[tuple[Line, ...]]:
    """The lines, those together that only state numbers of the same array, as W[0,0] = 0.5.

    >>> given = [Line(n, (i,), Key("0", n, (i,)), None, 0.5) for n in "Wb" for i in (0, 1)]
    >>> [[line.called for line in group] for group in grouped(given)]
    [['W[0]', 'W[1]'], ['b[0]', 'b[1]']]
    """

    def states(line: Line) -> bool:
        return line.expression is None and not line.marks and not line.label

    group: list[Line] = []
    for line in lines:
        if group and not (states(line) and group[-1].name == line.name and states(group[-1])):
            yield tuple(group)
            group = []
        group.append(line)
    if group:
        yield tuple(group)


def chain_rule(line: Line, gradients: Gradients, printer: Printer) -> Equation | None:
    """The chain rule of a gradient's line, ∂L/∂a = Σ ∂L/∂y · ∂y/∂a = numbers = result; None if there is none.

    >>> from gpubp.explain.content import Factor
    >>> of, above = Key("0", "w", ()), Key("0", "y", ())
    >>> line = Line("dw", (), Key("0", "dw", ()), None, 1.0, of, (Factor(above, 2.0, 0.5),))
    >>> chain_rule(line, Gradients(Content("a", 0.5, 1, ())), Printer()).sides
    (('=', '∂L/∂0.y · ∂0.y/∂0.w'), ('=', '2 · 0.5'), ('=', '1'))
    """
    found = gradients.chain(line)
    if found is None or line.gradient_of is None:
        return None
    own = Derivative(None, line.gradient_of, line.value, line.key)
    return _equation(printer.style.element(own), own, found, printer)


def _equation(
    left: str, own: Element, expression: Expression | None, printer: Printer, replaces: bool = False
) -> Equation:
    result = printer.result(own)
    if expression is None:
        return Equation(left, (("=", result),))
    names, numbers = printer.names(expression), printer.numbers(expression)
    relation = printer.relation(expression, own.value)
    sides = [("←" if replaces else "=", names)] if names != numbers else []
    copied = isinstance(expression, Element | Constant | Given) and relation == "="
    if copied and printer.blank(own.key) is None:
        return Equation(left, (*sides, ("=", numbers)))
    return Equation(left, (*sides, ("=", numbers), (relation, result)))
