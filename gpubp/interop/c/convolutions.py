"""Calls of convolutions and transposed ones, over time, of images and of volumes: see `layers/windows.py`."""

from __future__ import annotations

import math

from ...layers import Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose
from ...layers.plan import join
from ...layers.windows import Axis, Windows, each, transposed_windows, windows_of
from .code import Code, Name, Value
from .lowering import lowers

ONE = Axis(1, 1, 1, 0, 1)  # an axis that there is not
NAMES = ("layers", "rows", "columns")


@lowers(Conv1D, Conv2D, Conv3D)
def convolution(code: Code, layer: Conv1D | Conv2D | Conv3D, x: Value, path: str, keep: bool) -> Value:
    """y = W * x + b"""
    n = len(x.shape) - 1
    kernel, stride, dilation = (each(of, n) for of in (layer.kernel_size, layer.stride, layer.dilation))
    windows = windows_of((1, *x.shape), kernel, stride, layer.padding, dilation)
    C, O, groups = x.shape[-1], layer.filters, layer.groups
    y = code.new((*windows.shape, O))
    W = code.array(join(path, "W"))
    b = code.array(join(path, "b")) if layer.use_bias else None
    given = (x, W, b, y, *axes(code, windows, path))
    if n == 3:
        code.call("volume_convolution", *given, C, O, groups)
    elif groups == 1:
        code.call("convolution", *given, C, O)
    elif groups == C:
        code.call("depthwise_convolution", *given, C, O // C)
    else:
        code.call("grouped_convolution", *given, C, O, groups)
    code.multiplications += _taps(windows) * (C // groups) * O
    return y


@lowers(Conv1DTranspose, Conv2DTranspose, Conv3DTranspose)
def transposed(
    code: Code, layer: Conv1DTranspose | Conv2DTranspose | Conv3DTranspose, x: Value, path: str, keep: bool
) -> Value:
    """y = b, and each pixel times W added to a patch of y"""
    n = len(x.shape) - 1
    kernel, stride, dilation = (each(of, n) for of in (layer.kernel_size, layer.stride, layer.dilation))
    windows = transposed_windows((1, *x.shape), kernel, stride, layer.padding, dilation, layer.output_padding)
    C, O, groups = x.shape[-1], layer.filters, layer.groups
    y = code.new((*(axis.n for axis in windows), O))
    name = join(path, "W")
    W = code.array(name, code.parameter(name).swapaxes(-1, -2))  # rows of a product: (..., C, O/g)
    b = code.array(join(path, "b")) if layer.use_bias else None
    code.call("transposed_convolution", x, W, b, y, *axes(code, windows, path, 3), C, O, groups)
    code.multiplications += _taps(windows) * C * (O // groups)
    return y


def axes(code: Code, windows: Windows, path: str, count: int = 2) -> list[Name]:
    """The axes of windows, at least `count` of them, for functions that take each as a `struct axis`."""
    three = [ONE] * (3 - len(windows)) + list(windows)
    named = list(zip(NAMES, three, strict=True))[-max(count, len(windows)) :]
    return [code.axis(join(path, name), (a.n, a.k, a.s, a.p, a.outputs, a.d)) for name, a in named]


def _taps(windows: Windows) -> int:
    """How many pixels all outputs read, of one channel."""
    return math.prod(sum(axis.inside(o) for o in range(axis.outputs)) for axis in windows)
