"""ONNX nodes of poolings, of sequences, images and volumes, with the channels behind the batch.

The places that windows reach beyond the input are written as numbers, whatever they come from: "same", ceil_mode or
padding. Runtimes differ in ceil_mode.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from ...layers import AvgPool1D, AvgPool2D, AvgPool3D, MaxPool1D, MaxPool2D, MaxPool3D
from ...layers.pooling import AvgPool, MaxPool, Pool
from ...layers.windows import Windows
from .graph import Graph, Value
from .lowering import lowers

ANY = 9  # steps of a sequence of any length, whose windows lie alike whatever the length


@lowers(MaxPool1D, MaxPool2D, MaxPool3D)
def max_pool(g: Graph, layer: MaxPool, x: Value, path: str) -> Value:
    """The largest number of each window; padding counts as nothing."""
    windows, shape = _windows(layer, x)
    x, attributes = g.channels_first(x), _attributes(windows)
    if _is_wide(windows):
        x, attributes = _padded(g, x, windows, -math.inf), attributes | {"pads": None}
    return g.node("MaxPool", [x], shape, True, **attributes)


@lowers(AvgPool1D, AvgPool2D, AvgPool3D)
def average_pool(g: Graph, layer: AvgPool, x: Value, path: str) -> Value:
    """The mean of each window. Where the counts are not those of ONNX, zeros go around the input, and the mean over all
    taps is multiplied by taps/count."""
    windows, shape = _windows(layer, x)
    x, attributes = g.channels_first(x), _attributes(windows)
    if not _is_wide(windows) and layer.divisor_override is None:
        counted = layer.count_include_pad and windows.padding
        if not counted or layer.one_count(windows):
            return g.node("AveragePool", [x], shape, True, **attributes, count_include_pad=int(counted))
    x = _padded(g, x, windows, 0.0)
    y = g.node("AveragePool", [x], shape, True, **(attributes | {"pads": None}))
    factors = len(windows.taps) / reduce(np.multiply.outer, layer.counts_of_axes(windows))
    return g.node("Mul", [y, g.constant(factors.astype(g.dtype)[None, None], "factors")], shape, True)


def _is_wide(windows: Windows) -> bool:
    """Whether padding is larger than onnxruntime allows, which takes none that is as large as the taps are many."""
    return any(max(axis.p, axis.padded - axis.p - axis.n) >= axis.k for axis in windows)


def _padded(g: Graph, x: Value, windows: Windows, value: float) -> Value:
    pads, d = _attributes(windows)["pads"], len(windows)
    if not any(pads):
        return x
    shape = (x.shape[0], *(int(n) + pads[a] + pads[a + d] for a, n in enumerate(x.shape[1:-1])), x.shape[-1])
    return g.node("Pad", [x, g.whole(0, 0, *pads[:d], 0, 0, *pads[d:]), g.number(value)], shape, True)


def _windows(layer: Pool, x: Value) -> tuple[Windows, tuple[Any, ...]]:
    windows = layer.windows((1, *(n if isinstance(n, int) else ANY for n in x.shape[1:])))
    space = [n if isinstance(n, str) else m for n, m in zip(x.shape[1:-1], windows.shape, strict=True)]
    return windows, (x.shape[0], *space, x.shape[-1])


def _attributes(windows: Windows) -> dict[str, Any]:
    """Windows, and how far they reach beyond the input: above, left, below, right."""
    behind = [max(axis.padded - axis.p - axis.n, 0) for axis in windows]
    return {
        "kernel_shape": [axis.k for axis in windows],
        "strides": [axis.s for axis in windows],
        "pads": [*(axis.p for axis in windows), *behind],
        "dilations": [axis.d for axis in windows] if any(axis.d > 1 for axis in windows) else None,
    }
