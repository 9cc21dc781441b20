"""Lookup: the line of an explanation that a number of a drawing comes from."""

from __future__ import annotations

from .content import Content, Line
from .equations import equation
from .expressions import Key
from .numbers import number
from .printing import Printer


class Lookup:
    """What a drawing says of a number when one points at it, and where its link leads.

    content: the explanation of the step; None for a drawing by itself. links: whether the drawing stands on the page of
    the explanation.

    >>> said = Lookup(Content("a", 0.5, 1, ()))
    >>> said.value(Key("0", "y", (0, 1)), 0.25), said.gradient(Key("0", "W", (0, 1)), -3.0)
    ((None, '0.y[0,1] = 0.25'), (None, '∂L/∂0.W[0,1] = −3'))
    """

    def __init__(self, content: Content | None = None, links: bool = True) -> None:
        self.links, self._printer = links and content is not None, Printer()
        lines = [] if content is None else list(content.lines())
        self._values = {line.key: line for line in lines if line.gradient_of is None}
        self._gradients = {line.gradient_of: line for line in lines if line.gradient_of is not None}
        self._sections = {} if content is None else {section.anchor for section in content.sections if section.lines}

    def value(self, key: Key, value: float) -> tuple[str | None, str]:
        """Of a number: the target of its link, None without one, and its formula."""
        return self._found(self._values.get(key), str(key), value)

    def gradient(self, of: Key, value: float) -> tuple[str | None, str]:
        """Of ∂L/∂ a number."""
        return self._found(self._gradients.get(of), f"∂L/∂{of}", value)

    def section(self, anchor: str) -> str | None:
        """The target of a link to a section, if there is one."""
        return f"#{anchor}" if self.links and anchor in self._sections else None

    def _found(self, line: Line | None, called: str, value: float) -> tuple[str | None, str]:
        if line is None:
            return None, f"{called} = {number(value)}"
        found = equation(line, self._printer)
        sides = [f"{sign} {side}" for sign, side in found.sides]
        start = [] if found.left == called else [called, f"= {found.left}"]
        return f"#{line.key.anchor}" if self.links else None, " ".join([*(start or [called]), *sides])
