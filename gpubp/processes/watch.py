"""Small programs beside the processes of one machine that say which of them ended without a word.

mpiexec of MPICH's kind has two gaps. When a process is killed, it ends all others at once and prints the number of any
of them: `follow` says which one it was. When a process ends before MPI has started in it, the others wait for ever in
MPI's own start: `start` names it and ends them.

A program is this file, started by its path with the standard library alone. It ends with what it watches.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PROXY = "hydra_pmi_proxy"  # the parent of the processes that MPICH's mpiexec starts
INTERVAL = 0.2  # seconds between two looks at which processes are there
SURE = 4  # looks at which a process is missing: the system's list may lack one for a moment
DONE = b"."  # what a process says to the program before it ends in order, or ends all with a message of its own


def _program(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # mpiexec kills the sessions of its processes, and a terminal signals its own
    )


def end(program: subprocess.Popen[bytes]) -> None:
    """End a program."""
    program.kill()
    program.communicate()


def has_mpich(environment: Mapping[str, str]) -> bool:
    """Whether an mpiexec of MPICH's kind started this process, on a system where programs can watch it.

    >>> has_mpich({})
    False
    """
    return {"PMI_SIZE", "MPI_LOCALNRANKS"} <= environment.keys() and sys.platform == "linux"


def _present(proxy: int) -> dict[int, int]:
    """The processes that mpiexec started on this machine and that are still there: rank -> pid."""
    found = {}
    for pid in Path(f"/proc/{proxy}/task/{proxy}/children").read_text().split():
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended since
            continue
        found.update({int(entry[9:]): int(pid) for entry in entries if entry.startswith(b"PMI_RANK=")})
    return found


def start(environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """Watch that no process of this machine ends before MPI has started in it, until the program is ended.

    None where another process does so, and where the parent of this one is not MPICH's mpiexec.
    """
    proxy = os.getppid()
    try:
        if not has_mpich(environment) or Path(f"/proc/{proxy}/comm").read_text().strip() != PROXY[:15]:
            return None
        present = _present(proxy)
        if not present or present[min(present)] != os.getpid():
            return None
        return _program("start", proxy, environment["MPI_LOCALNRANKS"], environment["PMI_SIZE"])
    except OSError:
        return None


def _watch_start(proxy: int, count: int, size: int) -> None:
    """End all when one of `count` processes of this machine, of `size` in all, has ended."""
    looks = 0  # in a row at which one was missing
    while looks < SURE:
        time.sleep(INTERVAL)
        present = _present(proxy)
        if not present:  # all have ended
            return
        looks = looks + 1 if len(present) < count else 0
    missing = [str(rank) for rank in range(size) if rank not in present] if count == size else []
    name = f"process {', '.join(missing)} of {size}" if missing else f"one of {size} processes"
    sys.stderr.write(
        f"{name} on {socket.gethostname()} ended before the processes could begin to train together; this ends all.\n"
    )
    for pid in present.values():
        os.kill(pid, signal.SIGKILL)


def follow(environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes] | None, str]:
    """Start the program that says which of the processes was killed; also the name by which they find it.

    (None, "") where it can't be, and where it is not needed.
    """
    if not has_mpich(environment):
        return None, ""
    try:
        program = _program("follow")
    except OSError:
        return None, ""
    assert program.stdout is not None
    return program, program.stdout.readline().decode().strip()


class Followed:
    """The connection of a process to the program that follows all processes of one machine.

    name: what `follow` gave. rank, size: of the process. program: for the process that started it.
    """

    def __init__(self, name: str, rank: int, size: int, program: subprocess.Popen[bytes] | None = None) -> None:
        self._program = program
        self._socket = socket.socket(socket.AF_UNIX)
        with suppress(OSError):  # the program is gone, and will say nothing
            self._socket.connect(f"\0{name}")
            self._socket.sendall(f"{rank} of {size} (pid {os.getpid()})\n".encode())

    def leave(self) -> None:
        """This process ends in order, or with a message of its own: the program ends, and says nothing."""
        with suppress(OSError):  # another one has said so before
            self._socket.sendall(DONE)
        if self._program is not None:
            end(self._program)


def _follow() -> None:
    """Wait until a connection ends: a killed process closes it before mpiexec can know, and thus before all others."""
    server = socket.socket(socket.AF_UNIX)
    name = f"gpubp-{os.getpid()}-{os.urandom(8).hex()}"
    server.bind(f"\0{name}")
    server.listen(1024)
    server.settimeout(60.0)
    print(name, flush=True)
    ends = select.epoll()
    connections: dict[int, tuple[socket.socket, str]] = {}
    size = 1
    while len(connections) < size:
        connection = server.accept()[0]
        who = connection.makefile("rb", buffering=0).readline().decode().strip()
        size = int(who.split()[2])
        connections[connection.fileno()] = connection, who
        ends.register(connection, select.EPOLLIN)
    connection, who = connections[ends.poll(maxevents=1)[0][0]]
    if connection.recv(1) == DONE:
        return
    sys.stderr.write(
        f"process {who} on {socket.gethostname()} was killed, which ends all: by a signal, for instance because the "
        f"memory was full, or by os._exit.\n"
    )


if __name__ == "__main__":
    try:
        _watch_start(*map(int, sys.argv[2:])) if sys.argv[1] == "start" else _follow()
    except (OSError, IndexError, ValueError):  # the processes have ended before it could begin
        sys.exit(1)
