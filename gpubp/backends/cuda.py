"""The CUDA backend: CuPy on one stream of one GPU.

The host asks and goes on, and the GPU does what is asked of one stream in order. Three things follow.

Streams. Arrays of the user's are computed on the user's stream, ours on our own. `active()` puts the two in order: our
stream first waits for what the user has asked for, and afterwards the user's stream waits for ours.

Staging. A batch goes through pinned memory (see `staging`), so that it is gathered and sent while the step before runs.

Recording. A step's calls are noted without being made (`recording.py`), and calls that one kernel can do are put
together (`fusion.py`). The list is run twice, so that all kernels are compiled and loaded, and then captured: what is
asked for between `begin_capture` and `end_capture` is written down as a CUDA graph, and is from then on one launch. So
every step is computed by the same kernels, the first and the last. The graph holds bare addresses: whatever it reads
or writes must live as long as it does, and keep its place. What can't be captured (above all CuPy's own matrix product,
hence `cublaslt`) raises; the list is then run call by call, and one warning says why.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..errors import DeviceError, DeviceMemoryError, RecordError, in_bytes
from ..formula import row_sum
from .base import Array, Backend, Shape, as_numpy
from .cublaslt import CublasLt
from .fusion import fuse
from .half import Bfloat16
from .launches import Launches, first_line
from .recording import Call, Record, RecordedLibrary
from .staging import Staging

__all__ = ["CUDA", "CapturedStep", "find_cupy", "why_not"]

KEPT = 0.4  # of the free memory, at most, is for data
AT_ONCE = 10  # launches of a call that is timed
RUNS = 2  # of a recorded step before it is captured: kernels are compiled and loaded by the first

INSTALL = "pip install 'gpubp[cuda12]' (CUDA 12) or 'gpubp[cuda13]' (CUDA 13)"


def why_not() -> str:
    """Why no GPU can be used, with what mends it; empty if one can.

    >>> isinstance(why_not(), str)
    True
    """
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed: {INSTALL}"
    try:
        import cupy
    except Exception as problem:
        return f"CuPy can't be imported ({first_line(problem)}): {INSTALL}"
    return unusable(cupy)


def unusable(cupy: Any) -> str:
    """Why no GPU can be used through this CuPy, with what mends it; empty if one can."""
    runtime = cupy.cuda.runtime
    try:
        driver, wanted = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except Exception as problem:
        return f"the CUDA libraries that CuPy needs don't load ({first_line(problem)}): {INSTALL}"
    if driver == 0:
        return "there is no NVIDIA driver on this machine: install it and check with nvidia-smi"
    if driver // 1000 < wanted // 1000:
        return (
            f"the NVIDIA driver knows CUDA up to {driver // 1000}.{driver % 1000 // 10}, and this CuPy is for CUDA "
            f"{wanted // 1000}: update the driver, or install a CuPy for its CUDA: {INSTALL}"
        )
    if not cupy.cuda.is_available():
        return "the NVIDIA driver shows no GPU: check with nvidia-smi, and the variable CUDA_VISIBLE_DEVICES"
    try:
        cupy.add(cupy.zeros(2, "float32"), 1.0).get()
    except Exception as problem:
        return f"a first sum on the GPU fails ({first_line(problem)}): {INSTALL}"
    return ""


def find_cupy() -> Any:
    """The CuPy module; raises DeviceError with the cause if no GPU can be used through it."""
    reason = why_not()
    if reason:
        raise DeviceError(f'device "cuda" can\'t be used: {reason}. device="cpu" works everywhere.')
    import cupy

    return cupy


class CUDA(Backend):
    """CuPy on one stream of one GPU.

    cupy: the CuPy module (tests hand in a strict stand-in).
    index: the number of the GPU.
    precision: of products: "float32", "tf32" or "bfloat16".
    products: makes, from the CuPy module, what multiplies matrices; it raises CublasLtUnavailable where it can't, and
    CuPy's own product takes its place.

    Raises DeviceError if there is no such GPU.
    """

    warmup = 0
    block = 2**62
    piece = 2**24  # 64 MB of float32; cublasLt takes matrices of less than 2^31 numbers
    outputs = 9

    def __init__(
        self, cupy: Any, index: int = 0, precision: str = "float32", *, products: Callable[[Any], Any] = CublasLt
    ) -> None:
        super().__init__()
        self.precision = precision
        count = int(cupy.cuda.runtime.getDeviceCount())
        if not 0 <= index < count:
            known = ", ".join(f'"cuda:{i}"' for i in range(count))
            raise DeviceError(f'there is no device "cuda:{index}"; this machine has {known or "no GPU"}')
        self._cupy = cupy
        self.xp: Any = RecordedLibrary(cupy, self, {})
        self.index = index
        self.name = f"cuda:{index}"
        self._device = cupy.cuda.Device(index)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._aside = cupy.cuda.Stream(non_blocking=True)
        self._halves: dict[tuple[int, int], tuple[Array, Array]] = {}
        self._staging = Staging(cupy, self._stream)
        self._rows: dict[int, Array] = {}
        self._make_products = products
        self._launches = Launches(cupy, self._stream, products, super().apply, self.name)

    @property
    def _library(self) -> Any:
        return self._cupy

    # -- streams ----------------------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work goes to this object's GPU and stream: after what the caller has asked for, before what it asks next."""
        with self._device:
            outer = self._cupy.cuda.get_current_stream()
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
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(earlier)
        later.wait_event(event)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Where arrays come into being: while a step is noted, beside it, so that this is no part of the step."""
        try:
            if not self.recording:
                with self.active():
                    yield
                return
            with self._device, self._aside:
                yield
            self._aside.synchronize()
        except MemoryError as problem:  # as CuPy's own is
            free, total = (in_bytes(n) for n in self.memory())
            raise DeviceMemoryError(
                f"{self.name} has no room for another array: {first_line(problem)}; {free} of {total} are free"
            ) from None

    # -- arrays -----------------------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array; CuPy aligns to 512 bytes."""
        with self._making():
            return self._cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """A new array of zeros."""
        with self._making():
            return self._cupy.zeros(shape, dtype)

    def _make_constant(self, value: float, dtype: Any) -> Any:
        return np.dtype(dtype).type(value)  # CuPy takes scalars and refuses NumPy's 0-d arrays

    def owns(self, a: Any) -> bool:
        """Whether it is CuPy's."""
        return isinstance(a, self._cupy.ndarray)

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous CuPy array of `dtype`."""
        with self._making():
            if self.owns(a):
                return self._cupy.ascontiguousarray(a, dtype)
            return self._cupy.asarray(np.asarray(as_numpy(a), dtype, order="C"))

    def to_host(self, a: Array) -> np.ndarray[Any, Any]:
        """A copy in the host's memory, once the stream has computed it."""
        with self.active():
            return np.asarray(a.get(stream=self._stream))

    def put(self, out: Array, values: Any) -> None:
        """out = values, by a copy queued on the stream; `values` may change at once."""
        host = self._staging.place(out.shape, out.dtype)
        host[...] = values
        out.set(host, stream=self._stream)

    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out = source[rows], gathered where the source lies: by the host into pinned memory, or on the GPU."""
        if not self.owns(source):
            host = self._staging.place(out.shape, out.dtype)
            if rows is None:
                np.copyto(host, source, casting="unsafe")
            elif source.dtype == out.dtype:
                np.take(source, rows, axis=0, out=host, mode="clip")  # the rows have been made to fit
            else:
                np.copyto(host, source[rows], casting="unsafe")
            out.set(host, stream=self._stream)
        elif rows is None:
            self._cupy.copyto(out, source, casting="unsafe")
        elif source.dtype == out.dtype:
            self._cupy.take(source, self._on_device(rows), axis=0, out=out)
        else:
            self._cupy.copyto(out, self._cupy.take(source, self._on_device(rows), axis=0), casting="unsafe")

    def _on_device(self, rows: Any) -> Array:
        count = len(rows)
        if count not in self._rows:
            self._rows[count] = self.empty((count,), np.int64)
        self.put(self._rows[count], rows)
        return self._rows[count]

    # -- computing --------------------------------------------------------------------------------------------

    def keeps(self, size: int) -> bool:
        """Yes, up to a share of the memory that is free."""
        return size <= KEPT * self.memory()[0]

    def gather(self, source: Array, rows: Array, out: Array) -> Array:
        """out[i] = source[rows[i]], cast to out's type"""
        self.run(self._launches.gather, source, rows, out=out)
        return out

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
        if precision == "bfloat16":
            halves = self._half(a), self._half(b)
            if halves[0] is not None and halves[1] is not None:
                a, b = halves
        self.run(self._launches.product, a, b, out=out, compute="tf32" if precision == "tf32" else "float32")
        return out

    def _half(self, a: Array) -> Bfloat16 | None:
        """`a` cast to bfloat16, in a place that every cast of the same memory shares; None if it lies with gaps."""
        if not a.flags.c_contiguous:
            half = self._half(a.T) if a.flags.f_contiguous else None
            return None if half is None else half.T
        key = (int(a.data.ptr), a.size)
        if key not in self._halves:
            self._halves[key] = a, self.zeros((a.size,), np.uint16)  # a, lest another array come to lie there
        bits = self._halves[key][1]
        self.run(self._launches.halve, a, out=bits)
        return Bfloat16(bits.reshape(a.shape))

    def dot(self, a: Array, b: Array, out: Array, total: Array | None = None) -> Array:
        """out = Σᵢ aᵢ bᵢ, and total += out"""
        self.run(self._launches.dot, a, b, out=out, total=total)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ over all axes but the last"""
        self.run(self._launches.sum_rows, a.reshape(-1, a.shape[-1]), out=out)
        return out

    def weighted_sum_rows(self, a: Array, weights: Array, out: Array) -> Array:
        """out = Σ weights[r] a[r]"""
        self.run(self._launches.weighted_sum_rows, a.reshape(-1, a.shape[-1]), weights.reshape(-1), out=out)
        return out

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ over the last axis"""
        self.apply(row_sum, a.reshape(-1, a.shape[-1]), out=out.reshape(-1, 1))
        return out

    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By a kernel of one thread to 16 numbers; the step is read on the device."""
        self.run(self._launches.random_mask, out, threshold, key, step, first)
        return out

    def random_uniform(self, out: Array, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """By a kernel of one thread to 8 numbers"""
        self.run(self._launches.random_uniform, out, key, step, first)
        return out

    def patches(self, x: Array, out: Array, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
        """By a thread for each channel of each window"""
        self.run(self._launches.patches, x, stride, padding, out=out)
        return out

    def sample(self, x: Array, theta: Array, out: Array) -> Array:
        """By a thread for each pixel"""
        self.run(self._launches.sample, x, theta, out=out)
        return out

    def sample_adjoint(self, dy: Array, theta: Array, out: Array) -> Array:
        """By a thread for each number of the pictures, which looks for the pixels that saw it"""
        self.run(self._launches.sample_adjoint, dy, theta, out=out)
        return out

    def scatter_rows(self, a: Array, rows: Array, out: Array) -> Array:
        """By a thread for each number of the result, of rows that are sorted before"""
        self.run(self._launches.scatter_rows, a, rows, out=out)
        return out

    # -- steps ------------------------------------------------------------------------------------------------

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Note what `step` does, do it once, and return what does it again: a CUDA graph after two more times."""
        with self.active():
            calls = self._noted(step)
            again = (
                step
                if calls is None
                else CapturedStep(self._graph_of, self._stream, Record(fuse(calls, self._launches, self.zeros)))
            )
            again()
            return again

    def _noted(self, step: Callable[[], None]) -> list[Call] | None:
        """The calls of a step, none of them made; or None, with a warning that says why it can't be recorded.

        The stream is capturing meanwhile, so that reading a number on the host, which the list can't repeat, raises.
        """
        calls: list[Call] = []
        self._calls = calls
        try:
            self._stream.begin_capture()
            try:
                step()
            except BaseException:
                self._end_failed_capture()
                raise
            self._stream.end_capture()
        except (RecordError, DeviceMemoryError):
            raise
        except Exception as problem:
            self._launches.refuse_capture(f"this step can't be captured: {first_line(problem)}")
            return None
        finally:
            self._calls = None
        return calls

    def _graph_of(self, record: Callable[[], None]) -> Any:
        """What it launches captured, as CuPy's graph, and what must live as long; None, with a warning, where it can't
        be."""
        if self._launches.uncapturable:
            return None
        pool = self._cupy.cuda.MemoryPool()  # what CuPy's functions allocate meanwhile stays the graph's
        try:
            with self._cupy.cuda.using_allocator(pool.malloc):
                self._stream.begin_capture()
                try:
                    record()
                except BaseException:
                    self._end_failed_capture()
                    raise
                graph = self._stream.end_capture()
            graph.upload(self._stream)
        except Exception as problem:
            self._launches.refuse_capture(f"this step can't be captured: {first_line(problem)}")
            return None
        return graph, (record, pool, *self._launches.keeps(), *self._scratch.values())

    def _end_failed_capture(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:  # of a capture that was broken off; it is over all the same
            return

    def time(self, calls: Sequence[Call], rounds: int) -> list[float]:
        """Each by itself, many times in one graph: a kernel is done before the host could launch the next."""
        with self.active():
            return [self._time(call, rounds) for call in calls]

    def _time(self, call: Call, rounds: int) -> float:
        def many() -> None:
            for _ in range(AT_ONCE):
                call.function(*call.args, **call.kwargs)

        made = self._graph_of(many)
        launch = many if made is None else partial(made[0].launch, self._stream)
        spent = []
        for _ in range(max(rounds // AT_ONCE, 3)):
            before, after = self._cupy.cuda.Event(), self._cupy.cuda.Event()
            before.record(self._stream)
            launch()
            after.record(self._stream)
            after.synchronize()
            spent.append(self._cupy.cuda.get_elapsed_time(before, after))
        return float(np.median(spent)) / 1000.0 / AT_ONCE

    # -- the machine ------------------------------------------------------------------------------------------

    def arithmetic(self) -> dict[str, str]:
        """The GPU, CuPy, CUDA, and in which precision products are computed."""
        runtime = self._cupy.cuda.runtime
        name, version = runtime.getDeviceProperties(self.index)["name"], int(runtime.runtimeGetVersion())
        return {
            "GPU": name.decode() if isinstance(name, bytes) else str(name),
            "CuPy": self._cupy.__version__,
            "CUDA": f"{version // 1000}.{version % 1000 // 10}",
            "precision": self.precision,
        }

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU's memory; what CuPy's pool holds unused counts as free."""
        with self._device:
            free, total = self._cupy.cuda.runtime.memGetInfo()
            return int(free) + int(self._cupy.get_default_memory_pool().free_bytes()), int(total)

    def another(self) -> CUDA:
        """Another stream on the same GPU."""
        return CUDA(self._cupy, self.index, self.precision, products=self._make_products)


class CapturedStep:
    """A recorded step: call by call at first, and then as a CUDA graph, in one launch. Printed, it shows the calls.

    record: the calls. graph: CuPy's, once there is one.
    """

    def __init__(self, graph_of: Callable[[Record], Any], stream: Any, record: Record) -> None:
        self.record, self.graph = record, None
        self._graph_of, self._stream, self._runs = graph_of, stream, 0
        self._keeps: tuple[Any, ...] = ()  # what owns the memory at the addresses that the graph holds

    def __call__(self) -> None:
        """Do it again."""
        if self._runs == RUNS and self.graph is None:
            captured = self._graph_of(self.record)
            if captured is not None:
                self.graph, self._keeps = captured
        if self.graph is not None:
            self.graph.launch(self._stream)
        else:
            self.record()
        self._runs += 1

    def __len__(self) -> int:
        return len(self.record)

    def __str__(self) -> str:
        return str(self.record)
