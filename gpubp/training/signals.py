"""Ctrl-C (SIGINT) and SIGTERM end training after the current step.

The first signal lets the step end. Training then ends in order, and a `Checkpoint` writes where it stands. A second
signal acts at once. SIGTERM is what a machine sends before it is taken away.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from ..processes import Processes

LATE = 5.0  # seconds in which one signal that was sent to all processes has come to each of them


class StopRequested(KeyboardInterrupt):
    """A signal asked training to end, and it stands between two steps.

    number: of the signal.

    >>> StopRequested(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.number,), self.__dict__

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the signal ended, as shells have it."""
        return 128 + self.number


class SignalHandlers:
    """Handlers that note a signal, so that no parameter is left half updated.

    processes: that train together and end at the same step, whichever of them a signal comes to; None for one process.

    received: the number of the first signal, 0 before any. Only Python's main thread receives signals. A handler of the
    user's own stays in place, and so does a signal that the process ignores. In a forked process signals act as they do
    without these handlers, until it goes on with the fit itself.

    >>> with SignalHandlers() as signals:
    ...     signals.raise_if_received()                  # after each step
    """

    DEFAULTS = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))

    def __init__(self, processes: Processes | None = None) -> None:
        self.received, self._processes = 0, processes
        self._before: dict[int, Any] = {}
        self._process = 0  # the number of the process that the handlers are for
        self._forked = False

    def __enter__(self) -> SignalHandlers:
        self._process, self._forked = os.getpid(), False
        if threading.current_thread() is threading.main_thread():
            for number, default in self.DEFAULTS:
                if signal.getsignal(number) is default:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *problem: object) -> None:
        agreed = 0 if self._processes is None else self._processes.requested
        for number, before in self._before.items():
            late = number == agreed and not self.received  # mpiexec sends a signal to each process, one after the other
            signal.signal(number, _once_more(number, before) if late else before)
        if self._processes is not None:
            self._processes.request = self._processes.requested = 0

    def leave_child(self) -> None:
        """Take the handlers away in a forked process, but for one that the user has put in their place."""
        self._forked = True
        for number, before in self._before.items():
            if signal.getsignal(number) == self._receive:
                signal.signal(number, before)

    def _receive(self, number: int, frame: Any) -> None:
        if not self.received and os.getpid() == self._process:
            self.received = number
            if self._processes is not None:
                self._processes.request = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:  # the second signal, or one right after a fork, acts as if there were no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def raise_if_received(self, agreed: bool = True) -> None:
        """Raise StopRequested if a signal has come. A forked process that calls it goes on with the fit.

        agreed: whether the processes have told each other of signals since, in the sums of a step.
        """
        if self._forked:
            self.__enter__()
        if self._processes is None:
            number = self.received
        else:
            number = self._processes.requested if agreed else self._processes.agree()
        if number:
            raise StopRequested(number)


def _once_more(number: int, before: Any) -> Callable[[int, Any], None]:
    """A handler that ignores a signal once, within a few seconds, and then is the one of before."""
    since = time.monotonic()

    def receive(received: int, frame: Any) -> None:
        signal.signal(number, before)
        if time.monotonic() - since > LATE:
            os.kill(os.getpid(), number)

    return receive


_of_thread = threading.local()


def _hold() -> None:
    """Let SIGTERM wait during a fork: Python forgets one that comes to a child before the child goes on."""
    if isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), SignalHandlers):
        _of_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _release() -> None:
    mask = vars(_of_thread).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
