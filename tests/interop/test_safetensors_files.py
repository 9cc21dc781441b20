"""Safetensors files of others: each kind of damage is an error in words; what gpubp writes is what it was given."""

from __future__ import annotations

import ast
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

import gpubp as bp
from gpubp import model_file
from gpubp.errors import GpubpError, ModelFileError
from gpubp.interop.safetensors_file import read_header, read_piece

Header = dict[str, Any]


def written(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape: Any = (2, 3), offsets: Any = (0, 24), dtype: Any = "F32") -> Header:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_every_type_of_numbers_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        t: rng.integers(0, 2, (2, 3)).astype(t) for t in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "u8", "?")
    }
    path = tmp_path / "a.safetensors"
    safetensors.save_file({**arrays, "scalar": np.array(3.0), "empty": np.zeros((0, 4))}, path)
    pieces, _ = read_header(path)
    for name, a in arrays.items():
        found = read_piece(path, name, pieces[name])
        assert found.dtype == a.dtype and (found == a).all()
    assert read_piece(path, "scalar", pieces["scalar"]).shape == () and pieces["empty"].shape == (0, 4)
    written(path, {"b": entry((3,), (0, 6), "BF16")}, np.array([0x3F80, 0xC040, 0x0001], "<u2").tobytes())
    assert read_piece(path, "b", read_header(path)[0]["b"]).tolist() == [1.0, -3.0, 2.0**-133]


BAD: list[tuple[str, Any, bytes, int | None, str]] = [
    ("too short", b"", b"", 3, "header has 3 bytes"),
    ("a header longer than the file", {}, b"", 1 << 40, "the file has"),
    ("a length of 2⁶⁴ - 1", {}, b"", (1 << 64) - 1, "the file has"),
    ("no JSON", b"{nothing", b"", None, "no JSON"),
    ("no UTF-8", b"\xff\xfe{}", b"", None, "no JSON"),
    ("a list", [1, 2], b"", None, "no JSON object"),
    ("deep", b"[" * 100_000 + b"]" * 100_000, b"", None, "no JSON"),
    ("NaN", b'{"a": NaN}', b"", None, "no JSON"),
    ("a name twice", b'{"a": 1, "a": 2}', b"", None, "twice"),
    ("metadata of numbers", {"__metadata__": {"a": 1}}, b"", None, "__metadata__"),
    ("an entry of a list", {"a": [1]}, b"", None, "described"),
    ("an entry with more", {"a": entry() | {"x": 1}}, bytes(24), None, "described"),
    ("a negative axis", {"a": entry((-2, -3))}, bytes(24), None, "shape"),
    ("an axis that is a fraction", {"a": entry((2.0, 3))}, bytes(24), None, "shape"),
    ("an axis that is true", {"a": entry((True, 6))}, bytes(24), None, "shape"),
    ("a huge axis", {"a": entry((1 << 70, 0))}, bytes(24), None, "shape"),
    ("a product that overflows", {"a": entry((1 << 40, 1 << 40), (0, 24))}, bytes(24), None, "needs"),
    ("many axes", {"a": entry([1] * 200, (0, 4))}, bytes(4), None, "shape"),
    ("an unknown type", {"a": entry(dtype="F8_E4M3", offsets=(0, 6))}, bytes(6), None, "F8_E4M3"),
    ("a type that is a list", {"a": entry(dtype=["F32"])}, bytes(24), None, "is not read"),
    ("offsets the wrong way", {"a": entry(offsets=(24, 0))}, bytes(24), None, "offsets"),
    ("three offsets", {"a": entry(offsets=(0, 24, 24))}, bytes(24), None, "offsets"),
    ("too few bytes", {"a": entry()}, bytes(20), None, "end"),
    ("too many bytes", {"a": entry()}, bytes(28), None, "end"),
    ("bytes beyond the file", {"a": entry(offsets=(1 << 40, (1 << 40) + 24))}, bytes(24), None, "begins"),
    ("one array over another", {"a": entry(), "b": entry()}, bytes(24), None, "begins"),
    ("a part of another", {"a": entry(), "b": entry((1,), (4, 8))}, bytes(24), None, "begins"),
    ("a gap", {"a": entry((1,), (0, 4)), "b": entry((1,), (8, 12))}, bytes(12), None, "begins"),
    ("a size that the shape has not", {"a": entry((2, 2))}, bytes(24), None, "needs 16 bytes"),
    ("a name with an escape", {"a\x1b[2J": entry()}, bytes(24), None, "name"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "data", "length", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_damage_is_an_error_in_words(tmp_path: Path, header: Any, data: bytes, length: int | None, words: str) -> None:
    path = written(tmp_path / "bad.safetensors", header, data, length)
    net = bp.Network(bp.Dense(2, use_bias=False), 3, device="cpu")
    with pytest.raises(ModelFileError, match=words) as found:
        net.load_torch(path)
    assert "bad.safetensors" in str(found.value) and "\x1b" not in str(found.value)


def test_files_with_flipped_and_missing_bytes(tmp_path: Path) -> None:
    """600 damaged copies of a file: each is read, or refused in words."""
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(2)), 3, device="cpu")
    path = tmp_path / "m.safetensors"
    safetensors.save_file(net.to_torch_state(), path)
    whole, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randrange(len(content))] if rng.random() < 0.3 else content)
        try:
            net.load_torch(path)
        except GpubpError:
            refused += 1
    assert 200 < refused < 600


def test_other_files_are_told(tmp_path: Path) -> None:
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    ours = tmp_path / "ours.safetensors"
    net.save(ours)
    with pytest.raises(ModelFileError, match="was written by gpubp"):
        net.load_torch(ours)
    for name, content, words in (
        ("a.pt", b"PK\x03\x04" + bytes(100), "is a pickle"),
        ("a", b"PK\x03\x04" + bytes(100), "is a pickle"),
        ("a.safetensors", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100), "is a pickle"),
        ("tar.bin", bytes(257) + b"ustar" + bytes(300), "is a pickle"),
        ("a.ckpt", b"anything", "is a pickle"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "load_keras"),
        ("a.keras", b"PK\x03\x04" + bytes(100), "load_keras"),
        ("empty.safetensors", b"", "no whole safetensors file"),
        ("text.safetensors", b"hello", "no whole safetensors file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=words):
            net.load_torch(tmp_path / name)
    with pytest.raises(ModelFileError, match="is a folder"):
        net.load_torch(tmp_path)
    with pytest.raises(ModelFileError, match="there is no file"):
        net.load_torch(str(tmp_path / "none.safetensors"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.safetensors")
        with pytest.raises(ModelFileError, match="there is no file"):
            net.load_torch(tmp_path / "pipe.safetensors")


def test_safetensors_by_another_ending(tmp_path: Path) -> None:
    """The content decides."""
    net = bp.Network(bp.Dense(2), 3, device="cpu", seed=1)
    safetensors.save_file(net.to_torch_state(), tmp_path / "weights.bin")
    other = bp.Network(bp.Dense(2), 3, device="cpu")
    assert other.load_torch(tmp_path / "weights.bin", strict=True).complete
    assert (other.parameters["W"] == net.parameters["W"]).all()


VIEWS = {
    "transposed": lambda a: a.T,
    "strided": lambda a: a[:, ::2],
    "backward": lambda a: a[::-1, ::-1],
    "Fortran": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
    "offset": lambda a: a[1:, 1:],
    "no axes": lambda a: a[0, 0],
    "permuted": lambda a: a.reshape(2, 2, 5).transpose(2, 0, 1),
}


@pytest.mark.parametrize("view", VIEWS)
def test_writers_of_model_files_write_what_an_array_says(tmp_path: Path, view: str) -> None:
    """Numbers that lie otherwise than in C order; the library's own `save` writes them as they lie."""
    a = np.asarray(VIEWS[view](np.arange(20, dtype="float32").reshape(4, 5)))
    model_file.write(tmp_path / "a.safetensors", {}, {"a": a, "b": a})
    for arrays in (
        model_file.read(tmp_path / "a.safetensors")[1],
        model_file.from_bytes(model_file.to_bytes({}, {"a": a, "b": a}))[1],
        safetensors.load_file(tmp_path / "a.safetensors"),
        safetensors.load(b"".join(model_file.safetensors_parts({"a": a, "b": a}, {}))),
    ):
        assert arrays["a"].shape == a.shape and (arrays["a"] == a).all() and (arrays["b"] == a).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_all_ways_out_keep_the_numbers_of_parameters(tmp_path: Path, order: str) -> None:
    """`save`, checkpoints, pickles and `to_torch_state` of a network whose arrays on the host come in another order."""
    import pickle

    layers = bp.Sequential(bp.Conv2D(3, 2), bp.BatchNorm(), bp.Flatten(), bp.Dense(4), bp.Dense(2))
    net = bp.Network(layers, (3, 3, 2), device="cpu", seed=2)
    rng = np.random.default_rng(0)
    for a in (*net.parameters.values(), *net.states.values()):
        a[...] = rng.normal(size=a.shape)
    to_host = net.backend.to_host
    net.backend.to_host = lambda a: np.array(to_host(a), order=order)  # type: ignore[method-assign]
    try:
        net.save(tmp_path / "net.safetensors")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01))
        trainer.save(tmp_path / "trainer.safetensors")
        state = net.to_torch_state()
        copied = pickle.loads(pickle.dumps(net))
    finally:
        del net.backend.to_host
    safetensors.save_file(state, tmp_path / "torch.safetensors")
    from_torch = bp.Network(layers, (3, 3, 2), device="cpu")
    from_torch.load_torch(tmp_path / "torch.safetensors", strict=True)
    for other in (
        *(bp.load(tmp_path / f"{n}.safetensors", device="cpu") for n in ("net", "trainer")),
        copied,
        from_torch,
    ):
        for name in (*net.parameters, *net.states):
            ours, theirs = ((n.parameters if name in n.parameters else n.states)[name] for n in (net, other))
            assert ours.tobytes() == theirs.tobytes(), name


def test_no_other_module_writes_safetensors() -> None:
    """One place makes arrays contiguous: nothing else in gpubp calls the library's own writers."""
    root = Path(bp.__file__).parent
    writers = {"save", "save_file", "serialize", "serialize_file"}
    found = []
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "safetensors" in text else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("safetensors"):
                found += [f"{path.relative_to(root)}: {name.name}" for name in node.names if name.name in writers]
    assert found == []
