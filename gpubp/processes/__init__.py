"""Processes that train one network together, each on its own part of every batch."""

from .base import Processes, VectorSlices, tree_sum
from .ending import end_all
from .gpus import device_of
from .launch import launched, processes_of
from .nccl import GPUProcesses, gpu_processes_by_files, processes_on

__all__ = [
    "GPUProcesses", "Processes", "VectorSlices", "device_of", "end_all", "gpu_processes_by_files", "launched",
    "processes_of", "processes_on", "tree_sum",
]  # fmt: skip
