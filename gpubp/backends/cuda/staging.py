"""Staging: all copies to a GPU go through pinned (page-locked) host memory.

The GPU can fetch from pinned memory by itself while the host goes on; from ordinary memory the driver would first
copy, and make the host wait. But what has been handed over must stay as it is until it has been fetched. So there are
two halves: while the copies out of one are under way, the other is filled, and a half is filled anew only after an
event, recorded behind its last copy, has passed. Pinned memory is taken from the whole machine, so data sets pass
through the halves in pieces.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from ..arrays import Shape

ALIGNMENT = 64  # bytes
SMALLEST = 1 << 20  # bytes of a half
PIECE = 1 << 22  # bytes that are sent at once, where rows are not larger
LARGEST = 1 << 26  # bytes of a half; a row beyond it passes through ordinary memory


def pieces(shape: Shape, dtype: Any) -> list[slice]:
    """Slices of the first axis of an array, in which it is sent.

    >>> pieces((10, 1000, 1000), "float32")
    [slice(0, 1, None), slice(1, 2, None), ..., slice(9, 10, None)]
    >>> pieces((10, 100), "float32")
    [slice(0, 10, None)]
    """
    row = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    rows = max(1, PIECE // max(row, 1))
    return [slice(first, min(first + rows, shape[0])) for first in range(0, shape[0], rows)]


# pinned memory of backends that are gone, and the streams that may still copy from it: let go, it is anybody's at once
_left: list[tuple[Any, list[np.ndarray[Any, Any]]]] = []


def _free_left() -> None:
    while _left:
        stream, halves = _left.pop()
        stream.synchronize()
        halves.clear()


class Staging:
    """Two halves of pinned memory for the copies of one stream.

    cupy: the CuPy module. stream: where the copies are queued.
    """

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cuda = cupy.cuda
        self._stream = stream
        self._halves: list[np.ndarray[Any, Any]] = []
        self._passed: list[Any] = []
        self._now = self._used = self._size = 0
        # only noted here: a finalizer may run anywhere, in the middle of a capture too, and must not wait
        weakref.finalize(self, _left.append, (stream, self._halves)).atexit = False

    def place(self, shape: Shape, dtype: Any) -> np.ndarray[Any, Any]:
        """Host memory to fill at once and then to copy from, on the stream; the next `place` may reuse it safely.

        It is pinned, or ordinary where it would be very large or holds nothing.
        """
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if not size or size > LARGEST:
            return np.empty(shape, dtype)
        if self._used + size > self._size:
            self._turn(size)
        place: np.ndarray[Any, Any] = self._halves[self._now][self._used : self._used + size].view(dtype).reshape(shape)
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        return place

    def send(self, out: Any, source: Any, rows: Any = None) -> None:
        """out = source[rows], or source itself: host rows gathered here, piece by piece, and copied on the stream."""
        for part in pieces(out.shape, out.dtype):
            target = out[part]
            host = self.place(target.shape, target.dtype)
            if rows is None:
                np.copyto(host, source[part], casting="unsafe")
            elif source.dtype == out.dtype:
                np.take(source, rows[part], axis=0, out=host, mode="clip")  # the rows have been made to fit
            else:
                np.copyto(host, source[rows[part]], casting="unsafe")
            target.set(host, stream=self._stream)

    def _turn(self, size: int) -> None:
        """On to the other half, once its copies have arrived; or to larger halves."""
        if size > self._size:
            _free_left()
            self._stream.synchronize()
            self._size = max(SMALLEST, 2 * size)
            self._passed = [self._cuda.Event(disable_timing=True) for _ in range(2)]
            memory = [self._cuda.alloc_pinned_memory(self._size) for _ in range(2)]
            self._halves[:] = [np.frombuffer(m, np.uint8, self._size) for m in memory]
            self._now = 0
        else:
            self._passed[self._now].record(self._stream)
            self._now = 1 - self._now
            self._passed[self._now].synchronize()
        self._used = 0
