"""What training asks of several processes, whatever library carries the messages.

Each process has the numbers of its own shards of a batch. Sums over all shards are a binary tree over neighbours
(`backends/order.py`): a process computes the part of the tree that its shards are, and the parts of the processes, in
the order of their ranks, are added as a tree again:

    (1)  s = tree(s₀, s₁, … )           sₚ: what process p has

So the bits don't depend on how many processes share the work, nor on which messages come first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array
from ..backends.order import add_in_place


class VectorSlices(ABC):
    """A vector that every process has, cut into one slice for each process; see `Processes.slices`.

    A training step sums gradients into slices, each process updates the parameters of its own slice, and then all
    slices of the parameters are gathered: together 2 (P - 1)/P of the vector's bytes are sent by each of P processes.
    """

    @abstractmethod
    def start(self) -> None:
        """Say that this process's vector is ready to be summed: its slices may be sent at once, while others are still
        being computed. Calling it before `sum` is optional."""

    @abstractmethod
    def sum(self) -> None:
        """(1) for this process's slice, in place: the whole of this process's vector is ready. The other slices of the
        vector are left with any numbers, but with 0 where every process has 0. All processes call it at the same
        place."""

    @abstractmethod
    def gather(self) -> None:
        """Bring every other slice from the process that has it, in place. All processes call it at the same place."""


class Processes(ABC):
    """A group of processes, of which this is one; each makes the same calls in the same order.

    rank: the number of this process. size: how many there are. request: the number of a signal that asks this process
    to end, 0 for none. requested: the largest of all processes, as of the last sum that they made together. doing: what
    this process does, as "step 17": a gather compares it, so that none takes the numbers of another step for its own.

    A call raises CommunicationError, which names the ranks, where a process has ended, makes another call, or has not
    come to the same call within the time that the group allows.
    """

    rank: int
    size: int
    request: int = 0
    requested: int = 0
    doing: str = ""

    def agree(self) -> int:
        """Bring `requested` up to date, and return it. All processes call it at the same place."""
        everything = np.zeros((self.size, 1))
        self.gather(np.array([float(self.request)]), everything)
        self.requested = int(everything.max())
        return self.requested

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes files: rank 0."""
        return self.rank == 0

    @abstractmethod
    def gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        """out[p] = the `a` of process p, for small host arrays of one shape and type, contiguous. out: (size,
        *a.shape)."""

    @abstractmethod
    def broadcast(self, a: np.ndarray[Any, Any]) -> None:
        """Put the numbers of rank 0 into `a`, a contiguous host array of any size, the same shape and type in all."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """The value of rank 0, made of what JSON has; what the others give is ignored."""

    @abstractmethod
    def collect(self, value: Any) -> list[Any]:
        """The values of all processes, by rank; made of what JSON has."""

    @abstractmethod
    def slices(self, vector: Array, bounds: Sequence[int]) -> VectorSlices:
        """The slices bounds[p] to bounds[p + 1] of a contiguous vector, one for each process p."""


def tree_sum(parts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(1) over the first axis of an array of parts, which is used as scratch memory; a view of it, (…).

    >>> tree_sum(np.array([[1.0], [2.0], [3.0]]))
    array([6.])
    """
    total: np.ndarray[Any, Any] = add_in_place(np.add, [parts[p : p + 1] for p in range(len(parts))], as_tree=True)[0]
    return total
