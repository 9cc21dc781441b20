"""Backends: one interface to NumPy on the CPU and to CuPy on a CUDA GPU."""

from __future__ import annotations

from .arrays import Array, Shape, as_numpy, may_share
from .base import Backend
from .cpu.backend import CPU
from .cpu.compiled import CompiledRecord
from .cpu.row_products import SHARED, submit
from .record_check import OPERATORS, repeats
from .recorded import Recorded
from .select import get_backend

__all__ = [
    "CPU", "OPERATORS", "SHARED", "Array", "Backend", "CompiledRecord", "Recorded", "Shape",
    "as_numpy", "get_backend", "may_share", "repeats", "submit",
]  # fmt: skip
