"""Translation of recorded calls into instructions for `interpreter.py`, with bitwise identical results.

    add(a2, a3, a2)         UFUNC   the loop that np.add has for these types, and the arrays' addresses and steps
    dot(a0, a1, a2)         GEMM    the function that np.dot calls in the BLAS of this NumPy
    Adam_rule(a4, ...)      FORMULA what Numba has compiled (`loops.py`), or else one UFUNC an operation

NumPy decides at each call by which loop and with which steps an operation is to be done; in a record the answer is
always the same. So it is asked once. What it would do beyond that (buffers for casts of other types, copies of operands
that overlap, sums in an order of its own) is not imitated: such calls stay Python's, between two stretches of the
program.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...arrays import share
from ...recording import Call, address, replay_if
from ..finite import check_finite
from ..loops import ENTRIES, Fused, are_one
from .instructions import ARGMAX, CASTS, COPY, FINITE, FORMULA, REDUCE, SKIP, UFUNC, Array, Words, axes_of, instruction
from .products import product, products

SMALL_CAST = 2**16


class _Ufunc(ctypes.Structure):
    """The head of PyUFuncObject, of NumPy's C-API."""

    _fields_ = [
        ("head", ctypes.c_byte * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    ]


@lru_cache(maxsize=1024)
def loop_of(ufunc: np.ufunc, kinds: str) -> tuple[int, int] | None:
    """(address, data) of the loop that a ufunc has for these types of operands, as "ff->f"; None if it has none.

    >>> loop_of(np.add, "ff->f") is None, loop_of(np.add, "ff->d")
    (False, None)
    """
    if kinds not in ufunc.types:
        return None
    inside, number = _Ufunc.from_address(id(ufunc)), ufunc.types.index(kinds)
    if (inside.nin, inside.nout, inside.ntypes) != (ufunc.nin, ufunc.nout, ufunc.ntypes):
        return None  # not the NumPy that is known here
    loop = inside.functions[number]
    return (int(loop), int((inside.data[number] if inside.data else 0) or 0)) if loop else None


class Code:
    """A program while it is written.

    words: so far. kept: what must live as long as it.

    >>> x, y = np.ones(3, "float32"), np.ones(3, "float32")
    >>> code = Code()
    >>> code.add(Call(np.add, (x, y, x), {})), code.add(Call(np.linalg.inv, (x,), {}))
    (True, False)
    """

    def __init__(self) -> None:
        self.words: Words = []
        self.kept: list[Any] = []

    def add(self, call: Call) -> bool:
        """Write one call, if it can be done without Python."""
        words = self._words(call)
        self.words += words or ()
        return words is not None

    def _words(self, call: Call) -> Words | None:
        function, args, kwargs = call
        if any(isinstance(a, np.ndarray) and not a.flags.aligned for a in (*args, *kwargs.values())):
            return None
        if isinstance(function, Fused):
            if function.loop.address is None:
                return self._all(function.passes)
            return instruction(FORMULA, function.loop.address, *function.loop.block(args))
        entry = ENTRIES.get(getattr(function, "__func__", function))
        if entry is not None:
            found = entry(self.kept, *args)
            return None if found is None else instruction(FORMULA, *found)
        if function in (np.dot, np.matmul):
            out = args[2] if len(args) == 3 else kwargs.get("out")
            if not isinstance(out, np.ndarray):
                return None
            if function is np.matmul and out.ndim > 2:
                return products(args[0], args[1], out)
            return product(args[0], args[1], out, function is np.dot)
        if isinstance(function, np.ufunc) and function.signature is None:
            return self._ufunc(function, args, kwargs)
        if function is np.copyto:
            return self._copy(*args) if len(args) == 2 and not set(kwargs) - {"casting"} else None
        if function is np.argmax:
            return _argmax(args, kwargs)
        if function is check_finite:
            return _finite(*args)
        if function is replay_if:
            words = self._all(args[1].calls)
            flag = np.asarray(args[0])
            return None if words is None else [*instruction(SKIP, address(flag), len(words)), *words]
        if getattr(function, "__name__", "") == "reduce":
            return _reduce(getattr(function, "__self__", None), args, kwargs, self._array)
        return None

    def _all(self, calls: Sequence[Call]) -> Words | None:
        words: Words = []
        for call in calls:
            some = self._words(call)
            if some is None:
                return None
            words += some
        return words

    def _array(self, a: Any) -> Array:
        kept: Array = np.asarray(a)
        self.kept.append(kept)
        return kept

    def _ufunc(self, ufunc: np.ufunc, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Words | None:
        outs = args[ufunc.nin :] or (kwargs.get("out"),)
        if ufunc.nout != 1 or set(kwargs) - {"out"} or len(outs) != 1 or not isinstance(outs[0], np.ndarray):
            return None
        out, given = outs[0], args[: ufunc.nin]
        if not all(isinstance(a, np.ndarray) or type(a) in (int, float) for a in given):
            return None
        kinds = ufunc.resolve_dtypes((*(a.dtype if isinstance(a, np.ndarray) else type(a) for a in given), None))
        if kinds[-1] != out.dtype or not all(k.isnative for k in kinds):
            return None
        loop = loop_of(ufunc, "".join(k.char for k in kinds[:-1]) + "->" + kinds[-1].char)
        if loop is None:
            return None
        casts: Words = []
        operands = []
        for a, kind in zip(given, kinds, strict=False):
            if not isinstance(a, np.ndarray):
                a = self._array(np.array(a, kind))
            if a.dtype != kind:
                cast = self._cast(a, kind)
                if cast is None:
                    return None
                a, words = cast
                casts += words
            if a is not out and not are_one(a, out) and share(a, out):
                return None
            operands.append(np.broadcast_to(a, out.shape))
        if not out.size:
            return []
        sizes, steps = axes_of(out.shape, [a.strides for a in (*operands, out)])
        addresses = [address(a) for a in (*operands, out)]
        words = [*loop, len(addresses), sizes[-1], len(sizes) - 1, *addresses, *(s[-1] for s in steps)]
        for k in range(len(sizes) - 1):
            words += [sizes[k], *(s[k] for s in steps)]
        room = len(sizes) - 1 + len(addresses) if len(sizes) > 1 else 0
        return casts + instruction(UFUNC, *words, *[0] * room)

    def _cast(self, a: Array, kind: np.dtype[Any]) -> tuple[Array, Words] | None:
        if a.dtype.char + kind.char not in CASTS or not a.flags.c_contiguous or a.size > SMALL_CAST:
            return None
        result = self._array(np.empty(a.shape, kind))
        return result, _moved(result, a)

    def _copy(self, out: Any, source: Any) -> Words | None:
        if not isinstance(out, np.ndarray):
            return None
        if not isinstance(source, np.ndarray):
            source = self._array(np.array(source, out.dtype))
        if source.dtype != out.dtype and source.dtype.char + out.dtype.char not in CASTS:
            return None
        if out.itemsize not in (1, 4, 8) or share(out, source) or source.ndim > out.ndim:
            return None
        return _moved(out, np.broadcast_to(source, out.shape)) if out.size else []


def _moved(out: Array, source: Array) -> Words:
    """The numbers of an array in another of the same shape, of the same type or one that `CASTS` has."""
    sizes, (to, of) = axes_of(out.shape, [out.strides, source.strides])
    first = out.itemsize if source.dtype == out.dtype else CASTS[source.dtype.char + out.dtype.char]
    if to[-1] == of[-1] == first:
        first *= sizes.pop()
        to, of = to[:-1], of[:-1]
    words = [first, len(sizes), address(out), address(source)]
    for n, step, step_from in zip(sizes, to, of, strict=True):
        words += [n, step, step_from]
    return instruction(COPY, *words, *[0] * len(sizes))


def _reduce(ufunc: Any, args: tuple[Any, ...], kwargs: dict[str, Any], keep: Callable[[Any], Array]) -> Words | None:
    """Over the last axes, the largest or smallest of each row, whose bits don't depend on an order; a sum's do. Over
    others, of which NumPy takes one slice after the other."""
    x, out = args[0] if len(args) == 1 else None, kwargs.get("out")
    if ufunc not in (np.maximum, np.minimum, np.add) or set(kwargs) - {"axis", "keepdims", "out", "initial"}:
        return None
    if not isinstance(x, np.ndarray) or not isinstance(out, np.ndarray) or kwargs.get("axis") is None:
        return None
    axes = sorted(k % x.ndim for k in np.atleast_1d(kwargs["axis"]).tolist())
    if axes != list(range(axes[0], axes[-1] + 1)):
        return None
    if x.dtype != out.dtype or x.dtype.char not in "fd" or not (x.flags.c_contiguous and out.flags.c_contiguous):
        return None
    loop, end = loop_of(ufunc, f"{x.dtype.char * 2}->{x.dtype.char}"), axes[-1] + 1
    n, width = math.prod(x.shape[axes[0] : end]), math.prod(x.shape[end:])
    if loop is None or not x.size or share(x, out):
        return None
    size, rows = x.itemsize, x.size // (n * width)
    if width == 1:
        first, rest = [address(x), n * size], [n - 1, address(x) + size]
        if "initial" in kwargs:
            first, rest = [address(keep(np.array(kwargs["initial"], x.dtype))), 0], [n, address(x)]
        words = [*loop, rows, *rest, n * size, address(out), size, *first]
        return None if ufunc is np.add else instruction(REDUCE, *words, *[0] * 7)
    if "initial" in kwargs:
        return None
    step, to = width * size, address(out)
    if ufunc is np.add:
        first, of, slices = _moved(out, np.broadcast_to(_start_of_sums(x.dtype), out.shape)), address(x), n
    else:
        first, of, slices = (
            instruction(COPY, step, 1, to, address(x), rows, step, n * step, 0),
            address(x) + step,
            n - 1,
        )
    if not slices:
        return first
    words = [*loop, 3, width, 2, to, of, to, size, size, size, rows, step, n * step, step, slices, 0, step, 0]
    return first + instruction(UFUNC, *words, *[0] * 5)


@lru_cache(maxsize=2)
def _start_of_sums(dtype: Any) -> Array:
    """To which NumPy adds: 0, or -0 in other versions of it, which leaves the sign of sums of -0."""
    start: Array = np.add.reduce(np.full((1, 2), -0.0, dtype), axis=0)[:1]
    return start


def _argmax(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Words | None:
    x, out = args[0] if len(args) == 1 else None, kwargs.get("out")
    if set(kwargs) != {"axis", "out"} or not isinstance(x, np.ndarray) or not isinstance(out, np.ndarray):
        return None
    if kwargs["axis"] not in (-1, x.ndim - 1) or x.dtype.char not in "fd" or out.dtype != np.int64 or not x.size:
        return None
    if not (x.flags.c_contiguous and out.flags.c_contiguous):
        return None
    return instruction(ARGMAX, x.itemsize, x.size // x.shape[-1], x.shape[-1], address(x), address(out))


def _finite(total: Any, loss: Any, alive: Any, bad: Any, good: Any, latch: bool) -> Words | None:
    views = [np.asarray(a) for a in (total, loss, alive, bad, good)]
    if "".join(a.dtype.char for a in views) not in ("ff??l", "dd??l"):
        return None
    return instruction(FINITE, views[0].itemsize, latch, *map(address, views))
