"""Losses compared with loops over single numbers and with examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpubp as bp


def value(loss: bp.Loss, z: list[list[float]], y: object) -> float:
    """The loss of outputs z, through a network that gives back its input."""
    net = bp.Network(bp.Dense(len(z[0]), use_bias=False), len(z[0]), device="cpu", dtype="float64")
    net.parameters["W"][...] = np.eye(len(z[0]))
    return net.loss_and_gradients(loss, z, y)[0]


def test_examples_worked_by_hand() -> None:
    z, t = [[1.0, 3.0], [0.0, -1.0]], [[0.0, 1.0], [0.0, 1.0]]
    assert value(bp.MeanSquaredError(), z, t) == pytest.approx((1 + 4 + 0 + 4) / 4)
    assert value(bp.HalfMeanSquaredError(), z, t) == pytest.approx((1 + 4 + 0 + 4) / 8)
    assert value(bp.MeanAbsoluteError(), z, t) == pytest.approx((1 + 2 + 0 + 2) / 4)
    assert value(bp.Huber(1.0), z, t) == pytest.approx((0.5 + 1.5 + 0 + 1.5) / 4)


def test_softmax_cross_entropy_agrees_with_loops(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(6, 4)) * 3, rng.integers(0, 4, 6)
    rows = []
    for i in range(6):
        S = sum(math.exp(z[i, k]) for k in range(4))
        p = [math.exp(z[i, k]) / S for k in range(4)]
        rows.append([-math.log(p[y[i]]), -sum((0.9 * (k == y[i]) + 0.025) * math.log(p[k]) for k in range(4))])
    plain, smooth = np.mean(rows, axis=0)
    assert value(bp.SoftmaxCrossEntropy(), z.tolist(), y) == pytest.approx(plain, rel=1e-12)
    assert value(bp.SoftmaxCrossEntropy(), z.tolist(), np.eye(4)[y]) == pytest.approx(plain, rel=1e-12)
    assert value(bp.SoftmaxCrossEntropy(0.1), z.tolist(), y) == pytest.approx(smooth, rel=1e-12)


def test_binary_cross_entropy_agrees_with_loops(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=(5, 3)), rng.integers(0, 2, (5, 3))
    p = 1 / (1 + np.exp(-z))
    slow = np.mean([-math.log(p[i, j] if y[i, j] else 1 - p[i, j]) for i in range(5) for j in range(3)])
    assert value(bp.BinaryCrossEntropy(), z.tolist(), y) == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "z", "y", "expected"),
    [
        (bp.SoftmaxCrossEntropy(), [[1e4, 0.0]], [1], 1e4),
        (bp.SoftmaxCrossEntropy(), [[-1e4, 0.0]], [1], 0.0),
        (bp.BinaryCrossEntropy(), [[1e4]], [0], 1e4),
        (bp.BinaryCrossEntropy(), [[-1e4]], [0], 0.0),
    ],
)
def test_large_logits_do_not_overflow(loss: bp.Loss, z: list[list[float]], y: list[int], expected: float) -> None:
    assert value(loss, z, y) == expected


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        (bp.BinaryCrossEntropy(), [[0.0, 2.0]], "between 0 and 1"),
        (bp.MeanSquaredError(), [[1.0]], r"rows of shape \(1,\), and the network gives rows of shape \(2,\)"),
        (bp.MeanSquaredError(), [1.0], r"rows of shape \(\)"),
        (bp.SoftmaxCrossEntropy(), [2], "the class 2"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: bp.Loss, y: object, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        value(loss, [[0.0, 0.0]], y)


def test_one_output_takes_targets_of_one_axis() -> None:
    assert value(bp.MeanSquaredError(), [[1.0], [3.0]], [0.0, 0.0]) == 5.0
