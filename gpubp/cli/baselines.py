"""The guess beside a result: what is printed, put into JSON and kept in the model file about it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..losses import usual_outputs
from ..losses.base import targets_of
from ..model_file import described
from ..network.network import Network
from ..report.judgement import FIELDS, Guess, Judgement, judge
from .console import fact, note
from .json_output import add_fields
from .task import Task
from .train_job import Judging, TrainJob

METADATA = "guess"  # where a network's metadata has it


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


def judge_model(task: Task, t: np.ndarray[Any, Any], z: np.ndarray[Any, Any], guess: Guess | None) -> Judgement | None:
    """Judge the outputs z of a network for the targets t, in the units of y."""
    z = np.asarray(z)
    t = targets_of(task.loss, np.asarray(t), z.shape)
    return judge(
        task.kind, t, usual_outputs(task.loss, z), task.output_names if task.kind != "numbers" else [], guess, task.unit
    )


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


def judge_training(job: TrainJob, rows: Judging) -> None:
    """Print the judgement of a training by some rows, and add fields."""
    guess = guess_of(job.trainer.network, job.task, job.out)
    add_fields(judged_by=rows.which)
    found = judge_model(job.task, rows.y, rows.z, guess)
    print_judgement(found, "" if rows.which == "test" else rows.which, job.class_weight is not None)
