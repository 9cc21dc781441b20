"""Arithmetic: libraries, kernels and threads that affect rounding, stored in checkpoints.

A resumed training run is bitwise identical to one that never stopped if both compute with the same libraries, kernels
and threads. A checkpoint records them, and a resume with others warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backends import Backend
from ..backends.cpu.blas_threads import blas_threads


def arithmetic(backend: Backend, one_thread: bool = False) -> dict[str, str]:
    """Device, libraries and their versions, kernels and threads. one_thread: whether steps compute each part of a batch
    on one thread of BLAS, however many it has.

    >>> from gpubp.backends import get_backend
    >>> list(arithmetic(get_backend("cpu")))
    ['device', 'NumPy', 'BLAS', 'threads of BLAS']
    """
    if backend.numerics == "exact":  # in which no device rounds otherwise
        return backend.arithmetic()
    threads = {"threads of BLAS": str(1 if one_thread else blas_threads())} if backend.name == "cpu" else {}
    return {"device": backend.name.partition(":")[0]} | backend.arithmetic() | threads


def warn_of_another(theirs: Any, backend: Backend, path: Path, one_thread: bool = False) -> None:
    """Warn if a checkpoint that says `theirs` was made where numbers are rounded otherwise. one_thread: as above.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> warn_of_another(arithmetic(be), be, Path("a.safetensors"))
    """
    mine = arithmetic(backend, one_thread)
    if not isinstance(theirs, Mapping):  # written before checkpoints said it
        return
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    if names:
        told = "; ".join(f"{name}: {theirs.get(name, 'none')} there, {mine.get(name, 'none')} here" for name in names)
        warnings.warn(
            f"{path} is of a training whose numbers were rounded otherwise ({told:.400}). It goes on, and ends with "
            "other last bits than if it had never stopped",
            RuntimeWarning,
            stacklevel=4,
        )
