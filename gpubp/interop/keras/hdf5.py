"""HDF5 files of anyone: groups and arrays, checked before anything is read.

An HDF5 file may point to other files, by links, external storage and virtual arrays, may contain itself, and may unpack
to any size. Here links of names, external storage and virtual arrays are refused, an object may stand in one place
only, and an array is read when a layer of the same shape wants it. Packed pieces are unpacked here and not by the HDF5
library, which would unpack them to any length. Texts are read in `attributes.py`. All this runs in a process of its
own (`process.py`), because some damaged files end the process that reads them.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, BinaryIO

import numpy as np

from ...errors import MissingDependencyError, ModelFileError
from ..safetensors_file import from_bfloat16
from .attributes import Attributes
from .groups import DEPTH, OBJECTS, Group, Shape, Stored

PROBLEMS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, zlib.error)


def require_h5py() -> Any:
    """h5py, or MissingDependencyError with the command that installs it.

    >>> require_h5py().__name__
    'h5py'
    """
    try:
        import h5py
    except ImportError as problem:
        raise MissingDependencyError("Reading files of Keras needs h5py: pip install 'gpubp[keras]'") from problem
    return h5py


class Reader:
    """What reads one file, by the HDF5 library.

    content: the file, open for reading. size: its bytes. called: its name in messages. Raises ModelFileError for what
    is no HDF5 file, is damaged or refused; so do the methods.

    >>> import io
    >>> Reader(io.BytesIO(b"no file"), 7, "a.h5")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: a.h5 is no whole HDF5 file (...)
    """

    def __init__(self, content: BinaryIO, size: int, called: str) -> None:
        self.h5py, self.called, self.size = require_h5py(), called, size
        try:
            self.file = self.h5py.File(content, "r")
        except PROBLEMS as problem:
            raise ModelFileError(f"{called} is no whole HDF5 file ({str(problem)[:200]})") from problem
        self.attributes = Attributes(content, size, self.file.userblock_size)
        self.objects: list[Any] = []  # groups and arrays by their numbers
        self.seen: set[int] = set()
        self.letters = 0

    def close(self) -> None:
        """Close the file of the library."""
        self.file.close()

    def tree(self) -> Group:
        """All groups and arrays below the root."""
        try:
            return self._group(self.file, "", 0)
        except ModelFileError:
            raise
        except PROBLEMS as problem:
            raise self._damaged(problem) from problem

    def _group(self, group: Any, path: str, depth: int) -> Group:
        if depth > DEPTH:
            raise self._refused(f"it has groups within groups, more than {DEPTH} deep")
        number = self._once(group, path)
        groups, arrays = {}, {}
        for name in group:
            inner = f"{path}/{name}"
            self.letters += len(name)
            if self.letters > self.size:
                raise self._refused("its names are longer than the file")
            if not name.isprintable():
                raise self._refused(f"it has the name {name[:100]!r}")
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise self._refused(f"{inner[:200]} is a link to another place or file")
            found = group[name]
            if isinstance(found, self.h5py.Group):
                groups[name] = self._group(found, inner, depth + 1)
            elif isinstance(found, self.h5py.Dataset):
                arrays[name] = Stored(self._shape(found, inner), self, self._once(found, inner))
            else:
                raise self._refused(f"{inner[:200]} is neither a group nor an array")
        return Group(groups, arrays, self, number)

    def _once(self, found: Any, path: str) -> int:
        """The number of an object that was not seen before."""
        address = self.h5py.h5o.get_info(found.id).addr
        if address in self.seen:
            raise self._refused(f"{path[:200] or 'the root'} stands in it twice")
        self.seen.add(address)
        if len(self.seen) > OBJECTS:
            raise self._refused(f"it has more than {OBJECTS} groups and arrays")
        self.objects.append(found)
        return len(self.objects) - 1

    def _shape(self, found: Any, path: str) -> Shape:
        made = found.id.get_create_plist()
        if made.get_layout() == self.h5py.h5d.VIRTUAL or found.is_virtual:
            raise self._refused(f"{path[:200]} is made of arrays elsewhere")
        if made.get_external_count():
            raise self._refused(f"{path[:200]} lies in another file")
        return tuple(int(n) for n in found.shape) if found.shape is not None else (0,)

    def numbers(self, number: int, shape: Shape) -> np.ndarray[Any, Any]:
        """The numbers of an array; `shape` is that of the tree."""
        try:
            return self._numbers(self.objects[number]).reshape(shape)
        except ModelFileError:
            raise
        except PROBLEMS as problem:
            raise self._damaged(problem) from problem

    def _numbers(self, found: Any) -> np.ndarray[Any, Any]:
        types, name = self.h5py.h5t, str(found.name)[:200]
        known = (
            types.TypeIntegerID,
            types.TypeFloatID,
            types.TypeEnumID,
            types.TypeOpaqueID,
        )  # an enum for True, False
        if not isinstance(found.id.get_type(), known):
            raise self._refused(f"{name} holds {type(found.id.get_type()).__name__}, and weights are numbers")
        dtype = found.dtype
        half = dtype.itemsize == 2 and dtype.kind in "Vu" and self._texts(found, "dtype") == ["bfloat16"]
        if not half and (dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.subdtype is not None):
            raise self._refused(f"{name} holds {str(dtype)[:60]}, and weights are numbers")
        in_pieces = found.chunks is not None or found.id.get_create_plist().get_nfilters()
        values = self._unpacked(found, name) if in_pieces else self._plain(found, name)
        return from_bfloat16(np.asarray(values).view(np.uint16)) if half else np.asarray(values)

    def _plain(self, found: Any, name: str) -> np.ndarray[Any, Any]:
        """An array that lies in one place."""
        size = math.prod(found.shape) * found.dtype.itemsize
        if found.id.get_storage_size() != size:
            raise self._refused(f"{name} has {found.id.get_storage_size()} bytes, and its shape {found.shape} {size}")
        return np.asarray(found[()] if size else np.zeros(found.shape, found.dtype))

    def _unpacked(self, found: Any, name: str) -> np.ndarray[Any, Any]:
        """An array in pieces, packed with gzip or not, none of which may unpack to more than its shape has.

        All pieces must be there: the HDF5 library has a number for those that are not, and ends the process where a
        damaged file says it wrong.
        """
        made, dtype = found.id.get_create_plist(), found.dtype
        filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
        gzip, shuffle = self.h5py.h5z.FILTER_DEFLATE, self.h5py.h5z.FILTER_SHUFFLE
        if any(kind not in (gzip, shuffle) for kind in filters) or found.chunks is None:
            raise self._refused(f"{name} is packed otherwise than with gzip and shuffle")
        piece = math.prod(found.chunks) * dtype.itemsize
        if piece > max(1 << 24, 2 * math.prod(found.shape) * dtype.itemsize):
            raise self._refused(f"{name} has pieces of {found.chunks} for an array of {found.shape}")
        count = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
        if found.id.get_num_chunks() != count:
            raise self._refused(f"{name} has {found.id.get_num_chunks()} pieces, and its shape {found.shape} {count}")
        whole = np.zeros(found.shape, dtype)
        for k in range(found.id.get_num_chunks()):
            start = found.id.get_chunk_info(k).chunk_offset
            if found.id.get_chunk_info(k).size > self.size:
                raise self._refused(f"a piece of {name} is larger than the file")
            mask, content = found.id.read_direct_chunk(start)
            for number in reversed(range(len(filters))):
                if mask >> number & 1:
                    continue
                if filters[number] == gzip:
                    content = zlib.decompressobj().decompress(content, piece)
                else:
                    content = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
            if len(content) != piece:
                raise self._refused(f"a piece of {name} has {len(content)} bytes, and should have {piece}")
            cut = tuple(slice(0, max(0, n - s)) for n, s in zip(found.shape, start, strict=True))
            values = np.frombuffer(content, dtype).reshape(found.chunks)[cut]
            whole[tuple(slice(s, s + n) for s, n in zip(start, values.shape, strict=True))] = values
        return whole

    def texts(self, number: int, name: str) -> list[str] | None:
        """An attribute of one or more texts, of a group or an array; None if there is none."""
        return self._texts(self.objects[number], name)

    def _texts(self, found: Any, name: str) -> list[str] | None:
        try:
            return self.attributes.texts(self.h5py.h5o.get_info(found.id).addr, name)
        except PROBLEMS as problem:
            raise self._damaged(problem) from problem

    def _refused(self, why: str) -> ModelFileError:
        return ModelFileError(f"{self.called} is refused: {why}")

    def _damaged(self, problem: Exception) -> ModelFileError:
        return ModelFileError(f"{self.called} is damaged, or no file of Keras ({str(problem)[:200]})")
