"""Record the GPU, its driver and the versions of libraries: gpu_machine.py RESULTS LOGS"""

from __future__ import annotations

import datetime
import glob
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
from gpu_results import Stage

import gpubp
from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable

LIBRARIES = (
    "torch", "triton", "jax", "jaxlib", "optax", "cuda-pathfinder", "nvidia-cublas", "nvidia-nccl-cu13", "ml-dtypes",
    "numba", "pytest-xdist",
)  # fmt: skip
ASKED = "clocks.sm,clocks.max.sm,power.limit,temperature.gpu,driver_version"


def version(name: str) -> str:
    """A library's version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def cublaslt(cupy: Any) -> str:
    """cublasLt's version, or why it can't be had."""
    try:
        return CublasLt(cupy).version
    except CublasLtUnavailable as problem:
        return f"unavailable: {problem}"


def nvidia_smi() -> str:
    """Clocks and the driver, or why they can't be had."""
    command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as problem:
        return f"unavailable: {problem}"


def main(stage: Stage) -> int:
    """Write the machine as one line of results."""
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "gpubp": gpubp.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **{name: version(name) for name in LIBRARIES},
    }
    with stage.results.part("found") as line:
        cupy = stage.cupy()
        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(0)
        found |= {
            "gpu": properties["name"].decode(),
            "compute capability": f"{properties.get('major')}.{properties.get('minor')}",
            "multiprocessors": properties.get("multiProcessorCount"),
            "memory": runtime.memGetInfo()[1],
            "driver's CUDA": runtime.driverGetVersion(),
            "runtime's CUDA": runtime.runtimeGetVersion(),
            "cupy": cupy.__version__,
            "cublasLt": "a stand-in" if stage.dry else cublaslt(cupy),
            "nvidia-smi": "" if stage.dry else nvidia_smi(),
            "sanitizer": glob.glob("/usr/local/cuda*/bin/compute-sanitizer"),
        }
        line["ok"] = not str(found["cublasLt"]).startswith("unavailable")
        line["summary"] = f"{found['gpu']}, CuPy {found['cupy']}, cublasLt {found['cublasLt']}, {found['cores']} cores"
        line |= found
    print(json.dumps(found, indent=1))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(Stage("machine")))
