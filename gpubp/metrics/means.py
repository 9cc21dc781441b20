"""Metrics that are means over rows: accuracy, top-k accuracy, absolute and squared errors."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..config import Count, Positive
from ..formula import absolute, equal, maximum, minimum, row_max, row_sum
from ..layers import Buffer, Plan, Workspace
from ..losses.base import row_means
from .base import Metric, answer_arrays, answers, count_arrays, counts_of_answers, leaves_out, true_classes


@dataclass(frozen=True, repr=False)
class Accuracy(Metric):
    """The share of right answers: the largest output against the class, or each output's yes or no (z > 0, or
    a probability z > ½).

    Positions and outputs that the loss leaves out (`ignore_index`) are not counted.

    >>> Accuracy().kinds
    ('classes', 'labels')
    """

    name = "accuracy"
    kinds = ("classes", "labels")
    higher_is_better = True
    by_mask = True
    by_position = True
    exact = True

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The answers, the truth, and whether they agree."""
        answer = z[:-1] if predicts == "classes" else z
        arrays: dict[str, Shape | Buffer] = {
            **answer_arrays(z, predicts),
            **count_arrays(z, predicts),
            "value": answer,
            "rows": (z[0],),
        }
        return Plan(output=(z[0],), arrays=arrays)

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        """1 for a right answer, the mean of them where a row has several."""
        answer, truth = answers(ws, z, t, predicts)
        if leaves_out(ws, predicts):
            return row_means(ws, ws.be.apply(_agree_where_known, answer, truth, t, out=ws.value), ws.rows)
        return row_means(ws, ws.be.apply(_agree, answer, truth, out=ws.value), ws.rows)

    def counts(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array | None:
        """The share of a row's positions that count"""
        return counts_of_answers(ws, z, t, predicts)


@dataclass(frozen=True, repr=False)
class TopKAccuracy(Metric):
    """The share of rows whose class is among the k with the largest outputs.

    Of equal outputs that of the later class comes first, as in scikit-learn's `top_k_accuracy_score`. A row with an
    output that is not a number counts as wrong. Positions that the loss leaves out are not counted.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(4, weight_initializer=bp.Zeros()), 1, device="cpu")
    >>> net.parameters["b"][...] = [0.0, 3.0, 2.0, 1.0]
    >>> trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), metrics=[TopKAccuracy(2)])
    >>> trainer.evaluate([[0.0]] * 4, [0, 1, 2, 3])["top_k_accuracy"]
    0.5
    """

    k: Count = 5

    name = "top_k_accuracy"
    kinds = ("classes",)
    higher_is_better = True
    by_mask = True
    by_position = True
    exact = True

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """Whether each position's class is among the k."""
        arrays: dict[str, Shape | Buffer] = {
            "truth": Buffer(z[:-1], "int64"),
            **count_arrays(z, predicts),
            "value": (*z[:-1], 1),
            "rows": (z[0],),
        }
        return Plan(output=(z[0],), arrays=arrays, constants={"classes": np.arange(z[-1], dtype=np.int32)})

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        """1 for a class among the k, the mean of them where a row has several positions."""
        truth = true_classes(ws, z, t)
        behind = ws.be.constant(max(z.shape[-1] - self.k, 0), ws.dtype)
        ws.be.apply(_is_among, z, truth.reshape(*truth.shape, 1), ws.classes, behind, out=ws.value)
        return row_means(ws, ws.value, ws.rows)

    def counts(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array | None:
        """The share of a row's positions that count"""
        return counts_of_answers(ws, z, t, predicts)


@dataclass(frozen=True, repr=False)
class _Distance(Metric):
    kinds = ("numbers", "labels")
    higher_is_better = False
    by_mask = True
    by_position = True
    exact = True
    power: ClassVar[int]
    scale: Positive = 1.0

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        arrays: dict[str, Shape | Buffer] = {"value": z, "rows": (z[0],), **count_arrays(z, predicts)}
        return Plan(output=(z[0],), arrays=arrays)

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        distance = self._distance_where_known if leaves_out(ws, predicts) else self.distance
        rows = row_means(ws, ws.be.apply(distance, z, t, out=ws.value), ws.rows)
        if self.scale == 1:
            return rows
        scale = self.scale**self.power
        if ws.be.numerics == "exact":  # where a power is a product
            scale = self.scale if self.power == 1 else self.scale * self.scale
        return ws.xp.multiply(rows, ws.be.constant(scale, ws.dtype), out=rows)

    def counts(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array | None:
        return counts_of_answers(ws, z, t, predicts) if leaves_out(ws, predicts) else None

    def _distance_where_known(self, z: Any, t: Any) -> Any:
        """0 for labels of -1, of infinite z too"""
        return maximum(minimum(self.distance(z, t), (2.0 * (t >= 0.0) - 1.0) * math.inf), 0.0)

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

    name = "mean_absolute_error"
    exact = True
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

    name = "mean_squared_error"
    exact = True
    power = 2

    @staticmethod
    def distance(z: Any, t: Any) -> Any:
        """(z - t)²"""
        e = z - t
        return e * e


def _agree(answer: Any, truth: Any) -> Any:
    return equal(answer, truth) * 1.0


def _agree_where_known(answer: Any, truth: Any, t: Any) -> Any:
    return equal(answer, truth) * 1.0 * (t >= 0.0)


def _is_among(z: Any, t: Any, classes: Any, behind: Any) -> Any:
    """1 where more than `behind` = K - k of the K classes, its own among them, come after class t or are it; 0 where t
    is none of them"""
    own = row_max(minimum(z, (2.0 * equal(t, classes) - 1.0) * math.inf))  # the output of class t; the others at -∞
    after = (own > z) * 1.0 + (equal(own, z) * 1.0) * (t >= classes)
    return (row_sum(after) > behind) * row_sum(equal(t, classes) * 1.0)
