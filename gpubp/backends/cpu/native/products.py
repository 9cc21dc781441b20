"""Products of matrices as instructions: the function that np.dot or np.matmul calls in the BLAS of this NumPy."""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from ...arrays import share
from ...recording import address
from .instructions import AXPY, DOT, GEMM, GEMMS, GEMV, Array, Words, axes_of, instruction

NO_TRANSPOSE, TRANSPOSE = 111, 112  # as CBLAS calls them
DOT_AT_ONCE = 2**30  # numbers: np.dot cuts longer vectors


@lru_cache(maxsize=64)
def _blas(name: str) -> int | None:
    """The address of a CBLAS function, as "sgemm", in the library that NumPy itself calls."""
    symbols = ["scipy_cblas_{}64_", "cblas_{}64_"]
    if sys.platform != "darwin":  # elsewhere a 32-bit number takes as much room among arguments as one of 64 bits
        symbols += ["scipy_cblas_{}", "cblas_{}"]
    try:
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    for symbol in symbols:
        try:
            return ctypes.cast(getattr(library, symbol.format(name)), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


def product(a: Any, b: Any, out: Any, is_dot: bool) -> Words | None:
    """What np.dot, or np.matmul, asks of BLAS, by the shapes of a and b; not what they copy first, nor a aᵀ, which is
    half the work to BLAS.

    >>> a = np.ones((3, 4), "float32")
    >>> product(a, a.T, np.zeros((3, 3), "float32"), is_dot=True) is None
    True
    """
    kind = a.dtype.char
    if not kind == b.dtype.char == out.dtype.char or kind not in "fd":
        return None
    if any(share(one, other) for one, other in ((a, out), (b, out))):
        return None
    of_a, of_b = _sort(a), _sort(b)
    if of_a == of_b == "matrix" and address(a) == address(b):
        return None
    if is_dot and not (out.flags.c_contiguous and _whole(a) and _whole(b)):
        return None
    if not (is_dot or of_a == of_b == _sort(out) == "matrix"):
        return None
    letter, which = ("s", 0) if kind == "f" else ("d", 1)

    def blas(code: int, name: str, *fields: int) -> Words | None:
        function = _blas(letter + name)
        return None if function is None else instruction(code, function, which, *fields)

    if "single" in (of_a, of_b):
        vector, single = (b, a) if of_a == "single" else (a, b)
        return blas(AXPY, "axpy", vector.size, address(single), address(vector), _step(vector), address(out))
    if of_b == "column" and of_a != "matrix":
        n, places = a.size, (address(a), _step(a), address(b), _step(b), address(out))
        return blas(DOT, "dot", n, *places) if n <= DOT_AT_ONCE else None
    if (of_a == "matrix") != (of_b == "matrix"):
        matrix, vector = (a, b) if of_a == "matrix" else (b, a)
        how, row = _lies(matrix) or (0, 0)
        lengths = matrix.shape if how == NO_TRANSPOSE else matrix.shape[::-1]
        if matrix is b:
            how = TRANSPOSE if how == NO_TRANSPOSE else NO_TRANSPOSE
        of_vector = (address(vector), _step(vector))
        return blas(GEMV, "gemv", how, *lengths, address(matrix), row, *of_vector, address(out))
    one, other, there = _lies(a), _lies(b), _lies(out)
    if one is None or other is None or there is None or there[0] == TRANSPOSE:
        return None
    operands = (address(a), one[1], address(b), other[1], address(out), there[1])
    return blas(GEMM, "gemm", one[0], other[0], len(a), b.shape[1], len(b), *operands)


def products(a: Any, b: Any, out: Array) -> Words | None:
    """Stacks of matrices, each of which np.matmul gives to BLAS by itself. Their leading axes are two, or more of which
    some have one step.

    >>> a = np.ones((2, 3, 4), "float32")
    >>> products(a, a.swapaxes(1, 2), np.zeros((2, 3, 3), "float32")) is None
    True
    """
    leading = out.shape[:-2]
    if a.shape[:-2] != leading or b.shape[:-2] != leading:
        return None
    if not out.size:
        return []
    if np.may_share_memory(a, b) and (address(a) == address(b) or a.strides[:-2] != b.strides[:-2]):
        return None  # some of them may be a aᵀ
    if any(share(one, other) for one, other in ((a, out), (b, out))):
        return None
    if a.shape[-2] == 1 < min(b.shape[-2:]) and b.flags.c_contiguous:  # np.matmul makes each as np.dot does
        each = [product(a[k][0], b[k], out[k][0], is_dot=True) for k in np.ndindex(leading)]
        return None if None in each else [word for words in each if words for word in words]
    first = (0,) * len(leading)
    one = product(a[first], b[first], out[first], is_dot=False)
    sizes, steps = axes_of(leading, [m.strides[:-2] for m in (a, b, out)])
    if one is None or one[0] != GEMM or len(sizes) > 2:
        return None
    words = one[2:]
    for k in range(2):
        words += [sizes[k], *(s[k] for s in steps)] if k < len(sizes) else [1, 0, 0, 0]
    return instruction(GEMMS, *words)


def _sort(a: Array) -> str:
    """What a vector or matrix is to np.dot."""
    if a.size == 1:
        return "single"
    if a.ndim == 2 and len(a) > 1:
        return "matrix" if a.shape[1] > 1 else "column"
    return "column" if a.ndim == 1 else "row"


def _step(vector: Array) -> int:
    """How far it is from one number to the next, in numbers."""
    return int(vector.strides[1 if _sort(vector) == "row" else 0]) // vector.itemsize


def _whole(a: Array) -> bool:
    return a.ndim == 1 or bool(a.flags.c_contiguous or a.flags.f_contiguous)


def _lies(a: Array) -> tuple[int, int] | None:
    """How a matrix lies in memory: transposed or not, and how far it is from one row there to the next."""
    if a.flags.c_contiguous:
        return NO_TRANSPOSE, a.shape[1]
    if a.flags.f_contiguous:
        return TRANSPOSE, len(a)
    (down, right), size = a.strides, a.itemsize
    if right == size and down >= a.shape[1] * size and down % size == 0:
        return NO_TRANSPOSE, down // size
    if down == size and right >= len(a) * size and right % size == 0:
        return TRANSPOSE, right // size
    return None
