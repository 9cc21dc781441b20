"""Takes rows by their numbers, or adds them up, without Python, as Embedding does: loops that Numba compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ...arrays import Array, share
from ...recording import address
from ..loops import ENTRIES, compiling, entry_of
from ..scattering import Scatter, take_rows
from .instructions import Words

SOURCE = """
from numba import carray, njit
from gpubp.backends.cpu.pointers import at_{real} as at_real, at_int64


@njit(nogil=True)
def work(out, rows, a):
{body}

def entry(block):
    b = carray(block, 7)
    out, a = carray(at_real(b[0]), (b[1], b[2])), carray(at_real(b[3]), (b[4], b[2]))
    work(out, carray(at_int64(b[5]), b[6]), a)
"""
TAKE = """
    last = len(a) - 1
    for i in range(len(rows)):
        row = min(max(rows[i], 0), last)
        for j in range(out.shape[1]):
            out[i, j] = a[row, j]
"""
ADD = """
    for k in range(len(out)):
        for j in range(out.shape[1]):
            out[k, j] = 0
    for i in range(len(rows)):
        if 0 <= rows[i] < len(out):
            for j in range(out.shape[1]):
                out[rows[i], j] += a[i, j]
"""


@lru_cache(maxsize=4)
def _compiled(body: str, real: str) -> Any:
    """The function for numbers of this type; its address is that of the code."""
    with compiling.held():
        return entry_of(SOURCE.format(real=real, body=body))


def _entry(body: str) -> Callable[..., Words | None]:
    """What `ENTRIES` has; None where arrays have gaps, or numbers of another type."""

    def words(kept: list[Any], out: Array, a: Array, rows: Array) -> Words | None:
        whole = all(array.flags.c_contiguous for array in (out, a, rows))
        fits = out.ndim == a.ndim == 2 and out.dtype == a.dtype and a.dtype.char in "fd" and rows.dtype == np.int64
        if not whole or not fits or share(out, a) or not a.size:
            return None
        block = [address(out), *out.shape, address(a), len(a), address(rows), len(rows)]
        return [int(_compiled(body, str(out.dtype)).address), *block]

    return words


def _add(kept: list[Any], a: Array, rows: Array, out: Array) -> Words | None:
    return _entry(ADD)(kept, out, a, rows)


ENTRIES[take_rows], ENTRIES[Scatter.scatter] = _entry(TAKE), _add
