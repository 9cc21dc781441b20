"""What the commands print: facts, tables, notes and complaints.

Results go to the output stream, progress and complaints to the error stream. Colours come on a terminal only; --color,
or else FORCE_COLOR or NO_COLOR, say otherwise. A stream whose reader has gone swallows what is written to it, so that a
training that nobody looks at any more is still saved.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from .process import hush

__all__ = [
    "COLOURS",
    "colour",
    "colour_by_environment",
    "complain",
    "console",
    "divert",
    "every_tenth",
    "fact",
    "line",
    "note",
    "numbers",
    "say",
    "short",
    "table",
    "watched",
]

LINES = 10  # at most so many of a table's rows, and of the plain lines of a training
COLOURS = ("auto", "always", "never")


def colour_by_environment() -> bool | None:
    """Whether to colour; None where that is for the terminal to say. FORCE_COLOR is heard before NO_COLOR."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def divert(away: bool) -> None:
    """Send what people read to the error stream from here on, because the output stream is for machines; or back."""
    global _diverted
    _diverted = away


_diverted = False


def colour(wanted: bool | None) -> None:
    """Colour from here on, or don't; None leaves it to the terminal."""
    global _wanted
    _wanted = wanted


_wanted = colour_by_environment()


def watched() -> bool:
    """Whether a person can be watching the error stream, on a terminal that can draw."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def complain(message: str, code: int) -> int:
    """Say on the error stream, in a line, what is wrong; returns `code`, the exit code that goes with it."""
    message = re.sub(r"([:;,.]?)\s*\n\s*", lambda end: f"{end[1] or ';'} ", message.strip())
    coloured = watched() if _wanted is None else _wanted
    line(f"{click.style('gpubp:', fg='red', bold=True) if coloured else 'gpubp:'} {message}", err=True)
    return code


def line(text: str, err: bool = False) -> None:
    """A line as it stands, for the output stream or the error stream."""
    err = err or _diverted
    try:
        click.echo(text, err=err, color=True)
    except BrokenPipeError:
        hush(sys.stderr if err else sys.stdout)


def console(stderr: bool = False) -> Any:
    """Where rich prints."""
    from rich.console import Console

    class Deaf(Console):
        def on_broken_pipe(self) -> None:
            hush(sys.stderr if self.stderr else sys.stdout)

    how: dict[bool | None, dict[str, Any]] = {None: {}, True: {"force_terminal": True}, False: {"color_system": None}}
    return Deaf(stderr=stderr or _diverted, highlight=False, markup=False, emoji=False, soft_wrap=True, **how[_wanted])


def say(text: str, style: str | None = None) -> None:
    """A line of results."""
    console().print(text, style=style)


def fact(name: str, text: str) -> None:
    """A line `name  text`."""
    from rich.text import Text

    console().print(Text.assemble((f"{name:<9}", "bold"), text))


def note(text: str) -> None:
    """A line beside the results."""
    console(stderr=True).print(text, style="yellow")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """A table; columns stand to the right, but for those named in `left`."""
    from rich.table import Table

    grid = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        grid.add_column(head, justify="left" if head in left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console().print()
    console().print(grid)
    console().print()


def numbers(logs: Mapping[str, float]) -> str:
    """The numbers of an epoch in a line.

    >>> numbers({"loss": 0.25, "val_accuracy": 1.0})
    'loss 0.2500  val_accuracy 1.0000'
    """
    return "  ".join(f"{name} {short(value)}" for name, value in logs.items())


def short(value: float) -> str:
    """Four places, or an exponent where they would show nothing.

    >>> short(0.12345), short(12345678.9), short(0.0000123)
    ('0.1235', '1.235e+07', '1.230e-05')
    """
    plain = value == 0 or 1e-3 <= abs(value) < 1e5 or value != value
    return f"{value:.4f}" if plain else f"{value:.3e}"


def every_tenth(count: int) -> list[int]:
    """About ten of the numbers 1 to `count`, first and last among them.

    >>> every_tenth(4), every_tenth(50)
    ([1, 2, 3, 4], [1, 6, 12, 17, 23, 28, 34, 39, 45, 50])
    """
    if count <= LINES:
        return list(range(1, count + 1))
    return [1 + round(i * (count - 1) / (LINES - 1)) for i in range(LINES)]
