"""ONNX nodes of a layer that moves a window over time: MelSpectrogram."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...layers import MelSpectrogram
from .formulas import formula
from .graph import Graph, Value
from .lowering import lowers


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
