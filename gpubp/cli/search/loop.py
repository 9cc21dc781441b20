"""The loop of a search: trial after trial, until there are enough of them, the time is up, or a signal comes."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click

from ...errors import DataError, GpubpError
from ...training.pruning import require_optuna
from ...training.signals import SignalHandlers, StopRequested
from .judging import METRICS, rises
from .space import Settings, Space
from .study import Worker, free_left_behind, give_back
from .training import RUNGS, OutOfTime, Pruned, TrialRunner, Watch

SETTINGS, LOSS, WHY, SECONDS = "settings", "loss", "why", "seconds"  # attributes of a trial
POLL = 0.5  # seconds between two looks at the trials of other processes


@dataclass(frozen=True)
class Tried:
    """A trial that has ended, or runs.

    state: "finished", "pruned", "failed" or "running". score: the metric on the folds, of a pruned trial at its end,
    None where it has none. loss: without penalties, of a finished one. params: as Optuna knows them. why: it was given
    up, or not trained. seconds: that it took.
    """

    number: int
    state: str
    score: float | None
    loss: float | None
    params: dict[str, Any]
    why: str = ""
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether it counts as tried: it has all settings, and was finished or given up."""
        return self.state in ("finished", "pruned")


def tried(study: Any) -> list[Tried]:
    """All trials of a study that have begun."""
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    found = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name not in names:
            continue
        score = trial.value if trial.state.name == "COMPLETE" else None
        if score is None and trial.intermediate_values:
            score = trial.intermediate_values[max(trial.intermediate_values)]
        told = trial.user_attrs
        found.append(
            Tried(
                trial.number,
                names[trial.state.name],
                _number(score),
                _number(told.get(LOSS)),
                dict(trial.params),
                str(told.get(WHY, "")),
                _number(told.get(SECONDS)) or 0.0,
            )
        )
    return found


def _number(value: Any) -> float | None:
    """A finite number, None for anything else that stands in a study."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def check_trials(trials: Iterable[Tried], space: Space, where: str | None) -> None:
    """Raise DataError for trials that have ended with settings that are not in the space, as no search leaves them."""
    of = space.searched()
    for trial in trials:
        if not trial.is_whole:
            continue
        needed = of.keys() - ({"prior"} if trial.params.get("penalty") is False else set())
        if needed <= trial.params.keys() and all(_is_within(trial.params[name], of[name]) for name in needed):
            continue
        raise DataError(f"--study {where} can't be used: trial {trial.number} has settings that no search tries")


def _is_within(value: Any, bounds: tuple[Any, ...]) -> bool:
    if value in bounds:
        return True
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in (value, *bounds)]
    return len(bounds) == 2 and all(numbers) and bool(bounds[0] <= value <= bounds[1])


def ranked(trials: Iterable[Tried], metric: str) -> list[Tried]:
    """The finished trials, the best score first; of equal scores the earlier trial."""
    sign = -1 if rises(metric) else 1
    finished = [(sign * t.score, t.number, t) for t in trials if t.state == "finished" and t.score is not None]
    return [trial for _, _, trial in sorted(finished, key=lambda one: one[:2])]


def best_of(trials: Iterable[Tried], metric: str) -> Tried | None:
    """The finished trial with the best score; None without any."""
    return next(iter(ranked(trials, metric)), None)


class FixedTrial:
    """Gives back the parameters of a trial, as `Space.suggest` asks for them.

    >>> FixedTrial({"layers": 2}).suggest_int("layers", 0, 4)
    2
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def suggest_int(self, name: str, *bounds: Any, **how: Any) -> Any:
        """The parameter."""
        return self.params[name]

    suggest_float = suggest_categorical = suggest_int


def settings_of(space: Space, trial: Tried) -> Settings:
    """The settings of a trial that has ended."""
    return space.suggest(FixedTrial(trial.params))


@dataclass
class Search:
    """A search in this process.

    study: of Optuna. trials: how many of all processes together are wanted. deadline: of time.monotonic(), or infinity;
    the trainings after the search are to be over by then. tell: gets each trial of this process when it has ended, and
    how many have, of all processes. still: asked now and then, whether to go on.
    """

    study: Any
    space: Space
    runner: TrialRunner
    trials: int
    deadline: float
    tell: Callable[[Tried, int], None] = lambda trial, done: None
    still: Callable[[], bool] = lambda: True

    def run(self) -> str:
        """Try settings; returns why it ended: "trials", "time" or "interrupt". Raises SystemExit after SIGTERM."""
        worker = Worker()
        try:
            with SignalHandlers() as signals:
                free_left_behind(self.study, worker)
                self._put_first()
                while self.still():
                    if self._ended(worker, signals):
                        return "trials"
                    if time.monotonic() >= self._last():
                        return "time"
                    self._try(worker, signals)
        except OutOfTime:
            return "time"
        except StopRequested as request:
            if request.exit_code != 130:
                raise SystemExit(request.exit_code) from None
            return "interrupt"
        except KeyboardInterrupt:
            return "interrupt"
        return "trials"

    def _put_first(self) -> None:
        """Have the usual settings tried first, unless they were, or will be."""
        trials = self.study.get_trials(deepcopy=False)
        there = [t.params or t.system_attrs.get("fixed_params") for t in trials if t.state.name != "FAIL"]
        for params in self.space.usual():
            if params not in there:
                self.study.enqueue_trial(params)

    def _last(self) -> float:
        """When the last trial must be over, so that two trainings on all rows fit into the time that is left."""
        rows = max(len(self.runner.job.y) / fold.rows for fold in self.runner.folds)
        return self.deadline - 2 * self.runner.seconds * rows

    def _ended(self, worker: Worker, signals: SignalHandlers) -> bool:
        """Whether there are enough trials; waits for those of other processes that would make them enough."""
        while True:
            trials = tried(self.study)
            done, running = (sum(t.is_whole for t in trials), sum(t.state == "running" for t in trials))
            if done >= self.trials and not running:
                return True
            if done + running < self.trials:
                return False
            if free_left_behind(self.study, worker):
                continue
            signals.raise_if_received()
            if time.monotonic() >= self._last() or not self.still():
                return True
            time.sleep(POLL)

    def _try(self, worker: Worker, signals: SignalHandlers) -> None:
        trial = self.study.ask()
        try:
            worker.takes(trial)
            settings = self.space.suggest(trial)
            began = time.monotonic()
            state, value = self._result(trial, settings, worker, signals)
            trial.set_user_attr(SECONDS, time.monotonic() - began)
            self.study.tell(trial, value, state=state, skip_if_finished=True)
        except (KeyboardInterrupt, SystemExit, OutOfTime):
            give_back(self.study, trial, blame=False)
            raise
        except BaseException:
            self.study.tell(trial, state=require_optuna().trial.TrialState.FAIL, skip_if_finished=True)
            raise
        trials = tried(self.study)
        self.tell(next(t for t in trials if t.number == trial.number), sum(t.is_whole for t in trials))

    def _result(
        self, trial: Any, settings: Settings, worker: Worker, signals: SignalHandlers
    ) -> tuple[Any, float | None]:
        """(state, score) of a trial."""
        states = require_optuna().trial.TrialState
        for other in tried(self.study):
            if other.state == "finished" and settings_of(self.space, other) == settings:
                trial.set_user_attr(LOSS, other.loss)
                trial.set_user_attr(WHY, f"as trial {other.number}")
                return states.COMPLETE, other.score
        usual = trial.params in self.space.usual()

        def alive() -> None:
            if worker.alive(trial) and not self.still():
                raise StopRequested(signal.SIGTERM)

        def report(part: int, score: float) -> bool:
            trial.report(score, part)
            worse = bool(trial.should_prune())  # which notes the score too, so that others are compared with it
            return worse and part < RUNGS[-1] and not usual

        watch = Watch(signals, self._last(), alive)
        try:
            found = self.runner.run(settings, watch, report)
        except Pruned as pruned:
            trial.set_user_attr(WHY, str(pruned))
            return states.PRUNED, None
        except MemoryError:
            trial.set_user_attr(WHY, "not enough memory")
            return states.PRUNED, None
        except (GpubpError, click.UsageError) as problem:
            if usual:
                raise
            trial.set_user_attr(WHY, str(problem))  # it can't be trained with these settings
            return states.PRUNED, None
        trial.set_user_attr(LOSS, found["loss"])
        return states.COMPLETE, found[METRICS[self.runner.metric]]
