"""PReLU: a ReLU whose slope below 0 is trained.

    Forward   (1) y = max(x, 0) + a min(x, 0)
    Backward  (2) da = Σ dy min(x, 0)                over all places that share the slope
              (3) dx = dy ([x > 0] + a [x <= 0])

For (2): ∂y/∂a = min(x, 0). The derivative at 0 is taken as a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..backends import Array, Shape
from ..errors import ShapeError
from ..formula import maximum, minimum
from ..initializers import Constant
from .base import Layer, Workspace
from .plan import Parameter, Plan

Value = Any  # a number, an array, or a symbol of a formula


@dataclass(frozen=True, repr=False)
class PReLU(Layer):
    """A ReLU with a trained slope a below 0 (He, Zhang, Ren and Sun 2015).

    y = max(x, 0) + a min(x, 0),  da = Σ dy min(x, 0),  dx = dy ([x > 0] + a [x <= 0])

    slopes: "channel" has a slope for each number of the last axis, a (n,), which all places and time steps share;
    "single" has one slope, a (1,); "each" has one for each number of a row, a (..., n).

        here                  PyTorch                        Keras
        PReLU()               PReLU(num_parameters=n)        PReLU(shared_axes=...), of all axes but the last
        PReLU("single")       PReLU()                        PReLU(shared_axes=...), of all axes
        PReLU("each")                                        PReLU()

    initial: first value of the slopes, 0.25 as in the paper and in PyTorch; Keras begins with 0. Weight decay and
    penalties leave slopes alone: they would draw the layer to a ReLU. Input (B, ..., n), output the same. Raises
    ShapeError for single numbers, (B,), ValueError for other `slopes`.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.PReLU(), input_shape=3, device="cpu")
    >>> net.parameters["a"].tolist(), net.predict([[-2.0, 0.0, 2.0]]).tolist()
    ([0.25, 0.25, 0.25], [[-0.5, 0.0, 2.0]])
    """

    slopes: Literal["channel", "single", "each"] = "channel"
    initial: float = 0.25
    exact = True

    @property
    def over_time(self) -> str:
        """Each time step by itself; slopes for each number of all steps need a fixed number of steps."""
        return "mixes" if self.slopes == "each" else "each"

    def plan(self, x: Shape) -> Plan:
        """a, and the sums of each row for a single slope"""
        if len(x) < 2:
            raise ShapeError(f"expects rows of numbers, (batch, ..., n), and got the shape {x}")
        shape = {"channel": x[-1:], "single": (1,), "each": x[1:]}[self.slopes]
        a = Parameter(shape, Constant(self.initial), decay=False)
        arrays = {"y": x, "dx": x, "of_rows": (x[0], 1)}
        return Plan(output=x, parameters={"a": a}, arrays=arrays, overwrites=("y", "dx"), reads=("x",))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        ws.x = x
        return ws.be.apply(_y, x, ws.a, out=ws.y)

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """(2)"""
        terms = ws.be.scratch("products", dy.shape, ws.dtype)
        ws.be.apply(_below, ws.x, dy, out=terms)
        if self.slopes == "each":
            ws.be.sum_rows(terms.reshape(len(dy), -1), out=ws.da.reshape(-1))
        elif self.slopes == "channel":
            ws.be.sum_rows(terms, out=ws.da)
        else:
            ws.be.sum_last(terms.reshape(len(dy), -1), out=ws.of_rows.reshape(-1))
            ws.be.sum_rows(ws.of_rows, out=ws.da)

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(3)"""
        return ws.be.apply(_dx, ws.x, ws.a, dy, out=ws.dx)


def _y(x: Value, a: Value) -> Value:
    return maximum(x, 0.0) + a * minimum(x, 0.0)  # (1)


def _below(x: Value, dy: Value) -> Value:
    return dy * minimum(x, 0.0)  # the terms of (2)


def _dx(x: Value, a: Value, dy: Value) -> Value:
    return dy * ((x > 0.0) * 1.0 + a * (x <= 0.0))  # (3)
