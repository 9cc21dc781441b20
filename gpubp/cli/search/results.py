"""What a search says: while it runs, at its end, and in its JSON document."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from ...report.words import seconds
from ...rounding import metric as as_metric
from ..commands.train import train
from ..console import fact, line, note, say, table
from ..run_folder import arguments_of
from .finish import Outcome
from .judging import METRICS, rises
from .loop import Tried, best_of, ranked, settings_of
from .space import Settings, Space

SHOWN = 5  # trials in the table at the end


def options_told(space: Space, settings: Settings, rows: int, batch_size: int | None = None) -> str:
    """The options of a trial that are not the default of `gpubp train`, as one types them."""
    return " ".join(arguments_of(train, space.different(settings, rows, batch_size), ())) or "the default"


class Progress:
    """Prints a line for each trial that has ended: its score, the best so far, the time left, and its settings.

    space, metric, rows: of the search; rows: of the training after it. batch_size: that was typed. wanted: how many
    trials. deadline: of time.monotonic(), or infinity.
    """

    def __init__(
        self, space: Space, metric: str, rows: int, batch_size: int | None, wanted: int, deadline: float, at_once: int
    ) -> None:
        self.space, self.metric, self.rows, self.batch_size = space, metric, rows, batch_size
        self.wanted, self.deadline, self.at_once = wanted, deadline, at_once
        self.best: Tried | None = None
        self.spent: list[float] = []

    def tell(self, trial: Tried, done: int) -> None:
        """Print the line of a trial. done: how many trials have ended."""
        self.best = best_of([t for t in (self.best, trial) if t is not None], self.metric)
        self.spent.append(trial.seconds)
        score = "no score" if trial.score is None else f"{self.metric} {self._number(trial.score)}"
        if trial.state == "pruned":
            score = f"{score}, given up: {trial.why}"
        elif trial.why:
            score += f", {trial.why}"
        best = "" if self.best is None else f"  best {self._number(self.best.score)} (trial {self.best.number})"
        told = options_told(self.space, settings_of(self.space, trial), self.rows, self.batch_size)
        line(f"trial {trial.number} ({done}/{self.wanted})  {score}{best}  {self._left(done)}  {told}", err=True)

    def _number(self, value: float | None) -> str:
        return "" if value is None else as_metric(METRICS[self.metric], value)

    def _left(self, done: int) -> str:
        each = sum(self.spent) / len(self.spent) / self.at_once
        left = max(0.0, min(each * (self.wanted - done), self.deadline - time.monotonic()))
        return f"{seconds(left)} left"


def print_outcome(found: Outcome, space: Space, trials: list[Tried], metric: str, typed: int | None) -> None:
    """Print the best trials, and what the best settings gain on the test rows."""
    rows = len(found.default.job.y)
    states = [trial.state for trial in trials]
    finished = ranked(trials, metric)
    lines = [
        [str(t.number), as_metric(METRICS[metric], t.score), options_told(space, settings_of(space, t), rows, typed)]
        for t in finished[:SHOWN]
        if t.score is not None
    ]
    pruned = states.count("pruned")
    below = f"{len(finished)} trials finished, {pruned} given up early" + (
        f", {states.count('failed')} interrupted or failed" if "failed" in states else ""
    )
    table(["trial", metric, "settings"], lines, below, left=["settings"])
    if found.default.trial is not None and found.default.trial.score is not None:
        score = as_metric(METRICS[metric], found.default.trial.score)
        fact("default", f"{metric} {score} on the rows that trials are judged by, trial {found.default.trial.number}")
    if found.best.trial not in (None, found.default.trial) and found.best.trial.score is not None:
        score = as_metric(METRICS[metric], found.best.trial.score)
        fact(
            "best",
            f"{metric} {score} there, trial {found.best.trial.number}; as the best of {len(finished) + pruned}, "
            "it looks a little better than it is",
        )
    told = sentence(found, metric)
    say(told, "bold green" if found.changed else "bold yellow")
    if not found.changed and found.gain is not None and found.gain.gain > 0:
        note(f"the best settings, if you want them nevertheless: {found.best.job.command}")


def sentence(found: Outcome, metric: str) -> str:
    """What the search has gained, in a sentence."""
    gain = found.gain
    if gain is None:
        if found.default.diverged:
            return "the default of gpubp train diverges on these rows, so that there is nothing to compare with"
        if found.best.diverged:
            return "no gain: the best settings diverge on all rows; the default is kept"
        return "no gain: no trial was better than the default, which is kept"
    best, other = (as_metric(METRICS[metric], value) for value in (gain.best, gain.other))
    rows = f"on the {gain.rows:,} test rows, which no trial has seen"
    higher, lower = ("higher", "lower") if rises(metric) else ("lower", "higher")
    low, high = (f"{value:.3g}" for value in (gain.low, gain.high))
    of = f", {100 * abs(gain.share):.1f}% {higher if gain.gain > 0 else lower}" if gain.other else ""
    interval = f"the gain is {gain.gain:.3g}, 95% interval {low} to {high}"
    numbers = f"{rows}, {metric} is {best} in place of {other}{of}; {interval}"
    if gain.sure:
        return f"gain: {numbers}"
    why = "it may be chance" if gain.high > 0 else "it is a loss"
    return f"no sure gain: {numbers}: {why}, and the default is kept"


def fields(found: Outcome, space: Space, trials: list[Tried], metric: str, ended: str) -> dict[str, Any]:
    """The fields of the JSON document that say what was tried and what came out."""
    gain = found.gain

    def of(trial: Tried) -> Mapping[str, Any]:
        return {
            "trial": trial.number,
            "state": trial.state,
            "score": trial.score,
            "settings": trial.params,
            "why": trial.why or None,
            "seconds": trial.seconds,
        }

    return {
        "metric": metric,
        "ended_by": ended,
        "trials": [of(trial) for trial in trials],
        "best": None if found.best.trial is None else found.best.trial.number,
        "default": None if found.default.trial is None else found.default.trial.number,
        "kept": "best" if found.changed else "default",
        "gain": None
        if gain is None
        else {
            "rows": gain.rows,
            "best": gain.best,
            "default": gain.other,
            "gain": gain.gain,
            "interval": [gain.low, gain.high] if math.isfinite(gain.low) else None,
            "sure": gain.sure,
        },
        "repeat": found.kept.job.command,
        "repeat_best": found.best.job.command,
    }
