"""Calls of CBLAS for `interpreter.py`: each takes the address of the function and that of a block of its arguments."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types

from ..pointers import BYTE, NUMBERS, WORD, as_pointer, primitive

ROW_MAJOR = WORD(101)  # as CBLAS calls it


def call_at(b: Any, function: Any, result: Any, *args: Any) -> Any:
    """What a builder writes to call the function at an address.

    >>> block = ir.Function(ir.Module(), ir.FunctionType(WORD, []), "f").append_basic_block()
    >>> call_at(ir.IRBuilder(block), WORD(64), WORD, WORD(1)).type == WORD
    True
    """
    return b.call(as_pointer(b, function, ir.FunctionType(result, [a.type for a in args])), args)


def _fields(b: Any, block: Any, count: int) -> list[Any]:
    at = as_pointer(b, block, WORD)
    return [b.load(b.gep(at, [WORD(k)])) for k in range(count)]


def _fill(b: Any, to: Any, count: Any) -> Any:
    """So many bytes are 0."""
    pointer, number = BYTE.as_pointer(), ir.IntType(32)
    function = numba.core.cgutils.get_or_insert_function(
        b.module, ir.FunctionType(pointer, [pointer, number, WORD]), "memset"
    )
    return b.call(function, [as_pointer(b, to, BYTE), number(0), count])


def _gemm_of(kind: str) -> Any:
    one, zero = (ir.Constant(NUMBERS[kind], value) for value in (1.0, 0.0))

    def emit(b: Any, function: Any, block: Any) -> Any:
        of_a, of_b, m, n, k, a, lda, of, ldb, out, ldc = _fields(b, block, 11)
        args = ROW_MAJOR, of_a, of_b, m, n, k, one, a, lda, of, ldb, zero, out, ldc
        return call_at(b, function, ir.VoidType(), *args)

    return primitive(types.void, 2, emit)


def _gemv_of(kind: str) -> Any:
    one, zero = (ir.Constant(NUMBERS[kind], value) for value in (1.0, 0.0))

    def emit(b: Any, function: Any, block: Any) -> Any:
        of_a, m, n, a, lda, x, step, out = _fields(b, block, 8)
        return call_at(b, function, ir.VoidType(), ROW_MAJOR, of_a, m, n, one, a, lda, x, step, zero, out, WORD(1))

    return primitive(types.void, 2, emit)


def _dot_of(kind: str) -> Any:
    def emit(b: Any, function: Any, block: Any) -> Any:
        n, x, step_x, y, step_y, out = _fields(b, block, 6)
        return b.store(call_at(b, function, NUMBERS[kind], n, x, step_x, y, step_y), as_pointer(b, out, NUMBERS[kind]))

    return primitive(types.void, 2, emit)


def _axpy_of(kind: str) -> Any:
    """As np.dot multiplies by one number: n numbers are added to zeros, and one is not."""

    def emit(b: Any, function: Any, block: Any) -> Any:
        n, number, x, step, out = _fields(b, block, 5)
        factor, to = (as_pointer(b, address, NUMBERS[kind]) for address in (number, out))
        factor = b.load(factor)
        one = b.icmp_signed("==", n, WORD(1))
        with b.if_else(one) as (single, several):
            with single:
                b.store(b.fmul(factor, b.load(as_pointer(b, x, NUMBERS[kind]))), to)
            with several:
                _fill(b, out, b.mul(n, WORD(4 if kind == "f" else 8)))
                call_at(b, function, ir.VoidType(), n, factor, x, step, out, WORD(1))
        return None

    return primitive(types.void, 2, emit)


gemm_single, gemm_double = _gemm_of("f"), _gemm_of("d")
gemv_single, gemv_double = _gemv_of("f"), _gemv_of("d")
dot_single, dot_double = _dot_of("f"), _dot_of("d")
axpy_single, axpy_double = _axpy_of("f"), _axpy_of("d")
