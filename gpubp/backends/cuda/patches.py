"""Patches on a GPU: the CUDA C kernel that gathers them, and its arguments. The formula is in `cpu/patches.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import Array, Shape
from .formula_source import index_type


def steps(out: Array) -> tuple[int, int, int]:
    """How far apart in memory the numbers of neighbouring windows, taps and channels lie; ValueError if P lies in
    another order than the two.

    >>> steps(np.empty((2, 5, 5, 3, 3, 4)))
    (36, 4, 1)
    """
    n = out.ndim // 2  # axes of windows, that of the images included
    if out.flags.c_contiguous:
        return math.prod(out.shape[n:]), out.shape[-1], 1
    if out.transpose(*range(n, 2 * n), *range(n)).flags.c_contiguous:
        windows = math.prod(out.shape[:n])
        return 1, out.shape[-1] * windows, windows
    raise ValueError(f"patches of shape {out.shape} lie in memory with strides {out.strides}")


def arguments(
    x: Array, out: Array, stride: Shape, padding: Shape, dilation: Shape, index: Any
) -> tuple[int, tuple[Any, ...]]:
    """(threads, arguments) of the kernel; index: the type of numbers that count elements. A step in x may go back, as
    in a view x[:, ::-1]."""
    n = len(stride)
    of_axes = zip(out.shape[1 : n + 1], out.shape[n + 1 : -1], x.shape[1:-1], stride, padding, dilation, strict=True)
    sizes = (out.shape[-1], *(size for of_axis in of_axes for size in of_axis))
    of_x = [step // x.dtype.itemsize for step in x.strides]
    signed = np.int64 if index is np.uint64 else np.int32
    numbers = (*map(np.int32, sizes), *map(index, steps(out)), *map(signed, of_x))
    threads = math.prod(out.shape[: n + 1]) * out.shape[-1]
    return threads, (index(threads), *numbers, x, out)


def source(wide: bool, axes: int = 2) -> str:
    """The kernel for images with so many axes of space, with indices of 64 bits or 32.

    >>> "unsigned int count" in source(wide=False)
    True
    """
    each = range(axes)
    parts = {
        "SIZES": ", ".join(f"int o{m}, int k{m}, int n{m}, int s{m}, int p{m}, int d{m}" for m in each),
        "STEPS": ", ".join(f"STEP of_{m}" for m in each),
        "BEGIN": "\n        ".join(
            f"const int first{m} = (int)(at % o{m}) * s{m} - p{m}; at /= o{m};" for m in reversed(each)
        ),
        "LOOPS": "\n        ".join(
            f"for (int i{m} = first{m}; i{m} < first{m} + k{m} * d{m}; i{m} += d{m})" for m in each
        ),
        "INSIDE": " && ".join(f"i{m} >= 0 && i{m} < n{m}" for m in each),
        "PLACE": " + ".join(f"i{m} * of_{m}" for m in each),
        "INDEX": index_type(wide),
        "STEP": "long long" if wide else "int",
    }
    text = _SOURCE
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


_SOURCE = """
// One thread for each channel of each window goes through the taps, so that neighbours read and write neighbours.
// Of each axis of space: o windows of k taps, d apart, that move by s from -p on, over n places.
// window, tap, channel: steps in P.  of_...: steps in x
extern "C" __global__ void patches(
    INDEX count, int C, SIZES,
    INDEX window, INDEX tap, INDEX channel, STEP of_image, STEPS, STEP of_c,
    const real* __restrict__ x, real* P)
{
    for (INDEX a = blockIdx.x * 256u + threadIdx.x; a < count; a += gridDim.x * 256u) {
        INDEX at = a / C;
        const INDEX c = a - at * C;
        real* to = P + (at * window + c * channel);
        BEGIN
        const real* from = x + ((STEP)at * of_image + (STEP)c * of_c);
        LOOPS {
            const bool inside = INSIDE;
            *to = inside ? from[PLACE] : real(0);
            to += tap;
        }
    }
}
"""
