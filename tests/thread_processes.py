"""Processes that are threads of one Python, so that what several processes do is tested without MPI.

Stricter than it need be: slices are read when they are said to be ready, and what a sum may leave undefined is NaN.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from gpubp.errors import CommunicationError
from gpubp.processes import Processes, VectorSlices, tree_sum

Result = TypeVar("Result")


class Room:
    """Where threads meet, each with its value."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=seconds)

    def meet(self) -> None:
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError:
            raise CommunicationError("another thread has failed, or has not come") from None

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """The values of all, by rank."""
        self.slots[rank] = value
        self.meet()
        values = list(self.slots)
        self.meet()  # nobody puts in its next value before all have read
        return values


class ThreadProcesses(Processes):
    """One of `size` threads that act as processes; `in_threads` makes them. calls: the names of calls so far."""

    def __init__(self, room: Room, rank: int) -> None:
        self.room, self.rank, self.size = room, rank, room.size
        self.calls: list[str] = []

    def _exchange(self, name: str, value: Any) -> list[Any]:
        self.calls.append(name)
        name = f"{name} of {self.doing}" if self.doing else name
        names, values = zip(*self.room.exchange(self.rank, (name, value)), strict=True)
        assert len(set(names)) == 1, f"processes make different calls: {names}"
        return list(values)

    def gather(self, a: np.ndarray, out: np.ndarray) -> None:
        assert a.flags.c_contiguous and out.flags.c_contiguous and out.shape == (self.size, *a.shape)
        assert a.dtype == out.dtype
        for rank, part in enumerate(self._exchange(f"gather {a.dtype} {a.shape}", a.copy())):
            out[rank] = part

    def broadcast(self, a: np.ndarray) -> None:
        assert a.flags.c_contiguous
        a[...] = self._exchange(f"broadcast {a.dtype} {a.shape}", a.copy())[0]

    def share(self, value: Any) -> Any:
        return json.loads(self._exchange("share", json.dumps(value) if self.leads else "")[0])

    def collect(self, value: Any) -> list[Any]:
        return [json.loads(text) for text in self._exchange("collect", json.dumps(value))]

    def slices(self, vector: Any, bounds: Sequence[int]) -> ThreadSlices:
        return ThreadSlices(self, vector, bounds)


class ThreadSlices(VectorSlices):
    def __init__(self, processes: ThreadProcesses, vector: Any, bounds: Sequence[int]) -> None:
        assert len(bounds) == processes.size + 1 and list(bounds) == sorted(bounds)
        self.processes = processes
        self.slices = [vector[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]
        self.ready: list[np.ndarray] | None = None  # copies, as of `start`

    def start(self) -> None:
        if self.ready is None:
            self.ready = [part.copy() for part in self.slices]

    def sum(self) -> None:
        self.start()
        rank = self.processes.rank
        ready, self.ready = self.ready, None
        parts = self.processes._exchange("sum", ready)
        for number, part in enumerate(self.slices):
            anybody = np.any([theirs[number] != 0 for theirs in parts], axis=0)
            part[anybody] = np.nan if part.dtype.kind == "f" else 77
        self.slices[rank][...] = tree_sum(np.stack([part[rank] for part in parts]))

    def gather(self) -> None:
        rank = self.processes.rank
        for part, own in zip(
            self.slices, self.processes._exchange("gather slices", self.slices[rank].copy()), strict=True
        ):
            part[...] = own


def in_threads(size: int, work: Callable[[ThreadProcesses], Result], seconds: float = 300.0) -> list[Result]:
    """What `work` returns in each of `size` threads, by rank. If some fail, the error of the first that failed.

    seconds: how long a thread waits for the others in a call.
    """
    room, results, errors = Room(size, seconds), [None] * size, []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadProcesses(room, rank))
        except BaseException as problem:
            errors.append(problem)
            room.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
