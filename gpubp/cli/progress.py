"""Progress on the error stream: a bar on a terminal, and elsewhere a plain line for some epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from ..backends.process import renew_in_children
from ..training.callbacks import Callback, RunningTrainer
from ..training.progress_bar import ProgressBar
from .console import LINES, console, line, numbers, on_terminal
from .process import raise_on_interrupt

PATIENCE = 10.0  # seconds without a line, where there is no terminal


def progress(epochs: int, steps: int) -> Callback:
    """The callback that shows the progress of a training run."""
    return Bar(epochs, steps) if on_terminal() else Lines(epochs)


class Lines(Callback):
    """Prints a plain line for every tenth of the epochs and for the last: for files and pipes."""

    one_process = True

    def __init__(self, epochs: int) -> None:
        self.epochs, self._every = epochs, max(1, -(-epochs // LINES))

    def on_epoch_end(self, trainer: RunningTrainer, logs: dict[str, float]) -> None:
        """Print the line of an epoch."""
        if trainer.epoch % self._every == 0 or trainer.epoch in (1, self.epochs):
            line(f"epoch {trainer.epoch}/{self.epochs}  {numbers(logs)}", err=True)


class Bar(ProgressBar):
    """The library's bar in the style of the command line: it fits 80 columns, and says which epoch is under way."""

    def on_train_begin(self, trainer: RunningTrainer) -> None:
        """Draw the bar, empty, or filled as far as a resumed training is."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        renew_in_children(self)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console(stderr=True),
        )
        self._done = trainer.history.epochs * self.steps + trainer.step_in_epoch
        done = f"epoch {trainer.history.epochs}/{self.epochs}"
        self._task = self._bar.add_task(done, total=self.epochs * self.steps, completed=self._done, numbers="")
        self._bar.start()

    def on_epoch_end(self, trainer: RunningTrainer, logs: dict[str, float]) -> None:
        """Show the loss and the last number of the epoch, which is a metric of the validation rows if there are any."""
        if self._bar is None:  # in a forked process
            return
        shown = {"loss": logs["loss"]} | {name: logs[name] for name in list(logs)[-1:]}
        self._bar.update(
            self._task, completed=self._done, description=f"epoch {trainer.epoch}/{self.epochs}", numbers=numbers(shown)
        )


@contextmanager
def steps_bar(steps: int, text: str) -> Iterator[Callable[[], None] | None]:
    """A function that fills a bar, with `text` beside it, by one step; None where there is no terminal."""
    if not on_terminal():
        yield None
        return
    from rich.progress import Progress

    raise_on_interrupt()
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=steps)
        yield lambda: bar.advance(task)


@contextmanager
def rows_shown(rows: int, text: str) -> Iterator[Callable[[int], None]]:
    """A function that is told how many of `rows` are done, and shows it with `text` beside it: by a bar on a terminal,
    and elsewhere by a plain line every ten seconds, so that short work prints none."""
    if not on_terminal():
        last = monotonic()

        def tell(done: int) -> None:
            nonlocal last
            if monotonic() - last >= PATIENCE and done < rows:
                line(f"{text}: {done:,} of {rows:,} rows", err=True)
                last = monotonic()

        yield tell
        return
    from rich.progress import Progress

    raise_on_interrupt()
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=rows)
        yield lambda done: bar.update(task, completed=done)
