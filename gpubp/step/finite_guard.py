"""Guard: prevents the update in a step whose loss or gradients are not finite.

    (1)  s = g·g + Σ w ℓ        gradients and loss of the batch; over all workers where several share it
    (2)  good = s is finite      which it is not where any g or ℓ is not, or g·g is beyond the type
    (3)  θ, moments, totals, running statistics ← those of the step where it is good, else those before it

All of it is part of the recorded step: on a GPU nothing is read, and (3) is a copy under a mask; on a CPU, where
reading a number costs nothing, (3) is an `if`. The host reads every few steps how many were good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import Array, Backend


class Guard:
    """Prevents one worker's share of the update in steps that are not finite.

    latch: after a step that is not good, none is until `begin`. states: the running statistics, None if another worker
    sees to them. alive: whether the last step was good. good: how many were since `begin`. weight: what `begin` was
    given, and Σ w of all good steps since, in float64; the caller's `update` adds it. None with a latch, where the host
    knows it.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> theta = be.zeros((2,), "float32")
    >>> guard = Guard(be, "float32", latch=False)
    >>> for total in (1.0, float("nan"), 2.0):
    ...     guard.total[...] = total
    ...     guard.check_finite(guard.total)
    ...     guard.update_if_finite(lambda: be.xp.add(theta, 1.0, out=theta), [theta])
    >>> theta.tolist(), guard.read()
    ([2.0, 2.0], (True, 2))
    """

    def __init__(self, backend: Backend, dtype: Any, latch: bool, states: Array = None) -> None:
        self.be, self.latch, self.states = backend, latch, states
        self.total = backend.zeros((), dtype)
        self.alive, self._bad = (backend.zeros((), np.bool_) for _ in range(2))
        self.good = backend.zeros((), np.int64)
        self.weight = None if latch else backend.zeros((), np.float64)
        self._kept: dict[Any, Array] = {}  # on a GPU, what was there before the step
        self._states = None if states is None or not states.size else backend.zeros(states.shape, states.dtype)
        self.begin()

    def begin(self, weight: float = 0.0) -> None:
        """Count anew, from running statistics that are good. weight: Σ w of the good steps before."""
        self.be.put(self.alive, True)
        self.be.put(self.good, 0)
        if self.weight is not None:
            self.be.put(self.weight, weight)
        self.keep_states()

    def keep_states(self) -> None:
        """Take the running statistics as they are for good."""
        if self._states is not None:
            self.be.xp.copyto(self._states, self.states)

    def check_finite(self, total: Array, loss: Array | None = None) -> None:
        """(2), for s = total + loss: whether this step is good."""
        self.be.check_finite(total, loss, self.alive, self._bad, self.good, self.latch)

    def update_if_finite(self, update: Callable[[], Any], changes: Sequence[Array]) -> None:
        """(3): call `update`, which changes the arrays `changes`, if this step is good."""
        saved, states, xp = self._states, self.states, self.be.xp
        if saved is None:
            self.be.run_if(self.alive, self._bad, update, changes, self._kept)
            return

        def both() -> None:
            update()
            xp.copyto(saved, states)

        self.be.run_if(self.alive, self._bad, both, [*changes, saved], self._kept)
        xp.copyto(states, saved)  # they were changed in the forward pass, before anything was known

    def read(self) -> tuple[bool, int]:
        """(alive, good), on the host; waits for the device."""
        return bool(self.be.to_host(self.alive)), int(self.be.to_host(self.good))

    def read_weight(self) -> float:
        """Σ w of the good steps, on the host; only without a latch."""
        return float(self.be.to_host(self.weight))
