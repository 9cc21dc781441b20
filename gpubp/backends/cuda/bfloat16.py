"""Matrices in bfloat16, the upper 16 bits of a float32, for faster matrix products.

A number keeps its 8 bits of exponent, and so its range, and 8 bits of precision: about 2 to 3 decimal digits. Only
products see it; they are summed in float32, and parameters, losses and sums over rows stay float32. CuPy and NumPy have
no such type of their own, so the bits lie in arrays of uint16.
"""

from __future__ import annotations

from ..arrays import Array


class _Type:
    """bfloat16, as far as a dtype is asked about it."""

    itemsize, kind = 2, "f"

    def __str__(self) -> str:
        return "bfloat16"


BFLOAT16 = _Type()


class Bfloat16:
    """A matrix of bfloat16, as a product takes it. bits: (m, n) uint16, its memory, whose shape and strides it has.

    >>> import numpy as np
    >>> a = Bfloat16(np.zeros((2, 3), np.uint16))
    >>> a.shape, a.T.shape, str(a.dtype)
    ((2, 3), (3, 2), 'bfloat16')
    """

    dtype = BFLOAT16

    def __init__(self, bits: Array) -> None:
        self.bits, self.data = bits, bits.data
        self.shape, self.strides = bits.shape, bits.strides

    @property
    def T(self) -> Bfloat16:
        """Its transpose, in the same memory."""
        return Bfloat16(self.bits.T)


CAST = """
// The nearest bfloat16, ties to even; NaN stays NaN.
static __device__ unsigned short nearest(float a)
{
    const unsigned int u = __float_as_uint(a);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    return (unsigned short)(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

// out = a. A thread reads four numbers before it writes any: with one under way in each thread, all would wait for
// memory where matrices are large.
extern "C" __global__ void to_bfloat16(
    const unsigned long long n, const float* __restrict__ a, unsigned short* __restrict__ out)
{
    const unsigned long long all = gridDim.x * 256ull;
    unsigned long long i = blockIdx.x * 256ull + threadIdx.x;
    for (; i + 3 * all < n; i += 4 * all) {
        const float a0 = a[i], a1 = a[i + all], a2 = a[i + 2 * all], a3 = a[i + 3 * all];
        out[i] = nearest(a0);
        out[i + all] = nearest(a1);
        out[i + 2 * all] = nearest(a2);
        out[i + 3 * all] = nearest(a3);
    }
    for (; i < n; i += all) out[i] = nearest(a[i]);
}
"""
