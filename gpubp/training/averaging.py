"""Callbacks that average the weights over the steps of a fit: ExponentialMovingAverage and WeightAverage."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import BelowOne, Count, CountOrZero, argument, whole
from ..errors import ModelFileError
from ..step.average import Average
from .callbacks import Callback, RunningTrainer, other_settings


class Averaging(Callback):
    """What the callbacks that average weights have in common; `_setting` names what a resume may not change.

    >>> Averaging.comes_first
    True
    """

    comes_first = True

    decay: float | None = None
    every = 1
    _setting = "decay"

    def __init__(self, start_step: int, validate: bool, replace: bool) -> None:
        of = type(self).__name__
        self.start_step = argument(of, "start_step", CountOrZero, start_step)
        self.validate = argument(of, "validate", bool, validate)
        self.replace = argument(of, "replace", bool, replace)
        self.parameters: dict[str, np.ndarray[Any, Any]] = {}
        self._trainer: RunningTrainer | None = None  # of the fit under way

    def on_train_begin(self, trainer: Any) -> None:
        """Begin a new average, as part of the steps."""
        if trainer.update.average is not None:
            raise ValueError(f"fit was given {type(self).__name__} and another average; one averages all weights")
        self.parameters, self._trainer = {}, trainer
        self._begin(trainer.step_count + self.start_step + self.every)

    def _begin(self, first: int) -> Average:
        assert self._trainer is not None
        trainer = self._trainer
        names = trainer.update.trainable
        average = Average(trainer.network, names, self.decay, first, self.validate, self.every)
        trainer.set_average(average)
        return average

    def state_dict(self) -> dict[str, Any]:
        """The averages, the number of the first step that counts, and what makes the average another one."""
        average = None if self._trainer is None else self._trainer.update.average
        if average is None:
            return {}
        return {"first": average.first, "average": average.values.flat, self._setting: getattr(self, self._setting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them. Raises ModelFileError if it is another average."""
        if different := other_settings(self, state, {self._setting: getattr(self, self._setting)}):
            raise ModelFileError(different)
        first, values = whole(state["first"]), state["average"]
        assert self._trainer is not None
        if first is None:
            raise ValueError(f"{type(self).__name__} can't begin at step {state['first']!r}")
        flat = self._begin(first).values.flat
        if (values.shape, values.dtype) != (flat.shape, flat.dtype):
            raise ValueError(f"{type(self).__name__} averaged the parameters of another network")
        self._trainer.backend.put(flat, values)

    def on_train_end(self, trainer: Any) -> None:
        """Give the network its averages."""
        average = trainer.update.average
        if self._trainer is None or average is None:
            return
        self._trainer = None
        if not trainer.update.gathered:
            trainer.set_average(None)
            return
        to_host = trainer.backend.to_host
        self.parameters = {name: np.array(to_host(value)) for name, value in average.values.items()}
        if self.replace:
            trainer.backend.xp.copyto(trainer.network.flat, average.vector())
        trainer.set_average(None)


class ExponentialMovingAverage(Averaging):
    """An exponential moving average of the weights (Polyak and Juditsky 1992). It often predicts better than the last.

        (1)  a ← d a + (1 - d) θ        after each step

    It is part of the recorded step, and takes the memory of the trained parameters once. As in PyTorch's
    `AveragedModel` it begins as the parameters of the first step that counts, and running statistics, as of BatchNorm,
    are not averaged. A step that `on_nonfinite` skips changes nothing. Frozen parameters stay as they are.

    decay: d, from 0 to below 1; the average is over about 1/(1 - d) steps. start_step: how many steps of the fit don't
    count, at its beginning. validate: validation sees the averages, and so do early stopping, which puts those of the
    best epoch back, and checkpoints, whose model they are; `Trainer.resume` goes on from the weights themselves.
    replace: after the fit the network has the averages, however it ended; only where an error ends a fit of several
    processes, it keeps the weights, because each process has but a part of the averages then.

    parameters: the averages by name after the fit, in host memory.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros(), use_bias=False), input_shape=1, device="cpu")
    >>> trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD(0.5), batch_size=1)
    >>> average = bp.ExponentialMovingAverage(decay=0.5)
    >>> _ = trainer.fit(np.ones((2, 1)), np.ones(2), epochs=1, callbacks=[average])     # weights 0.5, 0.75
    >>> net.parameters["W"].item()
    0.625
    """

    def __init__(self, decay: float = 0.999, start_step: int = 0, validate: bool = True, replace: bool = True) -> None:
        super().__init__(start_step, validate, replace)
        self.decay = argument(type(self).__name__, "decay", BelowOne, decay)


class WeightAverage(Averaging):
    """The mean of the weights of many steps: stochastic weight averaging (Izmailov et al. 2018).

        (1)  a ← ((n - 1) a + θ)/n        after step n of those that count

    With a rate that stays high, as of a JoinedSchedules whose last schedule is a constant, the weights wander around a
    flat minimum, and their mean lies nearer to it. It is part of the recorded step, and takes the memory of the trained
    parameters once. A step that `on_nonfinite` skips counts as the average itself.

    every: one step of so many counts; the steps of an epoch, for the mean of the weights at the ends of epochs, as
    usual with PyTorch's `AveragedModel`. start_step: how many steps of the fit don't count, at its beginning; until one
    counts, the average is the weights. validate, replace, parameters: as `ExponentialMovingAverage`.

    Running statistics, as of BatchNorm, are not averaged, and those of the last steps don't belong to the mean of the
    weights. Compute them anew after the fit, by an epoch with the learning rate 0:
    `Trainer(net, loss, SGD(0.0)).fit(X, y)`.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros(), use_bias=False), input_shape=1, device="cpu")
    >>> trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD(0.5), batch_size=1)
    >>> average = bp.WeightAverage()
    >>> _ = trainer.fit(np.ones((2, 1)), np.ones(2), epochs=1, callbacks=[average])     # weights 0.5, 0.75
    >>> net.parameters["W"].item()
    0.625
    """

    _setting = "every"

    def __init__(self, start_step: int = 0, every: int = 1, validate: bool = True, replace: bool = True) -> None:
        super().__init__(start_step, validate, replace)
        self.every = argument(type(self).__name__, "every", Count, every)
