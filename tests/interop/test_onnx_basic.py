"""ONNX files of dense networks, and what their outputs say."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_runs import compare, outputs_of, session_of

import gpubp as bp

X = np.random.default_rng(0).normal(size=(37, 4)).astype(np.float32)


class Square(bp.Activation):
    def f(self, x):
        return x * x * (x > 0.5)

    def df(self, x, y, dy):
        return dy * 2 * x * (x > 0.5)


def test_a_formula_of_ones_own_is_written(tmp_path: Path) -> None:
    compare(bp.Network(bp.Sequential(bp.Dense(6), Square(), bp.Dense(2)), 4, device="cpu"), tmp_path, X)


def test_a_classifier_gives_labels_and_probabilities(tmp_path: Path) -> None:
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    net.metadata = {"task": "classes", "names": ["apple", "pear", "fig"]}
    session = session_of(net, tmp_path)
    found, z = outputs_of(session, X), net.predict(X)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.abs(found["probabilities"] - p).max() < 1e-6
    assert found["label"].tolist() == [["apple", "pear", "fig"][k] for k in z.argmax(axis=1)]
    assert json.loads(session.get_modelmeta().custom_metadata_map["names"]) == ["apple", "pear", "fig"]


def test_layers_without_operations_are_named_at_once(tmp_path: Path) -> None:
    class Mine(bp.RandomFlip):
        def forward(self, ws, x):
            return x

    net = bp.Network(bp.Sequential(Mine(), bp.Residual(Mine()), bp.Flatten(), bp.Dense(2)), (2, 2, 1), device="cpu")
    with pytest.raises(bp.ExportError, match=r'Mine\(\) at "0", Mine\(\) at "1.0"'):
        net.to_onnx(tmp_path / "no.onnx")
    assert not list(tmp_path.iterdir())
