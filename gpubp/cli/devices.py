"""A printed description of a network's device."""

from __future__ import annotations

from ..backends.cuda.backend import CUDA
from ..backends.cuda.driver import why_not
from ..network.network import Network
from ..report.facts import cores
from ..training.trainer import Trainer
from .console import fact, note


def describe_device(network: Network) -> str:
    """The name of the device, its hardware, and the type of the network's numbers."""
    backend = network.backend
    what = backend.arithmetic()["GPU"] if isinstance(backend, CUDA) else cores()
    exact = ", exact numerics" if backend.numerics == "exact" else ""
    return f"{backend.name} ({what}), {network.dtype}{exact}"


def told_sharing(trainer: Trainer, processes: int, hosts: int) -> str:
    """By what the batches of a training are shared; "" where nothing was asked for.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> told_sharing(bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), shards=8), 1, 1)
    '8 shards'
    """
    sharing = trainer.step_cache.sharing
    parts = sharing.parts // processes
    shards = f"{parts} shard{'s' * (parts > 1)}" if sharing.fixed and trainer.network.backend.name == "cpu" else ""
    if processes == 1:
        return shards
    where = f" on {hosts} machines" if hosts > 1 else ""
    return f"by {processes} processes{where}{f', {shards} each' if shards else ''}"


def print_device(network: Network, asked: str) -> None:
    """Print the device; where "auto" was asked for and no GPU is used, print why."""
    fact("device", describe_device(network))
    if asked == "auto" and (reason := why_not()):
        note(f"no GPU is used: {reason}")
