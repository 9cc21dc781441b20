"""A computation that is recorded at its first call and replayed from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import Backend


class Recorded:
    """A computation on fixed arrays that is called again and again: recorded at the first call, then replayed.

    record: what is replayed, None before it was captured.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> x = be.zeros((1,), "float32")
    >>> count = Recorded(be, lambda: be.xp.add(x, 1.0, out=x))
    >>> count(), count(), x.item()
    (None, None, 2.0)
    >>> print(count.record)
    add(a0, 1.0, a0)
    """

    def __init__(self, backend: Backend, function: Callable[[], Any]) -> None:
        self.record: Callable[[], None] | None = None
        self._backend, self._function, self._runs = backend, function, 0

    def forget(self) -> None:
        """Record it anew at the next call, as some of its arrays have changed."""
        self.record, self._runs = None, 0

    def __call__(self) -> None:
        """Do it once: call the function, record it, or replay the record."""
        if self.record is not None:
            self.record()
        elif self._runs < self._backend.warmup:
            self._runs += 1
            self._function()
        else:
            self.record = self._backend.capture(self._function)
