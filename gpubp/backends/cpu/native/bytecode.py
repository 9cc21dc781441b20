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
import importlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from ...arrays import share
from ...recording import Call, address, replay_if
from ..finite import check_finite
from ..loops import ENTRIES, Fused

UFUNC, REDUCE, ARGMAX, GEMM, GEMV, DOT, AXPY, COPY, CAST, FORMULA, SKIP, TAKE, GEMMS, FINITE = range(14)
NO_TRANSPOSE, TRANSPOSE = 111, 112  # as CBLAS calls them
CASTS = {("?", "f"): 0, ("?", "d"): 1, ("f", "d"): 2, ("i", "l"): 3}
DOT_AT_ONCE = 2**30  # numbers: np.dot cuts longer vectors
SMALL_CAST = 2**16

Words = list[int]
Array = np.ndarray[Any, Any]


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


@lru_cache(maxsize=64)
def _blas(name: str) -> int | None:
    """The address of a CBLAS function, as "sgemm", in the library that NumPy itself calls."""
    symbols = ["scipy_cblas_{}64_", "cblas_{}64_"]
    if sys.platform != "darwin":  # elsewhere a 32-bit number takes as much room among arguments as one of 64 bits
        symbols += ["scipy_cblas_{}", "cblas_{}"]
    try:
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    for symbol in symbols:
        try:
            return ctypes.cast(getattr(library, symbol.format(name)), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


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
        if type(function) is FunctionType and function in ENTRIES:
            found = ENTRIES[function](self.kept, *args)
            return None if found is None else instruction(FORMULA, *found)
        if function in (np.dot, np.matmul):
            out = args[2] if len(args) == 3 else kwargs.get("out")
            if not isinstance(out, np.ndarray):
                return None
            if function is np.matmul and out.ndim > 2:
                return _products(args[0], args[1], out)
            return _product(args[0], args[1], out, function is np.dot)
        if isinstance(function, np.ufunc) and function.signature is None:
            return self._ufunc(function, args, kwargs)
        if function is np.copyto:
            return self._copy(*args) if len(args) == 2 and not kwargs else None
        if function is np.argmax:
            return _argmax(args, kwargs)
        if function is check_finite:
            return _finite(*args)
        if function is replay_if:
            words = self._all(args[1].calls)
            flag = np.asarray(args[0])
            return None if words is None else [*instruction(SKIP, address(flag), len(words)), *words]
        if getattr(function, "__name__", "") == "reduce":
            return _reduce(getattr(function, "__self__", None), args, kwargs)
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
            if a is not out and not _same(a, out) and share(a, out):
                return None
            operands.append(np.broadcast_to(a, out.shape))
        if not out.size:
            return []
        sizes, steps = _axes(out.shape, [a.strides for a in (*operands, out)])
        addresses = [address(a) for a in (*operands, out)]
        words = [*loop, len(addresses), sizes[-1], len(sizes) - 1, *addresses, *(s[-1] for s in steps)]
        for k in range(len(sizes) - 1):
            words += [sizes[k], *(s[k] for s in steps)]
        room = len(sizes) - 1 + len(addresses) if len(sizes) > 1 else 0
        return casts + instruction(UFUNC, *words, *[0] * room)

    def _cast(self, a: Array, kind: np.dtype[Any]) -> tuple[Array, Words] | None:
        which = CASTS.get((a.dtype.char, kind.char))
        if which is None or not a.flags.c_contiguous or a.size > SMALL_CAST:
            return None
        result = self._array(np.empty(a.shape, kind))
        return result, instruction(CAST, which, a.size, address(result), address(a))

    def _copy(self, out: Any, source: Any) -> Words | None:
        if not isinstance(out, np.ndarray):
            return None
        if not isinstance(source, np.ndarray):
            source = self._array(np.array(source, out.dtype))
        if source.dtype != out.dtype or out.itemsize not in (1, 4, 8) or share(out, source):
            return None
        if source.ndim > out.ndim:
            return None
        if not out.size:
            return []
        sizes, (to, of) = _axes(out.shape, [out.strides, np.broadcast_to(source, out.shape).strides])
        size = out.itemsize
        if to[-1] == of[-1] == size:
            size *= sizes.pop()
            to, of = to[:-1], of[:-1]
        words = [size, len(sizes), address(out), address(source)]
        for n, step, step_from in zip(sizes, to, of, strict=True):
            words += [n, step, step_from]
        return instruction(COPY, *words, *[0] * len(sizes))


def instruction(code: int, *fields: int) -> Words:
    """The words of one instruction.

    >>> instruction(COPY, 8, 0, 100, 200) == [COPY, 6, 8, 0, 100, 200]
    True
    """
    return [code, len(fields) + 2, *fields]


def _same(a: Array, b: Array) -> bool:
    return address(a) == address(b) and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype


def _axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[Words, list[Words]]:
    """The lengths of the axes, and the operands' steps, with as few axes as will do: at least one."""
    sizes: Words = []
    steps: list[Words] = [[] for _ in strides]
    for k, n in enumerate(shape):
        if n == 1:
            continue
        if sizes and all(s[-1] == own[k] * n for s, own in zip(steps, strides, strict=True)):
            sizes[-1] *= n  # one step along the axis before is all of this one
            for s, own in zip(steps, strides, strict=True):
                s[-1] = own[k]
        else:
            sizes.append(n)
            for s, own in zip(steps, strides, strict=True):
                s.append(own[k])
    if not sizes:
        return [1], [[0] for _ in strides]
    return sizes, steps


def _reduce(ufunc: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Words | None:
    """The largest or smallest of each row, whose bits don't depend on an order; a sum's do."""
    x, out = args[0] if len(args) == 1 else None, kwargs.get("out")
    if ufunc not in (np.maximum, np.minimum) or set(kwargs) - {"axis", "keepdims", "out"}:
        return None
    if not isinstance(x, np.ndarray) or not isinstance(out, np.ndarray) or kwargs.get("axis") not in (-1, x.ndim - 1):
        return None
    if x.dtype != out.dtype or x.dtype.char not in "fd" or not (x.flags.c_contiguous and out.flags.c_contiguous):
        return None
    loop, n = loop_of(ufunc, f"{x.dtype.char * 2}->{x.dtype.char}"), x.shape[-1]
    if loop is None or not x.size or share(x, out):
        return None
    size = x.itemsize
    words = [*loop, x.size // n, n, address(x), n * size, address(out), size, size]
    return instruction(REDUCE, *words, *[0] * 7)


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


def _product(a: Any, b: Any, out: Any, is_dot: bool) -> Words | None:
    """What np.dot, or np.matmul, asks of BLAS, by the shapes of a and b; not what they copy first, nor a aᵀ, which is
    half the work to BLAS."""
    kind = a.dtype.char
    if not kind == b.dtype.char == out.dtype.char or kind not in "fd":
        return None
    if any(share(one, other) for one, other in ((a, out), (b, out))):
        return None
    of_a, of_b = _sort(a), _sort(b)
    if of_a == of_b == "matrix" and address(a) == address(b):
        return None
    if is_dot and not (out.flags.c_contiguous and _whole(a) and _whole(b)):
        return None
    if not (is_dot or of_a == of_b == _sort(out) == "matrix"):
        return None
    letter, which = ("s", 0) if kind == "f" else ("d", 1)

    def blas(code: int, name: str, *fields: int) -> Words | None:
        function = _blas(letter + name)
        return None if function is None else instruction(code, function, which, *fields)

    if "single" in (of_a, of_b):
        vector, single = (b, a) if of_a == "single" else (a, b)
        return blas(AXPY, "axpy", vector.size, address(single), address(vector), _step(vector), address(out))
    if of_b == "column" and of_a != "matrix":
        n, places = a.size, (address(a), _step(a), address(b), _step(b), address(out))
        return blas(DOT, "dot", n, *places) if n <= DOT_AT_ONCE else None
    if (of_a == "matrix") != (of_b == "matrix"):
        matrix, vector = (a, b) if of_a == "matrix" else (b, a)
        how, row = _lies(matrix) or (0, 0)
        lengths = matrix.shape if how == NO_TRANSPOSE else matrix.shape[::-1]
        if matrix is b:
            how = TRANSPOSE if how == NO_TRANSPOSE else NO_TRANSPOSE
        of_vector = (address(vector), _step(vector))
        return blas(GEMV, "gemv", how, *lengths, address(matrix), row, *of_vector, address(out))
    one, other, there = _lies(a), _lies(b), _lies(out)
    if one is None or other is None or there is None or there[0] == TRANSPOSE:
        return None
    operands = (address(a), one[1], address(b), other[1], address(out), there[1])
    return blas(GEMM, "gemm", one[0], other[0], len(a), b.shape[1], len(b), *operands)


def _products(a: Any, b: Any, out: Array) -> Words | None:
    """Stacks of matrices, each of which np.matmul gives to BLAS by itself. Their leading axes are two, or more of which
    some have one step."""
    leading = out.shape[:-2]
    if a.shape[:-2] != leading or b.shape[:-2] != leading:
        return None
    if not out.size:
        return []
    if np.may_share_memory(a, b) and (address(a) == address(b) or a.strides[:-2] != b.strides[:-2]):
        return None  # some of them may be a aᵀ
    if any(share(one, other) for one, other in ((a, out), (b, out))):
        return None
    first = (0,) * len(leading)
    one = _product(a[first], b[first], out[first], is_dot=False)
    sizes, steps = _axes(leading, [m.strides[:-2] for m in (a, b, out)])
    if one is None or one[0] != GEMM or len(sizes) > 2:
        return None
    words = one[2:]
    for k in range(2):
        words += [sizes[k], *(s[k] for s in steps)] if k < len(sizes) else [1, 0, 0, 0]
    return instruction(GEMMS, *words)


def _sort(a: Array) -> str:
    """What a vector or matrix is to np.dot."""
    if a.size == 1:
        return "single"
    if a.ndim == 2 and len(a) > 1:
        return "matrix" if a.shape[1] > 1 else "column"
    return "column" if a.ndim == 1 else "row"


def _step(vector: Array) -> int:
    """How far it is from one number to the next, in numbers."""
    return int(vector.strides[1 if _sort(vector) == "row" else 0]) // vector.itemsize


def _whole(a: Array) -> bool:
    return a.ndim == 1 or bool(a.flags.c_contiguous or a.flags.f_contiguous)


def _lies(a: Array) -> tuple[int, int] | None:
    """How a matrix lies in memory: transposed or not, and how far it is from one row there to the next."""
    if a.flags.c_contiguous:
        return NO_TRANSPOSE, a.shape[1]
    if a.flags.f_contiguous:
        return TRANSPOSE, len(a)
    (down, right), size = a.strides, a.itemsize
    if right == size and down >= a.shape[1] * size and down % size == 0:
        return NO_TRANSPOSE, down // size
    if down == size and right >= len(a) * size and right % size == 0:
        return TRANSPOSE, right // size
    return None
