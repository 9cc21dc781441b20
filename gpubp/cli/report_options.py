"""`--report`: a page about the training that was."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np

from ..analysis.diagnostics import GradientFlow
from ..data.checks import split
from ..data.row_groups import RowGroups
from ..datasets import Dataset
from ..report import Part, require_report, write_report
from ..training.callbacks import Callback
from ..training.trainer import Trainer
from .commands.evaluate import judge
from .console import fact
from .defaults import Pace
from .files import check_output
from .run_folder import spelled
from .task import Task

__all__ = ["Reporting", "report_option"]

SAMPLES = 8  # steps of an epoch whose gradients are looked at
Array = np.ndarray[Any, Any]


def report_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --report."""
    return click.option(
        "--report", metavar="REPORT.html", help="Write a page about the training: curves, mistakes, gradients, data."
    )(command)


class Reporting:
    """What `--report` asks for, from before the training to after it.

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
        """Training begins, or goes on."""
        self._steps = trainer.step_count

    def write(
        self,
        ctx: click.Context,
        dataset: Dataset,
        task: Task,
        trainer: Trainer,
        pace: Pace,
        y: Array,
        seconds: float,
        evaluation: dict[str, float] | None,
    ) -> None:
        """Write the page, judged by the test rows, else by those to validate with, else by those trained with.

        y: targets of all rows. evaluation: of the test rows, as `judge` gave it.
        """
        if self.path is None:
            return
        data = _parts(dataset, y, pace.validation, trainer.seed)
        if dataset.X_test is not None and dataset.y_test is not None:
            data["test"] = (dataset.X_test, task.targets(dataset.y_test, "y_test"))
        which = list(data)[-1]
        if evaluation is None:
            evaluation = judge(trainer.network, task, *data[which])
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
            title=f"{dataset.name}: {task.describe()}",
            command=command_of(ctx, trainer.network.device),
            notes=_of_losses(task, trainer, which),
        )
        fact("report", self.path)


def _parts(dataset: Dataset, y: Array, share: float, seed: int) -> dict[str, tuple[Any, Array]]:
    """The rows trained with, and those that `Trainer.fit` held out to validate with."""
    X = dataset.X
    if not share:
        return {"training": (X, y)}
    if isinstance(X, RowGroups):
        rows, others, held = X.split(share, seed)
        return {"training": (rows, y[~held]), "validation": (others, y[held])}
    training, validation = split(len(X), share, seed)
    return {"training": (Part(X, training), y[training]), "validation": (X[validation], y[validation])}


def _words(task: Task) -> dict[str, Any]:
    """What to call classes and features, what is known of columns, and the units of numbers."""
    if task.table is None:
        if task.kind == "numbers":
            return {}
        return {"class_names": [task.name(k) for k in range(max(task.outputs, 2 if task.kind == "labels" else 1))]}
    target = task.table.target
    heads = ("column", "taken for", "numbers", "what is known")
    columns = [(c.name, c.kind, c.width, c.describe()) for c in task.table.columns]
    columns += [(c.name, "left out", 0, c.why) for c in task.table.left_out]
    return {
        "class_names": target.classes or [target.name],
        "feature_names": task.table.outputs,
        "columns": [dict(zip(heads, column, strict=True)) for column in columns],
        "units": (target.mean, target.scale),
    }


def _of_losses(task: Task, trainer: Trainer, which: str) -> list[str]:
    """Why the loss of the curves is not the one the network is judged by."""
    added = ["label smoothing"] if task.plainly().loss != task.loss else []
    added += ["the penalty l2"] if trainer.settings["l2"] else []
    return (
        [f"The loss of the curves has {' and '.join(added)} in it, that of the {which} rows has not."] if added else []
    )


def command_of(ctx: click.Context, device: str) -> str:
    """The command that repeats a training: every option whose value is not the default, and the device it took.

    >>> options = [click.Option(["--n"], type=int, default=1), click.Option(["--device"])]
    >>> command = click.Command("train", params=options)
    >>> command_of(command.make_context("gpubp train", ["--n", "3"]), "cpu")
    'gpubp train --n=3 --device=cpu'
    """
    usual = {str(p.name): p.get_default(ctx) for p in ctx.command.params}
    values = {name: value for name, value in ctx.params.items() if value != usual.get(name)} | {"device": device}
    return shlex.join([*ctx.command_path.split(), *spelled(ctx.command, values, ())])
