"""ONNX nodes of layers that move a window over time: the poolings, and MelSpectrogram."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...layers import AvgPool1D, MaxPool1D, MelSpectrogram
from ...layers.windows import PaddingOfAxis, windows_over_time
from .formulas import formula
from .graph import Graph, Value
from .lowering import lowers


@lowers(MaxPool1D, AvgPool1D)
def pooling(g: Graph, layer: MaxPool1D | AvgPool1D, x: Value, path: str) -> Value:
    """The largest number or the mean of each window; padding counts as nothing."""
    x, stride = g.channels_first(x), layer.stride or layer.size
    steps, pads = _windows(x, layer.size, stride, layer.padding)
    op, counted = ("MaxPool", None) if isinstance(layer, MaxPool1D) else ("AveragePool", 0)
    shape = (x.shape[0], steps, x.shape[2])
    return g.node(
        op, [x], shape, True, kernel_shape=[layer.size], strides=[stride], pads=pads, count_include_pad=counted
    )


def _windows(x: Value, k: int, s: int, padding: PaddingOfAxis) -> tuple[int | str, list[int]]:
    """The steps of the output, and the padding in front and behind."""
    T = x.shape[1]
    if isinstance(T, int):
        axis = windows_over_time((1, T, 1), k, s, padding).columns
        return axis.outputs, [axis.p, axis.q]
    front = windows_over_time((1, k, 1), k, 1, padding).columns.p  # the output has as many steps as the input
    return T, [front, k - 1 - front]


@lowers(MelSpectrogram)
def mel_spectrogram(g: Graph, layer: MelSpectrogram, x: Value, path: str) -> Value:
    """y = log(p M + ε), p being the power of cosines and sines, which are the filters of a convolution."""
    plan = layer.plan((1, int(x.shape[1])))
    frames, bands = plan.output[1:]
    F, M = plan.constants["exact_F"], plan.constants["exact_M"]
    w, K = len(F), len(M)
    waves = g.constant(np.ascontiguousarray(F.T[:, None], g.dtype), "F")
    sound = g.node("Unsqueeze", [x, g.whole(1)], (x.shape[0], x.shape[1], 1), True)
    z = g.node("Conv", [sound, waves], (x.shape[0], frames, 2 * K), True, kernel_shape=[w], strides=[layer._s])
    halves = g.node_of_several("Split", [z], [(x.shape[0], frames, K)] * 2, axis=1, num_outputs=2)
    cosine, sine = (replace(half, channels_first=True) for half in halves)
    p = formula(g, lambda a, b: a * a + b * b, cosine, sine)
    q = g.node("MatMul", [g.channels_last(p), g.constant(M.astype(g.dtype), "M")], (x.shape[0], frames, bands))
    return formula(g, layer.loudness, q)
