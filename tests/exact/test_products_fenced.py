"""Exact products read and write nothing beyond their matrices, which lie between pages that must not be touched."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

from forked import in_child

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
from gpubp.backends.cpu.exact.product import product

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it needs Linux's mprotect")
PAGE = mmap.PAGESIZE
SHAPES = [
    (1, 1, 1), (1, 5000, 1), (1, 130, 10), (1, 70, 300), (2, 90, 33), (100, 70, 1), (14, 64, 32), (15, 33, 31),
    (37, 129, 48), (60, 2100, 20), (230, 17, 9),
]  # fmt: skip


class Fenced:
    """Memory between two pages that nothing may read or write."""

    def __init__(self, size):
        self.size = -(-size // PAGE) * PAGE
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for page in (first, first + PAGE + self.size):
            assert protect(page, PAGE, 0) == 0

    def matrix(self, shape, dtype, at_end, turned):
        """At the beginning or at the end of it."""
        start = PAGE + (self.size - np.prod(shape) * np.dtype(dtype).itemsize if at_end else 0)
        a = np.ndarray(shape[::-1] if turned else shape, dtype, self.memory, int(start))
        return a.T if turned else a


def stays_within(dtype):
    rng = np.random.default_rng(0)
    for M, K, N in SHAPES:
        sides = [Fenced(8 * m * n) for m, n in ((M, K), (K, N), (M, N))]
        a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
        wanted = product(a, b, np.empty((M, N), dtype), 3)
        for way in np.ndindex(2, 2, 2, 2):
            x, y, z = (
                side.matrix(m.shape, dtype, way[0], turned)
                for side, m, turned in zip(sides, (a, b, wanted), way[1:], strict=True)
            )
            x[...], y[...] = a, b
            if not np.array_equal(product(x, y, z, 3), wanted):
                return f"{M, K, N} {way}"
    return "everything"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_beyond_the_matrices_is_touched(dtype):
    product(np.ones((2, 2), dtype), np.ones((2, 2), dtype), np.empty((2, 2), dtype))  # compiled here, not in the child
    assert in_child(lambda: stays_within(dtype)) == "everything"
