"""Sums over the places of images and sequences as products with ones, which BLAS makes without Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..arrays import Array
from ..base import Backend

MOST = 32  # places that one product adds, where their number has such factors


@lru_cache(maxsize=1024)
def factors(places: int) -> tuple[int, ...]:
    """What a number of places is a product of, none above MOST if it can be: in float32 some sums of few numbers are
    exacter than one sum of many.

    >>> factors(28 * 28), factors(256), factors(2 * 67), factors(1)
    ((28, 28), (32, 8), (2, 67), (1,))
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
