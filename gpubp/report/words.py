"""Sentences of a report: comparison with a baseline, and what the curves show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..training.history import History

Array = np.ndarray[Any, Any]


class Finding(NamedTuple):
    """A sentence. kind: "good", "note" or "bad"."""

    kind: str
    text: str


@dataclass
class Table:
    """A table of texts. left: names of the columns that are aligned to the left; others are to the right.

    >>> Table(["class", "rows"], [["cat", "3"]]).left
    frozenset()
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    left: frozenset[str] = frozenset()
    note: str = ""


@dataclass
class Verdict:
    """The headline of a report: a word and a line, with findings.

    >>> Verdict("good", "learnt well", "9 of 10 rows right").findings
    []
    """

    kind: str
    word: str
    line: str
    findings: list[Finding] = field(default_factory=list)


def number(value: float) -> str:
    """A number with four decimals, or with an exponent where they would show too little, as on the command line.

    >>> number(0.12345), number(12345678.9), number(3)
    ('0.1235', '1.235e+07', '3')
    """
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    plain = value == 0 or 1e-3 <= abs(value) < 1e5 or value != value
    return f"{value:.4f}" if plain else f"{value:.3e}"


def seconds(value: float) -> str:
    """A time with a suitable unit.

    >>> seconds(0.00042), seconds(3.21), seconds(4000)
    ('0.42 ms', '3.2 s', '1 h 7 min')
    """
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def share(part: float, whole: float) -> str:
    """A percentage; it is 100% only if part and whole are equal, and 0% only if part is 0.

    >>> share(9999, 10000), share(3, 3), share(0, 3)
    ('99.9%', '100%', '0%')
    """
    if part in (0, whole):
        return "100%" if part == whole else "0%"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f}%"


def of_classes(counts: Array, names: Sequence[str], rows: str) -> Verdict:
    """The verdict on a confusion matrix: the rows right, compared with always answering the most frequent class.

    >>> of_classes(np.array([[9, 1], [0, 10]]), ["cat", "dog"], "test rows").line
    '19 of 20 test rows right, 95.0%'
    """
    total, right = int(counts.sum()), int(np.trace(counts))
    most = int(counts.sum(axis=1).argmax())
    guess = float(counts.sum(axis=1)[most]) / total
    accuracy, noise = right / total, 2 * math.sqrt(guess * (1 - guess) / total)
    line = f"{right:,} of {total:,} {rows} right, {share(right, total)}"
    beside = (
        f"Always answering {names[most]}, the most frequent class, would be right on {share(guess * total, total)}."
    )
    if guess == 1:
        return Verdict("note", "one class only", line, [Finding("note", f"All {rows} are of the class {names[most]}.")])
    return _graded((accuracy - guess) / (1 - guess), accuracy <= guess + noise, line, beside, "the most frequent class")


def of_labels(truth: Array, said: Array, rows: str) -> Verdict:
    """The verdict on yes-or-no labels (n, labels): the answers right, compared with each label's most frequent answer.

    >>> of_labels(np.array([[1, 0], [0, 1]]), np.array([[1, 0], [0, 0]]), "rows").line
    '3 of 4 labels of 2 rows right, 75.0%'
    """
    right, total = int((truth == said).sum()), truth.size
    yes = truth.mean(axis=0)
    guess = float(np.maximum(yes, 1 - yes).mean())
    line = f"{right:,} of {total:,} labels of {len(truth):,} {rows} right, {share(right, total)}"
    beside = f"Each label's most frequent answer would be right on {share(guess * total, total)}."
    skill = (right / total - guess) / (1 - guess) if guess < 1 else 0.0
    return _graded(skill, right / total <= guess, line, beside, "each label's most frequent answer")


def of_numbers(truth: Array, said: Array, rows: str) -> Verdict:
    """The verdict on numbers (n, outputs): mean error and R², compared with always answering the mean.

    >>> of_numbers(np.array([[0.0], [2.0]]), np.array([[0.5], [1.5]]), "rows").line
    'off by 0.5000 on average on 2 rows, R² 0.7500'
    """
    r2 = float(np.mean(explained(truth, said)))
    off = float(np.abs(said - truth).mean())
    line = f"off by {number(off)} on average on {len(truth):,} {rows}, R² {number(r2)}"
    guess = float(np.abs(truth - truth.mean(axis=0)).mean())
    beside = f"Always answering the mean would be off by {number(guess)} on average, with R² 0."
    return _graded(r2, not r2 > 0, line, beside, "the mean")


def explained(truth: Array, said: Array) -> Array:
    """R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² of each output, (outputs,); not a number where y is constant.

    >>> explained(np.array([[0.0], [2.0]]), np.array([[0.0], [2.0]]))
    array([1.])
    """
    truth, said = truth.astype(np.float64), said.astype(np.float64)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    left = ((truth - said) ** 2).sum(axis=0)
    with np.errstate(all="ignore"):
        return np.where(total > 0, 1 - left / total, np.nan)


def _graded(skill: float, nothing: bool, line: str, beside: str, guess: str) -> Verdict:
    if nothing or not math.isfinite(skill):
        return Verdict("bad", "learnt nothing", line, [Finding("bad", f"No better than {guess}. {beside}")])
    if skill >= 0.9:
        return Verdict("good", "learnt well", line, [Finding("good", beside)])
    if skill >= 0.5:
        return Verdict("good", "learnt, with mistakes", line, [Finding("note", beside)])
    return Verdict("note", "learnt a little", line, [Finding("note", beside)])


def findings_of(history: History, stopped: bool) -> Iterable[Finding]:
    """Findings from the curves. stopped: whether a callback ended the training.

    >>> from gpubp import History
    >>> history = History()
    >>> for k in range(9):
    ...     history.append({"loss": 1 / (k + 1), "val_loss": 1 + 0.1 * abs(k - 3)})
    >>> [finding.kind for finding in findings_of(history, False)]
    ['bad', 'note']
    """
    count = history.epochs
    if not count:
        yield Finding("bad", "No epoch was finished: the network is nearly as it began.")
        return
    loss = history["loss"]
    if not math.isfinite(loss[-1]):
        yield Finding("bad", "The loss is not finite: try a smaller learning rate, or clip_norm.")
        return
    if "val_loss" in history and not stopped and count >= 5:
        judged = [v if math.isfinite(v) else math.inf for v in history["val_loss"]]
        best = int(np.argmin(judged))
        rise = judged[-1] / judged[best] - 1 if judged[best] > 0 else 0.0
        if rise > 0.1 and best < count - 1:
            yield Finding(
                "bad",
                f"The validation loss was best after epoch {best + 1} of {count} and ended {rise:.0%} higher: the "
                "network learnt its rows by heart. Early stopping keeps the best epoch.",
            )
    if "val_accuracy" in history and history["accuracy"][-1] - history["val_accuracy"][-1] > 0.1:
        yield Finding(
            "bad",
            f"Right on {history['accuracy'][-1]:.1%} of the rows it was trained with and on "
            f"{history['val_accuracy'][-1]:.1%} of the others: dropout, l2, augmentation or more rows narrow the gap.",
        )
    before = loss[-1 - max(1, count // 10)] if count >= 5 else loss[-1]
    if not stopped and loss[-1] < 0.95 * before:
        yield Finding("note", "The loss was still falling when training ended: more epochs may bring more.")
    if stopped:
        yield Finding("note", f"A callback ended training after {count} epochs, as early stopping does.")
    if history.interrupted:
        yield Finding("note", f"Training was interrupted after {count} epochs.")
