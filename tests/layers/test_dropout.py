"""Dropout: masks that depend on the step number, and their effect."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update

ONES = np.ones((64, 500), "float32")


def masks(seed: int = 0, steps: int = 3, rate: float = 0.25, place: int = 1) -> list[np.ndarray]:
    """What Dropout lets through of ones, at each of the first steps, as the trainer's recorded step has it."""
    layers = [bp.Dense(500, use_bias=False)] * place + [bp.Dropout(rate)]
    net = bp.Network(bp.Sequential(*layers), 500, device="cpu")
    for a in net.parameters.values():
        a[...] = np.eye(500)
    job, batch = StepJob(net, bp.MeanSquaredError(), seed=seed), Batch(net, 64, TargetShape((500,), "float32"))
    step = TrainingStep(job, batch, Update(net, bp.SGD(0.0)))
    step.load(ONES, ONES)
    found = []
    for _ in range(steps):
        step.run()
        found.append(np.array(step.z))
    return found


def test_masks_depend_on_the_step_number_alone() -> None:
    one, two = masks(), masks()
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1]) and not np.array_equal(one[1], one[2])
    assert not np.array_equal(one[0], masks(seed=1)[0])
    assert not np.array_equal(one[0], masks(place=2)[0])  # another layer draws apart


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_rate_and_mean(rate: float) -> None:
    y = masks(steps=1, rate=rate)[0]
    assert (y == 0).mean() == pytest.approx(rate, abs=0.01)
    assert y.mean() == pytest.approx(1.0, abs=0.05)
    assert y.max() == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_an_example_worked_by_hand() -> None:
    """What was kept in forward is what passes in backward, scaled alike."""
    net = bp.Network(bp.Sequential(bp.Dense(500, use_bias=False), bp.Dropout(0.5)), 500, device="cpu", dtype="float64")
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), ONES[:1], np.zeros((1, 500)))
    y = ONES[0] @ net.parameters["0.W"]
    ratio = gradients["0.W"][0] * 500 / y  # dy = y m s / 500, then m s once more: 0 or s² = 4
    assert set(np.round(ratio, 9)) == {0.0, 4.0}


def test_evaluation_is_the_identity() -> None:
    net = bp.Network(bp.Dropout(0.9), 500, device="cpu")
    assert np.array_equal(net.predict(ONES), ONES)


def test_dropout_reduces_the_gap_between_training_and_validation() -> None:
    """On noisy labels of the real digits, where a wide network learns the noise by heart."""
    pytest.importorskip("sklearn")
    from gpubp.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(0)
    X, y = digits.X[:400], digits.y[:400].copy()
    wrong = rng.random(400) < 0.2
    y[wrong] = rng.integers(0, 10, wrong.sum())

    def gap(rate: float) -> float:
        layers = bp.Sequential(bp.Dense(256), bp.ReLU(), bp.Dropout(rate), bp.Dense(10))
        net = bp.Network(layers, 64, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(3e-3), metrics="accuracy")
        trainer.fit(X, y, epochs=60)
        return trainer.evaluate(digits.X_test, digits.y_test)["loss"] - trainer.evaluate(X, y)["loss"]

    assert gap(0.6) < 0.8 * gap(0.0)


def test_wrong_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to below 1"):
        bp.Dropout(1.0)


def test_every_bit_of_a_seed_counts_and_64_of_them_do() -> None:
    """Seeds of 2**63 and more, which a list of NumPy rounds to float64, and those of more bits than a key has."""
    one, next_one = masks(seed=2**63, steps=1)[0], masks(seed=2**63 + 1, steps=1)[0]
    assert not np.array_equal(one, next_one)
    assert np.array_equal(masks(seed=2**64 + 5, steps=1)[0], masks(seed=5, steps=1)[0])
