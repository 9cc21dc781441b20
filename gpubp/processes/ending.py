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
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from .notices import ENDED, FAILED, Notices
from .watch import Followed

GRACE = 0.5  # seconds in which a process of a lower rank may have failed, too
SILENCE = 10.0  # seconds in which that one ends all
PAUSE = 0.01  # seconds between two looks for notices
FORWARDED = 0.05  # seconds in which a launcher forwards what was printed, before it hears that all end

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it

_groups: list[Notices] = []  # those in use
_followed: list[Followed] = []
_process = [0]  # the number of the process that the groups are of, and not of a fork


def guard(notices: Notices, followed: Followed | None = None) -> None:
    """From now on, an error that nobody catches ends all processes of this group, and so does `end_all`.

    followed: the connection of this process to the program that says who was killed.
    """
    if not _process[0]:
        _end_by_errors()
        atexit.register(_leave)
    _process[0] = os.getpid()
    _groups.append(notices)
    if followed is not None:
        _followed.append(followed)


def _end_by_errors() -> None:
    """Let an error that nobody catches end all processes."""
    before = sys.excepthook

    def end_by_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        def show(where: str) -> None:
            sys.stderr.write(f"{where} ends all processes because of this error:\n")
            before(kind, error, trace)

        if _in_group():
            _end(show, INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1)
        before(kind, error, trace)

    sys.excepthook = end_by_error


def _in_group() -> bool:
    return bool(_groups) and _process[0] == os.getpid()


def end_all(text: str, code: int = 1) -> NoReturn:
    """Print a line on the error stream, once, and end all processes with this exit code; without a group, this one.

    The line says which process it comes from.
    """
    if _in_group():
        _end(lambda where: sys.stderr.write(f"{text} ({where})\n"), code)
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


def _end(show: Callable[[str], object], code: int) -> NoReturn:
    """Let the process of the lowest rank that has failed show why, and end all."""
    from mpi4py import MPI

    notices = _groups[0]
    try:
        notices.tell(FAILED)
        if _lower_fails(notices, GRACE if notices.rank else 0.0):
            time.sleep(SILENCE)
        else:
            for followed in _followed:
                followed.leave()
            sys.stdout.flush()
            show(f"process {notices.rank} of {notices.size} on {notices.members[notices.rank].host}")
            sys.stderr.flush()
            time.sleep(FORWARDED)
    finally:
        MPI.COMM_WORLD.Abort(code)
        os._exit(code)  # MPICH may return before the launcher ends this process


def _lower_fails(notices: Notices, seconds: float) -> bool:
    """Whether a process of a lower rank says within so many seconds that it has failed, too."""
    end = time.monotonic() + seconds
    while True:
        notices.read()
        if any(rank < notices.rank for rank in notices.failed):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)


def _leave() -> None:
    """Tell the others that this process ends, and wait until they end, too: without them, MPI's own end would wait."""
    if not _in_group():
        return
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
