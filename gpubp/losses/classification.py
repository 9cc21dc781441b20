"""SoftmaxCrossEntropy: cross-entropy of one class among several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import BelowOne, NotNegative, argument, whole
from ..errors import DataError, ShapeError
from ..formula import equal, exp, fmin, log, row_max, row_sum
from ..layers import Plan, Workspace
from .base import Loss, Value, constant_array
from .binary import BinaryCrossEntropy as BinaryCrossEntropy  # where pickles of before look for it
from .positions import outputs_of, row_means


@dataclass(frozen=True, repr=False)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of one class among K; z (B, ..., K) are logits.

        (1) s = z - maxₖ z      (2) S = Σₖ eˢ      (3) ℓ = log S - Σₖ q s      (4) dz = c (eˢ/S - q)

    with 0 · (-∞) = 0 in (3): a logit of -∞ masks a class, which has p = 0. ℓ is infinite where q of it is not 0.

    (3) is -Σ q log p with p = eˢ/S and Σ q = 1; subtracting the maximum changes nothing in p and keeps eˢ finite. For
    (4): ∂ log S/∂zₖ = eˢ/S and ∂(Σ q s)/∂zₖ = qₖ, the maximum's part cancelling.

    Targets: class indices (B, ...), or probabilities q (B, ..., K) such as one-hot rows. label_smoothing: ε mixes the
    uniform distribution in, q ← (1 - ε) q + ε/K (Szegedy et al. 2015). With more axes a row's loss is the mean over its
    positions. A position whose q are all 0 has the loss and gradient 0 by (6), also with ε, where PyTorch keeps ε/K; as
    in PyTorch it counts in the mean. Metrics take class 0 of it.

    ignore_index: the class index of positions that are left out, such as padding: -100, or one of the classes. Their
    loss and gradient are 0. class_weight: a, how much each class counts; K numbers, or class -> number, where a class
    that is not named counts 1. With either, a batch is one set of positions p of all rows i:

        (5) L = Σᵢₚ wᵢ lᵢₚ / Σᵢₚ wᵢ vᵢₚ      (6) l = -Σₖ aₖ qₖ log pₖ = Q log S - Σₖ aₖ qₖ s,  Q = Σₖ aₖ qₖ

    with w the row weights, and v the weight aₜ of the position's class t, or 1 where the targets are probabilities;
    l = v = 0 for positions that are left out. This is the mean of PyTorch's `cross_entropy(weight, ignore_index)`. So a
    row with many positions that count has a larger share in it than a row with few. An epoch and an evaluation report
    (5) over all their positions, and not the mean of their batches. Metrics such as accuracy do not count positions
    that are left out; class weights do not change metrics. A batch of which nothing counts has the gradient 0 and the
    loss NaN. The `class_weight` of `Trainer.fit` is part of w: where both are given, they are multiplied.

    Raises ValueError for arguments that can't be, ShapeError where class weights do not fit the outputs, DataError for
    ignore_index with probabilities.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(3, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> loss, _ = net.loss_and_gradients(SoftmaxCrossEntropy(), [[1.0, 2.0]], [0])
    >>> round(loss, 4)                               # log 3
    1.0986
    >>> loss, _ = net.loss_and_gradients(SoftmaxCrossEntropy(ignore_index=-100), [[1.0, 2.0], [3.0, 4.0]], [0, -100])
    >>> round(loss, 4)
    1.0986
    """

    label_smoothing: BelowOne = 0.0
    ignore_index: int | None = None
    class_weight: Any = None
    predicts = "classes"
    by_mask = True
    by_position = True
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_weight is not None:
            object.__setattr__(self, "class_weight", _class_weight(type(self).__name__, self.class_weight))

    @property
    def has_counts(self) -> bool:
        """Whether positions are left out, or classes have weights."""
        return self.ignore_index is not None or self.class_weight is not None

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """Class indices as int32, -1 where they are left out; or probabilities."""
        classes = z[-1]
        try:
            self._of_classes(classes)
        except ShapeError as problem:
            raise problem.of(repr(self)) from None
        if y.shape[1:] == z[1:] and y.ndim == len(z):
            if self.ignore_index is not None:
                raise DataError(
                    f"ignore_index={self.ignore_index} goes with class indices, and y holds probabilities or one-hot "
                    "rows; give class indices, or sample_weight=0 for rows to leave out"
                )
            return _probabilities(type(self).__name__, y, classes)
        if y.shape[1:] != z[1:-1]:
            steps = "; a recurrent layer gives every time step with return_sequences=True"
            hint = steps if y.ndim == len(z) == 2 else ""
            raise DataError(
                f"y has rows of shape {y.shape[1:]}; {type(self).__name__} needs class indices, rows of shape "
                f"{z[1:-1]}, or one-hot rows of shape {z[1:]}{hint}"
            )
        if y.dtype.kind not in "iub":
            if y.dtype.kind != "f" or (y.size and not np.array_equal(y, np.floor(y))):
                raise DataError(
                    f"{type(self).__name__} needs class indices, whole numbers from 0, and y holds {y.dtype}"
                )
        left_out = None if self.ignore_index is None else y == self.ignore_index
        counted = y if left_out is None else y[~left_out]
        if counted.size and not (counted.min() >= 0 and counted.max() < classes):
            wrong = counted.min() if counted.min() < 0 else counted.max()
            hint = f"; ignore_index={wrong:.0f} leaves out such positions" if wrong < 0 and left_out is None else ""
            raise DataError(
                f"y holds the class {wrong}, and the network has {classes} outputs, for the classes 0 to {classes - 1}"
                f"{hint}"
            )
        t = y.astype(np.int32)
        if left_out is not None:
            t[left_out] = -1
        return t

    @property
    def fits_outputs(self) -> int | None:
        """As many as there are class weights, or one more than the last class that is named."""
        given = self.class_weight
        if given is None:
            return None
        return given[-1][0] + 2 if isinstance(given[0], tuple) else len(given)

    def _of_classes(self, classes: int) -> tuple[float, ...] | None:
        """The weight of each class; raises ShapeError where there are others, ValueError where none has any."""
        given = self.class_weight
        if given is None:
            return None
        if not isinstance(given[0], tuple):
            if len(given) != classes:
                raise ShapeError(f"has {len(given)} numbers in class_weight, and the network has {classes} outputs")
            return tuple(given)
        if given[-1][0] >= classes:
            raise ShapeError(
                f"has the class {given[-1][0]} in class_weight, and the network has {classes} outputs, for the classes "
                f"0 to {classes - 1}"
            )
        named = dict(given)
        return _some(tuple(named.get(k, 1.0) for k in range(classes)))

    def plan(self, z: Shape, t: Shape) -> Plan:
        """ℓ of every position (B, ..., 1) and of every row (B,), dz as z"""
        self._of_classes(z[-1])
        arrays = dict(position=(*z[:-1], 1), rows=(z[0],), dz=z, counted=(*z[:-1], 1), counts=(z[0],))
        return Plan(output=(z[0],), arrays=arrays, constants={"classes": np.arange(z[-1], dtype=np.int32)})

    def q(self, t: Value, *more: Value) -> Value:
        """aₖ q from (class, all classes, ε/K) or (q, ε/K), and the class weights a; q alone is taken as it is."""
        if not more:
            return t
        weighted = self.class_weight is not None
        *classes, even = more[:-1] if weighted else more
        q = one = equal(t, classes[0]) if classes else t  # no class is -1
        if self.label_smoothing:
            if not classes:
                even = even * row_sum(t)
            q = q * (1.0 - self.label_smoothing) + even
            if self.ignore_index is not None:
                q = q * row_sum(one * 1.0)
        return q * more[-1] if weighted else q

    def _sum_of_q(self, q: Value, targets: Sequence[Value]) -> Value:
        """Q of (6); None where it is 1"""
        if self.has_counts:
            return row_sum(q * 1.0)
        return row_sum(targets[0]) if len(targets) < 3 else None  # of probabilities, which smoothing does not change

    def l(self, z: Value, *targets: Value) -> Value:  # noqa: E743
        """(1), (2), (3)"""
        q = self.q(*targets)
        s = z - row_max(z)  # (1)  s = z - max z
        if (total := self._sum_of_q(q, targets)) is not None:
            return total * log(row_sum(exp(s))) - row_sum(fmin(q * s, 0.0))  # (2), (6)
        return log(row_sum(exp(s))) - row_sum(fmin(q * s, 0.0))  # (2), (3)  ℓ = log S - Σ q s, and 0 for 0 · (-∞)

    def l_and_dz(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """(3) and (4), which share all that is costly; from z, the targets, the position's share in the loss"""
        *targets, c = inputs
        q = self.q(*targets)
        e = exp(z - row_max(z))
        p = e / row_sum(e)
        if (total := self._sum_of_q(q, targets)) is not None:
            p = p * total
        return self.l(z, *targets), (p - q) * c  # (4)  dz = c (eˢ/S - q); of (6), c (Q eˢ/S - a q)

    def counts(self, ws: Workspace, t: Array) -> Array | None:
        """nᵢ, the mean of v over the positions of a row; None for probabilities, of which each position counts 1"""
        if t.ndim == ws.position.ndim:
            return None
        t = t.reshape(*t.shape, 1)
        if self.class_weight is None:
            ws.be.apply(_counted, t, ws.classes, out=ws.counted)
        else:
            ws.be.apply(_weight_of, t, ws.classes, self._class_weights(ws), out=ws.counted)
        return row_means(ws, ws.counted, ws.counts)

    def _class_weights(self, ws: Workspace) -> Array:
        return constant_array(ws, "class_weights", self._of_classes(len(ws.classes)) or ())

    def l_and_dz_of_positions(self, z: Value, *inputs: Value) -> tuple[Value, Value]:
        """The same for rows of several positions; from z, the targets, the row's share in the loss, 1/positions"""
        *targets, c, mean = inputs
        return self.l_and_dz(z, *targets, c * mean)

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1), (2), (3); in training also (4), in the same pass"""
        even = ws.be.constant(self.label_smoothing / z.shape[-1], ws.dtype)
        ws.targets = (t, even) if t.ndim == z.ndim else (t.reshape(*t.shape, 1), ws.classes, even)
        if self.class_weight is not None:
            ws.targets = (*ws.targets, self._class_weights(ws))
        if ws.training:
            self._l_and_dz(ws, z)
        else:
            ws.be.apply(self.l, z, *ws.targets, out=ws.position)
        return row_means(ws, ws.position)

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(4)"""
        if not ws.training:
            self._l_and_dz(ws, z)
        return ws.dz

    def _l_and_dz(self, ws: Workspace, z: Array) -> None:
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        positions, out = math.prod(outputs_of(ws, z)[:-1]), (ws.position, ws.dz)
        if positions == 1:
            ws.be.apply(self.l_and_dz, z, *ws.targets, c, out=out)
        else:
            mean = ws.be.constant(1.0 / positions, ws.dtype)
            ws.be.apply(self.l_and_dz_of_positions, z, *ws.targets, c, mean, out=out)


def _probabilities(of: str, y: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    if y.dtype.kind not in "fiub":
        raise DataError(f"y holds {y.dtype}, and {of} needs numbers")
    sums = y.sum(axis=-1, dtype=np.float64)
    off = np.where(sums == 0.0, 0.0, np.abs(sums - 1.0))
    if y.size and not (off.max() < 1e-3 and y.min() >= 0):
        wrong = f"one sums to {sums.flat[off.argmax()]:g}" if y.min() >= 0 else f"one has {y.min():g}"
        raise DataError(
            f"y has {classes} columns like the network's outputs, so its rows are taken as probabilities or one-hot; "
            f"they must be 0 or more and sum to 1, or to 0 where a position is left out, and {wrong}"
        )
    return y


def _counted(t: Value, classes: Value) -> Value:
    """1 for a position that counts"""
    return row_sum(equal(t, classes) * 1.0)


def _weight_of(t: Value, classes: Value, a: Value) -> Value:
    """The weight of a position's class, 0 if it is left out"""
    return row_sum(equal(t, classes) * a)


def _class_weight(of: str, given: Any) -> tuple[Any, ...]:
    """K numbers, or (class, number) pairs in order; raises ValueError."""
    shown = given
    if isinstance(given, Mapping):
        given = list(given.items())
    if not _is_list(given) or not len(given):
        raise ValueError(
            f"{of} needs class_weight to be a number for each class, or class -> number, and got {shown!r:.200}"
        )
    if not all(_is_list(pair) and len(pair) == 2 for pair in given):
        return _some(_weights(of, given))
    classes = [whole(pair[0], least=0) for pair in given]
    if None in classes or len(set(classes)) < len(classes):
        raise ValueError(f"class_weight names each class once, by its index 0, 1, 2, ...; got {dict(given)!r}")
    numbers = _weights(of, [pair[1] for pair in given])
    return tuple(sorted(zip(classes, numbers, strict=True)))


def _some(weights: tuple[float, ...]) -> tuple[float, ...]:
    """The weights; raises ValueError where all are 0."""
    if not any(weights):
        raise ValueError("class_weight leaves every class without weight")
    return weights


def _is_list(given: Any) -> bool:
    return isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim > 0)


def _weights(of: str, given: Any) -> tuple[float, ...]:
    return tuple(float(argument(of, "each class_weight", NotNegative, n)) for n in given)
