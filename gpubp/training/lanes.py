"""Lanes: threads and processes that share the batches of an evaluation, with the numbers of one thread.

    batches 0, 1, 2, …              batch k is evaluated by lane k mod L, a thread of one of the processes
    (1)  ((s₀ + s₁) + s₂) + …       sₖ: the sums of batch k, added in float64 in the order of the batches

A batch has the same rows whoever evaluates it, and each lane computes it on one thread of BLAS. So the bits of (1)
don't depend on threads and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..processes import Processes

Arrays = dict[str, np.ndarray[Any, Any]]


class Lanes(NamedTuple):
    """Who evaluates which batches. threads: of this process. processes: None for this one alone.

    >>> lanes = Lanes(2, None)
    >>> lanes.mine(0, batches=5), lanes.mine(1, batches=5)
    ([0, 2, 4], [1, 3])
    """

    threads: int = 1
    processes: Processes | None = None

    @property
    def total(self) -> int:
        """How many lanes there are in all processes."""
        return self.threads * (1 if self.processes is None else self.processes.size)

    def mine(self, thread: int, batches: int) -> list[int]:
        """The batches of a thread of this process, of so many in all."""
        first = 0 if self.processes is None else self.threads * self.processes.rank
        return list(range(first + thread, batches, self.total))

    def of_all(self, sums: np.ndarray[Any, Any], batch: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """(batches, entries) of all lanes, from those of this process's lanes, where the others have 0. batch: which
        batch each of them is of, where a batch has several."""
        if self.processes is None:
            return sums
        everything = np.empty((self.processes.size, *sums.shape), sums.dtype)
        self.processes.gather(np.ascontiguousarray(sums), everything)
        batch = np.arange(len(sums)) if batch is None else batch
        found: np.ndarray[Any, Any] = everything[batch % self.total // self.threads, np.arange(len(sums))]
        return found

    def kept(self, of_threads: Sequence[Mapping[str, np.ndarray[Any, Any]]], places: Sequence[int]) -> Arrays:
        """What metrics have kept, (places, rows, ...) by name, of all lanes: from that of each thread of this process,
        its batches one after the other. places: how many each batch takes."""
        found: Arrays = {}
        batch = np.repeat(np.arange(len(places)), places)
        names = sorted({name for kept in of_threads for name in kept})
        shapes = {name: next((k[name].shape[1:], k[name].dtype.str) for k in of_threads if name in k) for name in names}
        if self.processes is not None:  # one that has no batch doesn't know the shapes
            shapes = {name: one for theirs in self.processes.collect(shapes) for name, one in theirs.items()}
        for name, (shape, dtype) in sorted(shapes.items()):
            everything = np.zeros((len(batch), *shape), dtype)
            for thread, kept in enumerate(of_threads):
                if name in kept:
                    everything[np.isin(batch, self.mine(thread, len(places)))] = kept[name]
            found[name] = self.of_all(everything, batch)
        return found


def in_order(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(1), of (batches, entries).

    >>> in_order(np.array([[1.0], [2.0]]))
    array([3.])
    """
    total = np.zeros(sums.shape[1])
    for one in sums:
        total += one
    return total
