"""Attributes: texts that an HDF5 file keeps beside a group or an array, read from its bytes.

The HDF5 library does not come back from some damaged texts, and some end the process. So gpubp reads texts itself, in
the forms that h5py writes (https://docs.hdfgroup.org/hdf5/v1_14/_f_m_t3.html): messages in the header of an object
(IV.A.1), an attribute as one of them (IV.A.2.m), and the bytes of a text in a global heap (III.E). Everything else
counts as no attribute.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

ATTRIBUTE, CONTINUATION = 0x0C, 0x10  # kinds of messages
FIXED, ANY_LENGTH = 3, 9  # classes of datatypes
MESSAGES = 70_000  # in one header, and their blocks


class Damaged(ValueError):
    """The bytes are not what the form says.

    >>> issubclass(Damaged, ValueError)
    True
    """


class Attributes:
    """The texts of a file.

    file: open for reading. size: of it. base: where its addresses count from.

    >>> import io
    >>> Attributes(io.BytesIO(bytes(100)), 100, 0).texts(0, "name")
    Traceback (most recent call last):
    ...
    gpubp.interop.keras.attributes.Damaged: an object has no header
    """

    def __init__(self, file: BinaryIO, size: int, base: int) -> None:
        self.file, self.size, self.base = file, size, base
        self._heaps: dict[int, dict[int, bytes]] = {}

    def texts(self, address: int, name: str) -> list[str] | None:
        """The attribute `name` of the object at `address`, one text or several; None if it has none that is texts.

        Raises Damaged, and takes no more memory than the file has bytes.
        """
        try:
            for kind, message in self._messages(address):
                if kind == ATTRIBUTE and (found := _attribute(message)) is not None and found.name == name:
                    return self._values(found)
        except (struct.error, IndexError, OverflowError) as problem:
            raise Damaged(str(problem)) from problem
        return None

    def _values(self, found: _Attribute) -> list[str] | None:
        kind, width = found.datatype[0] & 15, struct.unpack_from("<I", found.datatype, 4)[0]
        if kind == FIXED and 0 < width and found.values * width <= len(found.data):
            values = [found.data[k * width : (k + 1) * width] for k in range(found.values)]
            return [value.split(b"\0")[0].decode("utf-8", "replace") for value in values]
        if kind != ANY_LENGTH or found.datatype[1] & 15 != 1 or found.values * 16 > len(found.data):
            return None
        values, total = [], 0
        for k in range(found.values):
            length, address, number = struct.unpack_from("<IQI", found.data, 16 * k)
            total += length
            if total > self.size:
                raise Damaged("its texts are longer than the file")
            values.append(self._heap(address).get(number, b"")[:length] if length else b"")
        return [value.split(b"\0")[0].decode("utf-8", "replace") for value in values]

    def _heap(self, address: int) -> dict[int, bytes]:
        """The pieces of a global heap, by number."""
        if address not in self._heaps:
            sign, size = struct.unpack("<4s4xQ", self._bytes(address, 16))
            if sign != b"GCOL":
                raise Damaged("a text lies where no heap is")
            content, place, pieces = self._bytes(address, size), 16, {}
            while place + 16 <= size:
                number, length = struct.unpack_from("<H6xQ", content, place)
                if number == 0 or length > size - place - 16:
                    break
                pieces[number] = content[place + 16 : place + 16 + length]
                place += 16 + -(-length // 8) * 8
            self._heaps = {address: pieces}  # one at a time, so that many heaps need no more memory than one
        return self._heaps[address]

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """(kind, content) of each message of an object's header, in both of its forms."""
        start = self._bytes(address, 16)
        second = start[:4] == b"OHDR"
        ordered = 0
        if second:
            flags = start[5]
            ordered = 2 if flags & 4 else 0
            at = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
            width = 1 << (flags & 3)
            length = int.from_bytes(self._bytes(address + at, width), "little")
            blocks = [(address + at + width, length)]
        elif start[0] == 1:
            blocks = [(address + 16, struct.unpack_from("<I", start, 8)[0])]
        else:
            raise Damaged("an object has no header")
        count = 0
        while blocks:
            place, length = blocks.pop(0)
            content, at = self._bytes(place, length), 0
            head = 4 + ordered if second else 8
            while at + head <= len(content):
                count += 1
                if count > MESSAGES:
                    raise Damaged("an object has too many messages")
                kind, size = struct.unpack_from("<BH" if second else "<HH", content, at)
                message = content[at + head : at + head + size]
                at += head + size
                if kind == CONTINUATION:
                    further, more = struct.unpack_from("<QQ", message)
                    blocks.append((further + 4, more - 8) if second else (further, more))
                else:
                    yield kind, message

    def _bytes(self, address: int, count: int) -> bytes:
        if count < 0 or address + self.base + count > self.size:
            raise Damaged("something lies behind the end of the file")
        self.file.seek(address + self.base)
        return self.file.read(count)


class _Attribute(NamedTuple):
    """name; datatype: its description; values: how many; data: their bytes."""

    name: str
    datatype: bytes
    values: int
    data: bytes


def _attribute(message: bytes) -> _Attribute | None:
    """What an attribute's message says; None for forms that h5py does not write."""
    version, flags, name, datatype, dataspace = struct.unpack_from("<BBHHH", message)
    if version not in (1, 2, 3) or (version > 1 and flags & 3):
        return None
    place, parts = 9 if version == 3 else 8, []
    for size in (name, datatype, dataspace):
        parts.append(message[place : place + size])
        place += -(-size // 8) * 8 if version == 1 else size
    space = parts[2]
    if space[0] not in (1, 2):
        return None
    axes = struct.unpack_from(f"<{space[1]}Q", space, 8 if space[0] == 1 else 4)
    count = 0 if space[0] == 2 and space[3] == 2 else math.prod(axes)
    return _Attribute(parts[0].split(b"\0")[0].decode("utf-8", "replace"), parts[1], count, message[place:])
