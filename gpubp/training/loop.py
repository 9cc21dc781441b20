"""The one loop: epochs, batches, and what may end them.

Full-batch gradient descent, mini-batch training and online learning are this loop with batch sizes of all rows, some,
and one. The functions are what `Trainer.fit` and `Trainer.step` do once their arguments have been checked.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.feed import Feed
from ..step.multistep import chain_of
from ..step.step import TrainingStep
from .history import History
from .signals import Interrupts, Stopped
from .snapshot import Fit

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["run_epochs", "run_once"]


def run_epochs(trainer: Trainer, fit: Fit, rows: int, feed: Feed, validation: Feed | None) -> None:
    """All epochs of a `fit`, `rows` rows a step; into `trainer.history`.

    >>> import numpy as np, gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 4, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> feed = Feed(np.eye(4, dtype="float32"), np.ones((4, 1), "float32"))
    >>> run_epochs(trainer, Fit(2, False, [], {}), 2, feed, None)
    >>> trainer.step_count, trainer.history.epochs
    (4, 2)
    """
    going_on, bench = trainer.pending, trainer.bench
    trainer.history, trainer.stop, trainer.step_in_epoch, trainer.under_way = History(), False, 0, fit
    with trainer.backend.active(), bench.room_for(rows), bench.threads(rows), Interrupts() as trainer.interrupts:
        try:
            if going_on is not None:
                going_on.into_history(trainer)
            for callback in fit.callbacks:
                callback.on_train_begin(trainer)
            if going_on is not None:
                going_on.into_callbacks(fit, trainer.resumed_from)
            source = bench.on_device(feed)
            with ExitStack() as files:
                if source is None:
                    feed = files.enter_context(feed.opened())
                if validation is not None:
                    validation = files.enter_context(validation.opened())
                while trainer.history.epochs < fit.epochs and not trainer.stop:
                    logs = _epoch(trainer, fit, bench.step(rows, feed.t, source), feed)
                    if validation is not None:
                        logs |= {f"val_{name}": value for name, value in bench.evaluate(validation).items()}
                    trainer.epoch += 1
                    trainer.step_in_epoch = 0
                    trainer.history.append(logs)
                    for callback in fit.callbacks:
                        callback.on_epoch_end(trainer, logs)
            trainer.interrupts.heed()
        except Stopped as stopped:
            trainer.history.interrupted = True
            for callback in fit.callbacks:
                callback.on_interrupt(trainer)
            if stopped.number != signal.SIGINT:
                raise SystemExit(stopped.exit_code) from None
        except KeyboardInterrupt:  # a callback's own; or a second Ctrl-C, which is for the whole program
            trainer.history.interrupted = True
            if trainer.interrupts.heard:
                raise
        finally:
            trainer.pending = trainer.resumed_from = None
            for callback in fit.callbacks:
                callback.on_train_end(trainer)
            trainer.under_way = None
            trainer.backend.synchronize()


def _epoch(trainer: Trainer, fit: Fit, step: TrainingStep, feed: Feed) -> dict[str, float]:
    order = feed.order(fit.shuffle, trainer.seed, trainer.epoch)
    if trainer.step_in_epoch:
        trainer.pending.into_step(step, trainer.resumed_from)
    else:
        step.start()

    def load(step: Any, k: int) -> None:
        feed.load(step, order[k * step.rows : (k + 1) * step.rows])

    watch, steps = trainer.watch, -(-len(order) // step.rows)
    after_step = [c.on_step_end for c in fit.callbacks if c.looks_at_steps]
    if watch is not None:
        watch.begin(step, load)
    alone = watch is None and not any(c.every_step for c in fit.callbacks if c.looks_at_steps)
    chain = chain_of(step, feed) if alone else None
    while trainer.step_in_epoch < steps:
        done = chain.run(order[trainer.step_in_epoch * step.rows :]) if chain is not None else 0
        if not done:
            load(step, trainer.step_in_epoch)
            step.run()
        trainer.step_in_epoch += done or 1
        if watch is not None:
            watch.after_step()
            if trainer.step_in_epoch == steps:
                watch.look()
        for look in after_step:
            look(trainer)
        trainer.interrupts.heed()
    if watch is not None:
        watch.end()
    return step.means()


def run_once(trainer: Trainer, feed: Feed) -> None:
    """One step on the feed as one batch.

    >>> import numpy as np, gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 4, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> run_once(trainer, Feed(np.eye(4, dtype="float32"), np.ones((4, 1), "float32")))
    >>> trainer.step_count
    1
    """
    with trainer.backend.active(), trainer.bench.room_for(len(feed)):
        _once(trainer, feed)


def _once(trainer: Trainer, feed: Feed) -> None:
    """In a frame of its own, which lets go of everything where there was no room for it."""
    step = trainer.bench.step(len(feed), feed.t)
    step.start()

    def load(step: Any, k: int) -> None:
        step.load(feed.X, feed.t, None if feed.weights is None else np.arange(len(feed)), feed.weights)

    watch = trainer.watch
    if watch is None:
        load(step, 0)
        step.run()
        return
    trainer.step_in_epoch = 0
    watch.begin(step, load)
    load(step, 0)
    step.run()
    trainer.step_in_epoch = 1
    try:
        watch.after_step()
        watch.look()
        watch.end()
    finally:
        trainer.step_in_epoch = 0
