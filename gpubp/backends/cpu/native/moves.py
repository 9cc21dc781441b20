"""Copies numbers from one place in memory to another, or from one type to another: COPY of `interpreter.py`.

This module needs Numba; nothing imports it before it is wanted.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from ..pointers import BYTE, NUMBERS, WORD, as_pointer, primitive
from .instructions import CASTS

SINGLE_WORD = ir.IntType(32)
TYPES = NUMBERS | {"i": SINGLE_WORD, "l": WORD}
CONVERSIONS = {
    "?f": "uitofp",
    "?d": "uitofp",
    "fd": "fpext",
    "df": "fptrunc",
    "fl": "fptosi",
    "dl": "fptosi",
    "il": "sext",
}

word = primitive(types.int64, 1, lambda b, address: b.load(as_pointer(b, address, WORD)))
put = primitive(types.void, 2, lambda b, address, word: b.store(word, as_pointer(b, address, WORD)))


def _memcpy(b: Any, to: Any, source: Any, count: Any) -> Any:
    pointer = BYTE.as_pointer()
    function = numba.core.cgutils.get_or_insert_function(
        b.module, ir.FunctionType(pointer, [pointer, pointer, WORD]), "memcpy"
    )
    return b.call(function, [as_pointer(b, to, BYTE), as_pointer(b, source, BYTE), count])


def _mover(kind: Any) -> Any:
    return primitive(types.void, 2, lambda b, to, of: b.store(b.load(as_pointer(b, of, kind)), as_pointer(b, to, kind)))


def _caster(kinds: str) -> Any:
    """One number from one type to another, as C casts it."""
    source, to = (TYPES[kind] for kind in kinds)

    def emit(b: Any, address: Any, of: Any) -> Any:
        value = getattr(b, CONVERSIONS[kinds])(b.load(as_pointer(b, of, source)), to)
        return b.store(value, as_pointer(b, address, to))

    return primitive(types.void, 2, emit)


_njit = numba.njit(nogil=True)


def _line_of(kinds: str) -> Any:
    cast, (size_from, size) = _caster(kinds), (np.dtype(kind).itemsize for kind in kinds)

    @_njit  # type: ignore[untyped-decorator]
    def whole(n: int, to: int, source: int) -> None:
        for i in range(n):
            cast(to + size * i, source + size_from * i)

    @_njit  # type: ignore[untyped-decorator]
    def line(n: int, to: int, step: int, source: int, step_from: int) -> None:
        if step == size and step_from == size_from:  # the steps are constants, so that many are cast at a time
            whole(n, to, source)
        else:
            for i in range(n):
                cast(to + step * i, source + step_from * i)

    return line


_move = primitive(types.void, 3, _memcpy)
_move_1, _move_4, _move_8 = _mover(BYTE), _mover(SINGLE_WORD), _mover(WORD)
_1, _2, _3, _4, _5, _6, _7 = map(_line_of, CASTS)


@_njit  # type: ignore[untyped-decorator]
def move_some(to: int, source: int, size: int) -> None:
    """So many bytes."""
    if size == 4:
        _move_4(to, source)
    elif size == 8:
        _move_8(to, source)
    elif size == 1:
        _move_1(to, source)
    else:
        _move(to, source, size)


@_njit  # type: ignore[untyped-decorator]
def _cast(which: int, n: int, to: int, step: int, source: int, step_from: int) -> None:
    if which == -1:
        _1(n, to, step, source, step_from)
    elif which == -2:
        _2(n, to, step, source, step_from)
    elif which == -3:
        _3(n, to, step, source, step_from)
    elif which == -4:
        _4(n, to, step, source, step_from)
    elif which == -5:
        _5(n, to, step, source, step_from)
    elif which == -6:
        _6(n, to, step, source, step_from)
    else:
        _7(n, to, step, source, step_from)


@_njit  # type: ignore[untyped-decorator]
def copy(at: int) -> None:
    """COPY, the last two axes in loops of their own."""
    size, axes, to, source = word(at), word(at + 8), word(at + 16), word(at + 24)
    first = at + 32
    if axes == 0:
        move_some(to, source, size)
        return
    room = first + 24 * axes
    for k in range(axes):
        put(room + 8 * k, 0)
    last = first + 24 * (axes - 1)
    n, step_to, step_from = word(last), word(last + 8), word(last + 16)
    while True:
        if size == 4:
            for i in range(n):
                _move_4(to + i * step_to, source + i * step_from)
        elif size > 0:
            for i in range(n):
                move_some(to + i * step_to, source + i * step_from, size)
        else:
            _cast(size, n, to, step_to, source, step_from)
        k = axes - 2
        while k >= 0:
            axis, count = first + 24 * k, word(room + 8 * k) + 1
            if count < word(axis):
                put(room + 8 * k, count)
                to += word(axis + 8)
                source += word(axis + 16)
                break
            put(room + 8 * k, 0)
            to -= (count - 1) * word(axis + 8)
            source -= (count - 1) * word(axis + 16)
            k -= 1
        if k < 0:
            return
