"""What the commands print: facts, tables, notes, and the progress of a training.

Results go to the output stream, progress and complaints to the error stream. Colours come on a terminal only, and not
where NO_COLOR is set. Progress is a bar on a terminal and a plain line now and then elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ..callbacks import Callback, stderr_is_terminal
from ..trainer import Trainer

__all__ = ["Bar", "Lines", "complain", "fact", "note", "numbers", "progress", "say", "steps_bar", "table"]

LINES = 10  # at most so many of a table's rows, and of the plain lines of a training


def complain(message: str, code: int) -> int:
    """Say on the error stream what is wrong; returns `code`, the exit code that goes with it."""
    colour = stderr_is_terminal() and not os.environ.get("NO_COLOR")
    click.echo(f"{click.style('gpubp:', fg='red', bold=True) if colour else 'gpubp:'} {message}", err=True)
    return code


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str, style: str | None = None) -> None:
    """A line of results."""
    _console().print(text, style=style)


def fact(name: str, text: str) -> None:
    """A line `name  text`."""
    from rich.text import Text

    _console().print(Text.assemble((f"{name:<9}", "bold"), text))


def note(text: str) -> None:
    """A line beside the results."""
    _console(stderr=True).print(text, style="yellow")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """A table; columns stand to the right, but for those named in `left`."""
    from rich.table import Table

    grid = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        grid.add_column(head, justify="left" if head in left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    _console().print()
    _console().print(grid)
    _console().print()


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


def progress(epochs: int, steps: int) -> Callback:
    """A callback that shows how far a training is."""
    return Bar(epochs, steps) if stderr_is_terminal() else Lines(epochs)


class Lines(Callback):
    """A plain line for one epoch in every tenth, and for the last: for files and pipes."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self._every = epochs, max(1, -(-epochs // LINES))

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """Say it."""
        if trainer.epoch % self._every == 0 or trainer.epoch in (1, self.epochs):
            click.echo(f"epoch {trainer.epoch}/{self.epochs}  {numbers(logs)}", err=True)


class Bar(Callback):
    """A bar that fills over all steps, with the last epoch's numbers; it fits 80 columns."""

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs, self._steps, self._total, self._done = epochs, steps, epochs * steps, 0
        self._every = max(1, steps // 50)
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Draw it empty, or filled as far as a resumed training is."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=_console(stderr=True),
        )
        self._done = trainer.history.epochs * self._steps + trainer.step_in_epoch
        done = f"epoch {trainer.history.epochs}/{self.epochs}"
        self._task = self._bar.add_task(done, total=self._total, completed=self._done, numbers="")
        self._bar.start()

    def on_step_end(self, trainer: Trainer) -> None:
        """Fill it, fifty times an epoch at most."""
        self._done += 1
        if self._done % self._every == 0:
            self._bar.update(self._task, completed=self._done)

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """Show the numbers: the loss and, where there is one, the number judged by, validation's if there is any."""
        shown = {"loss": logs["loss"]} | {name: logs[name] for name in list(logs)[-1:]}
        self._bar.update(
            self._task, completed=self._done, description=f"epoch {trainer.epoch}/{self.epochs}", numbers=numbers(shown)
        )

    def on_train_end(self, trainer: Trainer) -> None:
        """Leave it as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def steps_bar(steps: int) -> Iterator[Callable[[], None] | None]:
    """On a terminal, a bar that fills by a step at every call of what this gives."""
    if not stderr_is_terminal():
        yield None
        return
    from rich.progress import Progress

    with Progress(console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("comparing", total=steps)
        yield lambda: bar.advance(task)


def every_tenth(count: int) -> list[int]:
    """About ten of the numbers 1 to `count`, first and last among them.

    >>> every_tenth(4), every_tenth(50)
    ([1, 2, 3, 4], [1, 6, 12, 17, 23, 28, 34, 39, 45, 50])
    """
    if count <= LINES:
        return list(range(1, count + 1))
    return [1 + round(i * (count - 1) / (LINES - 1)) for i in range(LINES)]


def cores() -> str:
    """How many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return f"{usable} core{'s' if usable > 1 else ''}"
