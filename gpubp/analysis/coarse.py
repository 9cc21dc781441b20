"""CoarseCPU: a CPU backend that rounds the operands of matrix products as a GPU's tensor cores do.

A number of float32 has 24 bits, and as an operand of a product

    tf32      11 bits, rounded to the nearest, or the others cut off: GPUs do either
    bfloat16   8 bits, rounded to the nearest; as tf32 in stacks of products, as on a GPU
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array
from ..backends.cpu.backend import CPU

DROPPED = {"tf32": 13, "bfloat16": 16}  # of the 32 bits of a number


class CoarseCPU(CPU):
    """The CPU, with operands of products in float32 rounded to those of a precision.

    of_products: "tf32" or "bfloat16". cut: whether the bits that tf32 does not have are cut off.

    >>> be = CoarseCPU("bfloat16")
    >>> a, b = np.array([[1.001]], "float32"), np.array([[2.0]], "float32")
    >>> be.gemm(a, b, out=np.empty((1, 1), "float32"))
    array([[2.]], dtype=float32)
    """

    def __init__(self, of_products: str, cut: bool = False) -> None:
        super().__init__()
        self.of_products, self.cut = of_products, cut

    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b, of rounded operands unless it is to be exact."""
        if not exact and out.dtype == np.float32:
            a, b = self._operands(a, b, self.of_products)
        return super().gemm(a, b, out, exact)

    def batched_gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b of each matrix, of operands with 11 bits."""
        if out.dtype == np.float32:
            a, b = self._operands(a, b, "tf32")
        return super().batched_gemm(a, b, out)

    def another(self) -> CoarseCPU:
        """A backend with its own record."""
        return CoarseCPU(self.of_products, self.cut)

    def _operands(self, a: Array, b: Array, of_products: str) -> tuple[Array, Array]:
        cut = self.cut and of_products == "tf32"
        return rounded(a, DROPPED[of_products], cut), rounded(b, DROPPED[of_products], cut)


def rounded(a: np.ndarray[Any, Any], dropped: int, cut: bool = False) -> np.ndarray[Any, Any]:
    """Numbers of float32 rounded to the nearest ones whose last `dropped` bits are 0, half to even; or cut off there.

    >>> rounded(np.array([1.0, 1.003, 1.006, 1.0078125], "float32"), 16).tolist()
    [1.0, 1.0, 1.0078125, 1.0078125]
    >>> rounded(np.array([1.006], "float32"), 16, cut=True).tolist()
    [1.0]
    """
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    if not cut:
        bits = bits + (bits >> dropped & 1) + np.uint32((1 << dropped - 1) - 1)
    kept = bits & np.uint32((1 << 32) - (1 << dropped))
    return np.where(np.isfinite(a), kept.view(np.float32), a)
