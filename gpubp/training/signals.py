"""Being told to stop: Ctrl-C (SIGINT) and SIGTERM, which a machine sends that is about to be taken away.

The first signal lets the step under way end; training then ends in order, with a checkpoint where there is a
`Checkpoint`. A second one is heard at once.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

__all__ = ["Interrupts", "Stopped"]


class Stopped(KeyboardInterrupt):
    """Training was told to stop, and stands between two steps.

    number: of the signal.

    >>> Stopped(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a process ended so should exit with, as shells have it."""
        return 128 + self.number


class Interrupts:
    """Lets a step end before a signal is heard, so that no parameter is left half updated.

    Signals reach Python's main thread alone. A handler of the user's own is left in place, and so is a signal that the
    process was made deaf to.

    >>> with Interrupts() as interrupts:
    ...     interrupts.heed()                            # after each step
    """

    DEFAULTS = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))

    def __init__(self) -> None:
        self.heard = 0  # the first signal's number
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number, default in self.DEFAULTS:
                if signal.getsignal(number) is default:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *problem: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: Any) -> None:
        if not self.heard:
            self.heard = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:  # as if nobody had listened
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def heed(self) -> None:
        """Stopped, if a signal has come since."""
        if self.heard:
            raise Stopped(self.heard)
