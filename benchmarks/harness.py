"""Run contenders on the same work, in processes of their own, in turns.

Rounds are interleaved, so that whatever else the machine does meets all of them: each round lets every contender train
for about as long, and what is compared are ratios within rounds, and medians over them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .contenders import CONTENDERS, missing
from .processes import Crew, Gone, Process
from .quiet import QUIET, CoresInUse, await_quiet
from .workloads import Workload, orders

__all__ = ["Settings", "difference", "losses", "only_same_work", "race", "say", "say_what_is_taken_out"]

LARGEST = 20_000  # steps a turn, at most
LEAST = 1.0  # seconds that a contender has for an answer, however near a deadline is
PAUSE = 0.03  # seconds: until the last one's threads have gone to sleep


class Settings:
    """rounds: turns of each. turn: seconds of one. limit: seconds for making, compiling and first steps. deadline: a
    time.monotonic() after which no more turns are taken. patience: seconds a workload may wait for a quiet machine.

    On the CPU contenders get ready one after the other, on the same `threads` cores; on a GPU's machine all at once,
    within one `limit`, on all of its cores."""

    def __init__(
        self, rounds: int = 7, turn: float = 0.4, threads: int = 2, device: str = "cpu", limit: float = 240.0,
        deadline: float = float("inf"), patience: float = 0.0,
    ) -> None:  # fmt: skip
        self.rounds, self.turn, self.threads, self.device = rounds, turn, threads, device
        self.limit, self.deadline, self.patience = limit, deadline, patience
        self.at_once = device != "cpu"
        self.ready_by = float("inf")  # set by a race, where all get ready at once


def say(text: str) -> None:
    print(text, flush=True)


def say_what_is_taken_out(machine: dict[str, Any]) -> None:
    """Say which environment variables no contender gets, because they force kernels."""
    for name, value in machine["taken_out"].items():
        say(f"taken out of every contender's environment: {name}={value}")


def losses(name: str, workload: Workload, steps: int, settings: Settings, chunk: int = 1) -> list[float]:
    """The loss of each of the first `steps` steps, dropout left out; of every chunk-th where steps come in chunks."""
    rows = np.stack(list(islice(orders(workload), steps)))
    with Process(name, settings.threads) as process:
        process.ask(
            settings.limit, do="make", name=name, workload=workload.plain().as_json(), device=settings.device,
            threads=settings.threads, chunk=chunk,
        )  # fmt: skip
        parts = [rows[i : i + chunk].tolist() for i in range(0, steps, chunk)]
        return [float(process.ask(settings.limit, do="run", rows=part)["loss"]) for part in parts]


def only_same_work(found: dict[str, Any], skipped: dict[str, str], agreed: float) -> None:
    """Leave out contenders whose first losses differ from those of gpubp, or of torch if gpubp is missing."""
    contenders = found["contenders"]
    reference = contenders.get("gpubp") or contenders.get("torch")
    for name, contender in list(contenders.items()):
        if reference is None or contender.get("difference") is not None:
            continue
        contender["difference"] = difference(contender["first_losses"], reference["first_losses"])
        if not contender["difference"] <= agreed:
            skipped[name] = f"its first losses differ by {contender['difference']:.1e}: not the same work"
            say(f"  without {name}: {skipped[name]}")
            del contenders[name]


def difference(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The largest difference of two runs' losses, relative to ours.

    >>> difference([1.0, 2.2], [1.0, 2.0])
    0.1
    """
    a, b = np.array(theirs), np.array(ours)
    return round(float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-3))), 10)


class _Turns:
    """The turns of one contender on one workload."""

    def __init__(self, name: str, workload: Workload, settings: Settings, process: Process) -> None:
        self.name, self.process, self.settings = name, process, settings
        self.seconds: list[float] = []
        self.others: list[float | None] = []
        self.process.tell(
            do="make", name=name, workload=workload.as_json(), device=settings.device, threads=settings.threads
        )
        self.process.tell(do="steps", steps=1)  # which compiles; it is heard in `ready`
        self.first: list[float] = []

    @property
    def _limit(self) -> float:
        return max(LEAST, min(self.settings.limit, self.settings.deadline - time.monotonic()))

    @property
    def _ready_limit(self) -> float:
        return max(LEAST, min(self._limit, self.settings.ready_by - time.monotonic()))

    def ready(self) -> None:
        """Compile, warm up, and find how many steps fill a turn."""
        told = self.process.hear(self._ready_limit)
        self.version = told["version"]
        self.first.append(self.process.hear(self._ready_limit)["loss"])
        for _ in range(2):  # some compile, or choose their ways, at the second step as well
            taken = self.process.ask(self._ready_limit, do="steps", steps=1)
            self.first.append(taken["loss"])
        steps, each = 1, taken["seconds"] / taken["steps"]
        while steps * each < self.settings.turn / 4 and steps < LARGEST:
            steps = min(LARGEST, max(2 * steps, int(self.settings.turn / each / 4)))
            taken = self.process.ask(self._ready_limit, do="steps", steps=steps)
            each = taken["seconds"] / taken["steps"]
        self.steps = min(LARGEST, max(1, round(self.settings.turn / each)))
        self.process.ask(do="forget")

    def turn(self, patience: float) -> float:
        """Take a turn, and repeat it while other processes disturb it; returns the patience that is left."""
        pids, best = [self.process.pid], None
        while True:
            patience -= await_quiet(pids, patience)
            usage = CoresInUse(pids)
            taken = self.process.ask(self._limit, do="steps", steps=self.steps)
            others = usage.others()
            if not np.isfinite(taken["loss"]):
                raise Gone(f"its loss became {taken['loss']}")
            if best is None or (others or 0.0) < best[0]:
                best = others or 0.0, taken["seconds"] / taken["steps"], others
            patience -= taken["seconds"]
            if best[0] <= QUIET or patience <= 0:
                break
        self.seconds.append(best[1])
        self.others.append(None if best[2] is None else round(best[2], 2))
        return patience


def race(
    workload: Workload, names: Sequence[str], settings: Settings, heard: Callable[[str], None] = say,
    crew: Crew | None = None, noted: Callable[..., None] = lambda **values: None,
) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    """(results, why contenders are missing): seconds a step for every round, and the memory it grew by.

    crew: whose processes the contenders live in, if these are kept. noted: called with the values of each turn, and of
    each contender that is lost, when they are known.
    """
    skipped: dict[str, str] = {}
    turns: list[_Turns] = []
    processes = crew or Crew(settings.threads, pinned=not settings.at_once)
    settings.ready_by = time.monotonic() + settings.limit if settings.at_once else float("inf")

    def lose(one: _Turns, why: Gone) -> None:
        skipped[one.name] = str(why)
        heard(f"  {workload.name}: without {CONTENDERS[one.name].label}: {why}")
        noted(contender=one.name, without=str(why))
        processes.lose(one.name)

    try:
        for name in names:
            lacking = missing(name)
            if lacking:
                skipped[name] = f"{lacking} is not installed"
                noted(contender=name, without=skipped[name])
                continue
            turns.append(_Turns(name, workload, settings, processes.of(name)))
            if not settings.at_once:
                _get_ready(turns, turns[-1:], lose)
        if settings.at_once:
            _get_ready(turns, list(turns), lose)
        patience = settings.patience
        for number in range(settings.rounds):
            if time.monotonic() > settings.deadline and turns and turns[0].seconds:
                break
            for one in list(turns):
                time.sleep(PAUSE)
                try:
                    patience = one.turn(patience)
                    noted(contender=one.name, round=number + 1, seconds=one.seconds[-1], steps=one.steps)
                except Gone as why:
                    turns.remove(one)
                    lose(one, why)
        found = {one.name: _measured(one, workload, heard) for one in turns}
    finally:
        if crew is None:
            processes.end()
    measured = {
        "text": workload.text, "flops": workload.flops, "bytes": workload.bytes, "parameters": workload.size,
        "precision": workload.precision, "contenders": found,
    }  # fmt: skip
    return measured, skipped


def _measured(one: _Turns, workload: Workload, heard: Callable[[str], None]) -> dict[str, Any]:
    """The results of a contender; measured turns count even if its process has ended since."""
    grown, kernels = None, []
    try:
        grown = one.process.ask(do="memory")["growth"]
        kernels = one.process.ask(do="kernels")["kernels"]
    except Gone as why:
        heard(f"  {workload.name}: {CONTENDERS[one.name].label} does not say its kernels: {why}")
    return {
        "version": one.version, "seconds": one.seconds, "steps": one.steps,
        "others": one.others, "memory": grown, "first_losses": one.first, "kernels": kernels,
    }  # fmt: skip


def _get_ready(turns: list[_Turns], new: list[_Turns], lose: Callable[[_Turns, Gone], None]) -> None:
    for one in new:
        try:
            one.ready()
        except Gone as why:
            turns.remove(one)
            lose(one, why)
