"""Products and sums in the order of `order.py`, compiled by Numba; needs Numba.

out_ij = Σ_k a_ik b_kj

A sum is a product with 1. A call is a block of words for a compiled function (`driver.py`), so that records can make it
without Python too. Large products are shared among as many threads as BLAS may use: each computes a part of `out`,
and no bit depends on which.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ...arrays import Array, may_share
from ...order import BLOCK, rows_of_group
from ..loops import ENTRIES
from .entries import default
from .sharing import room, room_of, share, threads_for

NAMES = {"f": "float32", "d": "float64"}  # by letters: NumPy is slow to make names
ONE = {letter: np.ones(1, name) for letter, name in NAMES.items()}
AXES = 2  # of stacks, in one block
ALONE = [1, 0, 0, 0, 1, 0, 0, 0]  # no stack: of two axes the length, and the steps of a, b and out
BLOCK_OF = ctypes.c_int64 * 23

Words = list[int]


def _words(a: Array, b: Array, out: Array, length: int) -> Words:
    """A block for `driver.entry`, without the addresses at its end."""
    M, N = out.shape[-2:]
    words = [
        _place(a), *a.strides[-2:], _place(b), *b.strides[-2:], _place(out), *out.strides[-2:],
        M, N, a.shape[-1], length,
    ]  # fmt: skip
    if out.ndim == 2:
        return words + ALONE
    for axis in range(AXES):
        words += [out.shape[axis], *(m.strides[axis] for m in (a, b, out))] if axis < out.ndim - 2 else [1, 0, 0, 0]
    return words


def _place(a: Array) -> int:
    place: int = a.__array_interface__["data"][0]
    return place


def _make(words: Words, real: str) -> None:
    """Make the product of a block in this thread."""
    entry = default(real)
    entry.call(BLOCK_OF(*words, room().at, entry.table))


def _native(kept: list[Any], a: Array, b: Array, out: Array, length: int) -> Words | None:
    """The address of the compiled function and its block; None where the product is for several threads."""
    if _is_odd(a, b, out) or threads_for(_words(a, b, out, length)) > 1:
        return None
    entry = default(NAMES[out.dtype.char])
    return [entry.address, *_words(a, b, out, length), room_of(kept).at, entry.table]


def _is_odd(a: Array, b: Array, out: Array) -> bool:
    return not a.dtype == b.dtype == out.dtype or out.dtype.char not in NAMES or out.ndim > 2 + AXES


def _product(a: Array, b: Array, out: Array, length: int) -> None:
    if _is_odd(a, b, out):
        raise TypeError(f"exact products are of float32 or of float64, and got {a.dtype}, {b.dtype} and {out.dtype}")
    if a.shape[-1] != b.shape[-2] or out.shape[-2] != a.shape[-2] or out.shape[-1] != b.shape[-1]:
        raise ValueError(f"matrices {a.shape} and {b.shape} have no product {out.shape}")
    share(_words(a, b, out, length), NAMES[out.dtype.char], _make)


def product(a: Array, b: Array, out: Array, terms: int = 1) -> Array:
    """out = a b, of matrices of one type; terms: of the sum, for each row of the batch (`order.py`).

    >>> product(np.ones((2, 3)), np.ones((3, 2)), np.empty((2, 2))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    _product(a, b, out, rows_of_group(terms) * terms)
    return out


def products(a: Array, b: Array, out: Array) -> Array:
    """out[..., :, :] = a[..., :, :] b[..., :, :]

    >>> products(np.ones((2, 1, 3)), np.ones((2, 3, 1)), np.empty((2, 1, 1))).ravel().tolist()
    [3.0, 3.0]
    """
    if out.ndim > 2 + AXES:
        for k in range(len(out)):
            products(a[k], b[k], out[k])
    elif a.shape[:-2] != out.shape[:-2] or b.shape[:-2] != out.shape[:-2]:
        raise ValueError(f"stacks {a.shape} and {b.shape} have no product {out.shape}")
    else:
        _product(a, b, out, BLOCK)
    return out


def dot(a: Array, b: Array, out: Array) -> None:
    """out = Σᵢ aᵢ bᵢ, of vectors, into a 0-d array.

    >>> out = np.empty(())
    >>> dot(np.ones(3), np.ones(3), out), out.item()
    (None, 3.0)
    """
    _product(*_of_dot(a, b, out))


def _of_dot(a: Array, b: Array, out: Array) -> tuple[Array, Array, Array, int]:
    return a.reshape(1, -1), b.reshape(-1, 1), out.reshape(1, 1), BLOCK


def sum_rows(a: Array, out: Array, weights: Array | None = None) -> None:
    """out = Σ over all axes of a but the last, of w a where there are weights. The first axis of a has the rows.

    >>> out = np.empty(2)
    >>> sum_rows(np.ones((3, 4, 2)), out), out.tolist()
    (None, [12.0, 12.0])
    """
    _product(*_of_rows(a, out, weights))


def _of_rows(a: Array, out: Array, weights: Array | None = None) -> tuple[Array, Array, Array, int]:
    count, terms = math.prod(a.shape[:-1]), math.prod(a.shape[1:-1])
    w = _ones((1, count), a) if weights is None else weights.reshape(1, -1)
    return w, a.reshape(count, a.shape[-1]), out.reshape(1, -1), rows_of_group(terms) * terms


def sum_last(a: Array, out: Array) -> None:
    """out = Σ of a over its last axis.

    >>> out = np.empty(2)
    >>> sum_last(np.ones((2, 3)), out), out.tolist()
    (None, [3.0, 3.0])
    """
    _product(*_of_last(a, out))


def _of_last(a: Array, out: Array) -> tuple[Array, Array, Array, int]:
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), _ones((a.shape[-1], 1), a), out.reshape(-1, 1), BLOCK


def _ones(shape: tuple[int, int], a: Array) -> Array:
    if a.dtype.char not in ONE:
        raise TypeError(f"exact sums are of float32 or of float64, and got {a.dtype}")
    return np.ndarray(shape, a.dtype, ONE[a.dtype.char], strides=(0, 0))


def _in_records() -> None:
    """Tell records how to make these calls without Python."""

    def entry_of(arrays: Any) -> Any:
        def entry(kept: list[Any], *args: Any) -> Words | None:
            a, b, out, length = arrays(*args)
            given = [arg for arg in args if isinstance(arg, np.ndarray)] + list(ONE.values())
            if not all(any(may_share(m, arg) for arg in given) for m in (a, b, out) if m.size):
                return None  # a copy, which is not there at the next replay
            return _native(kept, a, b, out, length)

        return entry

    def product_of(a: Array, b: Array, out: Array, terms: int = 1) -> tuple[Array, Array, Array, int]:
        return a, b, out, rows_of_group(terms) * terms

    ENTRIES[product], ENTRIES[products] = entry_of(product_of), entry_of(product_of)
    ENTRIES[dot], ENTRIES[sum_rows], ENTRIES[sum_last] = map(entry_of, (_of_dot, _of_rows, _of_last))


_in_records()
