"""Folders of sounds on the command line: options, loading, and what is printed about files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..data.row_groups import RowGroups
from ..datasets import Dataset
from ..datasets.sounds import (
    SHORTEST,
    find_sounds,
    read_headers,
    readable,
    usual_rate,
    usual_samples,
    wav_files,
)
from ..endings import SOUNDS, ending
from ..errors import DataError, ModelFileError
from ..layers.spectrogram import FRAME
from ..tables import held_out
from .arguments import is_sounds
from .console import note
from .defaults import LOSSES, SOUND_MODELS
from .file_rows import FileDataset
from .held_rows import RowDigest, TrainedRows
from .options import Number, several
from .sound_form import SoundForm, SoundRows, lengths_told
from .task import Task

NOT_OF_SOUNDS = ("target", "categorical", "numeric", "drop", "encoding", "no_header")
OF_SOUNDS = ("rate", "seconds")

sound_options = several(
    click.option(
        "--rate",
        type=click.IntRange(1000, 1_000_000),
        metavar="N",
        help="Samples a second, to which others are resampled.  [default: of most files, at most 16000]",
    ),
    click.option(
        "--seconds",
        type=Number(open=True),
        metavar="LENGTH",
        help="Cut longer sounds, fill up shorter ones.  [default: of the longest, or of 98%; 0.13 to 10]",
    ),
)


def load_sounds(path: str, options: Mapping[str, Any], refused: Sequence[str]) -> tuple[Dataset, Task]:
    """Read the sounds of a folder, by the options "rate", "seconds", "test", "test_fraction", "memory", "loss",
    "label_smoothing" and "seed". refused: the names of options that go with a table alone."""
    for name in (*NOT_OF_SOUNDS, *refused):
        if options.get(name):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with a table, and {path} is a folder of sounds")
    if options["model"] not in (None, *SOUND_MODELS):
        raise click.UsageError(f"--model {options['model']} reads texts, and {path} is a folder of sounds")
    loss, share, test = options["loss"], options["test_fraction"], options["test"]
    if loss is not None and LOSSES[loss].predicts != "classes":
        raise click.UsageError(f"--loss {loss} is for {LOSSES[loss].predicts}, and the folders of {path} are classes")
    if share and test:
        raise click.UsageError("--test and --test-fraction both say what to test on; leave one out")
    found = find_sounds(path)
    rate = options["rate"] or usual_rate(found.headers)
    seconds = options["seconds"]
    form = SoundForm(rate, usual_samples(found.headers, rate) if seconds is None else max(1, round(seconds * rate)))
    if seconds is not None and form.samples < 4 * FRAME * rate:
        raise click.UsageError(
            f"--seconds {seconds:g} is too short for a spectrogram, whose windows are of {FRAME} s; "
            f"give {SHORTEST} or more"
        )
    lengths = tuple(header.seconds for header in found.headers)
    for told in (*found.left_out, *lengths_told(lengths, [header.rate for header in found.headers], form)):
        note(told)
    held = (share, options["seed"]) if share else None
    digest = RowDigest(held=held)
    X, y = form.rows(found.files, options.get("memory"), found.y, digest), found.y
    name = Path(path).resolve().name
    sources = {"X": SoundRows(found.files, lengths)}
    X_test: Any = None
    y_test = None
    if held is not None:
        part = held_out(0, len(y), *held)
        if not 0 < part.sum() < len(part):
            raise DataError(f"--test-fraction {share} of {len(part)} sounds leaves nothing on one side")
        rows = X.where if isinstance(X, RowGroups) else X.__getitem__
        whole = sources["X"]
        sources = {"X": whole.some(~part), "X_test": whole.some(part)}
        X, X_test, y, y_test = rows(~part), rows(part), y[~part], y[part]
    dataset = Dataset(name, X, y, names=found.names)
    task = Task.infer(dataset, loss, options["label_smoothing"])
    task = replace(task, sound=form, rows=TrainedRows.of(digest))
    if test:
        X_test, y_test, sources["X_test"] = sounds_beside(test, task, options.get("memory"))
    return FileDataset(name, X, y, X_test, y_test, found.names, sources=sources), task


def sounds_beside(path: str, task: Task, memory: int | None, digest: RowDigest | None = None) -> tuple[Any, Any, Any]:
    """(X, y, where they stand) of another folder of sounds, with classes that the network knows."""
    assert task.sound is not None and task.names is not None
    if not is_sounds(path):
        raise DataError(f"{path} is no folder of sounds; give one that has a folder of .wav files for each class")
    found = find_sounds(path, least=1)
    strange = [name for name in found.names if name not in task.names]
    if strange:
        known = ", ".join(task.names[:8]) + (", ..." if len(task.names) > 8 else "")
        raise DataError(f"{path} has the class {strange[0]}, and the network knows {known}")
    y = np.array([task.names.index(name) for name in found.names])[found.y]
    for told in found.left_out:
        note(told)
    lengths = tuple(header.seconds for header in found.headers)
    return task.sound.rows(found.files, memory, y, digest), y, SoundRows(found.files, lengths)


def check_sounds(task: Task, model: str, paths: Sequence[str]) -> None:
    """Raise ModelFileError where the model is for sounds and the data are none, or the other way round."""
    sounds = [path for path in paths if is_sounds(path) or ending(path, SOUNDS)]
    if sounds and task.sound is None:
        raise ModelFileError(f"{model} was not trained on sounds, and {sounds[0]} is one")
    if task.sound is not None:  # other folders are looked through at any depth by what reads them
        sounds += [path for path in paths if os.path.isdir(path)]
    if others := [path for path in paths if path not in sounds]:
        raise ModelFileError(f"{model} was trained on sounds, and {others[0]} is none: give .wav files, or a folder")


def sounds_to_predict(task: Task, paths: Sequence[str], memory: int | None) -> tuple[Any, dict[str, list[str]]]:
    """(X, the column of the files) of .wav files, and of those in folders."""
    assert task.sound is not None
    files = list(dict.fromkeys(file for path in paths for file in wav_files(path)))
    headers = read_headers(files)
    cut = sum(header.seconds > task.sound.seconds + 0.5 / task.sound.rate for header in headers)
    if cut:
        are = "are" if cut > 1 else "is"
        note(f"{cut:,} of {len(files):,} {are} longer than the {task.sound.seconds:g} s of the training; cut to that")
    return task.sound.rows(files, memory), {"file": [readable(file) for file in files]}
