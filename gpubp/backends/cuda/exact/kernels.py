"""The kernels of `kernels.py`, compiled for exact numerics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....formula import Program
from ...arrays import Array
from ...order import BLOCK, rows_of_group
from ..formula_source import C_TYPES
from ..kernels import Kernels, Unfit
from .compiler import CompiledKernel
from .formula_source import EXACT_OPERATIONS, source
from .sources import ARGUMENT, FOLD, SCATTER


class ExactKernels(Kernels):
    """The kernels of one stream of work. Formulas of one operation may have arrays of several types, as NumPy's
    functions do."""

    operations = EXACT_OPERATIONS
    types = tuple(C_TYPES)

    def raw(self, source: str, name: str) -> Callable[..., None]:
        """Without a flush of subnormal numbers"""
        return CompiledKernel(self._cupy, source, name)

    def type_of(self, program: Program, inputs: tuple[Any, ...], outs: tuple[Array, ...]) -> str:
        """That of the numbers; of several, the one that NumPy computes in."""
        floats = {a.dtype for a in (*inputs, *outs) if a.dtype.kind == "f"}
        if len(program.steps) == 1:
            kind = np.result_type(*(a.dtype for a in inputs))
            if kind.kind == "f":
                return str(kind)
            if kind.kind == "b" and len(floats) == 1:  # truth as 0 and 1, times a constant
                return str(next(iter(floats)))
        elif len(floats) == 1 or not program.steps:
            return str(np.result_type(*floats))
        names = ", ".join(sorted({str(a.dtype) for a in (*inputs, *outs)}))
        raise Unfit(f"its arrays have the types {names}")

    def text(self, program: Program, *form: Any) -> str:
        """With sums in the order of `order.py`, and functions of own formulas"""
        return source(program, *form)

    def fold(self, a: Array, out: Array, largest: bool) -> None:
        """out (m, n) = the largest, or smallest, of a (m, K, n); contiguous"""
        name, function = ("largest", "larger") if largest else ("smallest", "smaller")
        self._fold(name, FOLD.replace("FUNCTION", function), a, out)

    def argument(self, a: Array, out: Array, largest: bool) -> None:
        """out (m, n) int64 = where the largest, or smallest, of a (m, K, n) is first; contiguous"""
        name, beats = ("argument_of_largest", ">") if largest else ("argument_of_smallest", "<")
        self._fold(name, ARGUMENT.replace("BEATS", beats), a, out)

    def _fold(self, name: str, text: str, a: Array, out: Array) -> None:
        sizes = map(np.int64, (out.size, a.shape[2], a.shape[1]))
        self.launch(name, text.replace("NAME", name), a.dtype, out.size, (*sizes, a, out))

    def scatter_exactly(self, a: Array, rows: Array, out: Array, terms: int) -> None:
        """out[v] = Σ of a[i] over all i with rows[i] = v, in the order of `order.py`; a and rows contiguous"""
        order, ordered = self.sort(rows, out.dtype)
        length = rows_of_group(terms) * terms
        bits = (-(-length // BLOCK) - 1).bit_length()
        sizes = (np.uint32(len(rows)), np.uint64(out.size), np.uint32(out.shape[-1]), np.uint32(length), np.int32(bits))
        self.launch("scatter_exactly", SCATTER, out.dtype, out.size, (*sizes, a, order, ordered, out))
