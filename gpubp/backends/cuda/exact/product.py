"""Products and sums on a GPU in the order of `order.py`: how the work is divided, and the kernels' arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....errors import ExactError
from ...arrays import Array, Shape
from ...order import BLOCK, rows_of_group
from ..formula_source import index_type, prelude
from ..kernels import reach
from .sources import ADD_TOTAL, COMMON, THIN, TILED, TREE

THREADS = 256  # of a block
BLOCKS, PARTS = 256, 2**16  # of a GPU that has enough to do: blocks of tiles, or threads of thin products
THIN_BELOW = 16  # rows or columns
LEVELS = 6  # of sums in a thread's own memory, where that leaves not too many parts
LARGEST = 2**28  # bytes of parts
WIDE = 2**31  # numbers, from where on indices have 64 bits
WIDTH = 64  # parts that a thread adds, where there are few numbers

Kernel = Callable[..., None]


class Plan(NamedTuple):
    """How a product is divided into runs; see `sources.py`.

    kernel: "product" with `rows` x `rows` numbers to a thread, or "thin". length: terms of a group. together: groups of
    a run. piece: terms of its group that a run has. pieces: of a group. runs: of all. levels: of a thread's stack.
    """

    kernel: str
    rows: int
    length: int
    together: int
    piece: int
    pieces: int
    runs: int
    levels: int


@lru_cache(maxsize=4096)
def plan(M: int, N: int, K: int, batch: int, terms: int, size: int, thin: bool = False) -> Plan:
    """The runs of products of M x K and K x N numbers of `size` bytes. thin: whether only a thin one will do.

    >>> plan(4096, 4096, 4096, 1, 1, 4)
    Plan(kernel='product', rows=8, length=64, together=64, piece=64, pieces=1, runs=1, levels=6)
    >>> plan(10, 512, 128, 1, 1, 4)
    Plan(kernel='thin', rows=1, length=64, together=1, piece=64, pieces=1, runs=2, levels=1)
    """
    length = min(rows_of_group(terms) * terms, max(K, 1))
    groups, blocks = max(-(-K // length), 1), -(-length // BLOCK)
    thin = thin or min(M, N) < THIN_BELOW
    rows = 1 if thin else 8 if size == 4 and _tiles(M, N, batch, 128) >= BLOCKS // 2 else 4
    work, enough = (M * N * batch, PARTS) if thin else (_tiles(M, N, batch, 16 * rows), BLOCKS)
    wanted = -(-enough // work)
    own = 1  # blocks of a group that one run has
    while own < blocks and own < 2**LEVELS and groups * -(-blocks // (2 * own)) >= wanted:
        own *= 2
    if own < blocks and groups >= wanted:
        own = min(1 << (blocks - 1).bit_length(), 2**LEVELS)
    own = min(own, blocks)
    together, inner = 1, (own - 1).bit_length()
    if own == blocks:
        while together < groups and (
            (inner + together.bit_length() <= LEVELS and -(-groups // (2 * together)) >= wanted)
            or groups // together * M * N * batch * size > LARGEST
        ):
            together *= 2
    pieces = -(-blocks // own)
    runs = -(-groups // together)
    if pieces > 1:
        of_the_last = -(-(K - (groups - 1) * length) // BLOCK)
        runs = (groups - 1) * pieces + -(-of_the_last // own)
    levels = max(inner + together.bit_length() - 1, 1)
    return Plan(("thin" if thin else "product"), rows, length, together, own * BLOCK, pieces, runs, levels)


def _tiles(M: int, N: int, batch: int, side: int) -> int:
    return max(-(-M // side) * -(-N // side) * batch, 1)


class Products:
    """Products of one stream of work. compile: makes a kernel of its source and name. cupy: the CuPy module."""

    def __init__(self, cupy: Any, compile: Callable[[str, str], Kernel]) -> None:
        self._cupy, self._compile = cupy, compile
        self._made: dict[Any, Kernel] = {}
        self._parts: dict[tuple[int, int], Array] = {}  # by stream

    def buffers(self) -> tuple[Array, ...]:
        """The memory that calls so far have used."""
        return tuple(self._parts.values())

    def reserve(self, stream: Any) -> None:
        """Memory for the same calls on another stream."""
        sizes: dict[int, int] = {}
        for (_, which), parts in self._parts.items():
            sizes[which] = max(sizes.get(which, 0), parts.size)
        with stream:
            for which, size in sizes.items():
                self._memory(stream, which, size)

    def product(self, a: Array, b: Array, out: Array, stream: Any, terms: int = 1) -> None:
        """out = a b, of matrices or of stacks of them with one leading axis. terms: see `order.py`"""
        if not a.dtype == b.dtype == out.dtype or str(out.dtype) not in ("float32", "float64"):
            raise ExactError(f"a product of {a.dtype} and {b.dtype} into {out.dtype}; exact numerics needs one type")
        of_a, of_b, of_out = (_steps(x) for x in (a, b, out))
        (M, K), N, batch = a.shape[-2:], b.shape[-1], math.prod(out.shape[:-2])
        self._run("product", (M, N, K, batch), terms, (a, of_a), (b, of_b), (out, of_out), stream)

    def sums(self, a: Array, out: Array, stream: Any, terms: int = 1) -> None:
        """out (n,) = Σ over the rows of a (rows, n)"""
        K, N = a.shape
        _, of_a = _steps(a)[0], _steps(a)
        (step,) = _numbers(out) if out.ndim else (0,)
        self._run("sums", (1, N, K, 1), terms, (a, (0, 0, 0)), (a, of_a), (out, (0, 0, step)), stream)

    def add_total(self, total: Array, a: Array) -> None:
        """total += a, of 0-d arrays; total is float64."""
        self._kernel("add_total", a.dtype)((1,), (1,), (total, a))

    def _run(
        self, name: str, sizes: tuple[int, int, int, int], terms: int, a: Any, b: Any, out: Any, stream: Any
    ) -> None:
        """a, b, out: arrays, and their steps from matrix to matrix, from row to row and from column to column."""
        (M, N, K, batch), dtype = sizes, out[0].dtype
        if not M * N * batch:
            return
        to, (to_batch, to_m, to_n) = out
        if name == "product" and N > 1 and to_n != 1 and (to_m == 1 or M == 1):  # outᵀ = bᵀ aᵀ has the same bits
            a, b, out = ((x, (batch_, n, m)) for x, (batch_, m, n) in (b, a, out))
            self._run(name, (N, M, K, batch), terms, a, b, out, stream)
            return
        how = plan(M, N, K, batch, terms, dtype.itemsize, name == "sums")
        direct = how.runs == 1 and (how.kernel == "thin" or N == 1 or to_n == 1)
        if not direct:
            to = self._memory(stream, 0, batch * how.runs * M * N * dtype.itemsize).view(dtype)
            to_batch, to_m, to_n = how.runs * M * N, N, 1
        numbers = tuple(map(np.int32, (M, N, K, how.length, how.together, how.piece, how.pieces, how.runs)))
        if how.kernel == "thin":
            parts = M * N * batch * how.runs
            wide = parts >= WIDE
            kernel = self._kernel("thin" if name == "product" else name, dtype, levels=how.levels, wide=int(wide))
            steps = [tuple(map(np.int64, x[1][1:] + x[1][:1])) for x in (a, b)]
            of_out = map(np.int64, (to_m, to_n, to_batch))
            arguments = (*numbers, _index(parts), a[0], *steps[0], b[0], *steps[1], to, *of_out)
            kernel((min(-(-parts // THREADS), 2**16),), (THREADS,), arguments)
        else:
            wide = max(reach(x) for x in (a[0], b[0], to)) >= WIDE
            by_k = int(a[1][2] == 1), int(b[1][1] == 1)
            levels = max(how.levels, 2)  # one would be kept in registers, of which there are too few
            kernel = self._kernel("product", dtype, rows=how.rows, levels=levels, wide=int(wide), by_k=by_k)
            step: Any = np.int64 if wide else np.int32
            steps = [tuple(map(step, x[1][1:] + x[1][:1])) for x in (a, b)]
            blocks = _tiles(M, N, batch, 16 * how.rows) * how.runs
            arguments = (*numbers, a[0], *steps[0], b[0], *steps[1], to, step(to_m), step(to_batch))
            kernel((blocks,), (THREADS,), arguments)
        if not direct:
            self._tree(how, (M, N, batch), to, out, stream)

    def _tree(self, how: Plan, shape: tuple[int, int, int], parts: Array, out: Any, stream: Any) -> None:
        """out = the parts of each matrix, added as a tree."""
        M, N, batch = shape
        runs, width, which = how.runs, how.pieces, 1
        final, (of_batch, of_m, of_n) = out
        while True:
            if width == 1:
                width = WIDTH if runs > WIDTH and M * N * batch < PARTS else 1 << (runs - 1).bit_length()
            left = -(-runs // width)
            to, steps = final, (of_m, of_n, 0, of_batch)
            if left > 1:
                to = self._memory(stream, which, batch * left * M * N * final.dtype.itemsize).view(final.dtype)
                steps = N, 1, M * N, left * M * N
            count = batch * left * M * N
            numbers = (*map(np.int32, (M, N, runs, width)), _index(count))
            kernel = self._kernel("tree", final.dtype, wide=int(count >= WIDE))
            kernel((min(-(-count // THREADS), 2**16),), (THREADS,), (*numbers, parts, to, *map(np.int64, steps)))
            if left == 1:
                return
            parts, runs, width, which = to, left, 1, 1 - which

    def _memory(self, stream: Any, which: int, size: int) -> Array:
        key = (int(stream.ptr), which)
        held = self._parts.get(key)
        if held is None or held.size < size:
            held = self._parts[key] = self._cupy.empty((-(-size // 512) * 512,), np.uint8)
        return held[:size]

    def _kernel(self, name: str, dtype: Any, **numbers: Any) -> Kernel:
        key = (name, str(dtype), *numbers.items())
        if key not in self._made:
            self._made[key] = self._compile(source(name, str(dtype), **numbers), name)
        return self._made[key]


def source(name: str, dtype: str, rows: int = 0, levels: int = 0, wide: int = 0, by_k: tuple[int, int] = (0, 0)) -> str:
    """The source of one of the kernels product, thin, sums, tree and add_total.

    >>> "s + of_b[q * b_k]" in source("sums", "float32", levels=1)
    True
    """
    text = {"product": TILED, "tree": TREE, "add_total": ADD_TOTAL}.get(name, THIN.replace("NAME", name))
    term = "s + of_b[q * b_k]" if name == "sums" else "fused(of_a[q * a_k], of_b[q * b_k], s)"
    text = COMMON + text.replace("TERM", term)
    text = text.replace("FMA", "__fma_rn" if dtype == "float64" else "__fmaf_rn")
    text = text.replace("STEP", "long long" if wide else "int").replace("INDEX", index_type(bool(wide)))
    for word, number in (("LEVELS", levels), ("TM", rows), ("TN", rows), ("A_BY_K", by_k[0]), ("B_BY_K", by_k[1])):
        text = text.replace(word, str(number))
    return prelude(dtype) + text


def _index(count: int) -> Any:
    """A number of elements, as kernels take it; 32 bits divide in a fraction of the time that 64 take."""
    return np.uint64(count) if count >= WIDE else np.uint32(count)


def _numbers(a: Array) -> Shape:
    """The steps of an array, in numbers."""
    return tuple(s // a.dtype.itemsize if n > 1 else 0 for n, s in zip(a.shape, a.strides, strict=True))


def _steps(a: Array) -> tuple[int, int, int]:
    """The steps of a stack of matrices, in numbers; 0 for an axis that there isn't."""
    batch, row, column = (0, *_numbers(a))[-3:]
    return batch, row, column
