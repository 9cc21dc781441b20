"""An explanation as plain text, for a terminal or a file."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator

from ..content import Content, Line, Section, Summary
from .equations import Equation, Gradients, chain_rule, equation, grouped
from .numbers import number
from .printing import Blank, Printer
from .styles import Text

WIDTH = 100  # characters
FIXED = "\u00a0"  # a space where no line ends
NARROW = 16  # what a side has at least, beside a long name
WAYS = {"forward": "forward", "loss": "forward", "backward": "backward", "loss-backward": "backward"}  # of kinds
ROUNDED = "Numbers are rounded to six digits. Where “≈” stands, these digits give a slightly different result."
COLUMNS = ("array", "shape", "smallest", "largest", "mean", "standard deviation", "zeros", "numbers", "shown")


def render(content: Content, width: int = WIDTH, blank: Blank | None = None) -> str:
    """The explanation as text, with lines of `width` characters at most where numbers allow it.

    blank: what stands in the place of the number with a key, None for a number that is printed. A section of the kind
    "answers" has all its numbers.

    >>> from gpubp.explain.content import Line
    >>> from gpubp.explain.expressions import Element, Key, operate
    >>> x = Element("x", (0,), 3.0, Key("", "x", (0,)))
    >>> line = Line("y", (0,), Key("0", "y", (0,)), operate("multiply", [x, x]), 9.0)
    >>> print(render(Content("One square", 9.0, 1, (Section("forward", "0", "layer 0", lines=(line,)),))))
    One square
    ==========
    L = 9, of 1 row.
    <BLANKLINE>
    layer 0: forward
    ----------------
      y[0] = x[0]² = 3² = 9
    """
    gradients, found = Gradients(content), list[str]()
    for section in content.sections:
        title = heading(section)
        printer = Printer(Text(), unblanked(section, blank))
        found += ["", title, "-" * len(title), *body(section, gradients, printer, width)]
    notes = [*content.notes, *([ROUNDED] if any("≈" in line for line in found) else [])]
    head = [content.title, "=" * len(content.title), told(content), *_wrapped(notes, "", width)]
    return "\n".join([*head, *found])


def told(content: Content) -> str:
    """The loss and the number of rows in a sentence.

    >>> told(Content("a", 0.5, 2, ()))
    'L = 0.5, of 2 rows.'
    """
    return f"L = {number(content.loss)}, of {content.rows} row{'s' if content.rows != 1 else ''}."


def unblanked(section: Section, blank: Blank | None) -> Blank | None:
    """What is left out in a section: in the answers nothing.

    >>> unblanked(Section("answers", "", "Answers"), lambda key: "(1)") is None
    True
    """
    return None if section.kind == "answers" else blank


def heading(section: Section) -> str:
    """The title of a section, and which way it goes.

    >>> heading(Section("loss-backward", "", "loss, MeanSquaredError()"))
    'loss, MeanSquaredError(): backward'
    """
    return f"{section.title}: {WAYS[section.kind]}" if section.kind in WAYS else section.title


def shapes(section: Section) -> str:
    """The names and shapes of its arrays in a line.

    >>> shapes(Section("forward", "0", "layer 0", shapes={"x": (4, 2), "y": (4,)}))
    'x (4, 2), y (4,)'
    """
    return ", ".join(f"{name} {shape}" for name, shape in section.shapes.items())


def body(section: Section, gradients: Gradients, printer: Printer, width: int) -> Iterator[str]:
    """The lines of a section below its title."""
    for formula in section.formulas:
        yield f"    {formula}"
    if section.shapes:
        yield from _filled(f"shapes: {shapes(section)}", width, "    ", " " * 8)
    yield from _wrapped(section.notes, "  ", width)
    if section.formulas or section.shapes or section.notes:
        yield ""
    yield from of_lines(section, gradients, printer, width)
    for summary in section.summaries:
        yield from _filled(described(summary), width, "  ", "      ")


def of_lines(section: Section, gradients: Gradients, printer: Printer, width: int) -> Iterator[str]:
    """The formulas with their numbers, of a section."""
    for line, *others in grouped(section.lines):
        if others:
            yield from _stated((line, *others), printer, width)
            continue
        *above, last = laid_out(equation(line, printer), width)
        beside = f"{last}    {line.label}".rstrip()
        yield from [*above, beside] if len(beside) <= width else [*above, last]
        if len(beside) > width:
            yield from _filled(line.label, width, "      ", " " * 8)
        chain = chain_rule(line, gradients, printer)
        if chain is not None:
            yield from laid_out(chain, width)
        yield from _wrapped([f"! {mark}" for mark in line.marks], "      ", width)


def _stated(lines: Iterable[Line], printer: Printer, width: int) -> Iterator[str]:
    """Numbers of an array beside each other."""
    stated = [f"{found.left} = {found.sides[-1][1]}" for found in (equation(line, printer) for line in lines)]
    space = max(map(len, stated)) + 2
    fit = max((width - 2) // space, 1)
    for start in range(0, len(stated), fit):
        yield "  " + "".join(one.ljust(space) for one in stated[start : start + fit]).rstrip()


def laid_out(equation: Equation, width: int, indent: str = "  ") -> Iterator[str]:
    """An equation in one line, or if that is too long, each side in lines of its own below the first.

    >>> print(*laid_out(Equation("y[0]", (("=", "2·x[0]"), ("=", "2·3"), ("=", "6"))), width=16), sep="\\n")
      y[0] = 2·x[0]
           = 2·3
           = 6
    """
    start = f"{indent}{equation.left} "
    sides = [f"{relation} {side}" for relation, side in equation.sides]
    if len(start) + len(" ".join(sides)) <= width:
        yield start + " ".join(sides)
        return
    if len(start) > width // 2:
        yield start.rstrip()
        start = indent + " " * 4
    behind = " " * len(start)
    for side in sides:
        yield from _filled(side, max(width, len(start) + NARROW), start, behind + "  ")
        start = behind


def described(summary: Summary) -> str:
    """How the numbers of an array are spread, in a line.

    >>> described(Summary("y", "0.y", (32, 10), -1.0, 1.5, 0.1, 0.4, 0.25, 3))
    'y (32, 10): 3 of 320 numbers are above; from −1 to 1.5, mean 0.1, standard deviation 0.4, 25% are 0'
    """
    above = f"{summary.shown} of {count_of(summary):,} numbers {'is' if summary.shown == 1 else 'are'} above"
    spread = f"mean {number(summary.mean)}, standard deviation {number(summary.std)}"
    zeros = f", {100 * summary.zeros:.3g}% are 0" if summary.zeros else ""
    reach = f"from {number(summary.smallest)} to {number(summary.largest)}"
    return f"{summary.name} {summary.shape}: {above}; {reach}, {spread}{zeros}"


def cells_of(summary: Summary) -> tuple[str, ...]:
    """The same as cells of a table with `COLUMNS`.

    >>> cells_of(Summary("y", "0.y", (32, 10), -1.0, 1.5, 0.1, 0.4, 0.25, 3))
    ('y', '(32, 10)', '−1', '1.5', '0.1', '0.4', '25%', '320', '3')
    """
    s = summary
    spread = map(number, (s.smallest, s.largest, s.mean, s.std))
    return s.name, str(s.shape), *spread, f"{100 * s.zeros:.3g}%", f"{count_of(s):,}", str(s.shown)


def count_of(summary: Summary) -> int:
    """How many numbers the array has."""
    return math.prod(summary.shape)


def _wrapped(sentences: Iterable[str], indent: str, width: int) -> Iterator[str]:
    for sentence in sentences:
        yield from _filled(sentence, width, indent, indent + "  ")


def _filled(text: str, width: int, first: str, others: str) -> Iterator[str]:
    """The text in lines, which are broken before the signs of a formula and not inside a shape."""
    for sign in "+−·≈=←":
        text = text.replace(f" {sign} ", f" {sign}{FIXED}")
    text = re.sub(r"(?<=\d), (?=\d+[,)])", f",{FIXED}", text)
    for line in textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    ):
        yield line.replace(FIXED, " ")
