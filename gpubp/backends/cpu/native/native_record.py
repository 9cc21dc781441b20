"""A record without Python: its calls as a program for `machine.py`, and when that takes over."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...recording import Call, Record, replay_if
from ..loops import Fused, Loop
from .bytecode import COPY, TAKE, Array, Code, Words, address_of, instruction

__all__ = ["NativeRecord", "Program", "check_machine", "wanted"]

PRICE = 1.0  # seconds: what the machine costs, roughly
LOOP_PRICE = 0.5  # and a compiled formula

Take = tuple[Array, Array]

log = logging.getLogger("gpubp")


def wanted() -> bool:
    """Whether records are to run without Python: Numba is there, and GPUBP_FAST does not say 0.

    >>> wanted() in (True, False)
    True
    """
    return os.environ.get("GPUBP_FAST", "1") != "0" and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


class Program:
    """The calls of a record for the machine, and what stays Python's in between.

    calls: in their order. replay: does them all. whole: (first, end) of the words in memory if nothing stays Python's.

    >>> x = np.ones(3, "float32")
    >>> calls = [Call(np.add, (x, x, x), {})]
    >>> replay = Program(calls).replay if wanted() else Record(calls)       # a program needs Numba
    >>> replay(), x.tolist()
    (None, [2.0, 2.0, 2.0])
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        from .interpreter import run

        self._run, self.calls = run, calls
        code, places = Code(), [0]
        native = []
        for call in calls:
            native.append(code.add(call))
            places.append(len(code.words))
        words = np.array(code.words, np.int64)
        base = address_of(words)
        self._places = [base + 8 * place for place in places]
        self._native = native
        stretches: list[Call] = []
        first = 0
        for k in range(len(calls) + 1):
            if k == len(calls) or not native[k]:
                if places[k] > places[first]:
                    stretches.append(Call(run, (self._places[first], self._places[k]), {}))
                if k < len(calls):
                    stretches.append(calls[k])
                first = k + 1
        self.whole = stretches[0].args if len(stretches) == 1 and all(native) else None
        self.replay = Record(stretches)
        self.replay.kept = words, code.kept, calls

    def clocked(self) -> list[float]:
        """Do it once, with a reading of the clock behind each call: their seconds."""
        times = [time.perf_counter()]
        for k, (function, args, kwargs) in enumerate(self.calls):
            if self._native[k]:
                self._run(self._places[k], self._places[k + 1])
            else:
                function(*args, **kwargs)
            times.append(time.perf_counter())
        return [after - before for before, after in zip(times, times[1:], strict=False)]


class NativeRecord(Record):
    """A record that Python replays first, and the machine when that has cost as much time as the machine does.

    Whoever rents before buying pays at most twice what would have been best: short trainings never wait for a compiler.
    In the same way each formula is compiled when its passes have cost as much as that. `settle` does not wait.

    seconds: what one replay takes, 0 before it is known.

    >>> x = np.ones(3, "float32")
    >>> record = NativeRecord([Call(np.add, (x, x, x), {})])
    >>> record(), x.tolist()
    (None, [2.0, 2.0, 2.0])
    """

    broken = False  # whether Numba has failed, of any record; the others then don't try

    def __init__(self, calls: list[Call]) -> None:
        super().__init__(calls)
        self.program: Program | None = None
        self.spent = 0.0
        self.seconds = 0.0
        self._due: list[tuple[float, Loop]] = []  # by how many replays each loop is paid, the next one last
        self._replays = 0
        self._now = self._by_python
        self._heads: dict[Any, _Head] = {}

    def __call__(self) -> None:
        """Do it again."""
        self._now()

    def settle(self) -> None:
        """Compile now what would be compiled in the course of a long training."""
        self._try(self._settle)

    def _settle(self) -> None:
        for loop in dict.fromkeys(_loops(self.calls)):
            loop.compile()
        self._write()
        self._now = self._program.replay

    @property
    def _program(self) -> Program:
        assert self.program is not None
        return self.program

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # whatever Numba or its cache can't do, NumPy can
            if not NativeRecord.broken:
                log.warning("Numba can't compile a step, and NumPy goes on alone: %s", problem)
            NativeRecord.broken = True
            self._now = self._replay if self.program is None else self.program.replay

    def _write(self) -> None:
        check_machine()
        self.program = Program(self.calls)

    def _by_python(self) -> None:
        start = time.perf_counter()
        self._replay()
        self.spent += time.perf_counter() - start
        if self.spent > PRICE:
            self._now = self._replay if NativeRecord.broken else self._clocked
            if not NativeRecord.broken:
                self._try(self._write)

    def _clocked(self) -> None:
        """One replay that finds out what the passes cost."""
        self._now = self._program.replay
        costs: dict[Loop, float] = {}
        times = self._program.clocked()
        self.seconds = sum(times)
        for call, seconds in zip(self.calls, times, strict=True):
            loops = _loops([call])
            for loop in loops:
                costs[loop] = costs.get(loop, 0.0) + seconds / len(loops)
        self._due = sorted(((LOOP_PRICE / cost, loop) for loop, cost in costs.items()), key=lambda due: -due[0])
        if self._due:
            self._now = self._counting

    def _counting(self) -> None:
        self._program.replay()
        self._count(1)

    def _count(self, replays: int) -> None:
        self._replays += replays
        if self._due and self._replays >= self._due[-1][0]:
            self._try(self._buy)

    def repeat(self, takes: Sequence[Take], indices: Array, numbers: Array, place: Array) -> bool:
        """Do it several times without Python in between; False, and nothing is done, if it can't be.

        takes: before each time, out = source[the next of the indices, as many as out has rows], of every (source, out).
        numbers: (times, ...), and place = the next of them. All are contiguous, the indices int64.
        """
        if not self.seconds or self.program is None or self.program.whole is None:
            return False
        key = tuple(address_of(a) for take in takes for a in take)
        if key not in self._heads:
            self._heads = {key: _Head(takes, place)}
        head = self._heads[key]
        head.run(self.program.whole, indices, numbers)
        self._count(len(numbers))
        return True

    def _buy(self) -> None:
        while self._due and self._replays >= self._due[-1][0]:
            self._due.pop()[1].compile()
        self._write()
        if not self._due:
            self._now = self._program.replay


class _Head:
    """What is put in place before each of several replays; it does not keep the caller's sources alive."""

    def __init__(self, takes: Sequence[Take], place: Array) -> None:
        words: Words = []
        moving: Words = []
        for source, out in takes:
            moving += [len(words) + 4, out.shape[0] * 8]
            size = out[0].nbytes
            words += instruction(TAKE, out.shape[0], size, 0, address_of(out), address_of(source))
        moving += [len(words) + 5, place.nbytes]
        words += instruction(COPY, place.nbytes, 0, address_of(place), 0)
        self._words, self._moving = np.array(words, np.int64), np.array(moving, np.int64)
        self._indices, self._numbers = moving[:-2:2], moving[-2]

    def run(self, program: tuple[int, int], indices: Array, numbers: Array) -> None:
        from .interpreter import repeat

        self._words[self._indices] = address_of(indices)
        self._words[self._numbers] = address_of(numbers)
        first, moving = address_of(self._words), address_of(self._moving)
        repeat(first, first + self._words.nbytes, *program, len(numbers), moving, len(self._moving) // 2)


@lru_cache(maxsize=1)
def check_machine() -> None:
    """Compare the machine with NumPy on a few numbers, once in a process: a NumPy or BLAS that is built otherwise than
    those known here must be no worse than none. RuntimeError if they differ.

    >>> check_machine() if wanted() else None
    """
    for kind in ("float32", "float64"):
        a, b = (np.sin(np.arange(length, dtype=kind)) for length in (12, 20))
        A, B, out = a.reshape(3, 4), b.reshape(4, 5), np.zeros(20, kind)
        calls = [
            Call(np.dot, (A, B, out[:15].reshape(3, 5)), {}),
            Call(np.dot, (A, b[:4], out[15:18]), {}),
            Call(np.dot, (a, b[:12], out[18:19].reshape(())), {}),
            Call(np.add, (out[:15].reshape(3, 5), b[:5]), {"out": out[:15].reshape(3, 5)}),
            Call(np.exp, (out, out), {}),
            Call(np.maximum.reduce, (A,), {"axis": -1, "out": out[:3]}),
        ]
        Record(calls)()
        wanted_bits = out.tobytes()
        out[:] = 0.0
        Program(calls).replay()
        if out.tobytes() != wanted_bits:
            raise RuntimeError(
                f"NumPy {np.__version__} gives other numbers than its loops and its BLAS, called directly"
            )


def _loops(calls: Sequence[Call]) -> list[Loop]:
    """Those of the formulas among these calls that are not compiled yet."""
    found = []
    for function, args, _ in calls:
        if isinstance(function, Fused) and function.loop.address is None:
            found.append(function.loop)
        elif function is replay_if:
            found += _loops(args[1].calls)
    return found
