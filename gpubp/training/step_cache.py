"""StepCache: recorded steps, evaluations and data on the device, one set per batch shape."""

from __future__ import annotations

import gc
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from traceback import clear_frames
from typing import Any

import numpy as np

from ..backends import Array, Recorded
from ..backends.cpu.blas_threads import blas_for
from ..backends.process import OfOneProcess
from ..data.feed import Feed
from ..data.row_groups import RowGroups
from ..errors import DeviceMemoryError, in_bytes
from ..step.batch import Batch, TargetShape
from ..step.profile import Profile, profile_step
from ..step.step import Pass, Probe, StepJob, TrainingStep
from ..step.update import Update
from ..step.workers import advised

STEPS = 32  # recorded steps, one for each batch size, that are kept at most
STEP_BYTES = 2**29  # bytes of their arrays together, at most, where there are more than two
EVALUATION_ROWS = 256  # rows at once, of networks whose arrays are large
EVALUATION_BYTES = 2**28  # bytes that more rows may need


class StepCache(OfOneProcess):
    """The recorded steps of one network, loss and optimizer, and what they train on.

    job: network, loss, metrics and seed. make_update: a new update, of no step done. workers: threads that share a step
    on a CPU, None for as many as seem best. most_rows: that a step computes at a time; on more rows it works in pieces,
    one after the other. None for all at once.

    update: the one in use. last_step: the step last asked for. resumed_workers: how many shared the steps of a
    training that was resumed, 0 if none was. probes: look into every step.

    >>> from functools import partial
    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
    >>> cache = StepCache(StepJob(net, bp.MeanSquaredError()), partial(Update, net, bp.SGD()), workers=1)
    >>> cache.evaluate(Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")))
    {'loss': 1.0}
    """

    def __init__(
        self, job: StepJob, make_update: Callable[[], Update], workers: int | None, most_rows: int | None = None
    ) -> None:
        self.job, self.network, self.backend, self.workers = job, job.network, job.network.backend, workers
        self.most_rows, self.resumed_workers = most_rows, 0
        self.probes: list[Probe] = []
        self.steps: dict[tuple[Any, ...], TrainingStep] = {}
        self._data: dict[str, Array] = {}  # what was trained on last, on the device
        self._evaluations: dict[tuple[TargetShape, int], tuple[Pass, Recorded]] = {}
        self._make_update = make_update
        self.last_step: TrainingStep | None = None
        self.reset()

    def reset(self) -> None:
        """Forget steps and moments, after parameters were frozen or unfrozen."""
        with self.backend.active():
            self.check_words()
            self.update = self._make_update()
        self.steps.clear()
        self.last_step = None

    def check_words(self) -> None:
        """Raise DataError if the last step's layers computed numbers that are no words of an Embedding; waits for the
        device. A GPU counts them, and whoever forgets or saves the step looks at the count before."""
        if self.last_step is not None:
            self.last_step.check_words()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.update.factor * self.update.optimizer.rate(self.update.t + 1)

    def step(
        self, rows: int, t: Array, source: tuple[Array, Array] | None = None, under_way: TrainingStep | None = None
    ) -> TrainingStep:
        """The step for `rows` rows, as `fitting` gives them, with targets like t. source: (X, t) on the device, for it
        to take batches from. under_way: that of an epoch, whose sums another step must not change."""
        if self.update.trainable != self.network.trainable:  # frozen or unfrozen since
            before = self.update
            self.reset()
            self.update.take_over(before)
        if not self.update.trainable:
            raise ValueError("there is nothing to train: every parameter is frozen; net.unfreeze() frees them")
        target = TargetShape.of(t)
        key: tuple[Any, ...] = (rows, target, *(id(a) for a in source or ()))  # which the step keeps alive
        if under_way is not None and self.steps.get(key) is under_way:
            key += ("within an epoch",)
        if key not in self.steps:
            if source is not None:
                self.steps = {k: s for k, s in self.steps.items() if len(k) == 2}  # let earlier data go
            self.steps[key] = step = self._new_step(rows, target)
            if source is not None and step.workers == 1:  # workers share a CPU, which keeps no data
                step.read_from(*source)
        if self.last_step is not self.steps[key]:
            self.check_words()
        self.last_step = self.steps[key] = self.steps.pop(key)  # now the one used last
        return self.last_step

    def _new_step(self, rows: int, target: TargetShape) -> TrainingStep:
        network, pieces = self.network, self._pieces(rows)
        piece, weights = rows // pieces, network.dtype.itemsize * self._weights()
        memory = network.step_memory(piece)
        self._make_room(memory)
        workers = self.workers or self.resumed_workers or advised(piece, memory, weights)
        if workers == 1 or piece % workers or self.probes or self.backend.name != "cpu":
            workers = 1
        step = TrainingStep(self.job, Batch(network, rows, target, pieces), self.update, workers, self.probes)
        step.memory = memory
        return step

    def _pieces(self, rows: int) -> int:
        return 1 if self.most_rows is None else -(-rows // self.most_rows)

    def fitting(self, rows: int) -> int:
        """The rows of a step that has room for `rows` rows: as many, or a few more, so that its pieces are equal."""
        pieces = self._pieces(rows)
        return -(-rows // pieces) * pieces

    def _make_room(self, memory: int) -> None:
        """Drop steps, those used least recently first, for one of `memory` bytes: `STEPS` and `STEP_BYTES` with it at
        most, but the last one stays in any case, so that two batch sizes in turn are recorded once."""
        held = sum(step.memory for step in self.steps.values())
        while len(self.steps) > 1 and (len(self.steps) >= STEPS or held + memory > STEP_BYTES):
            held -= self.steps.pop(next(iter(self.steps))).memory

    def attach(self, probe: Probe) -> None:
        """Call a probe in every step from the next one on."""
        self.probes.append(probe)
        self.steps.clear()

    def detach(self, probe: Probe) -> None:
        """Remove a probe."""
        self.probes.remove(probe)
        self.steps.clear()

    def use_workers(self, workers: int | None) -> None:
        """Share the steps from the next one on among so many threads."""
        self.workers = workers
        self.steps.clear()

    def blas_threads(self, rows: int) -> AbstractContextManager[None]:
        """On a CPU, gives steps of `rows` rows the number of BLAS threads that is best for them."""
        if self.backend.name != "cpu":
            return nullcontext()
        rows //= self._pieces(rows)
        return blas_for(6.0 * rows * self._weights(), self.network.step_memory(rows))

    def _weights(self) -> int:
        return sum(math.prod(p.shape) for p in self.network.declared.values())

    def evaluate(self, feed: Feed) -> dict[str, float]:
        """Weighted means of loss and metrics over the feed, in evaluation mode, penalties included."""
        rows = self._evaluation_rows(len(feed))
        try:
            return self._evaluate(feed, rows)
        except DeviceMemoryError as problem:
            if rows == EVALUATION_ROWS:
                raise
            self._free_memory(problem)
            return self._evaluate(feed, EVALUATION_ROWS)

    def _evaluate(self, feed: Feed, rows: int) -> dict[str, float]:
        target = TargetShape.of(feed.t)
        if (target, rows) not in self._evaluations:
            run = Pass(self.job, Batch(self.network, rows, target))
            self._evaluations[target, rows] = run, Recorded(self.backend, run.forward)
        run, forward = self._evaluations[target, rows]
        if run.reserve(-(-len(feed) // rows)):
            forward.forget()
        self._go_through(feed, run, forward)
        if np.isnan(self.backend.to_host(run.totals)).any():
            run.check_words()
            with run.sums_of_counted_rows():
                self._go_through(feed, run, run.forward)
        means = run.means()
        penalty = self.update.whole.penalty_value()
        if penalty is not None:
            means["loss"] += float(self.backend.to_host(penalty))
        return means

    def _go_through(self, feed: Feed, run: Pass, forward: Callable[[], None]) -> None:
        rows = run.batch.rows
        run.reset_totals()
        for k, start in enumerate(range(0, len(feed), rows)):
            if run.word_counts:
                self.backend.put(run.context.step, k)  # so that an error has the row
            feed.load(run.batch, np.arange(start, min(start + rows, len(feed))))
            forward()

    def _evaluation_rows(self, n: int) -> int:
        """By the number of rows and the network alone, so that the sums are the same in every run that has room."""
        rows = EVALUATION_ROWS
        while 2 * rows <= min(n, self.backend.evaluated) and self.network.step_memory(2 * rows) <= EVALUATION_BYTES:
            rows *= 2
        return rows

    @contextmanager
    def memory_advice(self, rows: int) -> Iterator[None]:
        """Where memory runs out inside, frees what it can, and says in the error which batch would fit."""
        try:
            yield
        except DeviceMemoryError as problem:
            self.steps.clear()
            self._data.clear()
            self.last_step = None
            self._free_memory(problem)
            rows //= self._pieces(rows)
            needs, free = self.network.step_memory(rows), self.backend.memory()[0]
            fitting = bisect_right(range(1, rows), 0.9 * free, key=self.network.step_memory)
            advice = f"a batch_size of about {fitting} fits" if fitting else "a smaller network would fit"
            raise DeviceMemoryError(f"{problem}. A step on {rows} rows needs {in_bytes(needs)}; {advice}") from None

    def _free_memory(self, problem: DeviceMemoryError) -> None:
        """Free evaluations, scratch memory, and the arrays of the failed call."""
        self._evaluations.clear()
        self.backend.forget_scratch()
        clear_frames(problem.__traceback__)
        gc.collect()

    def to_device(self, feed: Feed) -> tuple[Array, Array] | None:
        """(X, t) of the feed on the device, for steps to take batches from; None if the device does not keep them.
        Arrays that lie there already need no room."""
        given, own = {"X": feed.X, "t": feed.t}, self.backend.owns(feed.X)
        wanted = {name: (a.shape, a.dtype) for name, a in given.items() if not (own and name == "X")}
        others = {name for name, kept in self._data.items() if wanted.get(name) != (kept.shape, kept.dtype)}
        if others:
            self._drop(others)
        missing = wanted.keys() - self._data.keys()
        if not self.backend.keeps_on_device(sum(given[name].nbytes for name in missing)):
            return None
        return feed.X if own else self._copied("X", feed.X), self._copied("t", feed.t)

    def _drop(self, names: set[str]) -> None:
        """Free earlier data on the device, and the steps that take their batches from them."""
        self.check_words()
        self._data = {name: kept for name, kept in self._data.items() if name not in names}
        self.steps = {k: s for k, s in self.steps.items() if len(k) == 2}
        if self.last_step not in self.steps.values():
            self.last_step = None

    def _copied(self, name: str, a: Array) -> Array:
        kept = self._data.get(name)
        if kept is None:
            kept = self._data[name] = self.backend.empty(a.shape, a.dtype)
        if isinstance(a, RowGroups):
            for k in range(a.groups):
                self.backend.stage(kept[a.starts[k] : a.starts[k + 1]], a.read(k))
        else:
            self.backend.stage(kept, a)
        return kept


def profiled(cache: StepCache, given: Feed, rows: int, steps: int) -> Profile:
    """Time a step on the first rows of a feed, see `profile_step`. cache: a new one; its network is left as it was.

    >>> from functools import partial
    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
    >>> cache = StepCache(StepJob(net, bp.MeanSquaredError()), partial(Update, net, bp.SGD()), workers=1)
    >>> profiled(cache, Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")), 4, steps=5).rows
    4
    """
    network, be, some = cache.network, cache.backend, np.arange(min(rows, len(given)))
    with network.one_thread.during("profile"), be.active(), given.opened() as feed:
        flat, states = network.flat.copy(), network.states.flat.copy()
        try:
            step = cache.step(rows, feed.t)
            return profile_step(step, partial(step.load, feed.X, feed.t, some), steps)
        finally:
            network.flat[...] = flat
            network.states.flat[...] = states
