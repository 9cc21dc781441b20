"""A group of processes whose messages MPI carries, by mpi4py."""

from __future__ import annotations

import json
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..backends import Array
from ..backends.order import tree_pairs
from ..errors import CommunicationError, DeviceError
from .base import Processes, VectorSlices
from .notices import Member, Notices
from .small import SmallMessages, bytes_of, free
from .waiting import Waiting, time_limit

LARGEST = 1 << 30  # bytes of a message: MPI before version 4 counts them by 31 bits, and smaller ones are slower
TAGS = 32768  # so many MPI has at least


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
        self._process, self._calling = os.getpid(), threading.Lock()
        self._test_all: Callable[[Any], bool] = MPI.Request.Testall
        self._start_all: Callable[[Any], object] = MPI.Prequest.Startall
        self._mpi_error = MPI.Exception
        self.notices = Notices(self.rank, self.size)
        self._waiting = Waiting(self.notices, limit)
        with self.call("the start of all processes"):
            for_notices, request = communicator.Idup()
            self.wait([request])
            self.notices.communicator = for_notices
            self.communicator, request = communicator.Idup()
            self.wait([request])
        self._small = SmallMessages(self)
        self.notices.members = [Member(*member) for member in self.collect([socket.gethostname(), os.getpid()])]

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """A call that all processes make, called `name` in messages to users; MPI's errors become our own.

        Raises CommunicationError in a forked process, and where another thread makes a call.
        """
        if os.getpid() != self._process:
            raise CommunicationError(
                f"a process that was forked from process {self.rank} of {self.size} can't train together with the "
                f"others: give its Trainer communicator=None."
            )
        if not self._calling.acquire(blocking=False):
            raise CommunicationError(
                f"process {self.rank} of {self.size} trains in two threads at once: give one of them a communicator of "
                f"its own, such as MPI.COMM_WORLD.Dup()."
            )
        try:
            self.notices.begin(f"{name} of {self.doing}" if self.doing else name)
            yield
        except self._mpi_error as problem:
            raise CommunicationError(
                f"process {self.rank} of {self.size}: MPI reports an error in {name}: {problem}"
            ) from problem
        finally:
            self._calling.release()

    def start(self, requests: list[Any]) -> None:
        """Start persistent requests."""
        if requests:
            self._start_all(requests)

    def poll(self, requests: list[Any]) -> bool:
        """Whether all requests are done; gives MPI the time to move messages."""
        return self._test_all(requests)

    def wait(self, requests: list[Any]) -> None:
        """Until all requests are done."""
        self._waiting.until(partial(self._test_all, requests))

    def count(self, size: int, messages: int = 1) -> None:
        """Count messages of `size` bytes together."""
        self.bytes_sent += size
        self.messages_sent += messages

    def new_tag(self) -> int:
        """A tag for messages, the same in all processes."""
        self._tags = (self._tags + 1) % TAGS
        return self._tags

    def gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        """See `Processes.gather`."""
        with self.call("the exchange of sums"):
            self._gather(a, out)

    def _gather_once(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        self.count(a.nbytes * (self.size - 1), self.size - 1)
        self._small.gather(a, out, self.notices.place.name, once=True)

    def _gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        self.count(a.nbytes * (self.size - 1), self.size - 1)
        self._small.gather(a, out, self.notices.place.name)

    def broadcast(self, a: np.ndarray[Any, Any]) -> None:
        """See `Processes.broadcast`."""
        with self.call("the copy of the first process's numbers"):
            self._broadcast(bytes_of(a))

    def _broadcast(self, content: np.ndarray[Any, Any]) -> None:
        for low in range(0, len(content), LARGEST):
            part = content[low : low + LARGEST]
            if self.rank == 0:
                self.count(len(part) * (self.size - 1), self.size - 1)
            self.wait([self.communicator.Ibcast(part, 0)])

    def share(self, value: Any) -> Any:
        """See `Processes.share`."""
        content = np.frombuffer(json.dumps(value).encode() if self.rank == 0 else b"", np.uint8).copy()
        with self.call("what the first process says to all"):
            length = np.array([len(content)], np.int64)
            self._broadcast(bytes_of(length))
            if self.rank:
                content = np.empty(int(length[0]), np.uint8)
            self._broadcast(content)
        return json.loads(content.tobytes())

    def collect(self, value: Any) -> list[Any]:
        """See `Processes.collect`."""
        content = np.frombuffer(json.dumps(value).encode(), np.uint8)
        with self.call("what all processes say to each other"):
            lengths = np.empty(self.size, np.int64)
            self._gather_once(np.array([len(content)], np.int64), lengths)
            padded = np.zeros(int(lengths.max()), np.uint8)
            padded[: len(content)] = content
            all_of_them = np.empty((self.size, len(padded)), np.uint8)
            self._gather_once(padded, all_of_them)
        return [json.loads(all_of_them[p, : lengths[p]].tobytes()) for p in range(self.size)]

    def slices(self, vector: Array, bounds: Sequence[int]) -> MPISlices:
        """See `Processes.slices`. Raises DeviceError for a vector that is not on the host, ValueError for bounds that
        don't fit, or a vector that is not contiguous."""
        if not isinstance(vector, np.ndarray):
            raise DeviceError(
                f"MPI carries vectors of the host's memory alone; got {type(vector).__name__}. On GPUs, NCCL sums them."
            )
        return MPISlices(self, vector, bounds)


class MPISlices(VectorSlices):
    """Slices of a vector on the host, each summed by its own process.

    Each process sends slice q to process q, as soon as `start` says that all are ready, and process q adds what came as
    a tree in the order of ranks: so the bits don't depend on which message comes first. All requests are made once, and
    started again in every step.
    """

    def __init__(self, processes: MPIProcesses, vector: Any, bounds: Sequence[int]) -> None:
        size, rank = processes.size, processes.rank
        bounds = [int(bound) for bound in bounds]
        if len(bounds) != size + 1 or sorted(bounds) != bounds or bounds[0] < 0 or bounds[-1] > len(vector):
            raise ValueError(
                f"slices of {len(vector)} numbers for {size} processes need {size + 1} rising bounds between 0 and "
                f"{len(vector)}; got {bounds}."
            )
        self._processes = processes
        slices = [vector[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]
        own, others = slices[rank], [other for other in range(size) if other != rank]
        received = np.empty((size - 1, len(own)), own.dtype)
        parts = [*received[:rank], own, *received[rank:]]  # its own numbers are added where they are
        self._pairs = tree_pairs(size)
        self._parts = list(zip(*map(_pieces, parts), strict=True))  # of each piece of this process's slice, by rank
        send, receive = processes.communicator.Send_init, processes.communicator.Recv_init
        sums = processes.new_tag()
        self._sends = [_requests(send, a, other, sums) if other != rank else [] for other, a in enumerate(slices)]
        by_rank = [_requests(receive, parts[other], other, sums) for other in others]
        self._receives: list[list[Any]] = [list(piece) for piece in zip(*by_rank, strict=True)]
        gathers = processes.new_tag()
        self._gathering = [
            request
            for other in others
            for method, a in ((receive, slices[other]), (send, own))
            for request in _requests(method, a, other, gathers)
        ]
        self._sizes = [a.nbytes for a in slices]
        self._started = False  # whether the slices of a step have been sent
        requests = [*sum(self._sends, []), *sum(self._receives, []), *self._gathering]
        weakref.finalize(self, free, requests)

    def start(self) -> None:
        """See `VectorSlices.start`."""
        self._send()
        self._processes.poll(sum(self._sends, []))  # messages move only while MPI is called

    def _send(self) -> None:
        """Send the slices, if they have not been sent."""
        if self._started:
            return
        self._started, processes = True, self._processes
        for requests in self._receives:
            processes.start(requests)
        for rank in range(processes.size - 1, -1, -1):
            processes.start(self._sends[rank])
            if rank != processes.rank:
                processes.count(self._sizes[rank], len(self._sends[rank]))

    def sum(self) -> None:
        """See `VectorSlices.sum`."""
        processes = self._processes
        with processes.call("the sum of gradients"):
            self._send()
            for requests, parts in zip(self._receives, self._parts, strict=False):
                processes.wait(requests)
                for to, of in self._pairs[:-1]:
                    np.add(parts[to], parts[of], out=parts[to])
                to, of = self._pairs[-1]
                np.add(parts[to], parts[of], out=parts[processes.rank])
            processes.wait(sum(self._sends, []))
        self._started = False

    def gather(self) -> None:
        """See `VectorSlices.gather`."""
        processes = self._processes
        with processes.call("the exchange of new parameters"):
            processes.start(self._gathering)
            others = processes.size - 1
            processes.count(self._sizes[processes.rank] * others, len(self._parts) * others)
            processes.wait(self._gathering)


def _pieces(a: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """A vector as the pieces that one message each carries."""
    length = max(1, LARGEST // a.itemsize)
    return [a[low : low + length] for low in range(0, len(a), length)]


def _requests(method: Any, a: np.ndarray[Any, Any], rank: int, tag: int) -> list[Any]:
    """What sends or receives a vector again and again, a request for each piece."""
    return [method(bytes_of(piece), rank, tag) for piece in _pieces(a)]
