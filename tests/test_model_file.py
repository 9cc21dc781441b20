"""Model files: what is saved is loaded bitwise identical, and any other file is refused by one ModelFileError."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LayerCase
from gpubp import model_file


def network(seed: int = 0) -> bp.Network:
    layers = bp.Sequential(bp.Dense(4), bp.LeakyReLU(0.1), bp.Residual(bp.Dense(4)), bp.Dense(2))
    return bp.Network(layers, 3, device="cpu", seed=seed)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    network().save(path)
    return path


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_is_loaded_bitwise_identical(case: LayerCase, tmp_path: Path, rng: np.random.Generator) -> None:
    net = bp.Network(case.network_layers(), case.shape[1:], device="cpu", seed=4)
    net.flat[...] = rng.normal(size=net.flat.shape)
    net.states.flat[...] = rng.uniform(0.5, 1.5, size=net.states.flat.shape)
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    assert again.layers == net.layers and again.seed == 4
    X = case.x(rng)
    assert again.predict(X).tobytes() == net.predict(X).tobytes()
    for name, array in (*net.parameters.items(), *net.states.items()):
        mine = again.parameters.get(name, again.states.get(name))
        assert mine is not None and mine.tobytes() == array.tobytes(), name


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    """A network made with y.max() + 1 units and metadata from NumPy is not lost at the end of training."""
    net = bp.Network(bp.Dense(np.int64(2)), np.int64(3), device="cpu", seed=np.int64(1))  # type: ignore[arg-type]
    net.metadata = {"accuracy": np.float32(0.5), "classes": np.array([3, 7]), "names": ("a", "b")}
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    assert again.metadata == {"accuracy": 0.5, "classes": [3, 7], "names": ["a", "b"]} and again.seed == 1


def test_metadata_that_cannot_be_written_is_refused_and_the_old_file_stays(saved: Path) -> None:
    net, before = network(seed=1), saved.read_bytes()
    net.metadata = {"model": network}
    with pytest.raises(bp.GpubpError, match="can't be written to a file; use numbers, strings"):
        net.save(saved)
    assert saved.read_bytes() == before


def test_paths_without_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        network().save(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such folder to save a model in"):
        network().save(tmp_path / "nowhere" / "m.safetensors")


KILLED_WHILE_WRITING = """
import os, sys
import gpubp as bp
os.replace = lambda *names: os._exit(9)                   # everything is written, nothing renamed
bp.Network(bp.Dense(2), 3, device="cpu", seed=7).save(sys.argv[1])
"""


def test_a_process_that_dies_while_saving_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    died = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, saved], cwd=Path(__file__).parents[1])
    assert died.returncode == 9 and saved.read_bytes() == before
    network(seed=2).save(saved)  # what the dead one left is in nobody's way
    assert np.array_equal(bp.load(saved, device="cpu").flat, network(seed=2).flat)


def test_a_saved_file_replaces_the_old_one_at_once(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the rename the new file is whole and on disk, and the old one still there."""
    seen: list[Any] = []
    replace, fsync = os.replace, os.fsync

    def look(source: Path, target: Path) -> None:
        assert bp.load(source, device="cpu").seed == 5 and bp.load(target, device="cpu").seed == 0
        assert Path(source).parent == saved.parent
        seen.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("disk"), fsync(handle)))
    monkeypatch.setattr(os, "replace", look)
    network(seed=5).save(saved)
    assert seen == ["disk", "rename", "disk"] and list(saved.parent.iterdir()) == [saved]


def test_every_truncated_file_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(bp.ModelFileError, match="is no whole safetensors file"):
            bp.load(saved, device="cpu")
    saved.write_bytes(whole + b"\0")
    with pytest.raises(bp.ModelFileError):
        bp.load(saved, device="cpu")


def test_damage_in_the_header_is_refused_or_harmless(saved: Path) -> None:
    """Any byte of the description changed: a ModelFileError, or a network that it really describes."""
    whole = saved.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    draw = random.Random(3)
    refused = 0
    for _ in range(400):
        at = draw.randrange(header)
        saved.write_bytes(whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :])
        try:
            bp.load(saved, device="cpu").predict(np.zeros((1, 3)))
        except bp.ModelFileError:
            refused += 1
    assert refused > 200


WRONG = [None, -1, 0, 1e400, 2.5, "x", [], {}, [1, [2]], {"class": "ReLU"}, {"class": "Adam"}, {"class": 3}, True]


def changed(config: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a description, and the description with each wrong value there."""
    inner = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in inner:
        for wrong in WRONG:
            copy = json.loads(json.dumps(config))
            copy[key] = wrong
            yield (*at, key), copy
        for place, inside in changed(value, (*at, key)):
            copy = json.loads(json.dumps(config))
            copy[key] = inside
            yield place, copy


def test_changed_descriptions_are_refused_or_loaded(saved: Path) -> None:
    """Every entry of the description replaced by everything that doesn't belong there."""
    config, arrays = model_file.read(saved)
    tried = 0
    for _, description in changed(config):
        content = {"gpubp": model_file.FORMAT, "config": json.dumps(description)}
        write_raw(saved, arrays, content)
        tried += 1
        try:
            bp.load(saved, device="cpu").predict(np.zeros((1, 3)))
        except bp.ModelFileError:
            continue
    assert tried > 300


def write_raw(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"gpubp": "1", "config": "[" * 100_000}, "no readable description"),
        ({"gpubp": "1", "config": "[]"}, "no readable description"),
        ({"gpubp": "1", "config": "{"}, "no readable description"),
        ({"gpubp": "1"}, "no readable description"),
        ({"gpubp": "99", "config": "{}"}, "has the format 99, and this gpubp reads 1: install the gpubp"),
        ({"other": "1"}, "not one that gpubp wrote"),
    ],
)
def test_files_of_other_programs_are_refused(metadata: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_raw(path, {"W": np.zeros(1, "float32")}, metadata)
    with pytest.raises(bp.ModelFileError, match=words):
        bp.load(path, device="cpu")


def test_a_small_file_cannot_ask_for_much_memory(saved: Path) -> None:
    config, arrays = model_file.read(saved)
    config["layers"]["layers"][3]["units"] = 10**9
    model_file.write(saved, config, arrays)
    tracemalloc.start()
    try:
        with pytest.raises(
            bp.ModelFileError, match=r"3.W has the shape \(4, 2\), and the network needs \(4, 1000000000\)"
        ):
            bp.load(saved, device="cpu")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (bp.ReLU(), (2**40, 2)),
        (bp.Sequential(bp.Flatten(), bp.ReLU()), (2**20, 2**20)),
        (bp.Conv2D(4, 3, padding=1), (2**22, 500, 2)),
        (bp.MelSpectrogram(8000), (2**32,)),
        (bp.AdaptiveAvgPool2D((None, 3)), (2**40, 5, 2)),
    ],
    ids=str,
)
def test_networks_take_no_memory_for_the_rows_that_they_may_get(layer: bp.Layer, shape: tuple[int, ...]) -> None:
    """A file can describe rows of any length."""
    tracemalloc.start()
    try:
        net = bp.Network(layer, shape, device="cpu")
        assert net.step_memory(1) > 2**32 and tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_description_that_needs_too_much_memory_is_refused(saved: Path) -> None:
    bp.Network(bp.MaxOverTime(), (5, 2), device="cpu").save(saved)
    config, arrays = model_file.read(saved)
    model_file.write(saved, {**config, "input_shape": [2**50, 2]}, arrays)
    with pytest.raises(bp.ModelFileError, match="describes a network that needs more memory than there is: Unable to"):
        bp.load(saved, device="cpu")
