"""Short messages between processes beside their calls: where one waits, that it has ended, that it has failed.

They travel on a communicator of their own, and nobody waits for them: a process reads them while it waits for something
else. So a process that waits learns at once that another one will never come.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import CommunicationError

ASKED, WAITS, ENDED, FAILED = 1, 2, 3, 4  # the kinds of notices: the tags of their messages
_FORM = struct.Struct("<qH118s")  # how many calls the sender has begun; the name of the last one, its length first


class Member(NamedTuple):
    """Where a process of a group runs.

    >>> Member("node7", 4711)
    Member(host='node7', pid=4711)
    """

    host: str
    pid: int


class Place(NamedTuple):
    """Where a process stands: how many calls it has begun, and the name of the last one.

    >>> Place(3, "the sum of gradients").calls
    3
    """

    calls: int
    name: str


class Notices:
    """The notices of one process: those that came, by the rank that sent them, and where this process stands itself.

    communicator: mpi4py's, for notices alone; None until it is made. members: of the group by rank, empty until they
    are known.

    waiting: where others wait, as they answered to `ask`. ended: where they ended in order. failed: those that end all
    processes because of an error.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.communicator: Any = None
        self.members: list[Member] = []
        self.place = Place(0, "the first call")
        self.waiting: dict[int, Place] = {}
        self.ended: dict[int, Place] = {}
        self.failed: dict[int, Place] = {}
        self._of_kind = {WAITS: self.waiting, ENDED: self.ended, FAILED: self.failed}
        self._sent: list[tuple[Any, bytes]] = []  # requests under way, with the memory that they read

    def begin(self, name: str) -> None:
        """This process begins its next call, which is called `name` in messages to users."""
        self.place = Place(self.place.calls + 1, name)

    def name_of(self, rank: int) -> str:
        """How messages to users name a process."""
        where = " (host {}, pid {})".format(*self.members[rank]) if self.members else ""
        return f"process {rank} of {self.size}{where}"

    def names_of(self, ranks: Sequence[int]) -> str:
        """How messages name several; of many, the first."""
        names = [self.name_of(rank) for rank in ranks[:5]]
        more = [f"{len(ranks) - 5} more"] if len(ranks) > 5 else []
        return ", ".join(names + more)

    def tell(self, kind: int, to: Sequence[int] | None = None) -> None:
        """Send where this process stands to the ranks `to`, by default to all others."""
        name = self.place.name.encode()[:118]
        content = _FORM.pack(self.place.calls, len(name), name)
        for rank in range(self.size) if to is None else to:
            if rank != self.rank:
                self._sent.append((self.communicator.Isend(content, rank, kind), content))

    def ask(self) -> None:
        """Ask all others where they wait; the answers come into `waiting`."""
        self.waiting.clear()
        self.tell(ASKED)

    def read(self) -> None:
        """Take in the notices that have come, and answer those that ask."""
        from mpi4py import MPI

        if self.communicator is None:
            return
        self._sent = [(request, content) for request, content in self._sent if not request.Test()]
        status = MPI.Status()
        while self.communicator.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG, status):
            content = bytearray(_FORM.size)
            source, kind = status.Get_source(), status.Get_tag()
            self.communicator.Recv(content, source, kind)
            calls, length, name = _FORM.unpack(content)
            if kind == ASKED:
                self.tell(WAITS, [source])
            else:
                self._of_kind[kind][source] = Place(calls, name[:length].decode(errors="replace"))

    def check(self) -> None:
        """Raise CommunicationError where another process has ended before it came to the call of this one."""
        missing = [rank for rank, place in sorted(self.ended.items()) if place.calls < self.place.calls]
        if missing:
            raise CommunicationError(
                f"{self.names_of(missing)} ended before {self.place.name}, where process {self.rank} waits: all "
                f"processes must do the same steps."
            )
