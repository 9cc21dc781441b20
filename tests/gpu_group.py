"""Groups of CUDA backends on the strict stand-in for CuPy, one for each thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from gpubp.backends.cuda.backend import CUDA
from gpubp.processes.nccl import GPUProcesses
from strict import StrictProducts
from strict_nccl import World, threads

Result = TypeVar("Result")
BEGIN = 60.0  # seconds in which all threads have begun


def on_gpus(
    size: int,
    work: Callable[[GPUProcesses], Result],
    world: World | None = None,
    timeout: float = 120.0,
    backend_of: Callable[[Any, int], CUDA] = lambda cupy, rank: CUDA(cupy, index=rank, products=StrictProducts),
) -> list[Result]:
    """What `work` returns in each of `size` threads, each of which has a backend that has joined the others.

    timeout: seconds that each then waits for the others.
    """
    world = World(size) if world is None else world
    identifier = os.urandom(128)

    def one(rank: int) -> Any:
        backend = backend_of(world.cupy(rank), rank)
        backend.join(rank, size, identifier, BEGIN).timeout = timeout
        with backend.active():
            return work(GPUProcesses(backend))

    try:
        return threads(size, one)
    finally:
        world.abandon()


def put(group: GPUProcesses, a: np.ndarray) -> Any:
    """A copy of `a` on the process's device."""
    there = group.be.empty(a.shape, a.dtype)
    group.be.put(there, a)
    return there
