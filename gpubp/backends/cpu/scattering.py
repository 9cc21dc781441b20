"""Rows by their numbers: `take_rows` copies them, and Scatter adds those that go to the same row of the result,

    out[v] = Σ_i [rows_i = v] a_i        in the order of i

`np.add.at` has a quick way for an index of one axis, and takes five times as long for rows. So the place of each number
in `out` is computed, some rows at a time, in memory that is used again. The bits are the same.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Array

AT_ONCE = 2**14  # numbers


def take_rows(out: Array, source: Array, rows: Array) -> None:
    """out[i] = source[rows[i]]; `clip` spares NumPy a second buffer, the rows having been made to fit.

    >>> out = np.empty((2, 1))
    >>> take_rows(out, np.array([[1.0], [2.0], [3.0]]), np.array([2, 0])), out.tolist()
    (None, [[3.0], [1.0]])
    """
    if source.dtype == out.dtype:
        np.take(source, rows, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, source[rows], casting="unsafe")


class Scatter:
    """Adds rows of `width` numbers.

    >>> out = np.zeros((3, 2))
    >>> Scatter(2).scatter(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2]), out)
    >>> out.tolist()
    [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
    """

    def __init__(self, width: int) -> None:
        self._columns = np.arange(width)
        self._places = np.empty((max(1, AT_ONCE // max(1, width)), width), np.int64)

    def scatter(self, a: Array, rows: Array, out: Array) -> None:
        """out (words, width) = the sums of a (n, width) by rows (n,)."""
        out[...] = 0
        if not out.flags.c_contiguous:
            np.add.at(out, rows, a)
            return
        step, numbers = len(self._places), out.reshape(-1)
        for i in range(0, len(rows), step):
            part = rows[i : i + step, None]
            places = self._places[: len(part)]
            np.add(np.multiply(part, len(self._columns), out=places), self._columns, out=places)
            np.add.at(numbers, places.reshape(-1), a[i : i + step].reshape(-1))


def write_at(places: Array, count: Array, a: Array) -> None:
    """places[k …] = the columns of a, with k = count, or less where the last places are behind that.

    >>> places = np.zeros((3, 1))
    >>> write_at(places, np.array(5.0), np.ones((1, 2))), places.tolist()
    (None, [[0.0], [1.0], [1.0]])
    """
    k = min(int(count), len(places) - a.shape[1])
    places[k : k + a.shape[1]] = a.swapaxes(0, 1)
