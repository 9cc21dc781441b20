"""Callbacks that follow one number of each epoch: EarlyStopping and ReduceOnPlateau."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..config import BetweenZeroAndOne, CountOrZero, NotNegative, argument, whole
from ..errors import ModelFileError
from ..metrics import Metric
from .callbacks import Callback, RunningTrainer, known_rate, other_settings


def higher_is_better(name: str, metrics: Iterable[Metric]) -> bool | None:
    """Whether a number of the history is better when it is higher; None if that is not known.

    Known are the loss, metrics that say so, and names that end in "loss", "error" or "accuracy"; also after "val_".

    >>> from gpubp.metrics import F1
    >>> higher_is_better("val_loss", ()), higher_is_better("val_f1", [F1()]), higher_is_better("f1", ())
    (False, True, None)
    """
    name = name.removeprefix("val_")
    for metric in metrics:
        if metric.name == name and metric.higher_is_better is not None:
            return metric.higher_is_better
    if name.endswith("accuracy"):
        return True
    return False if name.endswith(("loss", "error")) else None


class Monitor(Callback):
    """Compares one number of each epoch with the best so far."""

    _watched: Mapping[str, str] = {}  # name and direction of the number, as far as they are known

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str) -> None:
        of = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'{of} takes the mode "auto", "min" or "max" and got {mode!r}')
        self.patience = argument(of, "patience", CountOrZero, patience)
        self.min_delta = argument(of, "min_delta", NotNegative, min_delta)
        self.monitor, self.mode = _name(of, monitor), mode
        if self.monitor == "auto" and mode == "max":
            raise ValueError(
                f'{of} with mode="max" needs monitor, such as "val_accuracy": the name of the number that is to rise; '
                'with monitor="auto" it watches the loss, which is to fall'
            )
        self.best, self.best_epoch, self.waited = math.nan, 0, 0

    def on_train_begin(self, trainer: Any) -> None:
        """Reset the best. Raises ValueError where no epoch reports the number, or its direction is not known."""
        self.best, self.best_epoch, self.waited = math.nan, 0, 0
        name = self.monitor
        if name == "auto":
            name = _usual(trainer.reported)
        elif trainer.reported and not trainer.may_report_more:
            self._check_name(name, trainer.reported)
        self._watched = self._number(name, trainer)

    def _check_name(self, name: str, reported: Iterable[str]) -> None:
        if name not in reported:
            raise ValueError(
                f"{type(self).__name__} watches {name!r}, and an epoch reports {', '.join(reported)}; "
                "a name with val_ needs validation_data or validation_fraction"
            )

    def _rises(self, name: str, trainer: RunningTrainer) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        if name in ("loss", "val_loss") and trainer.update.optimizer.maximize:
            return True
        rises = higher_is_better(name, trainer.metrics)
        if rises is None:
            of = type(self).__name__
            raise ValueError(
                f'{of} watches {name!r} with mode="auto", and whether a higher value is better is not known for it: '
                f'write {of}(monitor={name!r}, mode="max") or mode="min", or set higher_is_better in the class of the '
                "metric"
            )
        return rises

    def _number(self, name: str, trainer: RunningTrainer) -> dict[str, str]:
        """What is watched, as a checkpoint describes it."""
        return {"monitor": name, "mode": "max" if self._rises(name, trainer) else "min"}

    def other_number(self, state: Mapping[str, Any]) -> str:
        """How the number of which `state` has the best differs from the watched one; "" where it is the same.

        There is none before the first epoch, nor in checkpoints of older versions.
        """
        here = dict(self._watched)
        if self.monitor == "auto" and state.get("monitor") == "val_loss":
            here["monitor"] = "val_loss"  # also without validation: then a callback of the user's adds it again
        return other_settings(self, state, here)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, of which number, its epoch, and the number of epochs since."""
        state = {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}
        return {**state, **self._watched} if self.best_epoch or self.waited else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them. Raises ModelFileError if they are of another number."""
        if different := self.other_number(state):
            raise ModelFileError(different)
        self._watched = {name: state.get(name, value) for name, value in self._watched.items()}
        best, epoch, waited = state["best"], whole(state["best_epoch"], 0), whole(state["waited"], 0)
        if not isinstance(best, float | int) or epoch is None or waited is None:
            raise ValueError(f"{type(self).__name__} can't go on from {state}")
        self.best, self.best_epoch, self.waited = float(best), epoch, waited

    def improved(self, trainer: Any, logs: dict[str, float]) -> bool:
        """Whether the number is better than the best by more than `min_delta`; keeps count of the epochs it is not."""
        name = self.monitor
        if name == "auto":
            name = _usual(logs)
        self._check_name(name, logs)
        self._watched = self._number(name, trainer)
        value = logs[name]
        gain = value - self.best if self._watched["mode"] == "max" else self.best - value
        better = (math.isnan(self.best) and not math.isnan(value)) or gain > self.min_delta
        if better:
            self.best, self.best_epoch, self.waited = value, trainer.epoch, 0
        else:
            self.waited += 1
        return better


def _usual(names: Iterable[str]) -> str:
    """What "auto" watches of these."""
    return "val_loss" if "val_loss" in names else "loss"


def _name(of: str, monitor: Any) -> str:
    """The name of a number in the history; ValueError, which says what to write, for anything else."""
    if isinstance(monitor, str):
        return str(argument(of, "monitor", str, monitor))
    metric = monitor if isinstance(monitor, type) else type(monitor)
    hint = ""
    if issubclass(metric, Metric):
        hint = f"; give the metric to the Trainer, and here its name, monitor={getattr(monitor, 'name', None)!r}"
    elif whole(monitor, 0) is not None and of != "Checkpoint":
        hint = f"; for a number of epochs write patience={monitor!r}"
    raise ValueError(
        f'{of} needs monitor to be text, the name of a number in the history such as "val_loss", and got '
        f"{monitor!r:.200}{hint}"
    )


class EarlyStopping(Monitor):
    """Ends training once a number has not improved for `patience` epochs.

    monitor: its name in the history; "auto" for "val_loss", or "loss" without validation, which are to fall. min_delta:
    the least that counts as better. restore_best: put the parameters of the best epoch back at the end. mode: whether
    the number is to fall, "min", or to rise, "max"; "auto" takes it from the metric (`higher_is_better`), losses and
    errors are to fall and accuracies to rise, and for any other number training raises ValueError before its first
    step. So it does for a name that no epoch reports, unless callbacks of the user's own may add it to `logs`.

    best, best_epoch: the best value and the epoch (from 1) that had it.

    >>> EarlyStopping(patience=3).monitor
    'auto'
    """

    of_fit = {"_kept": None, "_like": ()}

    def __init__(
        self,
        monitor: str = "auto",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best = argument(type(self).__name__, "restore_best", bool, restore_best)
        self._kept: tuple[Any, Any] | None = None
        self._like: tuple[Any, ...] = ()

    def on_train_begin(self, trainer: Any) -> None:
        """Reset the best and its parameters."""
        super().on_train_begin(trainer)
        self._kept = None
        self._like = (trainer.network.flat, trainer.network.states.flat)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and its parameters if they will be restored."""
        kept = dict(zip(("parameters", "states"), self._kept, strict=True)) if self._kept is not None else {}
        return super().state_dict() | kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        super().load_state_dict(state)
        kept = (state["parameters"], state["states"]) if "parameters" in state else None
        if kept and [(a.shape, a.dtype) for a in kept] != [(a.shape, a.dtype) for a in self._like]:
            raise ValueError("EarlyStopping kept the parameters of another network")
        if self.restore_best and kept is None and self.best_epoch:
            raise ValueError(
                f"EarlyStopping had restore_best=False, so that the weights of epoch {self.best_epoch} were not kept "
                "and can't be restored; give it restore_best=False again"
            )
        self._kept = kept if self.restore_best else None

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Copy the best parameters, or end training."""
        if self.improved(trainer, logs):
            if self.restore_best:
                self._kept = (trainer.update.validated_vector(), trainer.network.states.flat.copy())
        elif self.waited > self.patience or (self.patience and self.waited == self.patience):
            trainer.stop = True

    def on_train_end(self, trainer: Any) -> None:
        """Restore the parameters of the best epoch."""
        if self._kept is not None:
            to_device = trainer.backend.to_device  # after a resume they are the host's
            trainer.network.flat[...], trainer.network.states.flat[...] = map(to_device, self._kept)
            self._kept = None


class ReduceOnPlateau(Monitor):
    """Multiplies the learning rate by `factor` once a number has not improved for `patience` epochs.

    monitor, min_delta, mode: as in EarlyStopping. minimum: the learning rate never goes below it.

    >>> ReduceOnPlateau(factor=0.5).factor
    0.5
    """

    def __init__(
        self,
        monitor: str = "auto",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        minimum: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.factor = argument("ReduceOnPlateau", "factor", BetweenZeroAndOne, factor)
        self.minimum = argument("ReduceOnPlateau", "minimum", NotNegative, minimum)

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Reduce the learning rate after `patience` epochs without improvement."""
        if self.improved(trainer, logs) or self.waited < max(self.patience, 1):
            return
        self.waited = 0
        rate = known_rate(trainer)
        if rate > self.minimum:
            trainer.update.factor *= max(self.factor, self.minimum / rate)
