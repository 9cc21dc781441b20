"""Chains: several steps on full batches in one call, without Python between them.

Where a step takes 30 µs, taking its rows, putting its scalars in place and returning to the loop of training take
nearly as long again. So where nothing else is to be done after each step, many are asked for at once, as `lax.scan`
does in JAX, but without tracing anything again.

On a CPU, a record that runs without Python (`backends/cpu/native`) takes rows and scalars of each step by itself. On a
GPU, rows and scalars of the coming steps are put on the device together, each step takes its own (`Upcoming`), and
several steps are one CUDA graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, CompiledRecord
from ..data.feed import Feed
from .batch import AHEAD
from .step import TrainingStep

SECONDS = 0.005  # that steps in one call take, so that Ctrl-C and progress don't wait
SECONDS_AHEAD = 0.05  # that steps in one call take on a GPU, of which the host asks for a few ahead
FIRST = 32  # steps of the first call, while it is not known how long one takes


def chain_of(step: TrainingStep, feed: Feed) -> Chain | QueuedChain | None:
    """The chain of a step; None where each step needs more: row weights, another type, a probe, workers, running
    statistics put back."""
    if step.workers > 1 or step.probes or feed.weights is not None or step.is_held:
        return None
    if step.batch.upcoming is None:
        return Chain.of(step, feed)
    return QueuedChain(step) if step.batch.rows == step.rows else None


class Chain:
    """Steps of one batch shape on the rows of one feed, in the host's memory. Use `of`.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import Batch, TargetShape
    >>> from gpubp.step.step import StepJob
    >>> from gpubp.step.update import Update
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> job, batch = StepJob(net, bp.MeanSquaredError()), Batch(net, 2, TargetShape((1,), "float32"))
    >>> step = TrainingStep(job, batch, Update(net, bp.SGD()))
    >>> chain = Chain.of(step, Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")))
    >>> chain.run(np.arange(4))                # so far nothing is recorded
    []
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

    def run(self, order: Array, most: int | None = None) -> list[float]:
        """Do steps on the rows of these numbers: as many as have full batches and take `SECONDS`, and `most` of them.
        Returns Σ w of each; [] if a step can't be done so, or not yet."""
        step, record = self._step, self._step.record
        batch, update = step.batch, step.update
        if not isinstance(record, CompiledRecord) or not record.can_repeat:
            return []
        steps = min(len(order) // step.rows, int(SECONDS / record.seconds), AHEAD if most is None else most)
        if steps < 2:
            return []
        batch.weigh_evenly()
        update.set_batch_weight(batch.weight)
        numbers = update.ahead(steps)
        indices = np.ascontiguousarray(order[: len(numbers) * step.rows], np.int64)
        X, T = self._sources
        record.repeat([(X, step.x), (T, step.t)], indices, numbers, update.place)
        update.t += len(numbers)
        batch.total_weight += len(numbers) * batch.weight
        return [batch.weight] * len(numbers)


class QueuedChain:
    """Steps of one batch shape on rows that lie on the device.

    step: its batch has `upcoming`.
    """

    def __init__(self, step: TrainingStep) -> None:
        self._step = step

    def run(self, order: Array, most: int | None = None) -> list[float]:
        """Ask for steps on the rows of these numbers: as many as have full batches and take `SECONDS_AHEAD`, and `most`
        of them. Returns Σ w of each; [] if a step can't be done so, or not yet."""
        step, batch, update = self._step, self._step.batch, self._step.update
        record: Any = step.record  # a `CapturedStep`, once there is a graph
        if getattr(record, "graph", None) is None or batch.upcoming is None:
            return []
        soon = int(SECONDS_AHEAD / record.seconds) if record.seconds else FIRST
        if step.team.processes is not None:  # all of them launch the same graphs
            soon = step.team.processes.share(soon)
        steps = min(len(order) // step.rows, soon, batch.upcoming.steps, AHEAD if most is None else most)
        if steps < 2:
            return []
        batch.weigh_evenly()
        update.set_batch_weight(batch.weight)
        numbers = update.ahead(steps)
        rows = order[: len(numbers) * step.rows].reshape(-1, step.rows)
        batch.upcoming.put_rows(np.concatenate([batch.mine(one) for one in rows]))
        batch.upcoming.put_numbers(numbers)
        record.repeat(len(numbers))
        update.t += len(numbers)
        batch.total_weight += len(numbers) * batch.weight
        return [batch.weight] * len(numbers)
