"""Networks of ONNX files are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import model, node, onnx, saved

import gpubp as bp

RNG = np.random.default_rng(3)


def images(folder: Path) -> Path:
    """A small network of images, as another library writes it."""
    nodes = [
        node("Conv", "x W", "1", pads=[1, 1, 1, 1]), node("BatchNormalization", "1 g b m v", "2"),
        node("Relu", "2", "3"), node("Conv", "3 V", "4", pads=[1, 1, 1, 1]), node("Add", "4 3", "5"),
        node("GlobalAveragePool", "5", "6"),
        node("Flatten", "6", "7"), node("Gemm", "7 U", "8"), node("Softmax", "8", "y"),
    ]  # fmt: skip
    constants = {
        "W": RNG.normal(size=(6, 2, 3, 3)), "V": RNG.normal(size=(6, 6, 3, 3)) / 6, "U": RNG.normal(size=(6, 10)),
        "g": np.ones(6), "b": np.zeros(6), "m": np.zeros(6), "v": np.full(6, 15.0),
    }  # fmt: skip
    return saved(model(nodes, ["n", 2, 8, 8], {n: a.astype(np.float32) for n, a in constants.items()}), folder)


def test_a_new_head_on_a_frozen_body(tmp_path: Path) -> None:
    path = images(tmp_path)
    whole, net = bp.from_onnx(path, device="cpu"), bp.from_onnx(path, head=bp.Dense(3), device="cpu", seed=4)
    assert net.output_shape == (3,) and "task" not in net.metadata
    body = [name for name in net.parameters if not name.startswith("5.")]
    assert body and all((net.parameters[name] == whole.parameters[name]).all() for name in body)
    net.freeze(*body)
    X, y = RNG.normal(size=(60, 8, 8, 2)).astype(np.float32), np.arange(60) % 3
    X[y == 1, :, :, 0] += 1.0
    X[y == 2, :, :, 1] += 1.0
    before = {name: net.parameters[name].copy() for name in body}
    history = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=20).fit(X, y, epochs=20)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert all((net.parameters[name] == before[name]).all() for name in body)


def test_gradients_flow_through_all_layers(tmp_path: Path) -> None:
    net = bp.from_onnx(images(tmp_path), device="cpu")
    X, y = RNG.normal(size=(12, 8, 8, 2)).astype(np.float32), np.arange(12) % 10
    loss, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
    assert all(a.any() for a in gradients.values()) and len(gradients) == 5
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.01), batch_size=12).fit(X, y, epochs=10)
    assert net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)[0] < loss


def test_what_was_trained_is_saved_and_written_again(tmp_path: Path) -> None:
    net = bp.from_onnx(images(tmp_path), device="cpu")
    X = RNG.normal(size=(5, 8, 8, 2)).astype(np.float32)
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    assert (again.predict(X) == net.predict(X)).all()
    assert again.metadata["imported"] == net.metadata["imported"]
    again.to_onnx(tmp_path / "again.onnx")
    once_more = bp.from_onnx(tmp_path / "again.onnx", device="cpu")
    assert (once_more.predict(X) == net.predict(X)).all()
    assert onnx.load(tmp_path / "again.onnx").graph.output[0].name == "label"


def test_a_head_must_be_a_layer(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="head"):
        bp.from_onnx(images(tmp_path), head=3)


def test_the_device_and_numerics_are_those_that_are_asked_for(tmp_path: Path) -> None:
    net = bp.from_onnx(images(tmp_path), device="cpu")
    assert net.device == "cpu" and net.numerics == "ordinary"


def test_without_the_library_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = images(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(bp.MissingDependencyError, match=r"pip install 'gpubp\[onnx\]'"):
        bp.from_onnx(path)
