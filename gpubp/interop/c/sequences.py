"""Calls of layers over time: recurrent ones, attention, positions, spectrograms, and one vector of all steps."""

from __future__ import annotations

import math

from ...formula.host import host_numerics
from ...layers import (
    GRU,
    LSTM,
    LastStep,
    MaxOverTime,
    MeanOverTime,
    MelSpectrogram,
    MultiHeadAttention,
    PositionalEmbedding,
    PositionalEncoding,
    SimpleRNN,
)  # fmt: skip
from ...layers.plan import join
from ...layers.positions import encoding
from ...layers.recurrent import Recurrent
from .code import Code, Part, Value
from .lowering import lowers


@lowers(SimpleRNN, GRU, LSTM)
def recurrent(code: Code, layer: Recurrent, x: Value, path: str, keep: bool) -> Value:
    """The same formula at every time step."""
    (T, n), m, k = x.shape, layer.units, layer.parts
    y = code.new((T, m) if layer.return_sequences else (m,))
    function = "simple_rnn" if isinstance(layer, SimpleRNN) else "gru" if isinstance(layer, GRU) else "lstm"
    learned = layer.initial_state == "learned"
    first = [code.array(join(path, f"{name}0")) if learned else None for name in layer.carried]
    weights = [code.array(join(path, name)) for name in ("W", "U", "b", *layer.further())]
    memory = code.new(((k + (function != "simple_rnn")) * m,))
    flags = int(layer.return_sequences), int(layer.reverse)
    code.call(function, x, *weights, *first, memory, y, T, n, m, *flags)
    code.multiplications += T * (n + m) * k * m
    return y


@lowers(MultiHeadAttention)
def attention(code: Code, layer: MultiHeadAttention, x: Value, path: str, keep: bool) -> Value:
    """Queries, keys and values of all heads, what the steps look at, and a Dense."""
    T, n = x.shape
    WQKV, bQ, WO, bO = (code.array(join(path, name)) for name in ("WQKV", "bQ", "WO", "bO"))
    qkv, scores, o, y = (code.new(shape) for shape in ((T, 3 * n), (T,), (T, n), (T, n)))
    code.call("dense", x, WQKV, None, qkv, T, n, 3 * n)
    scale = 1.0 / math.sqrt(n // layer.heads)
    code.call("attention", qkv, bQ, scores, o, scale, T, n, layer.heads, int(layer.causal))
    code.call("dense", o, WO, bO, y, T, n, n)
    pairs = T * (T + 1) // 2 if layer.causal else T * T
    code.multiplications += 4 * T * n * n + 2 * pairs * n
    return y


@lowers(MelSpectrogram)
def spectrogram(code: Code, layer: MelSpectrogram, x: Value, path: str, keep: bool) -> Value:
    """How loud each band of pitch is in each frame of a sound."""
    with host_numerics(code.numerics):
        plan = layer.plan((1, *x.shape))
    F, M = plan.constants["exact_F"], plan.constants["exact_M"]
    window, (_, frames, bands) = F.shape[0], plan.output
    hop = layer.hop or max(1, window // 2)
    z, y = code.new((F.shape[1],)), code.new((frames, bands))
    waves, triangles = code.array(join(path, "waves"), F), code.array(join(path, "bands"), M)
    code.call("spectrogram", x, waves, triangles, z, y, float(layer.eps), frames, window, hop, bands)
    code.multiplications += frames * (F.size + M.size)
    return y


@lowers(PositionalEncoding)
def positional_encoding(code: Code, layer: PositionalEncoding, x: Value, path: str, keep: bool) -> Value:
    """y = x + PE"""
    with host_numerics(code.numerics):
        PE = encoding(*x.shape)
    y = code.own(x, keep)
    code.call("add", code.array(join(path, "PE"), PE), y, x.size)
    return y


@lowers(PositionalEmbedding)
def positional_embedding(code: Code, layer: PositionalEmbedding, x: Value, path: str, keep: bool) -> Value:
    """y = x + P, of the positions that there are."""
    P = join(path, "P")
    y = code.own(x, keep)
    code.call("add", code.array(P, code.parameter(P)[: x.shape[0]]), y, x.size)
    return y


@lowers(LastStep)
def last_step(code: Code, layer: LastStep, x: Value, path: str, keep: bool) -> Value:
    """The numbers of the last step."""
    T, n = x.shape
    y = code.new((n,))
    code.call("copy", Part(x, (T - 1) * n), y, n)
    return y


@lowers(MeanOverTime)
def mean_over_time(code: Code, layer: MeanOverTime, x: Value, path: str, keep: bool) -> Value:
    """The sum over time, divided by T, or by its root."""
    T, n = x.shape
    y = code.new((n,))
    code.call("sum_rows", x, y, 1.0 / (math.sqrt(T) if layer.root else T), T, n)
    return y


@lowers(MaxOverTime)
def max_over_time(code: Code, layer: MaxOverTime, x: Value, path: str, keep: bool) -> Value:
    """The largest numbers over time."""
    T, n = x.shape
    y = code.new((n,))
    code.call("largest_of_rows", x, y, T, n)
    return y
