"""Metric and EpochMetric: the base classes of metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..backends import Array, Shape
from ..backends.order import exact_sum
from ..config import Configurable
from ..formula.elementary import exp64
from ..layers import Buffer, Plan, Workspace
from ..losses.base import row_means


class Metric(Configurable, ABC):
    """A value for each row of a batch. An epoch reports M = Σᵢ wᵢ mᵢ / Σᵢ wᵢ nᵢ over all its rows.

    wᵢ: row weights. mᵢ: the values, from `rows`. nᵢ: how much the rows count, from `counts`; 1 unless the loss leaves
    out positions, see `SoftmaxCrossEntropy`.

    name: its key in the history, other than "loss", the columns of a log, and what begins with val_. kinds: which of
    "numbers", "labels" and "classes" it is for. higher_is_better: whether a higher value is better, True or False.
    `EarlyStopping` and other callbacks with mode="auto" go by it; with None they ask for a mode. by_mask: whether the
    value of a row is the mean over its own time steps where outputs (B, T, ...) have padding, by `row_means` or
    `ws.mask`; of an `EpochMetric`, whether `result` takes each time step as a row. by_position: whether it is a mean
    over the positions of outputs (B, ..., n) by `row_means`, counts too, so that positions can have weights; of an
    `EpochMetric`, whether `result` takes them. exact: whether all that the class computes has the same bits on every
    machine in exact numerics, as of layers.

    >>> import gpubp as bp
    >>> class LargestError(bp.Metric):
    ...     name, kinds, higher_is_better = "largest_error", ("numbers",), False
    ...     def plan(self, z, t, predicts):
    ...         return bp.Plan(output=z[:1], arrays={"error": z, "largest": z[:1]})
    ...     def rows(self, ws, z, t, predicts):
    ...         ws.xp.subtract(z, t, out=ws.error)
    ...         ws.xp.absolute(ws.error, out=ws.error)
    ...         return ws.xp.max(ws.error, axis=-1, out=ws.largest)
    >>> net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), 1, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[LargestError()])
    >>> trainer.evaluate([[1.0], [1.0]], [[1.0, 2.0], [0.0, 4.0]])["largest_error"]
    3.0
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    higher_is_better: ClassVar[bool | None] = None
    by_mask: ClassVar[bool] = False
    by_position: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    @abstractmethod
    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """The arrays it needs, for outputs and targets of these shapes. Raises ShapeError if it isn't for them."""

    @abstractmethod
    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array:
        """The value of each row, (B,), in the network's type. Class indices t of -1 mark positions left out, and so do
        labels where `ws.leaves_out` is true."""

    def counts(self, ws: Workspace, z: Array, t: Array, predicts: str) -> Array | None:
        """nᵢ, (B,), how much each row counts; None where each counts 1. Called only where the loss has such counts."""
        return None


class EpochMetric(Metric):
    """A number computed from all rows of an epoch, where no mean of the rows' values would do.

    Write your own as a class with `result`, a function of NumPy arrays that is called once an epoch, and once before
    training on a few rows, to see that it returns a number. In each step
    `rows` says what is kept of the batch, on the device; by default the outputs and the targets. What is kept needs
    memory for all rows of the epoch, so a metric that needs less keeps less. Where outputs have time steps of different
    numbers, each step of a row is a row for `result`, with the weight of its row or its own, and padding is left out;
    such a metric says `by_mask = True`.

    >>> import numpy as np, gpubp as bp
    >>> class MedianError(bp.EpochMetric):
    ...     name, kinds, higher_is_better = "median_error", ("numbers",), False
    ...     def result(self, outputs, targets, weights):
    ...         return np.median(np.abs(outputs - targets))
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), 2, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[MedianError()])
    >>> trainer.evaluate(np.ones((5, 2)), [1.0, 2.0, 3.0, 4.0, 50.0])["median_error"]
    3.0
    """

    def plan(self, z: Shape, t: Shape, predicts: str) -> Plan:
        """No arrays"""
        return Plan(output=z[:1])

    def rows(self, ws: Workspace, z: Array, t: Array, predicts: str) -> tuple[Array, Array]:
        """What is kept of each row: outputs (B, ...) and targets (B, ...), of any type; (B, T, ...) where rows have
        lengths and outputs time steps."""
        return z, t

    @abstractmethod
    def result(
        self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
    ) -> float:
        """The number that the epoch reports.

        outputs, targets: (n, ...), what was kept of all rows in the order of the batches, or of the time steps of one
        row after the other; floating-point numbers in float64. weights: (n,) float64, the row weights; rows of weight 0
        are left out. Class indices of -1 mark positions that the loss leaves out, and labels of -1 such outputs. Where
        `by_position` is true, weights may also be (n, ...), those of positions, all axes of the outputs but the last.
        """

    def exact_result(
        self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
    ) -> float:
        """`result` in exact numerics. NumPy's sums, products of matrices and `exp` have other last bits on other
        machines; + - * / and `exact_sum` of gpubp.backends.order have not. Where `result` itself is so, as of what is
        counted, nothing need be written."""
        return self.result(outputs, targets, weights)

    def exactly(self) -> Callable[..., float]:
        """`exact_result`, or the `result` of a class that has none of its own."""
        first = next(cls for cls in type(self).__mro__ if {"result", "exact_result"} & vars(cls).keys())
        return self.exact_result if "exact_result" in vars(first) else self.result


class HostNumbers(NamedTuple):
    """By which functions a result is computed on the host. total: (a, axis) -> the sum. weighted: (w, a) -> wᵀ a.

    >>> EXACT.total(np.ones(3), None), ORDINARY.exp(0.0)
    (3.0, np.float64(1.0))
    """

    total: Callable[..., Any]
    exp: Callable[[Any], Any]
    weighted: Callable[[Any, Any], Any]


ORDINARY = HostNumbers(np.sum, np.exp, np.matmul)
EXACT = HostNumbers(exact_sum, exp64, lambda w, a: exact_sum(w[:, None] * a, 0))


def counts_of_answers(ws: Workspace, z: Array, t: Array, predicts: str) -> Array | None:
    """nᵢ, the share of a row's positions, or of its labels, that are not left out; None where none can be.

    The plan needs the arrays of `count_arrays`.
    """
    if predicts != "labels" and t.ndim == z.ndim:
        return None
    ws.xp.greater_equal(t, ws.be.constant(0, t.dtype), out=ws.is_counted)
    return row_means(ws, ws.be.apply(_number, ws.is_counted, out=ws.counted), ws.counts)


def count_arrays(z: Shape, predicts: str) -> dict[str, Shape | Buffer]:
    """The arrays that `counts_of_answers` needs."""
    each = z if predicts == "labels" else z[:-1]
    return {"is_counted": Buffer(each, "bool"), "counted": each, "counts": z[:1]}


def answer_arrays(z: Shape, predicts: str) -> dict[str, Shape | Buffer]:
    """The arrays that `answers` needs."""
    answer = z[:-1] if predicts == "classes" else z
    kind = "int64" if predicts == "classes" else "bool"
    return {"answer": Buffer(answer, kind), "truth": Buffer(answer, kind)}


def answers(ws: Workspace, z: Array, t: Array, predicts: str) -> tuple[Array, Array]:
    """(answer, truth): class indices (B, ...), the answer being the largest output; or a yes or no for each output, the
    answer being whether z > 0, or a probability z > ½."""
    if predicts == "classes":
        ws.xp.argmax(z, axis=-1, out=ws.answer)
        return ws.answer, true_classes(ws, z, t)
    least = 0.5 if ws.outputs_are == "probabilities" else 0.0
    ws.xp.greater(z, ws.be.constant(least, ws.dtype), out=ws.answer)
    return ws.answer, ws.xp.greater(t, ws.be.constant(0.5, ws.dtype), out=ws.truth)


def true_classes(ws: Workspace, z: Array, t: Array) -> Array:
    """Class indices (B, ...): the targets, or the largest of each position's probabilities."""
    return t if t.ndim < z.ndim else ws.xp.argmax(t, axis=-1, out=ws.truth)


def leaves_out(ws: Workspace, predicts: str) -> bool:
    """Whether labels t of -1 are outputs that the loss leaves out."""
    return predicts == "labels" and ws.leaves_out


def _number(truth: Any) -> Any:
    return truth * 1.0
