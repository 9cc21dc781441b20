"""Printing: lines of name and value, tables, notes and error messages.

Results go to the output stream, progress and error messages to the error stream. Colours come on a terminal only, if
--color, or else FORCE_COLOR or NO_COLOR, does not say otherwise. What is written to a stream whose reader has gone is
dropped, so that the training goes on and is saved.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from ..rounding import number
from .process import drop_output

LINES = 10  # at most so many of a table's rows, and of the plain lines of a training
COLOURS = ("auto", "always", "never")


def colour_by_environment() -> bool | None:
    """Whether the environment asks for colours; None leaves it to the terminal. FORCE_COLOR goes before NO_COLOR."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def divert(away: bool) -> None:
    """From here on, print what people read on the error stream, because the output stream gets JSON; or end that."""
    global _diverted
    _diverted = away


_diverted = False


def colour(wanted: bool | None) -> None:
    """Turn colours on or off from here on; None leaves it to the terminal."""
    global _wanted
    _wanted = wanted


_wanted = colour_by_environment()


def on_terminal() -> bool:
    """Whether the error stream is a terminal that can draw."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def print_error(message: str, code: int) -> int:
    """Print an error message as one line on the error stream; returns `code`, the exit code that goes with it."""
    message = re.sub(r"([:;,.]?)\s*\n\s*", lambda end: f"{end[1] or ';'} ", message.strip())
    coloured = on_terminal() if _wanted is None else _wanted
    line(f"{click.style('gpubp:', fg='red', bold=True) if coloured else 'gpubp:'} {message}", err=True)
    return code


def line(text: str, err: bool = False) -> None:
    """Print a line on the output stream or the error stream."""
    err = err or _diverted
    try:
        click.echo(text, err=err, color=True)
    except BrokenPipeError:
        drop_output(sys.stderr if err else sys.stdout)


def console(stderr: bool = False) -> Any:
    """A console of rich for the output stream or the error stream."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            drop_output(sys.stderr if self.stderr else sys.stdout)

    how: dict[bool | None, dict[str, Any]] = {None: {}, True: {"force_terminal": True}, False: {"color_system": None}}
    return Quiet(stderr=stderr or _diverted, highlight=False, markup=False, emoji=False, soft_wrap=True, **how[_wanted])


def say(text: str, style: str | None = None) -> None:
    """Print a line of results."""
    console().print(text, style=style)


def fact(name: str, text: str) -> None:
    """Print a line `name  text`."""
    from rich.text import Text

    console().print(Text.assemble((f"{name:<9}", "bold"), text))


def note(text: str) -> None:
    """Print a line on the error stream, in yellow."""
    console(stderr=True).print(text, style="yellow")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], below: str = "", left: Sequence[str] = ()) -> None:
    """Print a table; columns are aligned to the right, those named in `left` to the left. below: a line under it."""
    from rich.table import Table

    grid = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        grid.add_column(head, justify="left" if head in left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console().print()
    console().print(grid)
    if below:
        console().print(below)
    console().print()


def numbers(logs: Mapping[str, float]) -> str:
    """The numbers of an epoch in a line.

    >>> numbers({"loss": 0.25, "val_accuracy": 1.0})
    'loss 0.2500  val_accuracy 1.0000'
    """
    return "  ".join(f"{name} {number(value)}" for name, value in logs.items())
