"""Repeat short operands of elementwise operations, because NumPy is faster on long rows; the bits are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ...formula import OPERATIONS, Program
from ..arrays import Array, Shape
from ..base import Backend

LARGE, WIDE, SHORT = 2**14, 2**13, 2**8  # numbers: where longer rows pay, how long they are, and what is a short one
MOST = 2**10  # numbers of a row that a formula's operand is repeated to: a few such stay in the first-level cache


class Widening:
    """Makes single numbers and short rows longer, in memory that lives as long as a record that uses it.

    backend: makes the memory, and the copies.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> x, row = be.zeros((8192, 2), "float32"), be.zeros((2,), "float32")
    >>> (x, row), out = Widening(be)(np.add, [x, row], x)
    >>> x.shape, row.shape, out.shape
    ((2, 8192), (8192,), (2, 8192))
    """

    def __init__(self, backend: Backend) -> None:
        self._be = backend
        self._wide: WeakValueDictionary[tuple[int, int, int, str], Array] = WeakValueDictionary()

    def __call__(self, ufunc: Any, operands: list[Any], out: Array) -> tuple[list[Any], Array]:
        """The same operation on longer rows: a single number, or a short row, is repeated until it is as long as some
        of the rows together. NumPy's maximum goes over the numbers one by one where an operand is a single number, and
        all operations begin anew at every row where one is a row."""
        shape, columns = out.shape, out.shape[-1]
        kinds = [
            "full" if a.shape == shape and a.flags.c_contiguous
            else "number" if a.size == 1
            else "row" if a.size == columns == a.shape[-1] <= SHORT and a.flags.c_contiguous
            else ""
            for a in operands
        ]  # fmt: skip
        numbers = ufunc in (np.maximum, np.minimum) and "number" in kinds
        if "" in kinds or not ("row" in kinds or numbers):
            return operands, out
        unit = columns if "row" in kinds else 1
        width = unit * math.gcd(out.size // unit, WIDE // unit)
        if width < WIDE // 16:
            return operands, out
        longer = []
        for k, (a, kind) in enumerate(zip(operands, kinds, strict=True)):
            if kind == "full":
                longer.append(a.reshape(-1, width))
            elif kind == "row" or numbers:
                longer.append(self._repeated(k, a.reshape(1, -1), width).reshape(-1))
            else:
                longer.append(a)
        return longer, out.reshape(-1, width)

    def of_formula(
        self, program: Program, inputs: Sequence[Array], outs: Sequence[Array]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """The arrays of a formula, on longer rows: of outputs (B, ..., C) as (B, n, width), and with them rows (C,) and
        those of each row of the batch, (B, 1, ..., 1, C); numbers of each, (B, 1, ..., 1), and single ones stay.

        >>> from gpubp.backends import get_backend
        >>> from gpubp.formula import trace
        >>> be, x, mean = get_backend("cpu"), np.ones((4, 32, 32, 8)), np.ones((4, 1, 1, 8))
        >>> program = trace(lambda x, mean: x - mean, 2)
        >>> (x, mean), (out,) = Widening(be).of_formula(program, [x, mean], [np.ones(x.shape)])
        >>> x.shape, mean.shape, out.shape
        ((4, 32, 256), (4, 1, 256), (4, 32, 256))
        """
        out, unchanged = outs[0], (tuple(inputs), tuple(outs))
        if out.ndim < 2 or out.size < LARGE or any(OPERATIONS[step.operation].reduces for step in program.steps):
            return unchanged
        B, *between, C = shape = out.shape
        kinds = [_kind(a, shape) for a in inputs]
        if C > SHORT or "" in kinds or not {"row", "rows"} & {*kinds} or any(_kind(o, shape) != "full" for o in outs):
            return unchanged
        if not {"rows", "column"} & {*kinds}:
            B, between = 1, [out.size // C]
        places = math.prod(between)
        most = min(MOST, math.isqrt(out.size * C // B)) // C  # as many copies of rows as rows are left
        repeats = next((k for k in range(most, 1, -1) if places % k == 0), 1)
        if repeats * C < SHORT:
            return unchanged
        longer = []
        for k, (a, kind) in enumerate(zip(inputs, kinds, strict=True)):
            if kind == "full":
                longer.append(a.reshape(B, -1, repeats * C))
            elif kind in ("row", "rows"):
                wide = self._repeated(k, a.reshape(-1, C), repeats * C)
                longer.append(wide.reshape(-1) if kind == "row" else wide.reshape(B, 1, -1))
            else:
                longer.append(a.reshape(B, 1, 1) if kind == "column" else a.reshape(1))
        return tuple(longer), tuple(o.reshape(B, -1, repeats * C) for o in outs)

    def _repeated(self, k: int, rows: Array, width: int) -> Array:
        """Rows (n, C) repeated to (n, width), in memory for operand k."""
        place = k, len(rows), width, str(rows.dtype)
        wide: Array = self._wide.get(place)
        if wide is None:
            wide = self._wide[place] = self._be.empty((len(rows), width), rows.dtype)
        self._be.run(np.copyto, wide.reshape(len(rows), -1, rows.shape[1]), rows[:, None])
        return wide


def _kind(a: Array, shape: Shape) -> str:
    """How an operand lies beside outputs of this shape, "" if it is none of these."""
    if not a.flags.c_contiguous:
        return ""
    if a.shape == shape:
        return "full"
    if a.size == 1:
        return "number"
    if a.size == shape[-1] == a.shape[-1]:
        return "row"
    one = (shape[0], *[1] * (len(shape) - 2))
    return "rows" if a.shape == (*one, shape[-1]) else "column" if a.shape == (*one, 1) else ""
