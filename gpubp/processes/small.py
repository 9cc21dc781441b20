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


class SmallMessages:
    """The gathers of one group.

    processes: the group. The requests of MPI are made once, and started again.
    """

    def __init__(self, processes: Sender) -> None:
        self._processes: Sender = weakref.proxy(processes)  # which keeps this
        size, rank = processes.size, processes.rank
        self._others = [other for other in range(size) if other != rank]
        self._all = np.zeros((size, HEAD + KEPT), np.uint8)  # what came, by rank
        self._tag = processes.new_tag()
        self._receives: list[Any] = []
        self._sends: dict[int, list[Any]] = {}  # by the bytes of numbers

    def gather(self, a: np.ndarray[Any, Any], out: np.ndarray[Any, Any], name: str, once: bool = False) -> None:
        """out[p] = the `a` of process p. Raises CommunicationError where the processes make different calls.

        once: whether numbers of this size are not sent again and again, so that their requests are not kept.
        """
        processes, content = self._processes, bytes_of(a)
        size = content.size if content.size <= KEPT and not once else 0
        mine = self._all[processes.rank]
        head = (name.encode()[: HEAD - 40] + END + f"{a.dtype.str}{a.shape}".encode())[:HEAD]
        mine[:HEAD] = np.frombuffer(head.ljust(HEAD, END), np.uint8)
        mine[HEAD : HEAD + size] = content[:size]
        if processes.size > DIRECT:
            everything = np.empty((processes.size, HEAD + size), np.uint8)
            processes.wait([processes.communicator.Iallgather(mine[: HEAD + size].copy(), everything)])
            self._all[:, : HEAD + size] = everything
        else:
            requests = self._requests(size)
            processes.start(requests)
            processes.wait(requests)
        if (self._all[:, :HEAD] != mine[:HEAD]).any():
            raise CommunicationError(self._difference())
        if size == content.size:
            bytes_of(out).reshape(processes.size, size)[...] = self._all[:, HEAD : HEAD + size]
        else:
            processes.wait([processes.communicator.Iallgather(content, bytes_of(out))])

    def _requests(self, size: int) -> list[Any]:
        """Receive from the others what they send, and send them so many bytes."""
        processes = self._processes
        if not self._receives:
            receive = processes.communicator.Recv_init
            self._receives = [receive(self._all[rank], rank, self._tag) for rank in self._others]
            weakref.finalize(self, free, self._receives)
        if size not in self._sends:
            send, mine = processes.communicator.Send_init, self._all[processes.rank, : HEAD + size]
            self._sends[size] = [send(mine, rank, self._tag) for rank in self._others]
            weakref.finalize(self, free, self._sends[size])
        return self._receives + self._sends[size]

    def _difference(self) -> str:
        """Which processes are where, in words."""
        processes = self._processes
        heads = [bytes(head).rstrip(END).partition(END) for head in self._all[:, :HEAD]]
        first = heads[0][0]
        other = next((rank for rank, head in enumerate(heads) if head[0] != first), None)
        if other is None:
            other = next(rank for rank, head in enumerate(heads) if head != heads[0])
            kinds = [heads[rank][2].decode(errors="replace") for rank in (0, other)]
            return (
                f"in {first.decode(errors='replace')}, process 0 has numbers of the type and shape {kinds[0]}, and "
                f"{processes.notices.name_of(other)} {kinds[1]}: all processes must have the same network and settings."
            )
        where = [heads[rank][0].decode(errors="replace") for rank in (0, other)]
        return (
            f"process 0 is at {where[0]}, but {processes.notices.name_of(other)} at {where[1]}: all processes must do "
            f"the same steps, checkpoints and evaluations, also in callbacks."
        )


def free(requests: list[Any]) -> None:
    """Give back requests; where MPI has ended, it has done so itself."""
    from mpi4py import MPI

    if not MPI.Is_finalized():
        for request in requests:
            request.Free()
