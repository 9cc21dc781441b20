"""Mistakes of a user, which mostly all processes find: one message, and the end of all in order.

Where process 0 finds the mistake too, it alone shows it, as one process would. Where it doesn't, because a file is
missing on one host alone, for instance, the process that finds it shows it, with its number. So a process waits for
what process 0 does: whether it fails too, or waits in a call that this one never makes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .ending import end_all
from .mpi import MPIProcesses
from .notices import ASKED, FAILED, Notices

IN_ORDER = 3.0  # seconds in which all others fail, too, so that all end in order
PATIENCE = 60.0  # seconds in which process 0 fails, or waits
PAUSE = 0.02  # seconds between two questions


def end_by_mistake(group: MPIProcesses, show: Callable[[str], object], code: int) -> int:
    """End all processes because of a mistake that this one found, and others too, perhaps.

    show: prints the message; it is called in one process, with "" in process 0, or else with what this one is called.
    Returns where all processes found a mistake: the exit code of this one, which is 0 but in process 0, because some
    launchers add up the codes. Otherwise ends all with this code.
    """
    notices = group.notices
    if notices.rank:
        if not _first_fails(notices):
            end_all(show, code)
        notices.tell(FAILED, [0])  # which ends this process, too, if not all fail
        return 0
    show("")
    notices.tell(FAILED)
    if not _until(notices, IN_ORDER, lambda: len(notices.failed) == notices.size - 1):
        end_all(lambda where: None, code)
    return code


def _first_fails(notices: Notices) -> bool:
    """Whether process 0 fails, too; False as soon as it waits for this process, which does not come."""

    def waits() -> bool:
        notices.tell(ASKED, [0])
        there = notices.waiting.get(0)
        return there is not None and there.calls > notices.place.calls

    _until(notices, PATIENCE, lambda: 0 in notices.failed or 0 in notices.ended or waits())
    return 0 in notices.failed


def _until(notices: Notices, seconds: float, done: Callable[[], bool]) -> bool:
    """Read notices until `done()` is true, for so many seconds at most; whether it is."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)
        notices.read()
    return True
