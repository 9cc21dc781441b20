"""OneThread: allows one thread at a time to use a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..backends.process import renew_in_children
from ..errors import InUseError

PICKLE_OR_COPY = "pickle or copy"  # what `during` is told of both


class OneThread:
    """Lets one thread at a time train or evaluate a network; that thread may do several of these within each other.

    >>> one_thread = OneThread()
    >>> with one_thread.during("fit"), one_thread.during("evaluate"):
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0  # the thread's number, 0 for none
        self._doing = ""
        renew_in_children(self)

    def after_fork(self) -> None:
        """Free it, unless the thread that forked has it: no other goes on in the child."""
        if self._owner != threading.get_ident():
            self._lock, self._owner = threading.Lock(), 0

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Keep it inside. what: is done, as "fit". Raises InUseError while another thread has it."""
        me = threading.get_ident()
        if self._owner == me:
            yield
            return
        lock = self._lock
        if not lock.acquire(blocking=False):
            hint = "or give each thread a copy: copy.deepcopy(trainer). Any thread may call net.predict"
            if what == PICKLE_OR_COPY:
                hint = (
                    "or copy it in the thread that has it: a callback gives copy.deepcopy(trainer.network) to a pool "
                    "of processes, which pickles in a thread of its own"
                )
            raise InUseError(
                f"{what} was called in the thread {threading.current_thread().name!r} while {self._doing} of the same "
                "network is under way in another thread; one thread at a time can train, evaluate or save it. Wait "
                f"until the other has ended, {hint}"
            )
        try:
            self._owner, self._doing = me, what
            yield
        finally:
            self._owner = 0
            lock.release()
