"""Networks and rows of different lengths, for tests of training on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from time_layers import AddSum, MaskedSum

import gpubp as bp

N, K = 30, 3
RNG = np.random.default_rng(4)
L = RNG.integers(1, 21, N)
ROWS = [RNG.normal(size=(n, 3)) for n in L]
X = bp.Sequences(ROWS)
Y = RNG.integers(0, K, N)
STEPS = [RNG.integers(0, K, n) for n in L]
WEIGHTS = np.linspace(0.5, 2.0, N)

ENDS = {
    "sum": bp.Sequential(bp.Dense(4), AddSum(), bp.Dropout(0.2), MaskedSum(), bp.BatchNorm(), bp.Dense(K)),
    "lstm": bp.Sequential(bp.LSTM(4), bp.Dense(K)),
    "gru": bp.Sequential(bp.Bidirectional(bp.GRU(3)), bp.Dense(K)),
    "attention": bp.Sequential(
        bp.Dense(4), bp.PositionalEncoding(), bp.MultiHeadAttention(2), bp.LayerNorm(), bp.MeanOverTime(), bp.Dense(K)
    ),
    "groups": bp.Sequential(
        bp.Dense(4),
        bp.GroupNorm(2),
        bp.Tanh(),
        bp.InstanceNorm(affine=False),
        bp.RMSNorm(),
        bp.MeanOverTime(),
        bp.Dense(K),
    ),
    "max": bp.Sequential(bp.SimpleRNN(4, return_sequences=True), bp.MaxOverTime(), bp.Dense(K)),
}
KEEPS = {
    "each": bp.Sequential(bp.Dense(4), bp.Tanh(), AddSum(), bp.Dense(K)),
    "rnn": bp.Sequential(bp.GRU(4, return_sequences=True), bp.Dropout(0.2), bp.Dense(K)),
    "causal": bp.Sequential(bp.Dense(4), bp.MultiHeadAttention(2, causal=True), bp.Dense(K)),
}
ALL = ENDS | KEEPS


def network(name: str, dtype: str = "float32", **options: Any) -> bp.Network:
    return bp.Network(ALL[name], (None, 3), dtype=dtype, **{"device": "cpu", **options})


def trainer(net: bp.Network, batch_size: int = 8, **options: Any) -> bp.Trainer:
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=batch_size, **options)


def targets(name: str) -> Any:
    return Y if name in ENDS else STEPS


def padded(rows: Any, to: int, fill: float) -> Any:
    made = np.full((len(rows), to, *rows[0].shape[1:]), fill)
    for place, row in zip(made, rows, strict=True):
        place[: len(row)] = row
    return made


def flat(outputs: Any) -> Any:
    return outputs.flat if isinstance(outputs, bp.Sequences) else outputs
