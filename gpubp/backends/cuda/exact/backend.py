"""The CUDA backend of exact numerics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....errors import DeviceError, ExactError
from ...arrays import Array
from ...exact_library import ExactLibrary, check_exact, check_name
from ..backend import CUDA
from ..graphs import CallByCall, CapturedStep
from .launches import REPLACED, ExactLaunches


class ExactCUDA(CUDA):
    """CuPy on one stream of one GPU, with the bits that `ExactCPU` has.

    The arguments are those of `CUDA`; products are made in the network's own type by own kernels, so that there is no
    precision and no autotune.
    """

    numerics = "exact"
    _kind_of_launches = ExactLaunches
    _launches: ExactLaunches

    def __init__(self, cupy: Any, index: int = 0) -> None:
        super().__init__(cupy, index, products=_no_library)
        self.xp = ExactLibrary(self.cupy, self, {name: getattr(self._launches, name) for name in REPLACED})

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, or note; functions of CuPy that are not exact are refused."""
        name = getattr(function, "__name__", "").removeprefix("cupy_")  # as CuPy calls its ufuncs
        if function == getattr(self.cupy, name, None):
            if name in REPLACED:
                function = getattr(self._launches, name)
            else:
                check_name(name, [*args, *kwargs.values()], "cupy")
        check_exact(function, args, kwargs)
        return super().run(function, *args, **kwargs)

    def _recorded(self, step: Callable[[], None]) -> CapturedStep | CallByCall:
        made = super()._recorded(step)
        if isinstance(made, CallByCall):  # something in it is CuPy's own, which flushes subnormal numbers
            raise ExactError(f"exact numerics on a GPU needs steps that can be recorded: {made.refusal}")
        return made

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous CuPy array of `dtype`, cast by the host or by a kernel of its own."""
        if not self.owns(a) or dtype is None or a.dtype == dtype:
            return super().to_device(a, dtype)
        with self._making():
            out = self.cupy.empty(a.shape, dtype)
            self._launches.copyto(out, a, casting="unsafe")
            return out

    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out = source[rows], cast by the host or by a kernel of its own"""
        if not self.owns(source) or source.dtype == out.dtype:
            super().stage(out, source, rows)
        elif rows is None:
            self._launches.copyto(out, source, casting="unsafe")
        else:
            self._launches.gather(source, self._on_device(rows), out)

    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b, in the order of `order.py`"""
        super().run(self._launches.product, a, b, out=out)
        return out

    def gemm_over_rows(self, a: Array, b: Array, out: Array, rows: int) -> Array:
        """out = aᵀ b, in the order of `order.py`"""
        super().run(self._launches.product, a.T, b, out=out, terms=len(a) // rows)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ of a over all axes but the last"""
        super().run(self._launches.sum_rows, self.as_matrix(a), out=out, terms=math.prod(a.shape[1:-1]))
        return out

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = Σ_r weights[r] a[r]"""
        terms = math.prod(a.shape[1:-1])
        super().run(self._launches.weighted_sum_rows, self.as_matrix(a), weights.reshape(-1), out=out, terms=terms)
        return out

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ of a over its last axis"""
        super().run(self._launches.sum_rows, self.as_matrix(a).T, out=out.reshape(-1))
        return out

    def scatter_rows(self, a: Array, rows: Array, out: Array, rows_of_batch: int | None = None) -> Array:
        """out[k] = Σ of a[i] over all i with rows[i] = k, as the sum over the batch that `order.py` has"""
        terms = len(rows) // rows_of_batch if rows_of_batch else 1
        super().run(self._launches.scatter_rows, a, rows, out=out, terms=terms)
        return out

    def check_finite(
        self, total: Array, loss: Array | None, alive: Array, bad: Array, good: Array, latch: bool
    ) -> None:
        """With total + loss in float64, as Python's numbers are on the CPU: of float32 it may be infinite."""
        if loss is not None:
            both = self.scratch("total + loss", total.shape, np.float64)
            self.xp.copyto(both, total)
            self.xp.add(both, loss, out=both)
            total = both
        super().check_finite(total, None, alive, bad, good, latch)

    def arithmetic(self) -> dict[str, str]:
        """Exact numerics, which no library and no GPU changes."""
        return {"numerics": "exact"}

    def another(self) -> ExactCUDA:
        """Another stream on the same GPU."""
        made = ExactCUDA(self.cupy, self.index)
        made.graphs.communicator = self.graphs.communicator
        return made

    def __reduce__(self) -> Any:
        return ExactCUDA, (None, self.index)


def _no_library(cupy: Any) -> Any:
    raise DeviceError("exact numerics has no library of matrix products")
