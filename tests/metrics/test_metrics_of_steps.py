"""Metrics of whole epochs where rows have different lengths and each time step a target: scikit-learn's numbers of the
steps of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from step_data import Data, classes, identity, softmax

import gpubp as bp

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

COUNTED = [(bp.Precision, sk.precision_score), (bp.Recall, sk.recall_score), (bp.F1, sk.f1_score)]
WEIGHTED = pytest.mark.parametrize("weighted", ["even", "rows", "steps"])


def reported(metric: bp.Metric, loss: bp.Loss, data: Data) -> float:
    """What an evaluation reports, and an epoch of training too."""
    trainer = bp.Trainer(identity(data.z[0].shape[-1]), loss, bp.SGD(0.0), batch_size=8, metrics=[metric])
    found = trainer.evaluate(data.z, data.y, data.given)[metric.name]
    history = trainer.fit(data.z, data.y, sample_weight=data.given, verbose=False)
    assert history[metric.name][0] == pytest.approx(found, abs=1e-12, nan_ok=True)
    return found


@WEIGHTED
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_classes(cls: Any, theirs: Any, average: str, weighted: str) -> None:
    """Of six, one is never true, one never the answer, and one neither."""
    data = Data(classes(0, 1, 2, 4), 6, weighted)
    for row in data.z:
        row[:, 4:] = -99.0
    z, y, w = np.concatenate(data.z), *data.flat[1:]
    for zero in (0.0, 1.0):
        expected = theirs(y, z.argmax(axis=1), average=average, sample_weight=w, zero_division=zero)
        assert reported(cls(average, zero), bp.SoftmaxCrossEntropy(), data) == pytest.approx(expected, abs=1e-9)


@WEIGHTED
@pytest.mark.parametrize("average", ["auto", "macro", "weighted"])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("cls", "theirs"), COUNTED, ids=lambda v: v.__name__)
def test_yes_or_no(cls: Any, theirs: Any, outputs: int, average: str, weighted: str) -> None:
    data = Data(lambda rng, n: rng.integers(0, 2, (n, 1) if outputs == 1 else n), outputs, weighted)
    z, y, w = data.flat
    loss: bp.Loss = bp.BinaryCrossEntropy() if outputs == 1 else bp.SoftmaxCrossEntropy()
    answer = z[:, 0] > 0 if outputs == 1 else z.argmax(axis=1)
    expected = theirs(y.reshape(-1), answer, average="binary" if average == "auto" else average, sample_weight=w)
    assert reported(cls(average), loss, data) == pytest.approx(expected, abs=1e-9)


@WEIGHTED
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_labels(average: str, weighted: str) -> None:
    """Several yes or no in each step, of which some are unknown in a second loss."""
    data = Data(lambda rng, n: rng.integers(0, 2, (n, 4)), 4, weighted)
    z, y, w = data.flat
    for cls, theirs in COUNTED:
        expected = theirs(y, z > 0, average=average, sample_weight=w, zero_division=0)
        assert reported(cls(average), bp.BinaryCrossEntropy(), data) == pytest.approx(expected, abs=1e-9)
    unknown = [np.random.default_rng(len(t)).uniform(size=t.shape) < 0.3 for t in data.y]
    data.y = [np.where(out, -100, t) for out, t in zip(unknown, data.y, strict=True)]
    known = ~np.concatenate(unknown)
    if average == "macro":
        wanted = [
            sk.f1_score(y[at, k], z[at, k] > 0, sample_weight=w[at], zero_division=0) for k, at in enumerate(known.T)
        ]
        found = reported(bp.F1("macro"), bp.BinaryCrossEntropy(ignore_index=-100), data)
        assert found == pytest.approx(np.mean(wanted), abs=1e-9)


@WEIGHTED
@pytest.mark.parametrize("kind", ["one", "labels", "two", "classes"])
def test_the_area_under_the_curve(kind: str, weighted: str) -> None:
    outputs = {"one": 1, "labels": 3, "two": 2, "classes": 4}[kind]
    labels = kind in ("one", "labels")
    data = Data(
        lambda rng, n: rng.integers(0, 2, (n, outputs)) if labels else rng.integers(0, outputs, n), outputs, weighted
    )
    z, y, w = data.flat
    if labels:
        expected = sk.roc_auc_score(y, z, average="macro", sample_weight=w)
    elif kind == "two":
        expected = sk.roc_auc_score(y, z[:, 1] - z[:, 0], sample_weight=w)
    else:
        p = softmax(z)
        expected = np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(outputs)])
    loss: bp.Loss = bp.BinaryCrossEntropy() if labels else bp.SoftmaxCrossEntropy()
    assert reported(bp.ROCAUC(), loss, data) == pytest.approx(expected, abs=1e-9)


@WEIGHTED
@pytest.mark.parametrize("outputs", [1, 3])
def test_r2(outputs: int, weighted: str) -> None:
    data = Data(lambda rng, n: np.round(rng.normal(size=(n, outputs)) * 4) / 4, outputs, weighted)
    z, y, w = data.flat
    expected = sk.r2_score(y, z, sample_weight=w)
    assert reported(bp.R2(), bp.MeanSquaredError(), data) == pytest.approx(expected, abs=1e-9)


def test_r2_of_the_means_of_a_loss_that_has_variances_too() -> None:
    """Which are a part of the outputs, with gaps between."""
    data = Data(lambda rng, n: rng.normal(size=(n, 1)), 2)
    z, y, _ = data.flat
    assert reported(bp.R2(), bp.GaussianNLL(), data) == pytest.approx(sk.r2_score(y, z[:, 0]), abs=1e-6)


@WEIGHTED
@pytest.mark.parametrize("outputs", [2, 5])
def test_steps_that_the_loss_leaves_out(outputs: int, weighted: str) -> None:
    data = Data(lambda rng, n: np.where(rng.random(n) < 0.4, -100, rng.integers(0, outputs, n)), outputs, weighted)
    z, y, w = (a[data.flat[1] >= 0] for a in data.flat)
    loss, average = bp.SoftmaxCrossEntropy(ignore_index=-100), "binary" if outputs == 2 else "macro"
    expected = sk.f1_score(y, z.argmax(axis=1), average=average, sample_weight=w)
    assert reported(bp.F1(), loss, data) == pytest.approx(expected, abs=1e-9)
    scores = z[:, 1:] - z[:, :1] if outputs == 2 else softmax(z)
    among = [1] if outputs == 2 else range(outputs)
    areas = [sk.roc_auc_score(y == k, s, sample_weight=w) for k, s in zip(among, scores.T, strict=True)]
    assert reported(bp.ROCAUC(), loss, data) == pytest.approx(np.mean(areas), abs=1e-9)


def test_several_labels_a_step_in_a_row_of_several_axes(rng: np.random.Generator) -> None:
    """Outputs (rows, time steps, 3, 2): two classes at each of three places."""
    lengths = rng.integers(1, 20, 23)
    X = [rng.normal(size=(n, 3, 2)) for n in lengths]
    y = [rng.integers(0, 2, (n, 3)) for n in lengths]
    u = [rng.uniform(0, 1, (n, 3)) for n in lengths]
    net = bp.Network(bp.Dense(2, use_bias=False), (None, 3, 2), device="cpu", dtype="float64")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), batch_size=4, metrics=["f1", "roc_auc"])
    z, t, w = np.concatenate(net.predict(X).flat), np.concatenate(y).reshape(-1), np.concatenate(u).reshape(-1)
    for given, of in ((None, None), (u, w)):
        found = trainer.evaluate(X, y, given)
        assert found["f1"] == pytest.approx(sk.f1_score(t, z.argmax(axis=-1), sample_weight=of), abs=1e-9)
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(t, z[:, 1] - z[:, 0], sample_weight=of), abs=1e-9)
