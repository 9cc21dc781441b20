"""`python -m benchmarks gpu`: gpubp and its peers on a GPU, at the same precision, within a few minutes.

Processes get ready side by side on all cores, and then take turns; they are kept for the next workload. Whoever isn't
ready in time is left out of a workload; when the time is over, so are the workloads that are left. What was measured is
written after each workload, and told at each turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import machine
from .contenders import CONTENDERS, find
from .harness import Settings, only_same_work, race, say, say_what_is_taken_out
from .processes import Crew
from .workloads import GPU, Workload

__all__ = ["run"]

READY = 50.0  # seconds: to import, compile and take the first steps
LEAST = 20.0  # that a workload is begun with, and that is kept for each one behind it
TURNS = 10.0  # for all turns of a workload
THREADS = 4  # of each library's pools on the CPU
AGREED = {"float32": 2e-3, "tf32": 2e-2, "bfloat16": 5e-2}  # relative difference of the first steps' losses


def run(
    names: Sequence[str],
    chosen: Sequence[str],
    rounds: int = 5,
    limit: float = 200.0,
    *,
    device: str = "cuda",
    workloads: dict[str, Workload] = GPU,
    turn: float = 0.25,
    written: Callable[[dict[str, Any]], None] = lambda results: None,
    noted: Callable[..., None] = lambda workload, **values: None,
) -> dict[str, Any]:
    """Run the benchmark in at most `limit` seconds; returns the JSON document.

    device: "cpu" runs the same code on the CPU, "stand-in" on the stand-in for a GPU in tests. written: called with all
    results after each workload. noted: with the workload's name and the values of each turn.
    """
    end = time.monotonic() + limit
    described = machine.describe(THREADS) | {"gpu": machine.gpu()}
    say_what_is_taken_out(described)
    results: dict[str, Any] = {"kind": "gpu", "machine": described, "floor": {}, "workloads": {}, "skipped": {}}
    with Crew(THREADS, pinned=device == "cpu") as crew:
        for place, name in enumerate(names):
            workload, left = workloads[name], end - time.monotonic()
            floor = ["products"] if device in CONTENDERS["products"].devices else []
            wanted = floor + [n for n in find(workload, device) if not chosen or n in chosen]
            if left < LEAST:
                say(f"{name}: left out, the {limit:.0f} s are over")
                results["skipped"][name] = dict.fromkeys(wanted, "the time was over")
                noted(name, shown="left out, the time was over")
                continue
            say(f"{name}: {workload.text}")
            ready = min(READY, left - 5.0, max(LEAST, left - TURNS - LEAST * (len(names) - place - 1)))
            settings = Settings(rounds, turn, THREADS, device, ready, deadline=end - 5.0)
            found, skipped = race(workload, wanted, settings, crew=crew, noted=partial(noted, name))
            results["workloads"][name], results["skipped"][name] = found, skipped
            found["products"] = found["contenders"].pop("products", {}).get("seconds", [])
            compared = set(found["contenders"])
            only_same_work(found, skipped, AGREED[workload.precision])
            for lost in compared - set(found["contenders"]):
                noted(name, contender=lost, without=skipped[lost])
            written(results)
    return results
