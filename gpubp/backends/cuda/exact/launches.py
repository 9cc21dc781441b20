"""The calls that the CUDA backend of exact numerics makes on its stream: own kernels for all that computes.

What CuPy's functions would compute, kernels of formulas compute here. CuPy copies numbers of one type, and works on
whole numbers and bools.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....errors import ExactError
from ....formula import Program, Step
from ...arrays import Array, Shape, may_share
from ...lowering import traced
from ..kernels import Unfit, kernel_name
from ..launches import Launches
from .formula_source import EXACT_OPERATIONS
from .kernels import ExactKernels
from .product import Products

Axis = int | tuple[int, ...] | None
OTHER_NAMES = {"true_divide": "divide", "abs": "absolute", "fabs": "absolute"}


def _operation(name: str) -> Callable[..., Any]:
    """The array library's function of one operation."""
    operation = OTHER_NAMES.get(name, name)
    inputs = 1 if "{1}" not in EXACT_OPERATIONS[operation].c else 2
    is_bool = EXACT_OPERATIONS[operation].gives_bool
    program = Program(inputs, (Step(operation, tuple(range(inputs))),), (inputs,), (False,) * inputs + (is_bool,))

    def call(self: ExactLaunches, *operands: Any, out: Array | None = None) -> Any:
        if len(operands) > inputs:
            *operands, out = operands  # type: ignore[assignment]
        given = [a for a in (*operands, out) if hasattr(a, "dtype")]
        if not any(a.dtype.kind == "f" for a in given) and not any(isinstance(a, float) for a in operands):
            return getattr(self.cupy, name)(*operands, out=out)
        kinds = [a.dtype if hasattr(a, "dtype") else a for a in operands]
        kind = np.result_type(*kinds)
        kind = kind if kind.kind == "f" else np.result_type(kind, given[-1].dtype)
        operands = tuple(a if hasattr(a, "dtype") else kind.type(a) for a in operands)
        if out is None:
            shape = np.broadcast_shapes(*(np.shape(a) if isinstance(a, np.generic) else a.shape for a in operands))
            out = self.cupy.empty(shape, bool if is_bool else kind)
        self.compute(f"{name}_kernel", program, operands, (out,))
        return out

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"As `numpy.{name}`"
    return call


COPY = Program(1, (), (0,), (False,))


class ExactLaunches(Launches):
    """The calls on one stream."""

    epilogues = False
    multiply: Callable[..., Any]
    maximum: Callable[..., Any]
    minimum: Callable[..., Any]
    _kernels: ExactKernels

    def __init__(self, cupy: Any, stream: Any, *others: Any) -> None:
        super().__init__(cupy, stream, *others)
        self._exact = Products(cupy, self._kernels.raw)
        self._asides: dict[tuple[int, Shape, str], Array] = {}

    def _make_kernels(self) -> ExactKernels:
        return ExactKernels(self.cupy)

    def buffers(self) -> tuple[Any, ...]:
        """What must live as long as a graph of these calls."""
        return (self._kernels, self._exact, *self._exact.buffers(), *self._asides.values())

    # -- formulas ---------------------------------------------------------------------------------------------

    def formula(self, f: Callable[..., Any], *inputs: Array, out: Any) -> None:
        """out = f(*inputs), by one kernel of the formula's own"""
        outs = out if isinstance(out, tuple) else (out,)
        self.compute(kernel_name(f), traced(f, len(inputs), len(outs), "exact"), inputs, outs)

    def compute(self, name: str, program: Program, inputs: Any, outs: tuple[Array, ...]) -> None:
        """outs = program(inputs); by way of memory of its own where an output covers a part of an input."""
        try:
            self._kernels.apply(name, program, inputs, outs)
            return
        except Unfit as cause:
            apart = tuple(
                self._aside(k, o) if any(hasattr(a, "data") and may_share(a, o) for a in inputs) else o
                for k, o in enumerate(outs)
            )
            if all(o is a for o, a in zip(outs, apart, strict=True)):
                raise ExactError(f"{name} can't be computed with exact numerics on a GPU: {cause}") from None
        try:
            self._kernels.apply(name, program, inputs, apart)
        except Unfit as cause:
            raise ExactError(f"{name} can't be computed with exact numerics on a GPU: {cause}") from None
        for o, a in zip(outs, apart, strict=True):
            if o is not a:
                self.cupy.copyto(o, a)

    def _aside(self, slot: int, like: Any, shape: Shape | None = None) -> Array:
        """Memory for the time of one call."""
        key = (slot, like.shape if shape is None else shape, str(like.dtype))
        if key not in self._asides:
            self._asides[key] = self.cupy.empty(key[1], like.dtype)
        return self._asides[key]

    # -- sums and products ------------------------------------------------------------------------------------

    def product(self, a: Array, b: Array, out: Array, compute: str = "float32", **finish: Any) -> None:
        """out = a b, of matrices or stacks of them. terms: for each row of the batch, see `order.py`"""
        self._exact.product(a, b, out, self._stream, **finish)

    def is_product(self, call: Any) -> bool:
        """Whether a call of a record is a matrix product."""
        return bool(call.function == self.product)

    def may_stand_aside(self, call: Any) -> bool:
        """Whether a call of a record is a product; sums share memory"""
        return self.is_product(call)

    def reserve(self, stream: Any, calls: Any = ()) -> None:
        """See to it that products can be launched on this stream too."""
        self._exact.reserve(stream)

    def dot(self, a: Array, b: Array, out: Array, total: Array | None) -> None:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        self.product(a.reshape(1, -1), b.reshape(-1, 1), out.reshape(1, 1))
        if total is not None:
            self._exact.add_total(total, out)

    def sum_rows(self, a: Array, out: Array, terms: int = 1) -> None:
        """out = Σ over the rows of a matrix"""
        self._exact.sums(a, out, self._stream, terms)

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array, terms: int = 1) -> None:
        """out = Σ weights[r] a[r] over the rows of a matrix"""
        self.product(weights.reshape(1, -1), a, out.reshape(1, -1), terms=terms)

    def scatter_rows(self, a: Array, rows: Array, out: Array, terms: int = 1) -> None:
        """By a thread for each number of the result, of rows that are sorted before"""
        self._kernels.scatter_exactly(self._whole(a, 0), self._whole(rows, 1), out, terms)

    def gather(self, source: Array, rows: Array, out: Array) -> None:
        """out[i] = source[rows[i]], cast to out's type"""
        if not self._kernels.gather(self._whole(source, 0), rows, out):
            raise ExactError(f"rows of {source.dtype} can't be taken as {out.dtype} with exact numerics on a GPU")

    def _whole(self, a: Array, slot: int) -> Array:
        """a, or a copy of it, with its numbers side by side"""
        if a.flags.c_contiguous:
            return a
        self.cupy.copyto(copy := self._aside(slot, a), a)
        return copy

    # -- what the array library has ---------------------------------------------------------------------------

    def copyto(self, dst: Array, src: Any, casting: Any = "same_kind", where: Array | None = None) -> None:
        """dst = src, cast by a kernel of its own"""
        if not hasattr(src, "data") or isinstance(src, np.generic):
            src = dst.dtype.type(src)
        if src.dtype == dst.dtype or not {src.dtype.kind, dst.dtype.kind} & {"f"}:
            self.cupy.copyto(dst, src, casting, where)
            return
        if not np.can_cast(src.dtype, dst.dtype, casting):
            raise TypeError(f"{src.dtype} can't be cast to {dst.dtype} by casting={casting!r}")
        cast = dst if where is None else self._aside(0, dst)
        self.compute("cast_kernel", COPY, (src,), (cast,))
        if where is not None:
            self.cupy.copyto(dst, cast, casting, where)

    def _as(self, name: str, a: Any, dtype: Any, options: dict[str, Any]) -> Any:
        """What CuPy's function of that name gives; another type by a kernel of its own."""
        if dtype is None or not isinstance(a, self.cupy.ndarray) or a.dtype == dtype:
            return getattr(self.cupy, name)(a, dtype, **options)
        self.copyto(out := self.cupy.empty(a.shape, dtype), a, casting="unsafe")
        return out

    def array(self, a: Any, dtype: Any = None, **options: Any) -> Any:
        """A copy"""
        return self._as("array", a, dtype, options)

    def asarray(self, a: Any, dtype: Any = None, **options: Any) -> Any:
        """a, or a copy of another type"""
        return self._as("asarray", a, dtype, options)

    def ascontiguousarray(self, a: Any, dtype: Any = None) -> Any:
        """a, or a copy without gaps or of another type"""
        return self._as("ascontiguousarray", a, dtype, {})

    def where(self, condition: Array, a: Any, b: Any) -> Any:
        """a where the condition is true, else b"""
        kind = np.result_type(*(x.dtype if hasattr(x, "dtype") else x for x in (a, b)))
        shape = np.broadcast_shapes(condition.shape, np.shape(a), np.shape(b))
        out = self.cupy.empty(shape, kind)
        self.copyto(out, b)
        self.copyto(out, a, where=condition)
        return out

    def square(self, a: Array, out: Array | None = None) -> Any:
        """a²"""
        return self.multiply(a, a, out=out)

    def positive(self, a: Array, out: Array | None = None) -> Any:
        """a"""
        return self.multiply(a, a.dtype.type(1), out=out)

    def clip(self, a: Array, low: Any, high: Any, out: Array | None = None) -> Any:
        """minimum(maximum(a, low), high)"""
        return self.minimum(self.maximum(a, low, out=out), high, out=out)

    def sum(
        self, a: Array, axis: Axis = None, dtype: Any = None, out: Array | None = None, keepdims: bool = False
    ) -> Any:
        """Σ of a over axes, as `cpu/exact/library.py` says"""
        kind = np.dtype(out.dtype if out is not None else dtype or a.dtype)
        if a.dtype.kind != "f" and kind.kind != "f":
            return self.cupy.sum(a, axis=axis, dtype=dtype, out=out, keepdims=keepdims)
        over, kept, shape = _axes(a, axis, keepdims)
        if a.dtype != kind:
            self.copyto(cast := self._aside(1, np.empty(0, kind), a.shape), a, casting="unsafe")
            a = cast
        found = self._aside(2, a, (math.prod(a.shape[k] for k in kept),))
        by_rows = over[:1] == [0]
        lines = self._whole(a.transpose([*over, *kept] if by_rows else [*kept, *over]), 0)
        if by_rows:
            matrix, terms = lines.reshape(-1, found.size), math.prod(lines.shape[1 : len(over)])
        else:
            matrix, terms = lines.reshape(found.size, -1).T, 1
        self.sum_rows(matrix, found, terms)
        return self._given(found.reshape(shape), out)

    def max(self, a: Array, axis: Axis = None, out: Array | None = None, keepdims: bool = False) -> Any:
        """`maximum` of all numbers over axes, from the first to the last"""
        return self._folded("max", a, axis, out, keepdims)

    def min(self, a: Array, axis: Axis = None, out: Array | None = None, keepdims: bool = False) -> Any:
        """`minimum` of all numbers over axes, from the first to the last"""
        return self._folded("min", a, axis, out, keepdims)

    def argmax(self, a: Array, axis: int | None = None, out: Array | None = None) -> Any:
        """Where the largest number is first"""
        return self._folded("argmax", a, axis, out, False)

    def argmin(self, a: Array, axis: int | None = None, out: Array | None = None) -> Any:
        """Where the smallest number is first"""
        return self._folded("argmin", a, axis, out, False)

    amax, amin = max, min

    def _folded(self, name: str, a: Array, axis: Axis, out: Array | None, keepdims: bool) -> Any:
        if a.dtype.kind != "f":
            more = {"keepdims": keepdims} if name in ("max", "min") else {}
            return getattr(self.cupy, name)(a, axis=axis, out=out, **more)
        over, kept, shape = _axes(a, axis, keepdims)
        neighbours = over == list(range(over[0], over[-1] + 1))
        lines = self._whole(a if neighbours else a.transpose([*kept, *over]), 0)
        before = math.prod(a.shape[: over[0]]) if neighbours else math.prod(a.shape[k] for k in kept)
        lines = lines.reshape(before, math.prod(a.shape[k] for k in over), -1)
        if not lines.shape[1]:
            raise ValueError("the largest or smallest of no numbers has no value")
        kind = np.empty(0, np.int64) if name.startswith("arg") else a
        found = self._aside(2, kind, (before, lines.shape[2]))
        do = self._kernels.argument if name.startswith("arg") else self._kernels.fold
        do(lines, found, name.endswith("max"))
        return self._given(found.reshape(shape), out)

    def _given(self, found: Array, out: Array | None) -> Any:
        if out is None:
            return found.copy()
        self.copyto(out, found)
        return out


SINGLE = (*EXACT_OPERATIONS, *OTHER_NAMES)
for _name in SINGLE:
    if _name not in ("row_sum", "row_max"):
        setattr(ExactLaunches, _name, _operation(_name))
# by name, what `xp` has in place of CuPy's own
REPLACED = (
    *(n for n in SINGLE if n not in ("row_sum", "row_max")),
    "array", "asarray", "ascontiguousarray", "where", "copyto", "square", "positive", "clip", "sum", "max", "amax",
    "min", "amin", "argmax", "argmin",
)  # fmt: skip


def _axes(a: Array, axis: Axis, keepdims: bool) -> tuple[list[int], list[int], Shape]:
    """The axes that are summed, those that stay, and the shape of the result."""
    given = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    over = sorted({k % a.ndim for k in given})
    kept = [k for k in range(a.ndim) if k not in over]
    return over, kept, tuple(1 if k in over else n for k, n in enumerate(a.shape) if keepdims or k in kept)
