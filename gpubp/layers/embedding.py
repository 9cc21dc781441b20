"""Embedding: a trained vector for every word of a vocabulary.

    x (B, ...) numbers of words   W (V, n)   y (B, ..., n)

    Forward   (1) y_i = W[x_i]
    Backward  (2) dW[v] = Σ_i [x_i = v] dy_i      W[v] reaches every y_i whose word is v, with factor 1

x are whole numbers and have no derivative. The sum in (2) is in the order of i, on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from ..errors import DataError
from ..initializers import Initializer, Uniform
from .base import Buffer, Layer, Parameter, Plan, Workspace


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """y = W[x], for whole numbers x from 0 to below `vocabulary`, given in any type.

    vocabulary: how many words. dim: length of their vectors. weight_initializer: first values.
    Input (B, ...), output (B, ..., dim). It stands lowest: whole numbers have no derivative.
    Raises DataError for numbers that are no words.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Embedding(1000, 8), input_shape=20, device="cpu")
    >>> net.predict([[5] * 20]).shape
    (1, 20, 8)
    """

    vocabulary: Count
    dim: Count
    weight_initializer: Initializer = Uniform(-0.05, 0.05)

    def check_data(self, X: Any, name: str = "X") -> None:
        """Raise DataError where X holds anything but 0 to vocabulary - 1."""
        low, high = (float(f()) for f in (X.min, X.max))
        if not (low >= 0 and high < self.vocabulary):
            wrong = low if low < 0 else high
            raise DataError(
                f"{name} holds {wrong:g}, and {self!r} knows the whole numbers from 0 to {self.vocabulary - 1}"
            )
        if X.dtype.kind == "f" and not bool((np.floor(X) == X).all()):
            raise DataError(f"{name} holds fractions, and {self!r} needs whole numbers, one for each word")

    def plan(self, x: Shape) -> Plan:
        """W (vocabulary, dim)"""
        W = Parameter((self.vocabulary, self.dim), self.weight_initializer)
        arrays: dict[str, Any] = {"rows": Buffer(x, "int64"), "y": (*x, self.dim)}
        return Plan(output=(*x, self.dim), parameters={"W": W}, arrays=arrays)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.xp.copyto(ws.rows, x, casting="unsafe")
        ws.be.gather(ws.W, ws.rows.reshape(-1), out=ws.y.reshape(-1, self.dim))  # (1)  y = W[x]
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2)"""
        ws.be.scatter_rows(dy.reshape(-1, self.dim), ws.rows.reshape(-1), out=ws.dW)  # (2)  dW[v] = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> None:
        """None: whole numbers have no derivative."""
