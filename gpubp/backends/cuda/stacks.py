"""Stacks of matrices, divided so that one call of cublasLt makes as many products as may be.

A call takes one leading axis: in each of a, b and out it goes from matrix to matrix by one stride. The heads of
attention are views (B, H, T, d) of memory (B, T, H, d), with two strides. So they are H stacks of B matrices, or B
stacks of H.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..arrays import Array


def at_equal_distances(a: Array, b: Array, out: Array) -> Iterator[tuple[Array, Array, Array]]:
    """Stacks of at most one leading axis that make up these, as few as go: two axes become one where one stride goes
    through both, in all three; otherwise the shorter one is gone through.

    >>> import numpy as np
    >>> heads = np.zeros((32, 10, 4, 8)).transpose(0, 2, 1, 3)
    >>> p = np.zeros((32, 4, 10, 10))
    >>> [out.shape for a, b, out in at_equal_distances(p, heads, heads)]
    [(32, 10, 8), (32, 10, 8), (32, 10, 8), (32, 10, 8)]
    >>> [out.shape for a, b, out in at_equal_distances(p, p, p)]
    [(128, 10, 10)]
    """
    three = a, b, out
    if out.ndim <= 3:
        yield three
        return
    n, m = out.shape[:2]
    if n == 1 or m == 1 or all(x.strides[0] == m * x.strides[1] for x in three):
        a, b, out = ((x[0] if n == 1 else x[:, 0] if m == 1 else x.reshape(n * m, *x.shape[2:])) for x in three)
        yield from at_equal_distances(a, b, out)
        return
    for i in range(min(n, m)):
        a, b, out = ((x[i] if n <= m else x[:, i]) for x in three)
        yield from at_equal_distances(a, b, out)
