"""Fingerprints: a SHA-256 of named arrays, the same on every machine, and from every file that holds their numbers.

It is that of the arrays in the order of their names, each as

    (1)  a line: its name, its type and its shape, as "0.W float32 64x10", in UTF-8 and ended by a line feed
    (2)  its numbers, row after row, the lowest byte of each first

Names are in the order of their code points. An array of no axes has a shape of no characters. A number that is NaN
counts as the NaN whose bits are 0x7fc00000 or 0x7ff8000000000000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def sha256(arrays: Mapping[str, Array]) -> str:
    """The fingerprint of arrays by their names, as 64 hexadecimal digits.

    >>> sha256({"b": np.zeros(2, np.float32), "W": np.ones((2, 2), np.float32)})[:16]
    '6ce88c193012d4a1'
    >>> sha256({"b": np.zeros(2, ">f4"), "W": np.ones((2, 2), np.float32, order="F")})[:16]
    '6ce88c193012d4a1'
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name]
        add(digest, name, a.dtype, a.shape, [a])
    return digest.hexdigest()


def add(digest: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], parts: Iterable[Array]) -> None:
    """Add an array of which `parts` are the rows, from the first on, to a digest of `hashlib`.

    >>> digest = hashlib.sha256()
    >>> add(digest, "x", np.dtype("int64"), (3,), [np.arange(2), np.arange(2, 3)])
    >>> digest.hexdigest() == sha256({"x": np.arange(3)})
    True
    """
    digest.update(f"{name} {np.dtype(dtype).name} {'x'.join(map(str, shape))}\n".encode())
    for part in parts:
        a = np.ascontiguousarray(part, np.dtype(dtype).newbyteorder("<"))
        if a.dtype.kind == "f" and np.isnan(a).any():
            a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a).astype(a.dtype)
        digest.update(a.reshape(-1).view(np.uint8).data)


def same(a: Array, b: Array) -> Array:
    """Which numbers of two arrays are the same to the last bit, as a fingerprint sees them.

    >>> same(np.array([0.0, 1.0, np.nan]), np.array([-0.0, 1.0, -np.nan])).tolist()
    [False, True, True]
    """
    found: Array = (a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)
    return found
