"""Patches on the CPU: the pixels under the windows of a convolution, copied into one array.

    P[n, o, u, i, j, c] = x[n, o s + i d - p, u t + j e - q, c], and 0 where x has no such pixel

for images x (B, H, W, C), windows that move by (s, t), have taps (d, e) apart, and stand (p, q) outside at first; p and
q may be negative, for windows that begin within. P lies in memory in this order, or with the taps first:
(i, j, c, n, o, u). Sequences and volumes have one axis and three in place of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..arrays import Array, Shape

Sizes = tuple[int, ...]


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
        self, x: Array, out: Array, stride: Sizes, padding: Sizes, dilation: Sizes | None = None
    ) -> Iterator[tuple[Array, Array]]:
        """(to, from) of each copy, in their order."""
        n = len(stride)
        apart, outputs, kernel = dilation or (1,) * n, out.shape[1 : n + 1], out.shape[n + 1 : -1]
        axes = [
            (-p, (o - 1) * s + (k - 1) * d + 1 - p)
            for o, k, s, p, d in zip(outputs, kernel, stride, padding, apart, strict=True)
        ]
        inside = [(max(first, 0), min(end, m)) for (first, end), m in zip(axes, x.shape[1:-1], strict=True)]
        looked_at = x[(slice(None), *(slice(*part) for part in inside))]
        if inside != axes:
            place = self._place(x, axes, inside)
            if all(first < end for first, end in inside):
                yield _within(place, axes, inside), looked_at
            looked_at = place
        b, *steps, c = looked_at.strides
        moves = (step * s if o > 1 else 0 for step, s, o in zip(steps, stride, outputs, strict=True))  # s has no bound
        taps = (step * d if k > 1 else 0 for step, d, k in zip(steps, apart, kernel, strict=True))
        windows = np.lib.stride_tricks.as_strided(looked_at, out.shape, (b, *moves, *taps, c))
        order = sorted(range(out.ndim), key=lambda k: -out.strides[k])  # as out lies in memory
        yield out.transpose(order), windows.transpose(order)

    def _place(self, x: Array, axes: list[tuple[int, int]], inside: list[tuple[int, int]]) -> Array:
        """Zeros as large as what the windows look at, for as many images; others may have had theirs within."""
        key = (*axes, *inside, x.shape[-1], str(x.dtype))
        place = self._places.get(key)
        if place is None or len(place) < len(x):
            shape = (len(x), *(end - first for first, end in axes), x.shape[-1])
            place = self._places[key] = self._zeros(shape, x.dtype)
        return place[: len(x)]


def _within(place: Array, axes: list[tuple[int, int]], inside: list[tuple[int, int]]) -> Array:
    parts = (slice(low - first, high - first) for (first, _), (low, high) in zip(axes, inside, strict=True))
    return place[(slice(None), *parts)]
