"""An explanation as Markdown: text in blocks of code, with headings, links and tables around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..content import Content, Section
from .equations import Gradients
from .printing import Blank, Printer
from .styles import Text
from .text import COLUMNS, ROUNDED, WIDTH, cells_of, heading, of_lines, shapes, told, unblanked


def render(content: Content, blank: Blank | None = None) -> str:
    """The explanation as Markdown.

    blank: what stands in the place of the number with a key, None for a number that is printed.

    >>> print(render(Content("One step", 0.5, 1, (Section("forward", "0", "layer 0", ("y = x²",)),))))
    # One step
    <BLANKLINE>
    L = 0.5, of 1 row.
    <BLANKLINE>
    * [layer 0: forward](#forward-0)
    <BLANKLINE>
    <a id="forward-0"></a>
    <BLANKLINE>
    ## layer 0: forward
    <BLANKLINE>
    ```text
    y = x²
    ```
    <BLANKLINE>
    """
    gradients, found = Gradients(content), list[str]()
    for section in content.sections:
        found += _section(section, gradients, Printer(Text(), unblanked(section, blank)))
    links = [f"* [{plain(heading(section))}](#{_anchor(section)})" for section in content.sections]
    notes = [*content.notes, *([ROUNDED] if any("≈" in part for part in found) else [])]
    head = [
        f"# {plain(content.title)}",
        plain(told(content)),
        *map(plain, notes),
        *(["\n".join(links)] if links else []),
    ]
    return "\n\n".join([*head, *found]) + "\n"


def _section(section: Section, gradients: Gradients, printer: Printer) -> Iterator[str]:
    yield f'<a id="{_anchor(section)}"></a>'
    yield f"## {plain(heading(section))}"
    if section.formulas:
        yield _block(section.formulas)
    if section.shapes:
        yield plain(f"shapes: {shapes(section)}")
    yield from map(plain, section.notes)
    lines = [line.removeprefix("  ") for line in of_lines(section, gradients, printer, WIDTH + 2)]
    if lines:
        yield _block(lines)
    if section.summaries:
        rows = [COLUMNS, tuple("---" if k < 2 else "---:" for k in range(len(COLUMNS)))]
        rows += [tuple(map(plain, cells_of(summary))) for summary in section.summaries]
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _anchor(section: Section) -> str:
    return re.sub(r"[^\w.-]", "_", section.anchor)


def _block(lines: Sequence[str]) -> str:
    """Lines as they are, between fences that none of them closes."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def plain(text: str) -> str:
    """Words in which nothing stands for anything else.

    >>> plain("a*b <c>")
    'a\\\\*b \\\\<c\\\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|#~&!$])", r"\\\1", " ".join(text.split()))
