"""The CUDA backend: CuPy on one stream of one GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import DeviceError
from .base import Array, Backend, Shape, as_numpy

__all__ = ["CUDA", "find_cupy", "why_not"]

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
        return f"CuPy can't be imported ({problem}): {INSTALL}"
    try:
        cupy.cuda.runtime.driverGetVersion()
        driver = int(cupy.cuda.runtime.driverGetVersion())
    except Exception:
        driver = 0
    if driver == 0:
        return "there is no NVIDIA driver on this machine: install it and check with nvidia-smi"
    if not cupy.cuda.is_available():
        return "the NVIDIA driver shows no GPU: check with nvidia-smi, and CUDA_VISIBLE_DEVICES"
    try:
        (cupy.zeros(2, "float32") + 1).sum().get()
    except Exception as problem:
        return f"the CUDA libraries that CuPy needs don't load ({problem}): {INSTALL}"
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

    Raises DeviceError if there is no such GPU.
    """

    warmup = 2

    def __init__(self, cupy: Any, index: int = 0) -> None:
        super().__init__()
        count = int(cupy.cuda.runtime.getDeviceCount())
        if not 0 <= index < count:
            raise DeviceError(f'there is no device "cuda:{index}"; this machine has {count} GPU(s), from "cuda:0"')
        self.xp: Any = cupy
        self.index = index
        self.name = f"cuda:{index}"
        self._device = cupy.cuda.Device(index)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)

    @property
    def _library(self) -> Any:
        return self.xp

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work goes to this object's GPU and stream."""
        with self._device, self._stream:
            yield

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array; CuPy aligns to 512 bytes."""
        with self.active():
            return self.xp.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """A new array of zeros."""
        with self.active():
            return self.xp.zeros(shape, dtype)

    def _make_constant(self, value: float, dtype: Any) -> Any:
        return np.dtype(dtype).type(value)

    def owns(self, a: Any) -> bool:
        """Whether it is CuPy's."""
        return isinstance(a, self.xp.ndarray)

    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` as a C-contiguous CuPy array of `dtype`."""
        with self.active():
            if isinstance(a, self.xp.ndarray):
                return self.xp.ascontiguousarray(a, dtype)
            return self.xp.asarray(np.ascontiguousarray(as_numpy(a), dtype))

    def to_host(self, a: Array) -> np.ndarray[Any, Any]:
        """A copy in the host's memory, once the stream has computed it."""
        with self.active():
            return np.asarray(a.get(stream=self._stream))

    def put(self, out: Array, values: Any) -> None:
        """out = values, by a copy on the stream"""
        out.set(np.ascontiguousarray(np.broadcast_to(values, out.shape), out.dtype), stream=self._stream)

    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out = source[rows], gathered where the source lies."""
        if not isinstance(source, self.xp.ndarray):
            self.put(out, source if rows is None else source[rows])
        elif rows is None:
            self.xp.copyto(out, source, casting="unsafe")
        elif source.dtype == out.dtype:
            self.xp.take(source, self.xp.asarray(rows), axis=0, out=out)
        else:
            self.xp.copyto(out, self.xp.take(source, self.xp.asarray(rows), axis=0), casting="unsafe")

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call; a capture notes what reaches the stream by itself."""
        return function(*args, **kwargs)

    def gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out = a b"""
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

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run `step` and return it: it is queued on the stream call by call at every replay."""
        step()
        return step

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU's memory; what CuPy's pool holds unused counts as free."""
        with self._device:
            free, total = self.xp.cuda.runtime.memGetInfo()
            return int(free) + int(self.xp.get_default_memory_pool().free_bytes()), int(total)

    def another(self) -> CUDA:
        """Another stream on the same GPU."""
        return CUDA(self.xp, self.index)
