"""Contenders in processes of their own, at the same work, in turns.

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
from .processes import Gone, Process
from .workloads import Workload, orders

__all__ = ["Settings", "compare", "losses", "race", "say"]

LARGEST = 20_000  # steps a turn, at most
PAUSE = 0.03  # seconds: until the last one's threads have gone to sleep


class Settings:
    """rounds: turns of each. turn: seconds of one. limit: seconds for making, compiling and first steps. deadline: a
    time.monotonic() after which no more turns are taken."""

    def __init__(
        self, rounds: int = 7, turn: float = 0.4, threads: int = 2, device: str = "cpu", limit: float = 240.0,
        checked: int = 20, deadline: float = float("inf"),
    ) -> None:  # fmt: skip
        self.rounds, self.turn, self.threads, self.device = rounds, turn, threads, device
        self.limit, self.checked, self.deadline = limit, checked, deadline


def say(text: str) -> None:
    print(text, flush=True)


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


def compare(names: Sequence[str], workload: Workload, settings: Settings, steps: int) -> dict[str, float]:
    """Name -> largest relative difference of its losses from gpubp's, over the same steps from the same weights.

    Raises Gone, naming the contender, if one can't be run.
    """
    ours = np.array(losses("gpubp", workload, steps, settings))
    found = {}
    for name in names:
        theirs = np.array(losses(name, workload, steps, settings))
        found[name] = float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(ours), 1e-3)))
    return found


class _Turns:
    """One contender at one workload."""

    def __init__(self, name: str, workload: Workload, settings: Settings) -> None:
        self.name, self.process, self.settings = name, Process(name, settings.threads), settings
        self.seconds: list[float] = []
        self.process.tell(
            do="make", name=name, workload=workload.as_json(), device=settings.device, threads=settings.threads
        )

    def ready(self) -> None:
        """Compiled, warm, and told how many steps fill a turn."""
        told = self.process.hear(self.settings.limit)
        self.version = told["version"]
        self.process.ask(self.settings.limit, do="steps", steps=told["chunk"])
        for _ in range(2):  # twice: the first may still compile or choose its ways
            taken = self.process.ask(self.settings.limit, do="steps", steps=max(2, told["chunk"]))
        steps, each = 1, taken["seconds"] / taken["steps"]
        while steps * each < self.settings.turn / 4 and steps < LARGEST:
            steps = min(LARGEST, max(2 * steps, int(self.settings.turn / each / 4)))
            taken = self.process.ask(self.settings.limit, do="steps", steps=steps)
            each = taken["seconds"] / taken["steps"]
        self.steps = min(LARGEST, max(1, round(self.settings.turn / each)))
        self.process.ask(do="forget")

    def turn(self) -> None:
        taken = self.process.ask(self.settings.limit, do="steps", steps=self.steps)
        if not np.isfinite(taken["loss"]):
            raise Gone(f"its loss became {taken['loss']}")
        self.seconds.append(taken["seconds"] / taken["steps"])


def race(
    workload: Workload, names: Sequence[str], settings: Settings, heard: Callable[[str], None] = say
) -> tuple[dict[str, Any], dict[str, str]]:
    """(what was measured, why who is missing): seconds a step for every round, and the memory it grew by."""
    skipped: dict[str, str] = {}
    turns: list[_Turns] = []

    def lose(one: _Turns, why: Gone) -> None:
        skipped[one.name] = str(why)
        heard(f"  {workload.name}: without {CONTENDERS[one.name].label}: {why}")
        one.process.end()

    try:
        for name in names:
            lacking = missing(name)
            if lacking:
                skipped[name] = f"{lacking} is not installed"
                continue
            turns.append(_Turns(name, workload, settings))
            if settings.device == "cpu":  # on a GPU's machine all get ready at once
                _get_ready(turns, turns[-1:], lose)
        if settings.device != "cpu":
            _get_ready(turns, list(turns), lose)
        for _ in range(settings.rounds):
            if time.monotonic() > settings.deadline and turns and turns[0].seconds:
                break
            for one in list(turns):
                time.sleep(PAUSE)
                try:
                    one.turn()
                except Gone as why:
                    turns.remove(one)
                    lose(one, why)
        found = {}
        for one in turns:
            grown = one.process.ask(do="memory")["growth"]
            found[one.name] = {"version": one.version, "seconds": one.seconds, "steps": one.steps, "memory": grown}
    finally:
        for one in turns:
            one.process.end()
    measured = {
        "text": workload.text, "flops": workload.flops, "bytes": workload.bytes, "parameters": workload.size,
        "precision": workload.precision, "contenders": found,
    }  # fmt: skip
    return measured, skipped


def _get_ready(turns: list[_Turns], new: list[_Turns], lose: Callable[[_Turns, Gone], None]) -> None:
    for one in new:
        try:
            one.ready()
        except Gone as why:
            turns.remove(one)
            lose(one, why)
