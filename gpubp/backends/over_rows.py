"""Sums over a batch's rows that are computed in parts, and of arrays with time first, in the order of `order.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

from .arrays import Array, Shape
from .base import Backend
from .order import rows_of_group

SHARE = 4  # of the numbers of `Backend.block` that such a part has: a few arrays of it are needed at a time


def rows_first(be: Backend, a: Array, name: str) -> Array:
    """a (T, B, ...) as (B, T, ...) in scratch memory of that name, where a sum over it is to go by the batch's rows, in
    exact numerics; elsewhere `a` itself.

    >>> from gpubp.backends import get_backend
    >>> import numpy as np
    >>> rows_first(get_backend("cpu"), np.zeros((3, 2, 5)), "a").shape
    (3, 2, 5)
    """
    if be.numerics != "exact":
        return a
    T, B, *more = a.shape
    out = be.scratch(f"rows first: {name}", (B, T, *more), a.dtype)
    be.xp.copyto(out, a.swapaxes(0, 1))
    return out


def rows_in_parts(be: Backend, shape: Shape) -> list[slice]:
    """The rows of arrays (B, ..., n) in parts whose numbers stay in the cache while some formulas work on them; on a
    GPU one part. `sum_of_parts` over them has the bits of a sum over all rows, in exact numerics.

    >>> from gpubp.backends import get_backend
    >>> rows_in_parts(get_backend("cpu"), (5, 28, 28, 32)), rows_in_parts(get_backend("cpu"), (300, 10))
    ([slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)], [slice(0, 300, None)])
    """
    rows, numbers = shape[0], max(1, math.prod(shape[1:]))
    most = be.block // SHARE // numbers
    each = rows_of_group(max(1, math.prod(shape[1:-1])))
    while 2 * each <= most:
        each *= 2
    return (
        [slice(first, min(first + each, rows)) for first in range(0, rows, each)] if each < rows else [slice(0, rows)]
    )


def sum_of_parts(be: Backend, count: int, part: Callable[..., None], *outs: Array) -> Array:
    """Each of outs = the sum of `count` parts, added as the tree of `order.py`; returns the first. part(k, *places)
    writes part k into places that are as outs, and in C's order.

    >>> from gpubp.backends import get_backend
    >>> import numpy as np
    >>> sum_of_parts(get_backend("cpu"), 5, lambda k, place: place.fill(k), np.empty(2)).tolist()
    [10.0, 10.0]
    """
    sums: list[tuple[Array, ...]] = []  # of 2ⁿ neighbouring parts each, smaller and smaller ones

    def add_last_two() -> None:
        for last, before in zip(sums.pop(), sums[-1], strict=True):
            be.xp.add(before, last, out=before)

    for k in range(count):
        level = len(sums)
        places = tuple(
            be.scratch(f"sum of parts {level} {n}".removesuffix(" 0"), out.shape, out.dtype) if level else out
            for n, out in enumerate(outs)
        )
        part(k, *places)
        sums.append(places)
        while k & 1:
            add_last_two()
            k >>= 1
    while len(sums) > 1:
        add_last_two()
    return outs[0]
