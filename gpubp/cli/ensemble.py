"""`--ensemble N`: N networks that differ by their seeds, trained one after the other, become one that averages them.

Network i has the seed of the run plus i, i = 0 ... N - 1: first weights, order of batches and dropout. All are trained
on the same rows, and validated with the same. See `layers.ensemble` for the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from ..backends import as_numpy
from ..layers import Ensemble
from ..network.network import Network
from ..training.history import History
from ..training.monitors import EarlyStopping
from ..training.trainer import Trainer
from .console import note
from .members import Members
from .train_job import TrainJob

ensemble_option = click.option(
    "--ensemble", type=click.IntRange(2), metavar="N", help="Train N networks and average their predictions."
)


def check_ensemble(options: dict[str, Any]) -> None:
    """Raise UsageError for options that can't go with --ensemble."""
    if options["ensemble"] is None:
        return
    for name in ("checkpoint_dir", "log"):
        if options[name]:
            raise click.UsageError(f"--ensemble can't go with --{name.replace('_', '-')}, which is for one network")


def fit_ensemble(job: TrainJob, fit: Callable[[TrainJob], int]) -> tuple[TrainJob, int]:
    """Train the networks by `fit`, which returns an exit code; returns the job with their mean, and the code.

    Where a signal ended the training, the mean is of those that had finished, or it is the one that had not.
    """
    assert job.members is not None
    wanted, first = job.members.wanted, job.trainer
    trained: list[Trainer] = []
    code = 0
    for i in range(wanted):
        seed = first.seed + i
        trainer = first if i == 0 else job.maker.make(job.pace, first.settings["l2"], seed)
        stopping = None if job.stopping is None else EarlyStopping(patience=job.stopping.patience)
        note(f"network {i + 1} of {wanted}, seed {seed}")
        code = fit(replace(job, trainer=trainer, stopping=stopping))
        if trainer.history.epochs and stopping is not None and trainer.stop:
            note(f"no gain for {stopping.patience} epochs: kept epoch {stopping.best_epoch}")
        if not trainer.history.interrupted or not trained:
            trained.append(trainer)
        if code:
            note(f"of {wanted} networks {len(trained)} {'is' if len(trained) == 1 else 'are'} saved")
            break
    members = Members(wanted, tuple(t.seed for t in trained), tuple(t.history.epochs for t in trained))
    return replace(job, trainer=_mean(job, trained, bool(code)), members=members, stopping=None), code


def _mean(job: TrainJob, trained: Sequence[Trainer], interrupted: bool) -> Trainer:
    """A trainer of the network that averages those trained, with the mean of their histories."""
    first = trained[0]
    one = first.network
    network = Network(
        Ensemble(*(trainer.network.layers for trainer in trained), average=job.task.kind),
        one.input_shape,
        device=one.backend,
        dtype=one.dtype.name,
        seed=first.seed,
    )
    network.metadata = dict(one.metadata)
    for i, trainer in enumerate(trained):
        network.freeze(*(f"{i}.{name}" for name in trainer.network.frozen))
        arrays = {**trainer.network.parameters, **trainer.network.states}
        here = {**network.parameters, **network.states}
        values = {name: as_numpy(a) for name, a in arrays.items()}
        with network.backend.active():
            for name, a in values.items():
                network.backend.put(here[f"{i}.{name}"], a)
    made = Trainer(network, first.loss_function, first.optimizer, **first.settings)
    made.state.history = mean_history([trainer.history for trainer in trained])
    made.state.history.interrupted = interrupted
    return made


def mean_history(histories: Sequence[History]) -> History:
    """The mean of each epoch over the networks that reached it.

    >>> a, b = History(), History()
    >>> a.append({"loss": 1.0}); b.append({"loss": 3.0}); b.append({"loss": 2.0})
    >>> mean_history([a, b])["loss"]
    [2.0, 2.0]
    """
    mean = History()
    for k in range(max(history.epochs for history in histories)):
        there = [history for history in histories if history.epochs > k]
        mean.append({name: sum(h[name][k] for h in there) / len(there) for name in there[0]})
    return mean
