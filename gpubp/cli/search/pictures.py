"""`--plot` and `--report` of a search: its trials as a picture, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from ...analysis.plots.trials import TrialPoint, plot_trials
from ...atomic import write_parts
from ...report import require_report
from ...report.trials import search_page
from ...rounding import metric as as_metric
from ..console import fact
from ..files import check_output, draw
from ..report_options import command_of
from ..writing import writing
from .finish import Outcome
from .judging import METRICS, rises
from .loop import Tried, settings_of
from .results import options_told, sentence
from .space import Space

NAMES = {
    "width": "units of the first layer",
    "lr": "learning rate",
    "prior": "l2 times the rows",
    "epochs": "epochs, times the usual",
    "batch_size": "batch size",
}  # of parameters


def check_search_pictures(path: str | None, not_over: Sequence[str | None]) -> None:
    """Raise what can be known of --report before the search: UsageError, MissingDependencyError."""
    if path is not None:
        check_output(path, "--report", (".html", ".htm"), not_over=not_over)
        require_report()


def points_of(trials: list[Tried]) -> list[TrialPoint]:
    """The trials that have ended as points of a picture."""
    ended = [trial for trial in trials if trial.is_whole]
    return [
        TrialPoint(t.number, t.score, t.state == "finished", {NAMES.get(k, k): value for k, value in t.params.items()})
        for t in ended
    ]


def draw_search(found: Outcome, space: Space, trials: list[Tried], options: dict[str, Any], seconds: float) -> None:
    """Draw the picture and write the page that were asked for. Raises ClickException where they can't be written."""
    metric = options["metric"]
    points, higher = points_of(trials), rises(metric)
    usual = None if found.default.trial is None else found.default.trial.number
    if options["plot"]:
        draw("trials", options["plot"], partial(plot_trials, points, metric, higher, usual))
    if options["report"]:
        context = click.get_current_context()
        rows = len(found.default.job.y)
        lines = []
        for trial in trials:
            score = "" if trial.score is None else as_metric(METRICS[metric], trial.score)
            told = ""
            if trial.is_whole:
                told = options_told(space, settings_of(space, trial), rows, options["batch_size"])
            lines.append([str(trial.number), trial.state, score, f"{trial.seconds:.1f}", told, trial.why])
        page = search_page(
            f"{found.default.job.dataset.name}: search of settings",
            sentence(found, metric),
            found.changed,
            points,
            metric,
            higher,
            usual,
            lines,
            [
                ("searched", space.told()),
                ("trials", f"{len(points):,}, in {seconds:,.0f} s"),
                ("this search", command_of(context)),
                ("repeat the model that is saved", found.kept.job.command),
                ("train the best settings", found.best.job.command),
            ],
        )
        with writing(options["report"]):
            write_parts(options["report"], [page.encode("utf-8", "backslashreplace")])
        fact("report", options["report"])
