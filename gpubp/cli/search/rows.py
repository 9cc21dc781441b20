"""The rows of a search: those to test with, which no trial sees, and the folds that trials are judged by.

Rows that are not tested with are divided at random into 5 folds, as for `--l2 auto`. A trial trains a network without
one of them and is judged by it, in turn for so many of the folds:

    fewer than 200 rows    all 5 folds: every row is judged
    up to 10,000           3 folds
    more                   1 fold: so many rows say enough

All trials have the same folds. With --validation TABLE or --validation-fraction, these rows are the only part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...data.checks import split
from ...data.row_groups import RowGroups
from ...datasets import Dataset
from ...errors import DataError
from ...tables import held_out
from ..held_rows import LOOKED_AT, TrainedRows, digest_of
from ..l2_search import FOLDS, JUDGED, KEY
from ..task import Task
from ..train_job import TrainJob

LEAST = 40  # rows; of fewer, neither folds nor test rows say anything
LEAST_TESTED = 8
SHARE = 0.2  # of the rows, to test with where nothing else is said
ALL_BELOW, ONE_FROM = 200, 10_000
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fold:
    """Rows to train with, `X` and `y`, and rows `X_out`, `y_out` to judge by.

    inside, outside: their numbers, where X has both and they are taken out of it when they are needed, so that no fold
    has its own copy.
    """

    X: Any
    y: Array
    X_out: Any
    y_out: Array
    inside: Array | None = None
    outside: Array | None = None

    @property
    def rows(self) -> int:
        """How many rows are trained with."""
        return len(self.y)

    def training(self) -> tuple[Any, Array]:
        """(X, y) to train with."""
        return (self.X if self.inside is None else self.X[self.inside]), self.y

    def judging(self) -> tuple[Any, Array]:
        """(X, y) to judge by."""
        return (self.X_out if self.outside is None else self.X_out[self.outside]), self.y_out


def folds_of(job: TrainJob) -> tuple[list[Fold], str]:
    """The folds that trials are judged by, and what they are in words."""
    X, y, seed, share = job.dataset.X, job.y, job.maker.options["seed"], job.maker.options["validation_fraction"]
    if job.validation is not None:
        X_out, y_out = job.validation
        return [Fold(X, y, X_out, y_out)], f"the {len(y_out):,} rows of {job.maker.options['validation']}"
    if isinstance(X, RowGroups):
        share = share or 1 / FOLDS
        rows, others, held = X.split(share, seed)
        return [Fold(rows, y[~held], others, y[held])], _part(int(held.sum()), len(y))
    if share:
        inside, outside = split(len(X), share, seed)
        return [_fold(X, y, inside, outside)], _part(len(outside), len(y))
    fold = np.random.default_rng([seed, KEY]).permutation(len(X)) % FOLDS
    judged = FOLDS if len(X) < ALL_BELOW else JUDGED if len(X) <= ONE_FROM else 1
    folds = [_fold(X, y, np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(judged)]
    if judged == 1:
        return folds, _part(len(folds[0].y_out), len(y))
    count = sum(len(each.y_out) for each in folds)
    of = f"{FOLDS} folds" if judged == FOLDS else f"{judged} of {FOLDS} folds"
    return (
        folds,
        f"{of}, {count:,} of {len(y):,} rows: {judged} networks a trial, each without the rows that it is judged by",
    )


def _fold(X: Any, y: Array, inside: Array, outside: Array) -> Fold:
    return Fold(X, y[inside], X, y[outside], inside, outside)


def _part(held: int, rows: int) -> str:
    return f"one part, {held:,} of {rows:,} rows"


def with_test_rows(dataset: Dataset, task: Task, share: float, seed: int) -> tuple[Dataset, Task]:
    """Arrays without a test part, of which a share is held out by row number; others are returned as they are.

    The model file will say which rows these are, so that `gpubp evaluate` finds them in the same file.
    """
    if dataset.X_test is not None:
        return dataset, task
    rows = len(dataset.y)
    part = held_out(0, rows, share, seed)
    if not 0 < part.sum() < rows:
        raise DataError(f"--test-fraction {share:g} of {rows} rows leaves nothing on one side")
    digest = digest_of(dataset, held=(share, seed))
    assert digest is not None
    X: Any = dataset.X
    rows_of: Any = X.where if isinstance(X, RowGroups) else X.__getitem__
    held = replace(dataset, X=rows_of(~part), y=dataset.y[~part], X_test=rows_of(part), y_test=dataset.y[part])
    return held, replace(task, rows=TrainedRows.of(digest))


def check_rows(job: TrainJob) -> None:
    """Raise DataError where there are too few rows for a search, or one class is all that can be learnt."""
    rows, tested = len(job.y), 0 if job.dataset.y_test is None else len(job.dataset.y_test)
    if rows + tested < LEAST or tested < LEAST_TESTED:
        raise DataError(
            f"a search needs at least {LEAST} rows, {LEAST_TESTED} of them to test with, and {job.data} has "
            f"{rows + tested:,}, {tested:,} of them to test with: gpubp train needs fewer"
        )
    if job.task.kind == "classes" and job.y.ndim == 1 and (job.y == job.y[0]).all():
        name = job.task.name(int(job.y[0]))
        raise DataError(f"all rows to train with are of the class {name}: there is nothing to tell apart")


def digest_of_job(job: TrainJob) -> str:
    """What the rows of a search are known by: a digest of all targets, and of the first thousand rows of each part."""
    digest = hashlib.blake2b(digest_size=16)
    test = job.test_rows()
    for part in ((job.dataset.X, job.y), test, job.validation):
        if part is None:
            digest.update(b"none")
            continue
        X, y = part
        digest.update(repr((tuple(X.shape), tuple(y.shape))).encode())
        digest.update(np.ascontiguousarray(_some(X), np.float32).tobytes())
        digest.update(np.ascontiguousarray(y, np.float64).tobytes())
    if job.task.rows is not None:
        digest.update(job.task.rows.values.encode())
    return digest.hexdigest()


def _some(X: Any) -> Any:
    count = min(LOOKED_AT, len(X))
    return X[:count] if isinstance(X, np.ndarray) else X.take(np.arange(count))


def weights_in(weights: Mapping[int, float] | str | None, y: Array) -> Mapping[int, float] | str | None:
    """The class weights of classes that are among y; None where none is left.

    >>> weights_in({0: 1.0, 2: 5.0}, np.array([0, 1])), weights_in("balanced", np.array([0]))
    ({0: 1.0}, 'balanced')
    """
    if isinstance(weights, Mapping):
        weights = {k: weight for k, weight in weights.items() if (y == k).any()}
    return weights or None
