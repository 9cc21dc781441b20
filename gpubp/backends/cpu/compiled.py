"""A recorded step is compiled after its replays have taken as long as compiling takes.

Compiled code has the bits of NumPy's calls, and takes over only after one replay in which it was compared with them
(`program_check.py`). So it may take over at any step, and short trainings never wait for a compiler.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from ..arrays import Array
from ..recording import Call, Record, replay_if
from .loops import Fused, Loop, compiling
from .program_check import first_difference

PRICE = 1.0  # seconds: what the first program of a process costs, roughly
LOOP_PRICE = 0.5  # seconds: and what a loop costs

Take = tuple[Array, Array]

log = logging.getLogger("gpubp")


def wanted() -> bool:
    """Whether records are to be compiled: Numba is installed, and GPUBP_FAST does not say 0.

    >>> wanted() in (True, False)
    True
    """
    return os.environ.get("GPUBP_FAST", "1") != "0" and installed()


@lru_cache(maxsize=1)
def installed() -> bool:
    """Whether Numba is installed.

    >>> installed() in (True, False)
    True
    """
    return importlib.util.find_spec("numba") is not None


class Program:
    """The calls of a record in Python, with compiled loops in place of formulas. `native` has one without Python.

    calls: in their order. parts: what is called in place of each. replay: does them all. repeats: whether it can do so
    several times without Python in between.

    >>> program = Program([Call(print, ("done",), {})])
    >>> program.replay()
    done
    """

    repeats = False

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        kept: list[Any] = []
        self.parts = _with_loops(calls, kept)
        self.replay = Record(self.parts)
        self.replay.kept = kept

    def clocked(self) -> list[float]:
        """Do it once; the seconds that each call took."""
        clock = time.perf_counter
        times = [clock()]
        for function, args, kwargs in self.parts:
            function(*args, **kwargs)
            times.append(clock())
        return [after - before for before, after in zip(times, times[1:], strict=False)]

    def repeat(self, takes: Sequence[Take], indices: Array, tables: Sequence[Take]) -> None:
        """Do it several times, see `CompiledRecord.repeat`, where it `repeats`."""
        raise NotImplementedError("Python is needed between two replays")


def _with_loops(calls: Sequence[Call], kept: list[Any]) -> list[Call]:
    """The calls, with the loops of formulas that have been compiled. kept: what must live as long as they."""
    found = []
    for call in calls:
        function, args, _ = call
        if isinstance(function, Fused) and function.loop.address is not None:
            block, loop = function.loop.bound(args)
            kept += [block, args, function]
            call = Call(loop, (block.ctypes.data,), {})
        elif function is replay_if and any(loop.address is not None for loop in _loops(args[1].calls)):
            call = Call(function, (args[0], Record(_with_loops(args[1].calls, kept))), {})
        found.append(call)
    return found


def _loops(calls: Sequence[Call]) -> list[Loop]:
    """Those of the formulas among these calls."""
    found = []
    for function, args, _ in calls:
        if isinstance(function, Fused):
            found.append(function.loop)
        elif function is replay_if:
            found += _loops(args[1].calls)
    return found


class CompiledRecord(Record):
    """A record that Python replays first, and compiled code once that has cost as much as compiling.

    In the same way each formula's loop is compiled once its passes have cost as much. `settle` does not wait.

    program_of: makes a program of the calls. seconds: what one replay takes, 0 before it is known.

    >>> import numpy as np
    >>> x = np.ones(3, "float32")
    >>> record = CompiledRecord([Call(np.add, (x, x, x), {})], Program)
    >>> record(), x.tolist()
    (None, [2.0, 2.0, 2.0])
    """

    broken = False  # whether compiling has failed, of any record; the others then don't try

    def __init__(self, calls: list[Call], program_of: Callable[[Sequence[Call]], Program]) -> None:
        super().__init__(calls)
        self.program: Program | None = None
        self.seconds = 0.0
        self._program_of = program_of
        self._spent = 0.0
        self._open: set[Loop] = set()  # which the program does without, though others may have compiled them meanwhile
        self._compared: set[Loop] = set()
        self._due: list[tuple[float, Loop]] = []  # after how many replays each loop is compiled, the next one last
        self._replays = 0
        self._stage = ""  # the method that does the next replay, "" for none
        self._now: Callable[[], None] = self._replay
        self._go_to("_by_python")

    def __call__(self) -> None:
        """Replay the calls once more."""
        self._now()

    def _go_to(self, stage: str, now: Callable[[], None] | None = None) -> None:
        """Have the method of that name do the next replay, or the function `now`. The record must not refer to itself:
        its memory is freed when the last reference to it goes."""
        self._stage = stage
        self._now = now or partial(_call, weakref.ref(self), stage)

    def settle(self) -> None:
        """Compile now what would be compiled in the course of a long training."""
        self._compile(_loops(self.calls))

    @property
    def can_repeat(self) -> bool:
        """Whether `repeat` can be called: compiled code has taken over, and needs no Python."""
        waits = not self.seconds or self._stage in ("_check", "_clocked")
        return not waits and self.program is not None and self.program.repeats

    def repeat(self, takes: Sequence[Take], indices: Array, tables: Sequence[Take]) -> None:
        """Do it several times without Python in between.

        takes: before each time, out = source[the next of the indices, as many as out has rows], of every (source, out).
        tables: one at least; also before each time, place = the next row of the table, of every (table, place), with
        as many rows as it is to be done times. All are contiguous, the indices int64.
        """
        assert self.program is not None
        self.program.repeat(takes, indices, tables)
        self._count(len(tables[0][0]))

    def _compile(self, loops: Sequence[Loop]) -> None:
        """Compile loops, and write a program, which is to be checked; what Numba or its cache can't do, NumPy can."""
        if compiling.left_held:  # so are Numba's own locks
            self._go_on("another thread was compiling when this process was forked, and NumPy goes on alone in it")
            return
        try:
            with compiling.held():
                for loop in loops:
                    loop.compile()
                self._open = {loop for loop in _loops(self.calls) if loop.address is None}
                self.program = self._program_of(self.calls)
            self._go_to("_check")
        except Exception as problem:
            self._go_on(f"Numba can't compile a step, and NumPy goes on alone: {problem}")

    def _go_on(self, warning: str) -> None:
        """With the program so far if that was compared, or without any."""
        if self._stage == "_check":
            self.program = None
        with compiling.held():  # workers may come here together
            if not CompiledRecord.broken:
                log.warning(warning)
            CompiledRecord.broken = True
        self._go_to("", self._replay if self.program is None else self.program.replay)

    def _by_python(self) -> None:
        start = time.perf_counter()
        self._replay()
        self._spent += time.perf_counter() - start
        if CompiledRecord.broken:
            self._go_to("", self._replay)
        elif self._spent > PRICE:
            self._compile([])

    def _check(self) -> None:
        """One replay, in which parts of the program are compared with the calls in their place: all of them at first,
        and those that have a new loop later."""
        assert self.program is not None
        known = {loop for loop in _loops(self.calls) if loop in self._compared or loop.address is None}
        parts = self.program.parts
        calls = [
            part if self.seconds and known.issuperset(_loops([call])) else call
            for call, part in zip(self.calls, parts, strict=True)
        ]
        difference, complete = first_difference(calls, parts)
        if difference:
            self._go_on(f"compiled code gives other numbers than NumPy, which goes on alone: {difference}")
        elif complete:
            self._compared = {loop for loop in _loops(self.calls) if loop not in self._open}
            self._go_to("_clocked")

    def _clocked(self) -> None:
        """One replay that finds out what a replay takes, and what the passes of formulas without a loop."""
        assert self.program is not None
        self._go_to("", self.program.replay)
        costs: dict[Loop, float] = {}
        times = self.program.clocked()
        self.seconds = sum(times)
        for call, seconds in zip(self.calls, times, strict=True):
            loops = [loop for loop in _loops([call]) if loop in self._open]
            for loop in loops:
                costs[loop] = costs.get(loop, 0.0) + seconds / len(loops)
        self._due = sorted(((LOOP_PRICE / cost, loop) for loop, cost in costs.items()), key=lambda due: -due[0])
        if self._due:
            self._go_to("_counting")

    def _counting(self) -> None:
        assert self.program is not None
        self.program.replay()
        self._count(1)

    def _count(self, replays: int) -> None:
        self._replays += replays
        due = [loop for replays, loop in self._due if replays <= self._replays]
        if due:
            self._due = self._due[: -len(due)]
            self._compile(due)


def _call(record: weakref.ref[CompiledRecord], method: str) -> None:
    getattr(record(), method)()
