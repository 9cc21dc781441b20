"""A check that replaying a record gives the same numbers as computing again.

A step is recorded as the calls it makes of `ws.xp` and `ws.be`. What Python's operators compute, `y = a * b` or
`a += b`, is not recorded: the steps after it would use numbers of the first. So a computation is
recorded on some numbers, and then, on others,

    (1)   replayed = record()        (2)   computed = run()        (3)   replayed = computed, bit for bit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import Array
from .base import Backend

__all__ = ["OPERATORS", "repeats"]

OPERATORS = (
    "Operators such as a * b or a += b are not noted: declare an array in plan() and write "
    "ws.xp.multiply(a, b, out=ws.name). Random numbers come from ws.be.random_uniform or ws.be.random_mask"
)


def repeats(backend: Backend, run: Callable[[], Sequence[Array]], change: Callable[[], Any]) -> bool:
    """Whether a record of `run` does what `run` does, after `change` gave it other numbers to work on.

    run: returns the arrays that hold what it computed. backend: of the CPU, whose records can be run at once.

    >>> import numpy as np
    >>> from gpubp.backends import get_backend
    >>> be, x, y = get_backend("cpu"), np.ones(2), np.ones(2)
    >>> repeats(be, lambda: [be.xp.add(x, x, out=y)], lambda: x.fill(2.0))
    True
    >>> repeats(be, lambda: [x * 2.0], lambda: x.fill(3.0))
    False
    """
    noted: list[Array] = []
    record = backend.capture(lambda: noted.extend(run()))
    change()
    record()
    replayed = [np.array(a) for a in noted]
    change()
    return all(a.tobytes() == np.asarray(b).tobytes() for a, b in zip(replayed, run(), strict=True))
