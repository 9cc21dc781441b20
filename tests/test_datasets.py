"""The data sets: what arrives, and that a bad file of any kind ends in one DataError that names it."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpubp import datasets
from gpubp.errors import DataError, GpubpError

MNIST = Path(os.environ.get(datasets.MNIST_FOLDER) or Path(__file__).parents[2] / "shared" / "data" / "mnist")
needs_mnist = pytest.mark.skipif(
    not MNIST.is_dir(), reason=f"MNIST is in neither ${datasets.MNIST_FOLDER} nor ../shared/data/mnist"
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (name.removesuffix(".gz") for name in datasets.MNIST_SHA256)


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    """`array`, already of the file's byte order, as an IDX file."""
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path) -> Path:
    """A folder as MNIST's is, half of it packed: 5 images of 2 x 3 pixels to learn from, 4 to test on."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    pixels = np.arange(30, dtype="u1").reshape(5, 2, 3) * 8
    (folder / TRAIN_IMAGES).write_bytes(idx(pixels))
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(idx(np.array([0, 1, 2, 3, 9], "u1"))))
    (folder / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(idx(pixels[:4])))
    (folder / TEST_LABELS.replace("-idx", ".idx")).write_bytes(idx(np.array([4, 5, 6, 7], "u1")))
    return folder


def test_digits_are_scikit_learns_split_once_and_for_all() -> None:
    digits, again = datasets.load_digits(), datasets.load("digits")
    assert digits.X.shape == (1437, 64) and digits.X_test is not None and digits.X_test.shape == (360, 64)
    assert digits.X.dtype == digits.X_test.dtype == np.float32 and digits.y.dtype == np.int64
    assert digits.input_shape == (64,) and digits.names == tuple("0123456789")
    assert digits.X.min() == 0 and digits.X.max() == 1
    assert np.array_equal(digits.X, again.X) and np.array_equal(digits.y_test, again.y_test)
    assert digits.y_test[:10].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]
    # each digit's share is alike in both parts, and every row of the original is in one of them
    assert np.abs(np.bincount(digits.y) - 4 * np.bincount(digits.y_test)).max() <= 4
    from sklearn.datasets import load_digits

    rows = np.concatenate([digits.X, digits.X_test]) * 16
    assert np.array_equal(np.sort(rows, axis=0), np.sort(load_digits().data, axis=0))


def test_a_dataset_cannot_be_changed_by_assignment() -> None:
    with pytest.raises(AttributeError):
        datasets.load_digits().X = np.zeros(3)  # type: ignore[misc]


@needs_mnist
def test_mnist_is_mnist() -> None:
    canonical = {
        TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
        TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
        TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
        TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
    }
    for name, md5 in canonical.items():
        path = datasets._find_idx(MNIST, name)
        assert path is not None
        array = datasets.read_idx(path)
        assert hashlib.md5(idx(array)).hexdigest() == md5, "what was read is not the original file's content"
    mnist = datasets.load("mnist", MNIST)
    assert mnist.X.shape == (60000, 28, 28) and mnist.X.dtype == np.float32 and mnist.names == tuple("0123456789")
    assert mnist.X_test is not None and mnist.X_test.shape == (10000, 28, 28)
    assert mnist.y[:5].tolist() == [5, 0, 4, 1, 9] and mnist.y.dtype == np.int64
    assert mnist.X.min() == 0 and mnist.X.max() == 1
    assert abs(float(mnist.X.mean(dtype=np.float64)) - 0.1307) < 1e-4  # the mean that everyone subtracts


def test_mnist_from_packed_plain_and_otherwise_spelled_files(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = datasets.load_mnist(small_mnist)
    assert mnist.X.shape == (5, 2, 3) and mnist.X.dtype == np.float32
    assert mnist.X[4, 1, 2] == np.float32(29 * 8) / np.float32(255)
    assert mnist.y.tolist() == [0, 1, 2, 3, 9] and mnist.y_test.tolist() == [4, 5, 6, 7]
    assert mnist.names == tuple("0123456789")
    monkeypatch.setenv(datasets.MNIST_FOLDER, str(small_mnist))
    assert np.array_equal(datasets.load("mnist").X, mnist.X)
    with pytest.raises(DataError, match="elsewhere, which is not a folder"):
        datasets.load_mnist("elsewhere")  # the argument goes before the environment


def test_mnist_says_all_that_is_missing(small_mnist: Path) -> None:
    (small_mnist / TRAIN_IMAGES).unlink()
    (small_mnist / f"{TEST_IMAGES}.gz").unlink()
    with pytest.raises(DataError, match=f"lacks {TRAIN_IMAGES}, {TEST_IMAGES} "):
        datasets.load_mnist(small_mnist)


@pytest.mark.parametrize(
    ("name", "array", "code", "said"),
    [
        (TRAIN_IMAGES, np.zeros((4, 2, 3), "u1"), 0x08, "holds 4 images and .* 5 labels"),
        (TRAIN_IMAGES, np.zeros((5, 3, 2), "u1"), 0x08, "are 3 x 2 pixels and those of .* 2 x 3"),
        (TRAIN_IMAGES, np.zeros(5, "u1"), 0x08, "images are uint8 in 3 dimensions. Are the files exchanged"),
        (TRAIN_IMAGES, np.zeros((5, 2, 3), ">f4"), 0x0D, "type float32; images are uint8"),
    ],
)
def test_mnist_files_that_do_not_belong_together(
    small_mnist: Path, name: str, array: np.ndarray, code: int, said: str
) -> None:
    (small_mnist / name).write_bytes(idx(array, code))
    with pytest.raises(DataError, match=said):
        datasets.load_mnist(small_mnist)


@pytest.fixture
def server(small_mnist: Path) -> Iterator[str]:
    """A web server on this machine that has the small MNIST, each file packed."""
    for name in (TRAIN_IMAGES, TEST_LABELS):
        path = datasets._find_idx(small_mnist, name)
        assert path is not None
        (small_mnist / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=small_mnist)
    ) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}/"
        service.shutdown()
        thread.join()


def checksums(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in datasets.MNIST_SHA256}


def test_mnist_is_downloaded_once_and_checked(
    small_mnist: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv(datasets.MNIST_FOLDER, raising=False)
    monkeypatch.setattr(datasets, "MNIST_URL", server)
    monkeypatch.setattr(datasets, "MNIST_SHA256", checksums(small_mnist))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    expected = datasets.load_mnist(small_mnist)
    assert np.array_equal(datasets.load_mnist().X, expected.X)
    assert sorted(os.listdir(tmp_path / "cache" / "gpubp" / "mnist")) == sorted(datasets.MNIST_SHA256)
    for path in small_mnist.iterdir():
        path.unlink()  # nothing is left to download from
    assert np.array_equal(datasets.load_mnist().y_test, expected.y_test)


def test_a_download_with_another_checksum_is_refused(small_mnist: Path, server: str, tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    sums = checksums(small_mnist) | {f"{TRAIN_LABELS}.gz": "0" * 64}
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}.gz of MNIST could not be downloaded from {server}") as info:
        datasets._download(server, sums, tmp_path / "cache")
    assert "--data" in str(info.value) and datasets.MNIST_FOLDER in str(info.value)
    assert not (tmp_path / "cache" / f"{TRAIN_LABELS}.gz").exists()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_idx_of_every_type(tmp_path: Path, pack: Callable[[bytes], bytes], code: int, dtype: str) -> None:
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


def test_a_large_declaration_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2**30) + b"1234"))
    tracemalloc.start()
    with pytest.raises(DataError, match="1073741824 bytes, and 4 follow"):
        datasets.read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize("read", [datasets.read_idx, datasets.load_npz])
def test_a_path_that_cannot_be_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    for path in (tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(DataError, match="cannot be read .*is the path right"):
            read(path)


def test_an_unknown_name() -> None:
    with pytest.raises(DataError, match="no data set 'cifar'"):
        datasets.load("cifar")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrives_as_it_was_stored(tmp_path: Path, save: Callable[..., None]) -> None:
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
def test_npz_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
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


def test_files_of_other_kinds(tmp_path: Path) -> None:
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
    tracemalloc.start()
    with pytest.raises(DataError, match="cut short or damaged"):
        datasets.read_npy(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


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
def test_whatever_happened_to_a_file_it_is_read_or_refused(
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
    import zipfile

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


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    import io
    import zipfile

    one = io.BytesIO()
    np.save(one, np.ones((2, 2)))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name in ("X.npy", "y.npy", "X.npy"):
            archive.writestr(name, one.getvalue())
    with pytest.raises(DataError, match="has X more than once"):
        datasets.load_npz(tmp_path / "x.npz")
