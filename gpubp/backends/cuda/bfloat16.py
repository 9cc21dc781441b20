"""Matrices in bfloat16, the upper 16 bits of a float32, for faster matrix products.

A number keeps its 8 bits of exponent, and so its range, and 8 bits of precision: about 2 to 3 decimal digits. Only
products see it; they are summed in float32, and parameters, losses and sums over rows stay float32. CuPy and NumPy have
no such type of their own, so the bits lie in arrays of uint16.
"""

from __future__ import annotations

from typing import Any

from ..arrays import Array, Shape

__all__ = ["BFLOAT16", "Bfloat16", "CAST"]


class _Type:
    """bfloat16, as far as a dtype is asked about it."""

    itemsize, kind = 2, "f"

    def __str__(self) -> str:
        return "bfloat16"


BFLOAT16 = _Type()


class Bfloat16:
    """A matrix of bfloat16, as a product takes it. bits: (m, n) uint16, its memory.

    >>> import numpy as np
    >>> a = Bfloat16(np.zeros((2, 3), np.uint16))
    >>> a.shape, a.T.shape, str(a.dtype)
    ((2, 3), (3, 2), 'bfloat16')
    """

    dtype = BFLOAT16

    def __init__(self, bits: Array) -> None:
        self.bits = bits

    @property
    def shape(self) -> Shape:
        """(m, n)"""
        return tuple(self.bits.shape)

    @property
    def strides(self) -> Shape:
        """In bytes."""
        return tuple(self.bits.strides)

    @property
    def data(self) -> Any:
        """Where it lies."""
        return self.bits.data

    @property
    def T(self) -> Bfloat16:
        """Its transpose, in the same memory."""
        return Bfloat16(self.bits.T)


CAST = """
// out = a, rounded to the nearest bfloat16, ties to even; NaN stays NaN
extern "C" __global__ void to_bfloat16(const unsigned long long n, const float* a, unsigned short* out)
{
    for (unsigned long long i = blockIdx.x * 256ull + threadIdx.x; i < n; i += gridDim.x * 256ull) {
        const unsigned int u = __float_as_uint(a[i]);
        const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
        out[i] = (unsigned short)(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
}
"""
