"""Files of networks whose loss takes probabilities or scores: ONNX and C give what the outputs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_runs import outputs_of, session_of

import gpubp as bp
from gpubp.cli.onnx_check import OnnxFile, compare

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
CASES: dict[str, tuple[bp.Layer, bp.Loss, Any]] = {
    "classes": (bp.Softmax(), bp.CrossEntropyOfProbabilities(), np.arange(40) % 3),
    "log-probabilities": (bp.LogSoftmax(), bp.NegativeLogLikelihood(), np.arange(40) % 3),
    "labels": (bp.Sigmoid(), bp.BinaryCrossEntropyOfProbabilities(), (X[:, :3] > 0).astype(int)),
    "one of two": (bp.Sigmoid(), bp.BinaryCrossEntropyOfProbabilities(), (X[:, 0] > 0).astype(int)),
}


def trained(end: bp.Layer, loss: bp.Loss, y: Any) -> bp.Network:
    outputs = 1 if y.ndim == 1 and loss.predicts == "labels" else 3
    net = bp.Network(bp.Sequential(bp.Dense(outputs), end), 4, device="cpu")
    bp.Trainer(net, loss, bp.Adam(0.05)).fit(X, y, epochs=2, verbose=False)
    return net


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_those_of_the_network(tmp_path: Path, case: str) -> None:
    net = trained(*CASES[case])
    if case == "one of two":
        net.metadata["names"] = ["no", "yes"]
    found, p, k = outputs_of(session_of(net, tmp_path), X), net.predict_proba(X), net.predict_classes(X)
    if case == "one of two":
        p, k = np.concatenate([1 - p, p], axis=1), np.array(["no", "yes"])[k]
    assert list(found) == ["label", "probabilities"]
    np.testing.assert_allclose(found["probabilities"], p, rtol=1e-5, atol=1e-6)
    assert (found["label"] == k).all()
    net.to_onnx(tmp_path / "checked.onnx")
    agreement = compare(OnnxFile.read(tmp_path / "checked.onnx", net), net, X)
    assert agreement.largest < 1e-5 and not agreement.labels
    again = bp.from_onnx(tmp_path / "checked.onnx", device="cpu")
    assert (again.predict_proba(X) == net.predict_proba(X)).all()


def test_scores_are_given_out_as_they_are(tmp_path: Path) -> None:
    net = trained(bp.ReLU(), bp.MultiMargin(), np.arange(40) % 3)
    found = outputs_of(session_of(net, tmp_path), X)
    assert list(found) == ["output"] and np.abs(found["output"] - net.predict(X)).max() < 1e-5
    net.to_onnx(tmp_path / "checked.onnx")
    assert compare(OnnxFile.read(tmp_path / "checked.onnx", net), net, X).largest < 1e-5


def test_a_file_in_c_says_what_the_outputs_are(tmp_path: Path) -> None:
    path = tmp_path / "net.c"
    for case, words in (
        ("classes", "the probabilities of the classes"),
        ("labels", "above 0.5 where yes is predicted"),
    ):
        net = trained(*CASES[case])
        net.to_c(path)
        assert words in " ".join(path.read_text(encoding="utf-8").replace(" * ", " ").split())
        with pytest.raises(bp.ExportError, match="outputs are probabilities already; predict gives them"):
            net.to_c(path, probabilities=True)
    net = trained(bp.ReLU(), bp.MultiMargin(), np.arange(40) % 3)
    with pytest.raises(bp.ExportError, match="outputs are scores, of which there are none"):
        net.to_c(path, probabilities=True)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (bp.Poisson(), "logarithms of the predicted numbers"),
        (bp.GaussianNLL(), "the predicted means, and then logarithms of variances"),
        (bp.Poisson(log=False), ""),
        (bp.Huber(), ""),
    ],
)
def test_other_numbers_than_the_predicted_ones_are_told(tmp_path: Path, loss: bp.Loss, told: str) -> None:
    net = bp.Network(bp.Dense(2), 4, device="cpu")
    bp.Trainer(net, loss, bp.SGD(0.01)).fit(X, np.ones((40, loss.fits_outputs and 1 or 2)), epochs=1, verbose=False)
    net.to_onnx(tmp_path / "net.onnx")
    (output,) = OnnxFile.read(tmp_path / "net.onnx", net).gives
    assert output.what == f"the outputs of the last layer{', ' * bool(told)}{told}"
    net.to_c(tmp_path / "net.c")
    assert f"y: 2 numbers{', ' * bool(told)}{told}." in (tmp_path / "net.c").read_text()
