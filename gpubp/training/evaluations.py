"""Evaluations: recorded forward passes that give the loss and the metrics of many rows, one for each batch shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..backends import Array, Recorded
from ..backends.cpu.blas_threads import one_blas_thread
from ..backends.process import OfOneProcess
from ..data.feed import Feed
from ..data.row_groups import Rows
from ..data.sequences import Sequences
from ..layers.words import WordError
from ..step.batch import Batch, TargetShape
from ..step.epoch_sums import results_of
from ..step.step import Pass, StepJob
from ..step.workers import Member, Team
from .lanes import in_order
from .sharing import Sharing

EVALUATION_ROWS = 256  # rows at once, of networks whose arrays are large
EVALUATION_BYTES = 2**28  # bytes that more rows may need
LEAST_ROWS = 32  # rows at once, where rows have lengths
SHARED_BATCHES = 16  # where threads or processes share them, at least, if there are rows enough
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

    job: network, loss and metrics. sharing: the threads and processes that share the batches, where steps have a fixed
    number of parts; None for this thread alone. passes: those so far, by lane and shape.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
    >>> evaluations = Evaluations(StepJob(net, bp.MeanSquaredError()))
    >>> evaluations.run(Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")), 256)
    {'loss': 1.0}
    """

    def __init__(self, job: StepJob, sharing: Sharing | None = None) -> None:
        self.job, self.network, self.backend = job, job.network, job.network.backend
        self.sharing = sharing if sharing is not None and sharing.shares_evaluations else None
        self.passes: dict[tuple[int, Shape], tuple[Pass, Recorded]] = {}
        self._backends = [self.backend]

    def rows_for(self, feed: Feed) -> int:
        """How many rows at once: by the rows, their lengths and the network alone, so that the sums are the same in
        every run that has room."""
        rows, most, network, limit = EVALUATION_ROWS, len(feed), self.network, EVALUATION_BYTES
        if self.sharing is not None:  # and so there are batches for all
            most, limit = len(feed) // SHARED_BATCHES, EVALUATION_BYTES // SHARED_BATCHES
        if isinstance(feed.X, Sequences):
            network, limit = self.network.of_steps(feed.X.steps), EVALUATION_BYTES // 4
            rows, most = LEAST_ROWS, min(most, len(feed) // len(np.unique(feed.X.buckets)))
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
        if self.sharing is not None:
            found = self._run_shared(feed, rows, self.sharing)
            if found is not None:
                return found
        of_steps = list(_by_time_steps(feed))
        parts = [(self._pass(feed, rows, T), numbers) for T, numbers in of_steps]
        self._reserve(parts, [T for T, numbers in of_steps for _ in range(-(-len(numbers) // rows))])
        first = parts[0][0][0]
        for (run, forward), numbers in parts:
            self._go_through(feed, run, forward, numbers)
        if np.isnan(self.backend.to_host(first.totals)).any():
            self._check_words(parts)
            first.reset_totals()
            with ExitStack() as inside:
                counted = None
                for (run, _), numbers in parts:
                    counted = inside.enter_context(run.sums_of_counted_rows(counted))
                    self._go_through(feed, run, run.forward, numbers)
        self._check_words(parts)
        return first.means()

    def _reserve(self, parts: list[tuple[tuple[Pass, Recorded], Array]], times: list[int | None]) -> None:
        """Begin passes, with room for the rows of batches of so many time steps, None where rows have no lengths."""
        time_steps = sum(T or 0 for T in times)
        for (run, forward), _ in parts:
            if run.reserve(len(times), time_steps):
                forward.forget()
        parts[0][0][0].reset_totals()

    def _run_shared(self, feed: Feed, rows: int, sharing: Sharing) -> dict[str, float] | None:
        """`run` on the lanes of all threads and processes; None where a sum is not a number, which one thread finds."""
        of_steps = list(_by_time_steps(feed))
        batches = [(i, k) for i, (_, numbers) in enumerate(of_steps) for k in range(-(-len(numbers) // rows))]
        lanes = sharing.lanes(1 if isinstance(feed.X, Rows) else len(batches))  # one thread uses a reader
        parts = [
            [(self._pass(feed, rows, T, lane), numbers) for T, numbers in of_steps] for lane in range(lanes.threads)
        ]
        sums = np.zeros((len(batches), parts[0][0][0][0].sums.size + 1))  # the last is Σ w

        def work(thread: int) -> None:
            mine = lanes.mine(thread, len(batches))
            self._reserve(parts[thread], [of_steps[batches[number][0]][0] for number in mine])
            for number in mine:
                i, k = batches[number]
                (run, forward), numbers = parts[thread][i]
                with run.be.active():
                    self._evaluate(feed, run, forward, numbers, k)
                    sums[number] = *run.be.to_host(run.sums), run.batch.weight

        with one_blas_thread() if self.backend.name == "cpu" else nullcontext():
            Team(lanes.threads).run(work)
        for of_thread in parts:
            self._check_words(of_thread)
        first = [of_thread[0][0][0] for of_thread in parts]
        keeps = first[0].kept is not None
        places = [parts[0][i][0][0].places for i, _ in batches]
        kept = lanes.kept([one.kept.read() for one in first if one.kept is not None], places) if keeps else {}
        *totals, weight = in_order(lanes.of_all(sums))
        return (
            None
            if np.isnan(totals).any()
            else results_of(self.job, np.array(totals), weight, [kept] * keeps, first[0].has_counts)
        )

    def _pass(self, feed: Feed, rows: int, time_steps: int | None, lane: int = 0) -> tuple[Pass, Recorded]:
        shape = Shape(TargetShape.of(feed.t, feed.weights), rows, time_steps)
        if (lane, shape) not in self.passes:
            network, common = self.network, None
            if time_steps is not None:
                network = self.network.of_steps(time_steps)
                same = ((p, s) for (k, s), (p, _) in self.passes.items() if k == lane)
                common = next((p for p, s in same if s[:2] == shape[:2]), None)
            while lane >= len(self._backends):
                self._backends.append(self.backend.another())
            be, epoch = self._backends[lane], None if common is None else common.batch.epoch
            batch = Batch(network, rows, shape.target.of_steps(time_steps), epoch=epoch)
            member = Member(Team(1), 0, be)
            run = Pass(replace(self.job, network=network), batch, member=member, common=common)
            self.passes[lane, shape] = run, Recorded(be, run.forward)
        return self.passes[lane, shape]

    def _go_through(self, feed: Feed, run: Pass, forward: Callable[[], None], numbers: Array) -> None:
        for k in range(-(-len(numbers) // run.batch.rows)):
            self._evaluate(feed, run, forward, numbers, k)

    def _evaluate(self, feed: Feed, run: Pass, forward: Callable[[], None], numbers: Array, k: int) -> None:
        """Batch k of the rows of these numbers."""
        rows = run.batch.rows
        if run.word_counts:
            run.be.put(run.context.step, k)  # so that an error has the row
        feed.load(run.batch, numbers[k * rows : (k + 1) * rows])
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
