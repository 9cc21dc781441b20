"""A chain: several steps on full batches at a stretch, without Python in between.

Where a step takes 30 µs, taking its rows, putting its numbers in place and coming back to the loop take a quarter as
long. A record that runs by the machine (`backends/native.py`) can do all that itself, for as many steps as nobody wants
to look at in between. It is what `lax.scan` is to JAX, without tracing anything again.
"""

from __future__ import annotations

import numpy as np

from .backends import Array, NativeRecord
from .feed import Feed
from .step import SharedStep, TrainingStep

__all__ = ["Chain"]

SECONDS = 0.005  # at a stretch, so that Ctrl-C and progress don't wait


class Chain:
    """Steps of one kind on the rows of one feed. Use `of`.

    >>> import gpubp as bp
    >>> from gpubp.batch import TargetShape
    >>> from gpubp.update import Update
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
    def of(cls, step: TrainingStep | SharedStep, feed: Feed) -> Chain | None:
        """The chain; None where each step's batch needs something done: weights, another type, a look from a probe."""
        if not isinstance(step, TrainingStep) or step.probes or step.guard is not None or feed.weights is not None:
            return None
        if step.batch is None or not step.batch.takes_rows:
            return None
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
        if not isinstance(record, NativeRecord) or not record.seconds or batch is None:
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
