"""Loss and PointwiseLoss: the base classes of losses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Backend, Shape
from ..config import Configurable
from ..errors import DataError
from ..formula import trace
from ..layers import Plan, Workspace
from .on_arrays import losses_of, targets_of, value_and_gradient
from .positions import Positions, outputs_of, row_means

__all__ = [
    "Loss", "PointwiseLoss", "Positions", "Value", "constant_array", "numbers_for", "outputs_of", "row_means",
    "targets_of",
]  # fmt: skip

Value = Any  # a number, an array, or a symbol of a formula


class _Missing:
    """In the place of an attribute that a class should have."""

    def __get__(self, loss: Any, cls: type) -> str:
        raise AttributeError(
            f'{cls.__name__} does not say what its outputs stand for; give the class predicts = "numbers", "labels" or '
            '"classes", which metrics go by'
        )


class Loss(Configurable, ABC):
    """The loss of each row and its derivative.

    predicts: what the outputs stand for: "numbers", "labels" (each output a yes or no of its own) or "classes" (one of
    them). Metrics go by it. has_counts: whether rows count unequally beside their weights, as `counts` then says.
    by_mask: whether the loss of a row is the mean over its own time steps where outputs (B, T, ...) have padding, by
    `row_means` or `ws.mask`; dz is set to 0 at padding for it, and `ws.context.share` is divided by the lengths.
    by_position: whether each position of outputs (B, ..., n), all axes but the last, has a loss of its own, and a row
    the mean of them by `row_means`, counts too; then positions can have weights, and dz is multiplied by them. exact:
    as of layers; pointwise losses that are formulas need not say so.

    >>> import gpubp as bp
    >>> bp.MeanSquaredError().predicts
    'numbers'
    """

    predicts: ClassVar[str] = _Missing()  # type: ignore[assignment]
    by_mask: ClassVar[bool] = False
    by_position: ClassVar[bool] = False
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

    def rows(self, z: Any, y: Any, *, each: str = "row", device: str | Backend = "cpu") -> np.ndarray[Any, Any]:
        """The loss of each row of the outputs z (B, ..., n), without a network: what `reduction="none"` is elsewhere.

        z: outputs, as a network gives them, for classes before softmax. y: targets, as for `Trainer.fit`. each: "row",
        ℓ (B,), the mean over what a row has; "position", l (B, ...), the loss of each position, all axes but the last;
        "number", l (B, ..., n), that of each output, which pointwise losses have. device: where it is computed, in the
        type of z, float32 or float64, and in float64 for others.

        Nothing is divided by counts: in L = Σ ℓ / Σ n a position that `ignore_index` leaves out has l = 0, and class
        weights are factors of l. Raises DataError where y does not fit z, ValueError where a loss has no such numbers.

        >>> import gpubp as bp
        >>> bp.MeanSquaredError().rows([[1.0, 2.0], [0.0, 4.0]], [[1.0, 1.0], [0.0, 1.0]])
        array([0.5, 4.5])
        >>> bp.MeanSquaredError().rows([[1.0, 2.0]], [[1.0, 1.0]], each="number")
        array([[0., 1.]])
        >>> z = [[[0.0, 0.0], [2.0, 0.0]]]                   # one row of two positions
        >>> bp.SoftmaxCrossEntropy().rows(z, [[0, 1]], each="position").round(4)
        array([[0.6931, 2.1269]])
        """
        return losses_of(self, z, y, each, device)

    def value_and_gradient(
        self, z: Any, y: Any, sample_weight: Any = None, *, device: str | Backend = "cpu"
    ) -> tuple[float, np.ndarray[Any, Any]]:
        """(L, ∂L/∂z) for outputs z (B, ..., n), without a network: L = Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ nᵢ.

        z, y, device: as in `rows`. sample_weight: w, (B,) for rows or (B, ...) for positions, all axes of z but the
        last; L is then Σᵢₚ w l / Σᵢₚ w v. L is NaN where nothing counts. Raises DataError where they do not fit z,
        ShapeError for weights of positions where the loss knows of none.

        >>> import gpubp as bp
        >>> L, dz = bp.MeanSquaredError().value_and_gradient([[1.0], [3.0]], [0.0, 0.0])
        >>> L, dz.tolist()                                   # dz = 2 (z - t) / 2
        (5.0, [[1.0], [3.0]])
        >>> bp.MeanSquaredError().value_and_gradient([[1.0], [3.0]], [0.0, 0.0], sample_weight=[3, 1])[0]
        3.0
        """
        return value_and_gradient(self, z, y, sample_weight, device)


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
    by_position = True

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
        return numbers_for(self, y, z)

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


def constant_array(ws: Workspace, name: str, numbers: Sequence[float]) -> Array:
    """The numbers as an array of the network's type on the device, made once and kept as ws.<name>."""
    if name not in ws.__dict__:
        setattr(ws, name, ws.be.to_device(np.array(numbers), ws.dtype))
    return getattr(ws, name)


def numbers_for(
    loss: Loss, y: np.ndarray[Any, Any], z: Shape, rows: Shape | None = None, are: str = ""
) -> np.ndarray[Any, Any]:
    """Targets y of numbers for outputs (B, ...) of shape z; (B,) stands for (B, 1). DataError for others.

    rows: the shape of a row of y, where it is not that of a row of outputs. are: what the outputs are then, which the
    error says.

    >>> import gpubp as bp
    >>> numbers_for(bp.MeanSquaredError(), np.array([1.0, 2.0]), (2, 1)).shape
    (2, 1)
    """
    if y.dtype.kind not in "fiub":
        raise DataError(f"y holds {y.dtype}, and {loss!r} needs numbers")
    wanted = z[1:] if rows is None else rows
    if y.ndim == 1 and wanted == (1,):
        y = y[:, None]
    if y.shape[1:] != wanted:
        must = "; they must be equal" if rows is None else f", {are}; rows of y must have the shape {rows}"
        raise DataError(
            f"y has rows of shape {y.shape[1:]}, and the network gives rows of shape {z[1:]}{must} for {loss!r}"
        )
    return y
