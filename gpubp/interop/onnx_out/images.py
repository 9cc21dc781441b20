"""ONNX nodes of layers on images: convolution and pooling, with the channels behind the batch.

The weights of a convolution are W (kh, kw, C/g, O) here and (O, C/g, kh, kw) in ONNX. The places that a "same" padding
adds are written as numbers, since ONNX's own SAME_LOWER and SAME_UPPER are deprecated.
"""

from __future__ import annotations

from typing import Any

from ...layers import AvgPool2D, Conv2D, MaxPool2D
from ...layers.plan import join
from ...layers.windows import Windows, pair, windows_of
from .graph import Graph, Value
from .lowering import lowers


def attributes(windows: Windows) -> dict[str, Any]:
    """Kernel, strides and padding as ONNX's convolutions and poolings have them: above, left, below, right.

    >>> attributes(windows_of((1, 6, 6, 1), (3, 3), (2, 2), "same"))
    {'kernel_shape': [3, 3], 'strides': [2, 2], 'pads': [0, 0, 1, 1]}
    """
    return {
        "kernel_shape": [axis.k for axis in windows],
        "strides": [axis.s for axis in windows],
        "pads": [*(axis.p for axis in windows), *(axis.q for axis in windows)],
    }


@lowers(Conv2D)
def conv2d(g: Graph, layer: Conv2D, x: Value, path: str) -> Value:
    """y[n,o,h',w'] = Σ x W + b"""
    windows = windows_of(_images(x), pair(layer.kernel_size), pair(layer.stride), layer.padding)
    W, shape = join(path, "W"), (x.shape[0], *windows.shape, layer.filters)
    weights = [g.changed(W, g.array(W).transpose(3, 2, 0, 1))]
    weights += [g.parameter(join(path, "b"))] if layer.use_bias else []
    of = attributes(windows)
    return g.node("Conv", [g.channels_first(x), *weights], shape, True, **of, group=layer.groups)


@lowers(MaxPool2D)
def max_pool2d(g: Graph, layer: MaxPool2D, x: Value, path: str) -> Value:
    """The largest number of each window."""
    return _pool(g, "MaxPool", layer, x)


@lowers(AvgPool2D)
def avg_pool2d(g: Graph, layer: AvgPool2D, x: Value, path: str) -> Value:
    """The mean of each window, without the places outside the image."""
    return _pool(g, "AveragePool", layer, x, count_include_pad=0)


def _pool(g: Graph, op: str, layer: MaxPool2D | AvgPool2D, x: Value, **more: Any) -> Value:
    stride = layer.size if layer.stride is None else layer.stride
    windows = windows_of(_images(x), pair(layer.size), pair(stride), layer.padding)
    shape = (x.shape[0], *windows.shape, x.shape[-1])
    return g.node(op, [g.channels_first(x)], shape, True, **attributes(windows), **more)


def _images(x: Value) -> tuple[int, ...]:
    return (1, *(int(n) for n in x.shape[1:]))
