"""Threads for large exact products: each makes a part of the result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...process import renew_in_children
from ...recording import address
from ..blas_threads import SMALL_FLOPS, threads_now
from ..row_products import submit
from .layout import ROOM

A, B, OUT, M, N, K, STACK = 0, 3, 6, 9, 10, 11, 13  # places in a block of words
CUT = 96  # rows or columns: parts are multiples of it, which most tiles divide

Words = list[int]


class Room:
    """Memory for what `driver.entry` packs. at: its address.

    >>> Room().at > 0
    True
    """

    def __init__(self) -> None:
        self._memory = np.empty(ROOM, np.uint8)  # the system gives what is used of it
        self.at = address(self._memory)


class _Own(threading.local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.room = Room()


_own = _Own()


def room() -> Room:
    """This thread's.

    >>> room() is room()
    True
    """
    return _own.room


def room_of(kept: list[Any]) -> Room:
    """That of a program, among what must live as long as it.

    >>> kept = []
    >>> room_of(kept) is room_of(kept)
    True
    """
    found = next((thing for thing in kept if isinstance(thing, Room)), None)
    if found is None:
        kept.append(found := Room())
    return found


class _Pool:
    """Threads that wait for work, as many as were ever wanted at once."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Make new threads, in a child that has none."""
        self._lock, self._threads, self._pool = threading.Lock(), 0, None

    def of(self, threads: int) -> ThreadPoolExecutor:
        """A pool with that many threads."""
        with self._lock:
            if self._pool is None or self._threads < threads:
                self._threads, self._pool = threads, ThreadPoolExecutor(threads, "gpubp-exact")
            return self._pool

    _pool: ThreadPoolExecutor | None


_pool = _Pool()
renew_in_children(_pool)


def threads_for(words: Words) -> int:
    """How many threads make the product of a block.

    >>> threads_for([0] * 13 + [1, 0, 0, 0] * 2)
    1
    """
    flops = 2.0 * words[M] * words[N] * words[K] * words[STACK] * words[STACK + 4]
    if flops < SMALL_FLOPS:
        return 1
    parts = max(words[STACK], words[M] // CUT, words[N] // CUT)
    return min(threads_now(), parts) if parts > 1 else 1


def share(words: Words, real: str, make: Callable[[Words, str], Any]) -> None:
    """make(words, real), or the same in parts, by several threads.

    >>> share([0] * 13 + [1, 0, 0, 0] * 2, "float32", lambda words, real: print(real))
    float32
    """
    threads = threads_for(words)
    if threads == 1:
        make(words, real)
        return
    parts = _parts(words, threads)
    pool = _pool.of(threads - 1)
    waiting = [submit(pool, make, part, real) for part in parts[1:]]
    make(parts[0], real)
    for future in waiting:
        if future is not None:
            future.result()


def _parts(words: Words, count: int) -> list[Words]:
    """The block cut into so many parts: of the stack, or else of the rows or columns of the result."""
    size, unit = M, CUT
    steps: tuple[tuple[int, int], ...] = (A, A + 1), (OUT, OUT + 1)
    if words[STACK] >= count:
        size, steps, unit = STACK, ((A, STACK + 1), (B, STACK + 2), (OUT, STACK + 3)), 1
    elif words[N] > words[M]:
        size, steps, unit = N, ((B, B + 2), (OUT, OUT + 2)), CUT
    units = -(-words[size] // unit)
    ends = [min(units * k // count * unit, words[size]) for k in range(count + 1)]
    found = []
    for first, end in zip(ends, ends[1:], strict=False):
        part = list(words)
        part[size] = end - first
        for place, step in steps:
            part[place] += first * words[step]
        found.append(part)
    return found
