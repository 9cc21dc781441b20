"""Textbook examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpubp as bp


def test_the_single_neuron() -> None:
    """E = ½(t - y)², y = σ(wx), so dE/dw = -(t - y) σ(wx) (1 - σ(wx)) x."""
    x, t, w = 1.5, 0.8, -0.4
    net = bp.Network(bp.Sequential(bp.Dense(1, use_bias=False), bp.Sigmoid()), 1, device="cpu", dtype="float64")
    net.parameters["0.W"][...] = w
    s = 1.0 / (1.0 + math.exp(-w * x))
    E, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), [[x]], [[t]])
    assert E == pytest.approx(0.5 * (t - s) ** 2, rel=1e-14)
    assert gradients["0.W"].item() == pytest.approx(-(t - s) * s * (1 - s) * x, rel=1e-14)
    trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD(learning_rate=0.5))
    trainer.step([[x]], [[t]])
    assert net.parameters["0.W"].item() == pytest.approx(w + 0.5 * (t - s) * s * (1 - s) * x, rel=1e-14)


A = np.array([[3.0], [10.0], [7.0]])
TARGETS = np.array([[17.0], [200.0], [-17.0]])


def chain(use_bias: bool = False) -> bp.Network:
    """A-B-C-D: one weight an edge, with weights 0.5, -2 and 3 (and biases 0)."""
    layers = bp.Sequential(*(bp.Dense(1, use_bias=use_bias) for _ in range(3)))
    net = bp.Network(layers, 1, device="cpu", dtype="float64")
    for i, w in enumerate((0.5, -2.0, 3.0)):
        net.parameters[f"{i}.W"][...] = w
    return net


def test_the_chain_by_hand() -> None:
    """D = w₃ w₂ w₁ A, here -3 A, so with E = (1/2n) Σ (D - t)² and e = D - t:

    D = -9, -30, -21;  e = -26, -230, -4;  Σ e A = -78 - 2300 - 28 = -2406;  E = (676 + 52900 + 16)/6
    dE/dw₁ = (Σ e A) w₂ w₃ / 3,  dE/dw₂ = (Σ e A) w₁ w₃ / 3,  dE/dw₃ = (Σ e A) w₁ w₂ / 3
    """
    E, gradients = chain().loss_and_gradients(bp.HalfMeanSquaredError(), A, TARGETS)
    assert E == pytest.approx(53592 / 6, rel=1e-14)
    assert gradients["0.W"].item() == pytest.approx(-802 * -6, rel=1e-14)
    assert gradients["1.W"].item() == pytest.approx(-802 * 1.5, rel=1e-14)
    assert gradients["2.W"].item() == pytest.approx(-802 * -1, rel=1e-14)


def test_the_chain_trains_to_least_squares_through_the_origin() -> None:
    """Three weights in a row are one slope, and the best is Σ A t / Σ A²."""
    net = chain()
    bp.Trainer(net, bp.HalfMeanSquaredError(), bp.Adam(0.05), batch_size=None).fit(A, TARGETS, epochs=1500)
    slope = float((A * TARGETS).sum() / (A * A).sum())
    assert net.predict(A) == pytest.approx(slope * A, rel=1e-6)


def test_the_chain_with_biases_trains_to_least_squares() -> None:
    net = chain(use_bias=True)
    schedule = bp.ExponentialDecay(0.3, decay=0.5, steps=1000)
    bp.Trainer(net, bp.HalfMeanSquaredError(), bp.Adam(schedule), batch_size=None).fit(A, TARGETS, epochs=8000)
    slope, intercept = np.polyfit(A[:, 0], TARGETS[:, 0], 1)
    assert net.predict(A) == pytest.approx(slope * A + intercept, rel=1e-4)


def test_exclusive_or_is_learned() -> None:
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    net = bp.Network(bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(1)), 2, device="cpu")
    trainer = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.Adam(0.05), batch_size=None, metrics="accuracy")
    assert trainer.fit(X, y, epochs=300)["accuracy"][-1] == 1.0
