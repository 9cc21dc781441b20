"""The largest number of each row, by the calls of NumPy that take the least time.

NumPy's own `maximum.reduce` takes 25 to 110 ns for a row of few numbers (AMD EPYC and Intel Xeon alike): it begins anew
at every row, with the first number, and its vectors then do not fit what is left.

    many short rows     column by column: max(x₀, x₁), max(that, x₂), ...
    other rows          from -∞ on, so that all n numbers are left, and a row of 64 is four vectors of AVX-512
"""

from __future__ import annotations

import math

import numpy as np

from ..arrays import Array
from ..recording import Call

SHORT, ROWS_A_COLUMN = 32, 12  # numbers of a row; how many rows there are at least for each of its numbers


def row_maxima(a: Array, out: Array) -> list[Call]:
    """The calls for out (..., 1) = the largest number of each row of a (..., n).

    >>> x, out = np.array([[1.0, 3.0, 2.0]]), np.empty((1, 1))
    >>> for function, args, kwargs in row_maxima(x, out):
    ...     function(*args, **kwargs).tolist()
    [[3.0]]
    """
    n = a.shape[-1]
    if a.dtype.kind != "f":
        return [Call(np.maximum.reduce, (a,), {"axis": -1, "keepdims": True, "out": out})]
    if 1 < n <= SHORT and out.size >= ROWS_A_COLUMN * n and a.dtype == out.dtype:
        columns = [a[..., k : k + 1] for k in range(n)]
        firsts = [columns[0], *[out] * (n - 2)]
        return [Call(np.maximum, (x, y), {"out": out}) for x, y in zip(firsts, columns[1:], strict=True)]
    return [Call(np.maximum.reduce, (a,), {"axis": -1, "keepdims": True, "out": out, "initial": -math.inf})]
