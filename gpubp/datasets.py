"""Data sets for the command line and for examples: `digits`, `mnist` and any `.npz` file.

All arrive as one `Dataset`: rows `X`, targets `y`, and the same for a test part where there is one.
Files are read as strangers' files: nothing is unpickled, and a header's word is checked against the file
before any memory is asked for. What is wrong with a file becomes one `DataError` that names it.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, MissingDependencyError

Array = NDArray[Any]
FilePath = str | os.PathLike[str]

MNIST_FOLDER = "GPUBP_MNIST"  # the environment variable that says where the four files lie
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_UNPACKED = 2**30  # bytes: 20 times the largest file of MNIST
_CHUNK = 2**20  # bytes


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows to learn from and, where there are any, rows to be tested on.

    `X` is `(rows, ...)`; `y` is `(rows,)`, class numbers from 0 or numbers to predict, or `(rows, outputs)`.
    `X_test` and `y_test` are alike, or both None. `names[k]` is the name of class k, or `names` is None.

    >>> import numpy as np
    >>> Dataset("two points", X=np.zeros((2, 3)), y=np.array([0, 1]))
    Dataset('two points', X (2, 3) float64, y (2,) int64, no test rows)
    """

    name: str
    X: Array
    y: Array
    X_test: Array | None = None
    y_test: Array | None = None
    names: tuple[str, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row, as `Network(input_shape=...)` takes it."""
        return self.X.shape[1:]

    def __repr__(self) -> str:
        test = "no test rows" if self.X_test is None else f"{len(self.X_test)} test rows"
        parts = f"X {self.X.shape} {self.X.dtype}, y {self.y.shape} {self.y.dtype}, {test}"
        return f"Dataset({self.name!r}, {parts})"


def load(what: FilePath, folder: FilePath | None = None) -> Dataset:
    """The data set that the command line calls `what`: "digits", "mnist" or the path of an `.npz` file.

    `folder` is where MNIST's files lie.
    Raises what the three loaders raise, and `DataError` for any other name.

    >>> load("digits").input_shape
    (64,)
    >>> load("cifar")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: There is no data set 'cifar': give digits, mnist or the path of an .npz file.
    """
    name = os.fspath(what)
    if name == "digits":
        return load_digits()
    if name == "mnist":
        return load_mnist(folder)
    if name.endswith(".npz"):
        return load_npz(name)
    raise DataError(f"There is no data set {name!r}: give digits, mnist or the path of an .npz file.")


def load_digits(test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """The 1797 handwritten digits inside scikit-learn, 8 x 8 pixels in [0, 1], as rows of 64 float32.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    A row in five is kept for testing, with each digit's share alike (`seed` says which rows).
    Raises `MissingDependencyError` where scikit-learn is not installed.

    >>> digits = load_digits()
    >>> digits
    Dataset('digits', X (1437, 64) float32, y (1437,) int64, 360 test rows)
    >>> float(digits.X.min()), float(digits.X.max())
    (0.0, 1.0)
    """
    try:
        import sklearn.datasets
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingDependencyError(
            "The digits lie inside scikit-learn, which is not installed: pip install 'gpubp[sklearn]'"
        ) from error
    digits = sklearn.datasets.load_digits()
    X = digits.data.astype(np.float32) / np.float32(16)
    y = digits.target.astype(np.int64)
    X, X_test, y, y_test = train_test_split(X, y, test_size=test_fraction, random_state=seed, stratify=y)
    return Dataset("digits", X, y, X_test, y_test, tuple(str(name) for name in digits.target_names))


def load_mnist(folder: FilePath | None = None) -> Dataset:
    """MNIST, 60,000 images to learn from and 10,000 to be tested on: float32 in [0, 1], `(n, 28, 28)`.

    The four IDX files, gzipped or not, are read from `folder`, else from the folder that the environment
    variable GPUBP_MNIST names, else they are downloaded once, with a checksum, to the user's cache (11 MB).
    Other data in the same four files, such as Fashion-MNIST or a part of MNIST, is read as well.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    Raises `DataError` for a missing or damaged file and for a failed download, `MissingDependencyError` where
    a download needs pooch and it is not installed.

    >>> load_mnist("no/such/folder")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: MNIST is looked for in no/such/folder, which is not a folder: ...
    """
    given = folder or os.environ.get(MNIST_FOLDER)
    place = Path(given).expanduser() if given else _download(MNIST_URL, MNIST_SHA256)
    if not place.is_dir():
        raise DataError(f"MNIST is looked for in {place}, which is not a folder: name the one with its four IDX files.")
    found = {name.removesuffix(".gz"): _find_idx(place, name.removesuffix(".gz")) for name in MNIST_SHA256}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"{place} lacks {', '.join(missing)} (each may end in .gz): put MNIST's four files there, "
            f"or leave the folder and {MNIST_FOLDER} unset to have them downloaded."
        )
    train_images, train_labels, test_images, test_labels = (path for path in found.values() if path)
    X, y = _images_and_labels(train_images, train_labels)
    X_test, y_test = _images_and_labels(test_images, test_labels)
    if X.shape[1:] != X_test.shape[1:]:
        raise DataError(
            f"The images of {train_images} are {_times(X.shape[1:])} pixels and those of {test_images} "
            f"{_times(X_test.shape[1:])}; both files must come from the same data set."
        )
    classes = 1 + int(max(y.max(), y_test.max()))
    return Dataset("mnist", X, y, X_test, y_test, tuple(map(str, range(classes))))


def load_npz(path: FilePath) -> Dataset:
    """The arrays `X` and `y` of an `.npz` file, and `X_test` and `y_test` where it has them, as they are.

    `X` is `(rows, ...)`; `y` is `(rows,)` or `(rows, outputs)`, integers for classes. Nothing is scaled.
    Raises `DataError` where the file is not such a file, is damaged, lacks an array, or where the arrays hold
    objects, text, complex numbers, NaN or infinity, have no rows, or do not belong together.

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "xor.npz")
    >>> np.savez(path, X=[[0, 0], [0, 1], [1, 0], [1, 1]], y=[0, 1, 1, 0])
    >>> load_npz(path)
    Dataset('xor', X (4, 2) int64, y (4,) int64, no test rows)
    """
    arrays = read_npz(path, required=("X", "y"), optional=("X_test", "y_test"))
    _check_part(path, arrays, "X", "y")
    one_sided = {"X_test", "y_test"} & arrays.keys()
    if len(one_sided) == 1:
        raise DataError(f"{path} has {one_sided.pop()} alone: X_test and y_test come together or not at all.")
    if one_sided:
        _check_part(path, arrays, "X_test", "y_test")
        for name in ("X", "y"):
            shape, test_shape = arrays[name].shape[1:], arrays[f"{name}_test"].shape[1:]
            if shape != test_shape:
                raise DataError(
                    f"{path}: a row of {name} has shape {shape} and a row of {name}_test {test_shape}; "
                    "the test rows must look like the others."
                )
    return Dataset(Path(path).stem, arrays["X"], arrays["y"], arrays.get("X_test"), arrays.get("y_test"))


def read_npz(path: FilePath, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Array]:
    """The named arrays of an `.npz` file: all the `required` ones, and those `optional` ones that it has.

    Every array comes with numbers only, at least one row, and no NaN or infinity; nothing else is checked.
    Raises `DataError` where that is not so, or where the file cannot be read.

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.npz")
    >>> np.savez(path, X=np.eye(2), note="hello")
    >>> read_npz(path, required=("X",), optional=("y",))
    {'X': array([[1., 0.],
           [0., 1.]])}
    """
    arrays: dict[str, Array] = {}
    required = tuple(required)
    try:
        with open(path, "rb") as file:
            _require_zip(path, file)
            with np.load(file, allow_pickle=False) as npz:
                missing = [name for name in required if name not in npz.files]
                if missing:
                    raise DataError(
                        f"{path} holds {', '.join(npz.files) or 'no arrays'} and lacks {', '.join(missing)}: "
                        "write it with np.savez(path, X=..., y=...)."
                    )
                _require_sane(path, npz, os.fstat(file.fileno()).st_size)
                for name in (*required, *(name for name in optional if name in npz.files)):
                    arrays[name] = _numbers(path, name, npz[name])
    except DataError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # NumPy and zipfile know a dozen kinds for a damaged file
        if "Object arrays" in str(error):
            raise DataError(
                f"{path} has an array of Python objects, which would have to be unpickled: "
                "store arrays of numbers, all rows of one length."
            ) from error
        raise DataError(f"{path} is cut short or damaged ({error}): copy or write it again.") from error
    return arrays


def read_npy(path: FilePath) -> Array:
    """The array of an `.npy` file, of numbers, with at least one row and no NaN or infinity.

    Raises `DataError` where that is not so, or where the file cannot be read.

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.npy")
    >>> np.save(path, np.eye(2))
    >>> read_npy(path)
    array([[1., 0.],
           [0., 1.]])
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
        if not start.startswith(b"\x93NUMPY"):
            came = f"it begins with {start!r}" if start else "it is empty"
            raise DataError(f"{path} is not an .npy file: {came}. Write one with np.save(path, X).")
        # Mapped before it is read: a header that declares more than the file holds is refused without taking memory.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except DataError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        if "Python objects" in str(error):
            raise DataError(
                f"{path} holds Python objects, which would have to be unpickled: store an array of numbers, all rows "
                "of one length."
            ) from error
        raise DataError(f"{path} is cut short or damaged ({error}): copy or write it again.") from error
    return _numbers(path, "the array", array)


def read_idx(path: FilePath) -> Array:
    """The one array of an IDX file, plain or gzipped, in the machine's byte order.

    The format, as MNIST's page has it: two zero bytes, one byte for the type, one for the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the numbers, big-endian, the last
    dimension running fastest. Here it has 1 to 32 dimensions and at least one number, and what is gzipped
    unpacks to 1 GiB at most.
    Raises `DataError` for any other file, and for fewer or more bytes than the header declares.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _read_idx(path, file, room=os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_idx(path, unpacked, room=_MOST_UNPACKED)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is cut short or damaged ({error}): fetch the file again.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_idx(path: FilePath, file: io.BufferedIOBase, room: int) -> Array:
    """Header, then exactly the declared bytes, kept as they come: no memory is taken on the header's word."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 32:
        raise DataError(
            f"{path} is not an IDX file: it begins with {magic!r}, where two zero bytes, a type (8, 9 or 11 "
            "to 14) and the number of dimensions (1 to 32) were expected. Is it a web page or another format?"
        )
    dtype, ndim = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
    sizes = file.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path} is cut short in its header: fetch the file again.")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    declared = math.prod(shape) * dtype.itemsize
    what = f"{path}: its header declares {_times(shape)} numbers of type {dtype.name}, {declared} bytes"
    if not 0 < declared <= room:
        raise DataError(f"{what}, where 1 to {room} can be. The file is cut short or damaged: fetch it again.")
    data = bytearray()
    while len(data) < declared and (chunk := file.read(min(_CHUNK, declared - len(data)))):
        data += chunk
    if len(data) < declared:
        raise DataError(f"{what}, and {len(data)} follow. The file is cut short: fetch it again.")
    if file.read(1):
        raise DataError(f"{what}, and more follow. The header or the file is damaged: fetch it again.")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _find_idx(folder: Path, name: str) -> Path | None:
    """`name` in `folder`, gzipped or not, also as `train-images.idx3-ubyte`, the way some copies spell it."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None


def _images_and_labels(images: Path, labels: Path) -> tuple[Array, Array]:
    pixels, y = read_idx(images), read_idx(labels)
    for path, array, ndim, what in ((images, pixels, 3, "images"), (labels, y, 1, "labels")):
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise DataError(
                f"{path} holds {_times(array.shape)} numbers of type {array.dtype}; {what} are uint8 "
                f"in {ndim} dimension{'s' if ndim > 1 else ''}. Are the files exchanged?"
            )
    if len(pixels) != len(y):
        raise DataError(
            f"{images} holds {len(pixels)} images and {labels} {len(y)} labels; "
            "each image needs its one label. Are the files from the same data set?"
        )
    X = pixels.astype(np.float32)
    X /= np.float32(255)
    return X, y.astype(np.int64)


def _download(url: str, checksums: Mapping[str, str], cache: Path | None = None) -> Path:
    """The folder in the user's cache that holds all the files, each downloaded if absent and checked."""
    try:
        import pooch
    except ImportError as error:
        raise MissingDependencyError(
            f"Downloading MNIST needs pooch: pip install 'gpubp[cli]'; or name a folder that has it "
            f"(--data or {MNIST_FOLDER})."
        ) from error
    folder = cache or Path(pooch.os_cache("gpubp")) / "mnist"
    files = pooch.create(folder, url, registry={name: f"sha256:{checksum}" for name, checksum in checksums.items()})
    for name in checksums:
        try:
            files.fetch(name, downloader=pooch.HTTPDownloader(timeout=30))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{name} of MNIST could not be downloaded from {url} to {folder} ({error}). Try again, or "
                f"fetch the four files by other means and name their folder (--data or {MNIST_FOLDER})."
            ) from error
    return folder


def _require_zip(path: FilePath, file: IO[bytes]) -> None:
    start = file.read(8)
    file.seek(0)
    if start.startswith(b"PK"):
        return
    if start.startswith(b"\x93NUMPY"):
        raise DataError(f"{path} is one array (.npy); write an .npz file: np.savez(path, X=..., y=...).")
    came = f"it begins with {start!r}" if start else "it is empty"
    raise DataError(f"{path} is not an .npz file: {came}. Write one with np.savez(path, X=..., y=...).")


def _require_sane(path: FilePath, npz: Any, size: int) -> None:
    """No name twice, of which one array would be read at random; no more unpacked than there can be good reason for."""
    double = sorted({name for name in npz.files if npz.files.count(name) > 1})
    if double:
        raise DataError(f"{path} has {', '.join(double)} more than once: write it again with np.savez.")
    unpacked, most = sum(member.file_size for member in npz.zip.infolist()), max(_MOST_UNPACKED, 100 * size)
    if unpacked > most:
        raise DataError(
            f"{path} is {size:,} bytes and says that it unpacks to {unpacked:,}, where {most:,} are let through: if "
            "that is right, write it unpacked with np.savez."
        )


def _numbers(path: FilePath, name: str, array: Array) -> Array:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} in {path} is of type {array.dtype}; real numbers are expected. Text labels become class "
            "numbers with names, y = np.unique(labels, return_inverse=True)."
        )
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} in {path} has shape {array.shape}: there is no row in it.")
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{name} in {path} has NaN or infinity in {np.count_nonzero(~finite)} of its {len(array)} rows, "
            f"first in row {int(np.argmin(finite))}: drop or fill them."
        )
    return array


def _check_part(path: FilePath, arrays: Mapping[str, Array], X: str, y: str) -> None:
    if arrays[X].ndim < 2:
        raise DataError(
            f"{X} in {path} has shape {arrays[X].shape}; (rows, features) is expected. "
            f"For one feature a row, store {X}.reshape(-1, 1)."
        )
    if len(arrays[X]) != len(arrays[y]):
        raise DataError(
            f"{path}: {X} has {len(arrays[X])} rows and {y} has {len(arrays[y])}; "
            f"each row of {X} needs its one row of {y}."
        )


def _unreadable(path: FilePath, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror or error}): is the path right?")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
