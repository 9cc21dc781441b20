"""The machine of a measurement: processor, memory, system and versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from gpubp.backends.cpu.blas import forcing

__all__ = ["describe", "gpu"]

LIBRARIES = (
    "gpubp",
    "numpy",
    "scipy",
    "torch",
    "jax",
    "optax",
    "keras",
    "thinc",
    "scikit-learn",
    "numba",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, system, versions, date; `taken_out`, the variables that force kernels and are set here,
    which no contender gets to see."""
    import gpubp

    versions = {"gpubp": gpubp.__version__}
    for name in LIBRARIES[1:]:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        **processor_facts(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions,
        "threads": threads,
        "taken_out": forcing(),
        "date": datetime.date.today().isoformat(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    """The processor's name and widest vectors, from Linux."""
    told = _told()
    if not told:
        return platform.processor() or platform.machine()
    flags = told.get("flags", "").split()
    widest = next((f" with {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return told.get("model name", platform.machine()) + widest


def processor_facts() -> dict[str, str]:
    """Its vendor, family, model and stepping, and the sizes of a core's L2 and L3 caches, where Linux has them."""
    told = _told()
    names = {"vendor": "vendor_id", "family": "cpu family", "model": "model", "stepping": "stepping"}
    found = {name: told[field] for name, field in names.items() if field in told}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, size = ((cache / file).read_text().strip() for file in ("level", "size"))
        except OSError:
            continue
        if level in ("2", "3"):
            found[f"l{level}"] = size
    return found


def _told() -> dict[str, str]:
    """The entries of /proc/cpuinfo for the last core, {} without such a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    return dict((key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines))


def gpu() -> str:
    """The GPU's name and driver, "" where nvidia-smi finds none."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip().split("\n")[0]
