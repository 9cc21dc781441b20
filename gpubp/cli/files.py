"""Files that the commands read and write, checked before the work, and written completely or not at all."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np

from ..datasets import Dataset, load, read_npz
from ..errors import DataError, ModelFileError
from ..tables import is_table
from .arguments import NAMED, PICTURES
from .console import fact
from .process import raise_on_interrupt
from .task import Answers, Task


def load_data(what: str, folder: str | None) -> Dataset:
    """Load the data set called `what`. Raises DataError for NaN, missing files and the like."""
    check_folder(what, folder)
    if is_table(what):
        raise DataError(f"{what} is a table, and this command takes none")
    if what not in NAMED and not Path(what).is_file():
        raise DataError(f"{_missing(what)}; give digits, mnist or the path of an .npz file, or of a table")
    return load(what, folder)


def check_folder(what: str, folder: str | None) -> None:
    """Raise UsageError if --data is given with data other than mnist."""
    if folder is not None and what != "mnist":
        raise click.UsageError(f"--data says where MNIST lies, and the data set is {what}")


def rows_to_predict(what: str, folder: str | None) -> np.ndarray[Any, Any]:
    """X of an .npz file, or the test rows of digits or mnist."""
    if what in NAMED:
        X = load_data(what, folder).X_test
        assert X is not None
        return X
    if not Path(what).is_file():
        raise DataError(f"{_missing(what)}; give an .npz file with X in it, or an .npy file")
    return read_npz(what, required=("X",))["X"]


def check_model(path: str) -> None:
    """Raise ModelFileError if a data file is given in place of the model."""
    if not path.endswith(".safetensors") and (is_table(path) or Path(path).suffix in (".npz", ".npy")):
        raise ModelFileError(f"{path} is data; first comes the model, as gpubp train saved it, and then the data")


def check_output(
    path: str | None, option: str, endings: Sequence[str] = (), not_over: Sequence[str | None] = ()
) -> None:
    """Raise UsageError, before any work, for a file that could not be written after it.

    endings: how the name may end. not_over: files that are read, or written otherwise, in the same run.
    """
    if path is None:
        return
    target = Path(path)
    if target.is_dir() or path.endswith(("/", os.sep)):
        raise click.UsageError(f"{option} {path} is a folder; name a file in it")
    if endings and target.suffix.lower() not in endings:
        raise click.UsageError(f"{option} {path}: the name must end in {' or '.join(endings)}")
    if not target.parent.is_dir():
        raise click.UsageError(f"{option} {path}: there is no folder {target.parent}; make it first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):  # what permissions say is not all: full, read-only, network
            pass
    except OSError as problem:
        raise click.UsageError(
            f"{option} {path}: {target.parent} can't be written to ({problem.strerror})"
        ) from problem
    for other in not_over:
        if other is not None and target.resolve() == Path(other).resolve():
            raise click.UsageError(f"{option} {path} would write over {other}, which this command needs as well")


def check_picture(path: str | None, option: str, not_over: Sequence[str | None]) -> None:
    """The same for a picture. Raises MissingDependencyError without matplotlib."""
    check_output(path, option, PICTURES, not_over)
    if path is not None:
        from ..analysis.plots import require_matplotlib

        require_matplotlib()


@contextmanager
def replacing(path: str) -> Iterator[Path]:
    """A temporary file beside `path` to write; it replaces `path` at the end, or is removed after an error."""
    raise_on_interrupt()
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def draw(name: str, path: str, plot: Callable[[Path], Any]) -> None:
    """Draw into a file that replaces `path` when it is complete, and print `name` and the path."""
    with replacing(path) as file:
        plot(file)
    fact(name, path)


def write_predictions(path: str, task: Task, answers: Answers) -> None:
    """Write answers as .csv (a line a row), .npy (the predictions) or .npz (`prediction` and `probability`).

    "-" is CSV on the output stream.
    """
    if path == "-":
        _write_csv(sys.stdout, task, answers)
        return
    with replacing(path) as file:
        if file.suffix.lower() == ".csv":
            with open(file, "w", newline="", encoding="utf-8") as target:
                _write_csv(target, task, answers)
        elif file.suffix.lower() == ".npy":
            np.save(file, answers.prediction)
        else:
            arrays = {"prediction": answers.prediction}
            if task.table is not None and task.classes is not None:
                arrays["classes"] = np.asarray(task.table.target.classes)  # in the order of the probabilities
            if answers.probability is not None:
                arrays["probability"] = answers.probability
            np.savez(file, **arrays)  # type: ignore[arg-type]


def columns(task: Task, answers: Answers) -> dict[str, list[str]]:
    """The columns of a table of answers: the class and its probability, labels with theirs, or numbers."""
    prediction, p = answers.prediction, answers.probability
    if p is not None and (task.kind == "classes" or task.table is not None):
        best = p.argmax(axis=-1)
        return {
            "prediction": [task.name(k) for k in best.tolist()],
            "probability": [f"{value:.4f}" for value in p.max(axis=-1).tolist()],
        }
    many = prediction.reshape(len(prediction), -1)
    ends = [""] if many.shape[1] == 1 else [f"_{k}" for k in range(many.shape[1])]
    shown = {f"prediction{end}": [f"{v:.9g}" for v in many[:, k].tolist()] for k, end in enumerate(ends)}
    if p is not None:
        shown |= {f"probability{end}": [f"{v:.4f}" for v in p[:, k].tolist()] for k, end in enumerate(ends)}
    return shown


def _write_csv(target: TextIO, task: Task, answers: Answers) -> None:
    shown = columns(task, answers)
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(shown)
    writer.writerows(zip(*shown.values(), strict=True))


def _missing(what: str) -> str:
    if Path(what).is_dir() and what:
        return f"{what} is a folder"
    return f"there is no {'file' if Path(what).suffix or os.sep in what else 'data set or file'} {what or repr(what)}"
