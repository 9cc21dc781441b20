"""Processes that train one network together, each on its own part of every batch."""

from .base import Processes, VectorSlices, tree_sum
from .ending import end_all
from .gpus import device_of
from .launch import launched, processes_of
from .nccl import GPUProcesses, gpu_processes, gpu_processes_by_files

__all__ = [
    "GPUProcesses", "Processes", "VectorSlices", "device_of", "end_all", "gpu_processes", "gpu_processes_by_files",
    "launched", "processes_of", "tree_sum",
]  # fmt: skip
