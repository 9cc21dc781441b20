"""Processes that train one network together, each on its own part of every batch."""

from .base import Processes, VectorSlices, tree_sum

__all__ = ["Processes", "VectorSlices", "tree_sum"]
