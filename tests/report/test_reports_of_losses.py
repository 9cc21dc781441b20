"""Reports and pictures of networks whose outputs are probabilities, scores, or means and variances."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

pytest.importorskip("jinja2", reason="reports need jinja2")
pytest.importorskip("matplotlib", reason="reports need matplotlib")

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 2))
YES = (X[:, 0] + 0.5 * X[:, 1] > 0.1).astype(int)
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
NUMBERS = X @ [1.0, -2.0] + 0.1 * rng.normal(size=300)


def reported(path: Path, loss: bp.Loss, outputs: int, y: Any, last: list[bp.Layer]) -> tuple[bp.Trainer, str]:
    net = bp.Network(bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(outputs), *last), 2, device="cpu")
    trainer = bp.Trainer(net, loss, bp.Adam(0.03), batch_size=32, metrics="accuracy" if y.dtype == int else "mae")
    trainer.fit(X, y, epochs=12, verbose=False)
    bp.write_report(path / "report.html", trainer, X, y)
    return trainer, re.sub(r"<[^>]*>", "", (path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("loss", "outputs", "y", "last"),
    [
        (bp.BinaryCrossEntropyOfProbabilities(), 1, YES, [bp.Sigmoid()]),
        (bp.Hinge(), 1, YES, []),
        (bp.SquaredHinge(), 1, 2 * YES - 1, []),
        (bp.CrossEntropyOfProbabilities(), 3, CLASSES, [bp.Softmax()]),
        (bp.NegativeLogLikelihood(), 3, CLASSES, [bp.LogSoftmax()]),
        (bp.MultiMargin(), 3, CLASSES, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, bp.Loss) else "",
)
def test_rows_are_right_as_often_as_the_accuracy_says(
    tmp_path: Path, loss: bp.Loss, outputs: int, y: Any, last: list[bp.Layer]
) -> None:
    trainer, page = reported(tmp_path, loss, outputs, y, last)
    accuracy = trainer.evaluate(X, y)["accuracy"]
    assert 0.8 < accuracy < 1 and f"{round(300 * accuracy)} of 300 rows right" in page
    scores = bp.losses.outputs_are(loss) == "scores"
    if outputs == 1:
        assert "Always answering 0 (the most frequent class) would be right on 54.3%" in page
    assert ("ahead by" in page, "probability" in page) == (scores, not scores)
    figure = bp.plot_decision_boundary(trainer.network, X, y, loss, resolution=20)
    assert figure.axes


def test_means_are_judged_and_not_variances(tmp_path: Path) -> None:
    trainer, page = reported(tmp_path, bp.GaussianNLL(), 2, NUMBERS, [])
    off = trainer.evaluate(X, NUMBERS)["mean_absolute_error"]
    assert off == pytest.approx(np.abs(trainer.network.predict(X)[:, 0] - NUMBERS).mean(), rel=1e-5)
    assert f"off by {off:.4f} on average" in page
    assert bp.plot_decision_boundary(trainer.network, X, NUMBERS, resolution=20).axes


def test_counts_are_judged_and_not_their_logarithms(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(np.exp(1.0 + 0.5 * X[:, 0])).astype(float)
    trainer, page = reported(tmp_path, bp.Poisson(), 1, counts, [])
    predicted = np.exp(trainer.network.predict(X)[:, 0])
    off = trainer.evaluate(X, counts)["mean_absolute_error"]
    assert off == pytest.approx(np.abs(predicted - counts).mean(), rel=1e-5)
    assert f"off by {off:.4f} on average" in page
    judge = bp.Trainer(trainer.network, bp.Poisson(), bp.SGD(0.0), metrics=["mse", "r2"])
    found = judge.evaluate(X, counts)
    residual = np.square(predicted - counts)
    assert found["mean_squared_error"] == pytest.approx(residual.mean(), rel=1e-5)
    assert found["r2"] == pytest.approx(1 - residual.mean() / counts.var(), rel=1e-5) and found["r2"] > 0.2
    trained = judge.fit(X, counts, epochs=1, verbose=False)
    assert trained["mean_squared_error"][0] == pytest.approx(residual.mean(), rel=1e-5)


def test_quantiles_are_three_numbers(tmp_path: Path) -> None:
    trainer, page = reported(tmp_path, bp.Quantile((0.1, 0.5, 0.9)), 3, NUMBERS, [])
    assert f"{trainer.evaluate(X, NUMBERS)['mean_absolute_error']:.4f}" in page
    with pytest.raises(ValueError, match="this network gives 3 numbers, and a picture shows one"):
        bp.plot_decision_boundary(trainer.network, X, NUMBERS)
