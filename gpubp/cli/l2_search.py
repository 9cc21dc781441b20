"""`--l2 auto`: the strength of the L2 penalty of a table, chosen by cross-validation.

The rows are divided at random into 5 folds. For each of the strengths 20 / n and 5 / n, three networks are trained on
the n rows outside of one of the first three folds, with the settings of the training that follows, and judged by the
fold. 5 / n is taken if its loss on these rows is more than 5% lower, and else 20 / n. The training that follows is on
all rows. What the networks of the chosen strength gave for the folds is an honest estimate: they had not seen these
rows (Stone, Cross-validatory choice and assessment of statistical predictions, 1974); the choice between two makes
it a little too good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import click
import numpy as np

from ..data.checks import split
from ..data.row_groups import RowGroups
from ..layers import Reshape
from ..network.network import Network
from ..report.words import seconds
from ..rounding import number
from ..training.callbacks import Callback, LambdaCallback
from ..training.monitors import EarlyStopping
from ..training.trainer import Trainer
from . import together
from .console import fact, note, say
from .cross_validation import CrossValidation
from .defaults import PRIOR, WEAKER_PRIOR, Pace, make_l2
from .evaluation import evaluate_model, summary_line
from .process import INTERRUPTED
from .progress import steps_bar
from .task import Task
from .train_job import TrainJob
from .trainer import nonfinite_ends

STRENGTHS = (PRIOR, WEAKER_PRIOR)  # of the penalties, times the rows
FOLDS, JUDGED = 5, 3  # of the five folds, so many are left out in turn
GAIN = 0.05  # by which the weaker penalty must lower the loss
LEAST = 20  # rows; fewer can't be divided into folds that say anything
FROM, UP_TO = 200, 50_000  # rows, for which the search is the default
LONG = 30.0  # seconds of a search, from which on it is said beforehand
KEY = 0xF01D

Array = np.ndarray[Any, Any]


def is_searched(l2: float | str | None, task: Task, X: Any) -> bool:
    """Whether --l2 means a search on these rows. Raises UsageError where "auto" was typed and data are no table."""
    asked = l2 == "auto"
    if not asked and l2 is not None:
        return False
    if task.table is None:
        if asked:
            raise click.UsageError("--l2 auto is for tables; give a number, such as --l2 0.001")
        return False
    if isinstance(X, RowGroups) or len(X) < LEAST:
        if asked:
            why = "are larger than memory" if isinstance(X, RowGroups) else f"are {len(X)}, and it needs {LEAST}"
            note(f"--l2 auto is left out, because the rows {why}; the penalty is {make_l2(None, len(X), True):.3g}")
        return False
    return asked or FROM <= len(X) <= UP_TO


def with_l2(job: TrainJob, l2: float | str | None) -> TrainJob:
    """The job with the strength that a search found, if `l2` means one; a resumed run has found it at its beginning."""
    if not is_searched(l2, job.task, job.dataset.X):
        return job
    found = None if job.run is None else CrossValidation.read(job.run.folder, len(job.dataset.X), _digest(job))
    return choose_l2(job) if found is None else _with_found(job, found)


def choose_l2(job: TrainJob) -> TrainJob:
    """Search, print what was found, and return the job with a trainer that has the chosen l2.

    Raises SystemExit where Ctrl-C ended it; nothing is saved then.
    """
    n = job.pace.rows
    strengths = [make_l2(None, n, True, prior) for prior in STRENGTHS]
    for_fold = n - n // FOLDS
    each = job.maker.pace(for_fold)
    times = len(strengths) * JUDGED * each.epochs * each.steps / (job.pace.epochs * job.pace.steps)
    note(
        f"l2 is {strengths[0]:.3g} or {strengths[1]:.3g}, by {len(strengths) * JUDGED} trainings on {for_fold:,} of "
        f"{n:,} rows, which take about {times:.0f} times as long as the training after them; "
        f"--l2 {strengths[0]:.3g} leaves them out"
    )
    found = _search(job, _forecast(job, each, times, strengths[0]))
    (strong, loss), (weak, other) = found.losses
    lower = "lowers" if found.l2 == weak else f"is kept, because {weak:.3g} does not lower"
    losses = f"{number(loss)} with {strong:.3g}, {number(other)} with {weak:.3g}"
    fact("l2", f"{found.l2:.3g} {lower} the loss on rows left out by more than {GAIN:.0%}: {losses}")
    say(summary_line(found.words, found.metrics))
    if job.run is not None and together.leads():  # so that a resumed run need not search again
        found.save(job.run.folder)
    return _with_found(job, found)


def _forecast(job: TrainJob, each: Pace, times: float, l2: float) -> Callable[[], None]:
    """A function to be called after each epoch, which says after the second how long the search takes, if that is long.

    each: the sizes of a training of the search, which takes `times` as long as the training after it in all.
    """
    ends: list[float] = []

    def after_epoch() -> None:
        ends.append(monotonic())
        search = (ends[-1] - ends[0]) * each.epochs * len(STRENGTHS) * JUDGED
        if len(ends) == 2 and search > LONG:
            most = "at most " if job.stopping else ""
            note(
                f"by the time of an epoch, the search takes {most}{seconds(search)} and the training after it "
                f"{most}{seconds(search / times)}; --l2 {l2:.3g} leaves the search out"
            )

    return after_epoch


def _with_found(job: TrainJob, found: CrossValidation) -> TrainJob:
    trainer = job.trainer
    if found.l2 != trainer.settings["l2"]:
        trainer = job.maker.make(job.pace, found.l2)
        trainer.network.metadata |= job.trainer.network.metadata
    return replace(job, trainer=trainer, cross_validation=found)


def _digest(job: TrainJob) -> str:
    rows = job.task.rows
    return "" if rows is None else rows.values + rows.places


def _search(job: TrainJob, after_epoch: Callable[[], None]) -> CrossValidation:
    X, y, seed = job.dataset.X, job.y, job.trainer.seed
    searched = split(len(X), job.pace.validation, seed)[0] if job.pace.validation else np.arange(len(X))
    fold = np.random.default_rng([seed, KEY]).permutation(len(searched)) % FOLDS
    pace = job.maker.pace(len(searched) - len(searched) // FOLDS)
    results: list[tuple[float, float, Array]] = []
    order = np.concatenate([searched[fold == k] for k in range(JUDGED)])
    with steps_bar(len(STRENGTHS) * JUDGED * pace.epochs, "l2") as advance:
        for prior in STRENGTHS:
            outputs, losses = [], []
            for k in range(JUDGED):
                inside, outside = searched[fold != k], searched[fold == k]
                trainer = job.maker.make(pace, make_l2(None, len(inside), True, prior))
                _fit(job, trainer, inside, pace, [after_epoch, advance])
                losses.append(evaluate_model(trainer.network, job.task, X[outside], y[outside])["loss"] * len(outside))
                outputs.append(trainer.network.predict(X[outside]))
            strength = make_l2(None, job.pace.rows, True, prior)
            results.append((strength, float(sum(losses) / len(order)), np.concatenate(outputs)))
    (strong, loss, _), (_, other, _) = results
    l2, _, z = results[int(together.same(bool(other < (1 - GAIN) * loss)))]
    at = np.argsort(order)
    rows, z = order[at], z[at]
    tried = tuple((strength, loss) for strength, loss, _ in results)
    return CrossValidation(l2, tried, rows, z, len(searched), _judged(job, z, y[rows]), _digest(job))


def _fit(
    job: TrainJob, trainer: Trainer, rows: Array, pace: Pace, after_epoch: Sequence[Callable[[], None] | None]
) -> None:
    """Train on these rows of the data set."""
    y, weights = job.y[rows], job.class_weight
    if isinstance(weights, Mapping):
        weights = {k: weight for k, weight in weights.items() if (y == k).any()}
    callbacks: list[Callback] = [EarlyStopping(patience=job.stopping.patience)] if job.stopping else []
    for call in after_epoch:
        if call is not None:
            callbacks.append(LambdaCallback(on_epoch_end=lambda trainer, logs, call=call: call()))
    with nonfinite_ends():
        trainer.fit(
            job.dataset.X[rows],
            y,
            epochs=pace.epochs,
            validation_data=job.validation,
            validation_fraction=pace.validation,
            class_weight=weights or None,
            callbacks=callbacks,
            verbose=False,
        )
    if trainer.history.interrupted:
        note("interrupted before the training on all rows began; nothing is saved")
        raise SystemExit(INTERRUPTED)


def _judged(job: TrainJob, z: Array, y: Array) -> dict[str, float]:
    """The metrics of outputs z (m, outputs), by a network that gives back what it is given."""
    shape = z.shape[1:]
    return evaluate_model(Network(Reshape(shape), shape, device="cpu", dtype=z.dtype.name), job.task, z, y)
