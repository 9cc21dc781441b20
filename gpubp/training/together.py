"""Training in several processes: the checks at the beginning, and what must be the same in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CommunicationError
from ..processes import Processes
from .snapshot import Snapshot, read
from .step_cache import StepCache


def begin_together(cache: StepCache, told: Mapping[str, Any] | None = None) -> None:
    """Give every process the parameters and running statistics of process 0; nothing for one process.

    told: what must be the same in all processes, by what messages call it; None for what is done once alone, before the
    first step or evaluation outside of a fit. Raises CommunicationError where it is not.

    >>> from functools import partial
    >>> import gpubp as bp
    >>> from gpubp.step.step import StepJob
    >>> from gpubp.step.update import Update
    >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
    >>> begin_together(StepCache(StepJob(net, bp.MeanSquaredError()), partial(Update, net, bp.SGD()), 1), {})
    """
    processes = cache.sharing.processes
    if processes is None or (told is None and cache.sharing.begun):
        return
    cache.sharing.begun = True
    update, network = cache.update, cache.network
    same = {
        "the network": network.layers.config(),
        "the loss": cache.job.loss.config(),
        "the optimizer": update.optimizer.config(),
        "the number of steps done": update.t,
        "the shards and workers": [cache.sharing.shards, cache.sharing.parts],
        "the trained parameters": network.trainable,
    }
    _check_same(processes, same | dict(told or {}))
    for vector in (network.flat, network.states.flat):
        if vector.size:
            host = np.ascontiguousarray(cache.backend.to_host(vector))
            processes.broadcast(host)
            cache.backend.put(vector, host)


def _check_same(processes: Processes, told: dict[str, Any]) -> None:
    everything = processes.collect(told)
    for rank, theirs in enumerate(everything):
        different = [name for name in told if theirs.get(name) != everything[0].get(name)]
        if different:
            raise CommunicationError(
                f"process {rank} of {processes.size} was given other things than process 0: {', '.join(different)}. "
                "Processes that train one network together make the same calls with the same data; give Trainer "
                "communicator=None where each process trains a network of its own"
            )


def from_first(processes: Processes | None, made: Callable[[], Any]) -> Any:
    """What `made` returns in process 0, made of what JSON has; it is called there alone.

    >>> from_first(None, lambda: 3)
    3
    """
    if processes is None:
        return made()
    return processes.share(made() if processes.leads else None)


def read_once(processes: Processes | None, where: str | os.PathLike[str]) -> tuple[Path, Snapshot]:
    """A checkpoint, see `snapshot.read`: process 0 reads the file, and sends what is in it to the others."""
    if processes is None:
        return read(where)
    path, taken = read(where) if processes.leads else (Path(), Snapshot({}, {}))
    described = {name: [list(a.shape), a.dtype.str] for name, a in taken.arrays.items()}
    told, config, described = processes.share([str(path), taken.config, described])
    arrays = {}
    for name, (shape, dtype) in described.items():
        a = np.array(taken.arrays[name], order="C") if processes.leads else np.empty(shape, dtype)
        if a.size:
            processes.broadcast(a)
        arrays[name] = a
    return Path(told), Snapshot(config, arrays)
