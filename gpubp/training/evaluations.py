"""Evaluations: recorded forward passes that give the loss and the metrics of many rows, one for each batch shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..backends import Array, Recorded
from ..backends.process import OfOneProcess
from ..data.feed import Feed
from ..data.sequences import Sequences
from ..layers.words import WordError
from ..step.batch import Batch, TargetShape
from ..step.step import Pass, StepJob

EVALUATION_ROWS = 256  # rows at once, of networks whose arrays are large
EVALUATION_BYTES = 2**28  # bytes that more rows may need
LEAST_ROWS = 32  # rows at once, where rows have lengths
EXACT_PIECE = 2**19  # of which the memory is counted in exact numerics, on every device
MOST_BYTES = 2**31  # bytes that EVALUATION_ROWS may need on a CPU, where the system ends who takes more than there is


class Shape(NamedTuple):
    """Of a batch that is evaluated: what one row's target is, the rows, and T where rows have lengths.

    >>> Shape(TargetShape((), "int32"), 256).time_steps is None
    True
    """

    target: TargetShape
    rows: int
    time_steps: int | None = None


class Evaluations(OfOneProcess):
    """The evaluations of one network, loss and metrics.

    job: network, loss and metrics. passes: those so far.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
    >>> evaluations = Evaluations(StepJob(net, bp.MeanSquaredError()))
    >>> evaluations.run(Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")), 256)
    {'loss': 1.0}
    """

    def __init__(self, job: StepJob) -> None:
        self.job, self.network, self.backend = job, job.network, job.network.backend
        self.passes: dict[Shape, tuple[Pass, Recorded]] = {}

    def rows_for(self, feed: Feed) -> int:
        """How many rows at once: by the rows, their lengths and the network alone, so that the sums are the same in
        every run that has room."""
        rows, most, network, limit = EVALUATION_ROWS, len(feed), self.network, EVALUATION_BYTES
        if isinstance(feed.X, Sequences):
            network, limit = self.network.of_steps(feed.X.steps), EVALUATION_BYTES // 4
            rows, most = LEAST_ROWS, len(feed) // len(np.unique(feed.X.buckets))
            while rows > 1 and self.backend.numerics == "ordinary" and network.step_memory(rows) > limit:
                rows //= 2
        if self.backend.numerics == "exact":  # in which sums of loss and metrics go by it on every device
            while rows > 1 and network.step_memory(rows, EXACT_PIECE) > MOST_BYTES:
                rows //= 2
            return rows
        while rows > 1 and self.backend.name == "cpu" and network.step_memory(rows) > MOST_BYTES:
            rows //= 2
        while 2 * rows <= min(most, self.backend.evaluated) and network.step_memory(2 * rows) <= limit:
            rows *= 2
        return rows

    def run(self, feed: Feed, rows: int) -> dict[str, float]:
        """Weighted means of loss and metrics over the feed, `rows` rows at once, in evaluation mode."""
        parts = [(self._pass(feed, rows, T), numbers) for T, numbers in _by_time_steps(feed)]
        batches = sum(-(-len(numbers) // rows) for _, numbers in parts)
        for (run, forward), _ in parts:
            if run.reserve(batches):
                forward.forget()
        first = parts[0][0][0]
        first.reset_totals()
        for (run, forward), numbers in parts:
            self._go_through(feed, run, forward, numbers)
        if np.isnan(self.backend.to_host(first.totals)).any():
            self._check_words(parts)
            first.reset_totals()
            with ExitStack() as inside:
                found = None
                for (run, _), numbers in parts:
                    found = inside.enter_context(run.sums_of_counted_rows(found))
                    self._go_through(feed, run, run.forward, numbers)
        self._check_words(parts)
        return first.means()

    def _pass(self, feed: Feed, rows: int, time_steps: int | None) -> tuple[Pass, Recorded]:
        shape = Shape(TargetShape.of(feed.t), rows, time_steps)
        if shape not in self.passes:
            network, common = self.network, None
            if time_steps is not None:
                network = self.network.of_steps(time_steps)
                common = next((p for s, (p, _) in self.passes.items() if s[:2] == shape[:2]), None)
            epoch = None if common is None else common.batch.epoch
            batch = Batch(network, rows, shape.target.of_steps(time_steps), epoch=epoch)
            run = Pass(replace(self.job, network=network), batch, common=common)
            self.passes[shape] = run, Recorded(self.backend, run.forward)
        return self.passes[shape]

    def _go_through(self, feed: Feed, run: Pass, forward: Callable[[], None], numbers: Array) -> None:
        rows = run.batch.rows
        for k, start in enumerate(range(0, len(numbers), rows)):
            if run.word_counts:
                self.backend.put(run.context.step, k)  # so that an error has the row
            feed.load(run.batch, numbers[start : start + rows])
            forward()

    def _check_words(self, parts: list[tuple[tuple[Pass, Recorded], Array]]) -> None:
        for (run, _), numbers in parts:
            try:
                run.check_words()
            except WordError as problem:
                raise problem.but(row=int(numbers[problem.row])) from None


def _by_time_steps(feed: Feed) -> Iterator[tuple[int | None, Array]]:
    """(T, row numbers) of the rows in batches of T time steps; (None, all) where rows have no lengths."""
    if not isinstance(feed.X, Sequences):
        yield None, np.arange(len(feed))
        return
    for T in np.unique(feed.X.buckets).tolist():
        yield T, np.flatnonzero(feed.X.buckets == T)
