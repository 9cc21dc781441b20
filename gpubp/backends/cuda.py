"""The CUDA backend: CuPy on one stream of one GPU.

The host asks and goes on, and the GPU does what is asked of one stream in order. Three things follow.

Streams. Arrays of the user's are computed on the user's stream, ours on our own. `active()` puts the two in order: our
stream first waits for what the user has asked for, and afterwards the user's stream waits for ours.

Staging. A batch goes through pinned memory (see `staging`), so that it is gathered and sent while the step before runs.

Capture. A step asked for between `begin_capture` and `end_capture` is not run but written down, as a CUDA graph, and is
then one launch. The graph holds bare addresses: whatever it reads or writes must live as long as it does, and keep its
place. What CuPy can't have captured (above all its own matrix product, hence `cublaslt`) raises; the step then goes on
call by call, and one warning says why.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import DeviceError
from .base import Array, Backend, Shape, as_numpy
from .cublaslt import CublasLt, CublasLtUnavailable
from .philox import CUDA_SOURCE
from .staging import Staging

__all__ = ["CUDA", "CapturedStep", "find_cupy", "why_not"]

THREADS = 256  # in a block of our own kernels

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
        return f"CuPy can't be imported ({_first_line(problem)}): {INSTALL}"
    return unusable(cupy)


def unusable(cupy: Any) -> str:
    """Why no GPU can be used through this CuPy, with what mends it; empty if one can."""
    runtime = cupy.cuda.runtime
    try:
        driver, wanted = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except Exception as problem:
        return f"the CUDA libraries that CuPy needs don't load ({_first_line(problem)}): {INSTALL}"
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
        return f"a first sum on the GPU fails ({_first_line(problem)}): {INSTALL}"
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
    products: makes, from the CuPy module, what multiplies matrices; it raises CublasLtUnavailable where it can't, and
    CuPy's own product takes its place.

    Raises DeviceError if there is no such GPU.
    """

    warmup = 2  # kernels are compiled and loaded in the first run; the second is for what the first made
    block = 2**62

    def __init__(self, cupy: Any, index: int = 0, *, products: Callable[[Any], Any] = CublasLt) -> None:
        super().__init__()
        self._philox: Any = None  # its kernel, once it was compiled
        count = int(cupy.cuda.runtime.getDeviceCount())
        if not 0 <= index < count:
            known = ", ".join(f'"cuda:{i}"' for i in range(count))
            raise DeviceError(f'there is no device "cuda:{index}"; this machine has {known or "no GPU"}')
        self.xp: Any = cupy
        self.index = index
        self.name = f"cuda:{index}"
        self._device = cupy.cuda.Device(index)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._staging = Staging(cupy, self._stream)
        self._rows: dict[int, Array] = {}
        self._make_products = products
        self._products: Any = None
        self._call_by_call = ""  # why steps are not captured

    @property
    def _library(self) -> Any:
        return self.xp

    # -- streams ----------------------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work goes to this object's GPU and stream: after what the caller has asked for, before what it asks next."""
        with self._device:
            outer = self.xp.cuda.get_current_stream()
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
        event = self.xp.cuda.Event(disable_timing=True)
        event.record(earlier)
        later.wait_event(event)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    # -- arrays -----------------------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array; CuPy aligns to 512 bytes."""
        with self.active():
            return self.xp.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """A new array of zeros."""
        with self.active():
            return self.xp.zeros(shape, dtype)

    def _make_constant(self, value: float, dtype: Any) -> Any:
        return np.dtype(dtype).type(value)  # CuPy takes scalars and refuses NumPy's 0-d arrays

    def owns(self, a: Any) -> bool:
        """Whether it is CuPy's."""
        return isinstance(a, self.xp.ndarray)

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous CuPy array of `dtype`."""
        with self.active():
            if self.owns(a):
                return self.xp.ascontiguousarray(a, dtype)
            return self.xp.asarray(np.asarray(as_numpy(a), dtype, order="C"))

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
            self.xp.copyto(out, source, casting="unsafe")
        elif source.dtype == out.dtype:
            self.xp.take(source, self._on_device(rows), axis=0, out=out)
        else:
            self.xp.copyto(out, self.xp.take(source, self._on_device(rows), axis=0), casting="unsafe")

    def _on_device(self, rows: Any) -> Array:
        count = len(rows)
        if count not in self._rows:
            self._rows[count] = self.empty((count,), np.int64)
        self.put(self._rows[count], rows)
        return self._rows[count]

    # -- computing --------------------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call; a capture notes what reaches the stream by itself."""
        return function(*args, **kwargs)

    def gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b, by cublasLt; where that can't, by CuPy's own product, which can't be captured."""
        try:
            if self._products is None:
                self._products = self._make_products(self.xp)
            return self._products.gemm(a, b, out, stream=self._stream)
        except CublasLtUnavailable as cause:
            self._give_up_capture(f"matrix products are CuPy's own, which can't be captured, because {cause}")
            if self._products is None:
                self._products = _NoProducts(cause)
        return self.xp.matmul(a, b, out=out)

    def dot(self, a: Array, b: Array, out: Array) -> Array:
        """out = Σᵢ aᵢ bᵢ"""
        product = self.scratch(0, a.shape, a.dtype)
        self.xp.multiply(a, b, out=product)
        self.xp.sum(product, out=out)
        return out

    def sum_rows(self, a: Array, out: Array) -> Array:
        """out = Σ over all axes but the last"""
        self.xp.sum(a.reshape(-1, a.shape[-1]), axis=0, out=out)
        return out

    def sum_last(self, a: Array, out: Array) -> Array:
        """out = Σ over the last axis"""
        self.xp.sum(a.reshape(-1, a.shape[-1]), axis=1, out=out.reshape(-1))
        return out

    # -- steps ------------------------------------------------------------------------------------------------

    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array) -> Array:
        """By a kernel of one thread to 16 numbers; the step is read on the device."""
        if self._philox is None:
            self._philox = self.xp.RawKernel(CUDA_SOURCE, "philox_mask")
        blocks = -(-out.size // (16 * THREADS))
        seed, layer = key
        arguments = (out, np.int64(out.size), np.uint32(threshold), np.uint64(seed), np.uint64(layer), step)
        self._philox((blocks,), (THREADS,), arguments)
        return out

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run `step` once and return it as a CUDA graph; or, where it can't be captured, as it is."""
        with self.active():
            captured = None if self._call_by_call else self._captured(step)
            (captured or step)()
            return captured or step

    def _captured(self, step: Callable[[], None]) -> CapturedStep | None:
        """The step written down and not run, or None with a warning that says why not."""
        cuda = self.xp.cuda
        pool = cuda.MemoryPool()  # what a layer allocates meanwhile stays the graph's while it lives
        try:
            with cuda.using_allocator(pool.malloc):
                self._stream.begin_capture()
                try:
                    step()
                except BaseException:
                    self._end_failed_capture()
                    raise
                graph = self._stream.end_capture()
            graph.upload(self._stream)
        except Exception as problem:
            self._give_up_capture(f"this step can't be captured: {_first_line(problem)}")
            return None
        return CapturedStep(graph, self._stream, (step, pool, self._products, *self._scratch.values()))

    def _end_failed_capture(self) -> None:
        try:
            self._stream.end_capture()
        except Exception:  # of a capture that was broken off; it is over all the same
            return

    def _give_up_capture(self, cause: str) -> None:
        if not self._call_by_call:
            self._call_by_call = cause
            warn_once(f"steps on {self.name} run call by call instead of as one CUDA graph, which is slower: {cause}")

    # -- the machine ------------------------------------------------------------------------------------------

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU's memory; what CuPy's pool holds unused counts as free."""
        with self._device:
            free, total = self.xp.cuda.runtime.memGetInfo()
            return int(free) + int(self.xp.get_default_memory_pool().free_bytes()), int(total)

    def another(self) -> CUDA:
        """Another stream on the same GPU."""
        return CUDA(self.xp, self.index, products=self._make_products)


class CapturedStep:
    """A step as a CUDA graph; called, it is one launch.

    graph: CuPy's. stream: where it is launched. keeps: what owns the memory at the addresses that the graph holds.
    """

    def __init__(self, graph: Any, stream: Any, keeps: tuple[Any, ...]) -> None:
        self._graph, self._stream, self._keeps = graph, stream, keeps

    def __call__(self) -> None:
        """Do it again."""
        self._graph.launch(self._stream)

    def __str__(self) -> str:
        return str(self._graph.debug_dot_str())


class _NoProducts:
    """In the place of a library of matrix products that is not to be had: repeats why."""

    def __init__(self, cause: CublasLtUnavailable) -> None:
        self._cause = str(cause)

    def gemm(self, *arrays: Array, stream: Any) -> Array:
        raise CublasLtUnavailable(self._cause)


_warned: set[str] = set()


def warn_once(message: str) -> None:
    """A RuntimeWarning, the first time that this message comes."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _first_line(problem: BaseException) -> str:
    text = str(problem).strip() or "no message"
    return f"{type(problem).__name__}: {text.splitlines()[0]}"
