"""Choice of a cuBLAS kernel for a product: the first whose ReLU equals NumPy's or, if asked, the fastest of these.

cuBLAS's ReLU is documented to take NaN to 0, where `numpy.maximum` keeps it. A NaN that goes so is seen by no loss
and no guard. And nothing says what the mask has for exactly 0, where the derivative is 0 everywhere else in gpubp:
CUTLASS's kernels note !(z < 0). It is no rare case: biases begin with 0, and a row or a patch may be black. Nobody but
the kernel can say, so it is asked, once for each plan: whatever z = a b is,

    (17)  bias = NaN        →  max(z + bias, 0) must be NaN everywhere
    (18)  a = b = bias = 0  →  the mask must have no bit

Where none does so, gpubp's own kernel makes ReLU and mask (`own_masks`), and cuBLAS reads that mask in the backward
pass. The header says how long a row is, and not in which order its bits are. So here too the kernel is asked, once for
each plan:

    (19)  a = b = 1, an irregular mask  →  z · mask must be 0 where the mask is, and nowhere else

cuBLAS knows the shapes but has not tried them. Timed, the kernels come in an order that may be another, and may be
another tomorrow, where two are about equal; with the kernel change the last bits. So nothing is timed unasked, and the
first in cuBLAS's order is kept unless another is faster by more than a clock errs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any

import numpy as np

from .cublaslt_layouts import Refused
from .cublaslt_library import LASTING, HeuristicResult
from .timing import milliseconds

PROPOSALS = 8
AT_ONCE, ROUNDS = 5, 3  # products between two looks at the clock, and how often
ERRS = 0.03  # the clock, of a time
RELUS = ("relu_bias", "relu_aux_bias")  # the epilogues that may lose NaN
LOSES_NAN = "cublasLt's ReLU gives 0 for NaN here, where NumPy's keeps it"
MASKS_0 = "cublasLt's mask of a ReLU counts 0 as positive here, where gpubp's derivative is 0"
MISREADS = "cublasLt's kernel does not read a ReLU's mask bit by bit as gpubp's own kernel writes it"
DEFAULT_STREAMS = (0, 1, 2)  # null, legacy, of a thread
_NAN_BITS, _ABSOLUTE, _INFINITE, _ONE = 0x7FC0, 0x7FFF, 0x7F80, 0x3F80  # of bfloat16

Launch = Callable[[HeuristicResult], int]  # a product by one of the proposals; gives cublasLt's answer
Check = Callable[[int, str], None]  # raises what an answer of cublasLt's means, as `Descriptors.check` does


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


def fitting(results: list[HeuristicResult], room: int, check: Check) -> list[HeuristicResult]:
    """Those that can be used with a workspace of `room` bytes; refused if there is none.

    >>> fitting([], room=1 << 20, check=print)
    Traceback (most recent call last):
    ...
    gpubp.backends.cuda.cublaslt_layouts.Refused: cublasLt has no kernel for this product and epilogue on this device
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


def irregular_mask(shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A mask that no other order of bits, bytes or rows leaves as it is: by chance, but for the first bits of a row.

    >>> irregular_mask((1, 4)).tolist()
    [[True, True, False, True]]
    """
    mask = np.random.default_rng(1).integers(0, 2, shape, np.uint8).astype(bool)
    mask[0, :8] = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)[: shape[1]]  # read backwards, also where it is cut
    return mask


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
        return self._filled(count, dtype, float("nan"), _NAN_BITS)

    def ones(self, size: int, dtype: Any) -> Any:
        """`size` bytes of numbers 1 on the device."""
        return self._filled(-(-size // dtype.itemsize), dtype, 1.0, _ONE)

    def _filled(self, count: int, dtype: Any, number: float, bits: int) -> Any:
        half = str(dtype) == "bfloat16"
        vector = self._cupy.empty((count,), "uint16" if half else str(dtype))
        vector.fill(bits if half else number)
        return vector

    def zeros(self, size: int) -> Any:
        """`size` bytes of 0 on the device: numbers 0 of every type."""
        return self._cupy.zeros((size,), "uint8")

    def all_nan(self, out: Any) -> bool:
        """Whether every number of `out` is NaN; the host waits for the answer."""
        if str(out.dtype) != "bfloat16":
            return bool(self._cupy.isnan(out).all())
        bits = out.bits if hasattr(out, "bits") else out.view("uint16")
        return bool(self._cupy.greater(self._cupy.bitwise_and(bits, _ABSOLUTE), _INFINITE).all())

    def keeping_nan(
        self, results: list[HeuristicResult], launch: Launch, out: Any, stream: Any, check: Check
    ) -> Iterator[HeuristicResult]:
        """(17) The kernels that keep NaN, each tried when it is asked for; refused if none does.

        launch: makes the product with a bias of NaN, into `out`, on `stream`.
        """
        kept = lost = False
        for found in results:
            with self.waiting(stream):
                status = launch(found)
            if status:
                if status not in LASTING and not kept:
                    check(status, "cublasLtMatmul")
            elif self.all_nan(out):
                kept = True
                yield found
            else:
                lost = True
        if not kept:
            if not lost:
                check(status, "cublasLtMatmul")
            raise Refused(LOSES_NAN)

    def masking_0(
        self, results: Iterable[HeuristicResult], launch: Launch, aux: Any, columns: int, stream: Any, check: Check
    ) -> Iterator[HeuristicResult]:
        """(18) Those that leave no bit for 0; refused if none does.

        launch: makes the product with zeros in the place of a, b and bias, on `stream`. aux: the mask, of whose rows
        `columns` bits are read.
        """
        kept = False
        for found in results:
            with self.waiting(stream):
                check(launch(found), "cublasLtMatmul")
            if not np.unpackbits(aux.get(), axis=1, count=columns, bitorder="little").any():
                kept = True
                yield found
        if not kept:
            raise Refused(MASKS_0)

    def misread(self, launch: Callable[[], int], out: Any, aux: Any, stream: Any, check: Check) -> str:
        """(19) MISREADS, or "" where a product reads a mask of gpubp's own as it was written.

        launch: makes the product with ones in the place of a and b and with `aux` as the mask, into `out`, on `stream`.
        """
        mask = irregular_mask(out.shape)
        written = np.zeros(aux.shape, np.uint8)
        bits = np.packbits(mask, axis=1, bitorder="little")
        written[:, : bits.shape[1]] = bits
        aux.set(written)
        with self.waiting(stream):
            check(launch(), "cublasLtMatmul")
        numbers = out if str(out.dtype) != "bfloat16" else out.bits if hasattr(out, "bits") else out.view("uint16")
        return "" if np.array_equal(numbers.get() != 0, mask) else MISREADS

    def fastest(self, results: list[HeuristicResult], launch: Launch, stream: Any) -> HeuristicResult:
        """The kernel that makes the product `launch` on `stream` in the least time."""
        with self.waiting(stream):
            times = [self._time(partial(launch, found), stream) for found in results]
        within = (1 + ERRS) * min(times)
        return next(found for found, time in zip(results, times, strict=True) if time <= within)

    def _time(self, launch: Callable[[], int], stream: Any) -> float:
        """Milliseconds that some products take; ∞ where a kernel makes none."""
        if launch():  # the first loads it
            return inf
        try:
            return min(milliseconds(self._cupy.cuda, stream, self._captured(launch, stream), ROUNDS))
        except RuntimeError:  # ours, or CuPy's: it can't stand in a graph, which is what it is for
            return inf

    def _captured(self, launch: Callable[[], int], stream: Any) -> Callable[[], None]:
        """AT_ONCE products as a graph, since small ones are done before the host could ask for the next; one by one
        on a stream that can't be captured."""

        def many() -> None:
            for _ in range(AT_ONCE):
                if status := launch():
                    raise RuntimeError(f"cublasLtMatmul answered {status}")

        if isinstance(stream, Address) or stream.ptr in DEFAULT_STREAMS:
            return many
        stream.begin_capture()
        try:
            many()
        finally:
            graph = stream.end_capture()
        return partial(graph.launch, stream)
