"""Small numbers of all processes, sent together with the place where each process is.

A process that makes a call which the others don't make would else receive numbers that mean something else, and train
on with them. So each message begins with a head: the name of the call, and the type and shape of the numbers.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import numpy as np

from ..errors import CommunicationError
from .notices import Notices

DIRECT = 16  # processes up to which each sends its numbers to each of the others: one wait, instead of log2 P
KEPT = 1 << 16  # bytes of numbers that travel with their head
HEAD = 160  # bytes
END = b"\0"  # between the name of a call and what the numbers are


def bytes_of(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The memory of a contiguous array as a vector of bytes.

    >>> bytes_of(np.array([1, 256], np.uint16)).tolist()
    [1, 0, 0, 1]
    """
    if not a.flags.c_contiguous:
        raise ValueError("arrays that processes send or receive must be contiguous; use np.ascontiguousarray")
    return a.reshape(-1).view(np.uint8)


class Sender(Protocol):
    """What the messages use of `MPIProcesses`, which documents the names."""

    rank: int
    size: int
    communicator: Any
    notices: Notices

    def new_tag(self) -> int: ...
    def start(self, requests: list[Any]) -> None: ...
    def wait(self, requests: list[Any]) -> None: ...


class Kept:
    """The memory for messages with so many bytes of numbers, and the requests that send and receive them.

    everything: what came, by rank. mine, numbers: this process's message, and the numbers in it. heads: of all, by
    rank. head: what this process's is now.
    """

    def __init__(self, size: int, rank: int, bytes_of_numbers: int) -> None:
        self.everything = np.zeros((size, HEAD + bytes_of_numbers), np.uint8)
        self.mine, self.all_numbers = self.everything[rank], self.everything[:, HEAD:]
        self.numbers = self.mine[HEAD:]
        self.heads = [row[:HEAD].data for row in self.everything]
        self.head = b""
        self.requests: list[Any] = []


class SmallMessages:
    """The gathers of one group.

    processes: the group. The requests of MPI are made once for each size, and started again.
    """

    def __init__(self, processes: Sender) -> None:
        from mpi4py import MPI

        self._processes: Sender = weakref.proxy(processes)  # which keeps this
        self._tag = processes.new_tag()  # of all sizes, so that a message of another size comes here, too
        self._kept: dict[int, Kept] = {}  # by the bytes of numbers
        self._about: tuple[Any, ...] = ()  # what the head is of
        self._head = b""
        self._error, self._longer = MPI.Exception, MPI.ERR_TRUNCATE

    def gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any], name: str, once: bool = False) -> None:
        """out[p] = the `a` of process p. Raises CommunicationError where the processes make different calls.

        once: whether numbers of this size are not sent again and again, so that their requests are not kept.
        """
        size = a.nbytes if a.nbytes <= KEPT and not once else 0
        kept = self._kept.get(size)
        if kept is None:
            kept = self._kept[size] = self._new(size)
        about = name, a.dtype, a.shape
        if about != self._about:
            self._about, what = about, f"{a.dtype.str}{a.shape}"
            self._head = (name.encode()[: HEAD - 40] + END + what.encode())[:HEAD].ljust(HEAD, END)
        head = self._head
        if kept.head is not head:
            kept.head = head
            kept.mine[:HEAD] = np.frombuffer(head, np.uint8)
        if size:
            kept.numbers[:] = bytes_of(a)
        self._send(kept)
        for other in kept.heads:
            if other != head:
                raise CommunicationError(self._difference(kept.everything))
        if size:
            bytes_of(out)[:] = kept.all_numbers.reshape(-1)
        elif a.nbytes:
            communicator = self._processes.communicator
            self._processes.wait([communicator.Iallgather(bytes_of(a), bytes_of(out))])

    def _send(self, kept: Kept) -> None:
        processes = self._processes
        if not kept.requests:
            processes.wait([processes.communicator.Iallgather(kept.mine.copy(), kept.everything)])
            return
        processes.start(kept.requests)
        try:
            processes.wait(kept.requests)
        except self._error as problem:
            if problem.Get_error_class() != self._longer:
                raise
            raise CommunicationError(
                f"another process sends more numbers in its call than process {processes.rank} of {processes.size} in "
                f"{processes.notices.place.name}: all processes must do the same steps, checkpoints and evaluations, "
                f"also in callbacks."
            ) from None

    def _new(self, size: int) -> Kept:
        processes = self._processes
        kept, communicator = Kept(processes.size, processes.rank, size), processes.communicator
        for rank in range(processes.size) if processes.size <= DIRECT else ():
            if rank != processes.rank:
                kept.requests.append(communicator.Recv_init(kept.everything[rank], rank, self._tag))
                kept.requests.append(communicator.Send_init(kept.mine, rank, self._tag))
        weakref.finalize(self, free, kept.requests)
        return kept

    def _difference(self, everything: np.ndarray[Any, Any]) -> str:
        """Which processes are where, in words."""
        notices = self._processes.notices
        heads = [bytes(head).rstrip(END).partition(END) for head in everything[:, :HEAD]]
        (here, _, numbers), name = heads[0], notices.name_of
        for rank, (there, _, others) in enumerate(heads):
            if there != here:
                where = [text.decode(errors="replace") for text in (here, there)]
                return (
                    f"process 0 is at {where[0]}, but {name(rank)} at {where[1]}: all processes must do the same "
                    f"steps, checkpoints and evaluations, also in callbacks."
                )
            if others != numbers:
                return (
                    f"in {here.decode(errors='replace')}, process 0 has numbers of the type and shape "
                    f"{numbers.decode()}, and {name(rank)} {others.decode()}: all processes must have the same "
                    f"network and settings."
                )
        raise AssertionError("all heads are the same")


def free(requests: list[Any]) -> None:
    """Give back requests; where MPI has ended, it has done so itself."""
    from mpi4py import MPI

    if not MPI.Is_finalized():
        for request in requests:
            request.Free()
