"""Pooling over time: each window of a sequence becomes one number per channel.

    x (B, T, C)   y (B, T', C)        window t' looks at the steps t = t's + j d - p, taps j = 0 … k-1

    MaxPool1D     (1) y[t'] = max x[t] over the window      (2) dx[t] = Σ dy[t'] over the windows whose first largest
                                                                step is t
    AvgPool1D     (3) y[t'] = Σ x[t] / m,  m being the      (4) dx[t] = Σ dy[t'] / m[t'] over the windows that t is in
                      window's steps in the sequence

See `pooling`. The mean and the largest number of a whole sequence are `MeanOverTime` and `MaxOverTime`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..config import Count, CountOrZero
from .pooling import AvgPool, MaxPool
from .windows import Sides

PaddingOverTime = Literal["valid", "same", "same_lower"] | CountOrZero | Sides


@dataclass(frozen=True, repr=False)
class MaxPool1D(MaxPool):
    """The largest number of each window of time steps, channel by channel.

    size: steps of a window. stride: from one to the next; None for `size`, side by side. padding: "valid" for none
    (steps that fill no window are left out), "same" for ⌈T/stride⌉ outputs as in Keras ("same_lower" with an odd step
    in front), a number of steps on both sides, or (in front, behind); steps outside the sequence are never largest.
    dilation: steps from one tap of a window to the next. ceil_mode: whether steps at the end that fill no window have
    one that reaches beyond the sequence, as in PyTorch. Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.MaxPool1D(2).plan((32, 50, 8)).output
    (32, 25, 8)
    """

    size: Count = 2
    stride: Count | None = None
    padding: PaddingOverTime = "valid"
    dilation: Count = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)

    axes = 1
    exact = True


@dataclass(frozen=True, repr=False)
class AvgPool1D(AvgPool):
    """The mean of each window of time steps, channel by channel.

    size, stride, padding, dilation, ceil_mode: as in MaxPool1D. count_include_pad: whether steps of padding count in m
    as steps of 0; not by default, as in Keras, while PyTorch's default is True. divisor_override: m, whatever the
    window. Raises ShapeError for inputs that are no sequences.

    >>> import gpubp as bp
    >>> bp.AvgPool1D(3, stride=2, padding="same").plan((32, 50, 8)).output
    (32, 25, 8)
    """

    size: Count = 2
    stride: Count | None = None
    padding: PaddingOverTime = "valid"
    dilation: Count = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)
    count_include_pad: bool = field(default=False, kw_only=True)
    divisor_override: Count | None = field(default=None, kw_only=True)

    axes = 1
    exact = True
