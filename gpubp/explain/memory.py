"""Memory: numbers by their places, and the calls that wrote them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backends import Array
from ..backends.recording import address
from .expressions import Index
from .watch import Event, root

__all__ = ["Place", "Source", "address", "locate", "place_of", "root"]


class Place(NamedTuple):
    """One number: an address in the memory that `whole` owns, read before call `before`."""

    whole: Array
    address: int
    dtype: Any
    before: int


class Source(NamedTuple):
    """The call that made a number, and which of its outputs and which index, `at`, the number is."""

    event: Event
    out: int
    at: Index


def place_of(a: Array, index: Index, before: int) -> Place:
    """The place of a[index], read before call number `before`."""
    at = address(a) + sum(i * s for i, s in zip(index, a.strides, strict=True))
    return Place(root(a), at, a.dtype, before)


def locate(a: Array, at: int) -> Index | None:
    """The index of the number of `a` at this address; None if it is none of a's.

    >>> import numpy as np
    >>> a = np.zeros((4, 3))
    >>> locate(a[:, 1:], address(a) + 8 * 5), locate(a[:, 1:], address(a) + 8 * 3)
    ((1, 1), None)
    >>> locate(a[:, ::-1], address(a) + 8 * 5)
    (1, 0)
    """
    offset = at - address(a)
    if a.flags.c_contiguous and not 0 <= offset < a.nbytes:
        return None
    offset -= sum((n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True) if stride < 0)
    index = [0] * a.ndim
    for k in sorted(range(a.ndim), key=lambda k: -abs(a.strides[k])):
        n, stride = a.shape[k], abs(a.strides[k])
        if n == 1 or stride == 0:
            continue
        i = offset // stride  # counted from the number that lies first in memory
        if not 0 <= i < n:
            return None
        index[k] = i if a.strides[k] > 0 else n - 1 - i
        offset -= i * stride
    return tuple(index) if offset == 0 and a.size else None
