"""A record as a program for `interpreter.py`; calls that it can't translate stay Python calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...recording import Call, Record, address
from .. import compiled
from . import draws, rows  # noqa: F401  # they enter what they compile
from .bytecode import Code
from .instructions import COPY, TAKE, Array, Words, instruction


class Program(compiled.Program):
    """The calls of a record, as many of them as can be without Python.

    calls, parts, replay: see `compiled.Program`. whole: (first, end) of the words in memory if nothing stays Python's.

    >>> x = np.ones(3, "float32")
    >>> calls = [Call(np.add, (x, x, x), {})]
    >>> replay = Program(calls).replay if compiled.wanted() else Record(calls)       # a program needs Numba
    >>> replay(), x.tolist()
    (None, [2.0, 2.0, 2.0])
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        from .interpreter import run

        code, places = Code(), [0]
        native = []
        for call in calls:
            native.append(code.add(call))
            places.append(len(code.words))
        words = np.array(code.words, np.int64)
        places = [address(words) + 8 * place for place in places]
        self.calls = calls
        self.parts = [Call(run, (places[k], places[k + 1]), {}) if native[k] else call for k, call in enumerate(calls)]
        stretches: list[Call] = []
        for part in self.parts:
            if stretches and part.function is run is stretches[-1].function:
                part = Call(run, (stretches.pop().args[0], part.args[1]), {})
            stretches.append(part)
        self.whole = stretches[0].args if len(stretches) == 1 and all(native) else None
        self.repeats = self.whole is not None
        self.replay = Record(stretches)
        self.replay.kept = words, code.kept, calls
        self._heads: dict[Any, _Head] = {}

    def repeat(self, takes: Sequence[compiled.Take], indices: Array, tables: Sequence[compiled.Take]) -> None:
        """Do it several times, see `CompiledRecord.repeat`."""
        assert self.whole is not None
        places = [place for _, place in tables]
        key = tuple(address(a) for a in (*places, *(a for take in takes for a in take)))
        if key not in self._heads:
            self._heads = {key: _Head(takes, places)}
        self._heads[key].run(self.whole, indices, [table for table, _ in tables])


class _Head:
    """What is put in place before each of several replays; it does not keep the caller's sources alive."""

    def __init__(self, takes: Sequence[compiled.Take], places: Sequence[Array]) -> None:
        words: Words = []
        moving: Words = []
        for source, out in takes:
            moving += [len(words) + 4, out.shape[0] * 8]
            size = out[0].nbytes
            words += instruction(TAKE, out.shape[0], size, 0, address(out), address(source))
        for place in places:
            moving += [len(words) + 5, place.nbytes]
            words += instruction(COPY, place.nbytes, 0, address(place), 0)
        self._words, self._moving = np.array(words, np.int64), np.array(moving, np.int64)
        self._indices, self._tables = moving[: 2 * len(takes) : 2], moving[2 * len(takes) :: 2]

    def run(self, program: tuple[int, int], indices: Array, tables: Sequence[Array]) -> None:
        from .interpreter import repeat

        self._words[self._indices] = address(indices)
        self._words[self._tables] = [address(table) for table in tables]
        first, moving = address(self._words), address(self._moving)
        repeat(first, first + self._words.nbytes, *program, len(tables[0]), moving, len(self._moving) // 2)
