"""WordColumns compared with loops over single words, and what padding and left-out words do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp


def bag(vocabulary: int = 6, dim: int = 3) -> bp.Sequential:
    return bp.Sequential(bp.Embedding(vocabulary, dim), bp.MeanOverTime())


def network(layer: bp.Layer, width: int, dtype: str = "float64") -> bp.Network:
    return bp.Network(layer, input_shape=width, device="cpu", dtype=dtype)


def test_forward_and_backward_by_loops(rng: np.random.Generator) -> None:
    """Two texts beside two numbers: y is 2 (scale) times the mean of the vectors of the words that are not 0."""
    net = network(bp.WordColumns(bag(), bag(4, 1), lengths=(3, 2), scale=2.0), 7)
    x = np.array([[0.5, -1, 5, 2, 0, 3, 0], [0.1, 2, 0, 0, 0, 1, 1], [7, 8, 5, 5, 1, 0, 0]])
    V, W = np.array(net.parameters["0.0.W"]), np.array(net.parameters["1.0.W"])
    target = rng.normal(size=(3, 6))
    want = np.zeros((3, 6))
    dV, dW = np.zeros_like(V), np.zeros_like(W)
    for i, row in enumerate(x):
        first, second = [int(w) for w in row[2:5] if w], [int(w) for w in row[5:] if w]
        want[i, :2] = row[:2]
        for word in first:
            want[i, 2:5] += 2 * V[word] / len(first)
        for word in second:
            want[i, 5] += 2 * W[word, 0] / len(second)
        dy = (want[i] - target[i]) / want.size
        for word in first:
            dV[word] += 2 * dy[2:5] / len(first)
        for word in second:
            dW[word, 0] += 2 * dy[5] / len(second)
    np.testing.assert_allclose(net.predict(x), want, rtol=1e-13)
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), x, target)
    np.testing.assert_allclose(gradients["0.0.W"], dV, rtol=1e-12)
    np.testing.assert_allclose(gradients["1.0.W"], dW, rtol=1e-12)
    assert not gradients["0.0.W"][0].any() and not gradients["1.0.W"][0].any()


READERS: dict[str, Any] = {
    "mean": bag,
    "GRU": lambda: bp.Sequential(bp.Embedding(6, 3), bp.GRU(4)),
    "attention": lambda: bp.Sequential(bp.Embedding(6, 4), bp.MultiHeadAttention(2), bp.MeanOverTime()),
}


@pytest.mark.parametrize("reader", READERS)
def test_padding_changes_nothing(reader: str) -> None:
    """Longer rows give the same bits of loss and gradients, whatever stands for the word 0; empty texts are numbers."""
    x = np.array([[1.0, 5, 2, 1, 0], [0.0, 3, 0, 0, 0], [2.0, 0, 0, 0, 0]])
    longer = np.concatenate([x, np.zeros((3, 4))], axis=1)
    t = np.ones((3, 2))
    found = []
    for rows, T in ((x, 4), (longer, 8), (longer, 8)):
        net = network(bp.Sequential(bp.WordColumns(READERS[reader](), lengths=T), bp.Dense(2)), rows.shape[1])
        if len(found) == 2:
            net.parameters["0.0.0.W"][0] = 1e6
        loss, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), rows, t)
        found.append((loss, {name: np.array(a) for name, a in gradients.items()}))
        assert np.isfinite(net.predict(rows)).all()
    for loss, gradients in found[1:]:
        np.testing.assert_allclose(loss, found[0][0], rtol=1e-12)
        for name, a in gradients.items():
            np.testing.assert_allclose(a, found[0][1][name], rtol=1e-9, atol=1e-15)
            assert name != "0.0.0.W" or not a[0].any()


def test_words_are_left_out_in_training_alone() -> None:
    """With all vectors 1, y is 1 where at least one of a row's words is kept, which 1 - p^T of the rows have."""
    layer = bp.WordColumns(
        bp.Sequential(bp.Embedding(3, 1, bp.Constant(1.0)), bp.MeanOverTime()), lengths=2, dropout=0.75
    )
    net = network(layer, 2)
    x = np.ones((20_000, 2))
    assert (net.predict(x) == 1).all()
    ws = net.workspace(rows=len(x), training=True)
    y = np.array(net.layers.forward(ws, x))
    assert set(np.unique(y)) == {0.0, 1.0} and abs(y.mean() - (1 - 0.75**2)) < 0.02


def test_the_other_columns_are_trained_too(rng: np.random.Generator) -> None:
    """Their layer learns, alone as well, and gives a dx to what stands below."""
    layer = bp.WordColumns(bag(), lengths=2, columns=bp.Dense(2))
    net = network(bp.Sequential(layer, bp.Dense(1)), 5)
    x = np.concatenate([rng.normal(size=(4, 3)), rng.integers(0, 6, (4, 2))], axis=1)
    _, whole = net.loss_and_gradients(bp.HalfMeanSquaredError(), x, np.ones(4))
    assert whole["0.0.W"].any() and whole["0.1.0.W"].any()
    net.freeze("0.1.*")
    trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD(0.1))
    before = {name: np.array(a) for name, a in net.parameters.items()}
    trainer.fit(x, np.ones(4), epochs=1, verbose=False)
    changed = [name for name, a in net.parameters.items() if not np.array_equal(a, before[name])]
    assert "0.0.W" in changed and "0.1.0.W" not in changed
    below = bp.Sequential(bp.Dense(5, use_bias=False), layer)
    above = network(below, 5)
    above.parameters["0.W"][...] = np.eye(5)
    for frozen in ((), ("1.0.*",)):
        above.freeze(*frozen)
        _, gradients = above.loss_and_gradients(bp.HalfMeanSquaredError(), x, np.zeros((4, 5)))
        assert gradients["0.W"][:, :3].any() and not gradients["0.W"][:, 3:].any()


def test_wrong_words_and_arguments_are_refused() -> None:
    net = network(bp.Sequential(bp.WordColumns(bag(), lengths=2)), 3)
    for word in (6, -1, 0.5):
        with pytest.raises(bp.DataError, match="0 to 5"):
            net.predict([[0.5, word, 0]])
    with pytest.raises(bp.ShapeError, match="end in 4 columns of words"):
        network(bp.WordColumns(bag(), lengths=4), 3)
    with pytest.raises(
        bp.ShapeError, match="expects a vector of each text, and layer 0 gives rows of shape \\(2, 3\\)"
    ):
        network(bp.WordColumns(bp.Embedding(6, 3), lengths=2), 3)
    with pytest.raises(ValueError, match="a length for each reader"):
        bp.WordColumns(bag(), bag(), lengths=2)
    with pytest.raises(TypeError, match="reads texts by layers, and got 3"):
        bp.WordColumns(3, lengths=2)  # type: ignore[arg-type]
    for bad in ({"lengths": 0}, {"lengths": 2, "dropout": 1.0}, {"lengths": 2, "scale": 0.0}):
        with pytest.raises(ValueError, match="WordColumns"):
            bp.WordColumns(bag(), **bad)
