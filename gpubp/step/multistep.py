"""A chain: several steps on full batches at a stretch, without Python in between.

Where a step takes 30 µs, taking its rows, putting its numbers in place and coming back to the loop take nearly as long
again. So where nobody wants to look at each step, many are asked for at once. It is what `lax.scan` is to JAX, without
tracing anything again.

On a CPU, a record that runs by the machine (`backends/native.py`) takes rows and numbers of each step by itself. On a
GPU, rows and numbers of the coming steps are put on the device together, each step takes its own (`Upcoming`), and
several steps are one CUDA graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, CompiledRecord
from ..data.feed import Feed
from .step import SharedStep, TrainingStep

__all__ = ["Chain", "QueuedChain", "chain_of"]

SECONDS = 0.005  # at a stretch, so that Ctrl-C and progress don't wait
SECONDS_AHEAD = 0.05  # of a stretch on a GPU, of which the host asks for a few ahead
FIRST = 32  # steps of the first stretch, while nobody knows how long one takes


def chain_of(step: TrainingStep | SharedStep, feed: Feed) -> Chain | QueuedChain | None:
    """The chain; None where each step's batch needs something done: weights, another type, a look from a probe."""
    if not isinstance(step, TrainingStep) or step.probes or step.guard is not None or feed.weights is not None:
        return None
    if step.batch is None:
        return None
    return QueuedChain(step) if step.batch.upcoming is not None else Chain.of(step, feed)


class Chain:
    """Steps of one kind on the rows of one feed, in the host's memory. Use `of`.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> from gpubp.step.update import Update
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> update = Update(net, bp.SGD(), net.backend)
    >>> step = TrainingStep(net, bp.MeanSquaredError(), (), 2, TargetShape((1,), "float32"), update)
    >>> chain = Chain.of(step, Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")))
    >>> chain.run(np.arange(4))                # so far nothing is recorded
    0
    """

    def __init__(self, step: TrainingStep, X: Array, T: Array) -> None:
        self._step, self._sources = step, (X, T)

    @classmethod
    def of(cls, step: TrainingStep, feed: Feed) -> Chain | None:
        """The chain; None where rows or targets are of another type than the step's, or not in memory."""
        for source, place in ((feed.X, step.x), (feed.t, step.t)):
            if not isinstance(source, np.ndarray) or not isinstance(place, np.ndarray):
                return None
            if source.dtype != place.dtype or source.shape[1:] != place.shape[1:] or not source.flags.c_contiguous:
                return None
        return cls(step, feed.X, feed.t)

    def run(self, order: Array) -> int:
        """Do steps on the rows of these numbers, as many as make full batches and are done soon; how many they were, 0
        if a step can't be done so, or not yet."""
        step, record = self._step, self._step.record
        batch, update = step.batch, step.update
        if not isinstance(record, CompiledRecord) or not record.seconds or batch is None:
            return 0
        steps = min(len(order) // step.rows, int(SECONDS / record.seconds))
        if steps < 2:
            return 0
        batch.weigh_evenly()
        update.weigh(batch.weight)
        numbers = update.ahead(steps)
        indices = np.ascontiguousarray(order[: len(numbers) * step.rows], np.int64)
        X, T = self._sources
        if not record.repeat([(X, step.x), (T, step.t)], indices, numbers, update.place):
            return 0
        update.t += len(numbers)
        batch.total_weight += len(numbers) * batch.weight
        return len(numbers)


class QueuedChain:
    """Steps of one kind on rows that lie on the device, of which the host asks for many at once.

    step: its batch has `upcoming`.
    """

    def __init__(self, step: TrainingStep) -> None:
        self._step = step

    def run(self, order: Array) -> int:
        """Ask for steps on the rows of these numbers, as many as make full batches and are done soon; how many they
        are, 0 if a step can't be done so, or not yet."""
        step, batch, update = self._step, self._step.batch, self._step.update
        record: Any = step.record  # a `CapturedStep`, once there is a graph
        if getattr(record, "graph", None) is None or batch is None or batch.upcoming is None:
            return 0
        soon = int(SECONDS_AHEAD / record.seconds) if record.seconds else FIRST
        steps = min(len(order) // step.rows, soon, batch.upcoming.steps)
        if steps < 2:
            return 0
        batch.weigh_evenly()
        update.weigh(batch.weight)
        numbers = update.ahead(steps)
        batch.upcoming.put_rows(order[: len(numbers) * step.rows])
        batch.upcoming.put_numbers(numbers)
        record.repeat(len(numbers))
        update.t += len(numbers)
        batch.total_weight += len(numbers) * batch.weight
        return len(numbers)
