"""The data sets: the arrays that are loaded, and the download of MNIST."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp import datasets
from gpubp.errors import DataError

MNIST = Path(os.environ.get(datasets.MNIST_FOLDER) or Path(__file__).parents[3] / "shared" / "data" / "mnist")
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


def test_digits_are_scikit_learns_in_a_fixed_split() -> None:
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
def test_mnist_has_the_original_content() -> None:
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


def test_mnist_files_may_be_packed_or_spelled_otherwise(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = datasets.load_mnist(small_mnist)
    assert mnist.X.shape == (5, 2, 3) and mnist.X.dtype == np.float32
    assert mnist.X[4, 1, 2] == np.float32(29 * 8) / np.float32(255)
    assert mnist.y.tolist() == [0, 1, 2, 3, 9] and mnist.y_test.tolist() == [4, 5, 6, 7]
    assert mnist.names == tuple("0123456789")
    monkeypatch.setenv(datasets.MNIST_FOLDER, str(small_mnist))
    assert np.array_equal(datasets.load("mnist").X, mnist.X)
    with pytest.raises(DataError, match="elsewhere, which is not a folder"):
        datasets.load_mnist("elsewhere")  # the argument goes before the environment


def test_all_missing_mnist_files_are_named(small_mnist: Path) -> None:
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
def test_mnist_files_that_do_not_belong_together_are_refused(
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


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(DataError, match="no data set 'cifar'"):
        datasets.load("cifar")
