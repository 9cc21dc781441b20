"""Tables on the command line: options for columns, loading, and what is printed about columns and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..data.row_groups import RowGroups
from ..datasets import Dataset
from ..endings import COUNTED, STDIN, advice, ending
from ..errors import DataError, ModelFileError
from ..tables import Notes, Preparation, Table, fit
from .arguments import is_sounds, is_table
from .console import note, table
from .defaults import LOSSES, TEXT_MODELS
from .file_rows import FileDataset, TableRows
from .files import check_data, load_data
from .held_rows import RowDigest, TrainedRows, digest_of
from .large_data import load_arrays, rows_of_table
from .options import Number, several
from .reading_options import Columns, check_columns, named_columns, open_table, reading_options
from .sound_options import OF_SOUNDS, load_sounds, sounds_beside
from .task import Task
from .written_options import WRITTEN, chosen_marks, written_options

OPTIONS = (
    *("target", "categorical", "numeric", "text", "drop", "encoding", "no_header"),
    *("validation", "test", "test_fraction"),
    *WRITTEN,
)
SHOWN = 40  # columns, in the table of them

table_options = several(
    click.option(
        "--target", type=Columns(".npy"), metavar="COLUMN", help="The column to predict; for X.npy, the file of y."
    ),
    click.option("--categorical", type=Columns(), multiple=True, metavar="COLUMNS", help="These are categories."),
    click.option("--numeric", type=Columns(), multiple=True, metavar="COLUMNS", help="These are numbers."),
    click.option(
        "--text", type=Columns(), multiple=True, metavar="COLUMNS", help="These are texts, read word by word."
    ),
    click.option("--drop", type=Columns(), multiple=True, metavar="COLUMNS", help="Leave these out."),
    reading_options,
    click.option("--test", metavar="TABLE", help="Test on these rows at the end."),
    click.option("--test-fraction", type=Number(open=True, high=1), metavar="SHARE", help="Or on these of the table."),
    written_options,
)


def stem(path: str) -> str:
    """The name of a file without folders and ending.

    >>> stem("data/houses.csv.gz"), stem("points.npz"), stem("digits"), stem("-")
    ('houses', 'points', 'digits', 'stdin')
    """
    if path == STDIN:
        return "stdin"
    if is_sounds(path):
        return Path(path).resolve().name
    name = Path(path).name
    return name[: -len(ending(name))] if 0 < len(ending(name)) < len(name) else Path(path).stem


def load_task(data: str, folder: str | None, options: Mapping[str, Any]) -> tuple[Dataset, Task]:
    """Load the data set that the user calls `data`, and its task, by the options."""
    if folder is not None and (is_table(data) or is_sounds(data)):
        raise click.UsageError(f"--data says where MNIST lies, and the data set is {data}")
    if is_sounds(data):
        return load_sounds(data, options, WRITTEN)
    if given := [name for name in OF_SOUNDS if options.get(name)]:
        raise click.UsageError(f"--{given[0]} goes with a folder of sounds, and {data} is none")
    if is_table(data):
        if options["model"] not in (None, "mlp", *TEXT_MODELS):
            raise click.UsageError(f"--model {options['model']} is for pictures and sounds, and {data} is a table")
        return load_table(data, options)
    if options["model"] in TEXT_MODELS:
        raise click.UsageError(f"--model {options['model']} reads texts, and they come in a table: {COUNTED}")
    arrays = data.lower().endswith(".npy")
    if not arrays:
        check_data(data)
    for name in OPTIONS:
        if options.get(name) and not (arrays and name == "target"):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with a table: {COUNTED}")
    if options.get("memory") and not arrays:
        raise click.UsageError(
            f"--memory goes with .npy files and tables, which can be read in part, and not with {data}"
        )
    dataset = load_arrays(data, options["target"], options.get("memory")) if arrays else load_data(data, folder)
    digest = digest_of(dataset)
    task = Task.infer(dataset, options["loss"], options["label_smoothing"], options.get("quantile"))
    return dataset, task if digest is None else replace(task, rows=TrainedRows.of(digest))


def load_table(path: str, options: Mapping[str, Any]) -> tuple[Dataset, Task]:
    """Read and prepare a table, by the options of `table_options`, "loss", "label_smoothing" and "seed"."""
    found, target = open_table(path, options), options["target"]
    if target is None:
        raise click.UsageError(f"--target says which column of {path} to predict; it has {', '.join(found.columns)}")
    share, test = options["test_fraction"], options["test"]
    if share and test:
        raise click.UsageError("--test and --test-fraction both say what to test on; leave one out")
    held = (share, options["seed"]) if share else None
    prepared = fit(
        found,
        target,
        kind=_kind(options["loss"]),
        held=held,
        **chosen_marks(options),
        categorical=named_columns(options["categorical"], found.columns),
        numeric=named_columns(options["numeric"], found.columns),
        text=named_columns(options["text"], found.columns),
        drop=named_columns(options["drop"], found.columns),
    )
    if options["model"] in TEXT_MODELS and not prepared.texts:
        raise click.UsageError(
            f"--model {options['model']} reads texts, and no column of {path} is taken for text: "
            "--text COLUMN names one"
        )
    loss = options["loss"], options["label_smoothing"]
    task = Task.of_table(prepared, *loss, stem(path), options.get("quantile"))
    notes = Notes()
    digest = RowDigest(held=held)
    X, t, part = rows_of_table(found, prepared, notes, True, held, options.get("memory"), digest)
    assert t is not None
    print_notes({key: value for key, value in notes.found.items() if key[1] == "no target"}, found, prepared)
    if held and not 0 < part.sum() < len(part):
        raise DataError(f"--test-fraction {share} of {len(part)} rows leaves nothing on one side")
    task = replace(task, rows=TrainedRows.of(digest))
    X_test: Any = None
    t_test = None
    sources = {"X": TableRows(found, prepared, held), "X_test": TableRows(found, prepared, held, side=True)}
    if held:
        rows = X.where if isinstance(X, RowGroups) else X.__getitem__
        X, X_test, t, t_test = rows(~part), rows(part), t[~part], t[part]
    if test:
        X_test, t_test, sources["X_test"] = load_beside(test, prepared, path, options)
    return FileDataset(stem(path), X, t, X_test, t_test, sources=sources), task


def table_for(
    path: str, prepared: Preparation | None, model: str, reading: Mapping[str, Any]
) -> tuple[Table, Preparation]:
    """The table `path`, read for `model`, with which `prepared` came. reading: the options of `reading_options`.

    Raises ModelFileError where the model is for numbers and the data is a table, or the other way round.
    """
    if prepared is None:
        raise ModelFileError(f"{model} was not trained on a table, and {path} is one; give an .npz file with X in it")
    if not is_table(path):
        raise ModelFileError(f"{model} was trained on a table, and {path} is none: give {COUNTED}{advice(path)}")
    return open_table(path, reading, prepared, model), prepared


def load_rows(
    found: Table,
    prepared: Preparation,
    model: str,
    target: bool = False,
    memory: int | None = None,
    digest: RowDigest | None = None,
) -> tuple[Any, Any]:
    """(X, t) of a table, prepared by `prepared`, which came with `model`; t is None without `target`.

    digest: takes the rows as they pass; it needs the target.
    """
    check_columns(found, prepared, model, target)
    notes = Notes()
    X, t, _ = rows_of_table(found, prepared, notes, target, None, memory, digest)
    print_notes(notes.found, found, prepared)
    return X, t


def load_beside(path: str, prepared: Preparation, data: str, options: Mapping[str, Any]) -> tuple[Any, Any, TableRows]:
    """(X, t, where they stand) of the table `path`, to test or validate with, beside the table `data`."""
    if STDIN == path == data:
        raise click.UsageError("standard input can be read once only")
    if not is_table(path):
        raise DataError(f"{path} is no table: give {COUNTED}{advice(path)}")
    found = open_table(path, options, prepared, data, other=True)
    return *load_rows(found, prepared, data, True, options.get("memory")), TableRows(found, prepared)


def load_validation(dataset: Dataset, task: Task, options: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """(X, t) of the table of --validation, which joins the sources of `dataset`; None without one."""
    path, data = options["validation"], options["data"]
    if path is None:
        return None
    if options["validation_fraction"]:
        raise click.UsageError("--validation and --validation-fraction both say what to validate with; leave one out")
    assert isinstance(dataset, FileDataset)
    if task.sound is not None:
        X, t, dataset.sources["validation"] = sounds_beside(path, task, options.get("memory"))
        return X, t
    assert task.table is not None
    X, t, dataset.sources["validation"] = load_beside(path, task.table, data, options)
    return X, t


def print_columns(prepared: Preparation) -> None:
    """Print a table of the kind of each column and of what it becomes."""
    rows = [[c.name, c.kind, str(c.width), c.describe()] for c in prepared.columns]
    rows += [[c.name, "left out", "", c.why] for c in prepared.left_out]
    table(
        ["column", "taken for", "numbers", "what is known"], rows[:SHOWN], left=["column", "taken for", "what is known"]
    )
    if len(rows) > SHOWN:
        note(f"and {len(rows) - SHOWN} more columns")
    for column in prepared.columns:
        if column.note:
            note(f"{column.name}: {column.note}")
    target = prepared.target
    if target.kind == "numbers":
        told = [f"taken for numbers{', ' * bool(target.written.describe())}{target.written.describe()}"]
        note(f"{target.name} is {'; '.join(told + [target.note] * bool(target.note))}")
    elif all(isinstance(c, int) for c in target.classes):
        note(f"{target.name} is taken for classes, {', '.join(map(str, target.classes[:8]))}; --loss mse for numbers")
    elif target.note:
        note(f"{target.name}: {target.note}")


def print_notes(found: Mapping[tuple[str, str], Sequence[Any]], rows: Table, prepared: Preparation) -> None:
    """Print a note for each unusual value of a table, with the first place where it stands."""
    kinds = {column.name: column.kind for column in prepared.columns}
    for (column, what), (count, first, example) in found.items():
        where = f"{rows.name}, {rows.place(first)}" + (f" and {count - 1:,} more" if count > 1 else "")
        if what == "no target":
            note(f"{where}: no {column} is given; left out")
        elif what == "missing":
            instead = "as none of the levels" if kinds.get(column) == "category" else "as the mean"
            note(f"{where}: no {column} is given, as never in training; taken {instead}")
        elif what == "no known word":
            note(f"{where}: {column} is {_short(example)}, in which no word is known from the training")
        elif what == "below 0":
            note(
                f"{where}: {column} is {example}, and in training it was never below 0; its logarithm is mirrored there"
            )
        elif what == "new":
            note(f"{where}: {column} is {example!r}, which it never was in training; taken as none of the levels")
        else:
            note(f"{where}: {column} is {example!r}, which it rarely or never was in training; taken as the rare ones")


def _short(text: Any) -> str:
    return repr(text) if len(str(text)) <= 40 else repr(f"{str(text)[:39]}…")


def _kind(loss: str | None) -> str | None:
    if loss is None:
        return None
    return "numbers" if LOSSES[loss].predicts == "numbers" else "classes"
