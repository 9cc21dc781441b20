"""The cosine similarity of outputs and targets as a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..config import Positive
from ..formula import maximum, row_sum, sqrt
from ..layers import Plan, Workspace
from .base import Loss, Value, numbers_for, outputs_of, row_means


@dataclass(frozen=True, repr=False)
class CosineSimilarity(Loss):
    """Minus the cosine of the angle between outputs and targets, vectors along the last axis of z (B, ..., n).

        (1) a = max(|z|, ε), b = max(|t|, ε)      (2) ℓ = -z·t / (a b)      (3) dz = -c (t/b + ℓ z/a) / a

    -1 is the same direction, 0 a right angle, 1 the opposite. Of the lengths only what is below ε counts: a zero vector
    has the loss 0, and since a is constant there, (3) has no term ℓ z/a. With more axes a row's loss is the mean over
    its positions.

    eps: ε. As Keras's `CosineSimilarity`, whose ε² is 1e-12; PyTorch's `CosineEmbeddingLoss` of pairs that belong
    together is 1 more than this. Raises DataError for targets of another shape.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.parameters["b"][...] = [3.0, 4.0]
    >>> round(net.loss_and_gradients(CosineSimilarity(), [[1.0, 2.0]], [[2.0, 0.0]])[0], 4)
    -0.6
    """

    eps: Positive = 1e-6
    predicts = "numbers"
    by_mask = True
    by_position: ClassVar[bool] = True
    exact = True

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """A vector for each vector of outputs; (B,) stands for (B, 1)."""
        return numbers_for(self, y, z)

    def plan(self, z: Shape, t: Shape) -> Plan:
        """ℓ of every position (B, ..., 1) and of every row (B,), dz as z"""
        return Plan(output=(z[0],), arrays={"position": (*z[:-1], 1), "rows": (z[0],), "dz": z})

    def _lengths(self, z: Value, t: Value) -> tuple[Value, Value, Value]:
        """|z|, and (1)"""
        length = sqrt(row_sum(z * z))
        return length, maximum(length, self.eps), maximum(sqrt(row_sum(t * t)), self.eps)

    def l(self, z: Value, t: Value) -> Value:  # noqa: E743
        """(2)"""
        _, a, b = self._lengths(z, t)
        return -(row_sum(z * t) / (a * b))

    def dz(self, z: Value, t: Value, c: Value, mean: Value) -> Value:
        """(3), from z, the targets, the row's share in the loss, 1/positions"""
        length, a, b = self._lengths(z, t)
        turned = self.l(z, t) * (length > self.eps)
        return -(t / b + turned * (z / a)) / a * (c * mean)

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(2)"""
        return row_means(ws, ws.be.apply(self.l, z, t, out=ws.position))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(3)"""
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(outputs_of(ws, z)[:-1]), ws.dtype)
        return ws.be.apply(self.dz, z, t, c, mean, out=ws.dz)
