"""Sums of rows that go to the same row of the result, in the order of `order.py`, compiled by Numba.

    out_v = Σ_i [rows_i = v] a_i

This is a sum over the batch's rows of which most terms are left out, as if they were 0. Blocks and groups are those of
all terms, so that what is left of a block has the block's place in the tree; a number there that has no partner stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...arrays import Array
from ...order import BLOCK, rows_of_group

LEVELS = 64  # of the tree; more than any has


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _scatter(a: Any, rows: Any, out: Any, length: int, bits: int, following: Any, sums: Any) -> None:
    """length: terms of a group. bits: as many as number the blocks of a group. following (n,): memory for the next of
    the same row. sums (LEVELS, width): numbers of a tree that wait for a partner."""
    words, width = out.shape
    places = np.empty(LEVELS, np.int64)
    first = np.full(words, -1, np.int64)
    for i in range(len(rows) - 1, -1, -1):
        following[i] = first[rows[i]]
        first[rows[i]] = i
    for v in range(words):
        waiting, i = 0, first[v]
        while i >= 0:
            group = i // length
            place = group << bits | (i - group * length) // BLOCK
            while waiting > 1 and (places[waiting - 2] ^ places[waiting - 1]) < (places[waiting - 1] ^ place):
                waiting -= 1
                for j in range(width):
                    sums[waiting - 1, j] = sums[waiting - 1, j] + sums[waiting, j]
            places[waiting] = place
            for j in range(width):
                sums[waiting, j] = 0
            while i >= 0 and i // length == group and group << bits | (i - group * length) // BLOCK == place:
                for j in range(width):
                    sums[waiting, j] = sums[waiting, j] + a[i, j]
                i = following[i]
            waiting += 1
        for k in range(waiting - 2, -1, -1):
            for j in range(width):
                sums[k, j] = sums[k, j] + sums[k + 1, j]
        for j in range(width):
            out[v, j] = sums[0, j] if waiting else 0


def scatter(a: Array, rows: Array, out: Array, terms: int = 1) -> None:
    """out (words, width) = the sums of a (n, width) by rows (n,). terms: how many each row of the batch has.

    >>> out = np.zeros((3, 2))
    >>> scatter(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2]), out)
    >>> out.tolist()
    [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
    """
    length = rows_of_group(terms) * terms
    bits = (-(-length // BLOCK) - 1).bit_length()
    memory = np.empty(len(rows), np.int64), np.empty((LEVELS, out.shape[1]), out.dtype)
    _scatter(a, rows, out, length, bits, *memory)
