"""Processes that train one network together, each on its own part of every batch."""

from .base import Processes, VectorSlices, tree_sum
from .ending import end_all
from .launch import launched, processes_of

__all__ = ["Processes", "VectorSlices", "end_all", "launched", "processes_of", "tree_sum"]
