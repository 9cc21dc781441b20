"""Metrics: a value for each row; the weighted mean is computed on the device and read once an epoch.

And `confusion_matrix`, which counts on the host, after training, the answers for each class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .backends import Array, Shape, as_numpy
from .config import Configurable, Count, Positive, argument
from .errors import DataError
from .formula import absolute, equal
from .layers import Buffer, Plan, Workspace
from .losses import Loss


class Metric(Configurable, ABC):
    """A value for each row of a batch; what is reported is their weighted mean.

    name: its key in the history. kinds: which of "numbers", "labels" and "classes" it is for.

    >>> Accuracy().name
    'accuracy'
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]

    @abstractmethod
    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The arrays it needs, for outputs and targets of these shapes."""

    @abstractmethod
    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        """The value of each row, (B,), in the network's type."""


@dataclass(frozen=True, repr=False)
class Accuracy(Metric):
    """The share of right answers: the largest output against the class, or each output's yes or no (z > 0).

    >>> Accuracy().kinds
    ('classes', 'labels')
    """

    name = "accuracy"
    kinds = ("classes", "labels")

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The answers, the truth, and whether they agree."""
        answer = z[:-1] if predicts == "classes" else z
        kind = "int64" if predicts == "classes" else "bool"
        arrays: dict[str, Shape | Buffer] = {
            "answer": Buffer(answer, kind),
            "truth": Buffer(answer, kind),
            "value": answer,
            "rows": (z[0],),
        }
        return Plan(output=(z[0],), arrays=arrays)

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        """1 for a right answer, the mean of them where a row has several."""
        if predicts == "classes":
            ws.xp.argmax(z, axis=-1, out=ws.answer)
            truth = t if t.ndim < z.ndim else ws.xp.argmax(t, axis=-1, out=ws.truth)
        else:
            ws.xp.greater(z, ws.be.constant(0.0, ws.dtype), out=ws.answer)
            truth = ws.xp.greater(t, ws.be.constant(0.5, ws.dtype), out=ws.truth)
        return _mean(ws, ws.be.apply(_agree, ws.answer, truth, out=ws.value))


class _Distance(Metric):
    kinds = ("numbers", "labels")
    power: ClassVar[int]
    scale: float

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        return Plan(output=(z[0],), arrays={"value": z, "rows": (z[0],)})

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        rows = _mean(ws, ws.be.apply(self.distance, z, t, out=ws.value))
        if self.scale == 1:
            return rows
        return ws.xp.multiply(rows, ws.be.constant(self.scale**self.power, ws.dtype), out=rows)

    @staticmethod
    @abstractmethod
    def distance(z: Any, t: Any) -> Any: ...


@dataclass(frozen=True, repr=False)
class MeanAbsolute(_Distance):
    """The mean of scale |z - t|.

    scale: what 1 in z and t stands for, where they were divided by it.

    >>> MeanAbsolute().name
    'mean_absolute_error'
    """

    scale: Positive = 1.0

    name = "mean_absolute_error"
    power = 1

    @staticmethod
    def distance(z: Any, t: Any) -> Any:
        """|z - t|"""
        return absolute(z - t)


@dataclass(frozen=True, repr=False)
class MeanSquared(_Distance):
    """The mean of (scale (z - t))².

    scale: what 1 in z and t stands for, where they were divided by it.

    >>> MeanSquared().name
    'mean_squared_error'
    """

    scale: Positive = 1.0

    name = "mean_squared_error"
    power = 2

    @staticmethod
    def distance(z: Any, t: Any) -> Any:
        """(z - t)²"""
        e = z - t
        return e * e


def _agree(answer: Any, truth: Any) -> Any:
    return equal(answer, truth) * 1.0


def _mean(ws: Workspace, value: Array) -> Array:
    n = math.prod(value.shape[1:])
    if n == 1:
        return value.reshape(-1)
    ws.be.sum_last(value.reshape(-1, n), out=ws.rows)
    return ws.xp.multiply(ws.rows, ws.be.constant(1.0 / n, ws.dtype), out=ws.rows)


BY_NAME: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "mean_absolute_error": MeanAbsolute,
    "mae": MeanAbsolute,
    "mean_squared_error": MeanSquared,
    "mse": MeanSquared,
}


def get_metrics(metrics: Iterable[str | Metric], loss: Loss) -> tuple[Metric, ...]:
    """Metrics by name ("accuracy", "mae", "mse", their long names) or as objects; ValueError if one isn't for `loss`.

    >>> import gpubp as bp
    >>> get_metrics(["accuracy"], bp.SoftmaxCrossEntropy())
    (Accuracy(),)
    """
    chosen = []
    for metric in metrics if isinstance(metrics, Iterable) and not isinstance(metrics, str) else (metrics,):
        if isinstance(metric, str):
            if metric not in BY_NAME:
                raise ValueError(f"there is no metric {metric!r}; there are {', '.join(sorted(BY_NAME))}")
            metric = BY_NAME[metric]()
        if not isinstance(metric, Metric):
            hint = f"; write {metric.__name__}(...)" if isinstance(metric, type) else ""
            raise TypeError(f"metrics are names, such as 'accuracy', or Metric objects, and one is {metric!r}{hint}")
        if not isinstance(getattr(metric, "name", None), str) or not hasattr(metric, "kinds"):
            raise TypeError(
                f'{type(metric).__name__} needs a name, its key in the history, and kinds, as name = "share_right" and '
                'kinds = ("classes",) in the class'
            )
        if loss.predicts not in metric.kinds:
            raise ValueError(
                f"the metric {metric.name!r} judges {' or '.join(metric.kinds)}, and {loss!r} predicts {loss.predicts}"
            )
        chosen.append(metric)
    return tuple(chosen)


def confusion_matrix(y: Any, answers: Any, classes: int | None = None) -> np.ndarray[Any, Any]:
    """How many rows of class i were taken for class j, (classes, classes): true in rows, as scikit-learn has it.

        (1)  Cᵢⱼ = |{rows r: yᵣ = i and answerᵣ = j}|

    y: (n,) class numbers from 0, or (n, classes), one 1 a row. answers: class numbers, or a network's outputs
    (n, classes), of which the largest is its answer; single outputs (n, 1) answer 1 above 0. classes: how many; None
    for as many as are seen. Raises DataError where these don't fit.

    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    classes = argument("confusion_matrix", "classes", Count | None, classes)
    y, answers = as_numpy(y), as_numpy(answers)
    if classes is None:
        widths = [a.shape[1] for a in (y, answers) if a.ndim == 2 and a.shape[1] > 1]
        if answers.ndim == 2 and answers.dtype.kind == "f":
            widths.append(2)  # yes or no
        seen = [as_classes(y, "y"), as_classes(answers, "answers")]
        classes = max(widths) if widths else 1 + max(int(numbers.max()) for numbers in seen)
    truth, said = as_classes(y, "y", classes), as_classes(answers, "answers", classes)
    if len(truth) != len(said):
        raise DataError(f"there are {len(truth)} rows of y and {len(said)} answers; each row needs its one answer")
    counted = np.bincount(truth * classes + said, minlength=classes * classes)  # (1)
    return counted.reshape(classes, classes).astype(np.int64)


def as_classes(a: Any, name: str, classes: int | None = None) -> np.ndarray[Any, Any]:
    """Class numbers (n,) of class numbers (n,) or (n, 1), or of one number a class (n, classes); see confusion_matrix.

    >>> as_classes([[0.5, -1.0], [0.0, 2.0]], "answers")
    array([0, 1])
    """
    numbers: np.ndarray[Any, Any]
    a = as_numpy(a)
    if a.ndim not in (1, 2) or a.dtype.kind not in "fiub" or a.size == 0:
        raise DataError(f"{name} needs a class number a row, or a number a class, and is {a.dtype} of shape {a.shape}")
    if a.ndim == 2 and a.shape[1] > 1:
        if name == "y" and not (((a == 0) | (a == 1)).all() and (a.sum(axis=1) == 1).all()):
            raise DataError("rows of y belong to several classes, or to none; a confusion needs one 1 in each row")
        numbers = a.argmax(axis=1)
    elif a.ndim == 2 and a.dtype.kind == "f" and name != "y":
        numbers = (a[:, 0] > 0).astype(np.int64)
    else:
        a = a.reshape(-1)
        strange = a[~((a >= 0) & (a == np.floor(a)))] if a.dtype.kind != "b" else a[:0]
        if len(strange):
            raise DataError(f"{name} holds {strange[0]}, and classes are numbered 0, 1, 2, ...")
        numbers = a.astype(np.int64)
    if classes is not None and numbers.max() >= classes:
        raise DataError(f"{name} holds the class {numbers.max()}, and the {classes} classes are 0 to {classes - 1}")
    return numbers
