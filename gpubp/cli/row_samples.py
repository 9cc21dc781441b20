"""A sample of the rows that a model was trained with, as hashes, to find these rows in any table.

    (1)  h(x, t) = mix(Σ_j c_j w_j mod 2^64)     w: the bits of x as float32 and t as float64, in words of 32 bits
    (2)  sample = the SIZE smallest hashes, but for those of rows that occur more than once

c are random numbers, the same in every model file. A sample of the smallest hashes does not depend on the order of
rows, and is found in one pass (Broder, "On the resemblance and containment of documents", 1997). Rows that occur more
than once say nothing: a new row may well have the same values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SIZE = 100
DIGITS = 16  # of a hash, as hexadecimal digits
SEED = 0x5A3F1E


def row_hashes(X: Array, t: Array) -> Array:
    """(1) of rows X (n, inputs) with the targets t (n,) or (n, outputs), (n,) uint64.

    >>> a = row_hashes(np.eye(3), np.zeros(3))
    >>> bool((row_hashes(np.eye(3)[::-1], np.zeros(3)) == a[::-1]).all())
    True
    """
    n = len(t)
    parts: list[Array] = [
        np.ascontiguousarray(X, np.float32).reshape(n, -1),
        np.ascontiguousarray(t, np.float64).reshape(n, -1),
    ]
    columns: list[Array] = [column for part in parts for column in part.view(np.uint32).T]
    factors = np.random.PCG64(SEED).random_raw(len(columns) + 1) | np.uint64(1)
    found = np.full(n, factors[-1], np.uint64)
    for column, factor in zip(columns, factors, strict=False):
        found += column.astype(np.uint64) * factor
    found ^= found >> np.uint64(32)
    found *= np.uint64(0x9E3779B97F4A7C15)
    return found ^ (found >> np.uint64(29))


class RowSample:
    """(2) of the rows that pass, in one pass and bounded memory.

    >>> sample = RowSample()
    >>> sample.add(np.array([5, 3, 3], np.uint64))
    >>> sample.text
    '0000000000000005'
    """

    def __init__(self) -> None:
        self._hashes, self._counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)

    def add(self, hashes: Array) -> None:
        """Add the next rows."""
        together = np.concatenate([self._hashes, hashes])
        counts = np.concatenate([self._counts, np.ones(len(hashes), np.int64)])
        found, where = np.unique(together, return_inverse=True)
        self._hashes = found[:SIZE]
        self._counts = np.bincount(where.reshape(-1), counts, len(found))[:SIZE].astype(np.int64)

    @property
    def text(self) -> str:
        """The sample, 16 hexadecimal digits for each hash."""
        return "".join(f"{h:0{DIGITS}x}" for h in self._hashes[self._counts == 1].tolist())


class SampleFinder:
    """Finds the rows of a sample among the rows that pass. text: of the sample.

    >>> finder = SampleFinder(f"{5:016x}{6:016x}{7:016x}{8:016x}")
    >>> finder.add(np.array([5, 3, 7], np.uint64))
    >>> finder.share
    0.5
    """

    def __init__(self, text: str) -> None:
        starts = range(0, len(text), DIGITS)
        self._wanted = np.array([int(text[i : i + DIGITS], 16) for i in starts], np.uint64)
        self._found = np.zeros(len(starts), bool)

    def add(self, hashes: Array) -> None:
        """Look at the next rows."""
        self._found |= np.isin(self._wanted, hashes)

    @property
    def share(self) -> float:
        """Which share of the sample was found; 0 for less than two rows."""
        count = int(self._found.sum())
        return count / len(self._found) if count > 1 else 0.0
