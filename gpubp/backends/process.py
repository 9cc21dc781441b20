"""What belongs to one process: threads and locks, which a fork does not copy as they are, and memory addresses.

A fork copies all memory, but only the thread that called it. So in the child a pool has no threads, and a lock that
another thread held is never released. Objects with threads or locks of their own are told of the fork and make new
ones. `multiprocessing` forks with the method "fork", and so does `os.fork`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Renewable(Protocol):
    """An object with threads or locks."""

    def after_fork(self) -> None:
        """Make new ones; called in the child, by the one thread that it has."""


_known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def renew_in_children(thing: Renewable) -> None:
    """Have `thing.after_fork()` called in each process that is forked from this one, as long as the object lives.

    >>> lock = ForkSafeLock()
    >>> renew_in_children(lock)
    """
    _known[id(thing)] = thing


def _after_fork() -> None:
    for thing in list(_known.values()):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class ForkSafeLock:
    """A lock that is free in a forked child, where the thread that held it does not exist; reentrant.

    left_held: whether another thread held it at the moment of the fork, so that what it protects was under way.

    >>> lock = ForkSafeLock()
    >>> with lock.held(), lock.held():
    ...     lock.left_held
    False
    """

    def __init__(self) -> None:
        self._lock, self._owner = threading.RLock(), 0  # the owner is a thread's number, 0 for none
        self.left_held = False
        renew_in_children(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock, and hold it inside."""
        with self._lock:
            before, self._owner = self._owner, threading.get_ident()
            try:
                yield
            finally:
                self._owner = before

    def after_fork(self) -> None:
        """Take a new lock, unless the thread that forked holds it."""
        if self._owner != threading.get_ident():
            self.left_held |= bool(self._owner)
            self._lock, self._owner = threading.RLock(), 0


class OfOneProcess:
    """An object that works on memory, threads or a device of this process: pickling or copying it raises TypeError.

    >>> import copy
    >>> copy.deepcopy(OfOneProcess())
    Traceback (most recent call last):
    ...
    TypeError: a gpubp OfOneProcess works on the memory of one process and can't be pickled or copied; ...
    """

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a gpubp {type(self).__name__} works on the memory of one process and can't be pickled or copied; a "
            "Network and a Trainer can, and net.save(path) and trainer.save(path) write their numbers into a file"
        )
