"""The number of threads that BLAS uses, and how to limit it to one."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from ..process import renew_in_children

SMALL_FLOPS, SMALL_SIZE = 2e7, 2 << 20  # of a computation that takes about 0.2 ms


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    controller = ThreadpoolController().select(user_api="blas")
    return controller if len(controller) else None


class _OneThread:
    """A context in which BLAS uses one thread; several threads of Python may be inside at once.

    BLAS has one setting for the whole process: the first to enter sets it, and the last to leave restores it. A BLAS
    on OpenMP has one setting for each thread, which each sets and restores for itself. threadpoolctl only obeys the
    first thread of Python that uses it, so the functions beneath it are called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[int] = []  # of the process's settings
        self._own = threading.local()

    def _entered(self) -> list[list[int]]:
        """The settings of this thread before each time it entered."""
        if not hasattr(self._own, "entered"):
            self._own.entered = []
        entered: list[list[int]] = self._own.entered
        return entered

    def after_fork(self) -> None:
        """Count only the thread that forked, which alone goes on in the new process; it still restores the settings."""
        self._lock, self._users = threading.Lock(), len(self._entered())

    def threads(self) -> int:
        """The number of BLAS's threads outside all contexts."""
        own = (self._entered() or [_read(_libraries(own=True))])[0]
        with self._lock:
            return min([*(self._before or _read(_libraries(own=False))), *own])

    def in_use(self) -> bool:
        """Whether anybody is inside."""
        return self._users > 0

    def __enter__(self) -> None:
        own = _libraries(own=True)
        self._entered().append(_read(own))
        _set(own, [1] * len(own))
        shared = _libraries(own=False)
        with self._lock:
            if not self._users:
                self._before = self._before or _read(shared)
            self._users += 1
            _set(shared, [1] * len(shared))  # each time: others may have set it meanwhile

    def __exit__(self, *problem: object) -> None:
        _set(_libraries(own=True), self._entered().pop())
        with self._lock:
            self._users -= 1
            if not self._users:
                _set(_libraries(own=False), self._before)
                self._before = []


def _libraries(own: bool) -> list[Any]:
    """The BLAS libraries in which each thread has a setting of its own, or the others."""
    return [
        library
        for library in _controller().lib_controllers
        if (getattr(library, "threading_layer", "") == "openmp") == own
    ]


def _read(libraries: list[Any]) -> list[int]:
    return [int(library.get_num_threads() or 1) for library in libraries]


def _set(libraries: list[Any], numbers: list[int]) -> None:
    for library, number in zip(libraries, numbers, strict=True):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


_one_thread = _OneThread()
renew_in_children(_one_thread)


def blas_threads() -> int:
    """The threads that BLAS may use on this machine's cores, 1 where that can't be changed.

    >>> blas_threads() >= 1
    True
    """
    if _controller() is None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_one_thread.threads(), cores)


def threads_now() -> int:
    """The threads that BLAS may use at this moment: one, within `one_blas_thread`.

    >>> with one_blas_thread():
    ...     threads_now()
    1
    """
    return 1 if _one_thread.in_use() else blas_threads()


def one_blas_thread() -> AbstractContextManager[None]:
    """A context in which BLAS computes in the thread that calls it.

    >>> with one_blas_thread():
    ...     pass
    """
    return _one_thread if _controller() is not None else nullcontext()


def own_blas_thread() -> None:
    """Let BLAS compute in the calling thread from now on, if each thread has a setting of its own. For the threads of a
    pool, within `one_blas_thread`.

    >>> own_blas_thread()
    """
    if _controller() is not None:
        own = _libraries(own=True)
        _set(own, [1] * len(own))


def blas_for(flops: float, size: int) -> AbstractContextManager[None]:
    """A context with the best number of BLAS's threads for a few products of `flops` operations together on arrays of
    `size` bytes, as a step makes them, or a recurrent layer for one step of time.

    Threads share a product in microseconds on cores that are idle; on a core that another process uses they wait for
    each other, which made steps of 0.2 ms 50 times as long. So small steps use one thread.

    >>> with blas_for(1e6, 60_000):
    ...     pass
    """
    return one_blas_thread() if is_small(flops, size) else nullcontext()


def is_small(flops: float, size: int) -> bool:
    """Whether `flops` operations on arrays of `size` bytes are too few to be shared among threads.

    >>> is_small(1e6, 60_000), is_small(1e9, 60_000)
    (True, False)
    """
    return flops < SMALL_FLOPS and size < SMALL_SIZE
