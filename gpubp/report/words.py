"""Sentences of a report: comparison with a baseline, and what the curves show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..rounding import metric, number
from ..training.history import History
from .judgement import Judgement

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


class LossNote(NamedTuple):
    """What the losses by epoch include and the loss of an evaluation does not. names: the columns of a History."""

    names: frozenset[str] = frozenset()
    text: str = ""

    def mark(self, name: str) -> str:
        """The name of a number by epoch as people read it, with a star where the note is about it.

        >>> LossNote(frozenset(["val_loss"]), "...").mark("val_loss")
        'validation loss*'
        """
        return name.replace("val_", "validation ").replace("_", " ") + "*" * (name in self.names)


def loss_note(added: Sequence[str], weighted: bool = False, scaled: str = "") -> LossNote:
    """The note for what is `added` to the losses. weighted: whether classes have weights in the training.

    scaled: the name of numbers that are learnt at mean 0 and standard deviation 1, so that losses have other units.

    >>> loss_note(["label smoothing"]).text
    'The losses by epoch include label smoothing; the loss of an evaluation does not.'
    """
    names, told = frozenset(["loss", "val_loss"] if added else []), []
    if added:
        told.append(f"The losses by epoch include {' and '.join(added)}; the loss of an evaluation does not.")
    if scaled:
        names |= {"loss", "val_loss"}
        told.append(f"All losses are those of {scaled} scaled to mean 0 and standard deviation 1.")
    if weighted:
        names |= {"loss", "accuracy"}
        told.append("The numbers of the training rows are weighted by class; those of other rows are not.")
    return LossNote(names, " ".join(told))


def of_classes(found: Judgement, right: int, total: int, rows: str, of: str = "") -> Verdict:
    """The verdict on classes or labels, of which `right` answers of `total` are right. of: what is counted.

    >>> from gpubp.report.judgement import judge
    >>> found = judge("classes", np.array([0, 1]), np.eye(2), ["cat", "dog"])
    >>> of_classes(found, 2, 2, "test rows").line
    '2 of 2 test rows right, 100%'
    """
    line = f"{right:,} of {total:,} {of}{rows} right, {share(right, total)}"
    guess = found.guess["accuracy"]
    if found.one_class and found.rarest is not None:
        told = f"All {rows} are of the class {found.rarest.name}."
        return Verdict("note", "one class only", line, [Finding("note", told)])
    beside = f"Always {found.answer} would be right on {share(guess * total, total)}."
    if found.rarest is None:
        beside = f"Each label's most frequent answer would be right on {share(guess * total, total)}."
    made = _graded(found, line, beside)
    if found.missed:
        made.findings.append(Finding("bad", found.missed))
    if "classes" in found.told():
        made.findings.append(Finding("note", f"{found.told()['classes'].capitalize()}."))
    return made


def of_numbers(found: Judgement, off: float, rows: str) -> Verdict:
    """The verdict on numbers, which are off by `off` on average.

    >>> from gpubp.report.judgement import judge
    >>> of_numbers(judge("numbers", np.array([0.0, 2.0]), np.array([[0.5], [1.5]])), 0.5, "rows").line
    'off by 0.5000 on average on 2 rows, R² 0.7500'
    """
    line = f"off by {number(off)} on average on {found.rows:,} {rows}, R² {metric('R²', found.skill)}"
    guess = found.guess["mean_absolute_error"]
    r2 = f", with R² {metric('R²', found.guess['R²'])}" if "R²" in found.guess else ""
    beside = f"Always {found.answer} would be off by {number(guess)} on average{r2}."
    return _graded(found, line, beside)


def _graded(found: Judgement, line: str, beside: str) -> Verdict:
    if not found.better or not math.isfinite(found.skill):
        word = "learnt nothing" if found.better is not None else "may be chance"
        return Verdict("bad", word, line, [Finding("bad", f"{found.line} {beside}")])
    if found.finds_classes:
        return Verdict("note", "finds rare classes", line, [Finding("note", f"{found.line} {beside}")])
    if found.skill >= 0.9:
        return Verdict("good", "learnt well", line, [Finding("good", beside)])
    if found.skill >= 0.5:
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
