"""The end of a search: the best settings and the default, trained on all rows but the test rows, and compared on these.

The best model is kept where its gain on the test rows can't be chance: where the whole interval of the gain is above 0.
Else the default is kept, and it is said. The options of either go through the parser of `gpubp train`, so that the
command that is printed makes the same model again.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import click
from click.core import ParameterSource

from ...errors import NonFiniteError
from ...training.callbacks import Callback, LambdaCallback
from ..baselines import keep_guess
from ..commands.train import train
from ..exact_training import METADATA, ExactTraining
from ..l2_search import GAIN
from ..progress import steps_bar
from ..run_folder import arguments_of
from ..train_job import TrainJob
from ..trainer import TrainerMaker
from .judging import Gain, by_row, rises
from .loop import Tried, best_of, settings_of
from .space import Settings, Space

OF_SEARCH = ("out", "plot", "report", "validation_fraction")  # typed options that a training after the search has not


@dataclass(frozen=True)
class Finalist:
    """Settings that are trained on all rows. trial: their trial, None where it did not end. job: of the training."""

    trial: Tried | None
    settings: Settings
    job: TrainJob
    diverged: bool = False


def default_of(trials: list[Tried], space: Space) -> Tried | None:
    """The trial of the settings that `gpubp train` takes by itself; None where it did not end, as where it diverged.

    Of two penalties it takes the weaker if that lowers the loss by more than 5%, as `--l2 auto` does.
    """
    found = []
    for params in space.usual():
        of = [trial for trial in trials if trial.state == "finished" and trial.params == params]
        found += of[:1]
    if len(found) == 2 and found[1].params == space.usual()[1]:
        strong, weak = found
        assert strong.loss is not None and weak.loss is not None
        return weak if weak.loss < (1 - GAIN) * strong.loss else strong
    return found[0] if found else None


def command_for(ctx: click.Context, job: TrainJob, space: Space, settings: Settings) -> list[str]:
    """The arguments of `gpubp train` that make the model of these settings.

    ctx: of the search, whose typed options they have too.
    """
    usual = (ParameterSource.DEFAULT, None)
    typed = {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in usual}
    values = {name: value for name, value in typed.items() if name not in OF_SEARCH} | {"memory": ctx.params["memory"]}
    files = job.task.table is not None or job.task.sound is not None
    values["test_fraction"] = job.maker.options["test_fraction"] if files else None
    if job.task.table is None and job.validation is None:
        values["validation_fraction"] = 0.0
    values |= space.different(settings, len(job.y), job.maker.options["batch_size"])
    return arguments_of(train, values, ())


def holds_out_rows(job: TrainJob) -> bool:
    """Whether the search has held out test rows of arrays, as `gpubp train` does not."""
    rows, files = job.task.rows, job.task.table is not None or job.task.sound is not None
    return not files and rows is not None and rows.held > 0


def finalist(ctx: click.Context, job: TrainJob, space: Space, trial: Tried | None, settings: Settings) -> Finalist:
    """The job of a training of these settings on all rows. Raises UsageError for settings that can't be."""
    arguments = command_for(ctx, job, space, settings)
    options = train.make_context("gpubp train", list(arguments), parent=ctx.parent).params
    options["out"], options["memory"] = job.out, job.maker.options["memory"]
    maker = TrainerMaker(job.dataset, job.task, options["device"], options)
    pace = maker.pace(len(job.y))
    trainer = maker.make(pace)
    keep_guess(trainer.network, job.task, job.y)
    command = shlex.join(["gpubp", "train", *arguments])
    return Finalist(trial, settings, replace(job, maker=maker, pace=pace, trainer=trainer, command=command))


def train_finalist(which: Finalist, text: str) -> Finalist:
    """Train it on all rows. Raises KeyboardInterrupt where Ctrl-C ended it, SystemExit where SIGTERM did."""
    job = which.job
    with steps_bar(job.pace.epochs, text) as advance:
        callbacks: list[Callback] = []
        if advance is not None:
            callbacks.append(LambdaCallback(on_epoch_end=lambda trainer, logs: advance()))
        try:
            job.trainer.fit(
                **job.data_to_fit(),
                epochs=job.pace.epochs,
                class_weight=job.class_weight,
                callbacks=callbacks,
                verbose=False,
            )
        except NonFiniteError:
            return replace(which, diverged=True)
    if job.trainer.history.interrupted:
        raise KeyboardInterrupt
    network = job.trainer.network
    network.metadata |= {"epochs": job.trainer.history.epochs, "seed": job.trainer.seed, "validation_rows": 0}
    if job.exact and not holds_out_rows(job):  # which `gpubp verify`, as `gpubp train`, would train with
        network.metadata[METADATA] = ExactTraining.of(job, train, finished=True).config()
    return which


@dataclass(frozen=True)
class Outcome:
    """What a search has found.

    kept: the finalist that is saved, `best` or `default`. gain: of the best on the test rows; None where there is
    nothing to compare, because the best settings are the default, or the default diverged.
    """

    best: Finalist
    default: Finalist
    kept: Finalist
    gain: Gain | None

    @property
    def changed(self) -> bool:
        """Whether other settings than the default are kept."""
        return self.kept is not self.default


def finish(ctx: click.Context, job: TrainJob, space: Space, trials: list[Tried], metric: str) -> Outcome | None:
    """Train the finalists and compare them on the test rows; None where no trial has finished."""
    trial, usual = best_of(trials, metric), default_of(trials, space)
    if trial is None:
        return None
    settings = settings_of(space, trial)
    first = (
        settings_of(space, Tried(0, "", None, None, space.usual()[0])) if usual is None else settings_of(space, usual)
    )
    default = train_finalist(finalist(ctx, job, space, usual, first), "default")
    if settings == first:
        best = replace(default, trial=trial)
        return Outcome(best, default, default, None)
    best = train_finalist(finalist(ctx, job, space, trial, settings), "best")
    if default.diverged or best.diverged:
        return Outcome(best, default, default if best.diverged else best, None)
    rows = job.test_rows()
    assert rows is not None  # as check_rows has seen
    X, y = rows
    best_rows, other_rows = (by_row(job.task, metric, f.job.trainer.network.predict(X), y) for f in (best, default))
    gain = Gain.of(best_rows, other_rows, rises(metric))
    return Outcome(best, default, best if gain.sure else default, gain)
