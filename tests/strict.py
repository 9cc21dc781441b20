"""A strict stand-in for CuPy: the real `gpubp.backends.cuda.CUDA` runs on it, on every machine.

    cupy = strict_cupy()
    be = CUDA(cupy, products=StrictProducts)

It computes with NumPy, on memory that only it can reach, and is as strict as CuPy, or stricter:

* Arrays are no NumPy arrays and don't become any unasked; functions refuse NumPy arrays. Scalars pass.
* Nothing is done when it is asked for. Each stream has a queue, and does its work only when somebody waits for it, as
  late as can be. So a stream that reads what another computes without having waited for it reads old numbers, and so
  does a copy from pinned memory that has been filled anew too early.
* A ufunc's input that overlaps the output and is not the same object is copied first, as CuPy does it.
* While a stream is captured nothing runs. Host reads, copies between host and device, waiting and cuBLAS raise what they
  raise in CuPy. What CuPy would let pass and the house forbids raises too: allocations, operators and assignments on
  bare arrays (the CPU's record could not see them), kernels or shapes that no run before has seen.
* A graph holds addresses and does not keep their memory alive: launched after an array of its own is gone, it raises.

`counts` counts all of it. Read in the source of CuPy 14 and checked against its tests of capture.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["Counts", "CUDARuntimeError", "StrictArray", "StrictError", "StrictProducts", "strict_cupy"]


class StrictError(RuntimeError):
    """Something that CuPy lets pass and a step of gpubp must not do."""


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime, by CuPy's name for it."""


@dataclass
class Counts:
    """How often each thing was done since it was last set to 0."""

    launches: int = 0  # kernels asked for one by one
    graph_launches: int = 0
    graph_kernels: int = 0  # kernels that ran because a graph was launched
    allocations: int = 0
    host_reads: int = 0
    host_copies: int = 0  # host to device
    waits: int = 0  # of the host for the device
    operators: int = 0  # and assignments on bare arrays
    null_stream: int = 0  # kernels asked of the default stream

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def copy(self) -> Counts:
        return Counts(*(getattr(self, f.name) for f in fields(self)))


class Memory:
    """A piece of the device's memory, at an address that 512 divides as CuPy's are."""

    def __init__(self, size: int, device_id: int) -> None:
        whole = np.empty(size + 512, np.uint8)
        start = -whole.ctypes.data % 512
        self.bytes = whole[start : start + size]
        self.bytes[...] = 0xA5  # what nobody has written is no zero
        self.ptr = self.bytes.ctypes.data
        self.device_id = device_id

    def view(self, layout: tuple) -> np.ndarray:
        """The numbers at (offset, shape, strides, dtype)."""
        offset, shape, strides, dtype = layout
        return np.ndarray(shape, dtype, self.bytes, offset, strides)


class Held:
    """An array as the kernel of a graph holds it: an address, which keeps nothing alive."""

    def __init__(self, array: StrictArray) -> None:
        self.memory, self.layout = weakref.ref(array._memory), array._layout

    def view(self) -> np.ndarray:
        memory = self.memory()
        if memory is None:
            raise StrictError("a graph was launched after memory that it uses had been freed")
        return memory.view(self.layout)


class Kept:
    """An array as a kernel in a stream's queue holds it: CuPy's memory pool keeps such memory for the stream."""

    def __init__(self, array: StrictArray) -> None:
        self._array = array

    def view(self) -> np.ndarray:
        return self._array._view


def _seen_by_kernel(a: Any) -> Any:
    return a.view() if isinstance(a, Held | Kept) else a


# -- streams ----------------------------------------------------------------------------------------------------------


class Stream:
    """A queue of work, done as late as can be."""

    def __init__(self, library: Any, non_blocking: bool = False, null: bool = False) -> None:
        self._library, self.is_non_blocking, self.null = library, non_blocking, null
        self.ptr = 0 if null else library._new_handle()
        self.device_id = -1 if null else library._here.device
        self._queue: deque[Any] = deque()
        self._graph: Graph | None = None
        self._broken = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> Stream:
        if not self.null and self.device_id != self._library._here.device:
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({self._library._here.device})"
            )
        self._library._here.streams.append(self)
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._library._here.streams.pop() == self

    def _run(self, until: Any = None) -> None:
        with self._library._lock, np.errstate(all="ignore"):
            while self._queue and not (until is not None and until.passed):
                self._queue.popleft()()

    def _break(self, error: str) -> None:
        self._broken = "cudaErrorStreamCaptureInvalidated"
        raise CUDARuntimeError(error)

    def synchronize(self) -> None:
        if self._graph is not None:
            self._break("cudaErrorStreamCaptureUnsupported")
        self._library.counts.waits += 1
        self._run()

    @property
    def done(self) -> bool:
        if self._graph is not None:
            self._break("cudaErrorStreamCaptureUnsupported")
        return not self._queue

    def record(self, event: Event | None = None) -> Event:
        event = event or Event(self._library)
        event._mark = mark = SimpleNamespace(passed=False, stream=self)
        self._queue.append(lambda: setattr(mark, "passed", True))
        return event

    def wait_event(self, event: Event) -> None:
        mark = event._mark
        if mark is not None:
            self._queue.append(lambda: mark.passed or mark.stream._run(mark))

    def begin_capture(self, mode: Any = None) -> None:
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._graph is not None:
            raise CUDARuntimeError("cudaErrorIllegalState")
        self._graph, self._broken = Graph(self._library), ""

    def end_capture(self) -> Graph:
        if self._graph is None:
            raise CUDARuntimeError("cudaErrorIllegalState")
        graph, self._graph = self._graph, None
        if self._broken:
            raise CUDARuntimeError(self._broken)
        self._library.graphs.append(graph)
        return graph

    def is_capturing(self) -> bool:
        return self._graph is not None


class Event:
    """A mark in a queue."""

    def __init__(self, library: Any, block: bool = False, disable_timing: bool = False) -> None:
        self._library = library
        self._mark: Any = None

    def record(self, stream: Stream | None = None) -> None:
        (stream or self._library._stream()).record(self)

    def synchronize(self) -> None:
        if self._mark is not None:
            self._library.counts.waits += not self._mark.passed
            self._mark.stream._run(self._mark)

    @property
    def done(self) -> bool:
        return self._mark is None or self._mark.passed


class Graph:
    """What was asked of a stream while it was captured. names: of the kernels, in order."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._kernels: list[Callable[[], None]] = []
        self.names: list[str] = []
        self.uploaded = False

    def upload(self, stream: Stream | None = None) -> None:
        self.uploaded = True

    def launch(self, stream: Stream | None = None) -> None:
        counts = self._library.counts
        counts.graph_launches += 1
        counts.graph_kernels += len(self._kernels)
        (stream or self._library._stream())._queue.extend(self._kernels)

    def debug_dot_str(self, flags: int = 0) -> str:
        return "digraph {" + "; ".join(self.names) + "}"


# -- arrays -----------------------------------------------------------------------------------------------------------


class Pointer(SimpleNamespace):
    """Where an array starts: ptr, device_id."""


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: StrictArray, *others: Any) -> Any:
        self._library._bare(f"an operator ({name})")
        arguments = (*others, self) if swapped else (self, *others)
        return getattr(self._library, name)(*arguments)

    return method


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: StrictArray, other: Any) -> StrictArray:
        self._library._bare(f"an operator in place ({name})")
        getattr(self._library, name)(self, other, out=self)
        return self

    return method


def _read(convert: Callable[[Any], Any]) -> Callable[[StrictArray], Any]:
    return lambda self: convert(self.get())


class StrictArray:
    """A device array, as much of `cupy.ndarray` as gpubp may use."""

    __slots__ = ("_layout", "_library", "_memory", "__weakref__")

    def __init__(self, library: Any, memory: Memory, layout: tuple) -> None:
        self._library, self._memory, self._layout = library, memory, layout

    # what it looks like

    @property
    def _view(self) -> np.ndarray:
        return self._memory.view(self._layout)

    shape = property(lambda self: self._layout[1])
    strides = property(lambda self: self._layout[2])
    dtype = property(lambda self: self._layout[3])
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape, dtype=np.int64)))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.itemsize)
    flags = property(lambda self: self._view.flags)
    device = property(lambda self: SimpleNamespace(id=self._memory.device_id))
    data = property(lambda self: Pointer(ptr=self._memory.ptr + self._layout[0], device_id=self._memory.device_id))
    __cuda_array_interface__ = property(
        lambda self: dict(shape=self.shape, strides=self.strides, typestr=self.dtype.str, data=(self.data.ptr, False))
    )

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"StrictArray({self.shape}, {self.dtype})"  # CuPy's shows the numbers, and reads them for that

    # views

    def _like(self, view: np.ndarray) -> StrictArray:
        offset = view.__array_interface__["data"][0] - self._memory.ptr if view.size else 0
        return StrictArray(self._library, self._memory, (offset, view.shape, view.strides, view.dtype))

    def view(self, dtype: Any = None, type: Any = None) -> StrictArray:
        return self._like(self._view.view(dtype) if dtype is not None else self._view)

    def reshape(self, *shape: Any, order: str = "C") -> StrictArray:
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        try:
            return self._like(np.reshape(self._view, wanted, copy=False))
        except ValueError:
            np.reshape(self._view, wanted)  # its own error, if the shape is wrong
            return self.copy().reshape(wanted)

    def ravel(self, order: str = "C") -> StrictArray:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> StrictArray:
        return self._like(self._view.transpose(*axes))

    T = property(lambda self: self.transpose())

    def swapaxes(self, one: int, other: int) -> StrictArray:
        return self._like(self._view.swapaxes(one, other))

    def squeeze(self, axis: Any = None) -> StrictArray:
        return self._like(self._view.squeeze(axis))

    def __getitem__(self, key: Any) -> StrictArray:
        keys = key if isinstance(key, tuple) else (key,)
        if all(k is None or k is Ellipsis or isinstance(k, slice | int | np.integer) for k in keys):
            return self._like(self._view[keys if any(k is Ellipsis for k in keys) else (*keys, ...)])
        host = tuple(k.get() if isinstance(k, StrictArray) else k for k in keys)
        self._library.counts.host_copies += sum(isinstance(k, np.ndarray | list) for k in keys)
        self._library._refuse_copies("H2D")
        return self._library._call("getitem", lambda a: a[host if isinstance(key, tuple) else host[0]], (self,), {})

    # the host's reads and writes

    def get(self, stream: Stream | None = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        stream = stream or self._library._stream()
        self._library._refuse_copies("D2H", stream)
        self._library.counts.host_reads += 1
        stream.synchronize()
        if out is None:
            return np.array(self._view, order=order)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(f"{self!r} can't be read into {out!r}")
        out[...] = self._view
        return out

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = stream or self._library._stream()
        self._library._refuse_copies("H2D", stream)
        self._library.counts.host_copies += 1
        source = arr if self._library._is_pinned(arr) else arr.copy()  # the driver copies what is not pinned at once
        target = self._view
        stream._queue.append(lambda: np.copyto(target, source))

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    __float__, __int__, __bool__, __complex__ = _read(float), _read(int), _read(bool), _read(complex)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or any(isinstance(i, np.ndarray) for i in inputs):
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return getattr(self._library, ufunc.__name__)(*inputs, **kwargs)

    # work

    def __setitem__(self, key: Any, value: Any) -> None:
        self._library._bare("an assignment to a bare array")
        target = self if key is Ellipsis else self[key]
        if not isinstance(value, StrictArray) and isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._library._call("setitem", np.copyto, (target, value), {"casting": "unsafe"}, writes_first=True)

    def fill(self, value: Any) -> None:
        self._library._bare("fill")
        self._library._call("fill", np.copyto, (self, value), {"casting": "unsafe"}, writes_first=True)

    def copy(self, order: str = "C") -> StrictArray:
        return self._library._call("copy", np.copy, (self,), {"order": order})

    def astype(self, dtype: Any, copy: bool = True) -> StrictArray:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return self._library._call("astype", lambda a: a.astype(dtype), (self,), {})

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))


for _name in ("sum", "max", "min", "argmax", "argmin", "mean", "all", "any", "take"):
    setattr(StrictArray, _name, (lambda n: lambda self, *a, **k: getattr(self._library, n)(self, *a, **k))(_name))
for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "matmul": "matmul", "pow": "power",
    "mod": "remainder", "floordiv": "floor_divide", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}.items():  # fmt: skip
    setattr(StrictArray, f"__{_symbol}__", _operator(_name))
    setattr(StrictArray, f"__r{_symbol}__", _operator(_name, swapped=True))
    setattr(StrictArray, f"__i{_symbol}__", _in_place(_name))
for _symbol, _name in {
    "neg": "negative", "abs": "absolute", "invert": "invert", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(StrictArray, f"__{_symbol}__", _operator(_name))
StrictArray.__hash__ = None  # type: ignore[assignment]


# -- the module -------------------------------------------------------------------------------------------------------


class PinnedMemory(bytearray):
    """Host memory that the device fetches from by itself, when it gets to it."""


class StrictCupy:
    """What `import cupy` gives, as far as gpubp may use it. Every ufunc is there by its name, and these functions."""

    ndarray = StrictArray
    float32, float64, int32, int64, uint8, uint64, bool_ = (
        np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint64, np.bool_
    )  # fmt: skip
    newaxis = None

    def __init__(self, devices: int = 1, driver: int = 12090) -> None:
        self.counts = Counts()
        self.graphs: list[Graph] = []
        self._lock = threading.RLock()
        self._handles = iter(range(0x100, 1 << 30))
        self._seen: dict[Any, Any] = {}
        self._pinned: list[tuple[int, int]] = []
        self._null = Stream(self, null=True)
        self._thread = threading.local()
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: devices,
                getDevice=lambda: self._here.device,
                driverGetVersion=lambda: driver,
                runtimeGetVersion=lambda: 12090,
                memGetInfo=lambda: (6 << 30, 8 << 30),
                CUDARuntimeError=CUDARuntimeError,
            ),
            is_available=lambda: devices > 0 and driver > 0,
            Device=lambda index=0: Device(self, index),
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            Event=lambda **options: Event(self, **options),
            MemoryPool=lambda: SimpleNamespace(malloc=object(), free_bytes=lambda: 0),
            using_allocator=self._using_allocator,
            alloc_pinned_memory=self._alloc_pinned,
            get_current_stream=lambda device_id=-1: self._stream(),
        )

    # the thread's device and stream

    @property
    def _here(self) -> Any:
        if not hasattr(self._thread, "streams"):
            self._thread.device, self._thread.streams = 0, [self._null]
        return self._thread

    def _stream(self) -> Stream:
        return self._here.streams[-1]

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
        start = np.frombuffer(memory, np.uint8).ctypes.data
        self._pinned.append((start, start + size))
        return memory

    def _is_pinned(self, a: np.ndarray) -> bool:
        start = a.ctypes.data
        return any(first <= start and start + a.nbytes <= last for first, last in self._pinned)

    def _new(self, shape: Any, dtype: Any) -> StrictArray:
        if self._stream().is_capturing():
            raise StrictError(f"an array of shape {shape} is allocated inside a captured step")
        self.counts.allocations += 1
        dtype = np.dtype(dtype)
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
        memory = Memory(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, self._here.device)
        strides = np.ndarray(shape, dtype, memory.bytes).strides
        return StrictArray(self, memory, (0, shape, strides, dtype))

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
        signature = (name, *(_signature(a) for a in args), *((k, _signature(v)) for k, v in sorted(kwargs.items())))
        if signature not in self._seen:
            if stream.is_capturing():
                raise StrictError(f"{name} is captured for shapes and types that no run before has seen: {signature}")
            self._seen[signature] = _result_of(function, args, kwargs)
        shape, dtype = self._seen[signature]
        given = out is not None
        if not given:
            out = self._new(shape, dtype)
        hold = Held if stream.is_capturing() else Kept
        held = [hold(a) if isinstance(a, StrictArray) else a for a in args]
        named = {k: hold(a) if isinstance(a, StrictArray) else a for k, a in kwargs.items()}
        target = hold(out)

        def kernel() -> None:
            result = function(*map(_seen_by_kernel, held), **{k: _seen_by_kernel(a) for k, a in named.items()})
            if not given:
                np.copyto(target.view(), result)

        if stream._graph is not None:
            stream._graph.names.append(name)
            stream._graph._kernels.append(kernel)
        else:
            self.counts.launches += 1
            self.counts.null_stream += stream.null
            stream._queue.append(kernel)
        return out

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name, None)
        if not isinstance(function, np.ufunc) or name == "matmul":
            raise AttributeError(f"the strict stand-in for CuPy has no {name!r}; add it if CuPy has it")

        def ufunc(*args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
            if len(args) > function.nin:
                (out,) = args[function.nin :]
            inputs = list(args[: function.nin])
            for i, a in enumerate(inputs):
                if isinstance(a, StrictArray) and isinstance(out, StrictArray) and a is not out and _overlap(a, out):
                    inputs[i] = a.copy()
            options = {"out": out, "casting": casting, "dtype": dtype}
            return self._call(name, function, tuple(inputs), options)

        return ufunc

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

    array = asarray

    def ascontiguousarray(self, a: StrictArray, dtype: Any = None) -> StrictArray:
        a = self.asarray(a, dtype)
        return a if a.flags.c_contiguous else a.copy()

    def copyto(self, dst: StrictArray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
        self._call("copyto", np.copyto, (dst, src), {"casting": casting, "where": where}, writes_first=True)

    def take(self, a: StrictArray, indices: Any, axis: Any = None, out: Any = None) -> StrictArray:
        if not isinstance(indices, StrictArray) and not np.isscalar(indices):
            indices = self.asarray(indices, int)
        if out is not None and out.dtype != a.dtype:
            raise TypeError("Output dtype mismatch")
        return self._call("take", np.take, (a, indices), {"axis": axis, "out": out, "mode": "wrap"})

    def _reduce(self, name: str, a: Any, axis: Any, dtype: Any, out: Any, keepdims: bool) -> Any:
        options = {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims}
        if name in ("max", "min", "argmax", "argmin", "all", "any"):
            assert dtype is None
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


class Device:
    """A device, made the current one by `with`."""

    def __init__(self, library: StrictCupy, index: int) -> None:
        self._library, self.id, self._before = library, int(index), threading.local()

    def __enter__(self) -> Device:
        here = self._library._here
        self._before.__dict__.setdefault("stack", []).append(here.device)
        here.device = self.id
        return self

    def __exit__(self, *problem: object) -> None:
        self._library._here.device = self._before.stack.pop()


def _signature(a: Any) -> Any:
    if isinstance(a, StrictArray):
        return "array", a.shape, a.dtype.str
    return (type(a).__name__,) if isinstance(a, int | float | np.generic) else repr(a)


def _result_of(function: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Shape and type of the result, by a trial on copies, which raises NumPy's error where something doesn't fit."""
    trial = [a._view.copy() if isinstance(a, StrictArray) else a for a in args]
    options = {k: a._view.copy() if isinstance(a, StrictArray) else a for k, a in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*trial, **options)
    return (None, None) if result is None else (np.shape(result), np.asarray(result).dtype)


def _overlap(a: StrictArray, b: StrictArray) -> bool:
    return a._memory is b._memory and np.may_share_memory(a._view, b._view)


def strict_cupy(devices: int = 1, driver: int = 12090) -> StrictCupy:
    """A stand-in for the CuPy module with counters of its own: `.counts`, and `.graphs` that were captured."""
    return StrictCupy(devices, driver)


class StrictProducts:
    """In the place of cublasLt: a product that may be captured, and runs NumPy's `dot` as the CPU does."""

    def __init__(self, cupy: StrictCupy) -> None:
        self._cupy = cupy

    def gemm(self, a: StrictArray, b: StrictArray, out: StrictArray, *, stream: Stream) -> StrictArray:
        assert stream == self._cupy._stream()
        return self._cupy._call("gemm", np.dot, (a, b), {"out": out})
