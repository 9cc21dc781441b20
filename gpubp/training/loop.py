"""The training loop over epochs and batches, and how it ends.

Full-batch gradient descent, mini-batch training and online learning are this loop with batch sizes of all rows, some,
and one. `Trainer.fit` and `Trainer.step` call these functions with arguments that they have checked.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..backends import Array
from ..data.feed import Feed
from ..errors import InUseError
from ..layers.bound import BoundLayers
from ..layers.words import WordError, rows_named
from ..processes import Processes
from ..step.multistep import chain_of
from ..step.step import TrainingStep
from .callbacks import RunningTrainer
from .nonfinite import NonFiniteCheck
from .signals import SignalHandlers, StopRequested
from .state import Fit, RunState
from .step_cache import StepCache
from .together import any_stops, begin_together, check_order, first_numbers, meet


def run_epochs(
    trainer: RunningTrainer, cache: StepCache, state: RunState, check: NonFiniteCheck | None, fit: Fit
) -> None:
    """All epochs of a fit, into `state.history`. Raises InUseError where another thread trains the network, or a
    callback of this trainer's fit calls its fit again.

    trainer: handed to the callbacks. cache: where the steps come from. check: None where any number is allowed.

    >>> import gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 4, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> feed = Feed(np.eye(4, dtype="float32"), np.ones((4, 1), "float32"))
    >>> run_epochs(trainer, trainer.step_cache, trainer.state, None, Fit(2, False, [], 2, feed))
    >>> trainer.step_count, trainer.history.epochs
    (4, 2)
    """
    with cache.network.one_thread.during("fit"):
        if state.fit is not None:
            raise InUseError("a callback called fit of the trainer that is training; take another trainer")
        _run_epochs(trainer, cache, state, check, fit)


def _run_epochs(
    trainer: RunningTrainer, cache: StepCache, state: RunState, check: NonFiniteCheck | None, fit: Fit
) -> None:
    position, rows = state.position, fit.rows
    feed, network, begun, processes = fit.feed, cache.network, False, cache.sharing.processes
    state.begin(fit)
    with (
        cache.backend.active(), cache.memory_advice(rows, feed), cache.blas_threads(rows, feed.usual_steps),
        SignalHandlers(processes) as state.signals,
    ):  # fmt: skip
        resumed = None if position is None else (network.flat.copy(), network.states.flat.copy())
        try:
            if processes is not None:
                told = {"the data": fit.data, "the order": fit.order, "epochs": fit.epochs, "rows": rows}
                begin_together(cache, told)
            if position is not None:
                cache.sharing.resumed_workers = position.workers  # another number of workers would sum in another order
            for callback in fit.callbacks:
                callback.on_train_begin(trainer)
            if position is not None:
                position.restore_callbacks(fit, state.resumed_from)
            begun, resumed = True, None
            _epochs(trainer, cache, state, check, fit)
            state.signals.raise_if_received(agreed=False)
        except StopRequested as request:
            state.history.interrupted = True
            cache.update.gather()
            for callback in fit.callbacks:
                callback.on_interrupt(trainer)
            if request.number != signal.SIGINT:
                raise SystemExit(request.exit_code) from None
        except KeyboardInterrupt:  # a callback's own; or a second Ctrl-C, which is for the whole program
            state.history.interrupted = True
            if state.signals.received:
                raise
            meet(processes, "the end of a fit that a callback has interrupted")
            cache.update.gather()
        finally:
            with ExitStack() as ends:  # each of these is done, whatever another one raises
                ends.callback(cache.backend.synchronize)
                ends.callback(_leave, state, begun, network, resumed)
                if check is not None:
                    ends.callback(check.leave)
                for callback in reversed(fit.callbacks):  # the stack calls the last one first
                    ends.callback(callback.forget_fit)
                    ends.callback(callback.on_train_end, trainer)


def _epochs(trainer: RunningTrainer, cache: StepCache, state: RunState, check: NonFiniteCheck | None, fit: Fit) -> None:
    """The epochs that are left. Where memory runs out, `memory_advice` lets go of what this call has on the device."""
    processes, validation, source = cache.sharing.processes, fit.validation, cache.to_device(fit.feed)
    with ExitStack() as files:
        feed = fit.feed if source is not None else files.enter_context(fit.feed.opened())
        if validation is not None:
            validation = files.enter_context(validation.opened())
        while state.history.epochs < fit.epochs and not state.stop:
            logs = _epoch(trainer, cache, state, check, source, feed)
            if processes is not None:
                processes.doing = f"the end of epoch {state.epoch + 1}"
            cache.update.gather()
            if validation is not None:
                logs |= _validated(cache, validation)
            state.epoch += 1
            state.step_in_epoch = 0
            logs = first_numbers(processes, logs)
            state.history.append(logs)
            _end_epoch(trainer, processes, state, fit, logs)


def _end_epoch(
    trainer: RunningTrainer, processes: Processes | None, state: RunState, fit: Fit, logs: dict[str, float]
) -> None:
    """Call the callbacks. Before those that save what the others have done, all processes know whether one stops."""
    for saves in (False, True):
        for callback in fit.callbacks:
            if callback.comes_last == saves:
                callback.on_epoch_end(trainer, logs)
        state.stop = state.stop if saves else any_stops(processes, state.stop)


def _leave(state: RunState, begun: bool, network: BoundLayers, resumed: tuple[Array, Array] | None) -> None:
    """End a fit. One that could not begin, as with other callbacks than before a resume, may be tried again."""
    if state.fit is not None:
        state.fit.step = None
    state.fit = None
    if begun:
        state.position = state.resumed_from = None
    elif resumed is not None:
        network.flat[...], network.states.flat[...] = resumed


def _validated(cache: StepCache, validation: Feed) -> dict[str, float]:
    try:
        with cache.update.validating():
            return {f"val_{name}": value for name, value in cache.evaluate(validation).items()}
    except WordError as problem:
        row = validation.number(problem.row)
        raise problem.but(row=row, where="in the validation data, ") from None


def _epoch(
    trainer: RunningTrainer,
    cache: StepCache,
    state: RunState,
    check: NonFiniteCheck | None,
    source: tuple[Array, Array] | None,
    feed: Feed,
) -> dict[str, float]:
    fit = state.fit
    assert fit is not None
    order, times = feed.batches(fit.shuffle, trainer.seed, state.epoch, fit.rows)
    processes = cache.sharing.processes
    check_order(processes, order, state.epoch)
    T = None if times is None else times[min(state.step_in_epoch, len(times) - 1)]
    step = cache.step(fit.rows, feed.t, source, time_steps=T, workers_for=feed.usual_steps, weights=feed.weights)
    steps = -(-len(order) // step.rows)
    time_steps = None if times is None else sum(times)
    step.reserve(steps, time_steps)
    step.take_weights(feed.weights is not None and step.batch.of_positions is None)
    if state.step_in_epoch:
        assert state.position is not None
        state.position.restore_step(step, state.resumed_from)
    else:
        step.reset_totals()

    def load(step: Any, k: int) -> None:
        rows = order[k * step.rows : (k + 1) * step.rows]
        feed.load(step, rows if times is None else rows[rows >= 0])

    def step_of(k: int) -> TrainingStep:
        """The step that batch number k is done by, where rows have lengths."""
        assert times is not None
        if step.key.time_steps == times[k]:
            return step
        other = cache.at_time_steps(step, times[k])
        other.reserve(steps, time_steps)
        return other

    after_step = [c.on_step_end for c in fit.callbacks if c.looks_at_steps]
    if check is not None:
        check.begin(step, load, None if times is None else step_of)
    alone = not any(c.every_step for c in fit.callbacks if c.looks_at_steps)
    chain = chain_of(step, feed) if alone else None
    number = None if feed.numbers is None else feed.number
    fit.step, fit.before = step, step.update.t - state.step_in_epoch
    with rows_named(order, step.rows, lambda: fit.before, number):
        while state.step_in_epoch < steps:
            if times is not None:
                fit.step = step = step_of(state.step_in_epoch)
                if check is not None:
                    check.step = step
            weights: list[float] = []  # Σ w of the steps that are done now
            if chain is not None:
                weights = chain.run(order[state.step_in_epoch * step.rows :], None if check is None else check.most)
            if not weights:
                load(step, state.step_in_epoch)
                if processes is not None:
                    processes.doing = _step_named(cache)
                step.run()
                weights = [step.batch.weight]
            state.step_in_epoch += len(weights)
            if check is not None:
                check.after_steps(weights)
                if state.step_in_epoch == steps:
                    check.look()
            for hook in after_step:
                hook(trainer)
                cache.last_step, fit.before = step, step.update.t - state.step_in_epoch  # it may have taken steps
            state.signals.raise_if_received(agreed=step.team.processes is not None and cache.backend.name == "cpu")
        if check is not None:
            check.end()
        means = step.means()
        fit.step = None
        return means


def _step_named(cache: StepCache) -> str:
    """What the processes call the next step; those whose learning rates differ don't agree on it."""
    update = cache.update
    return f"step {update.t + 1}" + (f" with the learning rate times {update.factor:g}" if update.factor != 1 else "")


def run_once(cache: StepCache, state: RunState, check: NonFiniteCheck | None, feed: Feed) -> None:
    """One step on the feed as one batch.

    >>> import gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 4, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> feed = Feed(np.eye(4, dtype="float32"), np.ones((4, 1), "float32"))
    >>> run_once(trainer.step_cache, trainer.state, None, feed)
    >>> trainer.step_count
    1
    """
    advice = cache.memory_advice(len(feed), feed)
    with cache.network.one_thread.during("step"), cache.backend.active(), advice:
        begin_together(cache)
        if (processes := cache.sharing.processes) is not None:
            processes.doing = _step_named(cache) + (" in a callback" if state.fit is not None else "")
        if state.fit is None:
            _once(cache, state, check, feed)
        else:
            _once_within_fit(cache, state.fit, state.epoch, check, feed)


def _once_within_fit(cache: StepCache, fit: Fit, epoch: int, check: NonFiniteCheck | None, feed: Feed) -> None:
    """A step that a callback takes. Sums, check and place of the epoch under way stay as they are."""
    state, own = RunState(epoch=epoch), None
    cache.check_words()  # those of the epoch
    if check is not None:
        check.look()
        own = NonFiniteCheck(cache, state, check.choice)
    try:
        _once(cache, state, own, feed, fit.step)
        cache.check_words()
    except WordError as problem:
        raise problem.but(step=0) from None  # of no step of the epoch, and so of no row of its data
    finally:
        if check is not None:
            check.go_on()


def _once(
    cache: StepCache,
    state: RunState,
    check: NonFiniteCheck | None,
    feed: Feed,
    under_way: TrainingStep | None = None,
) -> None:
    """In a frame of its own, which lets go of everything where there was no room for it."""
    rows = cache.fitting(len(feed))
    step = cache.step(rows, feed.t, under_way=under_way, time_steps=feed.steps, weights=feed.weights)
    step.reset_totals()
    order = None if feed.weights is None and rows == len(feed) else np.arange(len(feed))

    def load(step: Any, k: int) -> None:
        step.load(feed.X, feed.t, order, feed.weights)

    if check is None:
        load(step, 0)
        step.run()
        return
    state.step_in_epoch = 0
    try:
        check.begin(step, load)
        load(step, 0)
        step.run()
        state.step_in_epoch = 1
        check.after_steps([step.batch.weight])
        check.look()
        check.end()
    finally:
        state.step_in_epoch = 0
        check.leave()
