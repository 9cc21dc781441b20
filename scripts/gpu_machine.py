"""Write what the GPU, its driver and the libraries are: gpu_machine.py FILE.json"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import cupy
import numpy as np

import gpubp
from gpubp.backends.cublaslt import CublasLt, CublasLtUnavailable

LIBRARIES = ("torch", "jax", "jaxlib", "optax", "cuda-pathfinder", "ml-dtypes")


def version(name: str) -> str:
    """A library's version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def cublaslt() -> str:
    """cublasLt's version, or why it can't be had."""
    try:
        return CublasLt(cupy).version
    except CublasLtUnavailable as problem:
        return f"unavailable: {problem}"


runtime = cupy.cuda.runtime
properties = runtime.getDeviceProperties(0)
found = {
    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    "gpu": properties["name"].decode(),
    "compute capability": f"{properties['major']}.{properties['minor']}",
    "memory": runtime.memGetInfo()[1],
    "driver's CUDA": runtime.driverGetVersion(),
    "runtime's CUDA": runtime.runtimeGetVersion(),
    "cublasLt": cublaslt(),
    "gpubp": gpubp.__version__,
    "cupy": cupy.__version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
    "platform": platform.platform(),
    **{name: version(name) for name in LIBRARIES},
}
Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
print(json.dumps(found, indent=1))
