"""The page of a report, from the template page.html."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

import numpy as np

from ..analysis.diagnostics import GradientFlow
from ..analysis.plots.figures import require_matplotlib
from ..atomic import write_parts
from ..backends import as_numpy
from ..config import instance
from ..data.checks import as_inputs, as_targets
from ..errors import DataError, MissingDependencyError
from ..losses import outputs_are, usual_outputs
from ..losses.base import targets_of
from ..network.outline import summary_of
from ..rounding import number
from ..training.history import History
from ..training.trackers import settings_of
from ..training.trainer import Trainer
from . import facts, figures
from .content import ReportContent, ReportOptions
from .judgement import Guess
from .results import Evaluated, results_of
from .words import Finding, LossNote, Table, findings_of

EPOCHS = 40  # lines of the table of epochs, at most
CURVES = 6


def require_report() -> None:
    """Raise MissingDependencyError, with the command that mends it, where jinja2 or matplotlib is missing.

    >>> require_report()
    """
    require_matplotlib()
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingDependencyError("a report needs jinja2: pip install 'gpubp[report]'") from None


def write_report(
    path: str | os.PathLike[str], trainer: Trainer, X: Any, y: Any, **options: Unpack[ReportOptions]
) -> None:
    """Write a report of the last `fit` of `trainer` as one HTML page, which needs nothing beside it to be shown.

    A verdict in a line; the training curves; the confusion matrix and the surest mistakes, or residuals and predicted
    against true numbers; the gradient flow; layers, data, times, settings, machine and versions. The page holds what
    was given as text, whatever it says. It stays small: mistakes, epochs and classes are shown up to a number, and
    clouds of many points are counted.

    path: of the page, which is there whole or not at all. X, y: what the network is judged by, best a test part.
    rows: what to call these, as "test rows". evaluation: name -> number; `trainer.evaluate(X, y)` by default.
    class_names: of classes, labels or outputs. feature_names: of the numbers of a row. data: what to call it -> (X, y),
    of every part of the data, the one trained with first, and if that is the X judged by, the page says so; by default
    those judged by. columns: of a table, what is known of each. units: (μ, σ) where numbers y were learnt as
    (y - μ) / σ; the page then shows y. flow: a GradientFlow that was a callback of the training. seconds, and the steps
    that they brought: how long training took. title. command: that repeats it. notes: sentences to add. image_shape: of
    a row of X, where its own shape does not say so. guess: to judge by; by default that of the first part.
    loss_note: what the losses by epoch include and `evaluation` does not. look_up: finds the rows of X with given
    numbers (m,) where the user has them. telling: of texts, the words that change predictions most: for each the class
    that it speaks for, the word, the mean of its effects, and the rows that it is in.

    Raises MissingDependencyError without matplotlib or jinja2 (`pip install 'gpubp[report]'`), DataError if X and y
    don't fit, OSError where the page can't be written.

    >>> import tempfile, numpy as np, gpubp as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "report.html")
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.Adam(0.05))
    >>> flow = bp.GradientFlow()
    >>> _ = trainer.fit(X, X @ [1.0, 2.0, 3.0], epochs=40, callbacks=[flow])
    >>> bp.write_report(path, trainer, X, X @ [1.0, 2.0, 3.0], flow=flow, title="A plane")
    >>> os.path.getsize(path) < 200_000
    True
    """
    for name in options:
        if name not in ReportOptions.__annotations__:
            raise TypeError(f"write_report() got an unexpected keyword argument {name!r}")
    instance("write_report", "trainer", Trainer, trainer)
    if trainer.network.has_lengths:
        raise DataError("a report needs rows of one length, and the network takes rows of different lengths")
    require_report()
    page = _page(ReportContent(trainer, X, y, **options))
    write_parts(path, [render("page.html", page).encode("utf-8", "backslashreplace")])


def _page(content: ReportContent) -> dict[str, Any]:
    """The variables of the template page.html."""
    trainer, rows = content.trainer, content.rows
    network, history = trainer.network, trainer.history
    first, (first_X, first_y) = next(iter(content.parts.items()))
    evaluated = _evaluate(content, as_numpy(first_y))
    found = results_of(evaluated)
    if content.telling:
        found.tables.append(("telling words", _telling(content.telling, evaluated.kind)))
    first_y = _in_units(as_numpy(first_y), content)
    left_out = getattr(trainer.loss_function, "ignore_index", None)
    if left_out is not None and first_y.ndim == 1:
        first_y = first_y[first_y != left_out]
    verdict, notes = found.verdict, list(content.notes)
    if verdict is not None and content.data and first_X is content.X:
        verdict.kind, verdict.word = "note", "judged by its own rows"
        notes.insert(0, "These are the rows it was trained with: how it does on others is not known.")
    findings = [*(verdict.findings if verdict else []), *_flow_findings(content.flow)]
    findings += [*findings_of(history, trainer.stop), *(Finding("note", text) for text in notes)]
    count = len(facts.Part.of(first_X))
    batch = min(trainer.batch_size or count, count)
    steps = trainer.step_count if content.steps is None else content.steps
    exact = [("SHA-256", network.sha256())] if network.backend.numerics == "exact" else []
    return {
        "title": content.title or "Report of a training",
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "verdict": verdict,
        "findings": findings,
        "tiles": _tiles(evaluated.metrics, content),
        "curves": _curves(history, content.loss_note),
        "loss_note": content.loss_note.text,
        "epochs": _epochs(history, content.loss_note),
        "results": found,
        "rows": rows,
        "flow": _flow(content.flow),
        "summary": summary_of(network, batch),
        "parts": facts.parts(content.parts, bool(content.columns)),
        "columns": facts.columns(content.columns) or facts.features(first_X, evaluated.features),
        "balance": facts.balance(first_y, found.names) if found.names and evaluated.kind == "classes" else [],
        "balance_of": first,
        "spread": facts.targets_drawn(first_y, _target(content)) if evaluated.kind == "numbers" else "",
        "timings": facts.timings(
            content.seconds, steps, min(trainer.rows_of_step(count), count), (len(evaluated.z), evaluated.seconds)
        ),
        "settings": [*settings_of(trainer).items(), *exact],
        "machine": facts.machine(network),
        "command": content.command,
    }


def _evaluate(content: ReportContent, first_y: Any) -> Evaluated:
    """The rows (X, y) with the network's outputs and metrics. first_y: targets of the rows trained with."""
    trainer = content.trainer
    network, loss = trainer.network, trainer.loss_function
    X = as_inputs(content.X, network.input_shape, network.backend, network.dtype)
    t = as_numpy(as_targets(content.y, loss, network.output_shape, X, network.dtype))
    metrics = trainer.evaluate(content.X, content.y) if content.evaluation is None else content.evaluation
    start = time.perf_counter()
    z = usual_outputs(loss, as_numpy(network.predict(content.X)))
    seconds = time.perf_counter() - start
    if loss.predicts != "classes":
        first_y = targets_of(loss, first_y, (len(first_y), *network.output_shape))
    if loss.predicts == "labels" and getattr(loss, "ignore_index", None) is not None:
        t, first_y = (np.where(a < 0, np.nan, a) for a in (t, first_y))
    guess = content.guess or Guess.of(loss.predicts, first_y, network.output_shape[-1])
    if guess.kind == "numbers":
        guess = Guess(guess.kind, tuple(_in_units(guess.values, content).tolist()))
    return Evaluated(
        loss.predicts,
        X,
        _in_units(t, content),
        _in_units(z, content),
        names=None if content.class_names is None else [str(name) for name in content.class_names],
        rows=content.rows,
        image_shape=content.image_shape,
        features=[str(name) for name in content.feature_names or ()],
        metrics=metrics,
        seconds=seconds,
        guess=guess,
        look_up=content.look_up,
        scores=outputs_are(loss) == "scores",
    )


def _in_units(a: Any, content: ReportContent) -> Any:
    """Targets or outputs that are numbers, in the units of the page; others are returned as they are."""
    mean, scale = content.units
    numbers = content.trainer.loss_function.predicts == "numbers"
    return mean + scale * np.asarray(a, np.float64) if numbers else a


def _target(content: ReportContent) -> str:
    """The name of the one number to predict."""
    return str(content.class_names[0]) if content.class_names is not None and len(content.class_names) == 1 else "y"


def render(name: str, page: dict[str, Any]) -> str:
    """The page of a template of this folder with its variables; every word of them is escaped."""
    from importlib import resources

    import jinja2
    from markupsafe import Markup

    folder = resources.files(__package__)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: (folder / file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["drawing"] = Markup  # for SVG of ours, in which matplotlib has escaped every word
    style = Markup((folder / "page.css").read_text(encoding="utf-8"))
    return environment.get_template(name).render(page, style=style)


def _tiles(evaluation: Mapping[str, float], content: ReportContent) -> list[tuple[str, Any, str]]:
    """The large numbers at the top of the page: (name, number, what it is of)."""
    history, network, rows = content.trainer.history, content.trainer.network, content.rows
    ordered = sorted(evaluation.items(), key=lambda item: item[0] == "loss")
    tiles: list[tuple[str, Any, str]] = [(name.replace("_", " "), value, rows) for name, value in ordered]
    tiles += [
        (content.loss_note.mark(name), history[name][-1], f"after epoch {history.epochs}")
        for name in history
        if name.startswith("val_") and history.epochs
    ]
    tiles.append(("epochs", history.epochs, ""))
    tiles.append(("parameters", sum(int(a.size) for a in network.parameters.values()), ""))
    return tiles


def _curves(history: History, note: LossNote) -> list[tuple[str, str]]:
    names = [name for name in history if not name.startswith("val_")][:CURVES] if history.epochs else []
    return [(note.mark(name), figures.curve(history, name)) for name in names]


def _telling(words: Sequence[tuple[str, str, float, int]], kind: str) -> Table:
    numbers = kind == "numbers"
    note = "by how much predictions change in the mean if the word is left out of a text" + (
        "" if numbers else ", as probability"
    )
    lines = [
        [name, word, f"{effect:+.3g}" if numbers else f"{effect:+.2f}", f"{rows:,}"]
        for name, word, effect, rows in words
    ]
    return Table(
        ["prediction" if numbers else "class", "word", "effect", "rows"],
        lines,
        frozenset(["prediction", "class", "word"]),
        note,
    )


def _epochs(history: History, note: LossNote) -> Table | None:
    count = history.epochs
    if not count:
        return None
    names = [note.mark(name) for name in history]
    rows = [[str(k + 1), *(number(c[k]) for c in history.values())] for k in figures.evenly(count, EPOCHS)]
    return Table(["epoch", *names], rows)


def _flow_findings(flow: GradientFlow | None) -> list[Finding]:
    if flow is None or not flow.gradients or not flow.layers:
        return []
    head = flow.report().splitlines()
    kind = "good" if head[0].startswith("The gradient reaches") else "bad"
    return [Finding(kind, " ".join(line for line in head[:2] if line))]


def _flow(flow: GradientFlow | None) -> dict[str, Any] | None:
    if flow is None or not flow.gradients or not flow.layers:
        return None
    lines = []
    for name, g, u, w in zip(flow.layers, flow.gradients[-1], flow.updates[-1], flow.weights[-1], strict=True):
        lines.append([name, flow.called(name), f"{g:.1e}", f"{u / w if w else np.nan:.1e}"])
    table = Table(["layer", "", "gradient", "update / weight"], lines, frozenset(["layer", ""]))
    return {"drawn": figures.flow(flow.layers, flow.gradients), "words": _flow_findings(flow)[0].text, "table": table}
