"""A kernel that computes a ReLU and the mask of its derivative, used where cublasLt's ReLU differs from NumPy's.

The mask is laid out as cublasLt's is (`cublaslt_layouts.aux_shape`): a bit for each number, bit k % 8 of byte k // 8 of
its row, and rows of whole 16 bytes, with 0 behind the last number. A thread makes one byte from 8 neighbours of a row.
It reads them 16 bytes at a time where they lie so, since a scalar access of each thread would touch 32 bytes for 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .formula_source import index_type

_RECTIFY = """
struct alignas(16) eight { real of[8]; };

// y = max(z, 0), rows of n numbers, and the bits y > 0, rows of so many bytes; y may be z
extern "C" __global__ void rectify(
    const INDEX size, const INDEX n, const INDEX bytes, const real* z, real* y, unsigned char* mask)
{
    const bool at_once = n % 8 == 0 && ((unsigned long long)z | (unsigned long long)y) % 16 == 0;
    for (INDEX i = blockIdx.x * INDEX(256) + threadIdx.x; i < size; i += gridDim.x * INDEX(256)) {
        const INDEX first = i % bytes * 8, at = i / bytes * n + first;
        unsigned int bits = 0;
        if (at_once && first < n) {
            eight v = *(const eight*)(z + at);
            for (int k = 0; k < 8; k++) {
                v.of[k] = larger(v.of[k], real(0));
                bits |= (unsigned int)(v.of[k] > 0) << k;
            }
            *(eight*)(y + at) = v;
        } else {
            for (int k = 0; k < 8 && first + k < n; k++) {
                const real v = larger(z[at + k], real(0));
                y[at + k] = v;
                bits |= (unsigned int)(v > 0) << k;
            }
        }
        mask[i] = (unsigned char)bits;
    }
}
"""


def rectify_source(wide: bool) -> str:
    """The kernel, with indices of 32 bits or, if `wide`, of 64.

    >>> "typedef unsigned int of_index;" in rectify_source(wide=False)
    True
    """
    return _RECTIFY.replace("INDEX", "of_index").replace("\n", f"\ntypedef {index_type(wide)} of_index;\n", 1)


def rectify_arguments(z: Any, y: Any, mask: Any) -> tuple[bool, tuple[Any, ...]]:
    """Whether its indices are wide, and its arguments. z, y: (rows, n). mask: (rows, bytes).

    >>> z, mask = np.zeros((2, 5), "float32"), np.zeros((2, 16), "uint8")
    >>> rectify_arguments(z, z, mask)[1][:3] == (32, 5, 16)
    True
    """
    wide = max(z.size, mask.size) >= 2**31
    index = np.uint64 if wide else np.uint32
    return wide, (index(mask.size), index(z.shape[1]), index(mask.shape[1]), z, y, mask)
