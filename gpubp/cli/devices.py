"""A printed description of a network's device."""

from __future__ import annotations

from ..backends.cuda.backend import CUDA
from ..backends.cuda.driver import why_not
from ..network.network import Network
from ..report.facts import cores
from .console import fact, note


def describe_device(network: Network) -> str:
    """The name of the device, its hardware, and the type of the network's numbers."""
    backend = network.backend
    what = backend.arithmetic()["GPU"] if isinstance(backend, CUDA) else cores()
    exact = ", exact numerics" if backend.numerics == "exact" else ""
    return f"{backend.name} ({what}), {network.dtype}{exact}"


def print_device(network: Network, asked: str) -> None:
    """Print the device; where "auto" was asked for and no GPU is used, print why."""
    fact("device", describe_device(network))
    if asked == "auto" and (reason := why_not()):
        note(f"no GPU is used: {reason}")
