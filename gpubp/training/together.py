"""Training in several processes: the checks at the beginning, and what must be the same in all of them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..config import as_plain
from ..errors import CommunicationError, GpubpError, ModelFileError
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
    processes.doing = "the beginning of training"
    same = {
        "the version of gpubp": __version__,
        "the network": network.layers.config(),
        "the type and shape of its numbers": [str(network.dtype), list(network.input_shape), cache.backend.numerics],
        "the settings of the trainer": {k: v for k, v in as_plain(cache.sharing.settings).items() if k != "workers"},
        "the loss": cache.job.loss.config(),
        "the optimizer": update.optimizer.config(),
        "the number of steps done": update.t,
        "the shards and workers": [cache.sharing.shards, cache.sharing.parts],
        "the trained parameters": sorted(set(network.freezable) - network.frozen),
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


def meet(processes: Processes | None, what: str) -> None:
    """Say that this process now does `what`, and raise CommunicationError if the others do something else.

    >>> meet(None, "a checkpoint at step 3")
    """
    if processes is not None:
        processes.doing = what
        processes.agree()


def check_order(processes: Processes | None, order: Any, epoch: int) -> None:
    """Raise CommunicationError if the processes have different orders of the rows in an epoch.

    >>> check_order(None, np.arange(3), 0)
    """
    if processes is None:
        return
    processes.doing = f"the beginning of epoch {epoch + 1}"
    mine = np.array([zlib.crc32(np.ascontiguousarray(order).view(np.uint8).data)], np.int64)
    everything = np.zeros((processes.size, 1), np.int64)
    processes.gather(mine, everything)
    different = np.flatnonzero(everything != everything[0])
    if different.size:
        raise CommunicationError(
            f"process {different[0]} of {processes.size} has another order of the rows in epoch {epoch + 1} than "
            "process 0: a function given as shuffle must return the same in every process, as one does that draws "
            "from np.random.default_rng(epoch)"
        )


def first_numbers(processes: Processes | None, logs: dict[str, float]) -> dict[str, float]:
    """The numbers of an epoch as process 0 has them: on other processors, last bits may differ, and what is decided by
    them must not.

    >>> first_numbers(None, {"loss": 0.5})
    {'loss': 0.5}
    """
    return logs if processes is None else dict(processes.share(logs))


def any_stops(processes: Processes | None, stop: bool) -> bool:
    """Whether a callback of any process ends training after this epoch.

    >>> any_stops(None, False)
    False
    """
    return stop if processes is None else any(processes.collect(bool(stop)))


def from_first(processes: Processes | None, made: Callable[[], Any]) -> Any:
    """What `made` returns in process 0, made of what JSON has; it is called there alone. If it raises an OSError or an
    error of gpubp, all processes do.

    >>> from_first(None, lambda: 3)
    3
    """
    if processes is None:
        return made()
    value, problem = None, None
    if processes.leads:
        try:
            value = made()
        except (OSError, GpubpError) as found:
            problem = found
    told = None if problem is None else [isinstance(problem, ModelFileError), str(problem)]
    value, told = processes.share([value, told])
    if problem is not None:
        raise problem
    if told is not None:
        raise (ModelFileError if told[0] else OSError)(f"process 0: {told[1]}")
    return value


def read_once(processes: Processes | None, where: str | os.PathLike[str]) -> tuple[Path, Snapshot]:
    """A checkpoint, see `snapshot.read`: process 0 reads the file, and sends what is in it to the others."""
    if processes is None:
        return read(where)
    found: list[Any] = [Path(), Snapshot({}, {})]

    def described() -> list[Any]:
        found[:] = path, taken = read(where)
        return [str(path), taken.config, {name: [list(a.shape), a.dtype.str] for name, a in taken.arrays.items()}]

    told, config, of_arrays = from_first(processes, described)
    taken = found[1]
    arrays = {}
    for name, (shape, dtype) in of_arrays.items():
        a = np.array(taken.arrays[name], order="C") if processes.leads else np.empty(shape, dtype)
        if a.size:
            processes.broadcast(a)
        arrays[name] = a
    return Path(told), Snapshot(config, arrays)
