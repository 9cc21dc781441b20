"""Elementary functions of arrays by NumPy, piece by piece, so that what is computed in between stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..program import Number, Program
from .steps import DO, Array

PIECE = 16384  # numbers: of fewer Python takes longer than NumPy


class _Pass(NamedTuple):
    """One operation. operands: (kind, number) of "input", "real", "mask" or "constant"."""

    do: Callable[..., None]
    operands: tuple[tuple[str, Any], ...]
    target: tuple[str, int]


class Passes:
    """What NumPy does for a function of float64 numbers, in as few places as will do.

    >>> from .steps import written
    >>> passes = Passes(written(lambda x: x * x + 1.0))
    >>> passes(x := np.arange(3.0), x), x.tolist()
    (None, [1.0, 2.0, 5.0])
    """

    def __init__(self, program: Program) -> None:
        last, counts = program.last_reads(), {"real": 0, "mask": 0}
        places: dict[int, tuple[str, int]] = {0: ("input", 0)}
        idle: dict[str, list[int]] = {"real": [], "mask": []}
        self._passes: list[_Pass] = []
        for k, (operation, operands) in enumerate(program.steps):
            value = k + 1
            dying = {o for o in operands if not isinstance(o, Number) and last[o] == k and o > 0}
            kind = "mask" if program.is_bool[value] else "real"
            free = [places[o] for o in dying]
            # `select` writes b before it reads a
            last_one = operands[-1:] if operation == "select" else operands
            own = [places[o] for o in last_one if o in dying and not isinstance(o, Number)]
            target = next((p for p in own if p[0] == kind), None)
            if target is None:
                number = idle[kind].pop() if idle[kind] else counts[kind]
                counts[kind] = max(counts[kind], number + 1)
                target = (kind, number)
            for p in set(free) - {target}:
                idle[p[0]].append(p[1])
            given = tuple(("constant", np.array(float(o))) if isinstance(o, Number) else places[o] for o in operands)
            self._passes.append(_Pass(DO[operation], given, target))
            places[value] = target
        self.result = places[int(program.outputs[0])]
        self.counts = counts["real"], counts["mask"]

    def needs(self, length: int) -> list[tuple[tuple[int, int], Any]]:
        """The shapes and types of the memory that it works in, of vectors of this length."""
        size = min(max(length, 1), PIECE)
        return [((self.counts[0], size), np.float64), ((self.counts[1], size), np.bool_), ((1, size), np.float64)]

    def __call__(self, x: Array, out: Array, *held: Array) -> None:
        """out = f(x), of vectors, float32 or float64; out may be x. held: memory of the shapes that `needs` has."""
        size = min(max(len(x), 1), PIECE)
        arrays = held or [np.empty(shape, dtype) for shape, dtype in self.needs(len(x))]
        memory = dict(zip(("real", "mask", "input"), arrays, strict=True))
        with np.errstate(all="ignore"):
            for first in range(0, len(x), size):
                some, result = x[first : first + size], out[first : first + size]
                places = {kind: [a[: len(some)] for a in several] for kind, several in memory.items()}
                np.copyto(places["input"][0], some)
                for do, operands, (kind, number) in self._passes:
                    given = [o if k == "constant" else places[k][o] for k, o in operands]
                    do(*given, places[kind][number])
                np.copyto(result, places[self.result[0]][self.result[1]], casting="same_kind")


@lru_cache(maxsize=64)
def passes_of(program: Program) -> Passes:
    """The passes of a program, made once.

    >>> from .steps import written
    >>> passes_of(written(lambda x: x + 1.0)).counts
    (1, 0)
    """
    return Passes(program)


def compute(program: Program, x: Array, out: Array) -> Array:
    """out = f(x), of arrays of one shape.

    >>> from .steps import written
    >>> compute(written(lambda x: x + 1.0), np.ones((2, 1)), np.empty((2, 1))).tolist()
    [[2.0], [2.0]]
    """
    x = np.asarray(x)
    if x.shape != out.shape:
        x = np.broadcast_to(x, out.shape)
    given = x.reshape(-1)
    alike = x is out or (x.ctypes.data == out.ctypes.data and x.strides == out.strides and x.dtype == out.dtype)
    if not alike and np.may_share_memory(given, out):
        given = given.copy()
    if out.flags.c_contiguous:
        passes_of(program)(given, out.reshape(-1))
    else:
        result = np.empty(out.size, out.dtype)
        passes_of(program)(given, result)
        np.copyto(out, result.reshape(out.shape))
    return out
