"""Callbacks that follow one number of each epoch: EarlyStopping and ReduceOnPlateau."""

from __future__ import annotations

import math
from typing import Any

from ..config import BetweenZeroAndOne, CountOrZero, NotNegative, argument, whole
from .callbacks import Callback, known_rate


class Monitor(Callback):
    """Compares one number of each epoch with the best so far."""

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'{type(self).__name__} takes the mode "auto", "min" or "max" and got {mode!r}')
        self.patience = argument(type(self).__name__, "patience", CountOrZero, patience)
        self.min_delta = argument(type(self).__name__, "min_delta", NotNegative, min_delta)
        self.monitor, self.mode = monitor, mode
        self.best, self.best_epoch, self.waited = math.nan, 0, 0

    def on_train_begin(self, trainer: Any) -> None:
        """Reset the best."""
        self.best, self.best_epoch, self.waited = math.nan, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The best so far, its epoch, and the number of epochs since."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        best, epoch, waited = state["best"], whole(state["best_epoch"], 0), whole(state["waited"], 0)
        if not isinstance(best, float | int) or epoch is None or waited is None:
            raise ValueError(f"{type(self).__name__} can't go on from {state}")
        self.best, self.best_epoch, self.waited = float(best), epoch, waited

    def improved(self, trainer: Any, logs: dict[str, float]) -> bool:
        """Whether the number is better than the best by more than `min_delta`; keeps count of the epochs it is not."""
        name = self.monitor
        if name == "auto":
            name = "val_loss" if "val_loss" in logs else "loss"
        if name not in logs:
            raise ValueError(
                f"{type(self).__name__} watches {name!r}, and an epoch reports {', '.join(logs)}; "
                "a name with val_ needs validation_data or validation_fraction"
            )
        up = self.mode == "max" or (self.mode == "auto" and name.endswith("accuracy"))
        value = logs[name]
        gain = value - self.best if up else self.best - value
        better = (math.isnan(self.best) and not math.isnan(value)) or gain > self.min_delta
        if better:
            self.best, self.best_epoch, self.waited = value, trainer.epoch, 0
        else:
            self.waited += 1
        return better


class EarlyStopping(Monitor):
    """Ends training once a number has not improved for `patience` epochs.

    monitor: its name in the history; "auto" for "val_loss", or "loss" without validation. min_delta: the least that
    counts as better. restore_best: put the parameters of the best epoch back at the end. mode: "min", "max", or "auto":
    accuracies are to rise and everything else to fall.

    best, best_epoch: the best value and the epoch (from 1) that had it.

    >>> EarlyStopping(patience=3).monitor
    'auto'
    """

    def __init__(
        self,
        monitor: str = "auto",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best = restore_best
        self._kept: tuple[Any, Any] | None = None

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
        self._kept = (state["parameters"], state["states"]) if "parameters" in state else None
        if self._kept and [(a.shape, a.dtype) for a in self._kept] != [(a.shape, a.dtype) for a in self._like]:
            raise ValueError("EarlyStopping kept the parameters of another network")

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Copy the best parameters, or end training."""
        if self.improved(trainer, logs):
            if self.restore_best:
                self._kept = (trainer.network.flat.copy(), trainer.network.states.flat.copy())
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
