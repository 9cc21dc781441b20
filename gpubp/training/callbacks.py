"""Callbacks: hooks that `Trainer.fit` calls before, between and after steps and epochs.

Each hook gets the trainer: `on_train_begin`, `on_step_end`, `on_epoch_end` with the epoch's numbers, `on_interrupt` and
`on_train_end`, which is called after an error or Ctrl-C too. A callback may read everything, and set `trainer.stop`.
Steps wait for `on_step_end` where a callback has one, and reading `trainer.loss` there waits for the device. With
`every_step = False` several steps may be done between two calls, as for a progress bar. The state of a callback goes
into checkpoints by `state_dict` and comes back by `load_state_dict`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from ..backends import Backend
from ..config import whole
from ..errors import MissingDependencyError
from ..losses import Loss
from ..metrics import Metric
from ..network.network import Network
from ..optimizers import Optimizer
from ..step.step import Probe
from ..step.update import Update
from .history import History


class RunningTrainer(Protocol):
    """What a callback may use of the trainer that calls it; `Trainer` documents most of the names.

    A function that a hook calls is typed `trainer: RunningTrainer`. The hooks themselves are typed `Any`, because a
    class of the user's own may annotate its hooks with `bp.Trainer`, and an override may not ask for more than the
    method that it overrides.
    """

    network: Network
    backend: Backend
    loss_function: Loss
    metrics: tuple[Metric, ...]
    settings: dict[str, Any]
    seed: int
    batch_size: int | None
    stop: bool

    @property
    def history(self) -> History: ...
    @property
    def epoch(self) -> int: ...
    @property
    def step_in_epoch(self) -> int: ...
    @property
    def step_count(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def update(self) -> Update: ...
    @property
    def finished(self) -> bool: ...
    @property
    def resumed_from(self) -> Path | None: ...
    @property
    def resumes_fit(self) -> bool: ...
    def attach(self, probe: Probe) -> None: ...
    def detach(self, probe: Probe) -> None: ...
    def snapshot(self) -> tuple[dict[str, Any], dict[str, Any]]: ...


class Callback:
    """The base class of callbacks. Its hooks do nothing; a callback overrides those that it needs.

    Its hooks may be annotated with `bp.Trainer`; `RunningTrainer` has what they may use of it.

    >>> class Announce(Callback):
    ...     def on_epoch_end(self, trainer, logs):
    ...         print(f"epoch {trainer.epoch}")
    """

    every_step = True  # whether `on_step_end` must come after each single step, where it could come after a few at once
    comes_last = False  # called after the others, whatever its place: it saves what they have done

    @property
    def looks_at_steps(self) -> bool:
        """Whether `on_step_end` is called; by default, whether the class has its own."""
        return type(self).on_step_end is not Callback.on_step_end

    def on_train_begin(self, trainer: Any) -> None:
        """Before the first step."""

    def on_step_end(self, trainer: Any) -> None:
        """After each step."""

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """After each epoch and its validation; `logs` is what the history got."""

    def on_interrupt(self, trainer: Any) -> None:
        """When Ctrl-C or SIGTERM ends training between two steps, before `on_train_end`."""

    def on_train_end(self, trainer: Any) -> None:
        """After the last epoch, however training ended."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a resume needs: names -> numbers, strings, lists of them, and arrays."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, after `on_train_begin`; arrays are NumPy's."""


class LambdaCallback(Callback):
    """A callback made of functions.

    on_epoch_end: function of (trainer, logs). on_step_end: function of (trainer).

    >>> losses = []
    >>> callback = LambdaCallback(on_epoch_end=lambda trainer, logs: losses.append(logs["loss"]))
    >>> callback.looks_at_steps
    False
    """

    def __init__(self, on_epoch_end: Any = None, on_step_end: Any = None) -> None:
        self._epoch, self._step = on_epoch_end, on_step_end

    @property
    def looks_at_steps(self) -> bool:
        """Whether there is a function for steps."""
        return self._step is not None

    def on_step_end(self, trainer: Any) -> None:
        """Call the function."""
        if self._step is not None:
            self._step(trainer)

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Call the function."""
        if self._epoch is not None:
            self._epoch(trainer, logs)


class Monitor(Callback):
    """Compares one number of each epoch with the best so far."""

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'{type(self).__name__} takes the mode "auto", "min" or "max" and got {mode!r}')
        if patience < 0 or min_delta < 0:
            raise ValueError(f"{type(self).__name__} needs a patience and a min_delta of 0 or more")
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
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
        if not 0 < factor < 1:
            raise ValueError(f"ReduceOnPlateau needs a factor between 0 and 1 and got {factor!r}")
        self.factor, self.minimum = factor, minimum

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Reduce the learning rate after `patience` epochs without improvement."""
        if self.improved(trainer, logs) or self.waited < max(self.patience, 1):
            return
        self.waited = 0
        rate = trainer.learning_rate
        if rate > self.minimum:
            trainer.update.factor *= max(self.factor, self.minimum / rate)


class ProgressBar(Callback):
    """A progress bar over the steps of all epochs, with the last epoch's numbers, on the error stream.

    epochs, steps: how many, and steps in each. Drawn by rich (`pip install 'gpubp[cli]'`); without it, a line an epoch.

    >>> ProgressBar(epochs=3, steps=100).looks_at_steps
    True
    """

    every_step = False

    def __init__(self, epochs: int, steps: int) -> None:
        self.epochs, self.steps = epochs, steps
        self._bar: Any = None
        self._task: Any = None
        self._done = self._drawn = 0
        self._every = max(1, steps // 50)

    def on_train_begin(self, trainer: Any) -> None:
        """Draw the bar, filled as far as a resumed training is."""
        self._done = trainer.history.epochs * self.steps + trainer.step_in_epoch
        try:
            self._bar = _rich_bar()
        except MissingDependencyError:
            return
        self._bar.start()
        self._task = self._bar.add_task("training", total=self.epochs * self.steps, completed=self._done, numbers="")

    def on_step_end(self, trainer: Any) -> None:
        """Update the bar, at most fifty times an epoch."""
        self._done = trainer.history.epochs * self.steps + trainer.step_in_epoch
        if self._bar is not None and self._done - self._drawn >= self._every:
            self._bar.update(self._task, completed=self._done)
            self._drawn = self._done

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Show the numbers of the epoch."""
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, numbers=numbers)
        else:
            print(f"epoch {trainer.epoch}: {numbers}", file=sys.stderr)

    def on_train_end(self, trainer: Any) -> None:
        """Stop drawing."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def checked(callbacks: Any) -> list[Callback]:
    """The callbacks as a list; raises TypeError if one is not a Callback.

    >>> checked(EarlyStopping)
    Traceback (most recent call last):
    ...
    TypeError: callbacks are gpubp Callbacks, such as EarlyStopping(), and one is <class ...>; write EarlyStopping(...)
    """
    if isinstance(callbacks, Callback):
        return [callbacks]
    for callback in callbacks if isinstance(callbacks, Iterable) else (callbacks,):
        if not isinstance(callback, Callback):
            hint = f"; write {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise TypeError(f"callbacks are gpubp Callbacks, such as EarlyStopping(), and one is {callback!r}{hint}")
    return list(callbacks)


def stderr_is_terminal() -> bool:
    """Whether the error stream is a terminal.

    >>> stderr_is_terminal() in (True, False)
    True
    """
    return bool(sys.stderr is not None and sys.stderr.isatty())


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        raise MissingDependencyError("a progress bar needs rich: pip install 'gpubp[cli]'") from None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
    )
