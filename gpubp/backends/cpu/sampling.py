"""Bilinear sampling of images through affine maps, on the CPU.

    out[n, i, j] = x[n] at (h, w),    h = a i + b j + c,    w = d i + e j + f      with θ[n] = (a, b, c, d, e, f)

Between four pixels the values are weighted by the distances; beyond the picture is 0. The adjoint gives each pixel what
its weights take back, in the order of the output pixels, so that the sums have the same bits at every run.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Array


class Sampler:
    """Bilinear sampling on the CPU, for pictures of one shape (B, H, W, C), in memory of its own.

    >>> x = np.arange(4.0).reshape(1, 2, 2, 1)
    >>> out, left_to_right = np.empty_like(x), np.array([[1.0, 0.0, 0.0, 0.0, -1.0, 1.0]])
    >>> Sampler(x).sample(x, left_to_right, out)
    >>> out.reshape(2, 2).tolist()
    [[1.0, 0.0], [3.0, 2.0]]
    """

    def __init__(self, x: Array) -> None:
        (B, H, W, C), dtype = x.shape, x.dtype
        self.size = H, W
        self.i = np.arange(H, dtype=dtype).reshape(1, H, 1)
        self.j = np.arange(W, dtype=dtype).reshape(1, 1, W)
        self.h, self.w, self.h0, self.w0, self.weight, self.part = (np.empty((B, H, W), dtype) for _ in range(6))
        self.tall, self.wide = np.empty((B, H, 1), dtype), np.empty((B, 1, W), dtype)
        self.inside, self.also = np.empty((B, H, W), bool), np.empty((B, H, W), bool)
        self.start = (np.arange(B) * (H * W)).reshape(B, 1, 1)
        self.at, self.of_w = np.empty((B, H, W), np.intp), np.empty((B, H, W), np.intp)
        self.taken = np.empty((B * H * W, C), dtype)

    def sample(self, x: Array, theta: Array, out: Array) -> None:
        """out = x through the maps"""
        whole, pixels = out.reshape(self.taken.shape), x.reshape(self.taken.shape)
        whole[...] = 0
        self._place(theta)
        for tap in range(4):
            self._tap(tap)
            np.take(pixels, self.at.reshape(-1), axis=0, out=self.taken, mode="clip")
            np.multiply(self.taken, self.weight.reshape(-1, 1), out=self.taken)
            np.add(whole, self.taken, out=whole)

    def adjoint(self, dy: Array, theta: Array, out: Array) -> None:
        """out = what the pixels get back from dy"""
        whole = out.reshape(self.taken.shape)
        whole[...] = 0
        self._place(theta)
        for tap in range(4):
            self._tap(tap)
            np.multiply(dy.reshape(self.taken.shape), self.weight.reshape(-1, 1), out=self.taken)
            np.add.at(whole, self.at.reshape(-1), self.taken)

    def _place(self, theta: Array) -> None:
        """h, w, and the pixels above and to the left of them"""
        a, b, c, d, e, f = (theta[:, k].reshape(-1, 1, 1) for k in range(6))
        for to, (of_i, of_j, more) in ((self.h, (a, b, c)), (self.w, (d, e, f))):
            np.multiply(of_i, self.i, out=self.tall)
            np.multiply(of_j, self.j, out=self.wide)
            np.add(self.tall, self.wide, out=to)
            np.add(to, more, out=to)
        np.floor(self.h, out=self.h0)
        np.floor(self.w, out=self.w0)

    def _tap(self, tap: int) -> None:
        """One of the four pixels around (h, w): where it lies, and its weight, 0 where it is none."""
        down, right = divmod(tap, 2)
        (H, W), weight, inside = self.size, self.weight, self.inside
        np.subtract(self.h, self.h0, out=weight)
        np.subtract(self.w, self.w0, out=self.part)
        if not down:
            np.subtract(1.0, weight, out=weight)
        if not right:
            np.subtract(1.0, self.part, out=self.part)
        np.multiply(weight, self.part, out=weight)
        np.greater_equal(self.h0, -down, out=inside)
        for a, compare, limit in (
            (self.h0, np.less, H - down),
            (self.w0, np.greater_equal, -right),
            (self.w0, np.less, W - right),
        ):
            np.logical_and(inside, compare(a, limit, out=self.also), out=inside)
        np.multiply(weight, inside, out=weight)
        for a, more, most, to in ((self.h0, down, H - 1, self.at), (self.w0, right, W - 1, self.of_w)):
            np.add(a, more, out=self.part)
            np.clip(self.part, 0, most, out=self.part)
            np.copyto(to, self.part, casting="unsafe")
        np.multiply(self.at, W, out=self.at)
        np.add(self.at, self.of_w, out=self.at)
        np.add(self.at, self.start, out=self.at)
