"""ProgressBar: a callback that shows how far training is."""

from __future__ import annotations

import sys
from typing import Any

from ..backends.process import renew_in_children
from ..config import CountOrZero, argument
from ..errors import MissingDependencyError
from .callbacks import Callback


class ProgressBar(Callback):
    """A progress bar over the steps of all epochs, with the last epoch's numbers, on the error stream.

    epochs, steps: how many, and steps in each. Drawn by rich (`pip install 'gpubp[cli]'`); without it, a line an epoch.

    >>> ProgressBar(epochs=3, steps=100).looks_at_steps
    True
    """

    every_step = False
    of_fit = {"_bar": None, "_task": None}
    one_process = True

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs = argument("ProgressBar", "epochs", CountOrZero, epochs)
        self.steps = argument("ProgressBar", "steps", CountOrZero, steps)
        self._bar: Any = None
        self._task: Any = None
        self._done = self._drawn = 0
        self._every = max(1, self.steps // 50)

    def on_train_begin(self, trainer: Any) -> None:
        """Draw the bar, filled as far as a resumed training is."""
        self._done = trainer.history.epochs * self.steps + trainer.step_in_epoch
        renew_in_children(self)
        try:
            self._bar = _rich_bar()
        except MissingDependencyError:
            return
        self._bar.start()
        self._task = self._bar.add_task("training", total=self.epochs * self.steps, completed=self._done, numbers="")

    def after_fork(self) -> None:
        """Leave the bar to the parent, in a forked process: a thread of the parent's draws it."""
        self._bar = None

    def on_step_end(self, trainer: Any) -> None:
        """Update the bar, at most fifty times an epoch."""
        self._done = trainer.history.epochs * self.steps + trainer.step_in_epoch
        if self._bar is not None and self._done - self._drawn >= self._every:
            self._bar.update(self._task, completed=self._done)
            self._drawn = self._done

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Show the numbers of the epoch."""
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, numbers=numbers)
        else:
            print(f"epoch {trainer.epoch}: {numbers}", file=sys.stderr)

    def on_train_end(self, trainer: Any) -> None:
        """Stop drawing."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def stderr_is_terminal() -> bool:
    """Whether the error stream is a terminal.

    >>> stderr_is_terminal() in (True, False)
    True
    """
    return bool(sys.stderr is not None and sys.stderr.isatty())


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        raise MissingDependencyError("a progress bar needs rich: pip install 'gpubp[cli]'") from None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
    )
