"""Sums of the rows that have the same number, in the order of `order.py`, compiled by Numba.

    out_v = Σ_i [rows_i = v] a_i

This is a sum over the batch's rows of which most terms are left out, as if they were 0. Blocks and groups are those of
all terms, so that what is left of a block has the block's place in the tree; a number there that has no partner stays.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np

from ...arrays import Array
from ...order import BLOCK, rows_of_group
from ...recording import address
from ..loops import ENTRIES, compiling, entry_of

LEVELS = 64  # of the tree; more than any has
Words = list[int]

SOURCE = """
from numba import carray
from gpubp.backends.cpu.pointers import at_{real}, at_int64

BLOCK, LEVELS = {block}, {levels}


# group: its terms. shift: so many bits number the blocks of a group. following: the next term of the same row.
# places, sums: of the parts of the tree that wait for a partner.
def entry(block):
    words = carray(block, 11)
    count, width, results, group, shift = words[0], words[1], words[2], words[3], words[4]
    of_a, of_out, memory = words[6], words[9], words[10]
    rows = carray(at_int64(words[7]), count)
    following = carray(at_int64(memory), count)
    first = carray(at_int64(memory + 8 * count), results)
    places = carray(at_int64(memory + 8 * (count + results)), LEVELS)
    sums = carray(at_{real}(memory + 8 * (count + results + LEVELS)), (LEVELS, width))
    for v in range(results):
        first[v] = -1
    for i in range(count - 1, -1, -1):
        following[i] = first[rows[i]]
        first[rows[i]] = i
    for v in range(results):
        out = carray(at_{real}(words[8] + v * of_out), width)
        waiting, i = 0, first[v]
        while i >= 0:
            g = i // group
            place = (g << shift) | ((i - g * group) // BLOCK)
            while waiting > 1 and (places[waiting - 2] ^ places[waiting - 1]) < (places[waiting - 1] ^ place):
                waiting -= 1
                for j in range(width):
                    sums[waiting - 1, j] += sums[waiting, j]
            places[waiting] = place
            for j in range(width):
                sums[waiting, j] = 0
            end = min(g * group + ((i - g * group) // BLOCK + 1) * BLOCK, (g + 1) * group)
            while 0 <= i < end:
                a = carray(at_{real}(words[5] + i * of_a), width)
                for j in range(width):
                    sums[waiting, j] += a[j]
                i = following[i]
            waiting += 1
        for k in range(waiting - 2, -1, -1):
            for j in range(width):
                sums[k, j] += sums[k + 1, j]
        for j in range(width):
            out[j] = sums[0, j] if waiting else 0
"""


def scatter(a: Array, rows: Array, out: Array, terms: int = 1) -> None:
    """out (words, width) = the sums of a (n, width) by rows (n,). terms: how many each row of the batch has.

    >>> out = np.zeros((3, 2))
    >>> scatter(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2]), out)
    >>> out.tolist()
    [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
    """
    lines, rows = _in_lines(a.astype(out.dtype, copy=False)), np.ascontiguousarray(rows, np.int64)
    found = _in_lines(out)
    kept: list[Any] = []
    words = _words(kept, lines, rows, found, terms)
    _compiled(str(out.dtype))[1]((ctypes.c_int64 * len(words))(*words))
    if found is not out:
        np.copyto(out, found)


@lru_cache(maxsize=2)
def _compiled(real: str) -> tuple[int, Any, Any]:
    """(address, function, what must stay) for numbers of this type."""
    with compiling.held():
        made = entry_of(SOURCE.format(real=real, block=BLOCK, levels=LEVELS))
    return int(made.address), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(made.address), made


def _words(kept: list[Any], a: Array, rows: Array, out: Array, terms: int) -> Words:
    """The block; its memory is among `kept`."""
    (results, width), count, group = out.shape, len(rows), rows_of_group(terms) * terms
    kept.append(memory := np.empty(count + results + LEVELS * (1 + width), np.int64))
    shift = (-(-group // BLOCK) - 1).bit_length()
    return [
        count, width, results, group, shift,
        address(a), a.strides[0], address(rows), address(out), out.strides[0], address(memory),
    ]  # fmt: skip


def _native(kept: list[Any], a: Array, rows: Array, out: Array, terms: int = 1) -> Words | None:
    """The address of the compiled function and its block; None where arrays must be copied first."""
    whole = _in_lines(a) is a and _in_lines(out) is out and rows.dtype == np.int64 and rows.flags.c_contiguous
    return (
        [_compiled(str(out.dtype))[0], *_words(kept, a, rows, out, terms)] if whole and a.dtype == out.dtype else None
    )


def _in_lines(a: Array) -> Array:
    """a, with the numbers of each row side by side."""
    return a if a.strides[1] == a.dtype.itemsize else np.ascontiguousarray(a)


ENTRIES[scatter] = _native
