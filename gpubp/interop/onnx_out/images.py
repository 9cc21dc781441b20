"""ONNX nodes of layers on images: pooling, with the channels behind the batch; see `convolutions` for the others."""

from __future__ import annotations

from typing import Any

from ...layers import AvgPool2D, MaxPool2D
from ...layers.windows import pair, windows_of
from .convolutions import attributes
from .graph import Graph, Value
from .lowering import lowers


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
