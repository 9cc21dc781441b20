"""Everything that a training is at one moment, as numbers and names; and a training made to go on from there.

A checkpoint is a model file (see `checkpoint.py`) that holds besides, under "training/":

    moments/<m>/<name>    the optimizer's, by parameter                     parameters, running statistics: as ever
    totals, sums          Σ w ℓ and Σ w m of the epoch so far, and of the last batch
    history/<name>        float64, a number an epoch
    callbacks/<i>/<name>  arrays of the i-th callback that has any state

and in its description: loss, optimizer and settings of the trainer, the step, the learning rate's factor, the epoch and
the place in it, and the numbers that callbacks remember. Batch order and random masks are functions of seed, epoch and
step, and schedules of the step: that is all it takes. A training that goes on from a checkpoint does what it would have
done without the interruption, to the bit: with the same data and callbacks, on the same device and the same libraries.
"""

from __future__ import annotations

import math
import os
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import model_file
from ..backends import Array, Backend, as_numpy
from ..config import Configurable, as_plain, from_config, whole
from ..data.row_groups import RowGroups
from ..errors import DataError, ModelFileError
from ..flat import FlatArray
from ..model_file import TRAINING
from ..step.step import Progress, TrainingStep
from .arithmetic import arithmetic, warn_of_another
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Fit", "Snapshot", "checkpoints_in", "read", "restore", "snapshot"]

MOST_WORKERS = 1024
LOOKED_AT = 1 << 24  # bytes of an array that go into its fingerprint


class Snapshot(NamedTuple):
    """A training at one moment, in the host's memory: a description for JSON, and arrays by name.

    >>> Snapshot({}, {}).step
    0
    """

    config: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.config.get("training", {}).get("step", 0))


@dataclass
class Fit:
    """One call of `fit`: what must be given again after a resume.

    epochs; shuffle; callbacks. arrays: inputs, targets and weights to train with and to validate with, None where there
    are none.

    >>> Fit(3, True, [], {"X": np.zeros((4, 2))}).data
    {'X': {'shape': [4, 2], 'dtype': 'float64', 'crc32': 1972200246}}
    """

    epochs: int
    shuffle: Any
    callbacks: Sequence[Callback]
    arrays: Mapping[str, Any]

    @cached_property
    def data(self) -> dict[str, Any]:
        """A fingerprint of every array."""
        return {name: None if a is None else _fingerprint(a) for name, a in self.arrays.items()}

    @property
    def order(self) -> bool | str:
        """What there is to say of `shuffle`."""
        return "a function" if callable(self.shuffle) else bool(self.shuffle)

    def keepers(self) -> list[tuple[Callback, dict[str, Any]]]:
        """The callbacks that remember something, with what they do."""
        return [(callback, state) for callback in self.callbacks if (state := callback.state_dict())]


def _fingerprint(a: Array) -> dict[str, Any]:
    """Shape, type, and CRC-32 of all of it, or of rows spread evenly over it where it is large."""
    if isinstance(a, RowGroups):
        return a.fingerprint(LOOKED_AT)
    row = max(1, math.prod(a.shape[1:]) * a.dtype.itemsize)
    rows = min(len(a), max(1, LOOKED_AT // row))
    some = a if rows == len(a) else a[np.linspace(0, len(a) - 1, rows).astype(np.int64)]
    crc = zlib.crc32(np.ascontiguousarray(as_numpy(some)).reshape(-1).view(np.uint8).data)
    return {"shape": list(a.shape), "dtype": str(a.dtype), "crc32": crc}


# -- from a trainer -------------------------------------------------------------------------------------------------


def snapshot(trainer: Trainer) -> Snapshot:
    """The training as it stands between two steps; waits for the device, and copies.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> sorted(snapshot(bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(momentum=0.9))).arrays)
    ['W', 'b', 'training/moments/v/W', 'training/moments/v/b']
    """
    if trainer.watch is not None:
        trainer.watch.look()  # what is written is good, and where it says
    network, update, be = trainer.network, trainer.update, trainer.backend
    arrays = {**_on_host(be, network.parameters), **_on_host(be, network.states)}
    for moment, flat in update.moments.items():
        arrays |= {f"{TRAINING}moments/{moment}/{name}": a for name, a in _on_host(be, flat).items()}
    training: dict[str, Any] = {
        "loss": trainer.loss_function.config(),
        "optimizer": trainer.optimizer.config(),
        "settings": as_plain(trainer.settings),
        "step": update.t,
        "factor": update.factor,
        "epoch": trainer.epoch,
        "arithmetic": arithmetic(be),
    }
    if trainer.under_way is not None:
        training["fit"] = _fit(trainer, trainer.under_way, arrays)
    return Snapshot(network.config() | {"training": training}, arrays)


def _fit(trainer: Trainer, fit: Fit, arrays: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "epochs": fit.epochs,
        "shuffle": fit.order,
        "data": fit.data,
        "steps_of_epoch": trainer.step_in_epoch,
        "workers": 0 if trainer.last_step is None else trainer.last_step.workers,
        "stop": bool(trainer.stop),
        "epochs_done": trainer.history.epochs,
        "history": list(trainer.history),
        "callbacks": [],
    }
    for name, column in trainer.history.items():
        arrays[f"{TRAINING}history/{name}"] = np.array(column, np.float64)
    if trainer.step_in_epoch and trainer.last_step is not None:
        progress = trainer.last_step.progress()
        described |= {"weight": progress.weight, "total_weight": progress.total_weight}
        arrays |= {f"{TRAINING}totals": progress.totals, f"{TRAINING}sums": progress.sums}
    for i, (callback, state) in enumerate(fit.keepers()):
        plain = {}
        for name, value in state.items():
            if isinstance(value, np.ndarray) or trainer.backend.owns(value):
                arrays[f"{TRAINING}callbacks/{i}/{name}"] = _copied(trainer.backend, value)
            else:
                plain[name] = _spelled(as_plain(value))
        described["callbacks"].append([type(callback).__name__, plain])
    return described


def _on_host(be: Backend, flat: FlatArray) -> dict[str, np.ndarray[Any, Any]]:
    return flat.views(_copied(be, flat.flat))


def _copied(be: Backend, a: Array) -> np.ndarray[Any, Any]:
    host = be.to_host(a) if be.owns(a) else np.asarray(a)
    return host.copy() if host is a else host  # CuPy's is a copy as it is


def _spelled(value: Any) -> Any:
    """JSON has no numbers but finite ones."""
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
    """The checkpoints of a folder, the newest first; the best one, which is one of them or older, left out.

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
        settings = from_config(training["settings"])
        return from_config(training["loss"]), from_config(training["optimizer"]), dict(settings)


def restore(trainer: Trainer, snapshot: Snapshot, path: Path) -> None:
    """Make `trainer` what the checkpoint was taken of; its next `fit` goes on in the middle of the one interrupted.

    Raises ModelFileError, a line for every difference, if it is of another network or trainer; nothing is changed then.
    """
    config, arrays = snapshot
    training, network, be = config["training"], trainer.network, trainer.backend
    _check_settings(trainer, config, path)
    with model_file.described(path, "a training"):
        step, epoch, factor = whole(training["step"], 0), whole(training["epoch"], 0), training["factor"]
        if step is None or epoch is None or not isinstance(factor, float | int) or not factor >= 0:
            raise ValueError(f"step {training['step']!r}, epoch {training['epoch']!r}, factor {factor!r}")
        frozen = set(config["frozen"]) & set(network.declared)
        fit = None if training.get("fit") is None else _Position.of(training["fit"], arrays)
    trained = [name for name in network.declared if name not in frozen]
    here = {**network.parameters, **network.states}
    wanted = {name: tuple(a.shape) for name, a in here.items()}
    moments = {
        f"{TRAINING}moments/{m}/{name}": (m, name) for m in trainer.optimizer.moments for name in trained
    }  # fmt: skip
    wanted |= {file: tuple(network.parameters[name].shape) for file, (_, name) in moments.items()}
    others = {name: a for name, a in arrays.items() if not name.startswith(TRAINING) or name in moments}
    model_file.compare(path, others, wanted, str(network.dtype))
    network.frozen = frozen
    trainer.renew()
    with be.active():
        for name, a in here.items():
            be.put(a, arrays[name])
        for file, (m, name) in moments.items():
            be.put(trainer.update.moments[m][name], arrays[file])
    trainer.update.t, trainer.update.factor = step, float(factor)
    trainer.epoch, trainer.pending, trainer.resumed_from = epoch, fit, path
    warn_of_another(training.get("arithmetic"), be, path)


def _check_settings(trainer: Trainer, config: Mapping[str, Any], path: Path) -> None:
    training, network = config["training"], trainer.network
    mine: dict[str, Any] = {f"the {key}": value for key, value in network.config().items() if key not in _FREE}
    theirs = {f"the {key}": config.get(key) for key in network.config() if key not in _FREE}
    mine |= {"the loss": trainer.loss_function.config(), "the optimizer": trainer.optimizer.config()}
    theirs |= {"the loss": training.get("loss"), "the optimizer": training.get("optimizer")}
    settings = training.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    mine |= {key: value for key, value in as_plain(trainer.settings).items() if key not in _FREE}
    theirs |= {key: settings.get(key) for key in trainer.settings if key not in _FREE}
    different = [
        f"  {key}: {_shown(theirs[key])} there, {_shown(mine[key])} here" for key in mine if mine[key] != theirs[key]
    ]
    if different:
        raise ModelFileError(
            f"{path} is a checkpoint of another training; make the trainer as it was, or have Trainer.load make it:\n"
            + "\n".join(different)
        )


_FREE = {"metadata", "frozen", "on_nonfinite"}  # may be other ones after a resume, or come from the file


def _shown(value: Any) -> str:
    try:
        return repr(from_config(value))
    except ValueError:
        return f"{value!r:.100}"


@dataclass
class _Position:
    """Where in a `fit` a checkpoint was taken, checked as far as it can be before the fit is there."""

    order: Any
    data: Any
    steps_of_epoch: int
    stop: bool
    epochs_done: int
    history: dict[str, list[float]]
    workers: int
    progress: Progress | None
    callbacks: list[tuple[str, dict[str, Any]]]

    @classmethod
    def of(cls, fit: Mapping[str, Any], arrays: Mapping[str, Any]) -> _Position:
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
            progress = Progress(totals, sums, float(fit["weight"]), float(fit["total_weight"]))
        columns = {name: a.tolist() for name, a in history.items()}
        stop = bool(fit["stop"])
        return cls(fit["shuffle"], fit["data"], steps, stop, done, columns, workers, progress, callbacks)

    def check(self, fit: Fit, path: Path | None, steps: int) -> None:
        """DataError if `fit` was given other data, or another order, than the interrupted one."""
        if fit.order != self.order:
            raise DataError(f"{path} was trained with shuffle={self.order}; give fit the same to go on")
        theirs = self.data if isinstance(self.data, dict) else {}
        changed = [name for name in fit.data | theirs if fit.data.get(name) != theirs.get(name)]
        if changed:
            raise DataError(
                f"{path} was trained with other data: {', '.join(changed)} differ{'s' * (len(changed) == 1)}. Give fit "
                "the same arrays, weights and validation to go on, or begin anew with gpubp.load"
            )
        if self.steps_of_epoch > steps:
            raise ModelFileError(f"{path} has done {self.steps_of_epoch} steps of an epoch that has {steps}")

    def into_history(self, trainer: Trainer) -> None:
        """Put back what the epochs reported, and the place in the epoch."""
        trainer.stop, trainer.step_in_epoch = self.stop, self.steps_of_epoch
        trainer.bench.shared_by = self.workers  # another number of workers would sum in another order
        for k in range(self.epochs_done):
            trainer.history.append({name: column[k] for name, column in self.history.items()})

    def into_callbacks(self, fit: Fit, path: Path | None) -> None:
        """Give each callback back what it remembers; ModelFileError if they are not those of the interrupted fit."""
        keepers = [callback for callback, _ in fit.keepers()]
        names = [type(callback).__name__ for callback in keepers]
        free = {type(callback).__name__ for callback in fit.callbacks if callback.comes_last}
        free |= {"Checkpoint", "MLflow"}
        theirs = [name for name, _ in self.callbacks if name not in free]
        if theirs != [name for name in names if name not in free]:
            raise ModelFileError(
                f"{path} was trained with the callbacks {', '.join(theirs) or 'none'}, and fit was given "
                f"{', '.join(names) or 'none'}; give it the same, in the same order, to go on"
            )
        for callback, name in zip(keepers, names, strict=True):
            i = next((i for i, (other, _) in enumerate(self.callbacks) if other == name), None)
            if i is not None:
                with model_file.described(path or "the checkpoint", "a training"):
                    callback.load_state_dict(self.callbacks.pop(i)[1])

    def into_step(self, step: TrainingStep, path: Path | None) -> None:
        """Put back the sums of the epoch so far."""
        mine, theirs = step.progress(), self.progress
        if theirs is None or [(a.shape, a.dtype) for a in mine[:2]] != [(a.shape, a.dtype) for a in theirs[:2]]:
            raise ModelFileError(f"{path} has summed up other numbers of the epoch than this training does")
        step.go_on(theirs)
