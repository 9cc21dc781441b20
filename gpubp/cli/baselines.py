"""The guess beside a result: what is printed, put into JSON and kept in the model file about it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model_file import described
from ..network.network import Network
from ..report.judgement import FIELDS, Guess, Judgement, judge
from .console import fact, note
from .json_output import add_fields
from .task import Task
from .train_job import TrainJob

METADATA = "guess"  # where a network's metadata has it
LOOKED_AT = 10_000  # rows trained with, where there are no others to judge by


def keep_guess(network: Network, task: Task, t: np.ndarray[Any, Any]) -> None:
    """Put what the targets t of the rows trained with say without their inputs into the metadata of the network."""
    network.metadata[METADATA] = Guess.of(task.kind, t, task.outputs).config()


def guess_of(network: Network, task: Task, path: str) -> Guess | None:
    """The guess in a model file; None in older files, and for another kind of task. Raises ModelFileError if wrong."""
    told = network.metadata.get(METADATA)
    if told is None or network.metadata.get("task") != task.kind:
        return None
    with described(path):
        return Guess.from_config(told, task.kind, task.outputs)


def judge_model(
    network: Network, task: Task, X: Any, t: np.ndarray[Any, Any], guess: Guess | None, z: Any = None
) -> Judgement | None:
    """Judge a network by the rows (X, t), in the units of y. z: its outputs, if they are known."""
    names = task.output_names if task.kind != "numbers" else []
    return judge(task.kind, t, network.predict(X) if z is None else z, names, guess, task.unit)


def print_judgement(found: Judgement | None, rows: str = "", weighted: bool = False) -> None:
    """Print the guess, where the result is not better, and rare classes that are never found; and add fields.

    rows: what the rows are called, if no line above says so. weighted: whether classes had weights in the training.
    """
    add_fields(**(fields(found)))
    if found is None:
        return
    of = f", on the {rows} rows" if rows else ""
    for name, told in found.told().items():
        fact(name, f"{told}{of}")
    if found.line:
        note(found.line)
    if found.missed and not found.one_class:
        advice = "" if weighted else " --class-weight balanced trains a network that gives it as much weight as others."
        note(f"{found.missed}{advice}")


def fields(found: Judgement | None) -> dict[str, Any]:
    """The fields of a JSON document that `Judgement.fields` gives; null where nothing was judged.

    >>> fields(None)["guess"] is None
    True
    """
    return dict.fromkeys(FIELDS) if found is None else found.fields()


def judge_training(job: TrainJob) -> None:
    """Judge by the test rows, else by those to validate with, else by cross-validation or the rows trained with."""
    which, X, t, z = job.judges()
    if which == "training":
        some = np.unique(np.linspace(0, len(t) - 1, min(len(t), LOOKED_AT)).astype(np.int64))
        X, t = X[some], t[some]
    network = job.trainer.network
    found = judge_model(network, job.task, X, t, guess_of(network, job.task, job.out), z)
    add_fields(judged_by=which)
    print_judgement(found, "" if which == "test" else which, job.class_weight is not None)
