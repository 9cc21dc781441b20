"""Patches on the CPU: the pixels under the windows of a convolution, copied into one array.

    P[n, o, u, i, j, c] = x[n, o s + i - p, u t + j - q, c], and 0 where x has no such pixel

for images x (B, H, W, C), windows that move by (s, t) and stand (p, q) outside at first; p and q may be negative, for
windows that begin within. P lies in memory in this order, or with the taps first: (i, j, c, n, o, u).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..arrays import Array, Shape

__all__ = ["Patches"]


class Patches:
    """The copies that make patches on the CPU: of the images to a place within zeros, where windows reach beyond them,
    and of the windows, which are a strided view of that.

    zeros: makes arrays. The places are kept, and shared by all images that lie alike in them: nobody writes to the
    zeros.

    >>> x, out = np.arange(3.0).reshape(1, 1, 3, 1), np.empty((1, 1, 3, 1, 3, 1))
    >>> for to, of in Patches(np.zeros).copies(x, out, (1, 1), (0, 1)):
    ...     to[...] = of
    >>> out.reshape(3, 3).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 0.0]]
    """

    def __init__(self, zeros: Callable[[Shape, Any], Array]) -> None:
        self._zeros = zeros
        self._places: dict[Any, Array] = {}

    def copies(
        self, x: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Iterator[tuple[Array, Array]]:
        """(to, from) of each copy, in their order."""
        axes = [(-p, (o - 1) * s + k - p) for o, k, s, p in zip(out.shape[1:3], out.shape[3:5], stride, padding)]  # noqa: B905
        inside = [(max(first, 0), min(end, n)) for (first, end), n in zip(axes, x.shape[1:3], strict=True)]
        looked_at = x[:, slice(*inside[0]), slice(*inside[1])]
        if inside != axes:
            place = self._place(x, axes, inside)
            if all(first < end for first, end in inside):
                yield _within(place, axes, inside), looked_at
            looked_at = place
        b, h, w, c = looked_at.strides
        windows = np.lib.stride_tricks.as_strided(looked_at, out.shape, (b, h * stride[0], w * stride[1], h, w, c))
        order = sorted(range(6), key=lambda k: -out.strides[k])  # as out lies in memory
        yield out.transpose(order), windows.transpose(order)

    def _place(self, x: Array, axes: list[tuple[int, int]], inside: list[tuple[int, int]]) -> Array:
        """Zeros as large as what the windows look at, for as many images; others may have had theirs within."""
        (top, bottom), (left, right) = axes
        key = (*axes, *inside, x.shape[3], str(x.dtype))
        place = self._places.get(key)
        if place is None or len(place) < len(x):
            shape = (len(x), bottom - top, right - left, x.shape[3])
            place = self._places[key] = self._zeros(shape, x.dtype)
        return place[: len(x)]


def _within(place: Array, axes: list[tuple[int, int]], inside: list[tuple[int, int]]) -> Array:
    rows, columns = (slice(low - first, high - first) for (first, _), (low, high) in zip(axes, inside, strict=True))
    return place[:, rows, columns]
