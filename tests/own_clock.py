"""A clock in the place of the system's: seconds pass where a test spends them, whatever else the machine does."""

from __future__ import annotations

import threading
import time

import pytest


class Clock:
    """Seconds that pass where threads spend them, and `tick` at each reading.

    meeting: where threads wait for each other that should spend their seconds at once, which then pass once.
    """

    def __init__(self, tick: float = 1e-6) -> None:
        self.now, self.spent, self.tick, self.meeting = 0.0, 0.0, tick, threading.Barrier(1)
        self._lock = threading.Lock()

    def spend(self, seconds: float) -> None:
        end = self.now + seconds
        self.meeting.wait(timeout=60)
        with self._lock:
            self.now = max(self.now, end)
            self.spent += seconds

    def __call__(self) -> float:
        with self._lock:
            self.now += self.tick
            return self.now


def own_clock(monkeypatch: pytest.MonkeyPatch, *names: str, tick: float = 1e-6) -> Clock:
    """A clock that is `time.perf_counter` for the rest of a test, or what names say. tick: seconds a reading takes."""
    found = Clock(tick)
    for name in names or ("perf_counter",):
        monkeypatch.setattr(time, name, found)
    return found
