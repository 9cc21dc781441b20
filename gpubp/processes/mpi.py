"""A group of processes whose messages MPI carries, by mpi4py."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..backends import Array
from ..backends.order import tree_pairs
from ..errors import CommunicationError
from .base import Processes, VectorSlices
from .notices import Member, Notices
from .waiting import Waiting, time_limit

LARGEST = 1 << 30  # bytes of a message: MPI before version 4 counts them by 31 bits
TAGS = 16384  # MPI has 32768 at least; two for each object of slices


def _bytes_of(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The memory of a contiguous array as a vector of bytes."""
    return a.reshape(-1).view(np.uint8)


class MPIProcesses(Processes):
    """The processes of a communicator of mpi4py.

    communicator: an intracommunicator; all its processes make this object at the same place. limit: seconds to wait for
    the others, by default 30 minutes, or what the environment variable GPUBP_PROCESSES_TIMEOUT says.

    bytes_sent, messages_sent: by this process so far, without notices. Calls are made by one thread at a time.
    """

    def __init__(self, communicator: Any, limit: float | None = None) -> None:
        from mpi4py import MPI

        limit = time_limit(limit)
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self.bytes_sent = self.messages_sent = 0
        self._tags = 0
        self._test_all: Callable[[Any], bool] = MPI.Request.Testall
        self._in_place = MPI.IN_PLACE
        self._mpi_error = MPI.Exception
        self.notices = Notices(communicator)  # until there is one for notices alone
        self._waiting = Waiting(self.notices, limit)
        for_notices, request = communicator.Idup()
        # A duplicate that is still being made carries no notices, so this waits by MPI itself.
        request.Wait()
        self.notices.communicator = for_notices
        self.communicator, request = communicator.Idup()
        with self._call("the start of all processes"):
            self.wait([request])
        self.notices.members = [Member(*member) for member in self.collect([socket.gethostname(), os.getpid()])]

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        """A call that all processes make, called `name` in messages to users; MPI's errors become our own."""
        self.notices.begin(name)
        try:
            yield
        except self._mpi_error as problem:
            raise CommunicationError(
                f"process {self.rank} of {self.size}: MPI reports an error in {name}: {problem}"
            ) from problem

    def wait(self, requests: list[Any]) -> None:
        """Until all requests are done."""
        self._waiting.until(partial(self._test_all, requests))

    def count(self, size: int, messages: int = 1) -> None:
        """Count messages of `size` bytes together."""
        self.bytes_sent += size
        self.messages_sent += messages

    def new_tags(self) -> int:
        """The first of two tags, the same in all processes."""
        self._tags += 1
        return 2 * (self._tags % TAGS)

    def gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        """See `Processes.gather`."""
        with self._call("the exchange of sums"):
            self._gather(a, out)

    def _gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        self.count(a.nbytes * (self.size - 1), self.size - 1)
        self.wait([self.communicator.Iallgather(_bytes_of(a), _bytes_of(out))])

    def broadcast(self, a: np.ndarray[Any, Any]) -> None:
        """See `Processes.broadcast`."""
        with self._call("the copy of the first process's numbers"):
            self._broadcast(_bytes_of(a))

    def _broadcast(self, content: np.ndarray[Any, Any]) -> None:
        for low in range(0, len(content), LARGEST):
            part = content[low : low + LARGEST]
            if self.rank == 0:
                self.count(len(part) * (self.size - 1), self.size - 1)
            self.wait([self.communicator.Ibcast(part, 0)])

    def share(self, value: Any) -> Any:
        """See `Processes.share`."""
        content = np.frombuffer(json.dumps(value).encode() if self.rank == 0 else b"", np.uint8).copy()
        with self._call("what the first process says to all"):
            length = np.array([len(content)], np.int64)
            self._broadcast(_bytes_of(length))
            if self.rank:
                content = np.empty(int(length[0]), np.uint8)
            self._broadcast(content)
        return json.loads(content.tobytes())

    def collect(self, value: Any) -> list[Any]:
        """See `Processes.collect`."""
        content = np.frombuffer(json.dumps(value).encode(), np.uint8)
        with self._call("what all processes say to each other"):
            lengths = np.empty(self.size, np.int64)
            self._gather(np.array([len(content)], np.int64), lengths)
            padded = np.zeros(int(lengths.max()), np.uint8)
            padded[: len(content)] = content
            all_of_them = np.empty((self.size, len(padded)), np.uint8)
            self._gather(padded, all_of_them)
        return [json.loads(all_of_them[p, : lengths[p]].tobytes()) for p in range(self.size)]

    def slices(self, vector: Array, bounds: Sequence[int]) -> MPISlices:
        """See `Processes.slices`; the vector is on the host. Raises ValueError for bounds that don't fit."""
        return MPISlices(self, vector, bounds)


class MPISlices(VectorSlices):
    """Slices of a vector on the host, each summed by its own process.

    Each process sends slice q to process q, as soon as `start` says that it is ready, and process q adds what came as a
    tree in the order of ranks: so the bits don't depend on which message comes first.
    """

    def __init__(self, processes: MPIProcesses, vector: Any, bounds: Sequence[int]) -> None:
        size, rank = processes.size, processes.rank
        bounds = [int(bound) for bound in bounds]
        if len(bounds) != size + 1 or sorted(bounds) != bounds or bounds[0] < 0 or bounds[-1] > len(vector):
            raise ValueError(
                f"slices of {len(vector)} numbers for {size} processes need {size + 1} rising bounds between 0 and "
                f"{len(vector)}; got {bounds}."
            )
        self._processes, self._bounds, self._tag = processes, bounds, processes.new_tags()
        self._slices = [vector[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]
        self._own = self._slices[rank]
        # What the others send for this process's slice. Its own numbers are added where they are.
        received = np.empty((size - 1, len(self._own)), self._own.dtype)
        self._parts = [*received[:rank], self._own, *received[rank:]]
        self._pairs = tree_pairs(size)
        self._receiving: list[Any] | None = None  # requests, from the first `start` to the end of `sum`
        self._sending: list[Any] = []
        self._sent_from = size  # slices from here on have been sent

    def start(self, low: int) -> None:
        """See `VectorSlices.start`."""
        first = self._sent_from
        while first and self._bounds[first - 1] >= low:
            first -= 1
        self._send_from(first)
        self._processes._test_all(self._sending)  # gives MPI the time to send

    def _send_from(self, first: int) -> None:
        """Send the slices from `first` on that have not been sent."""
        processes = self._processes
        if self._receiving is None:
            self._receiving = [
                request
                for rank, part in enumerate(self._parts)
                if rank != processes.rank
                for request in self._requests(processes.communicator.Irecv, part, rank, self._tag)
            ]
        for rank in range(self._sent_from - 1, first - 1, -1):
            if rank != processes.rank:
                self._sending += self._send(self._slices[rank], rank, self._tag)
        self._sent_from = first

    def _requests(self, method: Any, a: Any, rank: int, tag: int) -> list[Any]:
        content = _bytes_of(a)
        return [method(content[low : low + LARGEST], rank, tag) for low in range(0, len(content), LARGEST)]

    def _send(self, a: Any, rank: int, tag: int) -> list[Any]:
        requests = self._requests(self._processes.communicator.Isend, a, rank, tag)
        self._processes.count(a.nbytes, len(requests))
        return requests

    def sum(self) -> None:
        """See `VectorSlices.sum`."""
        processes = self._processes
        with processes._call("the sum of gradients"):
            self._send_from(0)
            processes.wait(self._receiving or [])
            for to, of in self._pairs[:-1]:
                np.add(self._parts[to], self._parts[of], out=self._parts[to])
            for to, of in self._pairs[-1:]:
                np.add(self._parts[to], self._parts[of], out=self._own)
            processes.wait(self._sending)
        self._receiving, self._sending, self._sent_from = None, [], processes.size

    def gather(self) -> None:
        """See `VectorSlices.gather`."""
        processes = self._processes
        others = [rank for rank in range(processes.size) if rank != processes.rank]
        with processes._call("the exchange of new parameters"):
            requests = []
            for rank in others:
                requests += self._requests(processes.communicator.Irecv, self._slices[rank], rank, self._tag + 1)
            for rank in others:
                requests += self._send(self._own, rank, self._tag + 1)
            processes.wait(requests)
