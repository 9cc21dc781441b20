"""Data sets for the command line and for examples: `digits`, `mnist`, any `.npz` file, and folders of sounds.

All are loaded as one `Dataset`: rows `X`, targets `y`, and the same for a test part where there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import DataError, MissingDependencyError
from .dataset import Dataset
from .files import Array, FilePath, read_idx, read_npy, read_npz, times
from .sounds import sound_folder
from .wav import read_wav

__all__ = [
    "Dataset", "load", "load_digits", "load_mnist", "load_npz", "read_idx", "read_npy", "read_npz", "read_wav",
    "sound_folder",
]  # fmt: skip

MNIST_FOLDER = "GPUBP_MNIST"  # the environment variable that says where the four files lie
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


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
            f"The images of {train_images} are {times(X.shape[1:])} pixels and those of {test_images} "
            f"{times(X_test.shape[1:])}; both files must come from the same data set."
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
                f"{path} holds {times(array.shape)} numbers of type {array.dtype}; {what} are uint8 "
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
