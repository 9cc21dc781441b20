"""The readers of data files: a file of any kind is read as it was stored, or refused by one DataError that names it."""

import gzip
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_datasets import idx

from gpubp import datasets
from gpubp.errors import DataError, GpubpError
from traced import traced


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_idx_files_of_every_type(tmp_path: Path, pack: Callable[[bytes], bytes], code: int, dtype: str) -> None:
    array = np.array([[1, 2, 100], [4, 5, 6]], dtype)
    path = tmp_path / "file"
    path.write_bytes(pack(idx(array, code)))
    read = datasets.read_idx(path)
    assert read.dtype == np.dtype(dtype).newbyteorder("=") and read.dtype.isnative
    assert np.array_equal(read, array)


PLAIN = idx(np.arange(6, dtype="u1").reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not an IDX file: it begins with b''"),
        (b"<html><body>404", "is not an IDX file: it begins with b'<htm'.* web page"),
        (b"\0\0\x0a\x01" + PLAIN[4:], "is not an IDX file"),
        (b"\0\0\x08\x00", "is not an IDX file"),
        (b"\0\0\x08\x40" + b"\0\0\0\1" * 64 + b"7", "is not an IDX file"),
        (PLAIN[:9], "cut short in its header"),
        (PLAIN[:-1], "declares 2 x 3 numbers of type uint8, 6 bytes, and 5 follow"),
        (PLAIN + b"\0", "6 bytes, and more follow"),
        (b"\0\0\x08\x02" + struct.pack(">II", 0, 3), "declares 0 x 3 numbers of type uint8, 0 bytes"),
        (b"\0\0\x0e\x04" + b"\xff" * 16, "declares 4294967295 x .* numbers of type float64"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "cut short or damaged"),
        (gzip.compress(PLAIN, mtime=0)[:-8] + b"\0" * 8, "cut short or damaged"),
        (gzip.compress(PLAIN, mtime=0)[:4], "cut short or damaged"),
        (gzip.compress(PLAIN[:-1], mtime=0), "6 bytes, and 5 follow"),
        (gzip.compress(PLAIN + b"\0", mtime=0), "6 bytes, and more follow"),
        (gzip.compress(b"\0\0\x08\x02" + b"\0\2\0\0" * 2, mtime=0), "where 1 to 1073741824 can be"),
    ],
)
def test_a_bad_idx_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as info:
        datasets.read_idx(path)
    assert str(info.value).startswith(str(path))
    assert isinstance(info.value, ValueError) and isinstance(info.value, GpubpError)


def test_a_header_that_declares_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2**30) + b"1234"))
    with traced() as peak:
        with pytest.raises(DataError, match="1073741824 bytes, and 4 follow"):
            datasets.read_idx(path)
        assert peak() < 4 * 2**20


@pytest.mark.parametrize("read", [datasets.read_idx, datasets.load_npz])
def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    for path in (tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(DataError, match="cannot be read .*is the path right"):
            read(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_are_read_as_they_were_stored(tmp_path: Path, save: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "X": rng.normal(size=(6, 2, 2)),
        "y": np.array([[1.5], [2], [3], [4], [5], [6]], np.float32),
        "X_test": rng.normal(size=(2, 2, 2)),
        "y_test": np.zeros((2, 1), np.float32),
    }
    save(tmp_path / "all.npz", **parts, other=["ignored"])
    data = datasets.load(tmp_path / "all.npz")
    for name, array in parts.items():
        assert getattr(data, name).dtype == array.dtype and np.array_equal(getattr(data, name), array)
    assert data.name == "all" and data.names is None and data.input_shape == (2, 2)
    save(tmp_path / "train.npz", X=parts["X"], y=parts["y"])
    data = datasets.load_npz(tmp_path / "train.npz")
    assert data.X_test is None and data.y_test is None
    save(tmp_path / "predict.npz", X=parts["X"])
    assert list(datasets.read_npz(tmp_path / "predict.npz", required=["X"], optional=["y"])) == ["X"]


X, y = np.ones((4, 3)), np.array([0, 1, 0, 1])
HOLE = np.array([[1, 2], [3, np.nan], [np.inf, 4], [5, 6]])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": X}, "holds X and lacks y: write it with np.savez"),
        ({}, "holds no arrays and lacks X, y"),
        ({"x": X, "labels": y}, "holds x, labels and lacks X, y"),
        ({"X": X, "y": y[:3]}, "X has 4 rows and y has 3; each row of X needs its one row of y"),
        ({"X": X[:0], "y": y[:0]}, r"X in .* has shape \(0, 3\): there is no row"),
        ({"X": X, "y": np.int64(3)}, r"y in .* has shape \(\): there is no row"),
        ({"X": X[:, 0], "y": y}, r"shape \(4,\); \(rows, features\) .* X.reshape\(-1, 1\)"),
        ({"X": HOLE, "y": y}, "X in .* has NaN or infinity in 2 of its 4 rows, first in row 1"),
        ({"X": X, "y": HOLE[:, 1]}, "y in .* has NaN or infinity in 1 of its 4 rows, first in row 1"),
        ({"X": X * 1j, "y": y}, "X in .* is of type complex128; real numbers"),
        ({"X": X, "y": np.array(["cat", "dog", "cat", "dog"])}, "y in .* return_inverse"),
        ({"X": X, "y": y, "X_test": X}, "has X_test alone"),
        ({"X": X, "y": y, "y_test": y}, "has y_test alone"),
        ({"X": X, "y": y, "X_test": X, "y_test": y[:3]}, "X_test has 4 rows and y_test has 3"),
        (
            {"X": X, "y": y, "X_test": X[:, :2], "y_test": y},
            r"row of X has shape \(3,\) and .* X_test \(2,\)",
        ),
        ({"X": X, "y": y, "X_test": X, "y_test": X}, r"row of y has shape \(\) and .* y_test \(3,\)"),
        ({"X": X, "y": y, "X_test": HOLE, "y_test": y}, "X_test in .* has NaN"),
    ],
)
def test_npz_arrays_that_cannot_be_used_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=said) as info:
        datasets.load_npz(path)
    assert str(path) in str(info.value)


class Mine:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def test_objects_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "data.npz", X=np.array([Mine()], dtype=object), y=y)
    with pytest.raises(DataError, match="Python objects"):
        datasets.load_npz(tmp_path / "data.npz")
    assert not (tmp_path / "unpickled").exists()


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    for content, said in [
        (b"", "is not an .npz file: it is empty"),
        (b"a,b,c\n1,2,3\n", "is not an .npz file: it begins with b'a,b,c"),
        (b"PK", "cut short or damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            datasets.load_npz(path)
    with open(path, "wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match="is one array"):
        datasets.load_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X", "not an array")
        archive.writestr("y.npy", b"\x93NUMPY\x01\0")
    with pytest.raises(DataError):
        datasets.load_npz(path)


def test_npy_arrays_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, X)
    array = datasets.read_npy(path)
    assert np.array_equal(array, X) and type(array) is np.ndarray  # no memory map: the file may change afterwards
    monkeypatch.chdir(tmp_path)
    for content, said in [
        (HOLE, "the array in .* has NaN or infinity in 2 of its 4 rows, first in row 1"),
        (X * 1j, "type complex128"),
        (np.array([Mine()], dtype=object), "Python objects"),
        (np.float64(1), "there is no row"),
    ]:
        np.save(path, content)
        with pytest.raises(DataError, match=said):
            datasets.read_npy(path)
    assert not (tmp_path / "unpickled").exists()
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is not an .npy file: it is empty"):
        datasets.read_npy(path)
    with pytest.raises(DataError, match="cannot be read"):
        datasets.read_npy(tmp_path / "gone.npy")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }"  # 24 TB
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + b"few")
    with traced() as peak:
        with pytest.raises(DataError, match="cut short or damaged"):
            datasets.read_npy(path)
        assert peak() < 2**22


@pytest.fixture(scope="module")
def good_files(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Path, bytes, Callable[[Path], object]]]:
    folder = tmp_path_factory.mktemp("damaged")
    np.savez(folder / "plain.npz", X=X, y=y)
    np.savez_compressed(folder / "packed.npz", X=X, y=y)
    np.save(folder / "rows.npy", X)
    (folder / "plain-idx").write_bytes(PLAIN)
    (folder / "packed-idx").write_bytes(gzip.compress(PLAIN, mtime=0))
    readers = {".npz": datasets.load_npz, ".npy": datasets.read_npy, "": datasets.read_idx}
    return [(path, path.read_bytes(), readers[path.suffix]) for path in sorted(folder.iterdir())]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(which=st.integers(0, 4), cut=st.integers(0, 2000), change=st.integers(1, 255), at=st.integers(0, 2000))
@example(which=0, cut=2000, change=1, at=0)
def test_damaged_files_are_read_or_refused(
    good_files: list[tuple[Path, bytes, Callable[[Path], object]]], which: int, cut: int, change: int, at: int
) -> None:
    path, content, read = good_files[which]
    damaged = bytearray(content)
    damaged[at % len(content)] ^= change
    path.write_bytes(damaged[: len(content) - cut % len(content)] if cut < 1000 else damaged)
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    """Zeros, 2 GiB of them, packed into 2 MB, and refused before any is unpacked."""
    import io

    path, head = tmp_path / "bomb.npz", io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**28, 1)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("X.npy", "w", force_zip64=True) as member:
            member.write(head.getvalue())
            member.write(bytes(2**20))
        archive.getinfo("X.npy").file_size = 2**31 + len(head.getvalue())  # its own word for it is enough
        archive.writestr("y.npy", head.getvalue())
    with pytest.raises(DataError, match=r"says that it unpacks to 2,147,\d+,\d+, where 1,073,741,824 are let through"):
        datasets.load_npz(path)


def test_an_array_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    import io

    one = io.BytesIO()
    np.save(one, np.ones((2, 2)))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name in ("X.npy", "y.npy", "X.npy"):
            archive.writestr(name, one.getvalue())
    with pytest.raises(DataError, match="has X more than once"):
        datasets.load_npz(tmp_path / "x.npz")
