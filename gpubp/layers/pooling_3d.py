"""Pooling of volumes: each window becomes one number per channel.

    x (B, D, H, W, C)   y (B, D', H', W', C)       B volumes, such as scans or short films, C channels; window w' looks
                                                   at places w = w's + t d - p along each axis, taps t = 0 … k-1

    MaxPool3D   (1) y[w'] = max x[w] over the window     (2) dx[w] = Σ dy[w'] over the windows whose first largest place
                                                             is w
    AvgPool3D   (3) y[w'] = Σ x[w] / m,  m being the     (4) dx[w] = Σ dy[w'] / m[w'] over the windows that w is in
                    window's places in the volume

See `pooling`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config import Count
from .pooling import AvgPool, MaxPool
from .windows import PaddingOfVolume, Triple


@dataclass(frozen=True, repr=False)
class MaxPool3D(MaxPool):
    """The largest number of each window of a volume, channel by channel.

    size: of a window, a number or (depth, height, width). stride: from one to the next; None for `size`, side by side.
    padding: "valid", "same" or "same_lower", see MaxPool2D, a number of places on every side, one for each axis, or a
    pair (in front, behind) for each axis. dilation, ceil_mode: as in MaxPool2D. Raises ShapeError for inputs that are
    no volumes (batch, depth, height, width, channels).

    >>> import gpubp as bp
    >>> bp.MaxPool3D(2).plan((32, 6, 28, 28, 8)).output
    (32, 3, 14, 14, 8)
    """

    size: Triple = 2
    stride: Triple | None = None
    padding: PaddingOfVolume = "valid"
    dilation: Triple = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)

    axes = 3
    exact = True


@dataclass(frozen=True, repr=False)
class AvgPool3D(AvgPool):
    """The mean of each window of a volume, channel by channel.

    size, stride, padding, dilation, ceil_mode: as in MaxPool3D. count_include_pad, divisor_override: as in AvgPool2D.
    Raises ShapeError for inputs that are no volumes (batch, depth, height, width, channels).

    >>> import gpubp as bp
    >>> bp.AvgPool3D((1, 2, 2)).plan((32, 6, 28, 28, 8)).output
    (32, 6, 14, 14, 8)
    """

    size: Triple = 2
    stride: Triple | None = None
    padding: PaddingOfVolume = "valid"
    dilation: Triple = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)
    count_include_pad: bool = field(default=False, kw_only=True)
    divisor_override: Count | None = field(default=None, kw_only=True)

    axes = 3
    exact = True
