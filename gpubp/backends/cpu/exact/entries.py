"""Compiled products, one function for each type of numbers and kind of processor."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....errors import DeviceError
from ..loops import compiling, entry_of
from . import kernels, layout

TILES = {"avx512f": (14, 2, 64), "avx": (6, 2, 32), "neon": (12, 2, 16), "": (4, 2, 16)}  # rows, vectors, their bytes
SIZES = {"float32": 4, "float64": 8}
TABLE = """from numba import carray
from gpubp.backends.cpu.exact.kernels import Kernels
{made}
write = KERNELS.table()


def entry(block):
    write(carray(block, 1)[0])


"""


class Entry(NamedTuple):
    """A compiled product. address: of its machine code. call: it as a function of the address of a block of words.

    table: the address of its kernels' addresses. kept: what holds all of it.
    """

    address: int
    call: Any
    table: int
    kept: Any


def tile(real: str) -> tuple[int, int, int]:
    """The largest tile for numbers of a type: rows, vectors, and numbers in a vector. GPUBP_EXACT_TILE has another, as
    "6x2x8"; the numbers of the results don't depend on it.

    >>> len(tile("float32"))
    3
    """
    given = os.environ.get("GPUBP_EXACT_TILE")
    if given:
        if not re.fullmatch("[1-9][0-9]*x[1-9][0-9]*x[1-9][0-9]*", given):
            raise DeviceError(f"GPUBP_EXACT_TILE is rows, vectors and numbers in a vector, as 6x2x8, and not {given!r}")
        rows, vectors, lanes = (int(n) for n in given.split("x"))
        return rows, vectors, lanes
    from numba.core.registry import cpu_target

    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    rows, vectors, size = next(tile for name, tile in TILES.items() if not name or f"+{name}" in features)
    return rows, vectors, size // SIZES[real]


@lru_cache(maxsize=4)
def default(real: str) -> Entry:
    """The product of numbers of this type on this processor.

    >>> default("float32") is default("float32")
    True
    """
    return entry(real, *tile(real))


@lru_cache(maxsize=16)
def entry(real: str, rows: int, vectors: int, lanes: int) -> Entry:
    """The product of numbers of this type, by tiles of this kind.

    >>> entry("float32", *tile("float32")).address > 0
    True
    """
    made = f'KERNELS = Kernels("{real}", {rows}, {vectors}, {lanes})'
    with compiling.held():
        filled = entry_of(TABLE.format(made=made) + _versions())
        calls = entry_of(_text("driver") + _versions())
    table = np.zeros(layout.WORDS, np.int64)
    where = np.array([table.ctypes.data], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(filled.address)(where.ctypes.data)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(calls.address)
    return Entry(int(calls.address), call, int(table.ctypes.data), (filled, calls, table))


def _text(name: str) -> str:
    return Path(kernels.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _versions() -> str:
    """A comment that differs where the texts of what is imported do, so that old machine code isn't taken."""
    return f"# {hashlib.sha256((_text('kernels') + _text('layout')).encode()).hexdigest()}\n"
