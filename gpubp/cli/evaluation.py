"""Evaluation of a model by the commands: loss and metrics, and the line that prints them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..network.network import Network
from ..optimizers import SGD
from ..training.trainer import Trainer
from .console import short
from .task import Task


def evaluate_model(network: Network, task: Task, X: Any, t: Any) -> dict[str, float]:
    """The loss, without smoothing or penalties, and the task's metrics, as weighted means over the rows (X, t)."""
    plain = task.without_smoothing()
    found = Trainer(network, plain.loss, SGD(), metrics=plain.test_metrics).evaluate(X, t)
    if task.table is not None and task.kind == "numbers" and len(t) > 1 and t.var() > 0:
        unit = task.table.target.scale**2
        found = {"R²": 1 - found["mean_squared_error"] / (unit * float(np.var(t, dtype=np.float64)))} | found
    return found


def summary_line(which: str, found: dict[str, float]) -> str:
    """The numbers in one line, the loss last.

    >>> summary_line("test", {"loss": 0.25, "accuracy": 0.975})
    'test accuracy 0.9750, loss 0.2500'
    """
    ordered = sorted(found.items(), key=lambda item: item[0] == "loss")
    told = ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in ordered)
    return f"{which} {told}".strip()
