"""Sums over the places of images and sequences as products with ones, which BLAS makes without Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..arrays import Array
from ..base import Backend

MOST = 16  # places that one product adds, where their number has such factors


class Ones:
    """Vectors of ones, each of which stays as long as a record that uses it.

    >>> Ones()(3, "float32")
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        self._kept: WeakValueDictionary[tuple[int, str], Array] = WeakValueDictionary()

    def __call__(self, length: int, dtype: Any) -> Array:
        """A vector of so many ones."""
        key = (length, str(dtype))
        if (ones := self._kept.get(key)) is None:
            ones = self._kept[key] = np.ones(length, dtype)
        return ones


@lru_cache(maxsize=1024)
def factors(places: int) -> tuple[int, ...]:
    """What a number of places is a product of, none above MOST if it can be: in float32 some sums of few numbers are
    exacter than one sum of many.

    >>> factors(28 * 28), factors(256), factors(2 * 67), factors(1)
    ((16, 7, 7), (16, 16), (2, 67), (1,))
    """
    first = next((n for n in range(MOST, 1, -1) if places % n == 0), places)
    return (first, *factors(places // first)) if first < places else (places,)


def sum_by_products(be: Backend, a: Array, out: Array, ones: Callable[[int, Any], Array]) -> Array:
    """out (B, 1, …, 1, C) = Σ of a (B, …, C) over the places of each row. ones: (n, dtype) -> a vector of n ones.

    >>> from gpubp.backends import get_backend
    >>> sum_by_products(get_backend("cpu"), np.ones((2, 6, 1)), np.empty((2, 1, 1)), np.ones).ravel().tolist()
    [6.0, 6.0]
    """
    B, C, places = len(a), a.shape[-1], math.prod(a.shape[1:-1])
    for n in factors(places):
        places //= n
        sums = out if places == 1 else be.scratch(f"over places {places}", (B, places, C), a.dtype)
        row = np.broadcast_to(ones(n, a.dtype), (B, 1, n))
        be.run(np.matmul, row, a.reshape(B, n, places * C), out=sums.reshape(B, 1, places * C))
        a = sums
    return out
