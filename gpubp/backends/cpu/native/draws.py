"""Draws random masks and uniform numbers without Python: the Philox of `backends/philox.py`, compiled by Numba.

Both draw some blocks of the generator at a time into memory of their own, and then look at its bits as 16-bit or 32-bit
numbers, which the processor does several at a time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...arrays import Array
from ...philox import FACTORS, WEYL, fill_mask, fill_uniform
from ...recording import address
from ..loops import ENTRIES, compiling, entry_of
from .instructions import Words

BLOCKS = 64  # of Philox at a time, each of 32 bytes

SOURCE = """
from numba import carray, njit
from numpy import {real} as real, uint16, uint32
from gpubp.backends.cpu.pointers import at_{real}, at_int64, at_mask, at_uint16, at_uint32, upper

BLOCKS = {blocks}
FACTORS = {factors}
WEYL = {weyl}


@njit(nogil=True)
def draw(words, count, number, step, seed, layer):
    for k in range(count):
        c0, c1, c2, c3, k0, k1 = number + k, step, 0, 0, seed, layer
        for _ in range(10):
            low, high = FACTORS[0] * c0, upper(FACTORS[0], c0)
            c0, c1 = upper(FACTORS[1], c2) ^ c1 ^ k0, FACTORS[1] * c2
            c2, c3 = high ^ c3 ^ k1, low
            k0 += WEYL[0]
            k1 += WEYL[1]
        words[4 * k], words[4 * k + 1], words[4 * k + 2], words[4 * k + 3] = c0, c1, c2, c3


"""
MASK = """
@njit(nogil=True)
def compare(out, lanes, threshold):
    for i in range(out.size):
        out[i] = lanes[i] >= threshold


def entry(block):
    b = carray(block, 8)
    n, first, threshold, step = b[1], b[2], uint16(b[3]), carray(at_int64(b[6]), 1)[0]
    out, words = carray(at_mask(b[0]), n), carray(at_int64(b[7]), 4 * BLOCKS)
    lanes = carray(at_uint16(b[7]), 16 * BLOCKS)
    number, skip, done = first // 16, first % 16, 0
    while done < n:
        count = min(BLOCKS, (skip + n - done + 15) // 16)
        draw(words, count, number + 1, step, b[4], b[5])
        part = min(n - done, 16 * count - skip)
        compare(out[done : done + part], lanes[skip : skip + part], threshold)
        number, skip, done = number + count, 0, done + part
"""
UNIFORM = """
@njit(nogil=True)
def scale(out, lanes):
    for i in range(out.size):
        out[i] = real(lanes[i] >> uint32(8)) * real(1.0 / 16777216.0)


def entry(block):
    b = carray(block, 7)
    n, first, step = b[1], b[2], carray(at_int64(b[5]), 1)[0]
    out, words = carray(at_{real}(b[0]), n), carray(at_int64(b[6]), 4 * BLOCKS)
    lanes = carray(at_uint32(b[6]), 8 * BLOCKS)
    number, done = first // 8, 0
    while done < n:
        count = min(BLOCKS, (n - done + 7) // 8)
        draw(words, count, number + 1, step, b[3], b[4])
        part = min(n - done, 8 * count)
        scale(out[done : done + part], lanes[:part])
        number, done = number + count, done + part
"""


@lru_cache(maxsize=4)
def _compiled(source: str, real: str) -> Any:
    """The function for numbers of this type; its address is that of the code."""
    with compiling.held():
        constants = {"factors": tuple(map(_signed, FACTORS)), "weyl": tuple(map(_signed, WEYL))}
        return entry_of((SOURCE + source).format(real=real, blocks=BLOCKS, **constants))


def _signed(word: int) -> int:
    """The word as the compiled code sees it, whose numbers have a sign."""
    return word - 2**64 if word >= 2**63 else word


def _memory(kept: list[Any]) -> int:
    kept.append(memory := np.empty(4 * BLOCKS, np.int64))
    return address(memory)


def _mask(
    kept: list[Any], out: Array, threshold: int, key: tuple[int, int], step: Array, first: int = 0
) -> Words | None:
    if not out.flags.c_contiguous or out.dtype != np.bool_ or step.dtype.itemsize != 8:
        return None
    words = [address(out), out.size, first, threshold, *map(_signed, key), address(step), _memory(kept)]
    return [int(_compiled(MASK, "float32").address), *words]


def _uniform(kept: list[Any], out: Array, key: tuple[int, int], step: Array, first: int = 0) -> Words | None:
    if not out.flags.c_contiguous or out.dtype.char not in "fd" or step.dtype.itemsize != 8:
        return None
    words = [address(out), out.size, first, *map(_signed, key), address(step), _memory(kept)]
    return [int(_compiled(UNIFORM, str(out.dtype)).address), *words]


ENTRIES[fill_mask], ENTRIES[fill_uniform] = _mask, _uniform
