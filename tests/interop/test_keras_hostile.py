"""Files that claim to be Keras's: what they may not do, and that every damage is an error in words."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ModelFileError

h5py = pytest.importorskip("h5py")


def network() -> bp.Network:
    return bp.Network(bp.Dense(2), 3, device="cpu")


def good(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.full((3, 2), 5.0, "float32")
        file["layers/dense/vars/1"] = np.zeros(2, "float32")
    return path


def outer(folder: Path) -> Path:
    """Another file, which no loading may reach."""
    return good(folder / "outer.h5")


def external_link(file: Any, folder: Path) -> None:
    file["layers/dense/vars/0"] = h5py.ExternalLink(str(outer(folder)), "/layers/dense/vars/0")


def external_group(file: Any, folder: Path) -> None:
    file["layers"] = h5py.ExternalLink(str(outer(folder)), "/layers")


def soft_link(file: Any, folder: Path) -> None:
    file["a"] = np.ones((3, 2), "float32")
    file["layers/dense/vars/0"] = h5py.SoftLink("/a")


def dangling_link(file: Any, folder: Path) -> None:
    file["layers/dense/vars/0"] = h5py.SoftLink("/nothing")


def external_storage(file: Any, folder: Path) -> None:
    (folder / "raw.bin").write_bytes(np.ones(6, "<f4").tobytes())
    file.create_dataset("layers/dense/vars/0", (3, 2), "<f4", external=[(str(folder / "raw.bin"), 0, 24)])


def virtual_array(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((3, 2), "float32")
    layout[:] = h5py.VirtualSource(str(outer(folder)), "layers/dense/vars/0", (3, 2))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def circle(file: Any, folder: Path) -> None:
    file["layers/dense/vars/0"] = np.ones((3, 2), "float32")
    file["layers/dense/vars/again"] = file["layers"]


def twice(file: Any, folder: Path) -> None:
    file["layers/dense/vars/0"] = np.ones((3, 2), "float32")
    file["layers/dense/vars/1"] = file["layers/dense/vars/0"]


def deep(file: Any, folder: Path) -> None:
    group = file
    for _ in range(300):
        group = group.create_group("a")
    group["0"] = np.ones(3)


def texts(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (3, 2), h5py.string_dtype())


def records(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (3, 2), [("a", "f4"), ("b", "f4")])


def references(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (3, 2), h5py.ref_dtype)


def arrays_of_arrays(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (3,), np.dtype(("f4", (2,))))


def named_type(file: Any, folder: Path) -> None:
    file["layers/dense/vars/0"] = np.dtype("f4")


def huge(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (1 << 31, 1 << 31), "f8", chunks=(1 << 10, 1 << 10))


def other_filter(file: Any, folder: Path) -> None:
    file.create_dataset("layers/dense/vars/0", (3, 2), "f4", chunks=(3, 2), compression="lzf", data=np.ones((3, 2)))


def bomb(file: Any, folder: Path) -> None:
    """A piece of 24 bytes that unpacks to 40 MB."""
    import zlib

    made = file.create_dataset("layers/dense/vars/0", (3, 2), "f4", chunks=(3, 2), compression="gzip")
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(40_000_000), 6))


def large_pieces(file: Any, folder: Path) -> None:
    file.create_dataset(
        "layers/dense/vars/0", (3, 2), "f4", maxshape=(None, None), chunks=(1 << 14, 1 << 14), compression="gzip"
    )


def escapes(file: Any, folder: Path) -> None:
    file["layers/\x1b[2J/vars/0"] = np.ones((3, 2), "float32")


REFUSED: list[tuple[Callable[[Any, Path], None], str]] = [
    (external_link, "link to another place or file"),
    (external_group, "link to another place or file"),
    (soft_link, "link to another place"),
    (dangling_link, "link to another place"),
    (external_storage, "lies in another file"),
    (virtual_array, "made of arrays elsewhere"),
    (circle, "stands in it twice"),
    (twice, "stands in it twice"),
    (deep, "deep"),
    (texts, "weights are numbers"),
    (records, "weights are numbers"),
    (references, "weights are numbers"),
    (arrays_of_arrays, "nothing in"),
    (named_type, "neither a group nor an array"),
    (huge, "nothing in"),
    (other_filter, "packed otherwise"),
    (bomb, ""),
    (large_pieces, "has pieces of"),
    (escapes, "has the name"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_what_a_file_may_not_do(tmp_path: Path, make: Callable[[Any, Path], None], words: str) -> None:
    path = tmp_path / "bad.weights.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
        if make not in (external_group, twice):
            file["layers/dense/vars/1"] = np.zeros(2, "float32")
    net = network()
    before = net.parameters["W"].copy()
    if make is bomb:  # only the first 24 bytes of it are unpacked
        net.load_keras(path)
        assert (net.parameters["W"] == 0).all()
        return
    with pytest.raises(ModelFileError, match=words) as found:
        net.load_keras(path)
    assert "\x1b" not in str(found.value)
    assert (net.parameters["W"] == before).all()


def test_texts_that_take_more_memory_than_the_file(tmp_path: Path) -> None:
    """4,000 texts that all lie in one place of 200 KB would be 800 MB."""
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file.attrs.create("padding", "x" * 200_000, dtype=h5py.string_dtype())
        file.attrs.create("layer_names", ["a"] * 4000, dtype=h5py.string_dtype())
    with pytest.raises(ModelFileError, match="lists the layer 'a'"):
        network().load_keras(path)
    content = path.read_bytes()
    one = content.index((200_000).to_bytes(4, "little"))  # length, place and number of the padding
    padding = content[one : one + 16]
    start = content.index(b"layer_names") + len(b"layer_names")
    first = next(
        k for k in range(start, len(content)) if content[k:].startswith(b"\1\0\0\0" + content[k + 20 : k + 28])
    )
    path.write_bytes(content[:first] + padding * 4000 + content[first + 64_000 :])
    with pytest.raises(ModelFileError, match="longer than the file"):
        network().load_keras(path)


def test_archives_that_are_refused(tmp_path: Path) -> None:
    weights = good(tmp_path / "good.weights.h5").read_bytes()

    def archive(name: str, members: list[tuple[str, bytes]], packed: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / name
        with pytest.warns(UserWarning) if len(dict(members)) < len(members) else _nothing():
            with zipfile.ZipFile(path, "w", packed) as file:
                for member, content in members:
                    file.writestr(member, content)
        return path

    h5 = ("model.weights.h5", weights)
    torch = archive("torch.keras", [("archive/data.pkl", b"x")])
    flipped = archive("crc.keras", [h5])
    content = bytearray(flipped.read_bytes())
    content[content.index(b"\x89HDF") + 2000] ^= 1
    flipped.write_bytes(content)
    cut = archive("cut.keras", [h5])
    cut.write_bytes(cut.read_bytes()[:-40])
    locked = archive("locked.keras", [h5])
    content = bytearray(locked.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    content[6] |= 1
    locked.write_bytes(content)
    cases = [
        (archive("empty.keras", []), "no file of Keras"),
        (archive("none.keras", [("config.json", b"{}")]), "there is no model.weights.h5"),
        (torch, "net.load_torch"),
        (archive("twice.keras", [h5, h5]), "stands in it twice"),
        (archive("zeros.keras", [("model.weights.h5", bytes(80 << 20))], zipfile.ZIP_DEFLATED), "unpacks to"),
        (archive("bzip2.keras", [h5], zipfile.ZIP_BZIP2), "packed otherwise"),
        (archive("text.keras", [("model.weights.h5", b"hello")]), "no whole HDF5 file"),
        (archive("json.keras", [h5, ("config.json", b"{")]), "can't be read"),
        (archive("deep.keras", [h5, ("config.json", b"[" * 200_000)]), "can't be read"),
        (archive("bytes.keras", [h5, ("config.json", b"\xff\xfe\xfa")]), "can't be read"),
        (archive("large.keras", [h5, ("config.json", bytes(65 << 20))], zipfile.ZIP_DEFLATED), "unpacks to"),
        (flipped, "no whole .keras archive|damaged"),
        (cut, "no whole .keras archive"),
        (locked, "no whole .keras archive"),
    ]
    for path, words in cases:
        with pytest.raises(ModelFileError, match=words):
            network().load_keras(path)
    odd = [
        b"[]",
        b"null",
        b"3",
        b'{"config": 3}',
        b'{"config": {"layers": [1, {"config": {"name": {}}}]}}',
        b'{"config": {"layers": {}}}',
    ]
    for number, config in enumerate(odd):
        net = network()
        net.load_keras(archive(f"odd{number}.keras", [h5, ("config.json", config)]))
        assert (net.parameters["W"] == 5).all()


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *problem: object) -> None: ...


def test_lists_of_names_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for layers, arrays, words in (
        ([b"dense"], None, "the layer 'dense'"),
        ([b"x"], [b"x/kernel:0"], "the array 'x/kernel"),
    ):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = np.array(layers)
            group = file.create_group("x")
            if arrays:
                group.attrs["weight_names"] = np.array(arrays)
        with pytest.raises(ModelFileError, match=words):
            network().load_keras(path)


def test_other_things_than_files_of_keras(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name, words in (("text.h5", "no file of Keras"), ("empty.h5", "no file of Keras"), ("", "is a folder")):
        with pytest.raises(ModelFileError, match=words):
            network().load_keras(tmp_path / name)
    with pytest.raises(ModelFileError, match="there is no file"):
        network().load_keras(tmp_path / "none.keras")


DAMAGE = """
import random, sys
import gpubp as bp
from gpubp.errors import GpubpError
sys.executable = ""
whole, rng = open(sys.argv[1], "rb").read(), random.Random(int(sys.argv[2]))
net, counts = bp.Network(bp.Dense(2), 3, device="cpu"), [0, 0]
for _ in range(250):
    content = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        content[rng.randrange(len(content))] = rng.choice((0, 1, 255, rng.randrange(256)))
    if rng.random() < 0.2:
        content = content[: rng.randrange(len(content))]
    open(sys.argv[1] + ".bad", "wb").write(content)
    try:
        net.load_keras(sys.argv[1] + ".bad")
        counts[0] += 1
    except GpubpError:
        counts[1] += 1
print(*counts)
"""


@pytest.mark.parametrize("seed", range(3))
def test_files_with_flipped_and_missing_bytes(tmp_path: Path, seed: int) -> None:
    """750 damaged copies, where there is no Python to start for each: each is read, or refused in words."""
    path = good(tmp_path / "a.h5")
    run = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(path), str(seed)], capture_output=True, text=True, env=os.environ
    )
    assert run.returncode == 0, run.stderr[-3000:]
    read, refused = map(int, run.stdout.split())
    assert read + refused == 250 and min(read, refused) > 10
