"""Precision, recall, F1 and the area under the ROC curve, computed from all rows of an epoch as in scikit-learn.

Of class k, with w the row weights,

    (1)  TPₖ = Σ w [answer = k and truth = k],   predictedₖ = Σ w [answer = k],   actualₖ = Σ w [truth = k]
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Shape
from ..errors import ShapeError
from ..formula import log
from ..layers import Buffer, Plan, Workspace
from .base import EXACT, ORDINARY, EpochMetric, HostNumbers, answer_arrays, answers, leaves_out, true_classes

Numbers = np.ndarray[Any, Any]
AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


class _Counts(NamedTuple):
    """(1), a number for each class."""

    tp: Numbers
    predicted: Numbers
    actual: Numbers


@dataclass(frozen=True, repr=False)
class _OfCounts(EpochMetric):
    """A ratio of the counts (1)."""

    kinds = ("classes", "labels")
    higher_is_better = True
    by_mask = True
    by_position = True
    average: str = "auto"
    zero_division: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        of = type(self).__name__
        if self.average not in AVERAGES:
            raise ValueError(f"{of} takes the average {', '.join(map(repr, AVERAGES))} and got {self.average!r}")
        if self.zero_division not in (0, 1):
            raise ValueError(f"{of} takes the zero_division 0 or 1 and got {self.zero_division!r}")

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The answers and the truth."""
        several = z[-1] != (2 if predicts == "classes" else 1)
        if self.average == "binary" and several:
            raise ShapeError(
                f'has average="binary", for a yes or no, and the network has {z[-1]} outputs; take "macro", "micro" or '
                '"weighted"'
            )
        arrays: dict[str, Shape | Buffer] = {**answer_arrays(z, predicts), "yes": Buffer(z[:-1], "bool")}
        if predicts == "labels":
            arrays |= {"unknown": Buffer(z, "bool"), "known": Buffer(z, "int8")}
        return Plan(output=z[:1], arrays=arrays)

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> tuple[Array, Array]:
        """Answers and truth; of two classes that are a yes or no, whether the answer is class 1."""
        answer, truth = answers(ws, z, t, predicts)
        if predicts == "classes" and z.shape[-1] == 2 and self.average in ("auto", "binary"):
            answer = ws.xp.greater(answer, ws.be.constant(0, "int64"), out=ws.yes)
        if leaves_out(ws, predicts):  # 0, 1, and -1 for labels that are left out
            ws.xp.less(t, ws.be.constant(0.0, ws.dtype), out=ws.unknown)
            ws.xp.copyto(ws.known, truth)
            ws.xp.copyto(ws.known, ws.be.constant(-1, "int8"), where=ws.unknown)
            truth = ws.known
        return answer, truth

    def result(self, outputs: Numbers, targets: Numbers, weights: Numbers) -> float:
        """The ratio of the classes, averaged."""
        return self._averaged(outputs, targets, weights, ORDINARY)

    def exact_result(self, outputs: Numbers, targets: Numbers, weights: Numbers) -> float:
        """The same, by exact sums"""
        return self._averaged(outputs, targets, weights, EXACT)

    def _averaged(self, outputs: Numbers, targets: Numbers, weights: Numbers, by: HostNumbers) -> float:
        counts, binary = _counted(outputs, targets, weights, self.average in ("auto", "binary"), by)
        if not len(counts.actual):
            return float("nan")
        if self.average == "micro":
            counts = _Counts(*(np.reshape(by.total(a), 1) for a in counts))
        above, below = self.ratio(counts)
        ratios = np.divide(above, below, out=np.full(len(above), float(self.zero_division)), where=below != 0)
        if binary or self.average != "weighted" or not counts.actual.any():
            return float(by.total(ratios) / len(ratios))
        return float(by.total(ratios * counts.actual) / by.total(counts.actual))

    @staticmethod
    @abstractmethod
    def ratio(counts: _Counts) -> tuple[Numbers, Numbers]:
        """(numerators, denominators)"""


@dataclass(frozen=True, repr=False)
class Precision(_OfCounts):
    """TP / predicted: the share of right answers among the rows that were predicted as a class.

    TP: how many rows are of the class and were predicted as it. predicted: how many were predicted as it. Rows count by
    their weights.

    average: "binary" for the class 1 alone; "macro", the mean over the classes; "weighted", the mean weighted by
    how many rows are of each class, and the plain mean where none has any; "micro", the ratio of the sums over the
    classes; "auto" for "binary" with one output or two classes and "macro" otherwise. As in scikit-learn, classes that
    occur neither in the truth nor in the answers are left out.
    zero_division: the ratio of a class whose denominator is 0, 0 or 1.

    Positions and outputs that the loss leaves out (`ignore_index`) are not counted. To report two averages, derive a
    class with another `name`.

    >>> Precision().result(np.array([1, 1, 0]) > 0, np.array([1, 0, 0]), np.ones(3))
    0.5
    """

    name = "precision"
    exact = True

    @staticmethod
    def ratio(counts: _Counts) -> tuple[Numbers, Numbers]:
        """TP / predicted"""
        return counts.tp, counts.predicted


@dataclass(frozen=True, repr=False)
class Recall(_OfCounts):
    """TP / actual: the share of the rows of a class that were predicted as it.

    TP: how many rows are of the class and were predicted as it. actual: how many are of it. average, zero_division: as
    in `Precision`.

    >>> Recall().result(np.array([1, 0, 0]) > 0, np.array([1, 1, 0]), np.ones(3))
    0.5
    """

    name = "recall"
    exact = True

    @staticmethod
    def ratio(counts: _Counts) -> tuple[Numbers, Numbers]:
        """TP / actual"""
        return counts.tp, counts.actual


@dataclass(frozen=True, repr=False)
class F1(_OfCounts):
    """2 TP / (predicted + actual): the harmonic mean of precision and recall.

    TP, predicted: as in `Precision`. actual: how many rows are of the class. average, zero_division: as in `Precision`.

    >>> F1(average="macro").result(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), np.ones(4)) == (1 + 2/3 + 2/3) / 3
    True
    """

    name = "f1"
    exact = True

    @staticmethod
    def ratio(counts: _Counts) -> tuple[Numbers, Numbers]:
        """2 TP / (predicted + actual)"""
        return 2.0 * counts.tp, counts.predicted + counts.actual


def _counted(
    outputs: Numbers, targets: Numbers, weights: Numbers, binary: bool, by: HostNumbers
) -> tuple[_Counts, bool]:
    """(1) of the classes that occur, and whether they are a yes or no, of which only the yes is counted."""
    labels = targets.dtype in (np.bool_, np.int8)  # one for each output; else the targets are class indices
    if labels and outputs.shape[-1] > 1:
        predicted, actual = (a.reshape(-1, a.shape[-1]) for a in (outputs, targets))
        predicted, actual = predicted & (actual >= 0), actual > 0
        w = _of_positions(weights, len(predicted))
        return _Counts(*(by.weighted(w, a) for a in (predicted & actual, predicted, actual))), False
    flat = targets.reshape(-1)
    counts = flat >= 0
    truth, answer = flat[counts].astype(np.int64), outputs.reshape(-1)[counts].astype(np.int64)
    w = _of_positions(weights, len(counts))[counts]
    if not len(truth):
        return _Counts(w, w, w), binary
    classes = 1 + int(max(answer.max(), truth.max()))
    right = answer == truth
    found = [np.bincount(a, b, classes) for a, b in ((truth[right], w[right]), (answer, w), (truth, w))]
    if binary and outputs.dtype == np.bool_:
        return _Counts(*(a[1:2] if classes > 1 else np.zeros(1) for a in found)), True
    occurs = (found[1] + found[2]) > 0
    return _Counts(*(a[occurs] for a in found)), False


def _of_positions(weights: Numbers, positions: int) -> Numbers:
    """The weight of each position: its own, or that of its row."""
    return np.repeat(weights.reshape(-1), positions // max(weights.size, 1))


@dataclass(frozen=True, repr=False)
class ROCAUC(EpochMetric):
    """The area under the ROC curve: the probability that a positive row has a higher score than a negative one.

        AUC = Σᵢⱼ wᵢ wⱼ ([sᵢ > sⱼ] + ½ [sᵢ = sⱼ]) / Σᵢⱼ wᵢ wⱼ        over positive rows i and negative rows j

    The score of a single output is the output z; of two classes, z₁ - z₀. With several outputs or more classes it is
    the mean of the areas of the single outputs, or of each class against the others, by the softmax of the outputs;
    those without positive or without negative rows are left out. As scikit-learn's `roc_auc_score`. NaN where no area
    can be computed, or where a score is NaN, as after an output of NaN, or of +∞ for one of several classes. Positions
    and outputs that the loss leaves out (`ignore_index`) are not counted. (Hanley, McNeil 1982)

    >>> scores, yes = np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([[0.0], [0.0], [1.0], [1.0]])
    >>> ROCAUC().result(scores, yes, np.ones(4))
    0.75
    """

    name = "roc_auc"
    exact = True
    kinds = ("classes", "labels")
    higher_is_better = True
    by_mask = True
    by_position = True

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The class of each position, where the targets are probabilities, and logits, where the outputs are."""
        arrays: dict[str, Shape | Buffer] = {"truth": Buffer(z[:-1], "int64"), "logits": z}
        if predicts == "labels":
            arrays |= {"unknown": Buffer(z, "bool"), "known": z}
        return Plan(output=z[:1], arrays=arrays)

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> tuple[Array, Array]:
        """The outputs, and class indices or labels, not a number for those that are left out."""
        if predicts == "classes":
            of_classes = ws.be.apply(log, z, out=ws.logits) if ws.outputs_are == "probabilities" else z
            return of_classes, true_classes(ws, z, t)
        if leaves_out(ws, predicts):
            ws.xp.less(t, ws.be.constant(0.0, ws.dtype), out=ws.unknown)
            ws.xp.copyto(ws.known, t)
            ws.xp.copyto(ws.known, ws.be.constant(np.nan, ws.dtype), where=ws.unknown)
            return z, ws.known
        return z, t

    def result(self, outputs: Numbers, targets: Numbers, weights: Numbers) -> float:
        """The area, or the mean of the areas"""
        return _mean_area(outputs, targets, weights, ORDINARY)

    def exact_result(self, outputs: Numbers, targets: Numbers, weights: Numbers) -> float:
        """The same, by exact sums and exponentials"""
        return _mean_area(outputs, targets, weights, EXACT)


def _mean_area(outputs: Numbers, targets: Numbers, weights: Numbers, by: HostNumbers) -> float:
    """The area under the curve of each column, and their mean"""
    columns = outputs.shape[-1]
    z = outputs.reshape(-1, columns)
    w = _of_positions(weights, len(z))
    known = np.ones(z.shape, np.bool_)
    if targets.dtype.kind == "f":
        t = targets.reshape(-1, columns)
        yes, known = t > 0.5, ~np.isnan(t)
    else:
        truth = targets.reshape(-1)
        counts = truth >= 0
        z, truth, w = z[counts], truth[counts], w[counts]
        if columns == 2:
            z, yes = z[:, 1:] - z[:, :1], truth[:, None] == 1
        else:
            e = by.exp(z - z.max(axis=1, keepdims=True))
            z, yes = e / by.total(e, 1)[:, None], truth[:, None] == np.arange(columns)
        known = np.ones(z.shape, np.bool_)
    if np.isnan(z[known]).any():
        return float("nan")
    columns_of = ((z[at, k], yes[at, k], w[at]) for k, at in enumerate(known.T))
    areas = [a for column in columns_of if not np.isnan(a := _area(*column, by))]
    return float(by.total(areas) / len(areas)) if areas else float("nan")


def _area(scores: Numbers, yes: Numbers, weights: Numbers, by: HostNumbers) -> float:
    """The area under one curve, rows of equal scores together; NaN without a yes or without a no."""
    if not len(scores):
        return float("nan")
    order = np.argsort(scores, kind="stable")
    s, y, w = scores[order], yes[order], weights[order]
    starts = np.r_[0, 1 + np.flatnonzero(s[1:] != s[:-1])]
    if by is EXACT:  # one row after the other
        of_each = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(s)]))
        of_yes, of_no = (np.bincount(of_each, np.where(a, w, 0.0)) for a in (y, ~y))
    else:
        of_yes, of_no = (np.add.reduceat(np.where(a, w, 0.0), starts) for a in (y, ~y))
    pairs = by.total(of_yes) * by.total(of_no)
    if not pairs:
        return float("nan")
    return float(by.total(of_yes * (np.cumsum(of_no) - 0.5 * of_no)) / pairs)
