"""Embedding: a trained vector for every word of a vocabulary.

    x (B, ...) numbers of words   W (V, n)   y (B, ..., n)

    Forward   (1) y_i = W[x_i]
    Backward  (2) dW[v] = Σ_i [x_i = v] dy_i      W[v] reaches every y_i whose word is v, with factor 1
              (3) dx = 0                         whole numbers don't change little by little

The sum in (2) is in the order of i, on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape, as_numpy
from ..config import Count
from ..initializers import Initializer, Uniform
from .base import Layer, Workspace
from .plan import Buffer, Parameter, Plan
from .words import WordError


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """y = W[x], for whole numbers x from 0 to below `vocabulary`, given in any type.

    vocabulary: how many words. dim: length of their vectors. weight_initializer: first values.
    Input (B, ...), output (B, ..., dim). It mostly stands lowest: its dx is 0, so layers below it are not trained
    through it.
    Raises DataError, with row and value, for numbers that are no words. Those of X are checked before any step. If
    layers compute them, the error comes when the loss or the prediction is read; until then a wrong number is read as
    word 0, and adds no gradient.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Embedding(1000, 8), input_shape=20, device="cpu")
    >>> net.predict([[5] * 20]).shape
    (1, 20, 8)
    """

    vocabulary: Count
    dim: Count
    weight_initializer: Initializer = Uniform(-0.05, 0.05)
    over_time = "each"
    exact = True

    def check_data(self, X: Any, name: str = "X") -> None:
        """Raise DataError, with the row, where X holds anything but 0 to vocabulary - 1."""
        fractions = X.dtype.kind == "f"
        if X.min() >= 0 and X.max() < self.vocabulary and not (fractions and bool((np.floor(X) != X).any())):
            return
        good = (X >= 0) & (X < self.vocabulary)  # which NaN is not
        wrong = as_numpy(~(good & (np.floor(X) == X) if fractions else good)).reshape(len(X), -1)
        row = int(wrong.any(axis=1).argmax())
        value = as_numpy(X[row : row + 1]).reshape(-1)[wrong[row].argmax()]
        raise WordError(self, float(value), row, name)

    def plan(self, x: Shape) -> Plan:
        """W (vocabulary, dim)"""
        W = Parameter((self.vocabulary, self.dim), self.weight_initializer)
        arrays: dict[str, Any] = {"rows": Buffer(x, "int64"), "y": (*x, self.dim), "dx": x}
        return Plan(output=(*x, self.dim), parameters={"W": W}, arrays=arrays)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        if ws.word_count is None:
            ws.xp.copyto(ws.rows, x, casting="unsafe")
        else:
            ws.word_count.words(ws, x)
        ws.be.gather(ws.W, ws.rows.reshape(-1), out=ws.y.reshape(-1, self.dim))  # (1)  y = W[x]
        return ws.y

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2)"""
        B, dy = len(dy), dy.reshape(-1, self.dim)
        if ws.word_count is not None:
            dy = ws.word_count.masked(ws, dy)
        ws.be.scatter_rows(dy, ws.rows.reshape(-1), out=ws.dW, rows_of_batch=B)  # (2)  dW[v] = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3)"""
        return ws.dx  # (3)  dx = 0, as it was made
