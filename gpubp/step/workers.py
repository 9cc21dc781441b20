"""Workers: threads that share one step, each with a part of the rows and one thread of BLAS.

On a CPU a matrix product keeps all cores busy, and all else keeps one: patches, pooling, activations, updates. With
workers every core does all of it, on its part of the batch. They meet where rows are summed,

    (1)  a = Σₖ aₖ        over the workers k, in their order, computed by each: the same bits in every worker

for batch normalization's means and for the gradients. NumPy lets other threads run while it computes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from ..backends import Array, Backend

__all__ = ["Member", "Team", "advised", "blas_for", "blas_threads", "is_small", "one_blas_thread", "own_blas_thread"]

LEAST_ROWS = 16  # of one worker
ARRAYS_TO_PARAMETERS = 2.5
SMALL_FLOPS, SMALL_SIZE = 2e7, 2 << 20  # of a step that takes about 0.2 ms


class Team:
    """So many workers.

    >>> team, seen = Team(2), [0, 0]
    >>> team.run(lambda k: seen.__setitem__(k, k + 1))
    >>> seen
    [1, 2]
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.met: list[list[Array]] = []  # the arrays of every sum of a step, by worker
        self._barrier = threading.Barrier(workers)
        self._pool = ThreadPoolExecutor(workers - 1, "gpubp-worker", own_blas_thread) if workers > 1 else None

    def run(self, work: Callable[[int], None]) -> None:
        """work(k) for every worker k at once, the first in this thread; raises what one of them raises."""
        if self._pool is None:
            work(0)
            return
        others = [self._pool.submit(self._guarded, work, k) for k in range(1, self.workers)]
        problems: list[BaseException] = []
        try:
            self._guarded(work, 0)
        except BaseException as mine:
            problems.append(mine)
        problems += [theirs for other in others if (theirs := other.exception()) is not None]
        if problems:
            self._barrier.reset()
            raise next((p for p in problems if not isinstance(p, threading.BrokenBarrierError)), problems[0])

    def _guarded(self, work: Callable[[int], None], k: int) -> None:
        try:
            work(k)
        except BaseException:
            self._barrier.abort()  # nobody waits for one who will not come
            raise

    def meet(self) -> None:
        """Wait until every worker has come here."""
        self._barrier.wait()


class Member:
    """One worker of a team, and the sums that it takes part in.

    team, number: whose, and which. backend: its own.
    """

    def __init__(self, team: Team, number: int, backend: Backend) -> None:
        self.team, self.number, self._be = team, number, backend
        self._sums: list[Array] = []
        self._next = 0

    def begin(self) -> None:
        """A step begins."""
        self._next = 0

    def meet(self) -> None:
        """Wait for the others; in the step."""
        self._be.run(self.team.meet)

    def sum(self, a: Array) -> Array:
        """(1): Σ of the workers' arrays; each calls it at the same place of the step, and leaves `a` as it is until the
        team has met again."""
        i, self._next = self._next, self._next + 1
        if i == len(self._sums):
            self._sums.append(self._be.zeros(a.shape, a.dtype))
        if i == len(self.team.met):
            self.team.met.append([None] * self.team.workers)
        arrays = self.team.met[i]
        arrays[self.number] = a
        self.meet()
        self._be.xp.add(arrays[0], arrays[1], out=self._sums[i])
        for other in arrays[2:]:
            self._be.xp.add(self._sums[i], other, out=self._sums[i])
        return self._sums[i]


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    controller = ThreadpoolController().select(user_api="blas")
    return controller if len(controller) else None


class _OneThread:
    """BLAS has one setting for the whole process: the first who wants one thread sets it, the last puts it back.

    A BLAS that uses OpenMP has one for each thread, which sets it and puts it back for itself. threadpoolctl obeys one
    thread of Python and ignores the others without a word, so the functions beneath it are called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[int] = []  # of the process's settings
        self._own = threading.local()

    def _entered(self) -> list[list[int]]:
        """What this thread's own settings were whenever it entered."""
        if not hasattr(self._own, "entered"):
            self._own.entered = []
        entered: list[list[int]] = self._own.entered
        return entered

    def after_fork(self) -> None:
        """In the new process only the thread that forked is left; what BLAS had before is still to be put back."""
        self._lock, self._users = threading.Lock(), len(self._entered())

    def threads(self) -> int:
        """Those of BLAS when nobody limits them."""
        own = (self._entered() or [_read(_libraries(own=True))])[0]
        with self._lock:
            return min([*(self._before or _read(_libraries(own=False))), *own])

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
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread.after_fork)


def blas_threads() -> int:
    """The threads that BLAS may use on this machine's cores, 1 where that can't be changed.

    >>> blas_threads() >= 1
    True
    """
    if _controller() is None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_one_thread.threads(), cores)


def advised(rows: int, size: int, weights: int) -> int:
    """How many workers share a step on `rows` rows best, whose arrays take `size` bytes and parameters `weights`.

    Starting and meeting cost about 0.2 ms a step, products of few rows are slow, and each worker has gradients of all
    parameters that must be summed. On two cores, two workers made convolutional networks twice as fast as BLAS's own
    threads, whose arrays are many times their parameters. For dense layers it was a gain with a batch of 1,024 rows,
    3 times the parameters, and a loss with 128, where arrays were once and twice the parameters.

    >>> advised(32, 60_000, 26_000), advised(128, 2 << 20, 3 << 20)
    (1, 1)
    """
    if size < ARRAYS_TO_PARAMETERS * weights:
        return 1
    workers = min(blas_threads(), size >> 20, rows // LEAST_ROWS)
    return next((w for w in range(workers, 1, -1) if rows % w == 0), 1)


def one_blas_thread() -> AbstractContextManager[None]:
    """Inside, BLAS computes in the thread that calls it.

    >>> with one_blas_thread():
    ...     pass
    """
    return _one_thread if _controller() is not None else nullcontext()


def own_blas_thread() -> None:
    """From now on BLAS computes in the thread that calls this, if each thread has a setting of its own: for the threads
    of a pool, within `one_blas_thread`.

    >>> own_blas_thread()
    """
    if _controller() is not None:
        own = _libraries(own=True)
        _set(own, [1] * len(own))


def blas_for(flops: float, size: int) -> AbstractContextManager[None]:
    """Where steps of so many operations in products, on arrays of `size` bytes, run with the right threads of BLAS.

    Threads share a product in microseconds on cores that are idle; on a core that somebody else uses they wait for each
    other, which made steps of 0.2 ms 50 times as long. Small steps are left to one.

    >>> with blas_for(1e6, 60_000):
    ...     pass
    """
    return one_blas_thread() if is_small(flops, size) else nullcontext()


def is_small(flops: float, size: int) -> bool:
    """Whether so many operations in products, on arrays of `size` bytes, are too short to be shared out among threads.

    >>> is_small(1e6, 60_000), is_small(1e9, 60_000)
    (True, False)
    """
    return flops < SMALL_FLOPS and size < SMALL_SIZE
