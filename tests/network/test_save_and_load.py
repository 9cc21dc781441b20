"""Networks saved and loaded: whole files, damaged files, files of other networks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp import model_file


def network(**options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Residual(bp.Sequential(bp.Dense(8), bp.Tanh())), bp.Dense(3))
    return bp.Network(layers, 4, **{"device": "cpu", "seed": 0} | options)


def test_a_loaded_network_equals_the_saved_one(tmp_path: Path, rng: np.random.Generator) -> None:
    net = network(dtype="float64")
    net.freeze("0.*")
    net.metadata = {"names": ["a", "ß"], "n": 1}
    X = rng.normal(size=(9, 4))
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    assert again.layers == net.layers and again.metadata == net.metadata and again.frozen == net.frozen
    assert again.dtype == net.dtype and np.array_equal(again.flat, net.flat)
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    network().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        network(seed=1).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network().save(path)
    whole = path.read_bytes()
    for cut in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(bp.ModelFileError, match="no whole safetensors file"):
            bp.load(path, device="cpu")
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(bp.ModelFileError, match="no whole safetensors file"):
        bp.load(path, device="cpu")
    with pytest.raises(bp.ModelFileError, match="is a folder"):
        bp.load(tmp_path, device="cpu")
    from safetensors.numpy import save_file

    save_file({"W": np.zeros(3)}, path)
    with pytest.raises(bp.ModelFileError, match="not one that gpubp wrote"):
        bp.load(path, device="cpu")


def config(**changes: Any) -> dict[str, Any]:
    layers = {"class": "Dense", "units": 2, "use_bias": False}
    return {"layers": layers, "input_shape": [3], "dtype": "float32", "seed": 0} | changes


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (config(layers={"class": "Dence"}), "no class named 'Dence'"),
        (config(layers={"class": "Dense", "units": -1}), "no Dense can be made"),
        (config(layers={"class": "Adam"}), "is no layer"),
        (config(layers=[1, 2]), "is no layer"),
        (config(dtype="complex64"), "does not describe a network"),
        (config(input_shape="wide"), "does not describe a network"),
        ({"seed": 0}, "does not describe a network"),
    ],
)
def test_invalid_descriptions_are_refused(described: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model_file.write(path, described, {"W": np.zeros((3, 2), "float32")})
    with pytest.raises(bp.ModelFileError, match=words):
        bp.load(path, device="cpu")


def test_all_differences_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    layers = bp.Sequential(bp.Dense(2), bp.Dense(2)).config()
    arrays = {"0.W": np.zeros((3, 2)), "0.b": np.zeros(5, "float32"), "2.W": np.zeros(1, "float32")}
    model_file.write(path, config(layers=layers), arrays)
    with pytest.raises(bp.ModelFileError) as problem:
        bp.load(path, device="cpu")
    text = str(problem.value)
    assert "0.W holds float64" in text and "0.b has the shape (5,)" in text
    assert "1.W is missing" in text and "2.W is not of this network" in text


def test_load_replaces_the_last_layer(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    net = network(seed=5)
    net.metadata = {"names": ["old"]}
    net.save(path)
    new = bp.load(path, device="cpu", head=bp.Dense(7))
    assert new.output_shape == (7,) and new.metadata == {}
    for name, a in net.parameters.items():
        assert name.startswith("3.") or np.array_equal(a, new.parameters[name])
    bp.Network(bp.Dense(2), 3, device="cpu").save(path)
    with pytest.raises(bp.ModelFileError, match="last layer of a Sequential"):
        bp.load(path, device="cpu", head=bp.Dense(7))


def test_load_weights_takes_parameters_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(seed=5).save(path)
    other = bp.Network(bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(8), bp.Dense(2)), 4, device="cpu")
    report = other.load_weights(path)
    assert report.taken == ("0.W", "0.b") and set(report.other_shape) == {"3.W", "3.b"}
    assert report.missing == ("2.W", "2.b") and set(report.unused) == {"2.0.0.W", "2.0.0.b"}
    assert np.array_equal(other.parameters["0.W"], network(seed=5).parameters["0.W"])
    with pytest.raises(bp.ModelFileError, match="nothing in"):
        bp.Network(bp.Dense(2), 3, device="cpu").load_weights(path)


def test_a_model_file_holds_only_json_and_numbers(tmp_path: Path) -> None:
    """The header is JSON and the rest numbers."""
    path = tmp_path / "m.safetensors"
    network().save(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert set(header) == {"__metadata__", *network().parameters}
    assert json.loads(header["__metadata__"]["config"])["layers"]["class"] == "Sequential"
