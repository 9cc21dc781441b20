"""Recurrent layers and convolutions over time on rows of different lengths: padding changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

D = bp.Dense(2)
NETWORKS = [
    bp.Sequential(bp.SimpleRNN(5, reverse=True), D),
    bp.Sequential(bp.Bidirectional(bp.LSTM(4, return_sequences=True, initial_state="learned")), bp.MaxOverTime(), D),
    bp.Sequential(bp.GRU(4, return_sequences=True, reverse=True), bp.LastStep(), D),
    bp.Sequential(
        bp.Conv1D(4, 3, padding="causal", dilation=2), bp.ReLU(), bp.Conv1D(4, 3, padding="same"), bp.Tanh(),
        bp.Conv1DTranspose(3, 3, padding="same"), bp.MeanOverTime(), D,
    ),
]  # fmt: skip
networks = pytest.mark.parametrize("layers", NETWORKS, ids=["SimpleRNN", "LSTM", "GRU", "Conv1D"])


def rows(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of 1 to 13 steps."""
    X = [rng.normal(size=(n, 3)).astype("float32") for n in (1, 13, 5, 9, 2, 8, 12, 3, 7, 10)]
    return X, rng.integers(0, 2, len(X))


def padded(X: list[np.ndarray], T: int, fill: float) -> bp.Sequences:
    """The same rows in one array."""
    whole = np.full((len(X), T, 3), fill, "float32")
    for place, row in zip(whole, X, strict=True):
        place[: len(row)] = row
    return bp.Sequences(whole, lengths=[len(row) for row in X])


@networks
def test_padding_left_out_longer_or_of_nan_changes_no_bit(layers: bp.Layer, rng: np.random.Generator) -> None:
    X, y = rows(rng)
    found: list[Any] = []
    for given in (X, padded(X, 13, np.nan), padded(X, 40, 7.0)):
        net = bp.Network(layers, (None, 3), device="cpu", seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=3)
        found.append((trainer.fit(given, y, epochs=2, verbose=False)["loss"], net.flat.tobytes()))
        predictions = net.predict(given)
    assert found[0] == found[1] == found[2] and np.isfinite(found[0][0]).all()
    alone = np.concatenate([net.predict([row]) for row in X])
    np.testing.assert_array_equal(predictions, alone)


@networks
def test_masked_layers_train_on_a_gpu_as_on_a_cpu(layers: bp.Layer, rng: np.random.Generator) -> None:
    """On the stand-in for CuPy, by the real kernels."""
    X, y = rows(rng)
    found = []
    for device in ("cpu", CUDA(strict_cupy(), products=StrictProducts)):
        net = bp.Network(layers, (None, 3), device=device, seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=3)
        found.append(trainer.fit(X, y, epochs=3, verbose=False)["loss"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
