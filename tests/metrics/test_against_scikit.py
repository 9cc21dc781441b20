"""Metrics of whole epochs compared with scikit-learn's, to 1e-6."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import gpubp as bp

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

N = 700  # rows: two batches and a short one in an evaluation


def reported(metric: bp.Metric, loss: bp.Loss, z: np.ndarray, y: Any, w: Any = None) -> float:
    """What an evaluation reports for outputs z, through a network that gives back its input."""
    net = bp.Network(bp.Dense(z.shape[-1], use_bias=False), z.shape[1:], device="cpu")
    net.parameters["W"][...] = np.eye(z.shape[-1])
    trainer = bp.Trainer(net, loss, bp.SGD(), metrics=[metric])
    return trainer.evaluate(z, y, w)[metric.name]


def scores(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Outputs with many ties, exact in float32."""
    return np.round(rng.normal(size=shape) * 4) / 4


def row_weights(rng: np.random.Generator, weighted: bool) -> Any:
    return np.round(rng.uniform(0.25, 4, N) * 4) / 4 if weighted else None


def softmax(z: np.ndarray) -> np.ndarray:
    """With the largest output taken off, so that ties of rounding are ours too."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
COUNTED = [
    (bp.Precision, sk.precision_score),
    (bp.Recall, sk.recall_score),
    (bp.F1, sk.f1_score),
]


@WEIGHTED
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_classes(cls: Any, theirs: Any, average: str, weighted: bool, rng: np.random.Generator) -> None:
    """Class 3 is never true, class 4 never the answer, and class 5 neither."""
    z, y, w = scores(rng, N, 6), rng.choice([0, 1, 2, 4], N), row_weights(rng, weighted)
    z[:, 4:] = -99.0
    for zero in (0.0, 1.0):
        ours = reported(cls(average, zero), bp.SoftmaxCrossEntropy(), z, y, w)
        expected = theirs(y, z.argmax(axis=1), average=average, sample_weight=w, zero_division=zero)
        assert ours == pytest.approx(expected, abs=1e-6)
    assert reported(cls(), bp.SoftmaxCrossEntropy(), z, np.eye(6)[y], w) == pytest.approx(
        theirs(y, z.argmax(axis=1), average="macro", sample_weight=w, zero_division=0), abs=1e-6
    )


@WEIGHTED
@pytest.mark.parametrize("average", ["auto", "binary", "macro", "weighted", "micro"])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_yes_or_no(cls: Any, theirs: Any, outputs: int, average: str, weighted: bool, rng: np.random.Generator) -> None:
    """By one output, or by two classes."""
    z, y, w = scores(rng, N, outputs), rng.integers(0, 2, N), row_weights(rng, weighted)
    loss: bp.Loss = bp.BinaryCrossEntropy() if outputs == 1 else bp.SoftmaxCrossEntropy()
    answer = z[:, 0] > 0 if outputs == 1 else z.argmax(axis=1)
    expected = theirs(y, answer, average="binary" if average == "auto" else average, sample_weight=w)
    assert reported(cls(average), loss, z, y, w) == pytest.approx(expected, abs=1e-6)


@WEIGHTED
@pytest.mark.parametrize("average", ["auto", "macro", "micro", "weighted"])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_labels(cls: Any, theirs: Any, average: str, weighted: bool, rng: np.random.Generator) -> None:
    """The last of four labels is never true and never the answer."""
    z, y, w = scores(rng, N, 4), rng.integers(0, 2, (N, 4)), row_weights(rng, weighted)
    z[:, 3], y[:, 3] = -1.0, 0
    kind = "macro" if average == "auto" else average
    expected = theirs(y, z > 0, average=kind, sample_weight=w, zero_division=0)
    assert reported(cls(average), bp.BinaryCrossEntropy(), z, y, w) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_a_class_that_never_comes(cls: Any, theirs: Any, value: int) -> None:
    z, y = np.full((9, 1), 2.0 * value - 1.0), np.zeros(9)
    expected = theirs(y, z[:, 0] > 0, zero_division=1.0)
    assert reported(cls(zero_division=1.0), bp.BinaryCrossEntropy(), z, y) == expected


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_no_true_label_at_all(cls: Any, theirs: Any, average: str, value: int) -> None:
    """Of three labels, one is said."""
    z, y = np.tile([1.0, -1.0, -1.0], (9, 1)), np.zeros((9, 3))
    expected = theirs(y, z > 0, average=average, zero_division=value)
    assert reported(cls(average, value), bp.BinaryCrossEntropy(), z, y) == pytest.approx(expected, abs=1e-6)


# -- scores -----------------------------------------------------------------------------------------------------------


@WEIGHTED
@pytest.mark.parametrize("outputs", [1, 2])
def test_roc_auc_of_yes_or_no(outputs: int, weighted: bool, rng: np.random.Generator) -> None:
    z, y, w = scores(rng, N, outputs), rng.integers(0, 2, N), row_weights(rng, weighted)
    z[:, -1] += 0.5 * y
    loss: bp.Loss = bp.BinaryCrossEntropy() if outputs == 1 else bp.SoftmaxCrossEntropy()
    score = z[:, 0] if outputs == 1 else z[:, 1] - z[:, 0]
    expected = sk.roc_auc_score(y, score, sample_weight=w)
    assert 0.55 < expected < 0.8 and len(np.unique(score)) < 60
    assert reported(bp.ROCAUC(), loss, z, y, w) == pytest.approx(expected, abs=1e-6)


@WEIGHTED
def test_roc_auc_of_labels(weighted: bool, rng: np.random.Generator) -> None:
    z, y, w = scores(rng, N, 3), rng.integers(0, 2, (N, 3)), row_weights(rng, weighted)
    expected = sk.roc_auc_score(y, z, average="macro", sample_weight=w)
    assert reported(bp.ROCAUC(), bp.BinaryCrossEntropy(), z, y, w) == pytest.approx(expected, abs=1e-6)


@WEIGHTED
def test_roc_auc_of_classes(weighted: bool, rng: np.random.Generator) -> None:
    z, y, w = scores(rng, N, 4), rng.integers(0, 4, N), row_weights(rng, weighted)
    p = softmax(z)
    for targets in (y, np.eye(4)[y]):
        ours = reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, targets, w)
        areas = [sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(4)]
        assert ours == pytest.approx(np.mean(areas), abs=1e-6)
    if not weighted:
        assert ours == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-6)


def test_roc_auc_leaves_out_classes_without_rows(rng: np.random.Generator) -> None:
    z, y = scores(rng, N, 3), rng.integers(0, 2, N)
    p = softmax(z)
    areas = [sk.roc_auc_score(y == k, p[:, k]) for k in range(2)]
    assert reported(bp.ROCAUC(), bp.SoftmaxCrossEntropy(), z, y) == pytest.approx(np.mean(areas), abs=1e-6)
    assert np.isnan(reported(bp.ROCAUC(), bp.BinaryCrossEntropy(), z[:, :1], np.ones(N)))


@WEIGHTED
@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
def test_top_k_accuracy(k: int, weighted: bool, rng: np.random.Generator) -> None:
    z, y, w = scores(rng, N, 5), rng.integers(0, 5, N), row_weights(rng, weighted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of k beyond the classes
        expected = sk.top_k_accuracy_score(y, z, k=k, sample_weight=w)
    for targets in (y, np.eye(5)[y]):
        ours = reported(bp.TopKAccuracy(k), bp.SoftmaxCrossEntropy(), z, targets, w)
        assert ours == pytest.approx(expected, abs=1e-6)


# -- numbers ----------------------------------------------------------------------------------------------------------


@WEIGHTED
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("mean", [0.0, 1e6], ids=["small", "large"])
def test_r2(outputs: int, mean: float, weighted: bool, rng: np.random.Generator) -> None:
    """With a mean of a million and a noise of a half, as float32 has them."""
    y = (mean + np.round(rng.normal(size=(N, outputs)) * 8) / 16).astype("float32")
    z = (y + np.round(rng.normal(size=(N, outputs)) * 4) / 16).astype("float32")
    w = row_weights(rng, weighted)
    expected = sk.r2_score(y.astype("float64"), z.astype("float64"), sample_weight=w)
    assert 0.2 < expected < 0.95
    assert reported(bp.R2(), bp.MeanSquaredError(), z, y, w) == pytest.approx(expected, abs=1e-6)


def test_r2_of_constant_targets_and_of_one_row(rng: np.random.Generator) -> None:
    z = scores(rng, 20, 3)
    y = np.full((20, 3), 2.0)
    z[:, 0], y[:, 2] = 2.0, z[:, 2]
    expected = sk.r2_score(y, z)  # 1, 0, 1
    assert reported(bp.R2(), bp.MeanSquaredError(), z, y) == pytest.approx(expected) == pytest.approx(2 / 3)
    assert np.isnan(reported(bp.R2(), bp.MeanSquaredError(), z[:1], y[:1]))
