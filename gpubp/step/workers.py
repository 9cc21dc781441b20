"""Workers: threads that share the rows of one step, and processes that do.

On a CPU a matrix product uses all cores, and everything else uses one: patches, pooling, activations, updates. With
several workers every core does all of it on its part of the batch. The workers wait for each other where rows are
summed, for batch normalization's means and for the gradients:

    (1)  a = Σₖ aₖ        over the workers k, in their order, computed by each: the same bits in every worker

The bits of (1) depend on the number of workers. With shards they don't: the batch has a fixed number of parts, each is
computed by itself, and (1) is a binary tree over neighbours, whoever computes them:

    (2)  a = tree(a₀, a₁, …)        over the shards; first those of one process, then over the processes

In exact numerics (1) is a tree too, and the workers' rows are such that it is a part of the tree over all rows
(`order.py`): so any number of workers or processes gives the same bits.

One part is a team of one: it has no other thread, waits for nobody, and sums nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..backends import Array, Backend
from ..backends.cpu.blas_threads import blas_threads, own_blas_thread
from ..backends.order import add_as_tree, share_of_worker, tree
from ..backends.process import renew_in_children
from ..processes import Processes, tree_sum
from .turns import Turns

LEAST_ROWS = 16  # of one worker
ARRAYS_TO_PARAMETERS = 2.5


class Team:
    """The parts of a step's batch: each is computed by a thread, of which `workers` run at a time.

    parts: of this process. The first one's thread is the one that calls `run`. workers: None for all parts at once.
    processes: that have as many parts each; None for this one alone. ordered: whether sums of several parts are the
    tree (2).
    one_thread: whether BLAS computes in the thread that calls it, so that the bits don't go by its threads; always with
    several parts.

    first: the number of this process's first part among those of all processes. size: the parts of all processes.

    >>> team, seen = Team(2), [0, 0]
    >>> team.run(lambda k: seen.__setitem__(k, k + 1))
    >>> seen
    [1, 2]
    """

    def __init__(
        self,
        parts: int,
        workers: int | None = None,
        processes: Processes | None = None,
        ordered: bool = False,
        one_thread: bool = False,
    ) -> None:
        self.parts, self.workers, self.processes = parts, min(workers or parts, parts), processes
        self.first = 0 if processes is None else processes.rank * parts
        self.size = parts if processes is None else processes.size * parts
        self.ordered = (ordered or processes is not None) and self.size > 1
        self.one_thread = one_thread or parts > 1
        self.met: list[list[Array]] = []  # for every sum of a step, each part's array
        self.sums: list[TreeSum] = []  # of a step, where sums are trees
        self._making = threading.Lock()
        self.after_fork()
        if parts > 1:
            renew_in_children(self)

    def after_fork(self) -> None:
        """Take new threads: a forked process has none of its parent's."""
        self._turns = Turns(self.parts, self.workers)
        several = self.parts > 1
        self._pool = ThreadPoolExecutor(self.parts - 1, "gpubp-worker", own_blas_thread) if several else None

    def again(self) -> Team:
        """A team like this one, for another step."""
        return Team(self.parts, self.workers, self.processes, self.ordered, self.one_thread)

    def run(self, work: Callable[[int], None]) -> None:
        """work(k) for every part k of this process, the first in this thread; raises what one of them raises."""
        if self._pool is None:
            work(0)
            return
        self._turns.begin()
        others = [self._pool.submit(self._guarded, work, k) for k in range(1, self.parts)]
        problems: list[BaseException] = []
        try:
            self._guarded(work, 0)
        except BaseException as mine:
            problems.append(mine)
        problems += [theirs for other in others if (theirs := other.exception()) is not None]
        if problems:
            raise next((p for p in problems if not isinstance(p, threading.BrokenBarrierError)), problems[0])

    def _guarded(self, work: Callable[[int], None], k: int) -> None:
        try:
            self._turns.enter(k)
            work(k)
            self._turns.leave()
        except BaseException:
            self._turns.fail()  # nobody waits for a thread that has failed
            raise

    def meet(self, k: int, then: Callable[[], None] | None = None) -> None:
        """Wait, as part k of this process, until its other parts have come here; the last one first calls `then`."""
        if self.parts > 1:
            self._turns.meet(k, then)
        elif then is not None:
            then()

    def sum_at(self, i: int, a: Array, be: Backend) -> TreeSum:
        """Sum number i of a step, of arrays like a."""
        with self._making:
            if i == len(self.sums):
                self.sums.append(TreeSum(self, a, be))
            return self.sums[i]


class TreeSum:
    """(2) for one sum of a step. arrays: of this process's parts. total: the sum, the same array for all parts.

    >>> from gpubp.backends import get_backend
    >>> found = TreeSum(Team(3, ordered=True), np.zeros(2), get_backend("cpu"))
    >>> found.arrays[:] = [np.full(2, 0.1), np.full(2, 0.2), np.full(2, 0.3)]
    >>> found.add()
    >>> found.total.tolist()
    [0.6000000000000001, 0.6000000000000001]
    """

    def __init__(self, team: Team, a: Array, be: Backend) -> None:
        self.arrays: list[Array] = [None] * team.parts
        self._be, self._processes = be, team.processes
        self._places = [be.zeros(a.shape, a.dtype) for _ in range(team.parts - 1)]
        self.total: Array = self._places[-1] if self._places else None
        if self._processes is not None and be.name != "cpu":
            self._mine, self.total = be.zeros(a.shape, a.dtype), be.zeros(a.shape, a.dtype)
            self._all = be.zeros((self._processes.size, *a.shape), a.dtype)
        elif self._processes is not None:  # the last entry is the signal that a process has received
            self._mine = np.zeros(a.size + 1, a.dtype)
            self._all = np.zeros((self._processes.size, a.size + 1), a.dtype)
            self.total = self._all[0, :-1].reshape(a.shape)

    def add(self) -> None:
        """Compute the total, when every part of this process has its array in place."""
        places = iter(self._places)
        found = tree(self.arrays, lambda a, b: np.add(a, b, out=next(places)))
        if self._processes is None:
            return
        if self._be.name != "cpu":
            self._add_on_device(found)
            return
        self._mine[:-1] = found.reshape(-1)
        self._mine[-1] = self._processes.request
        self._processes.gather(self._mine, self._all)
        self._processes.requested = int(self._all[:, -1].max())
        tree_sum(self._all)

    def _add_on_device(self, found: Array) -> None:
        """The total, by calls that are noted with the step; signals go another way."""
        assert self._processes is not None
        if not found.flags.c_contiguous:
            self._be.xp.copyto(self._mine, found)
            found = self._mine
        self._processes.gather(found, self._all)
        add_as_tree(self._be, [self._all[p] for p in range(self._processes.size)], self.total)


class Member:
    """One part of a team's batch, and the sums over all parts that it takes part in.

    team: whose. local: which of the parts of this process. be: its own backend. number: which of all parts.

    >>> from gpubp.backends import get_backend
    >>> alone = Member(Team(1), 0, get_backend("cpu"))
    >>> alone.sum(3.0)
    3.0
    """

    def __init__(self, team: Team, local: int, backend: Backend) -> None:
        self.team, self.local, self.number, self.be = team, local, team.first + local, backend
        self._sums: list[Array] = []  # places for each sum of a step
        self._next = 0

    @property
    def leads(self) -> bool:
        """Whether this part updates what all parts of the process share, as running statistics."""
        return self.local == 0

    def begin(self) -> None:
        """Begin a step."""
        self._next = 0

    def meet(self, then: Callable[[], None] | None = None) -> None:
        """Wait for the other parts of this process, the last of which calls `then`; part of the step."""
        if self.team.parts == 1 and self.be.name != "cpu":  # where `then` is calls that are noted one by one
            if then is not None:
                then()
        elif self.team.parts > 1 or then is not None:
            self.be.run(self.team.meet, self.local, then)

    def sum(self, a: Array) -> Array:
        """(1) or (2): Σ of the parts' arrays; `a` itself for a team of one. Each part calls it at the same place of the
        step, and leaves `a` and the sum as they are until the team has met again."""
        team = self.team
        if team.size == 1:
            return a
        i, self._next = self._next, self._next + 1
        if team.ordered:
            found = team.sum_at(i, a, self.be)
            found.arrays[self.local] = a
            self.meet(found.add)
            return found.total
        if i == len(self._sums):
            self._sums.append(self.be.zeros(a.shape, a.dtype))
        if i == len(team.met):
            team.met.append([None] * team.parts)
        arrays = team.met[i]
        arrays[self.local] = a
        self.meet()
        total, add = self._sums[i], self.be.xp.add
        add(arrays[0], arrays[1], out=total)
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
