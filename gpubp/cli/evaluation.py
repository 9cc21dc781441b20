"""Evaluation of a model by the commands: loss and metrics, and the line that prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from ..errors import ModelFileError
from ..network.network import Network
from ..optimizers import SGD
from ..report.words import LossNote, loss_note
from ..rounding import metric
from ..training.trainer import Trainer
from .defaults import make_loss
from .task import Task
from .train_job import TrainJob


def task_of(network: Network, model: str, loss: str | None) -> Task:
    """The task of the model in the file `model`, with the loss that --loss names if it is given.

    Raises ModelFileError where nothing says what the loss is, UsageError for one that does not suit the outputs.
    """
    task = Task.of(network, model)
    if loss is not None:
        if task is not None and task.table is not None:
            other = replace(Task.of_table(task.table, loss, data=task.data), rows=task.rows)
            if other.outputs != task.outputs:
                raise click.UsageError(f"--loss {loss} needs {other.outputs} outputs, and {model} has {task.outputs}")
            return other
        made = make_loss(loss)
        known = (task.classes, task.names) if task is not None and task.kind == made.predicts else (None, None)
        if task is not None and task.sound is not None and task.kind != made.predicts:
            raise click.UsageError(f"--loss {loss} is for {made.predicts}, and {model} has {task.describe()}")
        of = (None, None) if task is None else (task.rows, task.sound)
        return Task(made, network.output_shape[-1], *known, rows=of[0], sound=of[1])
    if task is None:
        raise ModelFileError(f"{model} does not say what it was trained for: give --loss")
    return task


def evaluate_model(network: Network, task: Task, X: Any, t: Any) -> dict[str, float]:
    """The loss, without smoothing or penalties, and the task's metrics, as weighted means over the rows (X, t)."""
    plain = task.without_smoothing()
    found = Trainer(network, plain.loss, SGD(), metrics=plain.test_metrics, communicator=None).evaluate(X, t)
    if task.kind == "numbers" and task.outputs == 1 and len(t) > 1 and t.var() > 0:
        variance = task.unit**2 * float(np.var(t, dtype=np.float64))
        found = {"R²": 1 - found["mean_squared_error"] / variance} | found
    return found


def added_to_loss(job: TrainJob) -> list[str]:
    """What the losses by epoch include and the loss of `evaluate_model` does not."""
    smoothed = job.task.without_smoothing().loss != job.task.loss
    penalties = [f"the {name} penalty" for name in ("l2", "l1") if job.trainer.settings[name]]
    return [*(["label smoothing"] if smoothed else []), *penalties]


def note_of(job: TrainJob) -> LossNote:
    """The note beside the numbers by epoch."""
    table = job.task.table
    scaled = table.target.name if table is not None and job.task.kind == "numbers" else ""
    return loss_note(added_to_loss(job), job.class_weight is not None, scaled)


def summary_line(which: str, found: dict[str, float], without: Sequence[str] = ()) -> str:
    """The numbers in one line, the loss last. without: what the losses by epoch include, and this one does not.

    >>> summary_line("test", {"loss": 0.25, "accuracy": 0.975})
    'test accuracy 0.9750, loss 0.2500'
    """
    ordered = sorted(found.items(), key=lambda item: item[0] == "loss")
    told = ", ".join(f"{name.replace('_', ' ')} {metric(name, value)}" for name, value in ordered)
    return f"{which} {told}{' (without ' + ' and '.join(without) + ')' if without else ''}".strip()
