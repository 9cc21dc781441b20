"""The formulas of a layer, loss or optimizer as its docstrings state them."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

LEFT = r"(\(\d+'?\)\s*)?[^\s.,:;=←]{1,12}(\s\([^)]*\))?\s*(=|←|≈)\s"  # of a line that states a formula
NAMED = re.compile(r"([A-Z][A-Za-z0-9]+)\s{2,}")  # a line of a block that begins with the name of a class
BACKWARD = re.compile(r"Backward\b")


class Formulas(NamedTuple):
    """The lines of formulas: all, and those of forward and of backward, which are all where they are not told apart.

    >>> Formulas(("y = x",), ("y = x",), ("y = x",)).forward
    ('y = x',)
    """

    all: tuple[str, ...]
    forward: tuple[str, ...]
    backward: tuple[str, ...]


def formulas_of(thing: Any) -> Formulas:
    """The formulas in the docstring of its class, or else in that of the module, a line each.

    >>> import gpubp as bp
    >>> formulas_of(bp.Sigmoid()).all
    ('y = σ(x),  dx = dy y (1 - y)',)
    >>> formulas_of(bp.Dense(2)).forward
    ('x (B, n)   W (n, m)   b (m,)   y (B, m)          B rows, n inputs, m units', '(1) y  = x W + b')
    """
    kind = type(thing)
    found = _of_module(kind) or _of_class(kind)
    where = next((i for i, line in enumerate(found) if BACKWARD.match(line)), None)
    if where is None:
        return Formulas(tuple(found), tuple(found), tuple(found))
    forward, backward = _without_words(found[:where]), _without_words(found[where:])
    return Formulas((*forward, *backward), forward, backward)


def _without_words(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines without "Forward" and "Backward", and without the spaces under these words."""
    found, width = [], 0
    for line in lines:
        if match := re.match(r"(Forward|Backward)\s+", line):
            width = len(match[0])
        found.append(line[width:] if match or line.startswith(" " * width) else line)
    return tuple(found)


def _of_class(kind: type) -> list[str]:
    """The lines of the docstring that state a formula, and indented blocks."""
    text = _before_example(inspect.cleandoc(vars(kind).get("__doc__") or ""))
    found: list[str] = []
    for line in text.splitlines():
        if re.search(r"\. [A-Z]", line):  # a sentence
            continue
        if line.startswith("    ") or re.match(LEFT, line):
            found.append(line.strip())
        elif re.match(rf"With [^:]*: +(?={LEFT})", line):
            found.append(line.strip())
        elif found and found[-1].endswith((";", ",")) and "=" in line:  # a formula goes on in the next line
            found.append(line.strip())
    return found


def _of_module(kind: type) -> list[str]:
    """The first indented block of the docstring of the module, if the class is gpubp's; of a block for several
    classes, its own lines, or those of its base class."""
    if not kind.__module__.startswith("gpubp."):
        return []
    text = _before_example(inspect.cleandoc(sys.modules[kind.__module__].__doc__ or ""))
    blocks = [block for block in text.split("\n\n") if block.startswith("    ")]
    if not any("=" in block for block in blocks):
        return []
    block = textwrap.dedent("\n".join(blocks)).splitlines()
    starts = [(i, match[1]) for i, line in enumerate(block) if (match := NAMED.match(line))]
    starts = [(i, name) for i, name in starts if name in vars(sys.modules[kind.__module__])]
    if starts:
        ends = [*(i for i, _ in starts[1:]), len(block)]
        bases = [base.__name__ for base in kind.__mro__]
        own = [block[i:end] for (i, name), end in zip(starts, ends, strict=True) if name in bases]
        name = rf"^({'|'.join(bases)})\b"
        block = [re.sub(name, lambda match: " " * len(match[0]), line) for lines in own for line in lines]
    return list(_dedented(block))


def _dedented(lines: list[str]) -> tuple[str, ...]:
    """The lines that are not empty, without the spaces that all begin with."""
    return tuple(textwrap.dedent("\n".join(line for line in lines if line.strip())).splitlines())


def _before_example(text: str) -> str:
    return text.split(">>>")[0]
