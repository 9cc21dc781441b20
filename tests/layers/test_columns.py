"""EmbedColumns compared with loops over single numbers."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp

LAYER = bp.EmbedColumns(bp.Embedding(4, 2), bp.Embedding(3, 1))


def test_forward_and_backward(rng: np.random.Generator) -> None:
    """By hand: the numbers stay, the words become rows of W, and dW adds up the dy of each word."""
    net = bp.Network(LAYER, input_shape=4, device="cpu", dtype="float64")
    n, c = rng.normal(size=(3, 2)), np.array([[0, 2], [3, 0], [0, 2]])
    V, W = net.parameters["0.W"], net.parameters["1.W"]
    want = np.concatenate([n, V[c[:, 0]], W[c[:, 1]]], axis=1)
    np.testing.assert_array_equal(net.predict(np.concatenate([n, c], axis=1)), want)
    target = rng.normal(size=want.shape)
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), np.concatenate([n, c], axis=1), target)
    dy = (want - target) / want.size
    np.testing.assert_allclose(gradients["0.W"][0], dy[0, 2:4] + dy[2, 2:4], rtol=1e-12)
    np.testing.assert_allclose(gradients["1.W"][:, 0], [dy[1, 4], 0, dy[0, 4] + dy[2, 4]], rtol=1e-12)


def test_numeric_columns_have_a_gradient(rng: np.random.Generator) -> None:
    """Above another layer, which a table never has: dx is dy where the numbers are and 0 where the words are."""
    frozen = bp.Sequential(bp.Dense(3, use_bias=False), LAYER, bp.Dense(1))
    net = bp.Network(frozen, input_shape=3, device="cpu", dtype="float64")
    net.parameters["0.W"][...] = np.eye(3)
    x = np.array([[0.5, 1, 2], [-1.5, 3, 0]])
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), x, [1.0, 0.0])
    assert gradients["0.W"][:, 0].any() and not gradients["0.W"][:, 1:].any()


@pytest.mark.parametrize(
    ("row", "words"), [([0.5, 1, 4, 0], "column 2 of X holds 4, .* 0 to 3"), ([0, 0, 1, 0.5], "column 3 .* fractions")]
)
def test_numbers_outside_the_vocabulary_are_refused(row: list[float], words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        bp.Network(LAYER, input_shape=4, device="cpu").predict([row])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="an Embedding for each column"):
        bp.EmbedColumns(bp.Dense(3))  # type: ignore[arg-type]
    with pytest.raises(bp.ShapeError, match="rows that end in 2 columns of words and got rows of shape \\(1,\\)"):
        bp.Network(LAYER, input_shape=1, device="cpu")
