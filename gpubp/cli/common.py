"""What several commands share: tasks, losses by name, files to write, the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..datasets import Dataset, load
from ..errors import DataError
from ..losses import (
    BinaryCrossEntropy,
    HalfMeanSquaredError,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)

LOSSES: dict[str, type[Loss]] = {
    "softmax": SoftmaxCrossEntropy,
    "binary": BinaryCrossEntropy,
    "mse": MeanSquaredError,
    "half-mse": HalfMeanSquaredError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
}


def console(stderr: bool = False) -> Any:
    """A rich console; it leaves colours out where output is no terminal, or NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def load_data(what: str, folder: str | None) -> Dataset:
    """The data set; a path that is none is said to be so."""
    if what not in ("digits", "mnist") and not Path(what).is_file():
        raise click.UsageError(f"there is no file {what}; DATA is digits, mnist, or the path of an .npz file")
    return load(what, folder)


def choose_loss(name: str | None, y: np.ndarray[Any, Any]) -> Loss:
    """The loss by its name, or by the targets: whole numbers of one column are classes, all else is numbers."""
    if name is not None:
        return LOSSES[name]()
    return SoftmaxCrossEntropy() if y.ndim == 1 and y.dtype.kind in "iub" else MeanSquaredError()


def outputs_for(loss: Loss, y: np.ndarray[Any, Any]) -> int:
    """How many outputs a network for these targets needs."""
    if loss.predicts != "classes":
        return 1 if y.ndim == 1 else int(y.shape[1])
    if y.ndim > 1:
        return int(y.shape[1])
    if y.dtype.kind not in "iub":
        raise DataError(f"--loss softmax needs classes, whole numbers from 0 in y, and y holds {y.dtype}")
    if y.min() < 0:
        raise DataError(f"y holds the class {y.min()}; classes are numbered from 0")
    return max(2, int(y.max()) + 1)


def check_writable(path: str | None, option: str, endings: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, a file that could not be written after it."""
    if path is None:
        return
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise click.UsageError(f"{option} {path} is a folder; name a file")
    if not folder.is_dir():
        raise click.UsageError(f"{option} {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise click.UsageError(f"{option} {path} can't be written: no permission")
    if endings and target.suffix.lower() not in endings:
        raise click.UsageError(f"{option} {path}: the name must end in {' or '.join(endings)}")
