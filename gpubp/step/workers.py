"""Workers: threads that share the rows of one step.

On a CPU a matrix product uses all cores, and everything else uses one: patches, pooling, activations, updates. With
several workers every core does all of it on its part of the batch. The workers wait for each other where rows are
summed, for batch normalization's means and for the gradients:

    (1)  a = Σₖ aₖ        over the workers k, in their order, computed by each: the same bits in every worker

In exact numerics (1) is a tree, and the workers' rows are such that it is a part of the tree over all rows
(`order.py`): so any number of workers gives the same bits.

One worker is a team of one: it has no other thread, waits for nobody, and sums nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..backends import Array, Backend
from ..backends.cpu.blas_threads import blas_threads, own_blas_thread
from ..backends.order import share_of_worker, tree
from ..backends.process import renew_in_children

LEAST_ROWS = 16  # of one worker
ARRAYS_TO_PARAMETERS = 2.5


class Team:
    """A number of workers, each a thread; the first is the thread that calls `run`.

    >>> team, seen = Team(2), [0, 0]
    >>> team.run(lambda k: seen.__setitem__(k, k + 1))
    >>> seen
    [1, 2]
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.met: list[list[Array]] = []  # for every sum of a step, each worker's array
        self.after_fork()
        if workers > 1:
            renew_in_children(self)

    def after_fork(self) -> None:
        """Take new threads: a forked process has none of its parent's."""
        self._barrier = threading.Barrier(self.workers)
        several = self.workers > 1
        self._pool = ThreadPoolExecutor(self.workers - 1, "gpubp-worker", own_blas_thread) if several else None

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
            self._barrier.abort()  # nobody waits for a worker that has failed
            raise

    def meet(self) -> None:
        """Wait until every worker has come here."""
        self._barrier.wait()


class Member:
    """One worker of a team, and the sums over all workers that it takes part in.

    team, number: whose, and which. be: its own backend.

    >>> from gpubp.backends import get_backend
    >>> alone = Member(Team(1), 0, get_backend("cpu"))
    >>> alone.sum(3.0)
    3.0
    """

    def __init__(self, team: Team, number: int, backend: Backend) -> None:
        self.team, self.number, self.be = team, number, backend
        self._sums: list[list[Array]] = []  # for every sum of a step, places for what is added
        self._next = 0

    def begin(self) -> None:
        """Begin a step."""
        self._next = 0

    def meet(self) -> None:
        """Wait for the other workers; part of the step."""
        if self.team.workers > 1:
            self.be.run(self.team.meet)

    def sum(self, a: Array) -> Array:
        """(1): Σ of the workers' arrays; each calls it at the same place of the step, and leaves `a` as it is until the
        team has met again. `a` itself for a team of one."""
        if self.team.workers == 1:
            return a
        i, self._next = self._next, self._next + 1
        exact = self.be.numerics == "exact"
        if i == len(self._sums):
            several = range(self.team.workers - 1 if exact else 1)
            self._sums.append([self.be.zeros(a.shape, a.dtype) for _ in several])
        if i == len(self.team.met):
            self.team.met.append([None] * self.team.workers)
        arrays = self.team.met[i]
        arrays[self.number] = a
        self.meet()
        places, add = iter(self._sums[i]), self.be.xp.add
        if exact:
            return tree(arrays, lambda a, b: add(a, b, out=next(places)))
        total = add(arrays[0], arrays[1], out=next(places))
        for other in arrays[2:]:
            add(total, other, out=total)
        return total


def advised(rows: int, size: int, weights: int) -> int:
    """The best number of workers for a step on `rows` rows, whose arrays take `size` bytes and parameters `weights`.

    Starting and waiting cost about 0.2 ms a step, products of few rows are slow, and each worker has gradients of all
    parameters that must be summed. On two cores, two workers made convolutional networks, whose arrays are many times
    their parameters, twice as fast as BLAS's own threads. Dense layers gained with a batch of 1,024 rows, whose arrays
    were 3 times the parameters, and lost with 128 rows, where they were once or twice the parameters.

    >>> advised(32, 60_000, 26_000), advised(128, 2 << 20, 3 << 20)
    (1, 1)
    """
    if size < ARRAYS_TO_PARAMETERS * weights:
        return 1
    workers = min(blas_threads(), size >> 20, rows // LEAST_ROWS)
    return next((w for w in range(workers, 1, -1) if rows % w == 0), 1)


def exact_workers(rows: int, most: int) -> int:
    """How many workers share `rows` rows in exact numerics: the largest number, at most `most`, of which each has one
    part of the tree over the rows.

    >>> exact_workers(256, 4), exact_workers(256, 3), exact_workers(192, 4), exact_workers(96, 2)
    (4, 2, 3, 1)
    """
    return next(workers for workers in range(most, 0, -1) if share_of_worker(rows, workers) is not None)
