"""The CUDA backend: CuPy on one stream of one GPU.

The host asks and goes on, and the GPU does what is asked of one stream in order. Three things follow.

Streams. Arrays of the user's are computed on the user's stream, ours on our own. `active()` puts the two in order: our
stream first waits for what the user has asked for, and afterwards the user's stream waits for ours.

Staging. A batch goes through pinned memory (see `staging`), so that it is gathered and sent while the step before runs.

Recording. A step's calls are noted without being made (`recording.py`), and calls that one kernel can do are put
together (`epilogues.py`). The list is run twice, so that all kernels are compiled and loaded, and then captured: what
is asked for between `begin_capture` and `end_capture` becomes a CUDA graph, and is from then on one launch. So every
step is computed by the same kernels, the first and the last. The graph holds bare addresses: whatever it reads
or writes must live as long as it does, and keep its place. What can't be captured (above all CuPy's own matrix product,
hence `cublaslt`) raises; the list is then run call by call, and one warning says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...errors import DeviceError, DeviceMemoryError, RecordError, ResultError, ShapeError
from ...formula import FormulaError, row_sum
from ..arrays import Array, Shape, as_numpy
from ..base import Backend
from ..recording import Call, Record, RecordedLibrary
from .bfloat16 import Bfloat16
from .cublaslt import CublasLt
from .driver import context, described, find_cupy, room_on
from .epilogues import fuse
from .formula_source import C_TYPES
from .graphs import CallByCall, CapturedStep, Graphs, launches_in
from .launches import Launches, first_line
from .nccl import TIMEOUT, Communicator
from .staging import Staging

KEPT = 0.4  # of the free memory, at most, is for data


class CUDA(Backend):
    """CuPy on one stream of one GPU.

    cupy: the CuPy module, None to look for it (tests hand in a strict stand-in). index: the number of the GPU.
    precision: of products: "float32", "tf32" or "bfloat16".
    autotune: whether cuBLAS's kernels are timed, and the fastest taken, see `CublasLt`.
    products: makes, from the CuPy module, what multiplies matrices; it raises CublasLtUnavailable where it can't, and
    CuPy's own product takes its place. With autotune it is told so.

    Raises DeviceError if there is no such GPU.
    """

    warmup = 0
    block = 2**62
    piece = 2**24  # 64 MB of float32; cublasLt takes matrices of less than 2^31 numbers
    outputs = 9
    evaluated = 4096
    _kind_of_launches: type[Launches] = Launches
    places = 3  # a product that ends with a ReLU's derivative reads from one, skips one, and writes to a third

    def __init__(
        self,
        cupy: Any,
        index: int = 0,
        precision: str = "float32",
        autotune: bool = False,
        *,
        products: Callable[..., Any] = CublasLt,
    ) -> None:
        super().__init__()
        context.require()
        cupy = find_cupy() if cupy is None else cupy
        self.precision, self.autotune = precision, autotune
        count = int(cupy.cuda.runtime.getDeviceCount())
        if not 0 <= index < count:
            known = ", ".join(f'"cuda:{i}"' for i in range(count))
            raise DeviceError(f'there is no device "cuda:{index}"; this machine has {known or "no GPU"}')
        self.cupy = cupy
        self.xp: Any = RecordedLibrary(cupy, self, {})
        self.index = index
        self.name = f"cuda:{index}"
        self._device = cupy.cuda.Device(index)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._aside = cupy.cuda.Stream(non_blocking=True)
        self._halves: dict[tuple[int, int], tuple[Array, Array]] = {}  # of the step that is being recorded
        self._side: Any = None  # the second stream of graphs with branches
        self._of_thread = threading.local()
        self._staging = Staging(cupy, self._stream)
        self._rows: dict[int, Array] = {}
        self._products = products
        self._launches = self._kind_of_launches(cupy, self._stream, self._make_products, super().apply)
        self.graphs = Graphs(cupy, self._device, self._stream, self.name)

    def _make_products(self, cupy: Any) -> Any:
        return self._products(cupy, autotune=True) if self.autotune else self._products(cupy)

    @property
    def _library(self) -> Any:
        return self._launches.library

    # -- streams ----------------------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work goes to this object's GPU and stream: after what the caller has asked for, before what it asks next."""
        context.require()
        with self._device:
            outer = self.cupy.cuda.get_current_stream()
            if outer == self._stream:
                yield
                return
            self._follow(self._stream, outer)
            with self._stream:
                try:
                    yield
                finally:
                    self._follow(outer, self._stream)

    def _follow(self, later: Any, earlier: Any) -> None:
        """`later` waits for all that has been asked of `earlier`; the host doesn't."""
        if not hasattr(self._of_thread, "event"):
            self._of_thread.event = self.cupy.cuda.Event(disable_timing=True)
        self._of_thread.event.record(earlier)
        later.wait_event(self._of_thread.event)

    def synchronize(self) -> None:
        """Wait for the stream."""
        context.require()
        self.graphs.wait()
        self.graphs.free_dropped()

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Where arrays come into being: while a step is noted, beside it, so that this is no part of the step."""
        with room_on(self):
            if not self.recording:
                with self.active():
                    yield
                return
            with self._device, self._aside:
                yield
            self._aside.synchronize()

    # -- arrays -----------------------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array; CuPy aligns to 512 bytes."""
        with self._making():
            return self.cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """A new array of zeros."""
        with self._making():
            return self.cupy.zeros(shape, dtype)

    def _make_constant(self, value: float, dtype: Any) -> Any:
        return np.dtype(dtype).type(value)  # CuPy takes scalars and refuses NumPy's 0-d arrays

    def owns(self, a: Any) -> bool:
        """Whether it is CuPy's."""
        return isinstance(a, self.cupy.ndarray)

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous CuPy array of `dtype`."""
        with self._making():
            if self.owns(a):
                return self.cupy.ascontiguousarray(a, dtype) if a.ndim else a.astype(dtype or a.dtype)
            return self.cupy.asarray(np.asarray(as_numpy(a), dtype, order="C"))

    def to_host(self, a: Array) -> np.ndarray[Any, Any]:
        """A copy in the host's memory, once the stream has computed it."""
        with self.active():
            self.graphs.wait_for_others()
            return np.asarray(a.get(stream=self._stream))

    def put(self, out: Array, values: Any) -> None:
        """out = values, by a copy queued on the stream; `values` may change at once."""
        host = self._staging.place(out.shape, out.dtype)
        host[...] = values
        out.set(host, stream=self._stream)

    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out = source[rows], gathered where the source lies: by the host into pinned memory, or on the GPU."""
        if not self.owns(source):
            self._staging.send(out, source, rows)
        elif rows is None:
            self.cupy.copyto(out, source, casting="unsafe")
        elif source.dtype == out.dtype:
            self.cupy.take(source, self._on_device(rows), axis=0, out=out)
        else:
            self.cupy.copyto(out, self.cupy.take(source, self._on_device(rows), axis=0), casting="unsafe")

    def _on_device(self, rows: Any) -> Array:
        count = len(rows)
        if count not in self._rows:
            self._rows[count] = self.empty((count,), np.int64)
        self.put(self._rows[count], rows)
        return self._rows[count]

    # -- computing --------------------------------------------------------------------------------------------

    def keeps_on_device(self, size: int) -> bool:
        """Yes, up to a share of the memory that is free."""
        return size <= KEPT * self.memory()[0]

    def gather(self, source: Array, rows: Array, out: Array) -> Array:
        """out[i] = source[rows[i]], cast to out's type"""
        self.run(self._launches.gather, source, rows, out=out)
        return out

    def next_batch(
        self, sources: tuple[Array, Array], places: tuple[Array, Array], ahead: tuple[Array, ...], count: Array
    ) -> None:
        """By one kernel, for all types that it knows"""
        if all(str(a.dtype) in C_TYPES and a.flags.c_contiguous for a in (*sources, *places)):
            self.run(self._launches.next_batch, sources, places, ahead, count)
        else:
            super().next_batch(sources, places, ahead, count)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call; or, while a step is recorded, note the call without making it."""
        if self._calls is None:
            return function(*args, **kwargs)
        self._calls.append(Call(function, args, kwargs))
        return kwargs.get("out")

    def apply(self, f: Callable[..., Any], *inputs: Array, out: Any) -> Any:
        """out = f(*inputs), by one kernel of the formula's own."""
        self.run(self._launches.formula, f, *inputs, out=out)
        return out

    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b, by cublasLt; where that can't, by CuPy's own product, which can't be captured."""
        precision = "float32" if exact or out.dtype != "float32" else self.precision
        if precision == "bfloat16" and all(x.flags.c_contiguous or x.flags.f_contiguous for x in (a, b)):
            a, b = self._half(a), self._half(b)
        self.run(self._launches.product, a, b, out=out, compute="tf32" if precision == "tf32" else "float32")
        return out

    def batched_gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b of each matrix, as many in one call as lie at equal distances. Where other products are bfloat16,
        these are TF32, which needs no copies of views."""
        compute = "float32" if self.precision == "float32" or out.dtype != "float32" else "tf32"
        self.run(self._launches.products, a, b, out=out, compute=compute)
        return out

    def _half(self, a: Array) -> Bfloat16:
        """`a`, which lies without gaps, cast to bfloat16, in a place that the casts of a step share."""
        if not a.flags.c_contiguous:
            return self._half(a.T).T
        key = (int(a.data.ptr), a.size)
        bits = self._halves[key][1] if key in self._halves else self.empty((a.size,), np.uint16)
        if self.recording:  # the record's from then on, and gone with it
            self._halves[key] = a, bits  # a, lest another array come to lie there
        self.run(self._launches.halve, a, out=bits)
        return Bfloat16(bits.reshape(a.shape))

    def dot(self, a: Array, b: Array, out: Array, total: Array | None = None) -> Array:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        self.run(self._launches.dot, a, b, out=out, total=total)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ over all axes but the last"""
        self.run(self._launches.sum_rows, self.as_matrix(a), out=out)
        return out

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = Σ weights[r] a[r]"""
        self.run(self._launches.weighted_sum_rows, self.as_matrix(a), weights.reshape(-1), out=out)
        return out

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ over the last axis"""
        self.apply(row_sum, self.as_matrix(a), out=out.reshape(-1, 1))
        return out

    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By a kernel of one thread to 16 numbers; the step is read on the device."""
        self.run(self._launches.random_mask, out, threshold, key, step, first)
        return out

    def random_uniform(self, out: Array, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By a kernel of one thread to 8 numbers"""
        self.run(self._launches.random_uniform, out, key, step, first)
        return out

    def patches(self, x: Array, out: Array, stride: Shape, padding: Shape, dilation: Shape | None = None) -> Array:
        """By a thread for each channel of each window"""
        self.run(self._launches.patches, x, stride, padding, dilation or (1,) * len(stride), out=out)
        return out

    def sample(self, x: Array, theta: Array, out: Array) -> Array:
        """By a thread for each pixel"""
        self.run(self._launches.sample, x, theta, out=out)
        return out

    def sample_adjoint(self, dy: Array, theta: Array, out: Array) -> Array:
        """By a thread for each number of the pictures, which looks for the pixels that saw it"""
        self.run(self._launches.sample_adjoint, dy, theta, out=out)
        return out

    def scatter_rows(self, a: Array, rows: Array, out: Array, rows_of_batch: int | None = None) -> Array:
        """By a thread for each number of the result, of rows that are sorted before"""
        self.run(self._launches.scatter_rows, a, rows, out=out)
        return out

    def write_at(self, places: Array, count: Array, a: Array) -> None:
        """By a thread for each number; the place is read on the device."""
        self.run(self._launches.write_at, places, count, a)

    # -- steps ------------------------------------------------------------------------------------------------

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Note what `step` does and do it once. Returns what does it again: once call by call, then as a CUDA graph."""
        with self.active(), room_on(self):  # kernels make their scratch memory when they are first launched
            self.graphs.free_dropped()
            again = self._recorded(step)
            again()
            return again

    def _recorded(self, step: Callable[[], None]) -> CapturedStep | CallByCall:
        """The step as a list of calls, none of them made; or as it is, with a warning, if it can't be recorded.

        The stream is capturing meanwhile, so that reading a number on the host, which the list can't repeat, raises,
        and so that what was launched without being noted is seen. What is made meanwhile is made on another stream, in
        memory that this one may still be using.
        """
        calls: list[Call] = []
        self._calls, self._halves = calls, {}
        self._follow(self._aside, self._stream)
        try:
            unnoted = launches_in(self.graphs.written(step))
        except (RecordError, DeviceMemoryError, ResultError, ShapeError, FormulaError):
            raise
        except Exception as problem:
            return CallByCall(step, self.graphs.refuse(f"this step can't be captured: {first_line(problem)}"))
        finally:
            self._calls, halves, self._halves = None, self._halves, {}
        if unnoted:
            cause = f"it launches {unnoted} kernels that a record does not see: compute by xp, with out="
            return CallByCall(step, self.graphs.refuse(cause))
        record = Record(fuse(calls, self._launches, self.zeros))
        record.kept = halves
        return CapturedStep(record, self.graphs, self._launches, (self._stream, self._side_stream), self._kept)

    def _side_stream(self) -> Any:
        if self._side is None:
            self._side = self.cupy.cuda.Stream(non_blocking=True)
        return self._side

    def _kept(self) -> tuple[Any, ...]:
        return (*self._launches.buffers(), *self._scratch.values())

    def time(self, calls: Sequence[Call], rounds: int) -> list[float]:
        """Each by itself, many times in one graph: a kernel is done before the host could launch the next."""
        with self.active():
            return [self.graphs.seconds_of(call, rounds, self._kept()) for call in calls]

    # -- the device -------------------------------------------------------------------------------------------

    def arithmetic(self) -> dict[str, str]:
        """The GPU, CuPy, CUDA, in which precision products are computed, and whether their kernels were timed."""
        chosen = {"precision": self.precision, **({"autotune": "on"} if self.autotune else {})}
        return {**described(self.cupy, self.index), **chosen}

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU's memory; what CuPy's pool holds unused counts as free."""
        with self._device:
            self.graphs.free_dropped()
            free, total = self.cupy.cuda.runtime.memGetInfo()
            return int(free) + int(self.cupy.get_default_memory_pool().free_bytes()), int(total)

    def another(self) -> CUDA:
        """Another stream on the same GPU."""
        made = CUDA(self.cupy, self.index, self.precision, self.autotune, products=self._products)
        made.graphs.communicator = self.graphs.communicator
        return made

    def join(self, rank: int, size: int, identifier: bytes, timeout: float = TIMEOUT) -> Communicator:
        """Messages on this stream between `size` GPUs, of as many processes: see `Communicator`."""
        place = (self.cupy, self._device, self._stream)
        self.graphs.communicator = Communicator(*place, rank, size, identifier, timeout)
        return self.graphs.communicator

    def __reduce__(self) -> Any:
        return CUDA, (None, self.index, self.precision, self.autotune)
