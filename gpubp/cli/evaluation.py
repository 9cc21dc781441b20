"""Evaluation of a model by the commands: loss and metrics, and the line that prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..network.network import Network
from ..optimizers import SGD
from ..report.words import LossNote, loss_note
from ..rounding import metric
from ..training.trainer import Trainer
from .task import Task
from .train_job import TrainJob


def evaluate_model(network: Network, task: Task, X: Any, t: Any) -> dict[str, float]:
    """The loss, without smoothing or penalties, and the task's metrics, as weighted means over the rows (X, t)."""
    plain = task.without_smoothing()
    found = Trainer(network, plain.loss, SGD(), metrics=plain.test_metrics).evaluate(X, t)
    if task.kind == "numbers" and task.outputs == 1 and len(t) > 1 and t.var() > 0:
        variance = task.unit**2 * float(np.var(t, dtype=np.float64))
        found = {"R²": 1 - found["mean_squared_error"] / variance} | found
    return found


def added_to_loss(job: TrainJob) -> list[str]:
    """What the losses by epoch include and the loss of `evaluate_model` does not."""
    smoothed = job.task.without_smoothing().loss != job.task.loss
    return [*(["label smoothing"] if smoothed else []), *(["the l2 penalty"] if job.trainer.settings["l2"] else [])]


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
