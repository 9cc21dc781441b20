"""`python -m benchmarks cpu`: gpubp and its peers on the CPU, workload by workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contenders import CONTENDERS, find, missing
from .harness import Settings, difference, losses, only_same_work, race, say, say_what_is_taken_out
from .machine import describe
from .processes import Gone, Process
from .workloads import CPU, Workload

__all__ = ["measure", "measured_floor", "run"]

CHECKED = 5  # steps
AGREED = 2e-3  # relative difference of losses after some steps in float32, beyond which the work is not the same


def run(names: Sequence[str], chosen: Sequence[str], settings: Settings, *, check: bool = True) -> dict[str, Any]:
    """Run the benchmark; returns the JSON document. names: of workloads. chosen: contenders, all if empty."""
    results: dict[str, Any] = {"kind": "cpu", "machine": describe(settings.threads), "workloads": {}, "skipped": {}}
    say_what_is_taken_out(results["machine"])
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
    """Measure one workload; contenders whose losses differ from gpubp's are left out.

    Their first losses tell. Where they can't, with dropout and with steps in chunks, some steps are run beforehand.
    """
    skipped: dict[str, str] = {}
    differences: dict[str, float] = {}
    ours: list[float] = []
    for name in wanted if check else ():
        if missing(name) or not (workload.chance or CONTENDERS[name].variant == "scan"):
            continue
        try:
            ours = ours or losses("gpubp", workload, CHECKED, settings)
            differences[name] = difference(losses(name, workload, CHECKED, settings), ours)
        except Gone as why:
            skipped[name] = str(why)
        else:
            if not differences[name] <= AGREED:
                skipped[name] = f"its losses differ from gpubp's by {differences[name]:.1e}: not the same work"
        if name in skipped:
            say(f"  {workload.name}: without {name}: {skipped[name]}")
    found, lost = race(workload, [name for name in wanted if name not in skipped], settings)
    skipped |= lost
    for name, contender in found["contenders"].items():
        contender["difference"] = differences.get(name)
    if check and not workload.chance:
        only_same_work(found, skipped, AGREED)
    return found, skipped


def measured_floor(threads: int) -> dict[str, float]:
    """The best rate of matrix products that NumPy or torch reaches, and of copies in memory."""
    found = []
    for library in ("numpy", "torch"):
        if library == "numpy" or not missing("torch"):
            with Process(library, threads) as process:
                found.append(process.ask(do="measure", library=library, threads=threads))
    return {key: max(one[key] for one in found) for key in found[0]}
