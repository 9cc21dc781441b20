"""Embedding compared with loops over single numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend


def test_forward_and_backward(rng: np.random.Generator) -> None:
    """By hand: y picks rows of W, and dW adds up the dy of each word."""
    net = bp.Network(bp.Embedding(4, 2), input_shape=3, device="cpu", dtype="float64")
    x = np.array([[0, 2, 2], [2, 0, 1]])
    W = net.parameters["W"]
    np.testing.assert_array_equal(net.predict(x), W[x])
    target = rng.normal(size=(2, 3, 2))
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), x, target)
    want, dy = np.zeros((4, 2)), (W[x] - target) / 12
    for word, d in zip(x.ravel(), dy.reshape(-1, 2), strict=True):
        want[word] += d
    np.testing.assert_allclose(gradients["W"], want, rtol=1e-12)
    assert not gradients["W"][3].any(), "a word that does not occur has no gradient"


def test_embeddings_are_trained() -> None:
    """Which of two words occurs: sentences of five words, told apart by one."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, 50, (400, 5))
    y = rng.integers(0, 2, 400)
    X[np.arange(400), rng.integers(0, 5, 400)] = y
    layers = bp.Sequential(bp.Embedding(50, 8), bp.Flatten(), bp.Dense(16), bp.ReLU(), bp.Dense(2))
    net = bp.Network(layers, 5, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), metrics="accuracy")
    trainer.fit(X, y, epochs=30, verbose=False)
    assert trainer.evaluate(X, y)["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("x", "words"),
    [([[0, 4, 1]], "X holds 4, .* from 0 to 3"), ([[-1, 0, 1]], "X holds -1"), ([[0.5, 0, 1]], "X holds fractions")],
)
def test_numbers_outside_the_vocabulary_are_refused(x: Any, words: str) -> None:
    net = bp.Network(bp.Sequential(bp.Embedding(4, 2), bp.Flatten(), bp.Dense(1)), input_shape=3, device="cpu")
    with pytest.raises(bp.DataError, match=words):
        net.predict(x)
    with pytest.raises(bp.DataError, match=words):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(x, [0.0])


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary to be a whole number, 1 or more, and got 0"):
        bp.Embedding(0, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_added_in_the_order_of_the_rows(
    dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of numbers of very different sizes, whose sum depends on the order; some rows at a time, and into a view."""
    monkeypatch.setattr("gpubp.backends.cpu.scattering.AT_ONCE", 40)
    a = (rng.normal(size=(101, 6)) * 10.0 ** rng.integers(-6, 6, (101, 6))).astype(dtype)
    words = rng.integers(0, 7, 101)
    expected, backwards = np.zeros((7, 6), dtype), np.zeros((7, 6), dtype)
    for i in range(101):
        expected[words[i]] += a[i]
        backwards[words[100 - i]] += a[100 - i]
    assert (expected != backwards).any()
    be = get_backend("cpu")
    out, wide = np.full((7, 6), 9, dtype), np.zeros((7, 12), dtype)
    np.testing.assert_array_equal(be.scatter_rows(a, words, out=out), expected)
    be.scatter_rows(a, words, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], expected)
    assert not wide[:, 1::2].any()
