"""BinaryCrossEntropy with labels that are left out, and weights of outputs: losses and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

BCE = bp.BinaryCrossEntropy
METRICS = ["accuracy", "precision", "recall", "f1", "roc_auc", "mae", "mse"]


def gives_back(outputs: int, dtype: str = "float64") -> bp.Network:
    layer = bp.Dense(outputs, use_bias=False)
    net = bp.Network(layer, outputs, device="cpu", dtype=dtype)
    net.parameters["W"][...] = np.eye(outputs)
    return net


def data(rng: np.random.Generator, rows: int = 61, outputs: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = rng.normal(size=(rows, outputs))
    y = np.where(rng.uniform(size=z.shape) < 0.3, -100, rng.integers(0, 2, z.shape))
    y[7] = -100  # a row of which nothing counts
    return z, y, rng.uniform(0.5, 2.0, rows)


def test_the_loss_is_the_mean_over_what_counts(rng: np.random.Generator) -> None:
    z, y, w = data(rng)
    known, a, g = y >= 0, np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.25, 1.0])
    p = 1 / (1 + np.exp(-z))
    l = np.where(known, g * (-a * y * np.log(p) - (1 - y) * np.log(1 - p)), 0.0)  # noqa: E741
    slope = np.where(known, g * ((1 - y) * p - a * y * (1 - p)), 0.0)
    of = w[:, None] / (w[:, None] * known).sum()
    value, dz = BCE(tuple(a), tuple(g), ignore_index=-100).value_and_gradient(z, y, w)
    assert value == pytest.approx((of * l).sum(), rel=1e-12)
    np.testing.assert_allclose(dz, of * slope, rtol=1e-10, atol=1e-15)
    rows = BCE(tuple(a), tuple(g), ignore_index=-100).rows(z, y, each="number")
    np.testing.assert_allclose(rows, l, rtol=1e-12)


@pytest.mark.parametrize(("outputs", "weighted"), [(1, False), (3, True)])
def test_metrics_do_not_count_labels_that_are_left_out(outputs: int, weighted: bool, rng: np.random.Generator) -> None:
    """All of an epoch in batches, against scikit-learn on what counts."""
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    z, y, w = data(rng, outputs=outputs)
    trainer = bp.Trainer(gives_back(outputs), BCE(ignore_index=-100), bp.SGD(0.0), batch_size=8, metrics=METRICS)
    history = trainer.fit(z, y, sample_weight=w if weighted else None)
    known, w = y >= 0, w if weighted else np.ones(len(z))
    each = np.broadcast_to(w[:, None], y.shape)
    error = np.abs(z - y)[known]
    wanted: dict[str, Any] = {
        "accuracy": np.average((z > 0)[known] == y[known], weights=each[known]),
        "mean_absolute_error": np.average(error, weights=each[known]),
        "mean_squared_error": np.average(error**2, weights=each[known]),
    }
    columns = [(y[k, j], z[k, j], w[k]) for j, k in enumerate(known.T)]
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        wanted[name] = np.mean([score(t, s > 0, sample_weight=v) for t, s, v in columns])
    wanted["roc_auc"] = np.mean([sk.roc_auc_score(t, s, sample_weight=v) for t, s, v in columns])
    for found in ({name: history[name][0] for name in wanted}, trainer.evaluate(z, y, w)):
        assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_what_is_left_out_may_be_infinite() -> None:
    z, y = np.array([[np.inf, 1.0], [2.0, -np.inf]]), np.array([[-100, 1], [0, -100]])
    trainer = bp.Trainer(gives_back(2, "float32"), BCE(0.5, 2.0, ignore_index=-100), bp.SGD(), metrics=["mae"])
    loss, dz = BCE(0.5, 2.0, ignore_index=-100).value_and_gradient(z, y)
    finite = BCE(0.5, 2.0, ignore_index=-100).value_and_gradient(np.where(y < 0, 0.0, z), y)
    assert loss == pytest.approx(finite[0]) and dz.tolist() == finite[1].tolist()
    trainer.network.parameters["W"][...] = [[1.0, 0.0], [0.0, 1.0]]
    assert BCE(weight=(0.0, 1.0)).rows([[np.inf, 0.0]], [[0, 1]]) == pytest.approx(np.log(2) / 2)
    assert np.isnan(BCE(ignore_index=-100).rows([[np.nan]], [[1]])).all()
    assert np.isnan(BCE(ignore_index=-100).value_and_gradient(z, np.full((2, 2), -100))[0])


def test_a_loss_that_leaves_out_nothing_is_the_plain_one(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(30, 5)), rng.integers(0, 2, (30, 2))
    trained = []
    for loss in (BCE(ignore_index=-100), BCE()):
        net = bp.Network(bp.Dense(2), 5, device="cpu", dtype="float64")
        trainer = bp.Trainer(net, loss, bp.SGD(0.5), batch_size=8, metrics=METRICS)
        history = trainer.fit(X, y, epochs=3)
        trained.append([net.flat.copy(), *(history[name] for name in ("loss", *METRICS[:5]))])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BCE(ignore_index=1), "ignore_index, and 1 is a label; take a number that is none, such as -100"),
        (lambda: BCE(ignore_index=0.5), "needs ignore_index to be a whole number, or None, and got 0.5"),
        (lambda: BCE(weight=-1.0), "needs weight to be a number, 0 or more, or a tuple of them, or None, and got -1.0"),
        (lambda: BCE().rows([[1.0]], [[-100]]), "y goes from -100 to -100; ignore_index=-100 leaves out such outputs"),
        (lambda: BCE(ignore_index=-100).rows([[1.0]], [[-1]]), "y goes from -1 to -1; for class indices use Softmax"),
        (lambda: BCE(weight=[1.0, 2.0]).rows([[1.0]], [[1]]), "has 2 numbers in weight, and the network has 1 outputs"),
    ],
)
def test_what_can_not_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_model_from_before_these_arguments_is_loaded() -> None:
    assert bp.BinaryCrossEntropy(2.0) == BCE(pos_weight=2.0, weight=None, ignore_index=None)
    assert repr(BCE(2.0)) == "BinaryCrossEntropy(2.0)"


def test_a_report_does_not_count_labels_that_are_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    for outputs in (1, 2):
        z, y, _ = data(rng, outputs=outputs)
        trainer = bp.Trainer(gives_back(outputs), BCE(ignore_index=-100), bp.SGD(0.01))
        trainer.fit(z, y, epochs=1)
        bp.write_report(tmp_path / "r.html", trainer, z, y)
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        counted = int((y >= 0).all(axis=1).sum())
        assert (f"in {counted} rows" if outputs == 1 else f"labels of {counted} rows") in text
