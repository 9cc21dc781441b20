"""`--report`: an HTML page about the training run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..analysis.diagnostics import GradientFlow
from ..data.row_groups import RowGroups
from ..network.network import Network
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
from .word_effects import Telling, telling_words

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
            guess=guess_of(trainer.network, task, job.out),
            telling=_telling(trainer.network, task, data[which][0]),
        )
        fact("report", self.path)


def _telling(network: Network, task: Task, X: Any) -> list[Telling]:
    """The most telling words of a table with texts."""
    texts = task.table is not None and bool(task.table.texts)
    return telling_words(network, task, X) if texts and not isinstance(X, RowGroups) else []


def _notes(job: TrainJob) -> list[str]:
    """Sentences about the run that stand on the page."""
    what = "Of the columns, " if job.task.table is not None else "Of the inputs, "  # names stay as they are
    notes = [f"{what}{column.told()}." for column in job.deciding]
    if job.members is not None:
        notes.append(f"The curves are the {job.members.words}, and the gradients those of the first.")
    if job.cross_validation is not None:
        told = summary_line(job.cross_validation.words, job.cross_validation.metrics)
        notes.append(f"{told[0].upper()}{told[1:]}.")
    return notes


def _words(task: Task) -> dict[str, Any]:
    """Names of classes and features, descriptions of columns, and units: keywords of `write_report`."""
    if task.table is None:
        if task.kind == "numbers":
            return {}
        words: dict[str, Any] = {"class_names": task.output_names}
        return words if task.sound is None else words | {"image_shape": (1, 1, 1)}  # no pictures, if a square number
    target = task.table.target
    heads = ("column", "taken for", "numbers", "what is known")
    columns = [(c.name, c.kind, c.width, c.describe()) for c in task.table.columns]
    columns += [(c.name, "left out", 0, c.why) for c in task.table.left_out]
    return {
        "class_names": target.classes or [_with_unit(target)],
        "feature_names": task.table.outputs,
        "columns": [dict(zip(heads, column, strict=True)) for column in columns],
        "units": (target.mean, target.scale),
    }


def _with_unit(target: TableTarget) -> str:
    """The name of numbers with their unit, as "price ($)"."""
    unit = "seconds" if isinstance(target.written, DurationFormat) else getattr(target.written, "unit", "")
    return f"{target.name} ({unit})" if unit else target.name


def command_of(ctx: click.Context) -> str:
    """The command that repeats a training: the options that were typed, or stood in a file of settings.

    Rows that were read from disk have an order that depends on --memory, so that the command has it then.

    >>> options = [click.Option(["--n"], type=int, default=1), click.Option(["--device"])]
    >>> command = click.Command("train", params=options)
    >>> command_of(command.make_context("gpubp train", ["--n", "3"]))
    'gpubp train --n=3'
    """
    usual = (ParameterSource.DEFAULT, None)
    values = {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in usual}
    values["memory"] = ctx.params.get("memory")
    return shlex.join([*ctx.command_path.split(), *arguments_of(ctx.command, values, ())])
