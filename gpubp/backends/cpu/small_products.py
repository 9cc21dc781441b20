"""Products with many rows, made as stacks of small products where BLAS makes those faster.

    y_i = x_i W      for blocks i of rows;   x (m, k)   W (k, n)   y (m, n)

A BLAS copies ("packs") its operands before it multiplies, so that its kernel reads them in order. Where W has few
columns, as in a convolution, that takes as long as a large part of the product. OpenBLAS has other kernels for AVX-512,
which read small products as they lie, up to 10⁶ multiplications. So where OpenBLAS has taken its kernels for AVX-512, a
product with more is made as a stack of products with fewer, and a last one of the rows that are left.

Its other kernels always pack, and would pack W for each block: they are given the whole product, and so is BLAS with
several threads, which share a large product and not a small one. The kernels for small products add the k terms of a
number one after the other, the others in groups of some hundreds, which rounds less; so sums of many terms stay whole.

GFLOP/s of one core (Intel Xeon with AVX-512, OpenBLAS 0.3.31, float32; the best of many rounds):

    x W           whole   blocks          xᵀ dy          whole   blocks
    k 9, n 32        36      102          k 288, n 32      114      169
    k 27, n 32       82      152          k 576, n 32      116      131
    k 288, n 32     123      187          k 288, n 64      143      163
    k 288, n 64     134      164
    k 576, n 64     130      168          x has 784 rows in xᵀ dy
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .blas import Library, numpys
from .blas_threads import threads_now

Array = np.ndarray[Any, Any]

SMALL = 10**6  # multiplications: as many as OpenBLAS's kernels for AVX-512 make without packing
KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")  # those for AVX-512, the names that OpenBLAS gives them
SINCE = (0, 3, 27)  # the oldest OpenBLAS of a NumPy that gpubp runs on
TERMS = 2048  # of a sum, at most
TURN, TURNS, MOST = 12, 24, 192  # rows of a block: a multiple of what the kernels take at a time, better of twice that


def blocks(x: Array, w: Array, y: Array) -> list[tuple[Array, Array, Array]]:
    """Products (x, W, y) that together are y = x W: one of a stack, and one of the rows that are left, if any. None at
    all where the product had better be made whole.

    x and W are C- or Fortran-contiguous, y is C-contiguous, and all have two axes.
    """
    rows = _rows_of_block(x, w, y)
    if not rows or not unpacked() or threads_now() > 1:
        return []
    count, (m, k), n = len(x) // rows, x.shape, w.shape[1]
    down, right = x.strides
    stack = np.ndarray((count, rows, k), x.dtype, _memory(x), 0, (rows * down, down, right))
    whole = np.ndarray((count, k, n), w.dtype, w, 0, (0, *w.strides))
    found = [(stack, whole, y[: count * rows].reshape(count, rows, n))]
    if m > count * rows:
        found.append((x[count * rows :], w, y[count * rows :]))
    return found


def _memory(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.T


def _rows_of_block(x: Array, w: Array, y: Array) -> int:
    """Rows of a block, 0 where there are not two of them, or a block can't be small.

    >>> x, w, y = np.zeros((784, 288)), np.zeros((288, 64)), np.zeros((784, 64))
    >>> _rows_of_block(x, w, y), _rows_of_block(x[:49], w, y[:49]), _rows_of_block(x, np.zeros((64, 288)).T, y)
    (48, 0, 0)
    """
    (m, k), n = x.shape, w.shape[1]
    if m * k * n <= SMALL or k > TERMS or min(k, n) < 2 or not (w.flags.c_contiguous and y.flags.c_contiguous):
        return 0
    if not (x.dtype == w.dtype == y.dtype and x.dtype in (np.float32, np.float64)):
        return 0
    most = SMALL // (k * n)
    rows = min(most // TURNS * TURNS, MOST) or most // TURN * TURN
    return rows if 2 * rows <= m else 0


@cache
def unpacked() -> bool:
    """Whether NumPy's BLAS makes small products without packing.

    >>> unpacked() in (True, False)
    True
    """
    return makes_small_products_unpacked(numpys())


def makes_small_products_unpacked(blas: Library) -> bool:
    """Whether a BLAS does.

    >>> makes_small_products_unpacked(Library("NumPy", "OpenBLAS", "0.3.31", "SkylakeX"))
    True
    >>> makes_small_products_unpacked(Library("NumPy", "OpenBLAS", "0.3.31", "Zen"))
    False
    """
    version = tuple(int(part) if part.isdigit() else 0 for part in blas.version.split(".")[:3])
    return blas.name == "OpenBLAS" and blas.kernel in KERNELS and version >= SINCE
