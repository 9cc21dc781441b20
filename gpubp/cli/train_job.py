"""TrainJob: the objects of one run of `gpubp train`, made before its first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.checks import split
from ..data.row_groups import RowGroups
from ..datasets import Dataset
from ..report.content import FoundRows
from ..report.facts import Part
from ..report.judgement import FIELDS
from ..training.checkpoint import Checkpoint
from ..training.monitors import EarlyStopping
from ..training.trainer import Trainer
from . import together
from .arguments import NAMED
from .cross_validation import CrossValidation
from .defaults import Pace
from .file_rows import ArrayRows, FileDataset
from .json_output import about
from .leaks import Deciding
from .members import Members
from .run_folder import Run
from .task import Task
from .trainer import TrainerMaker

LOOKED_AT = 10_000  # rows trained with, where there are no others to judge by


class Judging(NamedTuple):
    """Rows that a network is judged by: what they are called, their targets y, and outputs z for them."""

    which: str
    y: np.ndarray[Any, Any]
    z: np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrainJob:
    """The data, the trainer and the files of a training run.

    data: the data set as it was typed. y: the targets of all rows, as the loss takes them. out: the model file. plot,
    log: files for curves and numbers by epoch. command: a command that repeats the run. run, checkpoint: the folder to
    resume from, and the callback that writes into it; both None without --checkpoint-dir. class_weight: as Trainer.fit
    takes it. deciding: the columns that decide the target alone. maker: makes trainers like `trainer`.
    cross_validation: of the search for l2, None where there was none. validation: (X, y) of --validation.
    members: of an ensemble, None for one network.
    """

    data: str
    dataset: Dataset
    task: Task
    pace: Pace
    y: np.ndarray[Any, Any]
    maker: TrainerMaker
    trainer: Trainer
    stopping: EarlyStopping | None
    out: str
    plot: str | None
    log: tuple[str, ...]
    command: str
    run: Run | None
    checkpoint: Checkpoint | None
    class_weight: Mapping[int, float] | str | None = None
    deciding: tuple[Deciding, ...] = ()
    cross_validation: CrossValidation | None = None
    validation: tuple[Any, np.ndarray[Any, Any]] | None = None
    members: Members | None = None

    @property
    def is_npy(self) -> bool:
        """Whether the rows are those of an .npy file."""
        return self.data.lower().endswith(".npy")

    @property
    def exact(self) -> bool:
        """Whether the numerics are exact."""
        return self.trainer.network.backend.numerics == "exact"

    @property
    def validation_rows(self) -> int:
        """How many rows are validated with."""
        return len(self.dataset.X) - self.pace.rows if self.validation is None else len(self.validation[1])

    def test_rows(self) -> tuple[Any, np.ndarray[Any, Any]] | None:
        """(X, y) to test with, y as the loss takes it; None without any. Raises DataError for an unknown class."""
        if self.dataset.X_test is None or self.dataset.y_test is None:
            return None
        return self.dataset.X_test, self.task.targets(self.dataset.y_test, "y_test")

    def parts(self) -> dict[str, tuple[Any, np.ndarray[Any, Any]]]:
        """The rows trained with, those to validate with, of a part or another table, and those to test with."""
        X, y, share, seed = self.dataset.X, self.y, self.pace.validation, self.maker.options["seed"]
        data: dict[str, tuple[Any, np.ndarray[Any, Any]]]
        if not share:
            data = {"training": (X, y)} | ({} if self.validation is None else {"validation": self.validation})
        elif isinstance(X, RowGroups):
            rows, others, held = X.split(share, seed)
            data = {"training": (rows, y[~held]), "validation": (others, y[held])}
        else:
            training, validation = split(len(X), share, seed)
            data = {"training": (Part(X, training), y[training]), "validation": (X[validation], y[validation])}
        test = self.test_rows()
        return data if test is None else data | {"test": test}

    def judging(self) -> Judging:
        """The rows that say most of how good the network is, with its outputs.

        These are the test rows, else the validation rows, else those of the cross-validation with the outputs of its
        networks, else some of those trained with.
        """
        which, (X, y) = list(self.parts().items())[-1]
        found = self.cross_validation
        if which == "training" and found is not None:
            return Judging("cross-validation", self.y[found.rows], found.outputs)
        if which == "training":
            some = np.unique(np.linspace(0, len(y) - 1, min(len(y), LOOKED_AT)).astype(np.int64))
            X, y = X[some], y[some]
        return Judging(which, y, self.trainer.network.predict(X))

    def data_to_fit(self) -> dict[str, Any]:
        """The rows as keywords of `Trainer.fit`. The networks of an ensemble are validated with the same rows."""
        if self.members is None or not self.pace.validation:
            rows = {"X": self.dataset.X, "y": self.y, "validation_data": self.validation}
            return rows | {"validation_fraction": self.pace.validation}
        parts = self.parts()
        X, y = parts["training"]
        return {"X": X.X[X.rows] if isinstance(X, Part) else X, "y": y, "validation_data": parts["validation"]}

    def look_up(self, which: str) -> Callable[[Any], FoundRows]:
        """The function that finds rows of the part `which` of `parts` where the user has them."""
        X, share, seed = self.dataset.X, self.pace.validation, self.trainer.seed
        rows: np.ndarray[Any, Any] | None = None
        beside = which == "validation" and self.validation is not None
        name = "X_test" if which == "test" else "validation" if beside else "X"
        if which != "test" and share and isinstance(X, RowGroups):
            rows = np.flatnonzero(X.split(share, seed)[2] == (which == "validation"))
        elif which != "test" and share:
            rows = split(len(X), share, seed)[which == "validation"]
        if isinstance(self.dataset, FileDataset):
            source: Callable[[Any], FoundRows] = replace(self.dataset.sources[name], rows=rows)
            return source
        if self.is_npy:
            name = Path(self.data).stem
        return ArrayRows(f"{self.data}.{name}" if self.data in NAMED else name, rows)

    def fields(self) -> dict[str, Any]:
        """The fields of the JSON document that say what was trained and how it went."""
        history, dataset, stopping = self.trainer.history, self.dataset, self.stopping
        return {
            "trained": True,
            "data": {
                "name": dataset.name,
                "rows": self.pace.rows,
                "validation_rows": self.validation_rows,
                "test_rows": 0 if dataset.X_test is None else len(dataset.X_test),
                "input_shape": dataset.input_shape,
                "sound": None if self.task.sound is None else self.task.sound.fields(),
            },
            **about(self.trainer.network, self.task),
            "optimizer": repr(self.trainer.optimizer),
            "batch_size": self.pace.batch_size,
            "seed": self.trainer.seed,
            "shards": self.trainer.settings["shards"],
            "processes": together.count(),
            "l2": self.trainer.settings["l2"],
            "l1": self.trainer.settings["l1"],
            "cross_validation": None if self.cross_validation is None else self.cross_validation.fields(),
            "ensemble": None if self.members is None else self.members.fields(),
            "epochs": history.epochs,
            "planned_epochs": self.pace.epochs,
            "interrupted": history.interrupted,
            "stopped_early": bool(stopping and self.trainer.stop),
            "best_epoch": stopping.best_epoch if stopping else None,
            "history": dict(history),
            "deciding_columns": [column.fields() for column in self.deciding],
            "class_weight": self._class_weight(),
            "sha256": self.trainer.network.sha256() if self.exact else None,
            "test": None,
            **dict.fromkeys(("judged_by", *FIELDS)),
        }

    def _class_weight(self) -> dict[str, float] | str | None:
        """The class weights by the names of the classes."""
        given = self.class_weight
        return {self.task.name(k): w for k, w in given.items()} if isinstance(given, Mapping) else given
