"""Lookup: the line of an explanation that a number of a drawing comes from."""

from __future__ import annotations

from typing import NamedTuple

from ..content import Content, Line
from ..expressions import Key
from ..forms.equations import equation
from ..forms.numbers import number
from ..forms.printing import Blank, Printer
from .svg import short

HIDDEN = "?"  # in the place of a number that would tell what is left out elsewhere


class Said(NamedTuple):
    """What a drawing says of a number. target: of its link, None without one. words: its formula. shown: the number.

    >>> Said(None, "y[0] = 0.25", "0.25").shown
    '0.25'
    """

    target: str | None
    words: str
    shown: str


class Lookup:
    """What a drawing says of numbers.

    content: the explanation of the step; None for a drawing by itself. links: whether the drawing stands on the page of
    the explanation. blank: what stands in the place of the number with a key, None for a number that is shown.

    >>> look = Lookup()
    >>> look.value(Key("0", "y", (0, 1)), 0.25)
    Said(target=None, words='0.y[0,1] = 0.25', shown='0.25')
    >>> look.gradient(Key("0", "W", (0, 1)), -3.0).words
    '∂L/∂0.W[0,1] = −3'
    """

    def __init__(self, content: Content | None = None, links: bool = True, blank: Blank | None = None) -> None:
        self.links, self._printer = links and content is not None, Printer(blank=blank)
        self._values: dict[Key, Line] = {}
        self._gradients: dict[Key, Line] = {}
        self._losses: dict[int, Line] = {}
        self._sections: set[str] = set()
        self._left_out: set[str] = set()
        for section in () if content is None else content.sections:
            if section.kind == "answers":
                continue
            self._sections.add(section.anchor)
            for line in section.lines:
                if line.gradient_of is None:
                    self._values.setdefault(line.key, line)
                else:
                    self._gradients.setdefault(line.gradient_of, line)
                if line.name == "ℓ" and len(line.index) == 1:
                    self._losses.setdefault(line.index[0], line)
                if blank is not None and blank(line.key) is not None:
                    self._left_out.add(short(abs(line.value)))

    def value(self, key: Key, value: float) -> Said:
        """A number."""
        return self._said(self._values.get(key), str(key), value)

    def gradient(self, of: Key, value: float) -> Said:
        """∂L/∂ a number."""
        return self._said(self._gradients.get(of), f"∂L/∂{of}", value)

    def row_loss(self, row: int, value: float) -> Said:
        """The loss ℓ of a row."""
        return self._said(self._losses.get(row), f"ℓ[{row}]", value)

    def mean(self, of: str, value: float, section: str) -> Said:
        """The mean of some numbers, which leads to the section of the step that has them."""
        return self._said(None, f"mean of {of}", value)._replace(target=self.section(section))

    def section(self, anchor: str) -> str | None:
        """The target of a link to a section, if there is one."""
        return f"#{anchor}" if self.links and anchor in self._sections else None

    def _said(self, line: Line | None, called: str, value: float) -> Said:
        if line is None:
            if short(abs(value)) in self._left_out:
                return Said(None, called, HIDDEN)
            return Said(None, f"{called} = {number(value)}", short(value))
        found = equation(line, self._printer)
        sides = [f"{sign} {side}" for sign, side in found.sides]
        start = [called] if found.left == called else [called, f"= {found.left}"]
        shown = self._printer.blank(line.key) or short(value)
        return Said(f"#{line.key.anchor}" if self.links else None, " ".join([*start, *sides]), shown)
