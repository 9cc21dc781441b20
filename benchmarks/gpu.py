"""`python -m benchmarks gpu`: gpubp and its peers on a GPU, at the same precision, within a few minutes.

Processes get ready side by side, and then take turns. Whoever isn't ready in time is left out; when the time is over,
so are the workloads that are left. What was measured is written after each workload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from . import machine
from .contenders import find
from .harness import Settings, only_same_work, race, say, say_what_is_taken_out
from .workloads import GPU, Workload

__all__ = ["run"]

READY = 50.0  # seconds: to import, compile and take the first steps
LEAST = 20.0  # that a workload is begun with
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
) -> dict[str, Any]:
    """Everything, as the JSON has it, within `limit` seconds. device: "cpu" runs the same code on the CPU."""
    end = time.monotonic() + limit
    described = machine.describe(2) | {"gpu": machine.gpu()}
    say_what_is_taken_out(described)
    results: dict[str, Any] = {"kind": "gpu", "machine": described, "floor": {}, "workloads": {}, "skipped": {}}
    for name in names:
        workload, left = workloads[name], end - time.monotonic()
        wanted = [n for n in ("products", *find(workload, device)) if n == "products" or not chosen or n in chosen]
        if left < LEAST:
            say(f"{name}: left out, the {limit:.0f} s are over")
            results["skipped"][name] = dict.fromkeys(wanted, "the time was over")
            continue
        say(f"{name}: {workload.text}")
        settings = Settings(rounds, turn, 2, device, min(READY, left - 5.0), deadline=end - 5.0)
        found, skipped = race(workload, wanted, settings)
        results["workloads"][name], results["skipped"][name] = found, skipped
        found["products"] = found["contenders"].pop("products", {}).get("seconds", [])
        only_same_work(found, skipped, AGREED[workload.precision])
        written(results)
    return results
