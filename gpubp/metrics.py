"""Metrics: a number for each row, averaged with the row weights on the device and read once an epoch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from .backends import Array, Shape
from .config import Configurable
from .formula import absolute, equal
from .layers import Buffer, Plan, Workspace
from .losses import Loss

__all__ = ["Accuracy", "MeanAbsolute", "MeanSquared", "Metric", "get_metrics"]


class Metric(Configurable, ABC):
    """A value for each row of a batch; what is reported is their weighted mean.

    name: its key in the history. kinds: which of "numbers", "labels" and "classes" it can judge.

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

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        return Plan(output=(z[0],), arrays={"value": z, "rows": (z[0],)})

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        return _mean(ws, ws.be.apply(self.distance, z, t, out=ws.value))

    @staticmethod
    @abstractmethod
    def distance(z: Any, t: Any) -> Any: ...


@dataclass(frozen=True, repr=False)
class MeanAbsolute(_Distance):
    """The mean of |z - t|.

    >>> MeanAbsolute().name
    'mean_absolute_error'
    """

    name = "mean_absolute_error"

    @staticmethod
    def distance(z: Any, t: Any) -> Any:
        """|z - t|"""
        return absolute(z - t)


@dataclass(frozen=True, repr=False)
class MeanSquared(_Distance):
    """The mean of (z - t)².

    >>> MeanSquared().name
    'mean_squared_error'
    """

    name = "mean_squared_error"

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
    """Metrics by name ("accuracy", "mae", "mse", their long names) or as objects; ValueError if one can't judge `loss`.

    >>> import gpubp as bp
    >>> get_metrics(["accuracy"], bp.SoftmaxCrossEntropy())
    (Accuracy(),)
    """
    chosen = []
    for metric in (metrics,) if isinstance(metrics, str | Metric) else metrics:
        if isinstance(metric, str):
            if metric not in BY_NAME:
                raise ValueError(f"there is no metric {metric!r}; there are {', '.join(sorted(BY_NAME))}")
            metric = BY_NAME[metric]()
        if loss.predicts not in metric.kinds:
            raise ValueError(
                f"the metric {metric.name!r} judges {' or '.join(metric.kinds)}, and {loss!r} predicts {loss.predicts}"
            )
        chosen.append(metric)
    return tuple(chosen)
