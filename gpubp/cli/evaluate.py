"""`gpubp evaluate`: how good a saved network is."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from ..errors import ModelFileError
from ..network import Network, load
from ..optimizers import SGD
from ..trainer import Trainer
from .doctor import tell_device
from .files import check_model, load_data
from .options import data_folder, device
from .recipe import LOSSES, make_loss
from .screen import fact, say, short, table
from .task import Task

__all__ = ["evaluate", "judge", "verdict"]

SHOWN = 50  # classes, in the table


@click.command(short_help="Judge a saved network on data.")
@click.argument("model", metavar="MODEL")
@click.argument("data", metavar="digits|mnist|FILE.npz")
@data_folder
@click.option("--loss", type=click.Choice(list(LOSSES)), help="Default: the one that MODEL was trained with.")
@device
def evaluate(model: str, data: str, folder: str | None, loss: str | None, device: str) -> None:
    """Say how good MODEL, which `gpubp train` saved, is on DATA: on its test rows, or on all rows if it has none.

    For classes there is a table that says which are mistaken for which.

    \b
    gpubp evaluate digits.safetensors digits
    gpubp evaluate houses.safetensors new_houses.npz
    """
    check_model(model)
    network = load(model, device=device)
    task = _task(network, model, loss)
    dataset = load_data(data, folder)
    X, y, which = dataset.X, dataset.y, "y"
    if dataset.X_test is not None and dataset.y_test is not None:
        X, y, which = dataset.X_test, dataset.y_test, "y_test"
    t = task.targets(y, which)
    report = judge(network, task, X, t)
    tell_device(network, device)
    fact("model", f"{model}, {task.describe()}")
    fact("data", f"{dataset.name}: {len(X):,} {'test rows' if which == 'y_test' else 'rows'}")
    if task.kind == "classes" and t.ndim == 1 and network.output_shape[-1] <= SHOWN:
        _per_class(task, network.predict(X).argmax(axis=-1), t)
    say(verdict("test" if which == "y_test" else "", report), "bold green")


def _task(network: Network, model: str, loss: str | None) -> Task:
    task = Task.of(network, model)
    if loss is not None:
        made = make_loss(loss)
        same = task is not None and task.kind == made.predicts
        return Task(
            made,
            network.output_shape[-1],
            task.classes if same and task else None,
            task.names if same and task else None,
        )
    if task is None:
        raise ModelFileError(f"{model} does not say what it was trained for: give --loss")
    return task


def judge(network: Network, task: Task, X: Any, t: Any) -> dict[str, float]:
    """The loss, without smoothing or penalties, and what else the task is judged by: weighted means over (X, t)."""
    plain = task.plainly()
    return Trainer(network, plain.loss, SGD(), metrics=plain.test_metrics).evaluate(X, t)


def verdict(which: str, report: dict[str, float]) -> str:
    """The numbers in a line, the one that matters first.

    >>> verdict("test", {"loss": 0.25, "accuracy": 0.975})
    'test accuracy 0.9750, loss 0.2500'
    """
    ordered = sorted(report.items(), key=lambda item: item[0] == "loss")
    told = ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in ordered)
    return f"{which} {told}".strip()


def _per_class(task: Task, answers: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> None:
    count = task.outputs
    seen = np.bincount(truth * count + answers, minlength=count * count).reshape(count, count)  # (truth, answer)
    rows = []
    for k, line in enumerate(seen):
        if line.sum() == 0:
            continue
        wrong = line.copy()
        wrong[k] = 0
        most = int(wrong.argmax())
        mistaken = f"{task.name(most)} ({wrong[most]})" if wrong[most] else ""
        rows.append([task.name(k), f"{line.sum():,}", short(line[k] / line.sum()), mistaken])
    table(["class", "rows", "right", "most often taken for"], rows, left=["class", "most often taken for"])
