"""Processes that train one network together, each on its own part of every batch.

What is for several processes alone is imported at the first use of its name: one process needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import Processes, VectorSlices, tree_sum
from .launch import launched, processes_of

if TYPE_CHECKING:
    from .ending import end_all
    from .gpus import device_of
    from .nccl import GPUProcesses, gpu_processes_by_files, processes_on

LATER = {
    "GPUProcesses": "nccl", "device_of": "gpus", "end_all": "ending", "gpu_processes_by_files": "nccl",
    "processes_on": "nccl",
}  # fmt: skip

__all__ = [
    "GPUProcesses", "Processes", "VectorSlices", "device_of", "end_all", "gpu_processes_by_files", "launched",
    "processes_of", "processes_on", "tree_sum",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{LATER[name]}"), name)
