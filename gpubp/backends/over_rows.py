"""Sums over a batch's rows that are computed in parts, and of arrays with time first, in the order of `order.py`."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import Array
from .base import Backend


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


def sum_of_parts(be: Backend, count: int, part: Callable[[int, Array], None], out: Array) -> Array:
    """out = the sum of `count` parts, added as the tree of `order.py`. part(k, place) writes part k into `place`, which
    is as `out`, and in C's order.

    >>> from gpubp.backends import get_backend
    >>> import numpy as np
    >>> sum_of_parts(get_backend("cpu"), 5, lambda k, place: place.fill(k), np.empty(2)).tolist()
    [10.0, 10.0]
    """
    sums: list[Array] = []  # of 2ⁿ neighbouring parts each, smaller and smaller ones

    def add_last_two() -> None:
        last = sums.pop()
        be.xp.add(sums[-1], last, out=sums[-1])

    for k in range(count):
        place = out if not sums else be.scratch(f"sum of parts {len(sums)}", out.shape, out.dtype)
        part(k, place)
        sums.append(place)
        while k & 1:
            add_last_two()
            k >>= 1
    while len(sums) > 1:
        add_last_two()
    return out
