"""The page of a search of settings: its outcome, drawings of its trials, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from ..analysis.plots.trials import TrialPoint, draw_scores, draw_setting, settings_drawn
from . import figures
from .page import render

HEADS = ("trial", "", "score", "seconds", "settings", "note")
LEFT = ("", "settings", "note")
COLOURS = figures.FIRST, figures.SECOND, figures.MUTED


def search_page(
    title: str,
    line: str,
    good: bool,
    trials: Sequence[TrialPoint],
    metric: str,
    higher: bool,
    usual: int | None,
    rows: Sequence[Sequence[str]],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page as text.

    line: what came out; good: whether it is a gain. trials, metric, higher, usual: as `plot_trials` takes them.
    rows: of the table, with a cell for each of HEADS. facts: names and what is to be said of each.
    Raises MissingDependencyError without matplotlib or jinja2.

    >>> trials = [TrialPoint(0, 1.0, True, {"lr": 0.01}), TrialPoint(1, 0.5, True, {"lr": 0.1})]
    >>> page = search_page("A search", "gain: half", True, trials, "loss", False, 0, [], [("searched", "lr")])
    >>> "gain: half" in page and page.count("<svg") == 2
    True
    """
    drawings = [
        ("Score by trial", figures.drawn("scores", partial(_scores, trials, metric, higher, usual))),
        *(
            (
                name.replace("_", " ").capitalize(),
                figures.drawn(f"of {name}", partial(_setting, trials, name, metric, usual)),
            )
            for name in settings_drawn(trials)
        ),
    ]
    variables = {
        "title": title,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "line": line,
        "good": good,
        "drawings": drawings,
        "heads": HEADS,
        "left": LEFT,
        "rows": rows,
        "facts": facts,
        "metric": metric,
    }
    return render("search.html", variables)


def _scores(trials: Sequence[TrialPoint], metric: str, higher: bool, usual: int | None, axes: object) -> None:
    draw_scores(axes, trials, metric, higher, usual, COLOURS)


def _setting(trials: Sequence[TrialPoint], name: str, metric: str, usual: int | None, axes: object) -> None:
    draw_setting(axes, trials, name, metric, usual, COLOURS)
