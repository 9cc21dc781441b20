"""Loss and PointwiseLoss: the base classes of losses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..config import Configurable
from ..errors import DataError
from ..formula import trace
from ..layers import Plan, Workspace

Value = Any  # a number, an array, or a symbol of a formula


class Loss(Configurable, ABC):
    """The loss of each row and its derivative.

    predicts: what the outputs stand for: "numbers", "labels" (each output a yes or no of its own) or "classes" (one of
    them). Metrics go by it.

    >>> import gpubp as bp
    >>> bp.MeanSquaredError().predicts
    'numbers'
    """

    predicts: ClassVar[str]

    @abstractmethod
    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """`y` as forward and backward want it for outputs (B, ...) of shape `z`; raises DataError if it doesn't fit."""

    @abstractmethod
    def plan(self, z: Shape, t: Shape) -> Plan:
        """The arrays that the formulas need for outputs and targets of these shapes, batch first."""

    @abstractmethod
    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓ (B,)"""

    @abstractmethod
    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """∂L/∂z, after forward"""


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

    @abstractmethod
    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """The loss of one number"""

    @abstractmethod
    def dl(self, z: Value, t: Value) -> Value:
        """∂l/∂z"""

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
        if type(self).forward is PointwiseLoss.forward and type(self).backward is PointwiseLoss.backward:
            for formula in (self.l, self.dl):  # before they are computed with others, so that errors name them
                trace(formula, 2, 1)
        return Plan(output=(z[0],), arrays={"e": z, "rows": (z[0],), "dz": z})

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """ℓᵢ = (1/n) Σⱼ l"""
        ws.be.apply(self.l, z, t, out=ws.e)
        return row_means(ws, ws.e, math.prod(z.shape[1:]))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1)"""
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(z.shape[1:]), ws.dtype)
        return ws.be.apply(self._dz, z, t, c, mean, out=ws.dz)

    def _dz(self, z: Value, t: Value, c: Value, mean: Value) -> Value:
        return self.dl(z, t) * (c * mean)  # (1)


def row_means(ws: Workspace, values: Array, n: int) -> Array:
    """(B,) means of the n values of each row."""
    if n == 1:
        return values.reshape(-1)
    ws.be.sum_last(values.reshape(-1, n), out=ws.rows)
    return ws.be.apply(_product, ws.rows, ws.be.constant(1.0 / n, ws.dtype), out=ws.rows)


def _product(a: Value, b: Value) -> Value:
    return a * b
