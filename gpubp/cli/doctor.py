"""`gpubp doctor`: what is installed, which devices can be used, what is missing and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import click

from .common import console

OPTIONAL = (
    ("safetensors", "saving and loading networks", "pip install safetensors"),
    ("scikit-learn", "the digits data set, estimators", "pip install 'gpubp[sklearn]'"),
    ("pooch", "downloading MNIST", "pip install 'gpubp[cli]'"),
    ("matplotlib", "pictures", "pip install 'gpubp[plot]'"),
)


@click.command(short_help="Say what works on this machine, and what mends the rest.")
def doctor() -> None:
    """Versions, devices, what is missing and the command that mends it."""
    from rich.table import Table

    table = Table("what", "found", "note", box=None, header_style="bold", pad_edge=False)
    for row in rows():
        table.add_row(*row)
    console().print(table)


def rows() -> list[tuple[str, str, str]]:
    """(what, found, note) a line."""
    import numpy as np

    from .. import __version__
    from ..backends.cuda import why_not

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = [
        ("gpubp", __version__, ""),
        ("Python", platform.python_version(), platform.platform()),
        ("NumPy", np.__version__, f"BLAS {blas['name']} {blas['version']}, {_threads()}"),
    ]
    for name, use, mend in OPTIONAL:
        version = _version(name)
        found.append((name, version or "missing", use if version else f"for {use}: {mend}"))
    cupy = next((f"{n} {_version(n)}" for n in ("cupy-cuda12x", "cupy-cuda13x", "cupy") if _version(n)), "missing")
    reason = why_not()
    found.append(("CuPy", cupy, "" if not reason else reason))
    found.append(("device cpu", "usable", f"{os.cpu_count()} cores"))
    return found + ([("device cuda", "not usable", "see CuPy")] if reason else _gpus())


def _gpus() -> list[tuple[str, str, str]]:
    from ..backends.cuda import find_cupy

    cupy: Any = find_cupy()
    found = []
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        name = properties["name"].decode() if isinstance(properties["name"], bytes) else properties["name"]
        found.append((f"device cuda:{index}", "usable", f"{name}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"))
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threads() -> str:
    set_by = next((f"{n}={os.environ[n]}" for n in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if n in os.environ), "")
    return set_by or f"up to {os.cpu_count()} threads"
