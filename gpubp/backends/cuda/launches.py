"""The calls that the CUDA backend makes on its stream: matrix products, formulas, sums, masks.

These are the calls of a recorded step. `CUDA` notes them, or makes them at once; `epilogues.py` joins some; a graph
holds what they launch. Where the fast way is not available, each has a plainer one, and one warning says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ...formula import Program, Step, row_sum
from ...formula.elementary import OWN
from ..arrays import Array, Shape
from ..exact_library import With
from ..lowering import traced, type_of
from ..philox import CUDA_SOURCE, UNIFORM_SOURCE
from ..recording import Call
from .bfloat16 import Bfloat16
from .cublaslt_layouts import CublasLtUnavailable
from .formula_source import THREADS
from .kernels import Kernels, Unfit, kernel_name, reach
from .own_masks import rectify_arguments, rectify_source
from .patches import arguments as patch_arguments
from .patches import source as patch_source
from .sampling import SOURCE as SAMPLING
from .stacks import at_equal_distances


class Launches:
    """The calls on one stream.

    cupy: the CuPy module. stream: where all is launched. products: makes what multiplies matrices, see `CUDA`.
    plainly: computes a formula by CuPy's ufuncs. uncapturable: why calls made since this was "" can't stand in a graph.
    """

    epilogues = True  # whether products are joined with what follows them

    def __init__(self, cupy: Any, stream: Any, products: Callable[[Any], Any], plainly: Callable[..., Any]) -> None:
        self.cupy, self._stream, self._make_products, self._plainly = cupy, stream, products, plainly
        self._products: Any = None
        self._kernels = self._make_kernels()
        self.library = With(cupy, {name: partial(_own, self._kernels, name) for name in OWN})
        self._philox: Any = None  # its kernel, once it was compiled
        self.uncapturable = ""

    def _make_kernels(self) -> Kernels:
        return Kernels(self.cupy)

    def buffers(self) -> tuple[Any, ...]:
        """What must live as long as a graph of these calls."""
        return (self._products, self._kernels)

    def formula(self, f: Callable[..., Any], *inputs: Array, out: Any) -> None:
        """out = f(*inputs), by one kernel of the formula's own; several of CuPy's where the arrays fit none."""
        outs = out if isinstance(out, tuple) else (out,)
        name = kernel_name(f)
        try:
            dtype = type_of(inputs, outs).name
            self._kernels.apply(name, traced(f, len(inputs), len(outs), dtype=dtype), inputs, outs)
            return
        except Unfit:
            pass
        except self.cupy.cuda.compiler.CompileException as problem:
            warn_once(f"{name} does not compile, and CuPy's own functions compute it: {first_line(problem)}")
        if f is row_sum:  # what `plainly` itself sums rows by
            self.cupy.sum(inputs[0], axis=-1, keepdims=True, out=out)
        else:
            self._plainly(f, *inputs, out=out)

    def halve(self, a: Array, out: Array) -> None:
        """out = a in bfloat16, as bits"""
        self._kernels.halve(a, out)

    def product(self, a: Array, b: Array, out: Array, compute: str = "float32", **finish: Any) -> None:
        """out = a b, with an epilogue of cublasLt's if one is asked for; CublasLtUnavailable where it has none such.

        Without one, CuPy's own product, which can't be captured, is there where cublasLt isn't.
        """
        try:
            self._library().gemm(a, b, out, stream=self._stream, compute=compute, **finish)
        except CublasLtUnavailable as cause:
            if finish:
                raise
            self.uncapturable = f"matrix products are CuPy's own, which can't be captured, because {cause}"
            a, b = (self._wide(x) for x in (a, b))
            self.cupy.matmul(a, b, out=out)

    def rectify(self, z: Array, out: Array, mask: Array) -> None:
        """out = max(z, 0), and mask = out > 0 in the bits that cublasLt reads, see `own_masks`"""
        wide, arguments = rectify_arguments(z, out, mask)
        self._kernels.launch("rectify", rectify_source(wide), z.dtype, mask.size, arguments)

    def products(self, a: Array, b: Array, out: Array, compute: str) -> None:
        """out = a b of each matrix of stacks"""
        for some in at_equal_distances(a, b, out):
            self.product(*some, compute=compute)

    def why_not(self, *arrays: Array, **finish: Any) -> str:
        """Why `product` of a, b into out, with this epilogue, can't be had from cublasLt, "" if it can. out may be
        written meanwhile."""
        return str(self._library().why_not(*arrays, stream=self._stream, **finish))

    def is_product(self, call: Call) -> bool:
        """Whether a call of a record is a matrix product that cublasLt makes, alone or joined with others."""
        return call.function == self.product or bool(
            getattr(getattr(call.function, "__self__", None), "possible", False)
        )

    def may_stand_aside(self, call: Call) -> bool:
        """Whether a call of a record uses no memory but its own arrays and its stream's, so that it may run beside
        others: a product, or a sum that one kernel makes."""
        sums = call.function == self.dot and all(a.flags.c_contiguous for a in call.args)
        return sums or self.is_product(call)

    def reserve(self, stream: Any, calls: Iterable[Call] = ()) -> None:
        """See to it that products, and these calls, can be launched on this stream too."""
        self._library().reserve(stream)
        for call in calls:
            if call.function == self.dot:
                self._kernels.reserve_dot(call.args[0].dtype, stream.ptr)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Meanwhile all is launched on another stream."""
        before, self._stream = self._stream, stream
        place, self._kernels.place = self._kernels.place, stream.ptr
        try:
            with stream:
                yield
        finally:
            self._stream, self._kernels.place = before, place

    def _library(self) -> Any:
        if self._products is None:
            try:
                self._products = self._make_products(self.cupy)
            except CublasLtUnavailable as cause:
                self._products = _NoProducts(cause)
        return self._products

    def _wide(self, a: Any) -> Array:
        """float32, for CuPy's product, which knows no bfloat16."""
        if not isinstance(a, Bfloat16):
            return a
        bits = self.cupy.left_shift(a.bits.astype(np.uint32), np.uint32(16))
        return self.cupy.ascontiguousarray(bits).view(np.float32)

    def dot(self, a: Array, b: Array, out: Array, total: Array | None) -> None:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        if a.flags.c_contiguous and b.flags.c_contiguous:
            self._kernels.dot(a, b, out, total)
            return
        self.cupy.sum(self.cupy.multiply(a, b), out=out)
        if total is not None:
            self.cupy.add(total, out, out=total)

    def sum_rows(self, a: Array, out: Array) -> None:
        """out = Σ over the rows of a matrix"""
        if a.flags.c_contiguous:
            self._kernels.sum_rows(a, out)
        else:
            self.cupy.sum(a, axis=0, out=out)

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> None:
        """out = Σ weights[r] a[r] over the rows of a matrix"""
        if not a.flags.c_contiguous:
            a = self.cupy.ascontiguousarray(a)
        self._kernels.sum_rows(a, out, weights)

    def gather(self, source: Array, rows: Array, out: Array) -> None:
        """out[i] = source[rows[i]], cast to out's type"""
        if source.flags.c_contiguous and self._kernels.gather(source, rows, out):
            return
        self.cupy.copyto(out, self.cupy.take(source, rows, axis=0), casting="unsafe")

    def next_batch(
        self, sources: tuple[Array, Array], places: tuple[Array, Array], ahead: tuple[Array, ...], count: Array
    ) -> None:
        """The rows and numbers of the coming step: see `Backend.next_batch`"""
        self._kernels.next_batch(sources, places, ahead, count)

    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array, first: int) -> None:
        """By a kernel of one thread to 16 numbers; the step is read on the device."""
        if self._philox is None:
            self._philox = self._kernels.raw(CUDA_SOURCE, "philox_mask")
        blocks = max(-(-(out.size + first % 16) // (16 * THREADS)), 1)
        numbers = (np.int64(first), np.int64(out.size), np.uint32(threshold), *map(np.uint64, key))
        self._philox((blocks,), (THREADS,), (out, *numbers, step))

    def random_uniform(self, out: Array, key: tuple[int, int], step: Array, first: int) -> None:
        """By a kernel of one thread to 8 numbers; the step is read on the device."""
        arguments = (out, np.int64(first), np.int64(out.size), *map(np.uint64, key), step)
        self._kernels.launch("philox_uniform", UNIFORM_SOURCE, out.dtype, -(-out.size // 8), arguments)

    def patches(self, x: Array, stride: Shape, padding: Shape, dilation: Shape, out: Array) -> None:
        """By a thread for each channel of each window"""
        wide = max(reach(x), out.size) >= 2**31
        threads, arguments = patch_arguments(x, out, stride, padding, dilation, np.uint64 if wide else np.uint32)
        self._kernels.launch("patches", patch_source(wide, len(stride)), out.dtype, threads, arguments)

    def sample(self, x: Array, theta: Array, out: Array) -> None:
        """By a thread for each pixel"""
        B, H, W, C = x.shape
        shape = (np.int64(B * H * W), np.int32(H), np.int32(W), np.int32(C))
        self._kernels.launch("sample", SAMPLING, x.dtype, B * H * W, (*shape, x, theta, out))

    def sample_adjoint(self, dy: Array, theta: Array, out: Array) -> None:
        """By a thread for each number of the pictures"""
        B, H, W, C = dy.shape
        shape = (np.int64(dy.size), np.int32(H), np.int32(W), np.int32(C))
        self._kernels.launch("sample_adjoint", SAMPLING, dy.dtype, dy.size, (*shape, dy, theta, out))

    def scatter_rows(self, a: Array, rows: Array, out: Array) -> None:
        """By a thread for each number of the result, of rows that are sorted before"""
        a, rows = self.cupy.ascontiguousarray(a), self.cupy.ascontiguousarray(rows)
        self._kernels.scatter_rows(a, rows, out)

    def write_at(self, places: Array, count: Array, a: Array) -> None:
        """By a thread for each number, whatever its type; the place is read on the device."""
        self._kernels.write_at(places, count, a)


class _NoProducts:
    """In the place of a library of matrix products that is not to be had: repeats why."""

    def __init__(self, cause: CublasLtUnavailable) -> None:
        self._cause = str(cause)

    def gemm(self, *arrays: Array, **options: Any) -> Array:
        raise CublasLtUnavailable(self._cause)

    def why_not(self, *arrays: Array, **options: Any) -> str:
        return self._cause

    def reserve(self, stream: Any) -> None:
        """It has no use for one."""


_warned: set[str] = set()


def warn_once(message: str) -> None:
    """A RuntimeWarning, the first time that this message comes."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def first_line(problem: BaseException) -> str:
    """An error's type and the first line of its message.

    >>> first_line(ValueError("no\\nreally"))
    'ValueError: no'
    """
    text = str(problem).strip() or "no message"
    return f"{type(problem).__name__}: {text.splitlines()[0]}"


def _own(kernels: Kernels, name: str, x: Array, out: Array) -> None:
    """out = a function of `formula/elementary`, where a formula has no kernel of its own."""
    program = Program(1, (Step(name, (0,)),), (1,), (False, False))
    kernels.apply(f"{name}_kernel", program, (x.astype(out.dtype),), (out,))
