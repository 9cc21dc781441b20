"""How processes that train one network end: all of them, with one message, and never by waiting for each other.

* An error that nobody catches ends all processes. Where several have one, as with a mistake in a script that all of
  them run, only the one of the lowest rank prints: the others wait a moment for it.
* A process that ends in order tells the others, and waits until they end, too. One that waits for it in a call raises
  CommunicationError, which ends all.
* A process that is killed is the launcher's matter: mpiexec and srun end the others. Where the launcher doesn't say
  which one it was, `watch.py` does.
"""

from __future__ import annotations

import atexit
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from .notices import ENDED, FAILED, Notices

if TYPE_CHECKING:
    from .watch import Followed

GRACE = 0.5  # seconds in which a process of a lower rank may have failed, too
SILENCE = 10.0  # seconds in which that one ends all
PAUSE = 0.01  # seconds between two looks for notices
FORWARDED = 0.05  # seconds in which a launcher forwards what was printed, before it hears that all end

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it

_groups: list[Notices] = []  # those in use
_followed: list[Followed] = []
_process = [0]  # the number of the process that the groups are of, and not of a fork


def guard() -> None:
    """From now on, an error that nobody catches ends all processes that MPI started, and so does `end_all`."""
    if _process[0]:
        return
    _process[0] = os.getpid()
    atexit.register(_leave)
    before = sys.excepthook

    def end_by_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        def show(where: str) -> None:
            sys.stderr.write(f"{where} ends all processes because of this error:\n")
            before(kind, error, trace)

        if _in_use():
            _end(show, INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1)
        before(kind, error, trace)

    sys.excepthook = end_by_error


def join(notices: Notices, followed: Followed | None = None) -> None:
    """A group is in use: this process tells it when it ends, and waits until the others end, too.

    followed: the connection of this process to the program that says who was killed.
    """
    _groups.append(notices)
    if followed is not None:
        _followed.append(followed)


def _in_use() -> bool:
    """Whether this process, and not one that it was before a fork, has processes to end."""
    if _process[0] != os.getpid():
        return False
    from mpi4py import MPI

    return not MPI.Is_finalized()


def end_all(text: str | Callable[[str], object], code: int = 1) -> NoReturn:
    """Print a line on the error stream, once, and end all processes with this exit code; without a group, this one.

    text: the line, to which is added which process it comes from; or a function that is given that, and prints.
    """
    if _in_use():
        _end(text if callable(text) else lambda where: sys.stderr.write(f"{text} ({where})\n"), code)
    text("") if callable(text) else sys.stderr.write(f"{text}\n")
    sys.exit(code)


def _end(show: Callable[[str], object], code: int) -> NoReturn:
    """Let the process of the lowest rank that has failed show why, and end all."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    try:
        if _lower_fails(world.Get_rank()):
            time.sleep(SILENCE)
        else:
            for followed in _followed:
                followed.leave()
            _flush()
            show(f"process {world.Get_rank()} of {world.Get_size()} on {platform.node()}")
            _flush()
            time.sleep(FORWARDED)
    finally:
        world.Abort(code)
        os._exit(code)  # MPICH may return before the launcher ends this process


def _flush() -> None:
    """Write out what was printed, where that is possible; a process that MPI ends would lose it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # its reader has gone, or it is closed, or None
            stream.flush()


def _lower_fails(rank: int) -> bool:
    """Tell all that this process fails. Whether one of a lower rank says for a moment that it has failed, too."""
    for notices in _groups:
        notices.tell(FAILED)
    end = time.monotonic() + (GRACE if rank else 0.0)
    while True:
        for notices in _groups:
            notices.read()
            if any(other < notices.rank for other in notices.failed):
                return True
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)


def _leave() -> None:
    """Tell the others that this process ends, and wait until they end, too: without them, MPI's own end would wait."""
    if not _in_use():
        return
    _flush()
    for followed in _followed:
        followed.leave()
    for notices in _groups:
        notices.tell(ENDED)
    for notices in _groups:
        pause = 0.0
        while len(notices.ended) < notices.size - 1:
            time.sleep(pause)
            pause = min(pause + 0.001, 0.05)
            notices.read()
    _groups.clear()
