"""Waiting for messages: quick at first, then without taking the processor from others, and not for ever.

A call of MPI that waits loops at full speed, and waits for ever for a process that hangs. So everything here is sent
and received without waiting, and asked for again and again whether it is done.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from ..errors import CommunicationError
from .notices import Notices, Place

VARIABLE = "GPUBP_PROCESSES_TIMEOUT"
DEFAULT_LIMIT = 30 * 60.0  # seconds
YIELDING = 0.0005  # seconds in which only other processes of this processor run between two questions
PAUSE = 0.001  # seconds: the longest pause between two questions
NOTICES = 0.01  # seconds between two looks for notices
ANSWERS = 2.0  # seconds in which the others answer a roll call
END = 5.0  # seconds in which a process that has failed ends all

_yield_processor: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0))


def time_limit(seconds: float | None = None) -> float:
    """How many seconds a process waits for the others: `seconds`, or what the environment says, or 30 minutes.

    Raises ValueError for what is no number above 0.

    >>> time_limit(60)
    60.0
    """
    given = os.environ.get(VARIABLE, "") if seconds is None else seconds
    if given == "":
        return DEFAULT_LIMIT
    try:
        limit = float(given)
    except (TypeError, ValueError):
        limit = math.nan
    if not limit > 0:
        name = VARIABLE if seconds is None else "the time limit of processes"
        raise ValueError(f"{name} is a number of seconds above 0, such as 600; got {given!r}.")
    return limit


class Waiting:
    """Waits for requests of one group of processes.

    notices: of this process. limit: seconds after which waiting ends with CommunicationError.
    """

    def __init__(self, notices: Notices, limit: float) -> None:
        self.notices, self.limit = notices, limit

    def until(self, done: Callable[[], bool]) -> None:
        """Return as soon as `done()` is true.

        Raises CommunicationError if a process has ended, has failed, or has not come within the time limit.
        """
        if done():
            return
        start = time.monotonic()
        look = start + NOTICES
        while not done():
            now = time.monotonic()
            waited = now - start
            if waited < YIELDING:
                _yield_processor()
                continue
            time.sleep(min(PAUSE, waited / 50))
            if now >= look:
                look = now + NOTICES
                self._look(waited)

    def _look(self, waited: float) -> None:
        """Read the notices, and raise CommunicationError if they say that waiting is in vain."""
        notices = self.notices
        notices.read()
        if notices.failed:
            time.sleep(END)  # it ends this process, too
            raise CommunicationError(f"{notices.names_of(sorted(notices.failed))} failed; see the message there.")
        notices.check()
        if waited > self.limit:
            self._call_the_roll(waited)

    def _call_the_roll(self, waited: float) -> None:
        """Ask who waits, too, and raise CommunicationError that names the others."""
        notices = self.notices
        if notices.communicator is None:
            raise CommunicationError(
                f"process {notices.rank} of {notices.size} has waited {waited:.0f} s for the others to begin to train "
                f"together, too: one of them hangs, or does other work."
            )
        others = [rank for rank in range(notices.size) if rank != notices.rank]
        notices.ask()
        end = time.monotonic() + ANSWERS
        while time.monotonic() < end and len(notices.waiting) < len(others) and not notices.failed:
            time.sleep(PAUSE)
            notices.read()
        if notices.failed:  # it has called the roll, too, and ends all
            self._look(0.0)
        raise CommunicationError(_verdict(notices, [rank for rank in others if rank not in notices.waiting], waited))


def _verdict(notices: Notices, silent: list[int], waited: float) -> str:
    """What a roll call found, in words. silent: those that did not answer."""
    here, place = notices.place, notices.waiting
    if silent:
        many = len(silent) > 1
        return (
            f"{notices.names_of(silent)} {'have' if many else 'has'} not come to {here.name} for {waited:.0f} s: "
            f"{'they hang, or do' if many else 'it hangs, or does'} other work. If that work takes longer, "
            f"set the environment variable {VARIABLE} to more seconds."
        )
    elsewhere = [rank for rank, there in sorted(place.items()) if _behind(there, here)]
    if elsewhere:
        first = elsewhere[0]
        return (
            f"process {notices.rank} waits for {here.name}, but {notices.names_of(elsewhere)} for {place[first].name}: "
            f"all processes must do the same steps with the same settings."
        )
    return (
        f"all processes have waited in {here.name} for {waited:.0f} s, and the messages have not come: "
        f"the network between the machines may be broken."
    )


def _behind(there: Place, here: Place) -> bool:
    """Whether a process that waits there keeps one here from going on."""
    return there.calls < here.calls or (there.calls == here.calls and there.name != here.name)
