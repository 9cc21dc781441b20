"""Calls of poolings, over time, of images and of volumes: see `layers/windows.py`."""

from __future__ import annotations

import numpy as np

from ...layers import AvgPool1D, AvgPool2D, AvgPool3D, MaxPool1D, MaxPool2D, MaxPool3D
from ...layers.plan import join
from ...layers.pooling import AvgPool, MaxPool
from .code import Code, Value
from .convolutions import axes
from .lowering import lowers


@lowers(MaxPool1D, MaxPool2D, MaxPool3D)
def max_pool(code: Code, layer: MaxPool, x: Value, path: str, keep: bool) -> Value:
    """The largest number of each window and channel."""
    windows = layer.windows((1, *x.shape))
    y = code.new((*windows.shape, x.shape[-1]))
    name = "volume_max_pool" if layer.axes == 3 else "max_pool"
    code.call(name, x, y, *axes(code, windows, path), x.shape[-1])
    return y


@lowers(AvgPool1D, AvgPool2D, AvgPool3D)
def average_pool(code: Code, layer: AvgPool, x: Value, path: str, keep: bool) -> Value:
    """The mean of each window and channel; by a function that takes counts, where these are not the places inside."""
    windows = layer.windows((1, *x.shape))
    y = code.new((*windows.shape, x.shape[-1]))
    plain = layer.divisor_override is None and not (layer.count_include_pad and windows.padding)
    if layer.axes < 3 and plain:
        code.call("average_pool", x, y, *axes(code, windows, path), x.shape[-1])
        return y
    counts = [np.ones(1)] * (3 - layer.axes) + layer.counts_of_axes(windows)
    names = ("counts_in", "counts_down", "counts_across")
    given = [code.array(join(path, name), of) for name, of in zip(names, counts, strict=True)]
    code.call("volume_average_pool", x, y, *given, *axes(code, windows, path, 3), x.shape[-1])
    return y
