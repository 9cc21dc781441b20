"""The page itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.plots import require_matplotlib
from ..atomic import write_parts
from ..backends import Shape, as_numpy
from ..data.checks import as_inputs, as_targets
from ..errors import MissingDependencyError
from ..training.trackers import settings_of
from . import facts, figures
from .judged import judged
from .words import Finding, Table, findings_of, number

if TYPE_CHECKING:
    from ..analysis.diagnostics import GradientFlow
    from ..training.history import History
    from ..training.trainer import Trainer

__all__ = ["require_report", "write_report"]

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
    path: str | os.PathLike[str],
    trainer: Trainer,
    X: Any,
    y: Any,
    *,
    rows: str = "rows",
    evaluation: Mapping[str, float] | None = None,
    class_names: Sequence[Any] | None = None,
    feature_names: Sequence[Any] | None = None,
    data: Mapping[str, tuple[Any, Any]] | None = None,
    columns: Sequence[Mapping[str, Any]] = (),
    units: tuple[float, float] = (0.0, 1.0),
    flow: GradientFlow | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    title: str = "",
    command: str = "",
    notes: Sequence[str] = (),
    image_shape: Shape | None = None,
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
    a row of X, where its own shape does not say so.

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
    require_report()
    network, loss = trainer.network, trainer.loss_function
    checked = as_inputs(X, network.input_shape, network.backend, network.dtype)
    t = as_numpy(as_targets(y, loss, network.output_shape, len(checked), network.dtype))
    evaluation = trainer.evaluate(X, y) if evaluation is None else evaluation
    start = time.perf_counter()
    z = as_numpy(network.predict(X))
    predicted = (len(z), time.perf_counter() - start)
    first_y = as_numpy(next(iter((data or {rows: (X, y)}).values()))[1])
    if loss.predicts == "numbers":
        t, z, first_y = (units[0] + units[1] * np.asarray(a, np.float64) for a in (t, z, first_y))
    names = None if class_names is None else [str(name) for name in class_names]
    features = [str(name) for name in feature_names or ()]
    found = judged(loss.predicts, checked, t, z, names, rows, image_shape, features)
    history = trainer.history
    verdict = found.verdict
    if verdict is not None and data and next(iter(data.values()))[0] is X:
        verdict.kind, verdict.word = "note", "judged by its own rows"
        notes = ["These are the rows it was trained with: how it does on others is not known.", *notes]
    findings = list(verdict.findings if verdict else [])
    findings += [*_flow_findings(flow), *findings_of(history, trainer.stop), *(Finding("note", n) for n in notes)]
    given = dict(data or {rows: (X, y)})
    first_X, _ = next(iter(given.values()))
    count = len(facts.Part.of(first_X))
    batch = min(trainer.batch_size or count, count)
    page = {
        "title": title or "Report of a training",
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "verdict": verdict,
        "findings": findings,
        "tiles": _tiles(evaluation, rows, history, network),
        "curves": _curves(history),
        "epochs": _epochs(history),
        "judged": found,
        "rows": rows,
        "flow": _flow(flow),
        "summary": network._summary(batch),
        "parts": facts.parts(given),
        "columns": facts.columns_table(columns) or facts.features(first_X, features),
        "balance": facts.balance(first_y, found.names) if found.names and loss.predicts == "classes" else [],
        "balance_of": next(iter(given)),
        "spread": facts.targets_drawn(first_y) if loss.predicts == "numbers" else "",
        "timings": facts.timings(seconds, trainer.step_count if steps is None else steps, batch, predicted),
        "settings": list(settings_of(trainer).items()),
        "machine": facts.machine(network),
        "command": command,
    }
    write_parts(path, [_render(page).encode("utf-8", "backslashreplace")])


def _render(page: dict[str, Any]) -> str:
    from importlib import resources

    import jinja2
    from markupsafe import Markup

    folder = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["drawing"] = Markup  # for SVG of ours, in which matplotlib has escaped every word
    style = Markup((folder / "page.css").read_text(encoding="utf-8"))
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(page, style=style)


def _tiles(evaluation: Mapping[str, float], rows: str, history: History, network: Any) -> list[tuple[str, Any, str]]:
    """(name, number, more) of what counts."""
    ordered = sorted(evaluation.items(), key=lambda item: item[0] == "loss")
    tiles: list[tuple[str, Any, str]] = [(name.replace("_", " "), value, rows) for name, value in ordered]
    tiles += [
        (name.replace("val_", "validation ").replace("_", " "), history[name][-1], f"after epoch {history.epochs}")
        for name in history
        if name.startswith("val_") and history.epochs
    ]
    tiles.append(("epochs", history.epochs, ""))
    tiles.append(("parameters", sum(int(a.size) for a in network.parameters.values()), ""))
    return tiles


def _curves(history: History) -> list[tuple[str, str]]:
    names = [name for name in history if not name.startswith("val_")][:CURVES] if history.epochs else []
    return [(name.replace("_", " "), figures.curve(history, name)) for name in names]


def _epochs(history: History) -> Table | None:
    count = history.epochs
    if not count:
        return None
    shown = (
        sorted({round(k * (count - 1) / max(1, EPOCHS - 1)) for k in range(EPOCHS)}) if count > EPOCHS else range(count)
    )
    names = [name.replace("val_", "validation ").replace("_", " ") for name in history]
    return Table(["epoch", *names], [[str(k + 1), *(number(c[k]) for c in history.values())] for k in shown])


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
