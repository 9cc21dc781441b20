"""A check of the driver and CuPy: it says why no GPU can be used, and what to do."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import DeviceError, DeviceMemoryError, in_bytes
from ..base import Backend
from ..process import renew_in_children
from .launches import first_line

FORKED = (
    "this process was forked from one that uses the GPU, and CUDA does not work in such a child: start processes with "
    'multiprocessing.get_context("spawn")'
)
INSTALL = "pip install 'gpubp[cuda12]' (CUDA 12) or 'gpubp[cuda13]' (CUDA 13)"


class Context:
    """Whether CUDA is in use in this process. A forked process can't use what its parent has set up.

    used: whether it is. lost: whether it was in the process from which this one was forked.

    >>> Context().lost
    False
    """

    def __init__(self) -> None:
        self.used = self.lost = False
        renew_in_children(self)

    def after_fork(self) -> None:
        """Note that the parent's context is lost."""
        self.lost |= self.used

    def require(self) -> None:
        """Note a use; raises DeviceError where the context is lost."""
        if self.lost:
            raise DeviceError(FORKED)
        self.used = True


context = Context()


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
    if context.lost:
        return FORKED
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


def described(cupy: Any, index: int) -> dict[str, str]:
    """The GPU of a number, CuPy and CUDA, by name."""
    runtime = cupy.cuda.runtime
    name, version = runtime.getDeviceProperties(index)["name"], int(runtime.runtimeGetVersion())
    return {
        "GPU": name.decode() if isinstance(name, bytes) else str(name),
        "CuPy": cupy.__version__,
        "CUDA": f"{version // 1000}.{version % 1000 // 10}",
    }


@contextmanager
def room_on(backend: Backend) -> Iterator[None]:
    """Where CuPy finds no memory inside, raise DeviceMemoryError, which says how much the device has."""
    try:
        yield
    except DeviceMemoryError:
        raise
    except MemoryError as problem:  # as CuPy's own is
        (free, total), said = (in_bytes(n) for n in backend.memory()), first_line(problem).rstrip(".")
        raise DeviceMemoryError(
            f"{backend.name} has no room for another array: {said}; {free} of {total} are free"
        ) from None
