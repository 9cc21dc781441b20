"""Measures the time of a training step on this machine, for each number of rows that a process may have."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ..backends import Backend
from ..backends.cpu.blas_threads import threads_now
from ..config import Count, Range, argument, instance
from ..data.feed import Feed
from ..layers.normalization import BatchNorm
from ..layers.plan import join
from ..step.profile import UPDATE, Profile, Timed, time_in_turn
from ..training.step_cache import StepCache, profiled
from ..training.trainer import Trainer

if TYPE_CHECKING:
    from .scaling import Scaling, StepCosts

PROCESSES = (2, 4, 8, 64)
BANDWIDTH, LATENCY = "10Gbit", "50us"  # of machines in one room, joined by Ethernet
SECONDS = 3.0  # for the steps of all sizes together, about
LEAST_RUNS, ADDITIONS = 5, 20
ALONE = (0, 0)  # the key of the step of one process, beside rows and parts
Processes = Annotated[int, Range(2)]


def estimate_scaling(
    trainer: Trainer,
    X: Any,
    y: Any,
    *,
    processes: int | Iterable[int] = PROCESSES,
    bandwidth: float | str = BANDWIDTH,
    latency: float | str = LATENCY,
    steps: int = 50,
) -> Scaling:
    """Say what several processes would make of a training: measure its step here, and compute what they would send.

    trainer: whose step it is; it is left as it was. X, y: as for `fit`; the first batch of them is used. processes: how
    many, or several numbers of them. bandwidth: of each process, as "10Gbit" or "12GB", or bytes a second. latency: of
    a message, as "50us", or seconds. steps: each size is timed so often, or less often where that takes seconds; the
    best of ten turns counts.

    One process is measured as `fit` computes, with as many threads as seem best. Of several, each computes with one
    thread, or with the trainer's `workers`, and is taken to have a core for each; with `shards`, it has as many of them
    as the others. The formulas are in `analysis/scaling.py`, with the class of the result. Printed, it is two tables.
    Raises DataError if the data don't fit, ValueError for other arguments.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.mlp(3, (64,)), input_shape=20, device="cpu")
    >>> trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=64)
    >>> X, y = np.ones((64, 20)), np.arange(64) % 3
    >>> found = bp.estimate_scaling(trainer, X, y, processes=[2, 4], bandwidth="1Gbit", steps=5)
    >>> [(one.processes, one.rows, one.speed_up < 1) for one in found.same_batch]     # too little work to share
    [(2, 32, True), (4, 16, True)]
    """
    from .links import Link
    from .scaling import Scaling  # here, so that `import gpubp` is quick

    instance("estimate_scaling", "trainer", Trainer, trainer)
    given = processes if isinstance(processes, Iterable) else [processes]
    numbers = sorted({argument("estimate_scaling", "processes", Processes, P) for P in given})
    if not numbers:
        raise ValueError("estimate_scaling needs processes to be a number, 2 or more, or several, and got none")
    link = Link.of(bandwidth, latency)
    steps = argument("estimate_scaling", "steps", Count, steps)
    feed = Feed.of(trainer.network, trainer.loss_function, X, y)
    with trainer.network.one_thread.during("estimate_scaling"):
        return Scaling.of(_measured(trainer, feed, numbers, steps), link, tuple(numbers))


def _measured(trainer: Trainer, feed: Feed, processes: list[int], steps: int) -> StepCosts:
    """The costs of a step on the first rows of a feed, and on the shares of them that processes would have."""
    from .scaling import StepCosts, share_of

    network, be, rows = trainer.network, trainer.backend, trainer.rows_of_step(len(feed))
    alone = trainer.fresh(trainer.optimizer)
    workers, shards = (alone.workers or 1, alone.settings["shards"]) if be.name == "cpu" else (1, None)
    if be.numerics == "exact":  # whose bits don't go by shards
        shards = None
    shares = [share_of(P, n, workers, shards) for P in processes for n in (rows, rows * P)]
    sizes = sorted({(rows, workers), *(share for share in shares if share is not None)}, reverse=True)
    caches = {parts: _cache_of_parts(alone, parts, workers) for _, parts in sizes}
    cache, advice = caches[workers], partial(alone.step_cache.memory_advice, rows, feed)
    flat, states = network.flat.copy(), network.states.flat.copy()
    with advice():
        found = profiled(cache, feed, rows, min(steps, LEAST_RUNS))
    with advice(), be.active(), feed.opened() as of:
        try:
            timed = {(size, parts): _timed(caches[parts], of, size) for size, parts in sizes}
            timed[ALONE] = _timed(alone.step_cache, of, rows)
            threads = _threads(timed[ALONE], be)
            one_round = found.step * (1 + sum(0.5 + 0.5 * size / rows for size, _ in sizes))  # of all sizes, about
            turns = time_in_turn(timed, max(min(LEAST_RUNS, steps), min(steps, int(SECONDS / one_round))))
        finally:
            network.flat[...] = flat
            network.states.flat[...] = states
        gradients = cache.update.gradients
        add = _seconds_to_add(be, gradients.flat)
    seconds = {size: float(spent.min()) for size, spent in turns.items()}  # other programs can only slow it down
    update = _share_of_update(found) * seconds[rows, workers]
    return StepCosts(
        rows,
        seconds[ALONE],
        {size: max(seconds[size] - update, 0.0) for size in sizes},
        update,
        sum(int(a.nbytes) for a in gradients.values()),
        add,
        small_sums(trainer),
        be.name,
        threads,
        workers,
        shards,
        float(np.median(turns[ALONE])) / seconds[ALONE],
    )


def _cache_of_parts(alone: Trainer, parts: int, workers: int) -> StepCache:
    """The steps of one process of several: its parts of a batch, computed by so many threads, each with one of BLAS."""
    settings = alone.settings | {"workers": workers, "communicator": None}
    if alone.backend.numerics == "ordinary" and alone.backend.name == "cpu":
        settings["shards"] = parts
    cache = Trainer(alone.network, alone.loss_function, alone.optimizer, **settings).step_cache
    # no warning of rows that are too few for a variance: processes sum theirs over the whole batch
    cache.update.told.update(path for path, _ in alone.network.layers.walk())
    return cache


def _timed(cache: StepCache, feed: Feed, rows: int) -> Timed:
    """A step on the first rows of a feed, as `fit` runs it."""
    step = cache.step(cache.fitting(rows), feed.t, time_steps=feed.steps, weights=feed.weights)
    load = partial(step.load, feed.X, feed.t, np.arange(min(rows, len(feed))))
    return Timed(step, load, partial(cache.blas_threads, rows, feed.usual_steps))


def _threads(timed: Timed, be: Backend) -> int:
    """The threads that a step uses; 1 for a GPU."""
    if be.name != "cpu" or timed.step.workers > 1:
        return timed.step.workers
    with timed.around():
        return threads_now()


def _share_of_update(found: Profile) -> float:
    return sum(part.seconds for part in found.parts if part.name == UPDATE) / (found.seconds or 1.0)


def small_sums(trainer: Trainer) -> int:
    """How many small sums a step of several processes has, k of scaling.py.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.Dense(1)), input_shape=3, device="cpu")
    >>> small_sums(bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), clip_norm=1.0))
    6
    """
    network, norms = trainer.network, 0
    trained = set(network.freezable) - network.frozen
    for path, layer in network.layers.walk():
        if isinstance(layer, BatchNorm):
            norms += not trained.isdisjoint(join(path, name) for name in ("gamma", "beta", "mean"))
    settings, pieces = trainer.settings, trainer.accumulate
    once = [settings["clip_norm"], settings["l1"] or settings["l2"], trainer.nonfinite_check]
    of_pieces = pieces * (1 + 4 * norms)  # loss and metrics; mean, variance, dbeta and dgamma
    return of_pieces + trainer.loss_function.has_counts + sum(1 for one in once if one)


def _seconds_to_add(be: Backend, a: Any) -> float:
    """Seconds to add a vector as long as `a` to another, the least."""
    one, other, spent = be.zeros(a.shape, a.dtype), be.zeros(a.shape, a.dtype), []
    for _ in range(ADDITIONS):
        be.synchronize()
        start = time.perf_counter()
        be.xp.add(one, other, out=one)
        be.synchronize()
        spent.append(time.perf_counter() - start)
    return min(spent)
