"""Side: the network that a comparison trains on one backend; all start with the same weights and batches.

`step_call_by_call` makes a step whose every array can be looked at; `run_freely` makes all of them by recorded steps,
as in training.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..backends import Backend, get_backend
from ..data.checks import as_inputs, as_targets, epoch_order
from ..data.sequences import Sequences
from ..errors import DeviceError
from ..layers import Layer
from ..losses import Loss
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.step import StepJob, TrainingStep
from ..step.update import Update

OF_PRODUCTS = {"tf32": 1e-2, "bfloat16": 1e-1}  # relative differences of products whose operands have 11 and 8 bits
UNTIMED = 5  # first steps, in which things are compiled and recorded


class Free(NamedTuple):
    """The result of a free run: loss and parameters after each step, the median step's seconds, and whether recorded
    steps gave the bits of steps made call by call.

    >>> Free([0.5], [np.zeros(2)], 1e-3, True).losses
    [0.5]
    """

    losses: list[float]
    parameters: list[np.ndarray[Any, Any]]
    seconds: float
    replayed: bool


class Task(NamedTuple):
    """What every backend trains: a network of `layers` on (X, y), `rows` rows a step; numerics as a Network's."""

    layers: Layer
    X: Any
    y: Any
    loss: Loss
    make_update: Callable[[Network], Update]
    rows: int
    seed: int
    numerics: str = "ordinary"


class Side:
    """The network of a task on one backend. workers: threads that share its steps.

    >>> from gpubp import Adam, Dense, MeanSquaredError
    >>> def update(network):
    ...     return Update(network, Adam())
    >>> task = Task(Dense(1), np.ones((4, 2)), np.ones(4), MeanSquaredError(), update, rows=2, seed=0)
    >>> side = Side("cpu-float64", task)
    >>> side.name, side.dtype, side.precision, [len(rows) for rows in side.rows_of(3)]
    ('cpu-float64', 'float64', 'float32', [2, 2, 2])
    """

    def __init__(self, spelled: str | Backend, task: Task, workers: int = 1) -> None:
        self.task, self.workers = task, workers
        device, self.dtype, self.precision = read(spelled, task.numerics)
        self._make = partial(
            Network,
            task.layers,
            task.X.shape[1:],
            device,
            self.dtype,
            seed=task.seed,
            precision=self.precision,
            numerics=task.numerics,
        )
        self.network = self._make()
        self.be = self.network.backend
        self.name = spelled if isinstance(spelled, str) else f"{self.be.name}-{self.dtype}"
        self.machine = f"{self.be.name}, {self.dtype}, products in {self.precision}"
        self.plain = self.dtype == self.precision == "float32"
        self.X = as_inputs(task.X, self.network.input_shape, self.be, self.dtype, check=self.network.input_check)
        self.t = as_targets(task.y, task.loss, self.network.output_shape, self.X, self.dtype)
        self._rows = min(task.rows, len(self.X))
        self.step = self._new_step(self.network)

    def _new_step(self, network: Network) -> TrainingStep:
        with network.backend.active():
            T = self.X.steps if isinstance(self.X, Sequences) else None
            layers = network if T is None else network.of_steps(T)
            job = StepJob(layers, self.task.loss, seed=self.task.seed)
            batch = Batch(layers, self._rows, TargetShape.of(self.t).of_steps(T))
            step = TrainingStep(job, batch, self.task.make_update(network), self.workers)
        step.context.reuses = False
        return step

    def rows_of(self, steps: int) -> list[np.ndarray[Any, Any]]:
        """The rows of every batch, epoch after epoch."""
        whole = len(self.X) // self._rows
        orders = [epoch_order(len(self.X), self.task.seed, epoch) for epoch in range(-(-steps // whole))]
        return [order[k * self._rows : (k + 1) * self._rows] for order in orders for k in range(whole)][:steps]

    def take_over(self, first: Side) -> None:
        """Copy parameters, statistics and moments of the first backend."""
        mine, its = ([s.network.parameters, s.network.states, *s.step.update.moments.values()] for s in (self, first))
        with self.be.active():
            for to, source in zip(mine, its, strict=True):
                for name in to:  # one by one: padding between them depends on the type of numbers
                    self.be.put(to[name], first.be.to_host(source[name]))

    def step_call_by_call(self, batch: np.ndarray[Any, Any]) -> None:
        """Run one step that is not recorded, so that every array of every layer can be read."""
        with self.be.active():
            self.step.load(self.X, self.t, batch)
            self.step.update.advance()
            self.step.compute()

    def run_freely(self, rows: list[np.ndarray[Any, Any]]) -> Free:
        """Run all steps from the beginning, recorded, and again call by call."""
        network = self._make()
        step, losses, parameters, seconds = self._new_step(network), [], [], []
        with network.backend.active():
            for spent in self._timed(step, rows):
                seconds.append(spent)
                losses.append(step.last_loss())
                parameters.append(vector(network))
        again = self._make()
        step = self._new_step(again)
        with again.backend.active():
            for batch in rows:
                step.load(self.X, self.t, batch)
                step.update.advance()
                step.compute()
            replayed = np.array_equal(vector(again), parameters[-1])
        return Free(losses, parameters, median(seconds), replayed)

    def _timed(self, step: TrainingStep, rows: Iterable[np.ndarray[Any, Any]]) -> Iterator[float]:
        """Run recorded steps, one after the other; the seconds that each takes."""
        for batch in rows:
            step.be.synchronize()
            start = time.perf_counter()
            step.load(self.X, self.t, batch)
            step.run()
            step.be.synchronize()
            yield time.perf_counter() - start


def read(spelled: str | Backend, numerics: str = "ordinary") -> tuple[str | Backend, str, str]:
    """(device, dtype, precision) from "cpu-float64"."""
    if isinstance(spelled, Backend):
        return spelled, "float32", spelled.precision
    if re.search(r":\d+-(thread|worker)s?$", spelled) and numerics == "ordinary":
        raise DeviceError(
            f"{spelled!r} is for exact numerics, where threads and workers change no bit: gpubp compare --exact"
        )
    device, dash, dtype = spelled.partition("-")
    if dash and dtype not in ("float32", "float64", *OF_PRODUCTS):
        raise DeviceError(
            f'there is no backend {spelled!r}; behind the dash stands "float32" or "float64", or "tf32" or "bfloat16"'
        )
    precision = dtype if dtype in OF_PRODUCTS else "float32"
    get_backend(device, precision, numerics=numerics)  # a device that is none says so here
    return device, "float64" if dtype == "float64" else "float32", precision


def median(seconds: Sequence[float]) -> float:
    """The median step's seconds, without the first steps if there are others.

    >>> median([9.0] * UNTIMED + [1.0, 2.0, 3.0])
    2.0
    """
    return statistics.median(seconds[UNTIMED:] or seconds)


def vector(network: Network) -> np.ndarray[Any, Any]:
    """All parameters as one vector, without the padding between them."""
    return np.concatenate([network.backend.to_host(a).ravel() for a in network.parameters.values()])
