"""Pooling over time: each window of a sequence becomes one number per channel.

    x (B, T, C)   y (B, T', C)        window t' looks at the steps t = t's + j - p, taps j = 0 … k-1

    MaxPool1D     (1) y[t'] = max x[t] over the window      (2) dx[t] = Σ dy[t'] over the windows whose first largest
                                                                step is t
    AvgPool1D     (3) y[t'] = Σ x[t] / m,  m being the      (4) dx[t] = Σ dy[t'] / m[t'] over the windows that t is in
                      window's steps in the sequence

These are the poolings of images of height 1, and are computed as such: see `pooling`. The mean and the largest number
of a whole sequence are `MeanOverTime` and `MaxOverTime`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

from ..backends import Array, Shape
from ..config import Count, CountOrZero
from .base import Layer, Workspace
from .plan import Plan
from .pooling import AvgPool2D, MaxPool2D
from .windows import Padding, Pair, as_images, windows_over_time

PaddingOverTime = Literal["valid", "same"] | CountOrZero


class _Pool1D(Layer):
    """What both poolings share: a layer of images of height 1."""

    size: Count
    stride: Count | None
    padding: PaddingOverTime

    def __post_init__(self) -> None:
        if isinstance(self.padding, int) and self.padding >= self.size:
            raise ValueError(
                f"{type(self).__name__} needs padding smaller than its windows, since one that sees no step has no "
                f"value, and got padding={self.padding} for windows of {self.size}"
            )

    @abstractmethod
    def _of_images(self) -> Layer:
        """The layer of images."""

    def _arguments(self) -> tuple[Pair, Pair, Padding]:
        padding = (0, self.padding) if isinstance(self.padding, int) else self.padding
        return (1, self.size), (1, self.stride or self.size), padding

    def plan(self, x: Shape) -> Plan:
        """A number a window; the arrays are images."""
        windows = windows_over_time(x, self.size, self.stride or self.size, self.padding)
        return replace(self._of_images().plan(as_images(x)), output=(x[0], windows.columns.outputs, x[2]))

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) or (3)"""
        return self._of_images().forward(ws, x[:, None])[:, 0]

    def input_gradient(self, ws: Workspace, dy: Array) -> Array | None:
        """(2) or (4)"""
        dx = self._of_images().input_gradient(ws, dy[:, None])
        return None if dx is None else dx[:, 0]


@dataclass(frozen=True, repr=False)
class MaxPool1D(_Pool1D):
    """The largest number of each window of time steps, channel by channel.

    size: steps of a window. stride: from one to the next; None for `size`, side by side. padding: "valid" for none
    (steps that fill no window are left out), "same" for ⌈T/stride⌉ outputs as in Keras, or a number of steps on both
    sides; steps outside the sequence are never largest. Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.MaxPool1D(2).plan((32, 50, 8)).output
    (32, 25, 8)
    """

    size: Count = 2
    stride: Count | None = None
    padding: PaddingOverTime = "valid"
    exact = True

    def _of_images(self) -> Layer:
        return MaxPool2D(*self._arguments())


@dataclass(frozen=True, repr=False)
class AvgPool1D(_Pool1D):
    """The mean of each window of time steps, channel by channel.

    size, stride, padding: as in MaxPool1D; steps outside the sequence are not counted, as in Keras (and in PyTorch with
    count_include_pad=False). Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.AvgPool1D(3, stride=2, padding="same").plan((32, 50, 8)).output
    (32, 25, 8)
    """

    size: Count = 2
    stride: Count | None = None
    padding: PaddingOverTime = "valid"
    exact = True

    def _of_images(self) -> Layer:
        return AvgPool2D(*self._arguments())
