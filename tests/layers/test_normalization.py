"""BatchNorm and LayerNorm compared with loops; row weights, running values and freezing."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp


def alone(layer: bp.Layer, shape: tuple[int, ...] | int) -> bp.Network:
    return bp.Network(layer, shape, device="cpu", dtype="float64")


def trained_once(net: bp.Network, x: np.ndarray, w: np.ndarray | None = None) -> bp.Trainer:
    """One step with learning rate 0: only the running values move."""
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.0))
    trainer.step(x, np.zeros_like(x), w)
    return trainer


def test_batch_norm_agrees_with_loops(rng: np.random.Generator) -> None:
    """Training on images, through the loss of a network that is the layer alone: (1) to (9), number by number."""
    B, H, n = 3, 2, 2
    net = alone(bp.BatchNorm(eps=0.01), (H, n))
    gamma, beta = net.parameters["gamma"], net.parameters["beta"]
    gamma[...], beta[...] = rng.normal(size=n), rng.normal(size=n)
    x, t = rng.normal(size=(B, H, n)), rng.normal(size=(B, H, n))
    loss = 0.0
    dgamma, dbeta = np.zeros(n), np.zeros(n)
    for k in range(n):
        values = [x[i, h, k] for i in range(B) for h in range(H)]
        mean = sum(values) / len(values)  # (1)
        var = sum((v - mean) ** 2 for v in values) / len(values)  # (2)
        for i in range(B):
            for h in range(H):
                xhat = (x[i, h, k] - mean) / (var + 0.01) ** 0.5  # (3), (4)
                y = gamma[k] * xhat + beta[k]  # (5)
                dy = 2 * (y - t[i, h, k]) / (B * H * n)
                loss += (y - t[i, h, k]) ** 2 / (B * H * n)
                dbeta[k] += dy  # (6)
                dgamma[k] += dy * xhat  # (7)
    ours, gradients = net.loss_and_gradients(bp.MeanSquaredError(), x, t)
    assert ours == pytest.approx(loss, rel=1e-12)
    assert gradients["gamma"] == pytest.approx(dgamma, rel=1e-10)
    assert gradients["beta"] == pytest.approx(dbeta, rel=1e-10)


def test_running_values_and_their_use(rng: np.random.Generator) -> None:
    net = alone(bp.BatchNorm(momentum=0.75, eps=0.0), 3)
    x = rng.normal(size=(8, 3)) * 2 + 5
    trained_once(net, x)
    assert net.states["mean"] == pytest.approx(0.25 * x.mean(axis=0), rel=1e-12)
    assert net.states["var"] == pytest.approx(0.75 + 0.25 * x.var(axis=0), rel=1e-12)
    expected = (x - net.states["mean"]) / np.sqrt(net.states["var"])
    assert net.predict(x) == pytest.approx(expected, rel=1e-12)


def test_loss_and_gradients_changes_no_running_value(rng: np.random.Generator) -> None:
    net = alone(bp.BatchNorm(), 3)
    net.loss_and_gradients(bp.MeanSquaredError(), rng.normal(size=(8, 3)), np.zeros((8, 3)))
    assert not net.states["mean"].any()


def test_rows_of_weight_zero_have_no_effect(rng: np.random.Generator) -> None:
    """So the ragged last batch, padded with such rows, is exact."""
    x, t = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    layers = bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.Tanh(), bp.Dense(3))
    one, two = (bp.Network(layers, 3, device="cpu", dtype="float64") for _ in range(2))
    w = np.array([1.0, 1, 1, 1, 1, 0, 0, 0])
    loss, gradients = one.loss_and_gradients(bp.MeanSquaredError(), x, t, sample_weight=w)
    short_loss, short = two.loss_and_gradients(bp.MeanSquaredError(), x[:5], t[:5])
    assert loss == pytest.approx(short_loss, rel=1e-12)
    for name in gradients:
        assert gradients[name] == pytest.approx(short[name], rel=1e-8, abs=1e-12), name
    whole, ragged = (bp.Network(layers, 3, device="cpu", dtype="float64") for _ in range(2))
    bp.Trainer(whole, bp.MeanSquaredError(), bp.SGD(0.1), batch_size=5).fit(x[:5], t[:5], epochs=2)
    trainer = bp.Trainer(ragged, bp.MeanSquaredError(), bp.SGD(0.1), batch_size=8)
    trainer.fit(x, t, epochs=2, sample_weight=w)
    assert ragged.states.flat == pytest.approx(whole.states.flat, rel=1e-9, abs=1e-12)


def test_a_weight_of_two_equals_the_row_twice(rng: np.random.Generator) -> None:
    """In the statistics too, and in what flows back through them."""
    x, t = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    net = bp.Network(bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.Dense(2)), 3, device="cpu", dtype="float64")
    w = np.array([1, 2, 1, 3, 1, 1])
    _, weighted = net.loss_and_gradients(bp.MeanSquaredError(), x, t, sample_weight=w)
    _, repeated = net.loss_and_gradients(bp.MeanSquaredError(), np.repeat(x, w, axis=0), np.repeat(t, w, axis=0))
    for name in weighted:
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-8, abs=1e-12), name


def test_a_frozen_layer_does_not_change(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Sequential(bp.BatchNorm(), bp.Dense(1)), 3, device="cpu")
    x = rng.normal(size=(8, 3)) + 3
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1)).step(x, np.zeros(8))
    net.freeze("0.*")
    states = net.states.flat.copy()
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.01))
    before = trainer.evaluate(x, np.zeros(8))["loss"]
    trainer.step(x, np.zeros(8))
    assert np.array_equal(net.states.flat, states)
    assert trainer.loss == pytest.approx(before, rel=1e-5)  # the loss in training is that of evaluation


def test_a_deep_sigmoid_network_trains_with_batch_norm(rng: np.random.Generator) -> None:
    X = rng.normal(size=(64, 4))

    def lowest(normalized: bool) -> float:
        block = (bp.Dense(16), *((bp.BatchNorm(),) if normalized else ()), bp.Sigmoid())
        net = bp.Network(bp.Sequential(*(block * 8), bp.Dense(1)), 4, device="cpu", dtype="float64")
        _, gradients = net.loss_and_gradients(bp.MeanSquaredError(), X, X[:, 0])
        return float(np.abs(gradients["0.W"]).max())

    assert lowest(True) > 100 * lowest(False)


def test_layer_norm_agrees_with_loops(rng: np.random.Generator) -> None:
    net = alone(bp.LayerNorm(eps=0.01), 5)
    gamma, beta = net.parameters["gamma"], net.parameters["beta"]
    gamma[...], beta[...] = rng.normal(size=5), rng.normal(size=5)
    x = rng.normal(size=(4, 5))
    slow = np.zeros((4, 5))
    for i in range(4):
        mean = sum(x[i]) / 5
        var = sum((v - mean) ** 2 for v in x[i]) / 5
        for k in range(5):
            slow[i, k] = gamma[k] * (x[i, k] - mean) / (var + 0.01) ** 0.5 + beta[k]
    assert net.predict(x) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.BatchNorm(momentum=1.5), "momentum to be a number, from 0 to 1"),
        (lambda: bp.BatchNorm(eps=-1.0), "BatchNorm needs eps"),
        (lambda: bp.LayerNorm(eps=-1.0), "LayerNorm needs eps"),
    ],
)
def test_wrong_arguments_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]
