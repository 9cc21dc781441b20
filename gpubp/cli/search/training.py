"""One trial: a network for each fold, trained side by side, so that all are as far when the trial is compared.

A trial is compared after a quarter and three quarters of its training (the rungs of successive halving): its score
there is the mean over the rows of all folds. Of the trials that reach a rung, the best third goes on. Earlier says too
little: of 24 trials on a table of 1,100 rows, those that were best at the end stood at the places 2, 7, 8 and 9 after
a ninth of the training, and at 1 to 4 after two ninths. Source: Jamieson and Talwalkar, "Non-stochastic best arm
identification and hyperparameter optimization", 2016; Li et al., "A system for massively parallel hyperparameter
tuning", 2020, who let each trial go on by what is known then, and wait for no other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...errors import NonFiniteError
from ...training.callbacks import Callback
from ...training.signals import SignalHandlers, StopRequested
from ...training.trainer import Trainer
from ..defaults import Pace
from ..evaluation import evaluate_model
from ..train_job import TrainJob
from ..trainer import TrainerMaker
from .judging import METRICS
from .rows import Fold, weights_in
from .space import Settings

PARTS, RUNGS = 4, (1, 3, 4)  # of a training
THIRD = 3  # of the trials that reach a rung, one in so many goes on


class OutOfTime(Exception):
    """The time of a search is up, in the middle of a trial."""


class Pruned(Exception):
    """A trial is given up: it is worse than others, or its numbers are not finite."""


class Watch(Callback):
    """Ends a training where a signal has come or the time is up, and says now and then that the process is alive.

    signals: of the search. deadline: in seconds of time.monotonic(), or infinity. alive: called after each step.
    """

    every_step = False

    def __init__(self, signals: SignalHandlers, deadline: float, alive: Callable[[], None]) -> None:
        self.signals, self.deadline, self.alive = signals, deadline, alive

    def on_step_end(self, trainer: Any) -> None:
        """Look at the signals and the clock."""
        self.signals.raise_if_received()
        if time.monotonic() > self.deadline:
            raise OutOfTime
        self.alive()


@dataclass
class TrialRunner:
    """Trains and judges the networks of trials. job: whose rows and options they have. folds: as `folds_of` gives them.

    metric: a key of METRICS. seconds: of the longest training so far of one network to its end.
    """

    job: TrainJob
    folds: list[Fold]
    metric: str
    seconds: float = 0.0

    def run(self, settings: Settings, watch: Watch, report: Callable[[int, float], bool]) -> dict[str, float]:
        """The metrics of a trial on all folds, as means over their rows.

        report: gets the part of the training that is done, of PARTS, and the score; it says whether to give the trial
        up. Raises Pruned then and where numbers are not finite, OutOfTime, and StopRequested after a signal.
        """
        began = time.monotonic()
        trainers = [self._trainer(settings, fold) for fold in self.folds]
        found: dict[str, float] = {}
        rows = sum(len(fold.y_out) for fold in self.folds)
        for part in RUNGS:
            found = {}
            for fold, (trainer, pace) in zip(self.folds, trainers, strict=True):
                self._train(trainer, fold, math.ceil(pace.epochs * part / PARTS), watch)
                X, y = fold.judging()
                for name, value in evaluate_model(trainer.network, self.job.task, X, y).items():
                    found[name] = found.get(name, 0.0) + value * len(y) / rows
            score = found[METRICS[self.metric]]
            if not math.isfinite(score):
                raise Pruned("its score is not finite")
            if report(part, score):
                raise Pruned(f"worse than others after {_part(part)} of its training")
        self.seconds = max(self.seconds, (time.monotonic() - began) / len(self.folds))
        return found

    def _trainer(self, settings: Settings, fold: Fold) -> tuple[Trainer, Pace]:
        maker = self.maker(settings, fold.rows)
        pace = maker.pace(fold.rows)
        return maker.make(pace), pace

    def maker(self, settings: Settings, rows: int) -> TrainerMaker:
        """What makes the trainers of these settings for so many rows, all of which are trained with."""
        job = self.job
        typed = job.maker.options
        more = settings.options(rows, job.task.table is not None, typed["batch_size"])
        options = typed | more | {"validation_fraction": 0.0, "validation": None}
        return replace(job.maker, options=options)

    def _train(self, trainer: Trainer, fold: Fold, epochs: int, watch: Watch) -> None:
        """Train on until so many epochs are done."""
        X, y = fold.training()
        try:
            trainer.fit(
                X,
                y,
                epochs=epochs - trainer.epoch,
                class_weight=weights_in(self.job.class_weight, y),
                callbacks=[watch],
                verbose=False,
            )
        except NonFiniteError as problem:
            raise Pruned("its loss is not finite") from problem
        if trainer.history.interrupted:
            raise StopRequested(watch.signals.received or 2)


def _part(part: int) -> str:
    return {1: "a quarter", 3: "three quarters"}.get(part, "all")
