"""Calls of poolings, of images and over time: see `layers/windows.py`."""

from __future__ import annotations

from ...layers import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D
from ...layers.windows import Windows, pair, windows_of, windows_over_time
from .code import Code, Value
from .convolutions import axes
from .lowering import lowers


@lowers(MaxPool2D, AvgPool2D, MaxPool1D, AvgPool1D)
def pool(code: Code, layer: MaxPool2D | AvgPool2D | MaxPool1D | AvgPool1D, x: Value, path: str, keep: bool) -> Value:
    """A number for each window and channel."""
    shape = (1, *x.shape)
    stride = layer.size if layer.stride is None else layer.stride
    if isinstance(layer, MaxPool2D | AvgPool2D):
        windows = windows_of(shape, pair(layer.size), pair(stride), layer.padding)
    else:
        windows = windows_over_time(shape, layer.size, int(stride), layer.padding)  # type: ignore[arg-type]
    y = _output(code, x, windows, x.shape[-1])
    name = "max_pool" if isinstance(layer, MaxPool2D | MaxPool1D) else "average_pool"
    code.call(name, x, y, *axes(code, windows, path), x.shape[-1])
    return y


def _output(code: Code, x: Value, windows: Windows, channels: int) -> Value:
    outputs = windows.shape if len(x.shape) == 3 else windows.shape[1:]
    return code.new((*outputs, channels))
