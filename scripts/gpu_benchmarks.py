"""Benchmark gpubp, torch and JAX on a GPU, one line of results per turn: gpu_benchmarks.py RESULTS LOGS"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gpu_results import Stage

from benchmarks import gpu, report
from benchmarks.workloads import Workload, mlp

ORDER = ("A", "D", "C", "B", "B-tf32")
IN_SMALL = (
    Workload("A", "16-12-4", (16,), mlp(12, 4), 8, rows=64),
    Workload("D", "CNN 4-8", (6, 6, 1), (("conv", 4), ("relu",), ("pool",), ("flatten",), *mlp(8, 4)), 4, rows=16),
    Workload("C", "16-12-4, bfloat16", (16,), mlp(12, 4), 8, "momentum", "mse", 64, precision="bfloat16"),
    Workload("B", "16-8-4, momentum", (16,), mlp(8, 4), 8, "momentum", rows=64),
)


def main(stage: Stage) -> int:
    """Run all workloads, the most important first."""

    def noted(workload: str, **values: Any) -> None:
        stage.results.add(workload, **values)

    if stage.dry:
        options: dict[str, Any] = {"device": "stand-in", "turn": 0.01, "workloads": {w.name: w for w in IN_SMALL}}
        names, rounds = list(options["workloads"]), 2
    else:
        options, names, rounds = {}, list(ORDER), 5
    file = stage.logs / "benchmarks.json"
    file.unlink(missing_ok=True)  # of another run into the same folder
    results = gpu.run(
        names, [], rounds, stage.left - 2.0, noted=noted, written=lambda found: write(found, file), **options
    )
    write(results, file)
    print(report.terminal(results))
    ours = [name for name in names if "gpubp" not in results["workloads"].get(name, {}).get("contenders", {})]
    if ours:
        stage.results.add("gpubp", ok=False, problem=f"gpubp was not measured at {', '.join(ours)}")
    return 0


def write(results: dict[str, Any], file: Path) -> None:
    """Write what was measured so far: a stage that takes too long is ended."""
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Stage("benchmarks")))
