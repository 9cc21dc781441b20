"""The CPU backend of exact numerics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...arrays import Array
from ...base import Backend
from ...exact_library import ExactLibrary, check_exact
from ...recording import Call
from ..backend import CPU
from ..blas_threads import threads_now
from ..stages import Part
from .arithmetic import check_arithmetic
from .formulas import LANGUAGE, calls_of, formula_of
from .library import REPLACED
from .product import dot, product, products, sum_last, sum_rows
from .scattering import scatter


class ExactCPU(CPU):
    """NumPy and compiled loops on the CPU, with the same bits on every processor; needs Numba.

    >>> be = ExactCPU()
    >>> be.name, be.numerics
    ('cpu', 'exact')
    """

    numerics = "exact"
    _language = LANGUAGE

    def __init__(self) -> None:
        super().__init__()
        self.xp = ExactLibrary(np, self, REPLACED)
        self._several = threads_now() > 1

    def piece_for(self, workers: int) -> int:
        """Larger ones for a single worker with several threads, which share large products only."""
        return 4 * self.piece if workers == 1 and self._several else self.piece

    @contextmanager
    def active(self) -> Iterator[None]:
        """As on any CPU; ExactError where the processor is set to other arithmetic."""
        check_arithmetic()
        with super().active():
            yield

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, and note the call while recording; functions of NumPy that are not exact are refused. Rows are
        independent in every product."""
        f = formula_of(function, args, kwargs) if self._calls is not None and self.native else None
        if f is not None:
            out = kwargs["out"]
            given = [a if isinstance(a, np.ndarray) else self.constant(a, out.dtype) for a in args]
            return self.apply(f, *given, out=out)
        check_exact(function, args, kwargs)
        return self._run(function, *args, **kwargs)

    def _calls_for(self, part: Part, passes: list[Call]) -> list[Call]:
        return calls_of(part, passes)

    def _operate(self, ufunc: Any, operands: list[Any], out: Array) -> None:
        self._run(REPLACED.get(ufunc.__name__, ufunc), *operands, out=out)

    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b, in the order of `order.py`"""
        self.run(product, a, b, out)
        return out

    def gemm_over_rows(self, a: Array, b: Array, out: Array, rows: int) -> Array:
        """out = aᵀ b, in the order of `order.py`"""
        self.run(product, a.T, b, out, len(a) // rows)
        return out

    def batched_gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b of each matrix"""
        self.run(products, a, b, out)
        return out

    def dot(self, a: Array, b: Array, out: Array, total: Array | None = None) -> Array:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        self.run(dot, a, b, out)
        if total is not None:
            self.run(np.add, total, out, out=total)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ of a over all axes but the last"""
        self.run(sum_rows, self._whole(a), out)
        return out

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = Σ_r weights[r] a[r]"""
        self.run(sum_rows, self._whole(a), out, weights)
        return out

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ of a over its last axis"""
        self.run(sum_last, self.as_matrix(a), out)
        return out

    def sum_places(self, a: Array, out: Array) -> Array:
        """out = Σ of a over the places of each row, one axis after the other"""
        return Backend.sum_places(self, a, out)

    def scatter_rows(self, a: Array, rows: Array, out: Array, rows_of_batch: int | None = None) -> Array:
        """out[k] = Σ of a[i] over all i with rows[i] = k, as the sum over the batch that `order.py` has"""
        self.run(scatter, a, rows, out, len(rows) // rows_of_batch if rows_of_batch else 1)
        return out

    def _whole(self, a: Array) -> Array:
        """a with its numbers side by side, so that it can be taken as a matrix."""
        return a if a.flags.c_contiguous else self.as_matrix(a).reshape(a.shape)

    def arithmetic(self) -> dict[str, str]:
        """Exact numerics, which no library and no processor changes."""
        return {"numerics": "exact"}

    def another(self) -> ExactCPU:
        """A backend with its own record."""
        other = ExactCPU()
        other.native = self.native
        return other

    def __reduce__(self) -> Any:
        return ExactCPU, ()
