"""`python -m benchmarks scaling`: time and memory of a step by width, depth and batch; time to an accuracy on MNIST;
time of an import and size of an installation. For gpubp and other libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import missing
from .harness import Settings, race, say, say_what_is_taken_out
from .machine import describe
from .mnist import LEARNERS, learn
from .processes import environment
from .report import footnote
from .workloads import Workload, mlp

__all__ = ["draw", "installed_size", "points", "run", "terminal"]

PEERS = ("gpubp", "torch", "jax")
IMPORTS = ("gpubp", "sklearn.neural_network", "thinc.api", "jax", "torch", "keras")
BASE = Workload("base", "", (256,), mlp(256, 256, 256, 10), 128, rows=4096)


def points(quick: bool = False) -> Iterator[tuple[str, int, Workload]]:
    """(what grows, its size, the workload)"""
    widths, depths, batches = ((64, 256), (1, 4), (16, 128)) if quick else (
        (16, 64, 256, 1024, 2048), (1, 2, 4, 8, 16, 32), (1, 4, 16, 64, 256, 1024),
    )  # fmt: skip
    for n in widths:
        yield "width", n, replace(BASE, name=f"width {n}", shape=(n,), layers=mlp(n, n, n, 10), rows=2048)
    for n in depths:
        yield "depth", n, replace(BASE, name=f"depth {n}", layers=mlp(*[256] * n, 10))
    for n in batches:
        yield "batch", n, replace(BASE, name=f"batch {n}", batch=n)


def run(parts: Sequence[str], data: str | None, threads: int, *, quick: bool = False) -> dict[str, Any]:
    """Run the parts that were asked for, of "steps", "accuracy" and "imports"; returns the JSON document."""
    results: dict[str, Any] = {"kind": "scaling", "machine": describe(threads), "skipped": {}}
    say_what_is_taken_out(results["machine"])
    if "steps" in parts:
        settings = Settings(2, 0.03, threads) if quick else Settings(5, 0.15, threads)
        results["steps"] = []
        for grows, size, workload in points(quick):
            say(f"{grows} {size}")
            found, _ = race(replace(workload, text=workload.name), PEERS, settings)
            results["steps"].append({"grows": grows, "size": size, **found})
    if "accuracy" in parts:
        results["accuracy"], results["skipped"]["accuracy"] = _accuracy(data, threads, quick)
    if "imports" in parts:
        results["imports"] = [_import(name, 2 if quick else 5, threads) for name in IMPORTS if not _lacks(name)]
    return results


def _accuracy(data: str | None, threads: int, quick: bool) -> tuple[list[dict[str, Any]], str]:
    found = []
    for model, library in LEARNERS:
        if missing({"scikit-learn": "sklearn"}.get(library, library)):
            continue
        say(f"MNIST, {model}, {library}")
        told = learn(model, library, data, threads, epochs=1 if quick else 20)
        if "problem" in told:
            return found, told["problem"]
        found.append(told)
    return found, ""


def _lacks(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is None


FIRST_USE = {"gpubp": "gpubp.Trainer"}  # reads most of it only when the first name is asked for
MEASURE = """
import time
start = time.perf_counter()
import {module}
{first_use}
spent = time.perf_counter() - start
from benchmarks.worker import memory
print(spent, memory("VmHWM"))
"""


def _import(module: str, times: int, threads: int = 2) -> dict[str, Any]:
    """Seconds of an import in a new process, files in the system's cache, and the process's memory after it."""
    made = environment(threads) | {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")}
    spent, peak = [], 0
    for k in range(times + 1):
        command = [sys.executable, "-c", MEASURE.format(module=module, first_use=FIRST_USE.get(module, ""))]
        told = subprocess.run(command, env=made, capture_output=True, text=True, check=True).stdout.split()
        peak = int(told[-1])
        if k:  # the first one compiles
            spent.append(float(told[-2]))
    name = {"sklearn": "scikit-learn"}.get(module.partition(".")[0], module.partition(".")[0])
    size, packages = installed_size(name)
    return {"name": name, "seconds": median(spent), "memory": peak, "installed": size, "packages": packages}


def installed_size(distribution: str) -> tuple[int, int]:
    """(bytes of its files and of all that it needs, how many distributions that is), as they are installed here."""
    if distribution == "gpubp":
        package = Path(__file__).parents[1] / "gpubp"
        own = sum(p.stat().st_size for p in package.rglob("*.py"))
        seen = _closure(["numpy", "safetensors", "threadpoolctl"])
        return own + sum(map(_files_size, seen)), len(seen) + 1
    seen = _closure([distribution])
    return sum(map(_files_size, seen)), len(seen)


def _closure(names: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system, or an extra
            continue
        seen.add(name)
        waiting += [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in needs if "extra ==" not in need]
    return seen


def _files_size(name: str) -> int:
    total = 0
    for file in importlib.metadata.files(name) or ():
        path = Path(str(file.locate()))
        if path.suffix != ".pyc" and path.is_file():
            total += path.stat().st_size
    return total


def terminal(results: dict[str, Any]) -> str:
    """The results as tables for the terminal."""
    lines = [footnote(results), ""]
    for grows in ("width", "depth", "batch"):
        rows = [r for r in results.get("steps", ()) if r["grows"] == grows]
        if rows:
            lines += [f"{grows:<8}" + "".join(f"{name:>24}" for name in PEERS), ""]
        for row in rows:
            cells = []
            for name in PEERS:
                own = row["contenders"].get(name)
                cells.append(f"{_us(median(own['seconds']))} {_mb(own['memory'])}" if own else "–")
            lines.append(f"{row['size']:<8}" + "".join(f"{cell:>24}" for cell in cells))
        lines += [""] if rows else []
    for row in results.get("accuracy", ()):
        reached = (
            f"{row['seconds']:.1f} s, {row['epochs']} epochs" if row["reached"] else f"not in {row['epochs']} epochs"
        )
        lines.append(f"MNIST {row['model']} to {row['goal']}: {row['library']:<14}{reached} ({row['accuracy']:.4f})")
    if results["skipped"].get("accuracy"):
        lines.append(f"no time to accuracy: {results['skipped']['accuracy']}")
    for row in results.get("imports", ()):
        lines.append(
            f"import {row['name']:<14}{row['seconds'] * 1e3:>7.0f} ms, {_mb(row['memory'])} of memory; installed "
            f"{_mb(row['installed'])} in {row['packages']} packages"
        )
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Any) -> None:
    """Time and memory of a step against width, depth and batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(2, 3, squeeze=False)
    for column, grows in enumerate(("width", "depth", "batch")):
        rows = [r for r in results.get("steps", ()) if r["grows"] == grows]
        if not rows:
            panels[0][column].axis("off")
            panels[1][column].axis("off")
            continue
        for name in PEERS:
            own = [(r["size"], r["contenders"][name]) for r in rows if name in r["contenders"]]
            sizes = [size for size, _ in own]
            panels[0][column].plot(sizes, [1e6 * median(c["seconds"]) for _, c in own], marker="o", label=name)
            panels[1][column].plot(sizes, [max(c["memory"], 2**16) / 2**20 for _, c in own], marker="o", label=name)
        panels[0][column].set(xscale="log", yscale="log", title=grows, ylabel="µs a step" if not column else "")
        panels[1][column].set(xscale="log", yscale="log", ylabel="MB" if not column else "")
    panels[0][0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def _mb(size: float) -> str:
    return f"{size / 2**20:,.0f} MB"
