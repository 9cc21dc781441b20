"""Chains: several steps on full batches in one call, without Python between them.

Where a step takes 30 µs, taking its rows, putting its scalars in place and returning to the loop of training take
nearly as long again. So where nothing else is to be done after each step, many are asked for at once, as `lax.scan`
does in JAX, but without tracing anything again.

On a CPU, a record that runs without Python (`backends/cpu/native`) takes rows, their weights and scalars of each step
by itself. On a GPU, those of the coming steps are put on the device together, each step takes its own (`Upcoming`), and
several steps are one CUDA graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, CompiledRecord
from ..data.feed import Feed
from .batch import AHEAD
from .step import TrainingStep

SECONDS = 0.005  # that steps in one call take, so that Ctrl-C and progress don't wait
SECONDS_AHEAD = 0.05  # that steps in one call take on a GPU, of which the host asks for a few ahead
FIRST = 32  # steps of the first call, while it is not known how long one takes


def chain_of(step: TrainingStep, feed: Feed) -> Chain | QueuedChain | None:
    """The chain of a step; None where each step needs more: weights of positions, another type, a probe, workers,
    running statistics put back."""
    if step.workers > 1 or step.probes or step.batch.of_positions is not None or step.is_held:
        return None
    if step.batch.upcoming is None:
        return Chain.of(step, feed)
    return QueuedChain(step, feed.weights) if step.batch.rows == step.rows else None


class Coming(NamedTuple):
    """What coming steps take. numbers: the bytes of `Update.ahead`, (steps, n). weights: Σ w of the batch of each,
    (steps,). weighing: what `Batch.weighed` makes, (steps, n), None where all rows weigh 1.

    >>> Coming(np.zeros((3, 8), np.uint8), np.full(3, 2.0)).weighing is None
    True
    """

    numbers: Array
    weights: Array
    weighing: Array | None = None

    @classmethod
    def of(cls, step: TrainingStep, weights: Array | None, order: Array, steps: int) -> Coming | None:
        """That of steps on the rows of these numbers, or of the first of them; None where it is less than two steps.
        weights: of all rows, (n,)."""
        batch, made = step.batch, None
        if weights is None:
            sums = np.full(steps, float(batch.rows))
        else:
            w = weights[order[: steps * step.rows]].reshape(steps, step.rows)
            steps = step.unheld(w)
            if steps < 2:
                return None
            made, sums = batch.weighed(w[:steps])
        numbers = step.update.ahead(steps, sums)
        if len(numbers) < 2:
            return None
        if made is None:
            batch.weigh_evenly()
        return cls(numbers, sums[: len(numbers)], None if made is None else made[: len(numbers)])

    def taken(self, step: TrainingStep) -> list[float]:
        """Note that the steps were done, or are asked for. Returns Σ w of each."""
        step.update.go_on(self.weights)
        step.batch.go_on(self.weights, even=self.weighing is None)
        found: list[float] = self.weights.tolist()
        return found


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

    def __init__(self, step: TrainingStep, feed: Feed) -> None:
        self._step, self._feed = step, feed

    @classmethod
    def of(cls, step: TrainingStep, feed: Feed) -> Chain | None:
        """The chain; None where rows or targets are of another type than the step's, or not in memory."""
        for source, place in ((feed.X, step.x), (feed.t, step.t)):
            if not isinstance(source, np.ndarray) or not isinstance(place, np.ndarray):
                return None
            if source.dtype != place.dtype or source.shape[1:] != place.shape[1:] or not source.flags.c_contiguous:
                return None
        return cls(step, feed)

    def run(self, order: Array, most: int | None = None) -> list[float]:
        """Do steps on the rows of these numbers: as many as have full batches and take `SECONDS`, and `most` of them.
        Returns Σ w of each; [] if a step can't be done so, or not yet."""
        step, feed, record = self._step, self._feed, self._step.record
        if not isinstance(record, CompiledRecord) or not record.can_repeat:
            return []
        steps = min(len(order) // step.rows, int(SECONDS / record.seconds), AHEAD if most is None else most)
        coming = Coming.of(step, feed.weights, order, steps) if steps > 1 else None
        if coming is None:
            return []
        indices = np.ascontiguousarray(order[: len(coming.numbers) * step.rows], np.int64)
        tables = [(coming.numbers, step.update.place)]
        if coming.weighing is not None:
            tables.append((coming.weighing, step.batch.weighing))
        record.repeat([(feed.X, step.x), (feed.t, step.t)], indices, tables)
        return coming.taken(step)


class QueuedChain:
    """Steps of one batch shape on rows that lie on the device.

    step: its batch has `upcoming`. weights: of the rows, on the host, (n,), None where all are 1.
    """

    def __init__(self, step: TrainingStep, weights: Array | None = None) -> None:
        self._step, self._weights = step, weights

    def run(self, order: Array, most: int | None = None) -> list[float]:
        """Ask for steps on the rows of these numbers: as many as have full batches and take `SECONDS_AHEAD`, and `most`
        of them. Returns Σ w of each; [] if a step can't be done so, or not yet."""
        step, batch = self._step, self._step.batch
        record: Any = step.record  # a `CapturedStep`, once there is a graph
        if getattr(record, "graph", None) is None or batch.upcoming is None:
            return []
        soon = int(SECONDS_AHEAD / record.seconds) if record.seconds else FIRST
        if step.team.processes is not None:  # all of them launch the same graphs
            soon = step.team.processes.share(soon)
        steps = min(len(order) // step.rows, soon, batch.upcoming.steps, AHEAD if most is None else most)
        coming = Coming.of(step, self._weights, order, steps) if steps > 1 else None
        if coming is None:
            return []
        rows = order[: len(coming.numbers) * step.rows].reshape(-1, step.rows)
        batch.upcoming.put_rows(np.concatenate([batch.mine(one) for one in rows]))
        batch.upcoming.put_numbers(coming.numbers)
        if coming.weighing is not None:
            batch.upcoming.put_weights(coming.weighing)
        record.repeat(len(coming.numbers))
        return coming.taken(step)
