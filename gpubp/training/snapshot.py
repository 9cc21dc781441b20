"""Snapshot: the state of a training run between two steps, saved to and restored from a checkpoint.

A checkpoint is a model file (see `model_file.py`) that holds besides, under "training/":

    moments/<m>/<name>    the optimizer's, by parameter
    parameters/<name>     the parameters, where the model's are their averages
    totals, sums          Σ w ℓ and Σ w m of the epoch so far, and of the last batch
    kept/<name>           the rows of the epoch so far that metrics have kept
    history/<name>        float64, one number an epoch
    callbacks/<i>/<name>  arrays of the i-th callback that has a state

and in its description: loss, optimizer and settings of the trainer, the step, the learning rate's factor, the epoch and
the place in it, and the states of callbacks. Batch order and random masks are functions of seed, epoch and step, and
schedules of the step, so nothing else is needed. A training run that goes on from a checkpoint is bitwise identical to
one that was not interrupted, with the same data and callbacks, on the same device and with the same libraries; in exact
numerics on any device, with any libraries and any number of workers.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import model_file
from ..backends import Array, Backend
from ..config import Configurable, as_plain, from_config, real, whole
from ..errors import ModelFileError
from ..flat import FlatArray
from ..model_file import TRAINING
from ..network.network import Network
from ..step.step import Progress
from .arithmetic import arithmetic, warn_of_another
from .settings import Settings
from .state import Fit, Position, RunState
from .step_cache import StepCache

MOST_WORKERS = 1024


class Snapshot(NamedTuple):
    """A training run between two steps, in host memory: a description for JSON, and arrays by name.

    >>> Snapshot({}, {}).step
    0
    """

    config: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.config.get("training", {}).get("step", 0))


# -- from a training run ----------------------------------------------------------------------------------------------


def take(network: Network, cache: StepCache, state: RunState, settings: Mapping[str, Any]) -> Snapshot:
    """The training run as it stands, between two steps; waits for the device, and copies.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(momentum=0.9))
    >>> sorted(take(net, trainer.step_cache, trainer.state, trainer.settings).arrays)
    ['W', 'b', 'training/moments/v/W', 'training/moments/v/b']
    """
    update, be = cache.update, cache.backend
    arrays = {**_on_host(be, network.parameters), **_on_host(be, network.states)}
    if update.average is not None and update.average.validated:
        arrays |= {f"{TRAINING}parameters/{name}": arrays[name] for name in network.parameters}
        arrays |= network.parameters.views(_copied(be, update.average.vector()))
    for moment, flat in update.moments.items():
        arrays |= {f"{TRAINING}moments/{moment}/{name}": a for name, a in _on_host(be, flat).items()}
    training: dict[str, Any] = {
        "loss": cache.job.loss.config(),
        "optimizer": update.optimizer.config(),
        "settings": as_plain(settings),
        "step": update.t,
        "factor": update.factor,
        "epoch": state.epoch,
        "arithmetic": arithmetic(be, cache.sharing.fixed),
    }
    if update.penalty.per_weight:
        training["batch_weight"] = update.batch_weight
    if state.fit is not None:
        training["fit"] = _described(cache, state, state.fit, arrays)
    elif state.position is not None:  # resumed, and not gone on yet
        training["fit"] = _described_again(be, state.position, arrays)
    return Snapshot(network.config() | {"training": training}, arrays)


def _described(cache: StepCache, state: RunState, fit: Fit, arrays: dict[str, Any]) -> dict[str, Any]:
    """The place in the fit; its numbers go into `arrays`."""
    step, be = fit.step or cache.last_step, cache.backend  # the last step may be one that a callback took
    described: dict[str, Any] = {
        "epochs": fit.epochs,
        "shuffle": fit.order,
        "data": fit.data,
        "steps_of_epoch": state.step_in_epoch,
        "workers": 0 if step is None else step.workers,
        "stop": bool(state.stop),
        "epochs_done": state.history.epochs,
    }
    progress = step.progress() if state.step_in_epoch and step is not None else None
    states = [(type(callback).__name__, values) for callback, values in fit.callback_states()]
    return described | _with_arrays(be, state.history, progress, states, arrays)


def _described_again(be: Backend, position: Position, arrays: dict[str, Any]) -> dict[str, Any]:
    """The place in the interrupted fit that a resumed trainer has not gone on from."""
    described = {
        "shuffle": position.order,
        "data": position.data,
        "steps_of_epoch": position.steps_of_epoch,
        "workers": position.workers,
        "stop": position.stop,
        "epochs_done": position.epochs_done,
    }
    return described | _with_arrays(be, position.history, position.progress, position.callbacks, arrays)


def _with_arrays(
    be: Backend,
    history: Mapping[str, list[float]],
    progress: Progress | None,
    states: Sequence[tuple[str, Mapping[str, Any]]],
    arrays: dict[str, Any],
) -> dict[str, Any]:
    """The description of what has arrays, which go into `arrays`. states: (name of the class, state) of callbacks."""
    described: dict[str, Any] = {"history": list(history), "callbacks": []}
    for name, column in history.items():
        arrays[f"{TRAINING}history/{name}"] = np.array(column, np.float64)
    if progress is not None:
        described |= {"weight": progress.weight, "total_weight": progress.total_weight}
        arrays |= {f"{TRAINING}totals": progress.totals, f"{TRAINING}sums": progress.sums}
        arrays |= {f"{TRAINING}kept/{name}": a for name, a in progress.kept.items()}
    for i, (callback, values) in enumerate(states):
        plain = {}
        for name, value in values.items():
            if isinstance(value, np.ndarray) or be.owns(value):
                arrays[f"{TRAINING}callbacks/{i}/{name}"] = _copied(be, value)
            else:
                plain[name] = _spelled(as_plain(value))
        described["callbacks"].append([callback, plain])
    return described


def _on_host(be: Backend, flat: FlatArray) -> dict[str, np.ndarray[Any, Any]]:
    return flat.views(_copied(be, flat.flat))


def _copied(be: Backend, a: Array) -> np.ndarray[Any, Any]:
    host = be.to_host(a) if be.owns(a) else np.asarray(a)
    return host.copy() if host is a else host  # CuPy's is a copy as it is


def _spelled(value: Any) -> Any:
    """Plain values with floats that JSON does not have, inf and NaN, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return {key: _spelled(item) for key, item in value.items()} if isinstance(value, dict) else value


def _unspelled(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float(value["float"])
        return {key: _unspelled(item) for key, item in value.items()}
    return [_unspelled(item) for item in value] if isinstance(value, list) else value


# -- from a file ----------------------------------------------------------------------------------------------------


def checkpoints_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a folder, the newest first, without best.safetensors.

    >>> checkpoints_in("no/such/folder")
    []
    """
    try:
        found = [path for path in Path(folder).iterdir() if re.fullmatch(r"step-\d{9,}\.safetensors", path.name)]
    except OSError:
        return []
    return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)


def read(where: str | os.PathLike[str]) -> tuple[Path, Snapshot]:
    """The checkpoint `where`, or the newest that can be read of the folder `where`, with its path.

    A damaged one is passed over with a warning. Raises ModelFileError if there is none, or if the file is a model
    without a training.

    >>> read("nothing")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing
    """
    where = Path(where)
    if not where.is_dir():
        return where, _read(where)
    found = checkpoints_in(where)
    if not found:
        raise ModelFileError(f"there is no checkpoint in {where}; bp.Checkpoint({str(where)!r}) writes some")
    for path in found:
        try:
            return path, _read(path)
        except ModelFileError as problem:
            if path == found[-1]:
                raise
            warnings.warn(f"{problem}; going on from the checkpoint before it", RuntimeWarning, stacklevel=3)
    raise AssertionError("every checkpoint was tried")


def _read(path: Path) -> Snapshot:
    config, arrays = model_file.read(path)
    if not isinstance(config.get("training"), dict):
        raise ModelFileError(f"{path} is a model, not the checkpoint of a training; gpubp.load reads it")
    return Snapshot(config, arrays)


def made_from(snapshot: Snapshot, path: Path) -> tuple[Configurable, Configurable, dict[str, Any]]:
    """(loss, optimizer, settings) of the trainer that a checkpoint is of."""
    training = snapshot.config["training"]
    with model_file.described(path, "a training"):
        settings = dict(training["settings"])
        if "metrics" in settings:
            metrics = from_config(settings["metrics"])
            settings["metrics"] = list(metrics) if isinstance(metrics, tuple) else metrics
        return from_config(training["loss"]), from_config(training["optimizer"]), settings


def restore(
    network: Network, cache: StepCache, state: RunState, settings: Mapping[str, Any], snapshot: Snapshot, path: Path
) -> None:
    """Put a training run back where a snapshot was taken; the next fit goes on in the middle of the interrupted one.

    Raises ModelFileError, a line for every difference, if it is of another network or trainer; nothing is changed then.
    """
    config, arrays = snapshot
    training, be = config["training"], cache.backend
    _check_settings(network, cache, settings, config, path)
    with model_file.described(path, "a training"):
        step, epoch, factor = whole(training["step"], 0), whole(training["epoch"], 0), training["factor"]
        if step is None or epoch is None or not 0 <= real(factor) < math.inf:
            raise ValueError(f"step {training['step']!r}, epoch {training['epoch']!r}, factor {factor!r}")
        weight = real(training.get("batch_weight", 0.0))  # older checkpoints have none
        if not 0 <= weight < math.inf:
            raise ValueError(f"batch_weight {training['batch_weight']!r}")
        frozen = set(config["frozen"]) & set(network.freezable)
        position = None if training.get("fit") is None else _position(training["fit"], arrays)
    trained = [name for name in network.declared if name not in frozen]
    here = {**network.parameters, **network.states}
    wanted = {name: tuple(a.shape) for name, a in here.items()}
    moments = {
        f"{TRAINING}moments/{m}/{name}": (m, name) for m in cache.update.moments for name in trained
    }  # fmt: skip
    with_moments = {name for file, (_, name) in moments.items() if file in arrays}  # others were unfrozen since a step
    moments = {file: (m, name) for file, (m, name) in moments.items() if name in with_moments}
    wanted |= {file: tuple(network.parameters[name].shape) for file, (_, name) in moments.items()}
    own = {name: f"{TRAINING}parameters/{name}" for name in network.parameters}
    if arrays.keys() & own.values():
        wanted |= {file: wanted[name] for name, file in own.items()}
    else:
        own = {}
    others = {name: a for name, a in arrays.items() if not name.startswith(TRAINING) or name in wanted}
    model_file.compare(path, others, wanted, str(network.dtype))
    with network.one_thread.during("resume"), be.active():
        network.frozen = frozen
        cache.reset()
        for name, a in here.items():
            be.put(a, arrays[own.get(name, name)])
        for file, (m, name) in moments.items():
            be.put(cache.update.moments[m][name], arrays[file])
        cache.update.t, cache.update.factor = step, float(factor)
        cache.update.set_batch_weight(weight)
        state.epoch, state.position, state.resumed_from = epoch, position, path
    warn_of_another(training.get("arithmetic"), be, path, cache.sharing.fixed)


def _check_settings(
    network: Network, cache: StepCache, settings: Mapping[str, Any], config: Mapping[str, Any], path: Path
) -> None:
    training = config["training"]
    exact = cache.backend.numerics == "exact"
    free = _FREE  # and what changes no bit
    if exact:
        free = free | {"workers", "shards"}
    elif settings.get("shards") is not None:
        free = free | {"workers"}
    ours = {"numerics": "ordinary"} | network.config()
    mine: dict[str, Any] = {f"the {key}": value for key, value in ours.items() if key not in free}
    theirs = {f"the {key}": config.get(key) for key in ours if key not in free}
    theirs["the numerics"] = config.get("numerics", "ordinary")
    mine |= {"the loss": cache.job.loss.config(), "the optimizer": cache.update.optimizer.config()}
    theirs |= {"the loss": training.get("loss"), "the optimizer": training.get("optimizer")}
    saved = training.get("settings")
    saved = saved if isinstance(saved, dict) else {}
    saved = as_plain(vars(Settings())) | saved  # options that came later are what they are by default
    mine |= {key: value for key, value in as_plain(settings).items() if key not in free}
    theirs |= {key: saved.get(key) for key in settings if key not in free}
    different = [
        f"  {key}: {_shown(theirs[key])} there, {_shown(mine[key])} here"
        for key in mine
        if mine[key] != theirs[key] and mine[key] != _completed(theirs[key])
    ]
    if different:
        raise ModelFileError(
            f"{path} is a checkpoint of another training; make the trainer as it was, or have Trainer.load make it:\n"
            + "\n".join(different)
        )


_FREE = {"metadata", "frozen", "on_nonfinite"}  # may be other ones after a resume, or come from the file


def _completed(value: Any) -> Any:
    """A description with all arguments of its classes: what an older version did not write is the default."""
    try:
        return as_plain(from_config(value))
    except ValueError:
        return value


def _shown(value: Any) -> str:
    try:
        return repr(from_config(value))
    except ValueError:
        return f"{value!r:.100}"


def _position(fit: Mapping[str, Any], arrays: Mapping[str, Any]) -> Position:
    """From a checkpoint's description; checked as far as it can be before the next fit is there."""
    done, steps = whole(fit["epochs_done"], 0), whole(fit["steps_of_epoch"], 0)
    if done is None or steps is None:
        raise ValueError(f"{fit['epochs_done']!r} epochs and {fit['steps_of_epoch']!r} steps are done")
    history = {str(name): arrays[f"{TRAINING}history/{name}"] for name in fit["history"]}
    if any(a.shape != (done,) or a.dtype != np.float64 for a in history.values()):
        raise ValueError(f"the history does not have {done} epochs")
    callbacks = []
    for i, (name, state) in enumerate(fit["callbacks"]):
        start = f"{TRAINING}callbacks/{i}/"
        kept = {key[len(start) :]: a for key, a in arrays.items() if key.startswith(start)}
        callbacks.append((str(name), _unspelled(dict(state)) | kept))
    workers, progress = whole(fit["workers"], 0), None
    if workers is None or workers > MOST_WORKERS:
        raise ValueError(f"{fit['workers']!r} workers")
    if steps:
        totals, sums = (arrays[f"{TRAINING}{name}"] for name in ("totals", "sums"))
        start = f"{TRAINING}kept/"
        kept = {key[len(start) :]: a for key, a in arrays.items() if key.startswith(start)}
        progress = Progress(totals, sums, float(fit["weight"]), float(fit["total_weight"]), kept)
    columns = {name: a.tolist() for name, a in history.items()}
    return Position(fit["shuffle"], fit["data"], steps, bool(fit["stop"]), done, columns, workers, progress, callbacks)
