"""Log files: one line an epoch, as CSV or as JSON.

    epoch    of the trainer, from 1                  step           done so far
    seconds  since training began, gaps left out     learning_rate  of the next step
    and what the epoch reported: loss, val_loss, ...

A line is written whole when its epoch ends. A training that is resumed goes on in its file: lines of epochs after the
one it resumes from are cut off, and so is half a line that a crash left, so that no epoch stands there twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic import write_parts
from ..config import argument
from ..errors import DataError, in_bytes
from ..metrics.choice import LOG_COLUMNS
from .callbacks import Callback, RunningTrainer, known_rate


def row_of(trainer: RunningTrainer, logs: dict[str, float], seconds: float) -> dict[str, float]:
    """The line of the epoch that just ended.

    >>> import gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1))
    >>> row_of(trainer, {"loss": 0.5}, 1.25)
    {'epoch': 0, 'step': 0, 'seconds': 1.25, 'learning_rate': 0.1, 'loss': 0.5}
    """
    first = (trainer.epoch, trainer.step_count, round(seconds, 3), known_rate(trainer))
    return dict(zip(LOG_COLUMNS, first, strict=True)) | logs


def kept(epochs: Sequence[int], upto: int) -> int:
    """How many lines of a log stay when its last training run goes on after epoch `upto`.

    >>> kept([1, 2, 3, 4], 2), kept([1, 2, 3, 1, 2], 0)
    (2, 3)
    """
    count = len(epochs)
    while count and epochs[count - 1] > upto and (count == len(epochs) or epochs[count - 1] < epochs[count]):
        count -= 1
    return count


class LineLog(Callback):
    """A file with one line an epoch. `CSVLogger` and `JSONLinesLogger` write the lines.

    >>> issubclass(CSVLogger, LineLog) and issubclass(JSONLinesLogger, LineLog)
    True
    """

    comes_last = True  # so that what other callbacks do to the learning rate is seen
    one_process = True

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path, self.append = Path(path), argument(type(self).__name__, "append", bool, append)
        self._told = ""

    def read(self) -> list[dict[str, Any]]:
        """The lines of the file; raises DataError if it is no such log."""
        raise NotImplementedError

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write these lines, in place of those in the file."""
        raise NotImplementedError

    def add(self, row: dict[str, Any]) -> None:
        """Append a line."""
        raise NotImplementedError

    def on_train_begin(self, trainer: Any) -> None:
        """Begin the file, or cut off the lines after the epoch that is resumed from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = self.read() if self.path.exists() else []
        goes_on = trainer.resumed_from is not None or self._trained(trainer)
        if goes_on:
            rows = rows[: kept([row["epoch"] for row in rows], trainer.epoch)]
        elif not self.append:
            rows = []
        before = rows[-1]["seconds"] if goes_on and rows and isinstance(rows[-1]["seconds"], float | int) else 0.0
        self.write(rows)
        self._last, self._told, self._start = weakref.ref(trainer), "", time.perf_counter() - before

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Append the line; if that fails, warn, and let training go on."""
        try:
            self.add(row_of(trainer, logs, time.perf_counter() - self._start))
        except (OSError, DataError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            if reason != self._told:
                size = self.path.stat().st_size if self.path.exists() else 0
                text = f"epoch {trainer.epoch} is not in the log {self.path}, {in_bytes(size)}: {reason}"
                text += "; the lines before it are kept, and training goes on"
                warnings.warn(text, RuntimeWarning, stacklevel=3)
            self._told = reason

    def _lines(self) -> tuple[list[str], str]:
        """The complete lines, and a partial one that a crash left, or ""; read at once, as another may be writing."""
        *lines, partial = self.path.read_bytes().decode("utf-8", "replace").split("\n")
        return lines, partial

    def _append(self, line: str, first: str = "") -> None:
        """Append a line; where another training has begun the file anew, behind its first one."""
        with open(self.path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            content = (line if size else first + line).encode()
            try:
                while content:  # a disk that takes a part of it says why at the rest
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(size)
                raise

    def _no_log(self, why: object) -> DataError:
        return DataError(
            f"{self.path} is no log of {type(self).__name__}'s ({why}), and is left as it is; name another file"
        )


class CSVLogger(LineLog):
    """Writes one line an epoch into a CSV file: epoch, step, seconds, learning_rate, and the epoch's numbers.

    path: of the file; its folder is made if need be. append: keep the lines of earlier trainings that are in it;
    otherwise a new training begins the file anew. A resumed training goes on in it either way.

    Raises DataError if the file is there and no such log, OSError if it can't be written, before training begins. What
    can't be written later becomes a warning.

    >>> import tempfile, numpy as np, gpubp as bp
    >>> path = Path(tempfile.mkdtemp()) / "log.csv"
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1))
    >>> _ = trainer.fit(np.eye(3), [1, 2, 3], epochs=2, callbacks=[bp.CSVLogger(path)])
    >>> print(path.read_text())
    epoch,step,seconds,learning_rate,loss
    1,1,0.0...,0.1,...
    2,2,0.0...,0.1,...
    """

    _names: list[str]

    def read(self) -> list[dict[str, Any]]:
        """The lines; numbers but for the epoch and the seconds stay as they are written."""
        lines, partial = self._lines()
        rows = list(csv.reader(lines))
        if not rows:
            if lines or partial:
                raise self._no_log("it has no whole line")
            return []
        names = rows[0]
        if tuple(names[: len(LOG_COLUMNS)]) != LOG_COLUMNS:
            raise self._no_log(f"its first line does not begin with {','.join(LOG_COLUMNS)}")
        found: list[dict[str, Any]] = []
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(names):
                raise self._no_log(f"line {number} has {len(row)} fields, and the first {len(names)}")
            try:
                told: dict[str, Any] = dict(zip(names, row, strict=True))
                found.append(told | {"epoch": int(row[0]), "seconds": float(row[2])})
            except ValueError:
                raise self._no_log(f"line {number} has no number where the epoch or the seconds stand") from None
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        """The first line has the name of every number that any row has."""
        self._names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [self._names, *([row.get(name, "") for name in self._names] for row in rows)] if rows else []
        write_parts(self.path, [_csv(line).encode() for line in lines])

    def add(self, row: dict[str, Any]) -> None:
        """A line; the file is written anew where an epoch has numbers that those before had not."""
        if not self._names or not set(row) <= set(self._names):
            self.write([*self.read(), row])
        else:
            self._append(_csv([row.get(name, "") for name in self._names]), _csv(self._names))


class JSONLinesLogger(LineLog):
    """Writes a JSON object an epoch, each on a line of its own: epoch, step, seconds, learning_rate, and what the epoch
    reported. JSON has no NaN and no infinity: they become null.

    path, append, and the errors raised: as in CSVLogger.

    >>> import json, tempfile, numpy as np, gpubp as bp
    >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1))
    >>> history = trainer.fit(np.eye(3), [1, 2, 3], epochs=2, callbacks=[bp.JSONLinesLogger(path)])
    >>> [json.loads(line)["loss"] for line in path.read_text().splitlines()] == history["loss"]
    True
    """

    def read(self) -> list[dict[str, Any]]:
        """The objects."""
        lines, partial = self._lines()
        if not lines and partial and not partial.startswith('{"epoch": '):
            raise self._no_log("it has no whole line")
        found = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or type(row.get("epoch")) is not int or not {*LOG_COLUMNS} <= row.keys():
                raise self._no_log(f"line {number} is no JSON object with {', '.join(LOG_COLUMNS)}")
            found.append(row)
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        """An object a line."""
        write_parts(self.path, [_json(row).encode() for row in rows])

    def add(self, row: dict[str, Any]) -> None:
        """A line."""
        self._append(_json(row))


def _csv(fields: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()


def _json(row: dict[str, Any]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, ensure_ascii=False) + "\n"
