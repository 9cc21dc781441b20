"""Metrics of whole epochs are NaN where a score is no number, and take infinite scores as numbers elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

INF, NAN = np.inf, np.nan
Z = np.random.default_rng(0).normal(size=(20, 3))
Y = np.random.default_rng(1).integers(0, 3, 20)


def reported(metric: bp.Metric, loss: bp.Loss, z: np.ndarray, y: Any, device: str = "cpu") -> float:
    """What an evaluation reports for outputs z, the vectors of an Embedding."""
    on = CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu"
    net = bp.Network(bp.Sequential(bp.Embedding(*z.shape), bp.Reshape(z.shape[1:])), 1, device=on)
    net.backend.put(net.parameters["0.W"], z)
    t = bp.Trainer(net, loss, bp.SGD(), metrics=[metric])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return t.evaluate(np.arange(len(z))[:, None], y)[metric.name]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("row", [[INF, 0, 0], [0, INF, 0], [INF, INF, 0], [-INF] * 3, [0, NAN, 0]], ids=str)
def test_roc_auc_of_classes_whose_softmax_is_not_a_number(row: list[float], device: str) -> None:
    z = Z.copy()
    z[3] = row
    assert np.isnan(reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, Y, device))
    left_out = np.where(np.arange(20) == 3, -100, Y)
    loss = bp.SoftmaxCrossEntropy(ignore_index=-100)
    wanted = reported(bp.ROCAUC(), loss, Z, left_out, device)
    assert 0 < wanted < 1 and reported(bp.ROCAUC(), loss, z, left_out, device) == wanted


def test_roc_auc_of_masked_classes() -> None:
    """A logit of -∞ has the probability 0."""
    masked, low = Z.copy(), Z.copy()
    masked[::2, 2], low[::2, 2] = -INF, -1e30
    wanted = reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), low, Y)
    assert 0 < wanted < 1 and reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), masked, Y) == wanted


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_roc_auc_of_two_classes_and_of_labels(device: str) -> None:
    z, y = Z[:, :2].copy(), Y > 0
    for row, least in (([0, INF], [0, 1e30]), ([-INF, 0], [-1e30, 0]), ([INF, -INF], [1e30, -1e30])):
        z[3] = least
        wanted = reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, y, device)
        z[3] = row
        assert reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, y, device) == wanted
    for row in ([INF, INF], [-INF, -INF], [NAN, 0]):
        z[3] = row
        assert np.isnan(reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, y, device))
    one = z[:, :1].copy()
    for infinite, large in ((INF, 1e30), (-INF, -1e30)):
        one[3] = large
        wanted = reported(bp.ROCAUC(), bp.BinaryCrossEntropy(), one, y, device)
        one[3] = infinite
        assert reported(bp.ROCAUC(), bp.BinaryCrossEntropy(), one, y, device) == wanted


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("targets", [Z, np.ones((20, 3))], ids=["varying", "equal"])
def test_r2_of_outputs_that_are_no_numbers(targets: np.ndarray, device: str) -> None:
    z = Z.copy()
    z[3, 1] = NAN
    assert np.isnan(reported(bp.R2(), bp.MeanSquaredError(), z, targets, device))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_counts_of_infinite_outputs(device: str) -> None:
    """The largest output is the answer, and a yes one above 0."""
    z, y = np.array([[INF, 0, -INF], [-INF, -INF, 2], [-INF, 5, 0]]), [0, 2, 1]
    for metric in (bp.Accuracy(), bp.F1(), bp.Precision(), bp.Recall()):
        assert reported(metric, bp.SoftmaxCrossEntropy(), z, y, device) == 1.0
        assert reported(metric, bp.BinaryCrossEntropy(), z, z > 0, device) == 1.0
