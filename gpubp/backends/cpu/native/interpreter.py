"""Run a record without Python: call NumPy's own loops, BLAS and compiled loops one by one.

A program is a vector of 64-bit words, instruction after instruction: a code, how many words it has, and what it needs,
numbers and addresses. `bytecode.py` writes it; here it is run, by one function that Numba compiles once for all
networks. It lets go of Python's lock, so that workers are not in each other's way.

    code      words that follow
    UFUNC     loop, data, operands, n, axes, addresses, steps, then of every outer axis length and steps
    REDUCE    loop, data, rows, n, address of x, its step from row to row, address of out, bytes of a number, and of
              the number that a row begins with the address and the step
    ARGMAX    bytes of a number, rows, n, address of x, address of out
    GEMM      function, type, how a and b lie, m, n, k, a, lda, b, ldb, out, ldc
    GEMMS     those of GEMM, then of two axes length, step of a, step of b, step of out
    GEMV      function, type, how a lies, m, n, a, lda, x, step, out
    DOT       function, type, n, x, step, y, step, out
    AXPY      function, type, n, address of the number, x, step, out
    COPY      bytes at a time or which of `CASTS`, axes, to, from, then of every axis length, step to, step from
    FORMULA   function, then its arguments
    SKIP      address of a byte; if that is 0, so many words are left out
    TAKE      rows, bytes of a row, address of the indices, to, from
    FINITE    bytes of a number, latch, addresses of total, loss, alive, bad, good

This module needs Numba; nothing imports it before it is wanted.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import types

from .. import pointers
from ..pointers import BYTE, NUMBERS, WORD, as_pointer, primitive
from . import blas_calls, instructions, moves
from .blas_calls import (
    axpy_double,
    axpy_single,
    call_at,
    dot_double,
    dot_single,
    gemm_double,
    gemm_single,
    gemv_double,
    gemv_single,
)  # fmt: skip
from .instructions import ARGMAX, AXPY, COPY, DOT, FINITE, FORMULA, GEMM, GEMMS, GEMV, REDUCE, SKIP, TAKE, UFUNC
from .moves import copy, move_some
from .moves import put as _put
from .moves import word as _word

_byte = primitive(types.int64, 1, lambda b, address: b.zext(b.load(as_pointer(b, address, BYTE)), WORD))
_put_byte = primitive(types.void, 2, lambda b, at, byte: b.store(b.trunc(byte, BYTE), as_pointer(b, at, BYTE)))

# void loop(char **args, npy_intp *n, npy_intp *steps, void *data), a ufunc's; void formula(int64 *block), of loops.py
_loop = primitive(types.void, 5, lambda b, loop, *args: call_at(b, loop, ir.VoidType(), *args))
_formula = primitive(types.void, 2, lambda b, formula, block: call_at(b, formula, ir.VoidType(), block))


_single = primitive(types.float32, 1, lambda b, address: b.load(as_pointer(b, address, NUMBERS["f"])))
_double = primitive(types.float64, 1, lambda b, address: b.load(as_pointer(b, address, NUMBERS["d"])))
_njit = numba.njit(nogil=True)


def _ufunc(at: int) -> None:
    """UFUNC. Behind the fields stands room for a counter of each outer axis, and for the operands' addresses."""
    operands, axes = _word(at + 16), _word(at + 32)
    addresses, steps = at + 40, at + 40 + 8 * operands
    if axes == 0:
        _loop(_word(at), addresses, at + 24, steps, _word(at + 8))
        return
    size = 8 * (operands + 1)
    first = steps + 8 * operands  # of axes: length, then the steps
    room = first + size * axes
    for k in range(axes):
        _put(room + 8 * k, 0)
    current = room + 8 * axes
    for j in range(operands):
        _put(current + 8 * j, _word(addresses + 8 * j))
    while True:
        _loop(_word(at), current, at + 24, steps, _word(at + 8))
        k = axes - 1
        while k >= 0:
            axis, count = first + size * k, _word(room + 8 * k) + 1
            if count < _word(axis):
                _put(room + 8 * k, count)
                for j in range(operands):
                    _put(current + 8 * j, _word(current + 8 * j) + _word(axis + 8 + 8 * j))
                break
            _put(room + 8 * k, 0)
            for j in range(operands):
                _put(current + 8 * j, _word(current + 8 * j) - (count - 1) * _word(axis + 8 + 8 * j))
            k -= 1
        if k < 0:
            return


def _gemms(at: int) -> None:
    """GEMMS, whose three addresses go through both axes and back to where they were."""
    block, axes = at + 16, at + 16 + 8 * 11
    of_a, of_b, of_out = block + 40, block + 56, block + 72
    a, b, out = _word(of_a), _word(of_b), _word(of_out)
    for i in range(_word(axes)):
        for j in range(_word(axes + 32)):
            _put(of_a, a + i * _word(axes + 8) + j * _word(axes + 40))
            _put(of_b, b + i * _word(axes + 16) + j * _word(axes + 48))
            _put(of_out, out + i * _word(axes + 24) + j * _word(axes + 56))
            if _word(at + 8) == 0:
                gemm_single(_word(at), block)
            else:
                gemm_double(_word(at), block)
    _put(of_a, a)
    _put(of_b, b)
    _put(of_out, out)


def _reduce(at: int) -> None:
    """REDUCE, behind which is room for three addresses, three steps and a count."""
    rows, n, x, row, out, size, first, step = (
        _word(at + 16), _word(at + 24), _word(at + 32), _word(at + 40), _word(at + 48), _word(at + 56), _word(at + 64),
        _word(at + 72),
    )  # fmt: skip
    room = at + 80
    _put(room + 24, 0)
    _put(room + 32, size)
    _put(room + 40, 0)
    _put(room + 48, n)
    for _ in range(rows):
        move_some(out, first, size)
        _put(room, out)
        _put(room + 8, x)
        _put(room + 16, out)
        if n > 0:
            _loop(_word(at), room, room + 48, room + 24, _word(at + 8))
        x += row
        out += size
        first += step


def _argmax(at: int) -> None:
    """ARGMAX: of the largest number's first place, or the first NaN's."""
    size, rows, n, x, out = _word(at), _word(at + 8), _word(at + 16), _word(at + 24), _word(at + 32)
    for row in range(rows):
        at_row, best = x + row * n * size, 0
        largest = _single(at_row) if size == 4 else _double(at_row)
        for i in range(1, n):
            if largest != largest:
                break
            value = _single(at_row + 4 * i) if size == 4 else _double(at_row + 8 * i)
            if not value <= largest:
                largest, best = value, i
        _put(out + 8 * row, best)


def _take(at: int) -> None:
    """TAKE"""
    rows, size, indices, to, source = _word(at), _word(at + 8), _word(at + 16), _word(at + 24), _word(at + 32)
    for i in range(rows):
        move_some(to + i * size, source + _word(indices + 8 * i) * size, size)


def _finite(at: int) -> None:
    """FINITE: `check_finite` of `finite.py`, in float64 as Python's numbers are."""
    latch, total, loss = _word(at + 8), _word(at + 16), _word(at + 24)
    alive, bad, good = _word(at + 32), _word(at + 40), _word(at + 48)
    if _word(at) == 4:
        s = types.float64(_single(total)) + types.float64(_single(loss))
    else:
        s = _double(total) + _double(loss)
    if s - s != 0.0:
        _put_byte(alive, 0)
        _put_byte(bad, 1)
    elif _byte(alive) == 1:
        _put(good, _word(good) + 1)
    elif latch == 0:
        _put_byte(alive, 1)
        _put_byte(bad, 0)
        _put(good, _word(good) + 1)


_ufunc, _gemms, _reduce, _take = _njit(_ufunc), _njit(_gemms), _njit(_reduce), _njit(_take)
_argmax, _finite = _njit(_argmax), _njit(_finite)


def _run(first: int, end: int) -> None:
    at = first
    while at < end:
        code, words, at_fields = _word(at), _word(at + 8), at + 16
        if code == UFUNC:
            _ufunc(at_fields)
        elif code == GEMM:
            if _word(at_fields + 8) == 0:
                gemm_single(_word(at_fields), at_fields + 16)
            else:
                gemm_double(_word(at_fields), at_fields + 16)
        elif code == GEMMS:
            _gemms(at_fields)
        elif code == FORMULA:
            _formula(_word(at_fields), at_fields + 8)
        elif code == GEMV:
            if _word(at_fields + 8) == 0:
                gemv_single(_word(at_fields), at_fields + 16)
            else:
                gemv_double(_word(at_fields), at_fields + 16)
        elif code == DOT:
            if _word(at_fields + 8) == 0:
                dot_single(_word(at_fields), at_fields + 16)
            else:
                dot_double(_word(at_fields), at_fields + 16)
        elif code == AXPY:
            if _word(at_fields + 8) == 0:
                axpy_single(_word(at_fields), at_fields + 16)
            else:
                axpy_double(_word(at_fields), at_fields + 16)
        elif code == COPY:
            copy(at_fields)
        elif code == REDUCE:
            _reduce(at_fields)
        elif code == ARGMAX:
            _argmax(at_fields)
        elif code == SKIP:
            if _byte(_word(at_fields)) == 0:
                words += _word(at_fields + 8)
        elif code == TAKE:
            _take(at_fields)
        elif code == FINITE:
            _finite(at_fields)
        at += words * 8


def _repeat(head: int, head_end: int, first: int, end: int, times: int, moving: int, count: int) -> None:
    """A head and a program several times. moving: pairs of a word in the head and what is added to it each time."""
    for _ in range(times):
        _run(head, head_end)
        _run(first, end)
        for k in range(count):
            word = head + 8 * _word(moving + 16 * k)
            _put(word, _word(word) + _word(moving + 16 * k + 8))


_run = _njit(_run)
_repeat = _njit(_repeat)


def _kept(text: int) -> tuple[Any, Any]:
    """What Python calls. Numba keeps it for the next process as long as this file and `text` stay as they are."""

    def run(first: int, end: int) -> None:
        if text:
            _run(first, end)

    def repeat(head: int, head_end: int, first: int, end: int, times: int, moving: int, count: int) -> None:
        if text:
            _repeat(head, head_end, first, end, times, moving, count)

    return run, repeat


_texts = b"".join(Path(str(module.__file__)).read_bytes() for module in (blas_calls, instructions, moves, pointers))
_called = _kept(1 + zlib.crc32(_texts))
run = numba.njit("void(int64, int64)", nogil=True, cache=True)(_called[0])
repeat = numba.njit("void(int64, int64, int64, int64, int64, int64, int64)", nogil=True, cache=True)(_called[1])
