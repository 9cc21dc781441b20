"""StepCache: recorded steps, evaluations and data on the device, one set per batch shape."""

from __future__ import annotations

import gc
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from traceback import clear_frames
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..backends.cpu.blas_threads import blas_for
from ..backends.process import OfOneProcess
from ..data.feed import Feed
from ..data.row_groups import RowGroups
from ..data.sequences import Sequences
from ..errors import DeviceMemoryError, in_bytes
from ..formula.host import host_numerics
from ..layers.bound import BoundLayers
from ..layers.step_memory import step_bytes
from ..processes import Processes
from ..step.batch import AHEAD, ROWS_AHEAD, Batch, TargetShape
from ..step.profile import Profile, profile_step
from ..step.step import Probe, StepJob, TrainingStep
from ..step.update import Update
from ..step.workers import advised
from .evaluations import EVALUATION_ROWS, LEAST_ROWS, Evaluations
from .sharing import Sharing

STEPS = 32  # recorded steps, one for each batch size, that are kept at most
STEP_BYTES = 2**29  # bytes of their arrays together, at most, where there are more than two
OF_LARGEST = 4  # times the bytes of the largest step, at most, where rows have lengths


class Key(NamedTuple):
    """Which step: its rows, and what one row's target is.

    time_steps: T of its batches, None where rows have no lengths. source: the identities of the arrays that it takes
    its rows from, if it does. within: whether it is a second one, taken within an epoch.

    >>> Key(32, TargetShape((), "int32")).family == Key(32, TargetShape((), "int32"), time_steps=8).family
    True
    """

    rows: int
    target: TargetShape
    time_steps: int | None = None
    source: tuple[int, ...] = ()
    within: bool = False

    @property
    def family(self) -> Key:
        """What steps on batches of any number of time steps have in common."""
        return self._replace(time_steps=None)


class StepCache(OfOneProcess):
    """The recorded steps of one network, loss and optimizer, and what they train on.

    job: network, loss, metrics and seed. make_update: a new update, of no step done. workers: threads that share a step
    on a CPU, None for as many as seem best. most_rows: that a step computes at a time; on more rows it works in pieces,
    one after the other. None for all at once. shards, processes: see `Sharing`.

    update: the one in use. last_step: the step last asked for. sharing: who computes which rows. probes: look into
    every step.

    >>> from functools import partial
    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
    >>> cache = StepCache(StepJob(net, bp.MeanSquaredError()), partial(Update, net, bp.SGD()), workers=1)
    >>> cache.evaluate(Feed(np.ones((4, 2), "float32"), np.ones((4, 1), "float32")))
    {'loss': 1.0}
    """

    def __init__(
        self,
        job: StepJob,
        make_update: Callable[[], Update],
        workers: int | None,
        most_rows: int | None = None,
        shards: int | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.job, self.network, self.backend = job, job.network, job.network.backend
        self.most_rows, self.sharing = most_rows, Sharing(job.network, workers, shards, processes)
        self.probes: list[Probe] = []
        self.steps: dict[Key, TrainingStep] = {}
        self._data: dict[str, Array] = {}  # what was trained on last, on the device
        self.evaluations = Evaluations(job, self.sharing)
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
        with host_numerics(self.update.be.numerics):
            return self.update.factor * self.update.optimizer.rate(self.update.t + 1)

    def step(
        self,
        rows: int,
        t: Array,
        source: tuple[Array, Array] | None = None,
        under_way: TrainingStep | None = None,
        time_steps: int | None = None,
        workers_for: int | None = None,
        weights: Any = None,
    ) -> TrainingStep:
        """The step for `rows` rows, as `fitting` gives them, with targets like t and weights like these. source: (X,
        t) on the device, for it to take batches from. under_way: that of an epoch, whose sums another step must not
        change. time_steps: T of its batches, where rows have lengths. workers_for: T by which the number of workers
        is chosen."""
        if self.update.frozen != self.network.frozen:  # frozen or unfrozen since
            before = self.update
            self.reset()
            self.update.take_over(before)
        if not self.network.parameters:
            raise ValueError("there is nothing to train: the network's layers have no parameters; add one that has")
        if not self.update.trainable:
            raise ValueError("there is nothing to train: every parameter is frozen; net.unfreeze() frees them")
        key = Key(
            rows, TargetShape.of(t, weights), time_steps, tuple(id(a) for a in source or ())
        )  # which the step keeps alive
        if under_way is not None and any(k.family == key.family and s is under_way for k, s in self.steps.items()):
            key = key._replace(within=True)
        if key not in self.steps:
            if source is not None:
                self.steps = {k: s for k, s in self.steps.items() if not (k.source or k.within)}  # let earlier data go
            common = next((s for k, s in self.steps.items() if time_steps and k.family == key.family), None)
            self.steps[key] = step = self._new_step(key, common, workers_for)
            if source is not None and step.team.parts == 1:  # workers share a CPU, which keeps no data
                step.read_from(*source)
        if self.last_step is not self.steps[key]:
            self.check_words()
        self.last_step = self.steps[key] = self.steps.pop(key)  # now the one used last
        return self.last_step

    def at_time_steps(self, step: TrainingStep, time_steps: int) -> TrainingStep:
        """The step on batches of so many time steps that goes on with the sums of `step`, within an epoch."""
        key = step.key._replace(time_steps=time_steps)
        found = self.steps.pop(key, None)
        if found is None:
            found = self._new_step(key, step, None)
        if self.last_step is not found:
            self.check_words()
        self.last_step = self.steps[key] = found
        return found

    def _new_step(self, key: Key, common: TrainingStep | None, workers_for: int | None) -> TrainingStep:
        network, pieces, sharing = self.of_steps(key.time_steps), self._pieces(key.rows), self.sharing
        rows = sharing.room(key.rows, pieces)
        piece, weights = rows // pieces, network.dtype.itemsize * self._weights()
        memory = network.step_memory(piece)
        self._make_room(memory)

        def advice() -> int:
            return advised(piece, self.of_steps(workers_for or key.time_steps).step_memory(piece), weights)

        team = common.team.again() if common is not None else sharing.team(piece, advice, alone=bool(self.probes))
        if team.processes is None:
            self.update.gather()  # moments that other processes have, which this one now goes on with alone
        epoch, target = None if common is None else common.batch.epoch, key.target.of_steps(key.time_steps)
        batch = Batch(network, rows, target, pieces, epoch, sharing.place(team))
        job, update = replace(self.job, network=network), self.update
        step = TrainingStep(job, batch, update, probes=self.probes, common=common, team=team, rows=key.rows)
        step.memory, step.key = memory, key
        return step

    def of_steps(self, time_steps: int | None) -> BoundLayers:
        """The network, or its layers for batches of so many time steps, where rows have lengths."""
        return self.network if time_steps is None else self.network.of_steps(time_steps)

    def _pieces(self, rows: int) -> int:
        return 1 if self.most_rows is None else -(-rows // self.most_rows)

    def fitting(self, rows: int) -> int:
        """The rows of a step that has room for `rows` rows: as many, or a few more, so that its pieces are equal."""
        pieces = self._pieces(rows)
        return -(-rows // pieces) * pieces

    def _make_room(self, memory: int) -> None:
        """Drop steps, those used least recently first, for one of `memory` bytes: `STEPS` and `STEP_BYTES` with it at
        most, but the last one stays in any case, so that two batch sizes in turn are recorded once. Where rows have
        lengths, `OF_LARGEST` times the largest fit in any case: more than those of all numbers of time steps."""
        held, most = sum(step.memory for step in self.steps.values()), STEP_BYTES
        if self.network.has_lengths:
            most = max(most, OF_LARGEST * max(memory, *(step.memory for step in self.steps.values()), 0))
        while len(self.steps) > 1 and (len(self.steps) >= STEPS or held + memory > most):
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
        self.sharing.workers = workers
        self.steps.clear()

    def blas_threads(self, rows: int, time_steps: int | None = None) -> AbstractContextManager[None]:
        """On a CPU, gives steps of `rows` rows the number of BLAS threads that is best for them. time_steps: T of most
        batches, where rows have lengths.

        Recurrent layers make hundreds of products one after the other, and each must be worth sharing: by one of them,
        with what belongs to it in the backward pass, and not by the sum.
        """
        if self.backend.name != "cpu":
            return nullcontext()
        rows //= self._pieces(rows)
        network = self.of_steps(time_steps)
        plans = [plan for _, plan in network.plan(rows).walk()]
        in_turn = [math.prod(plan.parameters[name].shape) for plan in plans for name in plan.in_turn]
        if in_turn:
            return blas_for(6.0 * rows * max(in_turn), 0)
        return blas_for(6.0 * rows * (time_steps or 1) * self._weights(), network.step_memory(rows))

    def _weights(self) -> int:
        return sum(math.prod(p.shape) for p in self.network.declared.values())

    def evaluate(self, feed: Feed) -> dict[str, float]:
        """Weighted means of loss and metrics over the feed, in evaluation mode, penalties included."""
        rows = self.evaluations.rows_for(feed)
        try:
            means = self.evaluations.run(feed, rows)
        except DeviceMemoryError as problem:
            fewer = min(rows, EVALUATION_ROWS if feed.steps is None else LEAST_ROWS // 4)
            if rows == fewer or self.backend.numerics == "exact":  # whose sums would be others
                raise
            self._free_memory(problem)
            means = self.evaluations.run(feed, fewer)
        penalty = self.update.whole.penalty_value()
        if penalty is not None:
            means["loss"] += float(self.backend.to_host(penalty))
        return means

    @contextmanager
    def memory_advice(self, rows: int, feed: Feed) -> Iterator[None]:
        """Where memory runs out inside, frees what it can, and says in the error which batch of the feed would fit."""
        try:
            yield
        except DeviceMemoryError as problem:
            data = sum(int(kept.nbytes) for kept in self._data.values())  # which a fit puts there again
            self.steps.clear()
            self._data.clear()
            self.last_step = None
            self._free_memory(problem)
            pieces = self._pieces(rows)
            rows //= pieces
            needed = partial(self._bytes_of_step, feed, pieces, data > 0)
            free = 0.9 * (self.backend.memory()[0] - data)
            fitting = bisect_right(range(1, rows), free, key=needed)
            advice = f"a batch_size of about {fitting} fits" if fitting else "a smaller network would fit"
            needs = f"A step on {rows} rows needs {in_bytes(needed(rows))}"
            raise DeviceMemoryError(f"{problem}. {needs}; {advice}") from None

    def _bytes_of_step(self, feed: Feed, pieces: int, takes_rows: bool, rows: int) -> int:
        """About what the arrays of a step need: of layers, loss and batch, which has `pieces` times `rows` rows; of
        copies in bfloat16; and of the numbers of coming rows, where the step takes its rows by itself."""
        network, target = self.of_steps(feed.steps), TargetShape.of(feed.t, feed.weights).of_steps(feed.steps)
        inputs, outputs, each = map(math.prod, (network.input_shape, network.output_shape, target.positions or ()))
        numbers = pieces * rows * (inputs + each + 4) + rows * (outputs + 3 * each + 2)
        size = step_bytes(network, rows, reuses=not self.probes) + network.dtype.itemsize * numbers
        size += pieces * rows * math.prod(target.row) * np.dtype(target.dtype).itemsize
        size += self.job.bytes_of_plans(network, rows, target)
        if self.backend.precision == "bfloat16":
            size += size // 2 + 2 * self._weights()
        return size + takes_rows * 8 * min(AHEAD * pieces * rows, ROWS_AHEAD)

    def _free_memory(self, problem: BaseException) -> None:
        """Free evaluations, scratch memory, and the arrays of the failed call."""
        self.evaluations.passes.clear()
        self.backend.forget_scratch()
        _forget_frames(problem)
        gc.collect()

    def to_device(self, feed: Feed) -> tuple[Array, Array] | None:
        """(X, t) of the feed on the device, for steps to take batches from; None if the device does not keep them.
        Arrays that lie there already need no room."""
        if isinstance(feed.X, Sequences):  # which are padded on the host
            return None
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
        self.steps = {k: s for k, s in self.steps.items() if not (k.source or k.within)}
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


def _forget_frames(problem: BaseException | None) -> None:
    """Let go of what the frames of an error hold, and those of the errors in whose place it was raised. A frame that is
    cleared still has its function, whose closure may hold arrays; so the frames go, too."""
    while problem is not None:
        part = problem.__traceback__
        clear_frames(part)
        while part is not None:
            part.tb_next, part = None, part.tb_next
        problem = problem.__context__ if problem.__suppress_context__ else None


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
    threads = cache.blas_threads(rows, given.usual_steps)  # as in a fit
    with network.one_thread.during("profile"), be.active(), threads, given.opened() as feed:
        flat, states = network.flat.copy(), network.states.flat.copy()
        try:
            step = cache.step(rows, feed.t, time_steps=feed.steps, weights=feed.weights)
            return profile_step(step, partial(step.load, feed.X, feed.t, some), steps)
        finally:
            network.flat[...] = flat
            network.states.flat[...] = states
