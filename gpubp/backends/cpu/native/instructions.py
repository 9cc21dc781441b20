"""The instructions of a program: their codes, and the words in which they are written. `interpreter.py` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

UFUNC, REDUCE, ARGMAX, GEMM, GEMV, DOT, AXPY, COPY, FORMULA, SKIP, TAKE, GEMMS, FINITE = range(13)
CASTS = {"?f": -1, "?d": -2, "fd": -3, "df": -4, "fl": -5, "dl": -6, "il": -7}  # of types, by NumPy's letters

Words = list[int]
Array = np.ndarray[Any, Any]


def instruction(code: int, *fields: int) -> Words:
    """The words of one instruction.

    >>> instruction(COPY, 8, 0, 100, 200) == [COPY, 6, 8, 0, 100, 200]
    True
    """
    return [code, len(fields) + 2, *fields]


def axes_of(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[Words, list[Words]]:
    """The lengths of the axes, and the operands' steps, with as few axes as will do: at least one.

    >>> axes_of((2, 1, 3), [(24, 24, 8), (8, 8, 0)])
    ([2, 3], [[24, 8], [8, 0]])
    """
    sizes: Words = []
    steps: list[Words] = [[] for _ in strides]
    for k, n in enumerate(shape):
        if n == 1:
            continue
        if sizes and all(s[-1] == own[k] * n for s, own in zip(steps, strides, strict=True)):
            sizes[-1] *= n  # one step along the axis before is all of this one
            for s, own in zip(steps, strides, strict=True):
                s[-1] = own[k]
        else:
            sizes.append(n)
            for s, own in zip(steps, strides, strict=True):
                s.append(own[k])
    if not sizes:
        return [1], [[0] for _ in strides]
    return sizes, steps
