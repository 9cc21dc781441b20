"""`gpubp evaluate`: loss and metrics of a saved network."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from ...data.row_groups import RowGroups
from ...datasets import Dataset
from ...metrics import confusion_matrix
from ...network.network import Network, load
from ...rounding import number
from ..arguments import is_sounds, is_table
from ..baselines import guess_of, judge_model, print_judgement
from ..command import Command
from ..console import fact, note, say, table
from ..defaults import LOSSES
from ..devices import print_device
from ..evaluation import evaluate_model, summary_line, task_of
from ..files import check_folder, check_model, load_data
from ..held_rows import JudgedRows, digest_of, judged_rows
from ..json_output import about, add_fields
from ..large_data import load_arrays, memory_option
from ..options import data_folder, device
from ..pictures import Pictures, picture_options
from ..reading_options import reading_options
from ..sound_options import check_sounds, sounds_beside
from ..table_options import load_rows, stem, table_for
from ..task import Task

SHOWN = 50  # classes, in the table
WORDS = {"test": "test", "held_out": "held-out", "held_out_and_new": "held-out and new", "new": "new"}


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("data", metavar="digits|mnist|FILE|FOLDER")
@data_folder
@click.option("--target", metavar="FILE.npy", help="For X.npy, the file of y.")
@reading_options
@memory_option
@click.option("--all", "everything", is_flag=True, help="All rows, also those that MODEL was trained with.")
@click.option("--loss", type=click.Choice(list(LOSSES)), help="Default: the one that MODEL was trained with.")
@device
@picture_options
def evaluate(model: str, data: str, device: str, **options: Any) -> None:
    """Say how good MODEL, which `gpubp train` saved, is on DATA: on its test rows, or on all rows if it has none.

    Of the table that MODEL was trained on, the rows that training held out are judged, and rows that follow; --all
    judges all rows. For classes there is a table that says which are mistaken for which.

    \b
    gpubp evaluate digits.safetensors digits
    gpubp evaluate digits.safetensors digits --confusion confusion.png
    gpubp evaluate digits.safetensors digits --misclassified mistakes.png
    gpubp evaluate digits.safetensors digits --histograms histograms.png
    gpubp evaluate houses.safetensors new_houses.npz
    gpubp evaluate houses.safetensors new_houses.csv
    gpubp evaluate recordings.safetensors recordings
    gpubp evaluate X.safetensors X_new.npy --target y_new.npy
    """
    check_model(model)
    pictures = Pictures(options, [model, data])
    check_folder(data, options["folder"])
    network = load(model, device=device)
    task = task_of(network, model, options["loss"])
    pictures.check(network, task, model)
    dataset, judged = _load(data, network, task, model, options)
    X, t = dataset.X, task.targets(dataset.y, "y_test" if judged.part == "test" else "y")
    found = evaluate_model(network, task, X, t)
    print_device(network, device)
    fact("model", f"{model}, {task.describe()}")
    fact("data", f"{dataset.name}: {judged.told}")
    if judged.note:
        note(judged.note)
    classes = task.kind == "classes" or (task.kind == "labels" and task.outputs == 1)
    z = network.predict(X) if classes else None
    certain = t.ndim == 1 and (task.kind == "classes" or bool(np.isin(t, (0, 1)).all()))
    counts = confusion_matrix(t, z, max(task.outputs, 2)) if classes and certain else None
    if counts is not None and task.outputs <= SHOWN:
        _per_class(task, counts)
    add_fields(
        model=model,
        data=data,
        part=judged.part,
        rows=len(X),
        trained_rows=judged.trained,
        **about(network, task),
        metrics=found,
        confusion=counts,
    )
    say(summary_line(WORDS.get(judged.part, ""), found), "bold green")
    print_judgement(judge_model(task, t, network.predict(X) if z is None else z, guess_of(network, task, model)))
    pictures.draw(network, task, X, t, z)


def _load(data: str, network: Network, task: Task, model: str, options: dict[str, Any]) -> tuple[Dataset, JudgedRows]:
    """The rows to evaluate, as X and y of a data set, and which rows of the data they are."""
    rows, everything = task.rows, options["everything"]
    if task.sound is not None or is_sounds(data):
        check_sounds(task, model, [data])
        digest = None if rows is None else rows.digest()
        X, y, _ = sounds_beside(data, task, options["memory"], digest)
        dataset = Dataset(stem(data), X, y)
    elif task.table is not None or is_table(data):
        digest = None if rows is None else rows.digest()
        found, prepared = table_for(data, task.table, model, options)
        dataset = Dataset(stem(data), *load_rows(found, prepared, model, True, options["memory"], digest))
    else:
        if data.lower().endswith(".npy"):
            dataset = load_arrays(data, options["target"], options["memory"])
        else:
            dataset = load_data(data, options["folder"])
        if dataset.X_test is not None and dataset.y_test is not None:
            return _test_part(dataset, everything)
        held = None if rows is None or not rows.share else (rows.share, rows.seed)
        digest = None if rows is None else digest_of(dataset, rows.rows, held)
    validation = network.metadata.get("validation_rows")
    validation = validation if isinstance(validation, int) else 0
    judged = judged_rows(rows, digest, len(dataset.X), everything, validation)
    if judged.kept is None:
        return dataset, judged
    X = dataset.X.where(judged.kept) if isinstance(dataset.X, RowGroups) else dataset.X[judged.kept]
    return Dataset(dataset.name, X, dataset.y[judged.kept]), judged


def _test_part(dataset: Dataset, everything: bool) -> tuple[Dataset, JudgedRows]:
    """The test rows of a data set that has them; with `everything`, all rows."""
    X, y = dataset.X_test, dataset.y_test
    assert X is not None and y is not None
    if not everything:
        return Dataset(dataset.name, X, y), JudgedRows(None, "test", None, f"{len(X):,} test rows")
    X, y = np.concatenate([dataset.X, X]), np.concatenate([dataset.y, y])
    told = f"{len(X):,} rows, {len(dataset.X):,} to train with and the others to test with"
    return Dataset(dataset.name, X, y), JudgedRows(None, "all", None, told)


def _per_class(task: Task, counts: np.ndarray[Any, Any]) -> None:
    rows = []
    for k, line in enumerate(counts):
        if line.sum() == 0:
            continue
        wrong = line.copy()
        wrong[k] = 0
        most = int(wrong.argmax())
        mistaken = f"{task.name(most)} ({wrong[most]})" if wrong[most] else ""
        rows.append([task.name(k), f"{line.sum():,}", number(line[k] / line.sum()), mistaken])
    table(["class", "rows", "right", "most often taken for"], rows, left=["class", "most often taken for"])
