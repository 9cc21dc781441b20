"""Calls of convolutions and poolings, of images and over time: see `layers/windows.py`."""

from __future__ import annotations

from ...layers import AvgPool1D, AvgPool2D, Conv1D, Conv2D, MaxPool1D, MaxPool2D
from ...layers.plan import join
from ...layers.windows import Windows, pair, windows_of, windows_over_time
from .code import Code, Name, Value
from .lowering import lowers


@lowers(Conv2D, Conv1D)
def convolution(code: Code, layer: Conv2D | Conv1D, x: Value, path: str, keep: bool) -> Value:
    """y = W * x + b"""
    shape = (1, *x.shape)
    if isinstance(layer, Conv2D):
        windows = windows_of(shape, pair(layer.kernel_size), pair(layer.stride), layer.padding)
    else:
        windows = windows_over_time(shape, layer.kernel_size, layer.stride, layer.padding)
    C, O, groups = x.shape[-1], layer.filters, layer.groups
    y = _output(code, x, windows, O)
    W = code.array(join(path, "W"))
    b = code.array(join(path, "b")) if layer.use_bias else None
    given = (x, W, b, y, *_axes(code, windows, path))
    if groups == 1:
        code.call("convolution", *given, C, O)
    elif groups == C:
        code.call("depthwise_convolution", *given, C, O // C)
    else:
        code.call("grouped_convolution", *given, C, O, groups)
    code.multiplications += _taps(windows) * (C // groups) * O
    return y


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
    code.call(name, x, y, *_axes(code, windows, path), x.shape[-1])
    return y


def _output(code: Code, x: Value, windows: Windows, channels: int) -> Value:
    outputs = windows.shape if len(x.shape) == 3 else windows.shape[1:]
    return code.new((*outputs, channels))


def _axes(code: Code, windows: Windows, path: str) -> tuple[Name, Name]:
    rows, columns = ((a.n, a.k, a.s, a.p, a.outputs) for a in windows)
    return code.axis(join(path, "rows"), rows), code.axis(join(path, "columns"), columns)


def _taps(windows: Windows) -> int:
    """How many pixels all outputs read, of one channel."""
    rows, columns = (sum(max(axis.inside(o), 0) for o in range(axis.outputs)) for axis in windows)
    return rows * columns
