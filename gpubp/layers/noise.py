"""Noise: in training a normally distributed number of mean 0 is added to every number.

    Forward   (1) y = x + std z        z: standard normal, drawn anew at every step
    Backward  (2) dx = dy

Two numbers u, v between 0 and 1 give two normal ones (Box and Muller 1958):

    (3) z₁ = √(-2 ln(1 - u)) cos(2π v),   z₂ = √(-2 ln(1 - u)) sin(2π v)

u and v come from counted random numbers (`backends/philox.py`): they depend on the trainer's seed, the layer's place,
the step and the row, and have the same bits on every device. In exact numerics z has too; in ordinary ones the last
bits of z are those of the device's logarithm and cosine. u has 24 bits, so that |z| is 5.77 at most.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..config import NotNegative
from ..formula import cos, log, sin, sqrt
from .base import Layer, Look, Workspace
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class GaussianNoise(Layer):
    """y = x + std z in training, with z standard normal, and y = x in evaluation.

    std: of the noise, 0 for none. Input of any shape, output the same, as Keras's GaussianNoise. Raises ValueError for
    a std below 0.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.GaussianNoise(0.1), input_shape=3, device="cpu")
    >>> net.predict([[1.0, 2.0, 3.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    std: NotNegative
    draws = ("u",)
    over_time = "each"
    exact = True

    def plan(self, x: Shape) -> Plan:
        """u, v: (B, h) each, h being half a row's numbers, in whole blocks of counted ones; z"""
        half = -(-math.prod(x[1:]) // 8) * 4
        return Plan(
            output=x, arrays={"u": (x[0], 2, half), "z": (x[0], 2, half), "y": x}, overwrites=("y",), reads=()
        ) if self.std else Plan(output=x, arrays={"u": (x[0], 2, half)})  # fmt: skip

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """In evaluation, and without noise, y is x."""
        look(self, X, path, None)
        return None if training and self.std else X

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        if not (ws.training and self.std):
            return x
        key = (ws.context.seed, zlib.crc32(ws.path.encode()))
        drawn = math.prod(ws.u.shape[1:])
        ws.be.random_uniform(ws.u, key, ws.context.step, ws.context.first * drawn)
        ws.be.apply(_normal, ws.u[:, 0], ws.u[:, 1], out=(ws.z[:, 0], ws.z[:, 1]))  # (3)
        z = ws.z.reshape(len(x), drawn)[:, : math.prod(x.shape[1:])].reshape(x.shape)  # a view of z
        return ws.be.apply(self._noisy, x, z, out=ws.y)  # (1)  y = x + std z

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        return dy  # (2)  dx = dy

    def _noisy(self, x: Value, z: Value) -> Value:
        return x + self.std * z


def _normal(u: Value, v: Value) -> tuple[Value, Value]:
    radius, angle = sqrt(-2.0 * log(1.0 - u)), 2.0 * math.pi * v
    return radius * cos(angle), radius * sin(angle)  # (3)
