"""Parts of a report that show the evaluation: tables, mistakes and drawings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..analysis.plots.classes import drawable
from ..backends import Shape, as_numpy
from ..metrics import as_classes, confusion_matrix
from ..rounding import number
from . import figures
from .content import FoundRows
from .judgement import Guess, Judgement, explained, judge
from .words import Table, Verdict, of_classes, of_numbers, share

Array = np.ndarray[Any, Any]
CELLS = 25  # classes of a whole confusion matrix
ROWS = 50  # of a table
PICTURES = 24  # mistakes, as pictures
MISTAKES = 12  # as rows of a table
FEATURES = 8  # of such a row
OUTPUTS = 4  # drawn


@dataclass
class Mistake:
    """A row whose class was predicted wrongly. sure: its probability; of scores, how much it is ahead of the next.
    picture: the data URL of its PNG, or ""."""

    place: str
    truth: str
    said: str
    sure: float
    picture: str = ""


@dataclass(frozen=True)
class Evaluated:
    """Rows with their targets and a network's outputs.

    kind: "classes", "labels" or "numbers". t: targets; z: outputs (n, K). names: of classes, labels or outputs. rows:
    what to call them. image_shape: of a row of X, where its own shape does not say so. features: names of the numbers
    of a row, if known. metrics: name -> number. seconds: that predicting took. guess: of the rows trained with.
    look_up: finds rows where the user has them. scores: whether outputs of classes are scores, and no logits.
    """

    kind: str
    X: Any
    t: Array
    z: Array
    names: Sequence[str] | None
    rows: str
    image_shape: Shape | None
    features: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    guess: Guess | None = None
    look_up: Callable[[Array], FoundRows] | None = None
    scores: bool = False

    @property
    def counted(self) -> Array:
        """(n,) whether each row counts: not those that the loss leaves out, of class -1 or with a label NaN."""
        if self.kind == "labels":
            return np.asarray(~np.isnan(self.t.reshape(len(self.t), -1)).any(axis=1))
        return self.t >= 0 if self.kind == "classes" and self.t.ndim == 1 else np.ones(len(self.z), np.bool_)


@dataclass
class Results:
    """What a report shows of evaluated rows; verdict: None where nothing can be said.

    >>> Results(None).tables
    []
    """

    verdict: Verdict | None
    tables: list[tuple[str, Table]] = field(default_factory=list)
    confusion: list[tuple[str, list[tuple[int, int, bool]]]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    mistaken: str = ""
    drawn: list[tuple[str, str]] = field(default_factory=list)


def results_of(of: Evaluated) -> Results:
    """Tables, and by the kind of task a confusion matrix with mistakes, or predicted against true numbers.

    >>> t, z = np.array([0, 1]), np.array([[2.0, 1.0], [2.0, 1.0]])
    >>> results_of(Evaluated("classes", np.eye(2), t, z, None, "rows", None)).mistaken
    'all 1 mistakes in 2 rows, the surest first'
    """
    z = of.z
    if z.ndim != 2 or not of.counted.any():
        return Results(None)
    if of.kind == "classes" or (of.kind == "labels" and z.shape[1] == 1):
        return _classes(of)
    t, z = of.t.reshape(z.shape)[of.counted], z[of.counted]
    names = _names(of.names, z.shape[1])
    judged = judge(of.kind, t, z, names, of.guess)
    assert judged is not None  # some rows count
    return _labels(judged, t, z, names, of.rows) if of.kind == "labels" else _numbers(judged, t, z, of)


def _names(given: Sequence[str] | None, count: int) -> list[str]:
    return list(given) if given is not None and len(given) == count else [str(k) for k in range(count)]


def _classes(of: Evaluated) -> Results:
    many = max(of.z.shape[1], 2)
    names = _names(of.names, many)
    counts = confusion_matrix(of.t[of.counted], of.z[of.counted], many)
    judged = judge(of.kind, of.t[of.counted], of.z[of.counted], names, of.guess)
    assert judged is not None  # some rows count
    found = Results(of_classes(judged, int(np.trace(counts)), int(counts.sum()), of.rows), names=names)
    found.tables.append(("by class", _per_class(counts, names)))
    if many <= CELLS:
        highest = np.maximum(counts.sum(axis=1), 1)
        for i, line in enumerate(counts):
            # the colour's strength goes by the root of the share, so that rare mistakes are seen
            cells = [(int(c), round(100 * math.sqrt(c / highest[i])), i == j) for j, c in enumerate(line)]
            found.confusion.append((names[i], cells))
    else:
        found.tables.append(("most frequent mistakes", _pairs(counts, names)))
    _find_mistakes(found, of)
    return found


def _per_class(counts: Array, names: Sequence[str]) -> Table:
    of, taken = counts.sum(axis=1), counts.sum(axis=0)
    order = [k for k in range(len(names)) if of[k]]
    note = ""
    if len(order) > ROWS:
        order = sorted(order, key=lambda k: (counts[k, k] / of[k], -of[k]))[:ROWS]
        note = f"the {ROWS} of {int((of > 0).sum())} classes that are found least"
    table = []
    for k in order:
        wrong = counts[k].copy()
        wrong[k] = 0
        most = int(wrong.argmax())
        precision = number(counts[k, k] / taken[k]) if taken[k] else "–"
        taken_for = f"{names[most]} ({int(wrong[most]):,})" if wrong[most] else ""
        table.append([names[k], f"{int(of[k]):,}", number(counts[k, k] / of[k]), precision, taken_for])
    heads = ["class", "rows", "recall", "precision", "most often taken for"]
    return Table(heads, table, frozenset(["class", "most often taken for"]), note)


def _pairs(counts: Array, names: Sequence[str]) -> Table:
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    pairs = [divmod(int(k), len(names)) for k in order if wrong.flat[k]]
    lines = [[names[i], names[j], f"{int(wrong[i, j]):,}"] for i, j in pairs]
    return Table(["true", "predicted", "rows"], lines, frozenset(["true", "predicted"]))


def _find_mistakes(found: Results, of: Evaluated) -> None:
    """Put the surest mistakes into `found`, as pictures or as rows of a table."""
    z, names, counted = of.z, found.names, of.counted
    truth = np.full(len(z), -1)
    truth[counted] = as_classes(of.t[counted], "y", len(names))
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)  # softmax (0, z) = (1 - σ(z), σ(z))
    said = z.argmax(axis=1)
    wrong = np.flatnonzero((truth != said) & counted)
    part = z[wrong].astype(np.float64)
    e = np.exp(part - part.max(axis=1, keepdims=True))
    sure = part.max(axis=1) - np.sort(part, axis=1)[:, -2] if of.scores else e.max(axis=1) / e.sum(axis=1)
    order = np.argsort(-sure, kind="stable")[:PICTURES]
    shown, sure = wrong[order], sure[order]
    if not len(shown):
        return
    shape = _image(tuple(of.X.shape[1:]), of.image_shape)
    if shape is None:
        shown, sure = shown[:MISTAKES], sure[:MISTAKES]
        told = [[names[truth[row]], names[said[row]], f"{p:.3f}"] for row, p in zip(shown, sure, strict=True)]
        heads = ["true", "predicted", "ahead by" if of.scores else "probability"]
        table = _with_rows(of, shown, heads, told, {"true", "predicted"})
    total = "all" if len(shown) == len(wrong) else f"{len(shown)} of"
    found.mistaken = f"{total} {len(wrong):,} mistakes in {counted.sum():,} rows, the surest first"
    if shape is None:
        found.tables.append(("mistakes", table))
        return
    x = _rows(of.X, shown)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 1.0)
    pictures = ((x - low) / (high - low)).reshape(len(x), *shape)
    places = _look_up(of, shown).places
    for row, place, p, a in zip(shown, places, sure, pictures[..., 0] if shape[2] == 1 else pictures, strict=True):
        found.mistakes.append(Mistake(place, names[truth[row]], names[said[row]], float(p), figures.picture(a)))


def _look_up(of: Evaluated, rows: Array) -> FoundRows:
    return FoundRows([f"row {row:,}" for row in rows.tolist()]) if of.look_up is None else of.look_up(rows)


def _with_rows(of: Evaluated, rows: Array, heads: list[str], lines: list[list[str]], left: set[str]) -> Table:
    """A table of these rows: where each is, the cells of `lines` under `heads`, and its inputs."""
    found = _look_up(of, rows)
    columns, inputs = list(found.columns), [list(line) for line in found.values]
    if not columns:
        x = _rows(of.X, rows).reshape(len(rows), -1)
        called = of.features if len(of.features) == x.shape[1] else [f"x{k}" for k in range(x.shape[1])]
        columns, inputs = list(called[:FEATURES]), [[number(float(v)) for v in line[:FEATURES]] for line in x]
    cells = [[place, *line, *more] for place, line, more in zip(found.places, lines, inputs, strict=True)]
    texts = {name for name, column in zip(columns, zip(*inputs, strict=True), strict=True) if not _numeric(column)}
    return Table(["place", *heads, *columns], cells, frozenset({"place", *left, *texts}))


def _numeric(column: Sequence[str]) -> bool:
    return all(re.fullmatch(r"[-−+]?[\d.,]*(e[-+]?\d+)?|", text) for text in column)


def _image(row: Shape, given: Shape | None) -> Shape | None:
    """The shape of the picture in a row, or None. A flat row is one if its shape is given or it is a large square."""
    if given is None and len(row) == 1 and row[0] < 49:
        return None
    try:
        return drawable(row if given is None else given, row)
    except ValueError:
        return None


def _rows(X: Any, rows: Array) -> Array:
    chosen = X[rows] if hasattr(X, "shape") else np.asarray(X)[rows]
    chosen = as_numpy(chosen.toarray() if hasattr(chosen, "toarray") else chosen)
    return np.asarray(chosen, np.float64)


def _labels(judged: Judgement, t: Array, z: Array, names: Sequence[str], rows: str) -> Results:
    truth, said, lines = t > 0.5, z > 0, []
    for k, name in list(enumerate(names))[:ROWS]:
        t, s = truth[:, k], said[:, k]
        hit = int((t & s).sum())
        recall, precision = (number(hit / int(a.sum())) if a.any() else "–" for a in (t, s))
        lines.append([name, share(int(t.sum()), len(t)), number(float((t == s).mean())), recall, precision])
    table = Table(["label", "yes", "right", "recall", "precision"], lines, frozenset(["label"]))
    right, of = int((truth == said).sum()), f"labels of {len(truth):,} "
    return Results(of_classes(judged, right, truth.size, rows, of), [("by label", table)], names=list(names))


def _numbers(judged: Judgement, t: Array, z: Array, of: Evaluated) -> Results:
    truth, said, names = t.astype(np.float64), z.astype(np.float64), _names(of.names, z.shape[1])
    found = Results(of_numbers(judged, float(np.abs(said - truth).mean()), of.rows), names=names)
    r2, lines = explained(truth, said), []
    for k, name in list(enumerate(names))[:ROWS]:
        error = said[:, k] - truth[:, k]
        off, root = float(np.abs(error).mean()), math.sqrt(float((error**2).mean()))
        lines.append([name, number(off), number(root), number(float(error.mean())), number(float(r2[k]))])
        if k < OUTPUTS and np.isfinite(error).all():
            which = f" of output {name}" if len(names) > 1 else ""
            called = "" if of.names is None else name
            found.drawn.append(
                (f"Predicted against true{which}", figures.cloud(truth[:, k], said[:, k], str(k), called))
            )
            found.drawn.append((f"Errors{which}", figures.residuals(error, str(k), called)))
    heads = ["output", "mean absolute error", "root mean squared error", "mean error", "R²"]
    found.tables.append(("by output", Table(heads, lines, frozenset(["output"]))))
    off_by = np.abs(said - truth).mean(axis=1)
    worst = np.argsort(-off_by, kind="stable")[:MISTAKES]
    if len(names) == 1:
        told = [[number(float(v)) for v in (truth[r, 0], said[r, 0], said[r, 0] - truth[r, 0])] for r in worst]
        table = _with_rows(of, worst, ["true", "predicted", "error"], told, set())
    else:
        table = _with_rows(of, worst, ["mean absolute error"], [[number(float(off_by[r]))] for r in worst], set())
    found.tables.append(("largest errors", table))
    found.mistaken = f"{len(worst):,} of {len(truth):,} rows"
    return found
