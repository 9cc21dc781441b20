"""Augmentation: each image is randomly rotated, shifted, zoomed or flipped in training, anew at every step.

    Forward   (1) y[n] = x[n] seen through the affine map θ[n]        y = A(θ) x, linear in x
    Backward  (2) dx = A(θ)ᵀ dy

with (h, w) = (a i + b j + c, d i + e j + f) the place in x that pixel (i, j) of y shows, between four pixels weighted
by the distances (bilinear), and 0 beyond the picture (see `backends/cpu/sampling.py`).
About the middle (p, q) of a picture of H by W pixels, p = (H - 1)/2 and q = (W - 1)/2:

    RandomFlip          w = W - 1 - j  and/or  h = H - 1 - i         each with probability ½
    RandomTranslation   h = i - u H,   w = j - v W
    RandomRotation      (h - p, w - q) = R(φ) (i - p, j - q),   φ = 2π u, counter-clockwise
    RandomZoom          h - p = (1 + u) (i - p),   w - q = (1 + v) (j - q)

u and v are drawn evenly between the layer's limits, for each picture, from counted random numbers: they depend on the
trainer's seed, the layer's place, the step and the row, and have the same bits on every device. In evaluation y = x.

Names and signs are those of Keras: a positive translation moves down and right, a positive zoom makes things smaller.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..config import real
from ..errors import ShapeError
from ..formula import cos, sin
from .base import Layer, Look, Workspace
from .plan import Plan

Value = Any  # a number, an array, or a symbol of a formula
Limits = float | tuple[float, float]
DRAWN = 8  # numbers for each picture: a block of counted ones


class _RandomMap(Layer):
    draws = ("u",)

    @abstractmethod
    def map(self, u: Value, v: Value, H: Value, W: Value) -> tuple[Value, ...]:
        """θ = (a, b, c, d, e, f) from two numbers between 0 and 1, for pictures of H by W pixels."""

    def plan(self, x: Shape) -> Plan:
        """u (B, 8), θ (B, 6)"""
        if len(x) != 4:
            raise ShapeError(f"expects images (batch, height, width, channels) and got {x}")
        arrays: dict[str, Any] = {"u": (x[0], DRAWN), "theta": (x[0], 6), "y": x, "dx": x}
        return Plan(output=x, arrays=arrays)

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """In evaluation y is x."""
        look(self, X, path, None)
        return None if training else X

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1)"""
        if not ws.training:
            return x
        key = (ws.context.seed, zlib.crc32(ws.path.encode()))
        ws.be.random_uniform(ws.u, key, ws.context.step, DRAWN * ws.context.first)
        size = [ws.be.constant(float(n), ws.dtype) for n in x.shape[1:3]]
        theta = tuple(ws.theta[:, k : k + 1] for k in range(6))
        ws.be.apply(self.map, ws.u[:, 0:1], ws.u[:, 1:2], *size, out=theta)
        return ws.be.sample(x, ws.theta, out=ws.y)  # (1)  y = A(θ) x

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(2)"""
        if not ws.training:
            return dy
        return ws.be.sample_adjoint(dy, ws.theta, out=ws.dx)  # (2)  dx = A(θ)ᵀ dy


@dataclass(frozen=True, repr=False)
class RandomFlip(_RandomMap):
    """Mirrors each picture or not, with probability ½.

    mode: "horizontal" (left and right), "vertical", or "horizontal_and_vertical", each by itself.
    Input (B, H, W, C), output the same. Raises ValueError for another mode.

    >>> import gpubp as bp
    >>> RandomFlip().map(0.2, 0.9, 5.0, 4.0)                    # left to right: w = 3 - j
    (1.0, 0.0, 0.0, 0.0, -1.0, 3.0)
    """

    mode: str = "horizontal_and_vertical"
    exact = True

    def __post_init__(self) -> None:
        if self.mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            raise ValueError(
                f'RandomFlip needs the mode "horizontal", "vertical" or "horizontal_and_vertical" and got {self.mode!r}'
            )

    def map(self, u: Value, v: Value, H: Value, W: Value) -> tuple[Value, ...]:
        """w = W - 1 - j where u < ½, h = H - 1 - i where v < ½"""
        across = (u < 0.5) * 1.0 if self.mode != "vertical" else u * 0.0
        down = (v < 0.5) * 1.0 if self.mode != "horizontal" else v * 0.0
        return (1.0 - 2.0 * down, 0.0, down * (H - 1.0), 0.0, 1.0 - 2.0 * across, across * (W - 1.0))


@dataclass(frozen=True, repr=False)
class RandomTranslation(_RandomMap):
    """Moves each picture.

    height_factor, width_factor: by which part of its height and width at most: 0.1 for up to a tenth either way, or a
    pair (lowest, highest); a positive part moves down, or right.
    Input (B, H, W, C), output the same. Raises ValueError for limits that are none.

    >>> import gpubp as bp
    >>> RandomTranslation(0.5, 0.0).map(1.0, 0.5, 8.0, 4.0)     # down by half the height
    (1.0, 0.0, -4.0, 0.0, 1.0, -0.0)
    """

    height_factor: Limits
    width_factor: Limits
    exact = True

    def __post_init__(self) -> None:
        for name in ("height_factor", "width_factor"):
            object.__setattr__(self, name, _limits(self, name, -1.0, 1.0))

    def map(self, u: Value, v: Value, H: Value, W: Value) -> tuple[Value, ...]:
        """h = i - u H, w = j - v W"""
        return 1.0, 0.0, -_between(self.height_factor, u) * H, 0.0, 1.0, -_between(self.width_factor, v) * W


@dataclass(frozen=True, repr=False)
class RandomRotation(_RandomMap):
    """Turns each picture about its middle.

    factor: by which part of a full turn at most: 0.1 for up to 36 degrees either way, or a pair (lowest, highest);
    counter-clockwise is positive.
    Input (B, H, W, C), output the same. Raises ValueError for limits that are none.

    >>> import gpubp as bp
    >>> [round(float(t)) for t in RandomRotation((0.25, 0.25)).map(0.0, 0.0, 3.0, 3.0)]     # a quarter
    [0, 1, 0, -1, 0, 2]
    """

    factor: Limits
    exact = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _limits(self, "factor", -1.0, 1.0))

    def map(self, u: Value, v: Value, H: Value, W: Value) -> tuple[Value, ...]:
        """h - p = cos φ (i - p) + sin φ (j - q), w - q = -sin φ (i - p) + cos φ (j - q)"""
        phi = _between(self.factor, u) * (2.0 * math.pi)
        c, s, p, q = cos(phi), sin(phi), (H - 1.0) * 0.5, (W - 1.0) * 0.5
        return c, s, p - c * p - s * q, -s, c, q + s * p - c * q


@dataclass(frozen=True, repr=False)
class RandomZoom(_RandomMap):
    """Scales each picture about its middle.

    height_factor: by which part it shrinks (positive) or grows (negative) at most: 0.2 for up to a fifth either way, or
    a pair (lowest, highest). width_factor: likewise; None to keep the proportions.
    Input (B, H, W, C), output the same. Raises ValueError for limits that are none.

    >>> import gpubp as bp
    >>> RandomZoom((1.0, 1.0)).map(0.0, 0.0, 3.0, 5.0)           # half as large
    (2.0, 0.0, -1.0, 0.0, 2.0, -2.0)
    """

    height_factor: Limits
    width_factor: Limits | None = None
    exact = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "height_factor", _limits(self, "height_factor", -1.0, math.inf))
        if self.width_factor is not None:
            object.__setattr__(self, "width_factor", _limits(self, "width_factor", -1.0, math.inf))

    def map(self, u: Value, v: Value, H: Value, W: Value) -> tuple[Value, ...]:
        """h - p = (1 + u) (i - p), w - q = (1 + v) (j - q)"""
        tall = 1.0 + _between(self.height_factor, u)
        wide = tall if self.width_factor is None else 1.0 + _between(self.width_factor, v)
        return tall, 0.0, (1.0 - tall) * ((H - 1.0) * 0.5), 0.0, wide, (1.0 - wide) * ((W - 1.0) * 0.5)


def _between(limits: Limits, u: Value) -> Value:
    low, high = limits if isinstance(limits, tuple) else (-limits, limits)
    return low + (high - low) * u


def _limits(layer: Layer, name: str, least: float, most: float) -> Limits:
    value = getattr(layer, name)
    pair = tuple(value) if isinstance(value, tuple | list) else (-abs(real(value)), abs(real(value)))
    if not (len(pair) == 2 and least <= real(pair[0]) <= real(pair[1]) <= most):
        raise ValueError(
            f"{type(layer).__name__} needs {name} to be a number, or a pair (lowest, highest), "
            f"from {least:g} to {most:g}, and got {value!r}"
        )
    return (float(pair[0]), float(pair[1])) if isinstance(value, tuple | list) else float(value)
