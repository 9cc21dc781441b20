"""Reader: keeps at most two windows of rows in memory, and reads the next one in a thread.

The windows of an epoch, and their order, are known when it begins. While steps run on window w, a thread reads and
decodes window w+1. It waits until there is room, because there are never more than two windows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backends.process import renew_in_children
from .row_groups import Array, Order, RowGroups, Rows

THREAD = "gpubp reads rows"

Window = tuple[int, ...]


class Reader(Rows):
    """Row groups as an array that batches are taken from. One thread uses it, and closes it.

    source: where they come from. At first they are read in the order of the file.

    >>> X = RowGroups([3, 3], lambda k: np.arange(3.0) + 3 * k, row=(), dtype="float64")
    >>> with Reader(X) as reader:
    ...     reader[[5, 0, 1]].tolist()
    [5.0, 0.0, 1.0]
    """

    def __init__(self, source: RowGroups) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype
        self._held: dict[Window, Array] = {}
        self._problem: BaseException | None = None
        self._closed = False
        self.after_fork()
        renew_in_children(self)
        self.follow(source.order(0, 0, shuffle=False))

    def after_fork(self) -> None:
        """Begin without a thread, which a forked process has not: the next one is started when rows are needed."""
        self._news = threading.Condition()
        self._spare: Array | None = None  # the memory of a window that is not needed any more
        self._thread: threading.Thread | None = None

    def follow(self, order: Order, then: Order | None = None) -> None:
        """Read the windows of this order from now on, and then the first one of the order `then`."""
        shift = np.zeros(self.source.groups, np.int64)  # from a row's number to its place in the window
        window_of = np.zeros(self.source.groups, np.int64)
        starts, sizes = self.source.starts, self.source.sizes
        for w, groups in enumerate(map(list, order.windows)):
            shift[groups] = np.cumsum(sizes[groups]) - sizes[groups] - starts[groups]
            window_of[groups] = w
        with self._news:
            self._shift, self._window_of = shift, window_of
            self._largest = max((int(sizes[list(w)].sum()) for w in order.windows), default=0)
            self._plan = [*order.windows, *(then.windows[:1] if then is not None else ())]
            self._at: int | None = None  # nothing is read before somebody needs it

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "clip") -> Any:
        """The rows of these numbers; waits for their windows, and raises what went wrong in reading them."""
        rows = np.asarray(rows)
        out = self._room(len(rows), out)
        if not len(rows):
            return out
        group = self.source.group_of(rows)
        window, place = self._window_of[group], rows + self._shift[group]
        first, last = int(window.min()), int(window.max())
        if first == last:
            return np.take(self._window(first), place, axis=0, out=out, mode="clip")
        for w in np.unique(window):
            here = window == w
            out[here] = self._window(int(w))[place[here]]
        return out

    def _window(self, w: int) -> Array:
        with self._news:
            wanted = self._plan[w]
            if self._at != w:
                self._at = w
                self._news.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
                self._thread.start()
            while wanted not in self._held:
                if self._problem is not None:
                    raise self._problem
                self._news.wait()
            return self._held[wanted]

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._news:
                while (wanted := self._next()) is None and not self._closed:
                    self._news.wait()
                if wanted is None or self._closed:
                    return
            try:
                window = self._read(wanted)
            except BaseException as problem:  # whatever it is, it is for whoever waits
                with self._news:
                    self._problem = problem
                    self._news.notify_all()
                return
            with self._news:
                if window is not None:
                    self._held[wanted] = window
                self._news.notify_all()

    def _next(self) -> Window | None:
        """The window to read now, the one in use or the one after it; makes room for it."""
        if self._at is None:
            return None
        near = self._plan[self._at : self._at + 2]
        wanted = next((window for window in near if window not in self._held), None)
        if wanted is not None:
            for window in [window for window in self._held if window not in near]:
                self._spare = self._held.pop(window).base  # new memory costs more than the copy into it
        return wanted

    def _read(self, groups: Window) -> Array | None:
        sizes = self.source.sizes[list(groups)]
        rows, end = int(sizes.sum()), 0
        room, self._spare = self._spare, None
        if room is None or len(room) < rows:
            room = np.empty((max(rows, self._largest), *self.shape[1:]), self.dtype)
        window = room[:rows]
        for k, size in zip(groups, sizes.tolist(), strict=True):
            if self._closed:
                return None
            window[end : end + size] = self.source.read(k)
            end += size
        return window

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the rows, and end the thread after the group that it reads."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._held.clear()
        self._spare = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


@contextmanager
def opened(X: Any) -> Iterator[Any]:
    """Row groups by a Reader, to be read in the order of the file unless it is told another; other arrays as they are.

    >>> with opened(np.eye(2)) as X:
    ...     len(X)
    2
    """
    if not isinstance(X, RowGroups):
        yield X
        return
    with Reader(X) as reader:
        yield reader
