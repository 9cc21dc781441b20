"""Which of cuBLAS's kernels makes a product: of those it proposes, best first, one that keeps NaN.

cuBLAS's ReLU is documented to take NaN to 0, where `numpy.maximum` keeps it. A NaN that goes so is seen by no loss
and no guard, and whether a kernel loses it nobody but the kernel can say. So it is asked, once for each plan: whatever
z = a b is,

    (17)  bias = NaN  →  max(z + bias, 0) must be NaN everywhere
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .cublaslt_library import LASTING, HeuristicResult
from .cublaslt_request import Refused

__all__ = ["LOSES_NAN", "RELUS", "Address", "Trials", "fitting", "proposals"]

PROPOSALS = 8
RELUS = ("relu_bias", "relu_aux_bias")  # the epilogues that may lose NaN
LOSES_NAN = "cublasLt's ReLU gives 0 for NaN here, where NumPy's keeps it"
_NAN_BITS, _ABSOLUTE, _INFINITE = 0x7FC0, 0x7FFF, 0x7F80  # of bfloat16

Launch = Callable[[HeuristicResult], int]  # a product by one of the proposals; gives cublasLt's answer


def proposals(ask: Callable[[int, Any, Any], None]) -> list[HeuristicResult]:
    """Up to PROPOSALS of cuBLAS's kernels, best first.

    ask: (how many, where to put them, where to put their number), which raises where it can't.

    >>> def ask(most, results, count):
    ...     results._obj[0].workspace_bytes, count._obj.value = 64, 1
    >>> [found.workspace_bytes for found in proposals(ask)]
    [64]
    """
    results, count = (HeuristicResult * PROPOSALS)(), ctypes.c_int(0)
    ask(PROPOSALS, ctypes.byref(results), ctypes.byref(count))
    return list(results)[: count.value]


def fitting(results: list[HeuristicResult], room: int, check: Callable[[int, str], None]) -> list[HeuristicResult]:
    """Those that can be used with a workspace of `room` bytes; refused if there is none.

    check: raises what an answer of cublasLt's means, as `Descriptors.check` does.

    >>> fitting([], room=1 << 20, check=print)
    Traceback (most recent call last):
    ...
    gpubp.backends.cublaslt_request.Refused: cublasLt has no kernel for this product and epilogue on this device
    """
    if not results:
        raise Refused("cublasLt has no kernel for this product and epilogue on this device")
    usable = [found for found in results if not found.state]
    if not usable:
        check(results[0].state, "cublasLtMatmulAlgoGetHeuristic")
    fits = [found for found in usable if found.workspace_bytes <= room]
    if not fits:
        raise Refused(f"cublasLt's kernel wants a workspace of {usable[0].workspace_bytes} bytes")
    return fits


class Address:
    """A stream of which only the address is known.

    runtime: CuPy's `cuda.runtime`.
    """

    def __init__(self, runtime: Any, pointer: int) -> None:
        self._runtime, self.ptr = runtime, pointer

    def is_capturing(self) -> bool:
        """Whether a graph is being captured from it."""
        return bool(self._runtime.streamIsCapturing(self.ptr))

    def synchronize(self) -> None:
        """Wait for it."""
        self._runtime.streamSynchronize(self.ptr)


class Trials:
    """Products that are made to see what a kernel does.

    cupy: the CuPy module. What it computes itself goes to the current stream, the products to any; the host waits in
    between where they are not the same.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def capturing(self, stream: Any) -> bool:
        """Whether a graph is being captured from `stream`, or from the current one, so that nothing can be tried."""
        return bool(stream.is_capturing() or self._cupy.cuda.get_current_stream().is_capturing())

    @contextmanager
    def waiting(self, stream: Any) -> Iterator[None]:
        """First `stream` waits for the current stream, and then that one for `stream`: both by the host's waiting."""
        current = self._cupy.cuda.get_current_stream()
        if current.ptr == stream.ptr:
            yield
            return
        current.synchronize()
        yield
        stream.synchronize()

    def nan_vector(self, count: int, dtype: Any) -> Any:
        """`count` NaN on the device."""
        half = str(dtype) == "bfloat16"
        vector = self._cupy.empty((count,), "uint16" if half else str(dtype))
        vector.fill(_NAN_BITS if half else float("nan"))
        return vector

    def all_nan(self, out: Any) -> bool:
        """Whether every number of `out` is NaN; the host waits for the answer."""
        if str(out.dtype) != "bfloat16":
            return bool(self._cupy.isnan(out).all())
        bits = out.bits if hasattr(out, "bits") else out.view("uint16")
        return bool(self._cupy.greater(self._cupy.bitwise_and(bits, _ABSOLUTE), _INFINITE).all())

    def keeping_nan(
        self, results: list[HeuristicResult], launch: Launch, out: Any, stream: Any, check: Callable[[int, str], None]
    ) -> HeuristicResult:
        """(17) The first kernel that keeps NaN; refused if none does.

        launch: makes the product with a bias of NaN, into `out`, on `stream`.
        """
        lost = False
        for found in results:
            with self.waiting(stream):
                status = launch(found)
            if status in LASTING:
                continue
            check(status, "cublasLtMatmul")
            if self.all_nan(out):
                return found
            lost = True
        if not lost:
            check(status, "cublasLtMatmul")
        raise Refused(LOSES_NAN)
