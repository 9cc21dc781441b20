"""`python -m benchmarks cpu`: gpubp and its peers on the CPU, workload by workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contenders import find, missing
from .harness import Settings, difference, losses, race, say
from .machine import describe
from .processes import Gone, Process
from .workloads import CPU, Workload

__all__ = ["measure", "measured_floor", "run"]

SLOW = 5e9  # operations a step, from which fewer steps are checked
AGREED = 2e-3  # relative difference of losses after some steps in float32, beyond which the work is not the same


def run(names: Sequence[str], chosen: Sequence[str], settings: Settings, *, check: bool = True) -> dict[str, Any]:
    """Everything, as the JSON has it. names: of workloads. chosen: contenders, all that are installed if empty."""
    results: dict[str, Any] = {"kind": "cpu", "machine": describe(settings.threads), "workloads": {}, "skipped": {}}
    floors = []
    for name in names:
        workload = CPU[name]
        wanted = [n for n in find(workload) if not chosen or n in chosen]
        say(f"{name}: {workload.text}")
        results["workloads"][name], skipped = measure(workload, wanted, settings, check=check)
        results["skipped"][name] = skipped
        floors.append(measured_floor(settings.threads))
    results["floor"] = {key: max(f[key] for f in floors) for key in floors[0]}
    return results


def measure(
    workload: Workload, wanted: Sequence[str], settings: Settings, *, check: bool = True
) -> tuple[dict[str, Any], dict[str, str]]:
    """One workload; contenders whose losses are not gpubp's take no part."""
    skipped: dict[str, str] = {}
    differences: dict[str, float] = {}
    fit = []
    steps = 3 if workload.flops > SLOW else 10
    ours = losses("gpubp", workload, steps, settings) if check else []
    for name in wanted:
        lacking = missing(name)
        if lacking:
            skipped[name] = f"{lacking} is not installed"
            say(f"  {workload.name}: without {name}: {skipped[name]}")
            continue
        try:
            if check:
                differences[name] = difference(losses(name, workload, steps, settings), ours)
        except Gone as why:
            skipped[name] = str(why)
            say(f"  {workload.name}: without {name}: {why}")
            continue
        if differences.get(name, 0.0) > AGREED:
            skipped[name] = f"its losses differ from gpubp's by {differences[name]:.1e}: not the same work"
            say(f"  {workload.name}: without {name}: {skipped[name]}")
            continue
        fit.append(name)
    found, lost = race(workload, fit, settings)
    for name, contender in found["contenders"].items():
        contender["difference"] = differences.get(name)
    return found, skipped | lost


def measured_floor(threads: int) -> dict[str, float]:
    """The best rate of matrix products that NumPy or torch reaches, and of copies in memory."""
    found = []
    for library in ("numpy", "torch"):
        if library == "numpy" or not missing("torch"):
            with Process(library, threads) as process:
                found.append(process.ask(do="measure", library=library, threads=threads))
    return {key: max(one[key] for one in found) for key in found[0]}
