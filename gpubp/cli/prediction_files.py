"""Predictions as columns: on the terminal, as CSV, as NumPy arrays, and as fields of JSON.

A row begins with its number, 1 for the first row of data, or with the columns of the table that --id names, as they
stand in the table. Then come the prediction, the interval of a number, and probabilities.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np

from ..errors import DataError
from ..tables import Table, close_to
from .reading_options import named_columns
from .task import Answers, Task
from .word_effects import Effect, told
from .writing import write_file

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions:
    """The predictions of n rows.

    ids: the columns that --id names, texts (n,), by name; without any, rows are numbered. width: of the intervals on
    each side, (outputs,), or None. every: whether CSV has the probability of every class. why: the effects of the
    words of each row on its prediction, of the first rows at least, or None.
    """

    task: Task
    answers: Answers
    ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    width: Array | None = None
    every: bool = False
    why: Sequence[Sequence[Effect]] | None = None

    def __len__(self) -> int:
        return len(self.answers.prediction)

    @property
    def bounds(self) -> tuple[Array, Array] | None:
        """The ends (low, high) of the intervals, in the shape of the predictions; None without intervals."""
        if self.width is None:
            return None
        y = self.answers.prediction.astype(np.float64)
        width = self.width if y.ndim > 1 else self.width[0]
        return y - width, y + width

    def columns(self, rows: int | None = None) -> dict[str, list[str]]:
        """The columns of texts, of the first `rows` rows or of all. Raises DataError where two have the same name."""
        found = {name: list(values[:rows]) for name, values in self.ids.items()}
        if not found:
            found["row"] = [str(i + 1) for i in range(len(self) if rows is None else min(rows, len(self)))]
        for name, values in self._answers(rows).items():
            if name in found:
                raise DataError(f"--id {name}: a column of the predictions is called so; rename it in the table")
            found[name] = values
        if self.why is not None:
            if "why" in found:
                raise DataError("--id why: a column of the predictions is called so; rename it in the table")
            assert self.task.table is not None
            texts, numbers = len(self.task.table.texts), self.task.kind == "numbers"
            found["why"] = [told(effects, texts, numbers) for effects in self.why[:rows]]
        return found

    def _answers(self, rows: int | None) -> dict[str, list[str]]:
        task, prediction, p = self.task, self.answers.prediction[:rows], self.answers.probability
        p = None if p is None else p[:rows]
        if p is not None and (task.kind == "classes" or task.table is not None):
            shown = {
                "prediction": [task.name(k) for k in p.argmax(axis=-1).tolist()],
                "probability": _shares(p.max(axis=-1)),
            }
            names = [task.name(k) for k in range(p.shape[1])] if self.every else []
            return shown | {f"probability_{name}": _shares(p[:, k]) for k, name in enumerate(names)}
        many = prediction.reshape(len(prediction), -1)
        ends = [""] if many.shape[1] == 1 else [f"_{k}" for k in range(many.shape[1])]
        shown = {f"prediction{end}": _numbers(many[:, k]) for k, end in enumerate(ends)}
        for name, bound in zip(("low", "high"), self.bounds or (), strict=False):
            bound = bound[:rows].reshape(len(many), -1)
            shown |= {f"{name}{end}": _numbers(bound[:, k]) for k, end in enumerate(ends)}
        if p is not None:
            shown |= {f"probability{end}": _shares(p[:, k]) for k, end in enumerate(ends)}
            if self.every and len(ends) == 1:
                shown |= {"probability_0": _shares(1 - p[:, 0]), "probability_1": _shares(p[:, 0])}
        return shown

    def arrays(self) -> dict[str, Array]:
        """The same as arrays, as .npz holds them."""
        task, table = self.task, self.task.table
        found: dict[str, Array] = {"row": np.arange(1, len(self) + 1)}
        if self.ids:
            found |= {"id": np.array(list(self.ids.values())).T, "id_columns": np.array(list(self.ids))}
        found["prediction"] = self.answers.prediction
        if table is not None and task.classes is not None:
            found["classes"] = np.asarray(table.target.classes)  # in the order of the probabilities
        if self.answers.probability is not None:
            found["probability"] = self.answers.probability
        if self.why is not None:
            found["why"] = np.array(self.columns()["why"])
        return found | dict(zip(("low", "high"), self.bounds or (), strict=False))

    def fields(self) -> dict[str, Any]:
        """The same as fields of the JSON document."""
        low, high = self.bounds or (None, None)
        return {
            "row": range(1, len(self) + 1),
            "ids": dict(self.ids) or None,
            "predictions": self.task.named(self.answers),
            "probabilities": self.answers.probability,
            "low": low,
            "high": high,
            "why": None if self.why is None else [[effect._asdict() for effect in row] for row in self.why],
        }

    def write(self, path: str) -> None:
        """Write .csv (a line a row), .npy (the predictions alone) or .npz; "-" is CSV on the output stream."""
        if path == "-":
            _write_csv(sys.stdout, self.columns())
            return
        ending = Path(path).suffix.lower()
        if ending == ".csv":
            text = io.StringIO(newline="")
            _write_csv(text, self.columns())
            write_file(path, text.getvalue().encode())
            return
        content = io.BytesIO()  # np.save into a file does not notice that the disk is full
        if ending == ".npy":
            np.save(content, self.answers.prediction)
        else:
            np.savez(content, **self.arrays())  # type: ignore[arg-type]
        write_file(path, content.getbuffer())


def check_prediction_options(out: str | None, task: Task, ids: Sequence[str], every: bool, interval: bool) -> None:
    """Raise UsageError for options that don't go with what is predicted, or with the file."""
    if every and task.kind == "numbers":
        raise click.UsageError(f"--probabilities goes with classes, and the model has {task.describe()}")
    if interval and task.kind != "numbers":
        raise click.UsageError(f"--interval goes with numbers, and the model has {task.describe()}")
    if ids and task.table is None:
        raise click.UsageError("--id names columns of a table, and the model was not trained on one")
    given = [word for word, there in (("--id", ids), ("--interval", interval), ("--probabilities", every)) if there]
    if given and out is not None and out.lower().endswith(".npy"):
        raise click.UsageError(f"--out {out}: .npy holds the predictions alone; with {given[0]}, take .csv or .npz")


def read_ids(table: Table, words: Sequence[str]) -> dict[str, list[str]]:
    """The columns of a table that `words` name, as texts, as they stand there; nothing is an empty text.

    words: names, or several with commas between them. Raises DataError for a column that is not there.
    """
    names = named_columns(words, table.columns)
    for name in names:
        if name not in table.columns:
            near = close_to(name, table.columns) or f"; it has {', '.join(table.columns)}"
            raise DataError(f"{table.name} has no column {name!r} for --id{near}")
    found: dict[str, list[str]] = {name: [] for name in names}
    for _, batch in table.batches(names):
        for name, array in zip(names, batch.columns, strict=True):
            found[name] += ["" if value is None else str(value) for value in array.to_pylist()]
    return found


def _numbers(values: Array) -> list[str]:
    return [f"{value:.9g}" for value in values.tolist()]


def _shares(values: Array) -> list[str]:
    return [f"{value:.6f}" for value in values.tolist()]


def _write_csv(target: TextIO, columns: Mapping[str, Sequence[str]]) -> None:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
