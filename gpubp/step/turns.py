"""Turns: threads that meet, of which only some run at a time.

A step has a thread for each of its parts, and each part waits for the others where rows are summed. If there are more
parts than workers, a part that waits gives its turn to another one. Who runs when changes no number.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Turns:
    """Meetings of so many threads, numbered from 0, of which `workers` run at a time.

    >>> turns, seen = Turns(1, 1), []
    >>> turns.begin()
    >>> turns.enter(0), turns.meet(0, lambda: seen.append("all are here")), turns.leave()
    (None, None, None)
    >>> seen
    ['all are here']
    """

    def __init__(self, threads: int, workers: int) -> None:
        self._threads, self._workers = threads, workers
        self._mutex = threading.Lock()
        self._turn = [threading.Semaphore(0) for _ in range(threads)]  # released for whoever may run
        self.begin()

    def begin(self) -> None:
        """Begin a step: nobody runs, and nobody waits."""
        self._running, self._broken = 0, False
        self._ready: deque[int] = deque()
        self._waiting: list[int] = []
        for turn in self._turn:
            while turn.acquire(blocking=False):  # left over from a step that has failed
                pass

    def enter(self, k: int) -> None:
        """Wait for a turn, as thread k; once a step."""
        with self._mutex:
            if self._running < self._workers:
                self._running += 1
                return
            self._ready.append(k)
        self._take_turn(k)

    def leave(self) -> None:
        """Give the turn to another thread; once a step."""
        with self._mutex:
            self._pass_on()

    def meet(self, k: int, then: Callable[[], None] | None = None) -> None:
        """Wait until every thread has come here; the last one first calls `then`. Raises BrokenBarrierError where
        another thread has failed."""
        with self._mutex:
            if self._broken:
                raise threading.BrokenBarrierError
            last = len(self._waiting) == self._threads - 1
            if not last:
                self._waiting.append(k)
                self._pass_on()
        if not last:
            self._take_turn(k)
            return
        if then is not None:
            then()
        with self._mutex:
            self._ready.extend(self._waiting)
            self._waiting = []
            while self._ready and self._running < self._workers:
                self._running += 1
                self._turn[self._ready.popleft()].release()

    def fail(self) -> None:
        """Let nobody wait for a thread that has failed."""
        with self._mutex:
            self._broken = True
            for turn in self._turn:
                turn.release()

    def _take_turn(self, k: int) -> None:
        self._turn[k].acquire()
        if self._broken:
            raise threading.BrokenBarrierError

    def _pass_on(self) -> None:
        if self._ready and not self._broken:
            self._turn[self._ready.popleft()].release()
        else:
            self._running -= 1
