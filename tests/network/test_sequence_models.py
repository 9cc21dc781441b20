"""The ready-made models of sequences: their layers, what they learn, and that a row is predicted for itself alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp


def test_an_encoder_with_every_option() -> None:
    layers = bp.encoder(
        3, 8, 1, 2, vocabulary=50, hidden=16, activation=bp.GELU(), dropout=0.1, positions=False
    )  # fmt: skip
    assert repr(layers) == (
        "Sequential(Embedding(50, 8, weight_initializer=Normal(0.3)), Dropout(0.1), "
        "Residual(Sequential(LayerNorm(), MultiHeadAttention(2), Dropout(0.1))), "
        "Residual(Sequential(LayerNorm(), Dense(16), GELU(), Dense(8), Dropout(0.1))), "
        "LayerNorm(), MeanOverTime(), Dense(3))"
    )
    assert layers.over_time == "ends"


@pytest.mark.parametrize("make", [bp.encoder, bp.transformer])
def test_sequences_of_words_and_of_numbers(make: Any, rng: np.random.Generator) -> None:
    words = bp.Network(make(3, 8, 1, 2, vocabulary=11), input_shape=6, device="cpu")
    numbers = bp.Network(make(3, 8, 1, 2), input_shape=(6, 5), device="cpu")
    shape = (4, 3) if make is bp.encoder else (4, 6, 3)
    assert words.predict(rng.integers(0, 11, (4, 6))).shape == shape
    assert numbers.predict(rng.normal(size=(4, 6, 5))).shape == shape


@pytest.mark.parametrize("make", [bp.encoder, bp.transformer])
def test_arguments_that_cant_be_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__} needs heads that divide width, and 3 does not divide 64"):
        make(2, heads=3)
    with pytest.raises(ValueError, match=f"{make.__name__} needs blocks to be a whole number, 1 or more, and got 0"):
        make(2, blocks=0)
    with pytest.raises(ValueError, match="needs hidden to be a whole number, 1 or more, or None, and got 0"):
        make(2, hidden=0)


def test_an_encoder_learns_what_the_order_decides(rng: np.random.Generator) -> None:
    """Whether the largest of eight words stands in the first half."""
    X = rng.permuted(np.tile(np.arange(8), (600, 1)), axis=1)
    y = (X.argmax(axis=1) < 4).astype(int)
    accuracy = {}
    for positions in (True, False):
        net = bp.Network(bp.encoder(2, 16, 1, 2, vocabulary=8, positions=positions), 8, device="cpu")
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(1e-2), batch_size=50).fit(X[:500], y[:500], epochs=8)
        accuracy[positions] = (net.predict(X[500:]).argmax(axis=1) == y[500:]).mean()
    assert accuracy[True] > 0.95 and accuracy[False] < 0.7, accuracy


def test_a_transformer_repeats_what_it_has_seen(rng: np.random.Generator) -> None:
    """The next word of sequences with a period of three, from the fourth word on."""
    X = np.tile(rng.integers(0, 6, (600, 3)), (1, 4))[:, :11]
    net = bp.Network(bp.transformer(6, 16, 2, 2, vocabulary=6), 10, device="cpu")
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(1e-2), batch_size=50).fit(X[:500, :-1], X[:500, 1:], epochs=15)
    right = net.predict(X[500:, :-1]).argmax(axis=-1) == X[500:, 1:]
    assert right[:, 3:].mean() > 0.95 and right[:, 0].mean() < 0.5


@pytest.mark.kernel
@pytest.mark.parametrize(("T", "width", "heads"), [(7, 12, 3), (1, 8, 2), (33, 32, 1), (20, 8, 8)], ids=str)
@pytest.mark.parametrize("make", [bp.encoder, bp.transformer])
def test_a_row_has_the_same_bits_in_any_company(
    make: Any, T: int, width: int, heads: int, rng: np.random.Generator
) -> None:
    net = bp.Network(make(3, width, 1, heads, hidden=24), (T, 5), device="cpu")
    X = rng.normal(size=(200, T, 5)).astype("float32")
    together = net.predict(X)
    for first, rows in ((0, 1), (199, 1), (17, 2), (50, 47), (3, 150)):
        part = net.predict(X[first : first + rows])
        assert part.tobytes() == together[first : first + rows].tobytes(), (first, rows)
    others = X.copy()
    others[1:] = rng.normal(size=(199, T, 5)) * 100
    assert net.predict(others)[0].tobytes() == together[0].tobytes()


@pytest.mark.parametrize("seed", [1, 2])
def test_an_encoder_passes_the_gradient_check(seed: int) -> None:
    """With seed 1 its softmax bends within the first step of the differences, and its ReLUs have their kinks there."""
    assert bp.gradcheck(bp.encoder(3), (4, 6, 5), seed=seed)


@pytest.mark.parametrize("make", [bp.encoder, bp.transformer])
def test_gradients_agree_with_pytorch(make: Any, rng: np.random.Generator) -> None:
    """Two blocks on words, in float64: the loss, and every parameter's gradient to 1e-10."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F, causal, T, n, heads = torch.nn.functional, make is bp.transformer, 7, 12, 3
    net = bp.Network(make(4, n, 2, heads, vocabulary=9, hidden=10), T, device="cpu", dtype="float64")
    for a in net.parameters.values():
        a[...] += 0.3 * rng.normal(size=a.shape)
    p = {name: torch.tensor(np.array(a), requires_grad=True) for name, a in net.parameters.items()}

    def normal(x: Any, at: str) -> Any:
        return F.layer_norm(x, (n,), p[f"{at}.gamma"], p[f"{at}.beta"])

    def attend(x: Any, at: str) -> Any:
        q, k, v = (x @ p[f"{at}.WQKV"]).split(n, dim=2)
        q, k, v = (a.reshape(5, T, heads, -1).transpose(1, 2) for a in (q + p[f"{at}.bQ"], k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return o.transpose(1, 2).reshape(5, T, n) @ p[f"{at}.WO"] + p[f"{at}.bO"]

    def dense(x: Any, at: str) -> Any:
        return x @ p[f"{at}.W"] + p[f"{at}.b"]

    X, y = rng.integers(0, 9, (5, T)), rng.integers(0, 4, (5, T) if causal else 5)
    positions = bp.Network(bp.PositionalEncoding(), (T, n), device="cpu", dtype="float64").predict(np.zeros((1, T, n)))
    x = F.embedding(torch.tensor(X), p["0.W"]) + torch.tensor(positions)
    for i in (2, 4):
        x = x + attend(normal(x, f"{i}.0.0"), f"{i}.0.1")
        x = x + dense(torch.relu(dense(normal(x, f"{i + 1}.0.0"), f"{i + 1}.0.1")), f"{i + 1}.0.3")
    x = normal(x, "6")
    z = dense(x, "7") if causal else dense(x.mean(dim=1), "8")
    loss = F.cross_entropy(z.reshape(-1, 4), torch.tensor(y).reshape(-1))
    loss.backward()
    ours, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    for name, g in gradients.items():
        np.testing.assert_allclose(g, p[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.kernel
@pytest.mark.parametrize("make", [bp.encoder, bp.transformer])
def test_rows_of_different_lengths(make: Any, rng: np.random.Generator) -> None:
    """Neither other rows nor what stands at the padding, and how much of it, change a bit of a row."""
    rows = [rng.normal(size=(int(length), 3)) for length in rng.integers(1, 20, 70)]
    net = bp.Network(make(2, 8, 1, 2, hidden=10), (None, 3), device="cpu")
    together, lengths = net.predict(rows), [len(row) for row in rows]
    padded = rng.normal(size=(70, 50, 3))
    for row, place in zip(rows, padded, strict=True):
        place[: len(row)] = row
    others = net.predict(bp.Sequences(padded, lengths))
    for k in range(70):
        alone, end = net.predict([rows[k]]), lengths[k] if make is bp.transformer else None
        for found in (alone[0], others[k]):
            assert found[:end].tobytes() == together[k][:end].tobytes()
