"""Status: the properties of a training run, such as epochs done, loss and learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import Count, argument
from ..optimizers import Optimizer
from ..processes import Processes
from ..step.step import TrainingStep
from ..step.update import Update
from .callbacks import may_add_numbers
from .history import History
from .state import RunState
from .step_cache import StepCache


class Status:
    """The properties of a training run; `Trainer` documents them.

    step_cache: the steps that train. state: where the run stands. backend: the device.

    >>> from functools import partial
    >>> import gpubp as bp
    >>> from gpubp.step.step import StepJob
    >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
    >>> cache = StepCache(StepJob(net, bp.MeanSquaredError()), partial(Update, net, bp.SGD(0.5)), workers=1)
    >>> Status(cache, RunState()).learning_rate
    0.5
    """

    def __init__(self, cache: StepCache, state: RunState) -> None:
        self.step_cache, self.state, self.backend = cache, state, cache.backend

    @property
    def update(self) -> Update:
        """The optimizer at work: gradients, moments, number of steps."""
        return self.step_cache.update

    @property
    def processes(self) -> Processes | None:
        """Those that train the network together; None for this process alone."""
        return self.step_cache.sharing.processes

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes files: process 0, or the only one."""
        return self.processes is None or self.processes.leads

    @property
    def workers(self) -> int | None:
        """Threads that share each step, None for as many as seem best."""
        return self.step_cache.sharing.workers

    @workers.setter
    def workers(self, workers: int | None) -> None:
        workers = argument("Trainer", "workers", Count | None, workers)
        with self.step_cache.network.one_thread.during("workers"):
            self.step_cache.use_workers(workers)

    @property
    def last_step(self) -> TrainingStep | None:
        """The step that was done last, with its arrays; None before any."""
        return self.step_cache.last_step

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer."""
        return self.update.optimizer

    @property
    def history(self) -> History:
        """What the epochs of the last fit reported."""
        return self.state.history

    @history.setter
    def history(self, history: History) -> None:
        self.state.history = history

    @property
    def epoch(self) -> int:
        """Epochs done, in all fits."""
        return self.state.epoch

    @property
    def step_in_epoch(self) -> int:
        """Steps done of the epoch under way."""
        return self.state.step_in_epoch

    @property
    def stop(self) -> bool:
        """Whether training ends after the epoch; callbacks may set it."""
        return self.state.stop

    @stop.setter
    def stop(self, stop: bool) -> None:
        self.state.stop = stop

    @property
    def reported(self) -> list[str]:
        """The names of the numbers that an epoch of the fit under way reports; none outside of a fit."""
        if self.state.fit is None:
            return []
        names = ["loss", *(metric.name for metric in self.step_cache.job.metrics)]
        return names if self.state.fit.validation is None else [*names, *(f"val_{name}" for name in names)]

    @property
    def may_report_more(self) -> bool:
        """Whether the user's own callbacks in the fit under way may add numbers to those."""
        return self.state.fit is not None and any(map(may_add_numbers, self.state.fit.callbacks))

    @property
    def finished(self) -> bool:
        """Whether the fit under way has done its epochs, or was stopped by a callback."""
        return self.state.finished

    @property
    def resumed_from(self) -> Path | None:
        """The checkpoint that the fit under way, or the next one, goes on from; None unless training was resumed."""
        return self.state.resumed_from

    @property
    def resumes_fit(self) -> bool:
        """Whether that checkpoint was taken within a fit, which then goes on."""
        return self.state.position is not None

    @property
    def step_count(self) -> int:
        """Steps done since the trainer was made."""
        return self.update.t

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.step_cache.learning_rate

    @property
    def loss(self) -> float:
        """The loss of the last step's batch, before the step; waits for the device. Not a number before any step."""
        if self.last_step is None:
            return float("nan")
        with self.backend.active():
            return self.last_step.last_loss()

    @property
    def record(self) -> Any:
        """The recorded step: it prints as a list of calls. None before the step was recorded.

        On a GPU, `record.graph` is None where the calls are made one by one, and `record.refusal` says why.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1, use_bias=False), input_shape=2, device="cpu")
        >>> trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD())
        >>> trainer.step(np.ones((4, 2)), np.ones(4))
        >>> str(trainer.record).splitlines()[0]                          # y = x W
        'dot(a0, a1, a2)'
        """
        return self.last_step.record if self.last_step is not None else None
