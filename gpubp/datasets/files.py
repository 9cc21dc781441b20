"""Readers of `.npz`, `.npy` and IDX files that are safe with damaged or hostile files.

Nothing is unpickled, and what a header declares is compared with the file before any memory is taken for it. Whatever
is wrong with a file becomes one `DataError` that names it.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["Array", "FilePath", "read_idx", "read_npy", "read_npz", "times"]

Array = NDArray[Any]
FilePath = str | os.PathLike[str]

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_UNPACKED = 2**30  # bytes: 20 times the largest file of MNIST
_CHUNK = 2**20  # bytes


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
    with _readable(path, "has an array of", "arrays"), open(path, "rb") as file:
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
    with _readable(path, "holds", "an array"):
        with open(path, "rb") as file:
            start = file.read(8)
        if not start.startswith(b"\x93NUMPY"):
            came = f"it begins with {start!r}" if start else "it is empty"
            raise DataError(f"{path} is not an .npy file: {came}. Write one with np.save(path, X).")
        # Mapped before it is read: a header that declares more than the file holds is refused without taking memory.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
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
    what = f"{path}: its header declares {times(shape)} numbers of type {dtype.name}, {declared} bytes"
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


@contextmanager
def _readable(path: FilePath, has: str, wanted: str) -> Iterator[None]:
    """Whatever goes wrong in reading becomes a DataError: NumPy and zipfile know a dozen kinds for a damaged file."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        if any(words in str(error) for words in ("Object arrays", "Python objects")):
            raise DataError(
                f"{path} {has} Python objects, which would have to be unpickled: store {wanted} of numbers, all rows "
                "of one length."
            ) from error
        raise DataError(f"{path} is cut short or damaged ({error}): copy or write it again.") from error


def _unreadable(path: FilePath, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror or error}): is the path right?")


def times(shape: tuple[int, ...]) -> str:
    """A shape in words.

    >>> times((2, 3))
    '2 x 3'
    """
    return " x ".join(map(str, shape))
