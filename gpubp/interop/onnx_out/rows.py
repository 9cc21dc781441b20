"""Graphs that take no rows at all, too.

onnxruntime 1.32 ends the process where a GRU or LSTM gets no row. So a network with one of them gets a row of zeros
where none is given, and the outputs of the graph leave it out again.
"""

from __future__ import annotations

from ...layers import GRU, LSTM, Layer
from .graph import Graph, Value


def with_a_row(g: Graph, layers: Layer, *inputs: Value) -> list[Value]:
    """Inputs (batch, ...) of these layers, with a row of zeros if they have none; as they are where that is not needed.

    >>> import numpy as np
    >>> g = Graph({}, np.dtype(np.float32))
    >>> with_a_row(g, GRU(3), Value("x", ("batch", 5, 2)))
    [Value(name='Pad', shape=('batch', 5, 2), channels_first=False)]
    >>> g.rows
    Value(name='Shape', shape=(1,), channels_first=False)
    """
    if not any(isinstance(layer, GRU | LSTM) for _, layer in layers.walk()):
        return list(inputs)
    g.rows = g.node("Shape", [inputs[0]], (1,), start=0, end=1)
    none = g.node("Equal", [g.rows, g.whole(0)], (1,))
    missing = g.node("Cast", [none], (1,), to=int(g.onnx.TensorProto.INT64))
    return [_padded(g, x, missing) for x in inputs]


def _padded(g: Graph, x: Value, missing: Value) -> Value:
    """x with so many more rows of zeros at its end."""
    axes = len(x.shape)
    pads: list[Value | str] = [g.whole(*[0] * axes), missing]  # in front on all axes, behind on all axes
    if axes > 1:
        pads.append(g.whole(*[0] * (axes - 1)))
    return g.node("Pad", [x, g.node("Concat", pads, (2 * axes,), axis=0)], x.shape)
