"""Sums of arrays over some of their axes: the part of a backend's interface that is about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .arrays import Array, Shape, may_share


class Sums(ABC):
    """What `Backend` has of sums; the products that sum over rows, such as `gemm_over_rows`, are in `base.py`.

    >>> from gpubp.backends import get_backend
    >>> import numpy as np
    >>> be = get_backend("cpu")
    >>> be.sum_rows(np.ones((3, 2)), out=np.empty(2)).tolist()
    [3.0, 3.0]
    """

    xp: Any

    @abstractmethod
    def scratch(self, slot: int | str, shape: Shape, dtype: Any) -> Array:
        """See `Backend.scratch`."""

    @abstractmethod
    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ of a over all axes but the last: on the CPU, 1ᵀ a by BLAS is three times faster than `sum`."""

    @abstractmethod
    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = Σ_r weights[r] a[r], over all axes of a but the last: a product of one row on the CPU, which is a slow
        one on the GPU."""

    @abstractmethod
    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ of a over its last axis: on the CPU, a 1 by BLAS for the same reason."""

    def sum_places(self, a: Array, out: Array) -> Array:
        """out (B, 1, …, 1, C) = Σ of a (B, …, C) over the places of each row, one axis after the other: so a float32
        sum is as exact over images as over their sides. On the CPU each sum is a product with ones.

        >>> from gpubp.backends import get_backend
        >>> import numpy as np
        >>> get_backend("cpu").sum_places(np.ones((2, 3, 4, 1)), out=np.empty((2, 1, 1, 1))).tolist()
        [[[[12.0]]], [[[12.0]]]]
        """
        while a.ndim > 3:
            part = self.scratch(f"over places {a.ndim}", (a.shape[0], *a.shape[2:]), out.dtype)
            a = self.xp.sum(a, axis=1, out=part)
        if a.ndim == 3:
            self.xp.sum(a, axis=1, out=out.reshape(a.shape[0], a.shape[2]))
        else:
            self.xp.copyto(out, a)
        return out

    def as_matrix(self, a: Array) -> Array:
        """a (..., n) as a matrix with n columns. Where its numbers don't lie so, they are copied as a part of the step,
        because `reshape` alone would copy them once, and a recorded step would go on with that copy."""
        matrix = a.reshape(-1, a.shape[-1])
        if matrix.size and not may_share(matrix, a):
            copied = self.scratch("as matrix", a.shape, a.dtype)
            self.xp.copyto(copied, a)
            matrix = copied.reshape(matrix.shape)
        return matrix
