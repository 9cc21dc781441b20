"""Checks whether the gradients and the loss of a step are finite (`step/finite_guard.py`)."""

from __future__ import annotations

import math
from typing import Any


def check_finite(total: Any, loss: Any, alive: Any, bad: Any, good: Any, latch: bool) -> None:
    """What `Backend.check_finite` says, on memoryviews, which Python reads fastest.

    `native/interpreter.py` does the same.

    >>> import numpy as np
    >>> total, alive, bad, good = np.array(np.inf), np.array(True), np.array(False), np.array(3)
    >>> check_finite(total, total, *(memoryview(a) for a in (alive, bad, good)), latch=False)
    >>> alive.item(), bad.item(), good.item()
    (False, True, 3)
    """
    if math.isfinite(total[()] + loss[()]):
        if alive[()]:
            good[()] += 1
            return
        if not latch:
            alive[()], bad[()] = True, False
            good[()] += 1
    else:
        alive[()], bad[()] = False, True
