"""What an explanation says, apart from how it looks: sections, and in each the numbers with their expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .expressions import Element, Expression, Index, Key


@dataclass(frozen=True)
class Factor:
    """One term of a gradient by the chain rule: ∂L/∂a = Σ ∂L/∂y · ∂y/∂a.

    above: the number y whose gradient came from above; `gradient` is ∂L/∂y. local: ∂y/∂a.

    >>> Factor(Key("1", "y", (0, 0)), 2.0, 0.5).product
    1.0
    """

    above: Key
    gradient: float
    local: float

    @property
    def product(self) -> float:
        """∂L/∂y · ∂y/∂a"""
        return self.gradient * self.local


@dataclass(frozen=True)
class Line:
    """One number: what it is called, the expression that computes it, and its value.

    name, index: as the layer's formulas call it, as dW[4,1]. key: its name in the step, which no other number has.
    value: as the step has computed it. gradient_of: the number a, where this one is ∂L/∂a; factors: then its terms by
    the chain rule, empty where they are not known. marks: what is worth seeing in it, in words. label: what it means
    where the data come from, as "age: 37, standardized".

    >>> Line("y", (0,), Key("0", "y", (0,)), None, 1.5).called
    'y[0]'
    """

    name: str
    index: Index
    key: Key
    expression: Expression | None
    value: float
    gradient_of: Key | None = None
    factors: tuple[Factor, ...] = ()
    marks: tuple[str, ...] = ()
    label: str = ""

    @property
    def called(self) -> str:
        """The name with its index."""
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name

    @property
    def replaces(self) -> bool:
        """Whether the number takes the place of one of the same name, as in θ ← θ - η g."""
        elements = () if self.expression is None else self.expression.elements()
        return any(e.name == self.name and e.index == self.index for e in elements)


@dataclass(frozen=True)
class Summary:
    """An array of which not every number is written out: its shape and how its numbers are spread.

    shown: how many of its numbers have a line.

    >>> Summary("y", "0.y", (32, 10), -1.0, 1.0, 0.1, 0.4, 0.0, 3).name
    'y'
    """

    name: str
    full_name: str
    shape: tuple[int, ...]
    smallest: float
    largest: float
    mean: float
    std: float
    zeros: float  # share of numbers that are 0
    shown: int


@dataclass(frozen=True)
class Section:
    """One part of the step: a layer forward or backward, the loss, the update, or the chain rule of one number.

    kind: "data", "forward", "loss", "backward", "update" or "chain". path: of the layer, as "1.0". title: as
    "layer 0, Dense(2)". formulas: of its docstring, a line each. lines: in the order in which they are computed.
    summaries: of arrays that are not written out. notes: sentences. shapes: name -> shape of what it reads and gives.
    figure: a drawing as SVG, for pages that can show it.

    >>> Section("forward", "0", "layer 0, Dense(2)").anchor
    'forward-0'
    """

    kind: str
    path: str
    title: str
    formulas: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    summaries: tuple[Summary, ...] = ()
    notes: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    figure: str = ""

    @property
    def anchor(self) -> str:
        """A name for links, which no other section of the step has."""
        return f"{self.kind}-{self.path}" if self.path else self.kind


@dataclass(frozen=True)
class Content:
    """An explanation of one step.

    title: what it explains. loss: L. rows: how many. sections: in the order of the step. notes: sentences about the
    whole step. dtype: of the step's numbers. figure: a drawing of all of it, SVG.

    >>> len(Content("a network", 0.5, 1, ()).sections)
    0
    """

    title: str
    loss: float
    rows: int
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    dtype: str = "float32"
    figure: str = ""

    def with_section(self, section: Section, first: bool = False) -> Content:
        """The same with a section more, at the end or at the beginning."""
        return replace(self, sections=(section, *self.sections) if first else (*self.sections, section))

    def lines(self) -> Iterator[Line]:
        """All lines, in the order of the step."""
        for section in self.sections:
            yield from section.lines

    def elements(self) -> Iterator[Element]:
        """Each number that an expression reads, once a line."""
        for line in self.lines():
            if line.expression is not None:
                yield from line.expression.elements()
