"""The CPU backend: NumPy, and records of its calls.

A training step makes the same few dozen calls every time, on the same arrays. `CPU.capture` runs the step once
through a view of NumPy that notes each call, and turns the notes into one flat Python function,

    dot(a0, a1, a2)
    add(a2, a3, a2)
    maximum(a2, a4, out=a5)
    ...

so that the layers' Python is run once and not at every step. Layers keep the rules that make this right, and
the recorder enforces the first: every result goes into a given buffer, and nothing computes behind its back. The second
is tested for classes of the user's own (`training/user_classes.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..arrays import Array, Shape, as_numpy
from ..base import Backend
from ..lowering import traced, type_of
from ..philox import fill_mask, fill_uniform
from ..recording import Call, Record, RecordedLibrary, replay_if
from . import compiled, small_products
from .blas import numpys
from .blocks import blocks
from .compiled import CompiledRecord, wanted
from .finite import check_finite
from .language import ORDINARY
from .loops import name_of
from .native import Program  # the one door: "from .compiled import Program" does without
from .own_functions import FUNCTIONS, LIBRARY, operate
from .patches import Patches
from .places import Ones, sum_by_products
from .row_maxima import row_maxima
from .row_products import PIECES
from .row_products import blocks as row_products
from .sampling import Sampler
from .scattering import Scatter, take_rows, write_at
from .stages import Part, parts
from .widening import LARGE, Widening

DIRECT = {"sum": np.add.reduce, "max": np.maximum.reduce, "min": np.minimum.reduce}  # what NumPy's own functions end in
CAST_BUFFER = 2048  # numbers; NumPy's own 8192 allocate up to 64 KB a call and overflow the first-level cache
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class CPU(Backend):
    """NumPy on the CPU.

    native: whether records and formulas are compiled, see `compiled.py`.

    >>> be = CPU()
    >>> x, y = be.zeros((2,), "float32"), be.empty((2,), "float32")
    >>> def step():
    ...     be.xp.add(x, 1.0, out=x)
    ...     be.xp.multiply(x, 2.0, out=y)
    >>> replay = be.capture(step)                 # runs once
    >>> replay()
    >>> y
    array([4., 4.], dtype=float32)
    >>> print(replay)
    add(a0, 1.0, a0)
    multiply(a0, 2.0, a1)
    """

    name = "cpu"
    warmup = 0
    block = 2**18
    piece = 2**18  # 1 MB of float32 stays in the cache
    outputs = 2
    tiles = PIECES[:0:-1]  # 48, 144, 576
    _divides = True  # products into small ones, see `small_products`
    _library = LIBRARY
    _language = ORDINARY

    def __init__(self) -> None:
        super().__init__()
        self.xp: Any = RecordedLibrary(np, self, DIRECT)
        self._patches = Patches(self.zeros)
        # each stays as long as a record that uses it
        self._samplers: WeakValueDictionary[tuple[Shape, str], Sampler] = WeakValueDictionary()
        self._scatters: WeakValueDictionary[int, Scatter] = WeakValueDictionary()
        self._row_of_ones = Ones()
        self._widening = Widening(self)
        self.native = wanted()

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array that starts on a cache line."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size].view(dtype).reshape(shape)

    def _make_constant(self, value: float, dtype: Any) -> Any:
        constant = np.array(value, dtype)
        constant.flags.writeable = False
        return constant

    def owns(self, a: Any) -> bool:
        """Whether it is NumPy's."""
        return isinstance(a, np.ndarray)

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous NumPy array of `dtype`."""
        return np.ascontiguousarray(as_numpy(a), dtype)

    def to_host(self, a: Array) -> np.ndarray[Any, Any]:
        """The array itself."""
        return np.asarray(a)

    def put(self, out: Array, values: Any) -> None:
        """out = values"""
        out[...] = values

    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out = source[rows]"""
        if rows is None:
            np.copyto(out, source, casting="unsafe")
        else:
            take_rows(out, source, rows)

    def keeps_on_device(self, size: int) -> bool:
        """No: they are in memory already, and `stage` takes batches from them."""
        return False

    def gather(self, source: Array, rows: Array, out: Array) -> Array:
        """out[i] = source[rows[i]]"""
        self.run(take_rows, out, source, rows)
        return out

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, and note the call while recording."""
        if self.independent_rows and function in (np.dot, np.matmul):
            return self._row_products(function, *args, **kwargs)
        return self._run(function, *args, **kwargs)

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._calls is not None:
            self._calls.append(Call(function, args, kwargs))
        return function(*args, **kwargs)

    def apply(self, f: Callable[..., Any], *inputs: Array, out: Any) -> Any:
        """One ufunc call an operation, block by block where arrays are long; in a record that is compiled one loop, or
        passes with loops between them, where `loops.py` and `stages.py` can."""
        outs = out if isinstance(out, tuple) else (out,)
        dtype = type_of(inputs, outs)
        program = traced(f, len(inputs), len(outs), self.numerics, dtype.name)
        inputs, outs = self._widening.of_formula(program, inputs, outs)
        cut = blocks(program, inputs, outs) if self.numerics == "ordinary" else [(inputs, outs)]
        if self._calls is None or not self.native:
            self._compute_each(program, cut, dtype)
            return out
        name, language = name_of(f), self._language
        found = parts(self, name, program, inputs, outs, dtype, language)
        one_loop = found[0].call is not None and found[0].program is program
        if len(cut) > 1 and not one_loop:
            found = [part for of, to in cut for part in parts(self, name, program, of, to, dtype, language)]
        for part in found:
            arrays = cut if one_loop else [(part.inputs, part.outs)]
            self._calls += self._calls_for(
                part, self._calls_of(partial(self._compute_each, part.program, arrays, dtype))
            )
        return out

    def _compute_each(self, program: Any, cut: Sequence[tuple[Any, Any]], dtype: Any) -> None:
        for inputs, outs in cut:
            self._compute(program, inputs, outs, dtype)

    def _calls_for(self, part: Part, passes: list[Call]) -> list[Call]:
        """What a record does for a part of a formula: its loop, or its passes where they are no more calls."""
        if part.call is None or (len(passes) < 2 and not self._language.pays(part.program)):
            return passes
        part.call[0].passes = passes
        return [Call(*part.call, {})]

    def _calls_of(self, function: Callable[[], Any]) -> list[Call]:
        """What it calls, which is not noted."""
        outer, self._calls = self._calls, []
        try:
            function()
            return self._calls
        finally:
            self._calls = outer

    def _operate(self, ufunc: Any, operands: list[Any], out: Array) -> None:
        """One ufunc call, its small operands made long where that is quicker."""
        if ufunc in FUNCTIONS.values():
            return operate(self, ufunc.__name__, operands[0], out)
        if ufunc is np.negative and not out.flags.c_contiguous:
            # NumPy 2.4.6 gives wrong numbers in place, in columns of one float32 with steps of four
            ufunc, operands = np.multiply, [*operands, self.constant(-1.0, out.dtype)]
        if out.size >= LARGE and out.flags.c_contiguous:
            operands, out = self._widening(ufunc, operands, out)
        self.run(ufunc, *operands, out=out)

    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b; `dot` reaches BLAS in half the time that `matmul` takes, and copies what has gaps between rows."""
        if not all(m.flags.c_contiguous or m.flags.f_contiguous for m in (a, b)):
            return self.run(np.matmul, a, b, out=out)
        small = small_products.blocks(a, b, out) if self._divides and not self.independent_rows else []
        for x, w, y in small:
            self.run(np.matmul, x, w, out=y)
        return out if small else self.run(np.dot, a, b, out)

    def batched_gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b of each matrix; `matmul` reads views as they lie."""
        self.run(np.matmul, a, b, out=out)
        return out

    def _row_products(
        self, function: Callable[..., Any], a: Array, b: Array, out: Array | None = None, **options: Any
    ) -> Array:
        """A product whose rows are independent, where it has rows and numbers of one type; else a plain one."""
        matrices = all(isinstance(m, np.ndarray) for m in (a, b, out)) and not options
        if not matrices or out is None or a.ndim != 2 or b.ndim not in (1, 2) or out.ndim != b.ndim:
            return self._run(function, a, b, **({} if out is None else {"out": out}), **options)
        if not a.dtype == b.dtype == out.dtype:
            if np.result_type(a, b) != out.dtype:
                return self._run(function, a, b, out=out)
            a, b = (self._cast(m, out.dtype, f"operand {k}") for k, m in enumerate((a, b)))
        w, y = (b, out) if b.ndim == 2 else (b[:, None], out[:, None])
        for call in row_products(a, w, y, self.scratch, lambda: self.pool):
            self._run(call.function, *call.args, **call.kwargs)
        return out

    def _cast(self, a: Array, dtype: Any, slot: str) -> Array:
        if a.dtype == dtype:
            return a
        self._run(np.copyto, cast := self.scratch(slot, a.shape, dtype), a)
        return cast

    def dot(self, a: Array, b: Array, out: Array, total: Array | None = None) -> Array:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        self.run(np.dot, a, b, out)
        if total is not None:
            self.run(np.add, total, out, out=total)
        return out

    def add_row(self, a: Array, row: Array, out: Array) -> Array:
        """out = a + row, of rows made longer where that is quicker"""
        self._operate(np.add, [a, row], out)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = 1ᵀ a"""
        matrix = self.as_matrix(a)
        self.run(np.dot, self._row_of_ones(matrix.shape[0], a.dtype), matrix, out)
        return out

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = wᵀ a"""
        self.gemm(weights.reshape(-1, 1).T, self.as_matrix(a), out=out.reshape(1, -1), exact=True)
        return out

    def _max_last(self, a: Array, out: Array) -> None:
        if self.numerics == "exact":
            return super()._max_last(a, out)
        for call in row_maxima(a, out):
            self._run(call.function, *call.args, **call.kwargs)

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = a 1"""
        matrix = self.as_matrix(a)
        self.run(np.dot, matrix, self._row_of_ones(a.shape[-1], a.dtype), out.reshape(-1))
        return out

    def sum_places(self, a: Array, out: Array) -> Array:
        """out = Σ of a over the places of each row, by products with ones where there are many numbers"""
        if a.size < LARGE or self.independent_rows or not a.flags.c_contiguous:
            return super().sum_places(a, out)
        return sum_by_products(self, a, out, self._row_of_ones)

    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By NumPy's Philox; the step is read at every replay."""
        self.run(fill_mask, out, threshold, key, step, first)
        return out

    def random_uniform(self, out: Array, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By NumPy's Philox; the step is read at every replay."""
        self.run(fill_uniform, out, key, step, first)
        return out

    def patches(self, x: Array, out: Array, stride: Shape, padding: Shape, dilation: Shape | None = None) -> Array:
        """By one copy, or two where windows reach beyond the images"""
        for to, of in self._patches.copies(x, out, stride, padding, dilation):
            self.run(np.copyto, to, of)
        return out

    def sample(self, x: Array, theta: Array, out: Array) -> Array:
        """By four gathers"""
        self.run(self._sampler(x).sample, x, theta, out)
        return out

    def sample_adjoint(self, dy: Array, theta: Array, out: Array) -> Array:
        """By four scatters"""
        self.run(self._sampler(dy).adjoint, dy, theta, out)
        return out

    def _sampler(self, x: Array) -> Sampler:
        key = (x.shape, str(x.dtype))
        if (sampler := self._samplers.get(key)) is None:
            sampler = self._samplers[key] = Sampler(x)
        return sampler

    def scatter_rows(self, a: Array, rows: Array, out: Array, rows_of_batch: int | None = None) -> Array:
        """By `np.add.at`, one number after the other"""
        width = out.shape[1]
        if (scatter := self._scatters.get(width)) is None:
            scatter = self._scatters[width] = Scatter(width)
        self.run(scatter.scatter, a, rows, out)
        return out

    def write_at(self, places: Array, count: Array, a: Array) -> None:
        """By an index that Python reads"""
        self.run(write_at, places, count, a)

    def check_finite(
        self, total: Array, loss: Array | None, alive: Array, bad: Array, good: Array, latch: bool
    ) -> None:
        """By Python's numbers, which a memoryview reads fastest: one call where ufuncs take five."""
        places = [memoryview(a) for a in (total, total if loss is None else loss, alive, bad, good)]
        self.run(check_finite, *places, latch)

    def run_if(
        self, alive: Array, bad: Array, update: Callable[[], Any], changes: Sequence[Array], kept: dict[Any, Array]
    ) -> None:
        """By a branch; in a record `update` is a record of its own."""
        outer, before = self._calls, None
        if outer is not None:
            self._calls = []
            before = None if alive[()] else [a.copy() for a in changes]  # it must run to be noted
        elif not alive[()]:
            return
        try:
            update()
            if outer is not None and self._calls is not None:
                outer.append(Call(replay_if, (memoryview(alive), Record(self._calls)), {}))
        finally:
            self._calls = outer
        for a, held in zip(changes, before or (), strict=False):
            a[...] = held

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run `step` once and return the record of its calls."""
        calls: list[Call] = []
        self._calls = calls
        try:
            step()
        finally:
            self._calls = None
        return CompiledRecord(calls, Program) if self.native else Record(calls)

    def time(self, calls: Sequence[Call], rounds: int) -> list[float]:
        """Read the clock after each call; compiled where the record would be."""
        program = (Program if self.native and not CompiledRecord.broken else compiled.Program)(calls)
        return [float(t) for t in np.median([program.clocked() for _ in range(rounds)], axis=0)]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Overflow and invalid operations are silent, as they are on a GPU; casts go through small buffers."""
        with np.errstate(all="ignore"):
            np.setbufsize(CAST_BUFFER)
            yield

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def arithmetic(self) -> dict[str, str]:
        """NumPy, its BLAS and the kernels of that."""
        return {"NumPy": np.__version__, "BLAS": _blas()}

    def memory(self) -> tuple[int, int]:
        """(available, total) bytes of main memory."""
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page

    def another(self) -> CPU:
        """A backend with its own record."""
        other = CPU()
        other.native = self.native
        return other

    def __reduce__(self) -> Any:
        return CPU, ()


@cache
def _blas() -> str:
    return str(numpys()._replace(of="", threads=0))
