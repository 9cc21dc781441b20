"""Repeat short operands of elementwise operations, because NumPy is faster on long rows; the bits are the same."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..arrays import Array
from ..base import Backend

LARGE, WIDE, SHORT = 2**14, 2**13, 2**8  # numbers: where longer rows pay, how long they are, and what is a short one


class Widening:
    """Makes single numbers and short rows longer, in memory that lives as long as a record that uses it.

    backend: makes the memory, and the copies.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> x, row = be.zeros((8192, 2), "float32"), be.zeros((2,), "float32")
    >>> (x, row), out = Widening(be)(np.add, [x, row], x)
    >>> x.shape, row.shape, out.shape
    ((2, 8192), (8192,), (2, 8192))
    """

    def __init__(self, backend: Backend) -> None:
        self._be = backend
        self._wide: WeakValueDictionary[tuple[int, int, str], Array] = WeakValueDictionary()

    def __call__(self, ufunc: Any, operands: list[Any], out: Array) -> tuple[list[Any], Array]:
        """The same operation on longer rows: a single number, or a short row, is repeated until it is as long as some
        of the rows together. NumPy's maximum goes over the numbers one by one where an operand is a single number, and
        all operations begin anew at every row where one is a row."""
        shape, columns = out.shape, out.shape[-1]
        kinds = [
            "full" if a.shape == shape and a.flags.c_contiguous
            else "number" if a.size == 1
            else "row" if a.size == columns == a.shape[-1] <= SHORT and a.flags.c_contiguous
            else ""
            for a in operands
        ]  # fmt: skip
        numbers = ufunc in (np.maximum, np.minimum) and "number" in kinds
        if "" in kinds or not ("row" in kinds or numbers):
            return operands, out
        unit = columns if "row" in kinds else 1
        width = unit * math.gcd(out.size // unit, WIDE // unit)
        if width < WIDE // 16:
            return operands, out
        longer = []
        for k, (a, kind) in enumerate(zip(operands, kinds, strict=True)):
            if kind == "full":
                longer.append(a.reshape(-1, width))
            elif kind == "row" or numbers:
                place = k, width, str(a.dtype)
                wide: Array = self._wide.get(place)
                if wide is None:
                    wide = self._wide[place] = self._be.empty((width,), a.dtype)
                self._be.run(np.copyto, wide.reshape(-1, a.size), a.reshape(-1))
                longer.append(wide)
            else:
                longer.append(a)
        return longer, out.reshape(-1, width)
