"""ONNX files as files: bytes, places, what they say of themselves, and what is refused before anything is written."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx_runs import as_trained

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.interop.onnx_out import export
from strict import StrictProducts, strict_cupy


def small(**more: Any) -> bp.Network:
    layers = bp.Sequential(bp.Conv2D(2, 3), bp.BatchNorm(), bp.GELU(), bp.Flatten(), bp.Dense(3))
    net = bp.Network(layers, (5, 4, 2), **{"device": "cpu", **more})
    like = as_trained(bp.Network(layers, (5, 4, 2), device="cpu", dtype=net.dtype))
    for name, array in (*net.parameters.items(), *net.states.items()):
        net.backend.put(array, like.parameters.get(name, like.states.get(name)))
    return net


def test_the_same_network_has_the_same_bytes(tmp_path: Path) -> None:
    small().to_onnx(tmp_path / "a.onnx")
    small().to_onnx(tmp_path / "b")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b"]


@pytest.mark.parametrize("of", ["frozen", "cuda", "exact"])
def test_what_changes_no_number_changes_no_node(of: str, tmp_path: Path) -> None:
    net, other = small(), small()
    if of == "exact":
        pytest.importorskip("numba")
        other = small(numerics="exact")
    if of == "cuda":
        other = small(device=CUDA(strict_cupy(), products=StrictProducts))
    if of == "frozen":
        other.freeze("0.*")
    net.to_onnx(tmp_path / "a.onnx")
    other.to_onnx(tmp_path / "b.onnx")
    a, b = onnx.load(tmp_path / "a.onnx"), onnx.load(tmp_path / "b.onnx")
    assert a.graph == b.graph


def test_initializers_are_the_parameters_to_the_bit(tmp_path: Path) -> None:
    net = small()
    net.to_onnx(tmp_path / "a.onnx")
    found = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert np.array_equal(found.pop("0.W"), net.parameters["0.W"].transpose(3, 2, 0, 1))
    W = net.parameters["4.W"].reshape(3, 2, 2, 3).transpose(2, 0, 1, 3).reshape(12, 3)  # of images (H, W, C)
    assert np.array_equal(found.pop("4.W"), W)
    for name in ("0.b", "1.gamma", "1.beta", "1.mean", "1.var", "4.b"):
        assert np.array_equal(found.pop(name), net.parameters.get(name, net.states.get(name)))
    assert all(a.size == 1 for a in found.values())


def test_a_network_in_float64_is_written_in_float32(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = small(dtype="float64")
    net.to_onnx(tmp_path / "a.onnx", dtype="float32")
    assert config_of(tmp_path / "a.onnx")["dtype"] == "float32"
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    X = np.random.default_rng(0).normal(size=(7, 5, 4, 2))
    (found,) = session.run(None, {"input": X.astype(np.float32)})
    assert found.dtype == np.float32 and np.abs(found - net.predict(X)).max() < 1e-5
    net.parameters["4.W"][0, 0] = 1e39
    with pytest.raises(bp.ExportError, match=r"4\.W has numbers that float32 can't hold; write .* in float64"):
        net.to_onnx(tmp_path / "b.onnx", dtype="float32")
    with pytest.raises(ValueError, match="float16"):
        net.to_onnx(tmp_path / "b.onnx", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    net = small()
    net.metadata = {"task": "classes", "names": ["α", "b", "c"], "data": "mine"}
    net.to_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    told = {pair.key: pair.value for pair in model.metadata_props}
    assert (model.producer_name, model.producer_version, told["gpubp"]) == ("gpubp", bp.__version__, bp.__version__)
    assert (told["task"], told["data"], json.loads(told["names"])) == ("classes", "mine", ["α", "b", "c"])
    assert model.doc_string == (
        "A network trained with gpubp. "
        "Input input, float32 (batch, 5, 4, 2): rows as the network's predict takes them. "
        "Output label, text (batch,): one of 3 classes. "
        "Output probabilities, float32 (batch, 3): of the classes α, b, c, in this order."
    )


def test_the_file_has_the_description_of_the_network(tmp_path: Path) -> None:
    net = small(dtype="float64")
    net.metadata = {"task": "classes", "odd": float("nan")}
    net.to_onnx(tmp_path / "a.onnx")
    config = config_of(tmp_path / "a.onnx")
    assert config == json.loads(json.dumps({**net.config(), "metadata": {}}))
    net.metadata = {"task": "classes"}
    net.to_onnx(tmp_path / "a.onnx")
    assert config_of(tmp_path / "a.onnx") == json.loads(json.dumps(net.config()))
    net.metadata = {"task": "classes", "much": "x" * 2**20}
    net.to_onnx(tmp_path / "a.onnx")
    assert config_of(tmp_path / "a.onnx")["metadata"] == {}
    net.metadata = {"task": "classes", "names": np.array(["a", "b", "c"]), "odd": object}
    net.to_onnx(tmp_path / "a.onnx")
    assert config_of(tmp_path / "a.onnx")["metadata"] == {"task": "classes", "names": ["a", "b", "c"]}


def config_of(path: Path) -> dict:
    return json.loads({pair.key: pair.value for pair in onnx.load(path).metadata_props}["gpubp.config"])


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="an ONNX model is a file"):
        small().to_onnx(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        small().to_onnx(tmp_path / "none" / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_stays_where_the_new_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small().to_onnx(tmp_path / "a.onnx")
    before = (tmp_path / "a.onnx").read_bytes()
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(bp.ExportError, match=r"takes [\d,]+ bytes, and an ONNX file at most 1,000"):
        small().to_onnx(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_network_in_training_is_refused(tmp_path: Path) -> None:
    net, found = small(), []

    def write() -> None:
        try:
            net.to_onnx(tmp_path / "a.onnx")
        except bp.InUseError as problem:
            found.append(problem)

    with net.one_thread.during("fit"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(found) == 1 and not list(tmp_path.iterdir())


def test_without_the_library_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(bp.MissingDependencyError, match=r"pip install 'gpubp\[onnx\]'"):
        small().to_onnx(tmp_path / "a.onnx")
