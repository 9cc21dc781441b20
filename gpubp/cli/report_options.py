"""`--report`: an HTML page about the training run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..analysis.diagnostics import GradientFlow
from ..report import require_report, write_report
from ..tables import TableTarget
from ..tables.dates import DurationFormat
from ..training.callbacks import Callback
from ..training.trainer import Trainer
from .baselines import guess_of
from .console import fact
from .evaluation import evaluate_model, note_of, summary_line
from .files import check_output
from .run_folder import arguments_of
from .task import Task
from .train_job import TrainJob

SAMPLES = 8  # steps of an epoch whose gradients are looked at


report_option = click.option(
    "--report", metavar="REPORT.html", help="Write a page about the training: curves, mistakes, gradients, data."
)


class Reporting:
    """Checks `--report` before the training, collects gradients during it, and writes the page after it.

    path: of the page, or None for no report. Raises UsageError where it could not be written, MissingDependencyError
    without what draws it.

    >>> Reporting(None, ()).callbacks
    []
    """

    def __init__(self, path: str | None, not_over: Sequence[str | None]) -> None:
        self.path = path
        self.callbacks: list[Callback] = []
        if path is None:
            return
        check_output(path, "--report", (".html", ".htm"), not_over=not_over)
        require_report()
        self._flow = GradientFlow(samples=SAMPLES)
        self.callbacks.append(self._flow)

    def begin(self, trainer: Trainer) -> None:
        """Note the number of steps before the training, or before it is resumed."""
        self._steps = trainer.step_count

    def write(self, job: TrainJob, seconds: float, evaluation: dict[str, float] | None) -> None:
        """Write the page about the test rows, else about those to validate with, else about those trained with.

        evaluation: of the test rows, None where there are none.
        """
        if self.path is None:
            return
        task, trainer = job.task, job.trainer
        data = job.parts()
        which = list(data)[-1]
        if evaluation is None:
            evaluation = evaluate_model(trainer.network, task, *data[which])
        write_report(
            self.path,
            trainer,
            *data[which],
            rows=f"{which} rows",
            evaluation=evaluation,
            data=data,
            **_words(task),
            flow=self._flow,
            seconds=seconds,
            steps=trainer.step_count - self._steps,
            title=f"{job.dataset.name}: {task.describe()}",
            command=job.command,
            loss_note=note_of(job),
            notes=_notes(job),
            look_up=job.look_up(which),
