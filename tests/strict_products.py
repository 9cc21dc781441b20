"""Products of matrices on the strict stand-in for CuPy (see strict.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpubp.backends.cuda.bfloat16 import Bfloat16
from gpubp.backends.cuda.cublaslt import CublasLtUnavailable
from gpubp.backends.cuda.cublaslt_choice import LOSES_NAN, MASKS_0, MISREADS, RELUS
from strict_arrays import StrictArray, overlap
from strict_streams import Stream


class StrictProducts:
    """In the place of cublasLt: products that may be captured, and run NumPy's `dot` as the CPU does.

    epilogues: those it has; another one is refused.
    """

    epilogues: tuple[str, ...] = ("bias", "relu_bias", "relu_aux_bias", "drelu", "drelu_bgrad", "bgrada")

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def reserve(self, stream: Stream) -> None:
        """It needs no workspace."""

    def why_not(self, a: Any, b: Any, out: Any, *, epilogue: str | None = None, **options: Any) -> str:
        """Why `gemm` refuses this; "" if it doesn't."""
        if epilogue is not None and epilogue not in self.epilogues:
            return f"there is no kernel with the epilogue {epilogue}"
        arrays = [x.bits if isinstance(x, Bfloat16) else x for x in (a, b, *options.values())]
        if any(isinstance(x, StrictArray) and overlap(x, out) for x in arrays):
            return "out shares memory with what is read; give it its own"
        return ""

    def gemm(
        self,
        a: Any,
        b: Any,
        out: StrictArray,
        *,
        stream: Stream,
        compute: str = "float32",
        epilogue: str | None = None,
        **finish: StrictArray,
    ) -> StrictArray:
        assert stream == self._cupy._stream()
        if reason := self.why_not(a, b, out, stream=stream, epilogue=epilogue, **finish):
            raise CublasLtUnavailable(reason)
        function = _rounded(self.function(epilogue), compute)
        operands = [x.bits if isinstance(x, Bfloat16) else x for x in (a, b)]
        self._cupy._call(epilogue or "gemm", function, (out, *operands), finish, writes_first=True)
        return out

    def function(self, epilogue: str | None) -> Callable[..., None]:
        return _EPILOGUES[epilogue]


class LosingNaN(StrictProducts):
    """cublasLt whose ReLU gives 0 for NaN, as is documented, and which knows it, as the wrapper finds out."""

    def function(self, epilogue: str | None) -> Callable[..., None]:
        return _relu_that_loses_nan if epilogue in RELUS else _EPILOGUES[epilogue]

    def why_not(self, a: Any, b: Any, out: Any, *, epilogue: str | None = None, **options: Any) -> str:
        return LOSES_NAN if epilogue in RELUS else super().why_not(a, b, out, epilogue=epilogue, **options)


class Masking0(StrictProducts):
    """cublasLt whose ReLU is right, but whose mask counts 0 as positive."""

    def why_not(self, a: Any, b: Any, out: Any, *, epilogue: str | None = None, **options: Any) -> str:
        return MASKS_0 if epilogue == "relu_aux_bias" else super().why_not(a, b, out, epilogue=epilogue, **options)


class Misreading(LosingNaN):
    """cublasLt that reads masks in an order of its own, besides."""

    def why_not(self, a: Any, b: Any, out: Any, *, own_mask: bool = False, **options: Any) -> str:
        return MISREADS if own_mask else super().why_not(a, b, out, **options)


@functools.cache
def _rounded(function: Callable[..., None], compute: str) -> Callable[..., None]:
    """The product of operands that tensor cores would see: bfloat16, or float32 without its last 13 bits."""

    def product(out: np.ndarray, a: np.ndarray, b: np.ndarray, **finish: Any) -> None:
        operands = []
        for x in (a, b):
            if x.dtype == np.uint16:
                x = (x.astype(np.uint32) << 16).view(np.float32)
            elif compute == "tf32" and x.dtype == np.float32:
                x = (np.ascontiguousarray(x).view(np.uint32) & 0xFFFFE000).view(np.float32)
            operands.append(x)
        function(out, *operands, **finish)

    return product


def _plain(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    if out.ndim == 2 and out.flags.c_contiguous:
        np.dot(a, b, out=out)
    else:
        np.matmul(a, b, out=out)


def _bias(out: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> None:
    np.add(np.dot(a, b), bias, out=out)


def _relu_bias(out: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray, aux: Any = None) -> None:
    np.maximum(np.dot(a, b) + bias, 0, out=out)
    if aux is not None:
        bits = np.packbits(out > 0, axis=1, bitorder="little")
        aux[:, : bits.shape[1]] = bits


def _relu_that_loses_nan(out: np.ndarray, *arrays: np.ndarray, **finish: np.ndarray) -> None:
    _relu_bias(out, *arrays, **finish)
    np.fmax(out, 0, out=out)


def _drelu(out: np.ndarray, a: np.ndarray, b: np.ndarray, aux: np.ndarray, bias_gradient: Any = None) -> None:
    mask = np.unpackbits(aux, axis=1, count=out.shape[1], bitorder="little")
    np.multiply(np.dot(a, b), mask, out=out, casting="unsafe")
    if bias_gradient is not None:
        np.sum(out, axis=0, out=bias_gradient)


def _bgrada(out: np.ndarray, a: np.ndarray, b: np.ndarray, bias_gradient: np.ndarray) -> None:
    np.dot(a, b, out=out)
    np.sum(b, axis=0, out=bias_gradient)


_EPILOGUES = {
    None: _plain,
    "bias": _bias, "relu_bias": _relu_bias, "relu_aux_bias": _relu_bias, "drelu": _drelu, "drelu_bgrad": _drelu,
    "bgrada": _bgrada,
}  # fmt: skip
