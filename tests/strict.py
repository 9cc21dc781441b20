"""A strict stand-in for CuPy: the real `gpubp.backends.cuda.backend.CUDA` runs on it, on every machine.

    cupy = strict_cupy()
    be = CUDA(cupy, products=StrictProducts)

It computes with NumPy, on memory that only it can reach, and is as strict as CuPy, or stricter:

* Arrays are no NumPy arrays and don't become any unasked; functions refuse NumPy arrays. Scalars pass.
* Nothing is done when it is asked for. Each stream has a queue, and does its work only when somebody waits for it, as
  late as can be. So a stream that reads what another computes without having waited for it reads old numbers, and so
  does a copy from pinned memory that has been filled anew too early.
* Memory that nobody needs any more is given out again at once, on the stream that it was asked for on, while work on
  it may still be queued elsewhere.
* A ufunc's input that overlaps the output and is not the same object is copied first, as CuPy does it.
* While a stream is captured nothing runs. Host reads, copies between host and device, waiting and cuBLAS raise what
  they raise in CuPy. What CuPy would let pass and the house forbids raises too: allocations, operators and assignments
  on bare arrays (the CPU's record could not see them), kernels or shapes that no run before has seen.
* A graph with branches does them in an order that is allowed, and is not that in which they were asked for.
* A graph holds addresses and does not keep their memory alive: launched after an array of its own is gone, it raises.

`counts` counts all of it. Read in the source of CuPy 14 and checked against its tests of capture.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from host_cuda import HostKernel
from strict_arrays import StrictArray, overlap, result_of, signature_of, take
from strict_products import LosingNaN, Masking0, Misreading, StrictProducts
from strict_streams import (
    CompileException,
    Counts,
    CUDARuntimeError,
    Device,
    Event,
    Graph,
    Kept,
    Memory,
    OutOfMemoryError,
    PinnedMemory,
    Pool,
    Stream,
    StrictError,
    elapsed,
    pinned_view,
)  # fmt: skip

__all__ = [
    "CUDARuntimeError", "Counts", "LosingNaN", "Masking0", "Misreading", "StrictArray", "StrictError", "StrictProducts",
    "strict_cupy",
]  # fmt: skip


def _as_strided(x: StrictArray, shape: Any = None, strides: Any = None) -> StrictArray:
    return x._like(np.lib.stride_tricks.as_strided(x._view, shape, strides))


class StrictCupy:
    """What `import cupy` gives, as far as gpubp may use it. Every ufunc is there by its name, and these functions."""

    __version__ = "14.2.0"
    ndarray = StrictArray
    float32, float64, int32, int64, uint8, uint64, bool_ = (
        np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint64, np.bool_
    )  # fmt: skip
    newaxis = None
    host_kernel = staticmethod(functools.cache(HostKernel))  # what runs a kernel of CUDA C, from its source and name

    def __init__(self, devices: int = 1, driver: int = 12090) -> None:
        self.counts = Counts()
        self.branches_first = False  # whether graphs do the kernels of other streams as early as can be
        self.room = 6 << 30  # bytes of a device's memory that there are for us
        self._pool = Pool()
        self._allocated: list[tuple[int, weakref.ref[Memory]]] = []
        self.graphs: list[Graph] = []
        self.pools: list[Any] = []  # of graphs, not given back yet
        self.kernels: dict[
            tuple[str, str], tuple[str, ...]
        ] = {}  # (source, name) -> options, of all that were launched
        self._lock = threading.RLock()
        self._handles = iter(range(0x100, 1 << 30))
        self._seen: dict[Any, Any] = {}
        self._pinned: list[tuple[int, int, weakref.ref[PinnedMemory]]] = []
        self._null = Stream(self, null=True)
        self._thread = threading.local()
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: devices,
                getDevice=lambda: self._here.device,
                driverGetVersion=lambda: driver,
                runtimeGetVersion=lambda: 12090,
                memGetInfo=lambda: (self._free(), 8 << 30),
                getDeviceProperties=lambda index: {"name": b"a stand-in"},
                CUDARuntimeError=CUDARuntimeError,
            ),
            compiler=SimpleNamespace(CompileException=CompileException),
            is_available=lambda: devices > 0 and driver > 0,
            Device=lambda index=0: Device(self, index),
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            Event=lambda **options: Event(self, **options),
            get_elapsed_time=elapsed,
            MemoryPool=self._new_pool,
            using_allocator=self._using_allocator,
            alloc_pinned_memory=self._alloc_pinned,
            get_current_stream=self._stream,
        )
        self.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=_as_strided))

    # the thread's device and stream

    @property
    def _here(self) -> Any:
        if not hasattr(self._thread, "streams"):
            self._thread.device, self._thread.entered = 0, []
            self._thread.streams = defaultdict(lambda: [self._null])  # of each device
        return self._thread

    def _stream(self, device_id: int = -1) -> Stream:
        return self._here.streams[self._here.device if device_id == -1 else device_id][-1]

    def _new_pool(self) -> Any:
        pool = SimpleNamespace(malloc=object(), free_bytes=lambda: 0)
        pool.free_all_blocks = lambda: self.pools.remove(pool)
        self.pools.append(pool)
        return pool

    @contextmanager
    def _using_allocator(self, allocator: Any) -> Any:
        yield

    def _new_handle(self) -> int:
        return next(self._handles)

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0)

    # memory

    def _alloc_pinned(self, size: int) -> PinnedMemory:
        memory = PinnedMemory(size)
        self._pinned.append((np.frombuffer(memory, np.uint8).ctypes.data, size, weakref.ref(memory)))
        return memory

    def _fetch(self, a: np.ndarray) -> Callable[[], np.ndarray]:
        """How a copy to the device gets at `a`: at once, but when it is done if `a` lies in pinned memory."""
        for start, size, memory in self._pinned:
            if memory() is not None and start <= a.ctypes.data and a.ctypes.data + a.nbytes <= start + size:
                layout = (a.shape, a.dtype, a.ctypes.data - start, a.strides)
                return lambda: pinned_view(memory(), *layout)
        copied = a.copy()
        return lambda: copied

    def _new(self, shape: Any, dtype: Any) -> StrictArray:
        if self._stream().is_capturing():
            raise StrictError(f"an array of shape {shape} is allocated inside a captured step")
        self.counts.allocations += 1
        dtype = np.dtype(dtype)
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size > self._free():
            in_use = self.room - self._free()
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {in_use:,} bytes).")
        memory = self._pool.take(size, self._here.device, self._stream())
        self._allocated.append((size, weakref.ref(memory)))
        strides = np.ndarray(shape, dtype, memory.bytes).strides
        return StrictArray(self, memory, (0, shape, strides, dtype))

    def _free(self) -> int:
        self._allocated = [(size, memory) for size, memory in self._allocated if memory() is not None]
        return self.room - sum(size for size, _ in self._allocated)

    def _refuse_copies(self, what: str, stream: Stream | None = None) -> None:
        if (stream or self._stream()).is_capturing():
            raise RuntimeError(f"the current stream is capturing, so {what} transfers are disallowed")

    def _bare(self, what: str) -> None:
        if self._stream().is_capturing():
            raise StrictError(f"{what} inside a captured step, which the CPU's record can't see: call xp")
        self.counts.operators += 1

    # calls

    def _call(
        self, name: str, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any], writes_first: bool = False
    ) -> Any:
        """Ask the current stream for `function`; return its result's array, or the `out` given."""
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        out = args[0] if writes_first else kwargs.get("out")
        stream, here = self._stream(), self._here.device
        arrays = [a for a in (*args, *kwargs.values()) if isinstance(a, StrictArray)]
        for a in (*args, *kwargs.values()):
            if isinstance(a, np.ndarray):
                raise TypeError(f"Unsupported type {type(a)}: {name} was given a NumPy array")
        for a in arrays:
            if a._library is not self or a._memory.device_id != here:
                raise ValueError(f"{name}: the device where an array resides is not the current device ({here})")
        if out is None and stream.is_capturing():
            raise StrictError(f"{name} without out= allocates inside a captured step")
        signature = (name, *(signature_of(a) for a in args), *((k, signature_of(v)) for k, v in sorted(kwargs.items())))
        if signature not in self._seen:
            if stream.is_capturing():
                raise StrictError(f"{name} is captured for shapes and types that no run before has seen: {signature}")
            self._seen[signature] = result_of(function, args, kwargs)
        shape, dtype = self._seen[signature]
        given = out is not None
        if not given:
            out = self._new(shape, dtype)
        held = [self._held(a, stream) for a in args]
        named = {k: self._held(a, stream) for k, a in kwargs.items()}
        target = self._held(out, stream)

        def kernel() -> None:
            result = function(*map(_seen_by_kernel, held), **{k: _seen_by_kernel(a) for k, a in named.items()})
            if not given:
                np.copyto(target.view(), result)

        self._submit(name, kernel)
        return out

    def _held(self, a: Any, stream: Stream) -> Any:
        """A kernel's argument: an array by its address, which its graph, if it is in one, looks after when launched."""
        if not isinstance(a, StrictArray):
            return a
        kept = Kept(a)
        if stream._graph is not None:
            stream._graph._arrays.append(kept)
        return kept

    def _submit(self, name: str, kernel: Callable[[], None]) -> None:
        """Queue a kernel on the current stream, or write it into the graph."""
        stream = self._stream()
        if stream._graph is not None:
            stream._graph._add(name, kernel, stream)
        else:
            self.counts.launches += 1
            self.counts.null_stream += stream.null
            stream._queue.append(kernel)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name, None)
        if not isinstance(function, np.ufunc) or name == "matmul":
            raise AttributeError(f"the strict stand-in for CuPy has no {name!r}; add it if CuPy has it")

        def ufunc(*args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
            if len(args) > function.nin:
                (out,) = args[function.nin :]
            inputs = list(args[: function.nin])
            for i, a in enumerate(inputs):
                if not isinstance(a, StrictArray | np.ndarray | int | float | complex | np.generic):
                    raise TypeError(f"Unsupported type {type(a)}")
                if isinstance(a, StrictArray) and isinstance(out, StrictArray) and a is not out and overlap(a, out):
                    inputs[i] = a.copy()
            options = {"out": out, "casting": casting, "dtype": dtype}
            return self._call(name, function, tuple(inputs), options)

        ufunc.__name__ = f"cupy_{name}"  # as CuPy names them
        setattr(self, name, ufunc)  # one function a name, as CuPy has
        return ufunc

    def RawKernel(self, code: str, name: str, options: tuple[str, ...] = ()) -> Callable[..., None]:
        """A kernel of CUDA C: the source itself, built for the host (see host_cuda.py) when it is first launched."""

        def launch(grid: tuple, block: tuple, arguments: tuple) -> None:
            stream, here = self._stream(), self._here.device
            for a in arguments:
                if not isinstance(a, StrictArray | np.generic):
                    raise TypeError(f"{name} was given a {type(a).__name__}")
                if isinstance(a, StrictArray) and (a._library is not self or a._memory.device_id != here):
                    raise ValueError(f"{name}: an array is not on the current device ({here})")
            if (code, name) not in self._seen:
                if stream.is_capturing():
                    raise StrictError(f"{name} is captured and no run before has compiled it")
                self._seen[code, name] = self.host_kernel(code, name)
                self.kernels[code, name] = options
            kernel = self._seen[code, name]
            held = [self._held(a, stream) for a in arguments]
            self._submit(name, lambda: kernel(grid, block, [_seen_by_kernel(a) for a in held]))

        return launch

    # functions, with CuPy's arguments

    def empty(self, shape: Any, dtype: Any = float, order: str = "C") -> StrictArray:
        return self._new(shape, dtype)

    def zeros(self, shape: Any, dtype: Any = float, order: str = "C") -> StrictArray:
        a = self._new(shape, dtype)
        self._call("memset", np.copyto, (a, 0), {"casting": "unsafe"}, writes_first=True)
        return a

    def asarray(self, a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> Any:
        if isinstance(a, StrictArray):
            return a.astype(dtype or a.dtype, copy=False)
        host = np.array(a, dtype, order="C")
        self._refuse_copies("H2D")
        device = self._new(host.shape, host.dtype)
        device.set(host)
        return device

    def ascontiguousarray(self, a: StrictArray, dtype: Any = None) -> StrictArray:
        a = self.asarray(a, dtype)
        a = a if a.flags.c_contiguous else a.copy()
        return a if a.ndim else a.reshape(1)

    def copyto(self, dst: StrictArray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
        self._call("copyto", np.copyto, (dst, src), {"casting": casting, "where": where}, writes_first=True)

    def take(self, a: StrictArray, indices: Any, axis: Any = None, out: Any = None) -> StrictArray:
        if not isinstance(indices, StrictArray) and not np.isscalar(indices):
            indices = self.asarray(indices, int)
        if out is not None and out.dtype != a.dtype:
            raise TypeError("Output dtype mismatch")
        return self._call("take", take, (a, indices), {"axis": axis, "out": out})

    def _reduce(self, name: str, a: Any, axis: Any, dtype: Any, out: Any, keepdims: bool) -> Any:
        options = {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims}
        if name in ("max", "min", "argmax", "argmin", "all", "any"):
            assert dtype is None
        if out is not None and name == "min":  # whose `out` CuPy 14.2 hands to CUB in the place of the type
            raise TypeError("min with out= fails where CUB computes it")
        natural = {"sum": _sum_type, "mean": _sum_type, "max": np.dtype}.get(name)
        if out is not None and natural is not None and natural(a.dtype) != out.dtype:
            raise StrictError(f"{name} of {a.dtype} into {out.dtype}: NumPy computes in the type of out, and CuPy not")
        return self._call(name, getattr(np, name), (a,), options)

    def sum(self, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("sum", a, axis, dtype, out, keepdims)

    def mean(self, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("mean", a, axis, dtype, out, keepdims)

    def max(self, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("max", a, axis, None, out, keepdims)

    def min(self, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("min", a, axis, None, out, keepdims)

    def all(self, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("all", a, axis, None, out, keepdims)

    def any(self, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("any", a, axis, None, out, keepdims)

    def argmax(self, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("argmax", a, axis, dtype, out, keepdims)

    def argmin(self, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._reduce("argmin", a, axis, dtype, out, keepdims)

    def broadcast_to(self, array: StrictArray, shape: Any) -> StrictArray:
        return array._like(np.broadcast_to(array._view, shape))

    def expand_dims(self, a: StrictArray, axis: Any) -> StrictArray:
        return a._like(np.expand_dims(a._view, axis))

    def where(self, condition: Any, x: Any, y: Any) -> StrictArray:
        return self._call("where", np.where, (condition, x, y), {})

    def matmul(self, a: StrictArray, b: StrictArray, out: Any = None) -> StrictArray:
        self._refuse_cublas()
        return self._call("matmul", np.matmul, (a, b), {"out": out})

    def dot(self, a: StrictArray, b: StrictArray, out: Any = None) -> StrictArray:
        self._refuse_cublas()
        return self._call("dot", np.dot, (a, b), {"out": out})

    def _refuse_cublas(self) -> None:
        if self._stream().is_capturing():
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def _sum_type(dtype: Any) -> Any:
    return np.zeros(0, dtype).sum().dtype


def _seen_by_kernel(a: Any) -> Any:
    return a.view() if isinstance(a, Kept) else a


def strict_cupy(devices: int = 1, driver: int = 12090) -> StrictCupy:
    """A stand-in for the CuPy module with counters of its own: `.counts`, and `.graphs` that were captured."""
    return StrictCupy(devices, driver)
