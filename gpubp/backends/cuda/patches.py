"""Patches on a GPU: the CUDA C kernel that gathers them, and its arguments. The formula is in `cpu/patches.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array
from .formula_source import index_type


def steps(out: Array) -> tuple[int, int, int]:
    """How far apart in memory the numbers of neighbouring windows, taps and channels lie; ValueError if P lies in
    another order than the two.

    >>> steps(np.empty((2, 5, 5, 3, 3, 4)))
    (36, 4, 1)
    """
    B, h, w, kh, kw, C = out.shape
    if out.flags.c_contiguous:
        return kh * kw * C, C, 1
    if out.transpose(3, 4, 5, 0, 1, 2).flags.c_contiguous:
        return 1, C * B * h * w, B * h * w
    raise ValueError(f"patches of shape {out.shape} lie in memory with strides {out.strides}")


def arguments(
    x: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int], index: Any
) -> tuple[int, tuple[Any, ...]]:
    """(threads, arguments) of the kernel; index: the type of numbers that count elements. A step in x may go back, as
    in a view x[:, ::-1]."""
    B, h, w, kh, kw, C = out.shape
    sizes = (C, w, h, kh, kw, *x.shape[1:3], *stride, *padding)
    of_x = [step // x.dtype.itemsize for step in x.strides]
    signed = np.int64 if index is np.uint64 else np.int32
    numbers = (*map(np.int32, sizes), *map(index, steps(out)), *map(signed, of_x))
    return B * h * w * C, (index(B * h * w * C), *numbers, x, out)


def source(wide: bool) -> str:
    """The kernel, with indices of 64 bits or 32.

    >>> "unsigned int count" in source(wide=False)
    True
    """
    return _SOURCE.replace("INDEX", index_type(wide)).replace("STEP", "long long" if wide else "int")


_SOURCE = """
// One thread for each channel of each window goes through the taps, so that neighbours read and write neighbours.
// window, tap, channel: steps in P.  of_n, of_h, of_w, of_c: steps in x
extern "C" __global__ void patches(
    INDEX count, int C, int w, int h, int kh, int kw, int H, int W, int s, int t, int p, int q,
    INDEX window, INDEX tap, INDEX channel, STEP of_n, STEP of_h, STEP of_w, STEP of_c,
    const real* __restrict__ x, real* P)
{
    for (INDEX a = blockIdx.x * 256u + threadIdx.x; a < count; a += gridDim.x * 256u) {
        const INDEX at = a / C, line = at / w, n = line / h;
        const INDEX c = a - at * C;
        const int top = (int)(line - n * h) * s - p, left = (int)(at - line * w) * t - q;
        const real* from = x + ((STEP)n * of_n + (STEP)c * of_c);
        real* to = P + (at * window + c * channel);
        for (int i = top; i < top + kh; i++)
            for (int j = left; j < left + kw; j++) {
                const bool inside = i >= 0 && i < H && j >= 0 && j < W;
                *to = inside ? from[i * of_h + j * of_w] : real(0);
                to += tap;
            }
    }
}
"""
