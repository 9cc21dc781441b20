"""The use of the machine by other processes.

One busy process on one core can make a step of two threads a hundred times slower, because threads that wait for each
other actively wait for the core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CoresInUse", "await_quiet"]

QUIET = 0.1  # cores, that others may use

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class CoresInUse:
    """Measures the cores that processes other than `mine` use; None if the system doesn't tell.

    >>> usage = CoresInUse([os.getpid()])
    >>> others = usage.others()
    >>> others is None or others >= 0.0
    True
    """

    def __init__(self, mine: Iterable[int]) -> None:
        self._mine = [os.getpid(), *mine]
        self._start, self._busy, self._own = time.perf_counter(), _busy(), self._spent()

    def others(self) -> float | None:
        """Cores in use by others, on average since the beginning."""
        busy, own, spent = _busy(), self._spent(), time.perf_counter() - self._start
        if busy is None or self._busy is None or not spent:
            return None
        return max(0.0, (busy - self._busy - (own - self._own)) / spent)

    def _spent(self) -> float:
        return sum(map(_used, set(self._mine)))


def await_quiet(mine: Iterable[int], patience: float) -> float:
    """Wait until others leave the machine alone, for `patience` seconds at most; returns how many it took."""
    start, mine = time.monotonic(), list(mine)
    while time.monotonic() - start < patience:
        usage = CoresInUse(mine)
        time.sleep(0.1)
        others = usage.others()
        if others is None or others <= QUIET:
            break
    return time.monotonic() - start


def _busy() -> float | None:
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def _used(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK
