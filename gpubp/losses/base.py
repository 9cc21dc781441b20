"""Loss and PointwiseLoss: the base classes of losses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..backends import Array, Backend, Shape
from ..config import Configurable
from ..errors import DataError, ResultError
from ..formula import trace
from ..layers import Plan, Workspace
from ..layers.results import noted

Value = Any  # a number, an array, or a symbol of a formula


class _Missing:
    """In the place of an attribute that a class should have."""

    def __get__(self, loss: Any, cls: type) -> str:
        raise AttributeError(
            f'{cls.__name__} does not say what its outputs stand for; give the class predicts = "numbers", "labels" or '
            '"classes", which metrics go by'
        )


class Positions(NamedTuple):
    """Which time steps of outputs (B, T, ...) count, as `ws.judged` of a loss or a metric.

    padding: (B, T) bool. share: (B,) 1 / length; None where a batch is one set of steps, see `Loss.counts`.
    """

    padding: Array
    share: Array

    def clear(self, be: Backend, a: Array) -> None:
        """a (B, T, ...) ← 0 at padding, whatever stands there."""
        where = self.padding.reshape(*self.padding.shape, *[1] * (a.ndim - 2))
        be.xp.copyto(a, be.constant(0.0, a.dtype), where=where)


class Loss(Configurable, ABC):
    """The loss of each row and its derivative.

    predicts: what the outputs stand for: "numbers", "labels" (each output a yes or no of its own) or "classes" (one of
    them). Metrics go by it. has_counts: whether rows count unequally beside their weights, as `counts` then says.
    by_mask: whether the loss of a row is the mean over its own time steps where outputs (B, T, ...) have padding, by
    `row_means` or `ws.mask`; dz is set to 0 at padding for it, and `ws.context.share` is divided by the lengths. exact:
    as of layers; pointwise losses that are formulas need not say so.

    >>> import gpubp as bp
    >>> bp.MeanSquaredError().predicts
    'numbers'
    """

    predicts: ClassVar[str] = _Missing()  # type: ignore[assignment]
    by_mask: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    @property
    def has_counts(self) -> bool:
        """False unless a class says otherwise: each row counts 1."""
        return False

    @property
    def fits_outputs(self) -> int | None:
        """A number of outputs that the loss's arguments fit; None where they fit any. `gradcheck` takes it."""
        return None

    @abstractmethod
    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """`y` as forward and backward want it for outputs (B, ...) of shape `z`; raises DataError if it doesn't fit."""

    @abstractmethod
    def plan(self, z: Shape, t: Shape) -> Plan:
        """The arrays that the formulas need for outputs and targets of these shapes, batch first."""

    def counts(self, ws: Workspace, t: Array) -> Array | None:
        """n (B,), how much each row counts, so that L = Σ w ℓ / Σ w n; called before forward where `has_counts`.

        It depends on the targets alone. None where each row counts 1.
        """
        return None

    @abstractmethod
    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓ (B,)"""

    @abstractmethod
    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """∂L/∂z, after forward; `ws.context.share` is c = w / Σ w n"""


class PointwiseLoss(Loss):
    """A loss that compares number with number. Write your own as a class with `l` and `dl`.

    >>> import gpubp as bp
    >>> class Quartic(bp.PointwiseLoss):
    ...     predicts = "numbers"
    ...     def l(self, z, t):
    ...         e = z - t
    ...         return e * e * e * e
    ...     def dl(self, z, t):
    ...         e = z - t
    ...         return 4 * e * e * e
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> loss, gradients = net.loss_and_gradients(Quartic(), [[1.0, 2.0]], [3.0])
    """

    predicts = "numbers"
    by_mask = True

    @abstractmethod
    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """The loss of one number"""

    @abstractmethod
    def dl(self, z: Value, t: Value) -> Value:
        """∂l/∂z"""

    @property
    def is_by_formulas(self) -> bool:
        """Whether l and dl are all of the loss; else its class has a forward or backward of its own."""
        return type(self).forward is PointwiseLoss.forward and type(self).backward is PointwiseLoss.backward

    def formula_arguments(self) -> Mapping[str, Sequence[float]]:
        """What `l` and `dl` take after z and t, by name: one number for each index of the last axis."""
        return {}

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """One number for each output; (B,) stands for (B, 1)."""
        if y.dtype.kind not in "fiub":
            raise DataError(f"y holds {y.dtype}, and {self!r} needs numbers")
        if y.ndim == 1 and len(z) == 2 and z[1] == 1:
            y = y[:, None]
        if y.shape[1:] != z[1:]:
            raise DataError(
                f"y has rows of shape {y.shape[1:]}, and the network gives rows of shape {z[1:]}; they must be equal "
                f"for {self!r}"
            )
        return y

    def plan(self, z: Shape, t: Shape) -> Plan:
        """e: the losses of single numbers"""
        if self.is_by_formulas:
            for formula in (self.l, self.dl):  # before they are computed with others, so that errors name them
                trace(formula, 2 + len(self.formula_arguments()), 1)
        return Plan(output=(z[0],), arrays={"e": z, "rows": (z[0],), "dz": z})

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓᵢ = (1/n) Σⱼ l"""
        ws.be.apply(self.l, z, t, *self._arguments(ws), out=ws.e)
        return row_means(ws, ws.e)

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1)"""
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(outputs_of(ws, z)), ws.dtype)
        return ws.be.apply(self._dz, z, t, c, mean, *self._arguments(ws), out=ws.dz)

    def _arguments(self, ws: Workspace) -> list[Array]:
        return [constant_array(ws, name, numbers) for name, numbers in self.formula_arguments().items()]

    def _dz(self, z: Value, t: Value, c: Value, mean: Value, *more: Value) -> Value:
        return self.dl(z, t, *more) * (c * mean)  # (1)


def targets_of(loss: Loss, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
    """What `loss.targets` makes of y for outputs of shape z, checked; ResultError if it is no array of numbers by row.

    >>> import gpubp as bp
    >>> targets_of(bp.MeanSquaredError(), np.array([1.0, 2.0]), (2, 1)).shape
    (2, 1)
    """
    with noted(loss, where := f"{type(loss).__name__}.targets"):
        t: Any = loss.targets(y, z)
    if not isinstance(t, np.ndarray) or t.ndim == 0 or len(t) != z[0] or t.dtype.kind not in "fiub":
        hint = "; is a return missing?" if t is None else ""
        raise ResultError(
            f"{where} must return a NumPy array of numbers with {z[0]} rows, and returned {t!r:.200}{hint}"
        )
    return t


def row_means(ws: Workspace, values: Array, out: Array | None = None) -> Array:
    """(B,) means of the values (B, ...) of each row; into `out`, or ws.rows, where there are several a row.

    Where outputs have time steps and padding, values are set to 0 at padding, and the mean is over the row's own steps,
    or its sum over them: see `Positions`.
    """
    n, positions = math.prod(values.shape[1:]), ws.judged
    if n == 1:
        return values.reshape(-1)
    out = ws.rows if out is None else out
    if positions is not None:
        positions.clear(ws.be, values)
        ws.be.sum_last(values.reshape(-1, n), out=out)
        inner = math.prod(outputs_of(ws, values))
        if inner > 1:
            ws.be.apply(_product, out, ws.be.constant(1.0 / inner, ws.dtype), out=out)
        return out if positions.share is None else ws.be.apply(_product, out, positions.share, out=out)
    ws.be.sum_last(values.reshape(-1, n), out=out)
    return ws.be.apply(_product, out, ws.be.constant(1.0 / n, ws.dtype), out=out)


def outputs_of(ws: Workspace, z: Array) -> Shape:
    """The axes of z (B, ...) over which a mean has as many numbers in each row: all but the time steps that differ."""
    shape: Shape = z.shape[1:] if ws.judged is None else z.shape[2:]
    return shape


def constant_array(ws: Workspace, name: str, numbers: Sequence[float]) -> Array:
    """The numbers as an array of the network's type on the device, made once and kept as ws.<name>."""
    if name not in ws.__dict__:
        setattr(ws, name, ws.be.to_device(np.array(numbers), ws.dtype))
    return getattr(ws, name)


def _product(a: Value, b: Value) -> Value:
    return a * b
