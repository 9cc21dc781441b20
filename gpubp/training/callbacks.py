"""Callbacks: hooks that `Trainer.fit` calls before, between and after steps and epochs.

Each hook gets the trainer: `on_train_begin`, `on_step_end`, `on_epoch_end` with the epoch's numbers, `on_interrupt` and
`on_train_end`, which is called after an error or Ctrl-C too. A callback may read everything, and set `trainer.stop`.
Steps wait for `on_step_end` where a callback has one, and reading `trainer.loss` there waits for the device. With
`every_step = False` several steps may be done between two calls, as for a progress bar. The state of a callback goes
into checkpoints by `state_dict` and comes back by `load_state_dict`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ..backends import Backend
from ..config import as_call, is_own
from ..losses import Loss
from ..metrics import Metric
from ..network.network import Network
from ..optimizers import Optimizer
from ..processes import Processes
from ..step.average import Average
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
    def processes(self) -> Processes | None: ...
    @property
    def leads(self) -> bool: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def update(self) -> Update: ...
    @property
    def reported(self) -> list[str]: ...
    @property
    def may_report_more(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def resumed_from(self) -> Path | None: ...
    @property
    def resumes_fit(self) -> bool: ...
    def attach(self, probe: Probe) -> None: ...
    def detach(self, probe: Probe) -> None: ...
    def set_average(self, average: Average | None) -> None: ...
    def snapshot(self) -> tuple[dict[str, Any], dict[str, Any]]: ...


class Callback:
    """The base class of callbacks. Its hooks do nothing; a callback overrides those that it needs.

    Its hooks may be annotated with `bp.Trainer`; `RunningTrainer` has what they may use of it.

    >>> class Announce(Callback):
    ...     def on_epoch_end(self, trainer, logs):
    ...         print(f"epoch {trainer.epoch}")
    """

    of_fit: ClassVar[Mapping[str, Any]] = {}  # attributes that belong to one fit -> their values outside of it
    every_step = True  # whether `on_step_end` must come after each single step, where it could come after a few at once
    comes_first = False  # called before the others, whatever its place: it changes what they see
    comes_last = False  # called after the others, whatever its place: it saves what they have done
    one_process = False  # called by process 0 alone where several train together: it prints or writes, and asks nothing
    _last: Any = None  # a weak reference to the trainer of the last fit, where a callback notes it

    def forget_fit(self) -> None:
        """Let go of the trainer, its arrays, threads and files; `fit` calls it after `on_train_end`."""
        vars(self).update({name: copy(value) for name, value in self.of_fit.items()})

    def __getstate__(self) -> dict[str, Any]:
        """Pickles and copies hold settings and results, and nothing of a fit."""
        state = vars(self) | {name: copy(value) for name, value in self.of_fit.items()}
        state.pop("_last", None)
        return state

    def _trained(self, trainer: Any) -> bool:
        """Whether the last fit was of this trainer too."""
        return self._last is not None and self._last() is trainer

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
    """A callback made of functions. Pickles hold functions by their names: give it no lambda where it is pickled.

    on_epoch_end: function of (trainer, logs). on_step_end: function of (trainer).

    >>> losses = []
    >>> callback = LambdaCallback(on_epoch_end=lambda trainer, logs: losses.append(logs["loss"]))
    >>> callback.looks_at_steps
    False
    """

    def __init__(self, on_epoch_end: Any = None, on_step_end: Any = None) -> None:
        for name, takes, function in (
            ("on_epoch_end", "trainer, logs", on_epoch_end),
            ("on_step_end", "trainer", on_step_end),
        ):
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback needs {name} to be a function of ({takes}), and got {function!r:.200}")
        self._epoch, self._step = on_epoch_end, on_step_end

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for function in (self._epoch, self._step):
            if "<" in getattr(function, "__qualname__", "") and not _takes_any_function():  # <lambda>, <locals>
                raise TypeError(
                    f"LambdaCallback({function.__qualname__}) can't be pickled, because a pickle holds the name of a "
                    "function, and this one has none to be found by: define it with def at the top of a module, or "
                    "write a class that extends Callback"
                )
        return state

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


def _takes_any_function() -> bool:
    """Whether this is called by a library that can copy or pickle lambdas, as joblib's workers get them."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if not {"copy", "cloudpickle", "dill"}.isdisjoint(frame.f_globals.get("__name__", "").split(".")):
            return True
    return False


def may_add_numbers(callback: Callback) -> bool:
    """Whether the callback may put numbers of its own into `logs`: no class of gpubp does, and any other function may.

    >>> may_add_numbers(LambdaCallback(on_epoch_end=lambda trainer, logs: logs.update(seconds=1.0)))
    True
    """
    return is_own(type(callback)) or isinstance(callback, LambdaCallback) or "on_epoch_end" in vars(callback)


def other_settings(callback: Callback, state: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """How the settings in a checkpoint's state differ from the callback's; "" where none differs, or none is there.

    >>> other_settings(Callback(), {"decay": 0.5, "first": 3}, {"decay": 0.9})
    'the checkpoint is of a fit with Callback(decay=0.5), and fit was given decay=0.9; give it the same to go on'
    """
    different = [name for name in settings if name in state and state[name] != settings[name]]
    there, here = (", ".join(f"{name}={of[name]!r:.100}" for name in different) for of in (state, settings))
    made = f"the checkpoint is of a fit with {type(callback).__name__}({there})"
    return f"{made}, and fit was given {here}; give it the same to go on" if different else ""


def known_rate(trainer: RunningTrainer) -> float:
    """The learning rate of the next step; of the last one where training has ended and the schedule knows no other.

    >>> import gpubp as bp
    >>> known_rate(bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1)))
    0.1
    """
    try:
        return trainer.learning_rate
    except Exception:
        if not trainer.finished:
            raise
        return trainer.update.factor * trainer.optimizer.rate(trainer.step_count)


def of_process(callbacks: list[Callback], processes: Processes | None) -> tuple[list[Callback], frozenset[str]]:
    """(the callbacks that this process calls, the names of the classes of the others).

    >>> of_process([Callback()], None)[1]
    frozenset()
    """
    if processes is None or processes.leads:
        return callbacks, frozenset()
    left_out = [callback for callback in callbacks if callback.one_process]
    kept = [callback for callback in callbacks if not callback.one_process]
    return kept, frozenset(type(callback).__name__ for callback in left_out)


def checked(callbacks: Any) -> list[Callback]:
    """The callbacks as a list; raises TypeError if one is not a Callback.

    >>> checked(LambdaCallback)
    Traceback (most recent call last):
    ...
    TypeError: callbacks are gpubp Callbacks, such as EarlyStopping(), and one is <class ...>; write LambdaCallback(...)
    """
    if isinstance(callbacks, Callback):
        return [callbacks]
    for callback in callbacks if isinstance(callbacks, Iterable) else (callbacks,):
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks are gpubp Callbacks, such as EarlyStopping(), and one is {callback!r}{as_call(callback)}"
            )
    return list(callbacks)
