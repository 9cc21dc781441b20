"""The trials of a search of settings: their scores one after the other, and against each setting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .figures import COLOURS, Place, check_file, curves, literal

WIDE = 3  # axes in a row
FEW = 5  # values of a setting; so few stand side by side, whatever they are
LOGARITHMIC = 8.0  # times the smallest value; a setting of a wider range has a logarithmic axis


class TrialPoint(NamedTuple):
    """A trial in a picture. score: None where it has none. finished: whether it was trained to its end."""

    number: int
    score: float | None
    finished: bool
    settings: Mapping[str, Any]


def best_so_far(trials: Sequence[TrialPoint], higher: bool) -> list[tuple[int, float]]:
    """(number, best score up to it) of each finished trial, in the order of the numbers.

    >>> points = [TrialPoint(k, score, True, {}) for k, score in enumerate((3.0, 1.0, 2.0))]
    >>> best_so_far(points, higher=False)
    [(0, 3.0), (1, 1.0), (2, 1.0)]
    """
    best: list[tuple[int, float]] = []
    for trial in sorted(trials):
        if trial.finished and trial.score is not None:
            better = max if higher else min
            best.append((trial.number, better([trial.score, *(b for _, b in best[-1:])])))
    return best


def plot_trials(
    trials: Sequence[TrialPoint], metric: str, higher: bool = False, usual: int | None = None, path: Place = None
) -> Any:
    """Draw the trials of a search: the score of each with the best so far, and the score against each setting.

    metric: what the score is. higher: whether more is better. usual: the number of the trial of the default. path: a
    .png, .svg or .pdf file to draw into, or None. Returns the figure.
    Raises MissingDependencyError without matplotlib, ValueError where no trial has a score.

    >>> trials = [TrialPoint(0, 1.0, True, {"lr": 0.01}), TrialPoint(1, 0.5, True, {"lr": 0.1})]
    >>> [axes.get_xlabel() for axes in plot_trials(trials, "loss").axes]
    ['trial', 'lr']
    """
    check_file(path)
    from matplotlib.figure import Figure

    if not any(trial.score is not None for trial in trials):
        raise ValueError("no trial has a score to draw")
    names = settings_drawn(trials)
    rows = -(-(1 + len(names)) // WIDE)
    columns = min(WIDE, 1 + len(names))
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    colours = COLOURS[0], COLOURS[4], "0.55"
    draw_scores(places[0], trials, metric, higher, usual, colours)
    for axes, name in zip(places[1:], names, strict=False):
        draw_setting(axes, trials, name, metric, usual, colours)
    for axes in places[1 + len(names) :]:
        axes.remove()
    return curves(figure, path)


def settings_drawn(trials: Sequence[TrialPoint]) -> list[str]:
    """The settings that differ among the trials, in the order in which they first come."""
    values: dict[str, set[Any]] = {}
    for trial in trials:
        for name, value in trial.settings.items():
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


Colours = tuple[str, str, str]  # of finished trials, of the default and the best so far, and of those given up


def draw_scores(
    axes: Any, trials: Sequence[TrialPoint], metric: str, higher: bool, usual: int | None, colours: Colours
) -> None:
    """Draw the score of each trial by its number, and the best so far, on axes of matplotlib."""
    _points(axes, trials, lambda trial: trial.number, usual, colours)
    best = best_so_far(trials, higher)
    if best:
        numbers, scores = zip(*best, strict=True)
        axes.step(numbers, scores, where="post", color=colours[0], label="best so far")
    _within(axes, trials)
    axes.set(xlabel="trial", ylabel=literal(metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize="x-small", columnspacing=1)


def draw_setting(
    axes: Any, trials: Sequence[TrialPoint], name: str, metric: str, usual: int | None, colours: Colours
) -> None:
    """Draw the score against a setting, on axes of matplotlib."""
    having = [trial for trial in trials if name in trial.settings]
    values = {trial.settings[name] for trial in having}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numbers and len(values) > FEW:
        _points(axes, having, lambda trial: trial.settings[name], usual, colours)
        if min(values) > 0 and max(values) > LOGARITHMIC * min(values):
            _logarithmic(axes)
    else:
        ordered = sorted(values, key=None if numbers else str)
        _points(axes, having, lambda trial: ordered.index(trial.settings[name]), usual, colours)
        axes.set_xticks(range(len(ordered)), [literal(value) for value in ordered])
        axes.set_xlim(-0.5, len(ordered) - 0.5)
    _within(axes, trials)
    axes.set(xlabel=literal(name.replace("_", " ")), ylabel=literal(metric))


def _points(
    axes: Any,
    trials: Sequence[TrialPoint],
    place: Callable[[TrialPoint], Any],
    usual: int | None,
    colours: Colours,
) -> None:
    kinds: list[tuple[str, Callable[[TrialPoint], bool], dict[str, Any]]] = [
        ("given up", lambda trial: not trial.finished, {"marker": "x", "color": colours[2], "s": 18, "linewidths": 1}),
        ("finished", lambda trial: trial.finished and trial.number != usual, {"color": colours[0], "s": 18}),
        ("default", lambda trial: trial.number == usual, {"marker": "D", "color": colours[1], "s": 36, "zorder": 3}),
    ]
    for label, wanted, how in kinds:
        here = [trial for trial in trials if trial.score is not None and wanted(trial)]
        if here:
            axes.scatter([place(trial) for trial in here], [trial.score for trial in here], label=label, **how)


def _within(axes: Any, trials: Sequence[TrialPoint]) -> None:
    """Show the scores of finished trials, and as much again on both sides: others may be a thousand times as large."""
    told = sorted(score for trial in trials if (score := trial.score) is not None and math.isfinite(score))
    finished = [trial.score for trial in trials if trial.finished and trial.score is not None]
    if not finished:
        return
    low, high = min(finished), max(finished)
    spread = high - low or 0.1 * abs(high) or 1.0
    room = 0.1 * spread
    axes.set_ylim(max(low - spread, told[0]) - room, min(high + spread, told[-1]) + room)


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
