"""Positions: what tells layers that mix time steps regardless of their order, such as attention, where a step stands.

    x (B, T, n)   y (B, T, n)

    PositionalEncoding   (1) PE[t, 2i] = sin(t / 10000^(2i/n)),  PE[t, 2i+1] = cos(t / 10000^(2i/n))
                         (2) y = x + PE           PE (T, n), the same for every row
                         (3) dx = dy              PE is constant

    PositionalEmbedding  (4) y_t = x_t + P_t      P (L, n), a vector for each of L ≥ T positions, which are learned
                         (5) dP_t = Σ_B dy_t      P_t is in y_t of every row with factor 1; 0 for t ≥ T
                         (6) dx = dy

PositionalEncoding is by Vaswani et al. (2017), PositionalEmbedding by Gehring et al. (2017). Pair i of columns has the
wavelength 2π 10000^(2i/n), from 2π steps to 2π · 10000, so that no two steps look the same. PE[t + k] follows from
PE[t] by a rotation that depends on k alone, since sin((t + k) ω) = sin tω cos kω + cos tω sin kω and cos((t + k) ω) =
cos tω cos kω - sin tω sin kω, and so a product of query and key can measure how far two steps are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count
from ..errors import ShapeError
from ..formula.host import cos, power, sin
from ..initializers import Initializer, Normal
from .base import Layer, Workspace
from .plan import Parameter, Plan
from .time_steps import check_sequences


@dataclass(frozen=True, repr=False)
class PositionalEncoding(Layer):
    """Sines and cosines of the position, added to every time step (Vaswani et al. 2017).

    Input (B, T, n), output the same. It has no parameters, and sequences may be of any length. Numbers of x should be
    about as large as PE, whose mean square is ½. Raises ShapeError for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.PositionalEncoding(), input_shape=(2, 4), device="cpu")
    >>> net.predict([[[0.0] * 4] * 2]).round(2).tolist()[0]
    [[0.0, 1.0, 0.0, 1.0], [0.84..., 0.54..., 0.0..., 1.0]]
    """

    over_time = "each"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """y, and PE (T, n)"""
        check_sequences(x)
        return Plan(
            output=x,
            arrays={"y": x, "PE": x[1:]},
            constants={"exact": encoding(*x[1:])},
            overwrites=("y",),
            reads=(),
        )

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(2)"""
        ws.xp.copyto(ws.PE, ws.exact)  # in the network's precision
        return ws.xp.add(x, ws.PE, out=ws.y)  # (2)  y = x + PE

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3)"""
        return dy  # (3)  dx = dy


@dataclass(frozen=True, repr=False)
class PositionalEmbedding(Layer):
    """A learned vector for every position, added to the time step there (Gehring et al. 2017).

    length: of the longest sequence, with its padding: rows of different lengths are padded to 8, 12, 16, 24, 32, 48,
    ... time steps. weight_initializer: first values. Input (B, T, n), output the same. Raises ShapeError for longer
    sequences, and for other inputs.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.PositionalEmbedding(100), input_shape=(20, 8), device="cpu")
    >>> net.parameters["P"].shape
    (100, 8)
    """

    length: Count
    weight_initializer: Initializer = Normal(0.3)
    over_time = "each"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """P (length, n), and y"""
        check_sequences(x)
        if x[1] > self.length:
            raise ShapeError(
                f"has {self.length} positions, and sequences come with {x[1]} time steps, padding included"
            )
        parameters = {"P": Parameter((self.length, x[2]), self.weight_initializer)}
        return Plan(output=x, parameters=parameters, arrays={"y": x}, overwrites=("y",), reads=())

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(4)"""
        return ws.xp.add(x, ws.P[: x.shape[1]], out=ws.y)  # (4)  y = x + P

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(5)"""
        B, T, n = dy.shape
        if T < self.length:
            ws.xp.copyto(ws.dP[T:], ws.be.constant(0.0, ws.dtype))
        ws.be.sum_rows(dy.reshape(B, T * n), out=ws.dP[:T].reshape(T * n))  # (5)  dP = Σ dy

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6)"""
        return dy  # (6)  dx = dy


def encoding(T: int, n: int) -> np.ndarray[Any, Any]:
    """PE (T, n) of formula (1), in float64.

    >>> encoding(2, 3).round(3).tolist()
    [[0.0, 1.0, 0.0], [0.841, 0.54, 0.002]]
    """
    pair = np.arange(n) // 2  # i
    angle = np.arange(T)[:, None] / power(10000.0, 2 * pair / n)
    PE: np.ndarray[Any, Any] = np.where(np.arange(n) % 2 == 0, sin(angle), cos(angle))  # (1)
    return PE
