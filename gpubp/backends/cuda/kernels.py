"""gpubp's own CUDA kernels, each compiled at its first call.

What a formula's kernel looks like is in `formula_source.py`; here is when there can be one, and its arguments. A kernel
fits all arrays that lie alike in memory, whatever their sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from ...formula import OPERATIONS, Program
from ...formula.elementary import c_functions
from ...formula.program import Operation
from ..arrays import Array, Shape, may_share
from .bfloat16 import CAST
from .formula_source import C_TYPES, OPTIONS, ROW_FUNCTIONS, THREADS, Kind, elementwise, index_type, over_rows, prelude
from .next_batch import NEXT_BATCH
from .reductions import COLUMNS, IS_LAST, SCATTER, SORT, SOURCES

MOST_BLOCKS = 4096  # of a launch; more elements are more rounds
PARTS = 256  # blocks that share one sum


GATHER = """
// out[r, k] = source[rows[r], k] for n values of k
extern "C" __global__ void gather(
    const INDEX size, const INDEX n, const from* source, const long long* rows, to* out)
{
    for (INDEX i = blockIdx.x * 256u + threadIdx.x; i < size; i += gridDim.x * 256u)
        out[i] = to(source[(INDEX)rows[i / n] * n + i % n]);
}
"""


WRITE_AT = """
// places[k + j, r, i] = a[r, j, i] for `steps` values of j and m of i, with k = count, at most `last`; n numbers in all
extern "C" __global__ void write_at(
    const unsigned long long n, const unsigned long long steps, const unsigned long long m,
    const unsigned long long last, const double* count, const of* a, of* places)
{
    const unsigned long long k = *count < last ? (unsigned long long)*count : last, place = n / steps;
    for (unsigned long long i = blockIdx.x * 256ull + threadIdx.x; i < n; i += gridDim.x * 256ull)
        places[k * place + i] = a[steps == 1 ? i : (i % place / m * steps + i / place) * m + i % m];
}
"""


class Unfit(Exception):
    """There is no kernel for these arrays; CuPy's ufuncs do it.

    >>> str(Unfit("an output overlaps an input"))
    'an output overlaps an input'
    """


class Kernels:
    """The kernels of one stream of work.

    cupy: the CuPy module. What a sum over many blocks needs of memory is made at its first call and kept. place: whose
    memory that is: of kernels that are launched on several streams, each stream's own.
    """

    place = 0

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._made: dict[Any, Callable[..., None]] = {}
        self._memory: dict[Any, Array] = {}

    def apply(self, name: str, program: Program, inputs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        """outs = program(inputs) by one launch; raises Unfit, with nothing done, where it can't be."""
        dtype = self.type_of(program, inputs, outs)
        if dtype not in ("float32", "float64"):
            raise Unfit(f"its numbers are {dtype}")
        _refuse_overlaps(inputs, outs)
        reduces = any(self.operations[step.operation].reduces for step in program.steps)
        shape = np.broadcast_shapes(*(_shape(a) for a in inputs)) if reduces else outs[0].shape
        if not math.prod(shape):
            return
        types = self.types
        described = [_describe(a, shape, dtype, types) for a in inputs]
        described_outs = [_describe_out(o, shape, dtype, reduces, types) for o in outs]
        kinds, out_kinds = tuple(d[0] for d in described), tuple(d[0] for d in described_outs)
        wide = max(reach(a) for a in (*inputs, *outs)) >= 2**31 or math.prod(shape) >= 2**31
        key = (name, program, dtype, kinds, out_kinds, wide)
        kernel = self._made.get(key)
        if kernel is None:
            try:
                text = self.text(program, name, dtype, kinds, out_kinds, wide, reduces)
            except ValueError as problem:
                raise Unfit(str(problem)) from None
            kernel = self._made[key] = self._compile(dtype, text, name)
        index = np.uint64 if wide else np.uint32
        read = program.read()
        arguments = [a for a, (_, numbers) in zip(outs, described_outs, strict=True) for a in (a, *numbers(index))]
        arguments += [a for k in read for a in (inputs[k], *described[k][1](index))]
        if not reduces:
            n = math.prod(shape)
            blocks = min(-(-n // THREADS), MOST_BLOCKS)
            kernel((blocks,), (THREADS,), (index(n), *arguments))
            return
        n = shape[-1]
        rows = math.prod(shape[:-1])
        threads = min(1 << (n - 1).bit_length(), THREADS)
        blocks = min(-(-rows // (THREADS // threads)), MOST_BLOCKS)
        kernel((blocks,), (threads, THREADS // threads), (index(rows), index(n), *arguments))

    operations: Mapping[str, Operation] = OPERATIONS
    types: Collection[str] = ("bool", "int32", "int64")  # of arrays in formulas, beside the formula's own

    def type_of(self, program: Program, inputs: tuple[Any, ...], outs: tuple[Array, ...]) -> str:
        """The type in which a formula is computed."""
        return str(outs[0].dtype if outs[0].dtype.kind == "f" else _float_of(inputs))

    def text(self, program: Program, *form: Any) -> str:
        """The source of a formula's kernel; form: name, dtype, kinds of inputs and outputs, wide, reduces."""
        *form_of_kernel, reduces = form
        before = c_functions(program, form[1], "ordinary")
        if reduces:
            return before + ROW_FUNCTIONS + over_rows(program, *form_of_kernel)
        return before + elementwise(program, *form_of_kernel)

    def dot(self, a: Array, b: Array, out: Array, total: Array | None) -> None:
        """out = Σᵢ aᵢ bᵢ, and total += out; a and b contiguous."""
        blocks = min(max(-(-a.size // (4 * THREADS)), 1), PARTS)
        partial, counter = self._buffers(a.dtype, PARTS, 1)
        to = np.uint64(0) if total is None else total
        self._sum("dot", a.dtype)((blocks,), (THREADS,), (np.uint64(a.size), a, b, out, to, partial, counter))

    def reserve_dot(self, dtype: Any, place: int) -> None:
        """Make the memory that `dot` needs at another place."""
        before, self.place = self.place, place
        try:
            self._buffers(dtype, PARTS, 1)
        finally:
            self.place = before

    def sum_rows(self, a: Array, out: Array, weights: Array | None = None) -> None:
        """out (n,) = Σ over the rows of a (rows, n), contiguous, each times its weight if there are such"""
        rows, n = a.shape
        columns, share = -(-n // COLUMNS), min(max(rows // 256, 1), 64)
        partial, counter = self._buffers(a.dtype, share * n, columns)
        name, weighted = ("sum_rows", ()) if weights is None else ("weighted_sum_rows", (weights,))
        arguments = (np.uint64(rows), np.uint64(n), a, *weighted, out, partial, counter)
        self._sum(name, a.dtype)((columns, share), (COLUMNS, THREADS // COLUMNS), arguments)

    def gather(self, source: Array, rows: Array, out: Array) -> bool:
        """out[i] = source[rows[i]], cast to out's type; False, with nothing done, for types it doesn't know."""
        types = tuple(C_TYPES.get(str(a.dtype)) for a in (source, out))
        if None in types:
            return False
        wide = max(source.size, out.size) >= 2**31
        key = ("gather", *types, wide)
        if key not in self._made:
            text = "typedef {} from;\ntypedef {} to;\n".format(*types) + GATHER.replace("INDEX", index_type(wide))
            self._made[key] = self.raw(text, "gather")
        n = out.size // max(len(rows), 1)
        blocks = min(max(-(-out.size // THREADS), 1), MOST_BLOCKS)
        index = np.uint64 if wide else np.uint32
        self._made[key]((blocks,), (THREADS,), (index(out.size), index(n), source, rows, out))
        return True

    def write_at(self, places: Array, count: Array, a: Array) -> None:
        """places[k + j, i] = a[i, j] with k = count[()], at most so that all fit; both contiguous and of one type"""
        kind = C_TYPES[str(a.dtype)]
        if ("write_at", kind) not in self._made:
            text = f"typedef {kind} of;\n{WRITE_AT}"
            self._made["write_at", kind] = self.raw(text, "write_at")
        blocks = min(max(-(-a.size // THREADS), 1), MOST_BLOCKS)
        rows, steps = a.shape[:2]
        sizes = [np.uint64(n) for n in (a.size, steps, a.size // max(rows * steps, 1), len(places) - steps)]
        self._made["write_at", kind]((blocks,), (THREADS,), (*sizes, count, a, places))

    def scatter_rows(self, a: Array, rows: Array, out: Array) -> None:
        """out[v] = Σ of a[i] over all i with rows[i] = v, in the order of i; a and rows contiguous"""
        order, ordered = self.sort(rows, out.dtype)
        sizes = (np.uint32(len(rows)), np.uint64(out.size), np.uint32(out.shape[-1]))
        self.launch("scatter_rows", SCATTER, out.dtype, out.size, (*sizes, a, order, ordered, out))

    def sort(self, rows: Array, dtype: Any) -> tuple[Array, Array]:
        """(where each came in, the rows sorted), equal ones in the order they came in"""
        count = len(rows)
        if ("sorted", count) not in self._memory:
            self._memory["order", count] = self._cupy.empty((count,), np.uint32)
            self._memory["sorted", count] = self._cupy.empty((count,), np.int64)
        order, ordered = self._memory["order", count], self._memory["sorted", count]
        self.launch("sort_rows", SORT, dtype, count, (np.uint32(count), rows, order, ordered))
        return order, ordered

    def next_batch(
        self, sources: tuple[Array, Array], places: tuple[Array, Array], ahead: tuple[Array, ...], count: Array
    ) -> None:
        """What `Backend.next_batch` says, in one launch; for types that are in C_TYPES."""
        order, table, numbers, *weights = ahead
        rows, sizes = len(places[0]), [a.size // len(a) for a in places]
        types = [C_TYPES[str(a.dtype)] for pair in zip(sources, places, strict=True) for a in pair]
        index = np.uint64 if rows * max(sizes) >= 2**31 else np.uint32
        key = ("next_batch", *types, index)
        if key not in self._made:
            names = ("from_x", "to_x", "from_t", "to_t")
            text = "".join(f"typedef {c} {name};\n" for c, name in zip(types, names, strict=True)) + IS_LAST
            text += NEXT_BATCH.replace("INDEX", index_type(index is np.uint64))
            self._made[key] = self.raw(text, "next_batch")
        _, counter = self._buffers("uint8", 1, 1)
        blocks = min(-(-rows * max(sizes) // THREADS), MOST_BLOCKS)
        weighing = [a.view(np.uint32) for a in weights] or [counter, counter]  # of which no word is read then
        arrays = (sources[0], places[0], sources[1], places[1], order, table, numbers, *weighing, count, counter)
        words = weighing[1].size if weights else 0
        numbers_of = (np.uint32(rows), *(index(n) for n in sizes), np.uint32(numbers.size), np.uint32(words))
        arguments = (np.int64(len(table)), *numbers_of, *arrays)
        self._made[key]((blocks,), (THREADS,), arguments)

    def halve(self, a: Array, out: Array) -> None:
        """out = a in bfloat16, as bits; both contiguous"""
        self.launch("to_bfloat16", CAST, a.dtype, out.size, (np.uint64(out.size), a, out))

    def launch(self, name: str, source: str, dtype: Any, threads: int, arguments: tuple[Any, ...]) -> None:
        """A kernel written by hand, of so many threads, for one type of numbers."""
        key = (source, name, str(dtype))
        if key not in self._made:
            self._made[key] = self._compile(str(dtype), source, name)
        self._made[key]((min(max(-(-threads // THREADS), 1), MOST_BLOCKS),), (THREADS,), arguments)

    def _sum(self, name: str, dtype: Any) -> Callable[..., None]:
        key = (name, str(dtype))
        if key not in self._made:
            self._made[key] = self._compile(str(dtype), ROW_FUNCTIONS + SOURCES[name], name)
        return self._made[key]

    def _compile(self, dtype: str, source: str, name: str) -> Callable[..., None]:
        return self.raw(prelude(dtype) + source, name)

    def raw(self, source: str, name: str) -> Callable[..., None]:
        """The kernel of that name in a whole source."""
        kernel: Callable[..., None] = self._cupy.RawKernel(source, name, options=OPTIONS)
        return kernel

    def _buffers(self, dtype: Any, numbers: int, counters: int) -> tuple[Array, Array]:
        """(partial sums, counters at 0); a captured step keeps those it was captured with, which stay as they are."""
        key = (str(dtype), numbers, counters, self.place)
        if key not in self._memory:
            self._memory[key] = self._cupy.empty((numbers,), dtype)
            self._memory[(*key, "counters")] = self._cupy.zeros((counters,), np.uint32)
        return self._memory[key], self._memory[(*key, "counters")]


def kernel_name(f: Callable[..., Any]) -> str:
    """A name in C for a formula's kernel.

    >>> from gpubp import ReLU
    >>> kernel_name(ReLU().df)
    'ReLU_df_kernel'
    """
    name = re.sub(r"\W|<\w+>\.?", "_", getattr(f, "__qualname__", "formula"), flags=re.ASCII)
    return re.sub("_+", "_", f"{name}_kernel").lstrip("_0123456789")


def _float_of(inputs: tuple[Any, ...]) -> Any:
    return next((a.dtype for a in inputs if a.dtype.kind == "f"), "no floating-point numbers")


def _shape(a: Any) -> Shape:
    return tuple(getattr(a, "shape", ()))


def _is_array(a: Any) -> bool:
    return hasattr(a, "data") and hasattr(a.data, "ptr")


def _refuse_overlaps(inputs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
    """An output may be an input, number by number, and else share nothing with one."""
    for o in outs:
        for a in inputs:
            if _is_array(a) and may_share(a, o):
                same = a.data.ptr == o.data.ptr and a.shape == o.shape and a.strides == o.strides
                if not same or a.dtype != o.dtype:
                    raise Unfit("an output overlaps an input")


def reach(a: Any) -> int:
    """How many numbers the last of an array lies behind the first; 0 for what is no array.

    >>> reach(2.0)
    0
    """
    if not _is_array(a):
        return 0
    return int(sum((n - 1) * abs(s) for n, s in zip(a.shape, a.strides, strict=True)) // a.dtype.itemsize)


Numbers = Callable[[Any], list[Any]]  # the further arguments of an array, given the index type


def _describe(a: Any, shape: Shape, dtype: str, types: Collection[str]) -> tuple[Kind, Numbers]:
    """How `a` lies against `shape`."""
    kind = "real" if a.dtype == dtype else str(a.dtype)
    if kind != "real" and kind not in types:
        raise Unfit(f"an input holds {a.dtype}, and the others {dtype}")
    if not _is_array(a):
        return Kind("number", kind), lambda index: []
    if a.size == 1:
        return Kind("full" if math.prod(shape) == 1 else "single", kind), lambda index: []
    own = (1,) * (len(shape) - a.ndim) + a.shape
    if a.flags.c_contiguous:
        if own == shape:
            return Kind("full", kind), lambda index: []
        at = next(k for k, n in enumerate(own) if n != 1)
        if own[at:] == shape[at:]:
            return Kind("row", kind), lambda index: [index(a.size)]
        end = max(k for k, n in enumerate(own) if n != 1) + 1
        if own[:end] == shape[:end]:
            inner = math.prod(shape[end:])
            return Kind("column", kind), lambda index: [index(inner)]
    strides = [0] * (len(shape) - a.ndim) + [
        0 if n == 1 else s // a.dtype.itemsize for n, s in zip(a.shape, a.strides, strict=True)
    ]
    sizes, steps = _merged(shape, strides)
    return (
        Kind("strided column" if own[-1] < shape[-1] else "strided", kind, len(sizes)),
        lambda index: [*(index(n) for n in sizes[1:]), *(np.int64(s) for s in steps)],
    )


def _merged(shape: Shape, strides: list[int]) -> tuple[list[int], list[int]]:
    """Sizes and strides with as few axes as can be: neighbours that one stride goes through are one axis."""
    sizes, steps = [1], [0]
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if steps[-1] == n * s or sizes[-1] == 1:
            sizes[-1], steps[-1] = sizes[-1] * n, s
        else:
            sizes.append(n)
            steps.append(s)
    return sizes, steps


def _describe_out(o: Array, shape: Shape, dtype: str, reduces: bool, types: Collection[str]) -> tuple[Kind, Numbers]:
    if o.shape == shape:
        return _describe(o, shape, dtype, types)
    if reduces and o.shape == (*shape[:-1], 1):
        kind, numbers = _describe(o, shape, dtype, types)
        return (Kind("column", kind.type), lambda index: []) if o.flags.c_contiguous else (kind, numbers)
    raise Unfit(f"outputs of shapes {o.shape} and {shape}")
