"""NonFiniteCheck: finds steps whose loss or gradient is not finite, and raises, skips them or rolls back.

A guard in the recorded step keeps such a step from changing anything (`step/finite_guard.py`). The host reads the guard
every `CHECK_EVERY` steps or after a chain of more, at the end of an epoch, and before a checkpoint. With "raise" and
"rollback" no step after a bad one changes anything either, so that it can be computed again, to find the layer
(`nonfinite_layer.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import NonFiniteError
from ..step.batch import Batch
from ..step.step import Pass, StepJob, TrainingStep
from .nonfinite_layer import cause_of, first_nonfinite
from .state import RunState
from .step_cache import StepCache

CHOICES = ("raise", "skip", "rollback")
CHECK_EVERY = 32  # steps; reading the guard waits for the device
SAVE_EVERY = 1024  # steps; what a rollback goes back to
MOST_ROLLBACKS = 10  # to the same step


class NonFiniteCheck:
    """The check of one training run.

    cache: its steps. state: where it stands, which a rollback changes. choice: "raise", "skip" or "rollback".

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(4), bp.Dense(1)), 1, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(1e6), batch_size=4, on_nonfinite="raise")
    >>> trainer.fit(np.ones((8, 1)), np.ones(8), epochs=50)
    Traceback (most recent call last):
    ...
    gpubp.errors.NonFiniteError: step ...: ... layer ...
    """

    def __init__(self, cache: StepCache, state: RunState, choice: str) -> None:
        self.cache, self.state, self.choice = cache, state, choice
        self.skipped = 0  # steps of this epoch
        self._before = 0  # steps done when the guard was read
        self._weights: list[float] = []  # Σ w of each step since then
        self._total = 0.0  # Σ w of the epoch, up to then
        self.step: TrainingStep | None = None  # the one under way
        self._load: Callable[[Any, int], None] | None = None
        self._step_of: Callable[[int], TrainingStep] | None = None
        self._saved: tuple[Any, ...] | None = None
        self._rollbacks = 0

    def begin(
        self,
        step: TrainingStep,
        load: Callable[[Any, int], None],
        step_of: Callable[[int], TrainingStep] | None = None,
    ) -> None:
        """Begin an epoch, or go on with it. load(step, k): puts the epoch's batch number k in place. step_of: the step
        that does batch number k, where rows have lengths; whoever goes on to another sets `step`."""
        self.step, self._load, self._step_of, self.skipped = step, load, step_of, 0
        self._reset()
        self._save()

    def go_on(self) -> None:
        """Go on with the epoch, if one is under way, after a step that a callback took."""
        if self.step is not None:
            self._reset()

    def _reset(self) -> None:
        assert self.step is not None
        self._before, self._weights, self._total = self.step.update.t, [], self.step.batch.total_weight
        self.step.begin_guard()

    @property
    def _count(self) -> int:
        """Steps since the guard was read, with one that ended by a WordError after the guard had counted it."""
        return self.step.update.t - self._before if self.step is not None else 0

    @property
    def most(self) -> int | None:
        """How many steps may come before the next `after_steps`, so that a rollback always goes back to the same ones;
        None for any number."""
        return self._saved_step() + SAVE_EVERY - self.cache.update.t if self.choice == "rollback" else None

    def after_steps(self, weights: Sequence[float]) -> None:
        """Note the Σ w of steps that were done, and read the guard if it is time."""
        self._weights += weights
        most = self.most
        if self._count >= CHECK_EVERY or (most is not None and most <= 0):
            self.look()

    def look(self) -> None:
        """Read the guard, and raise, skip or roll back. A rollback changes the place in the epoch."""
        step = self.step
        if step is None or not self._count or step.guard is None:
            return
        _, good = step.guard.read()
        bad = self._count - good
        if bad <= 0:  # below 0 where an exception ended a step after the guard had counted it
            self._reset()
            most = self.most
            if most is not None and most <= 0:
                self._save()
            return
        if self.choice == "skip":
            self.skipped += bad
            step.batch.total_weight = step.guard.read_weight()
            self._reset()
            return
        total = self._total
        for weight in self._weights[:good]:  # one by one, as the steps added them
            total += weight
        first = self._count - good - 1  # how many steps ago
        self.cache.update.t -= first + 1
        self.state.step_in_epoch -= first + 1
        self._rollbacks += 1
        if self.choice == "raise" or self._rollbacks > MOST_ROLLBACKS:
            error = self._error()
            step.batch.total_weight = total
            self.step = self._load = self._step_of = self._saved = (
                None  # training has ended, and what is good can be saved
            )
            raise error
        self._roll_back()

    def end(self) -> None:
        """End the epoch: warn of skipped steps."""
        if self.skipped:
            steps = f"{self.skipped} step{'s' * (self.skipped > 1)} of epoch {self.state.epoch + 1}"
            text = f"{steps} had a loss or a gradient that is not finite, and changed nothing"
            warnings.warn(text, RuntimeWarning, stacklevel=5)
        self.step = self._load = self._step_of = self._saved = None

    def leave(self) -> None:
        """Leave an epoch that an exception has ended: warn of steps that changed nothing, and don't count them."""
        step = self.step
        if step is None:
            return
        bad = self._count - step.guard.read()[1] if self._count and step.guard is not None else 0
        if self.choice == "skip":
            self.skipped += max(0, bad)
        self.end()
        if bad > 0 and self.choice != "skip":
            step.update.t -= bad
            text = f"step {step.update.t + 1} had a loss or a gradient that is not finite, and changed nothing"
            warnings.warn(f"{text}; nor did those after it", RuntimeWarning, stacklevel=5)

    def _saved_step(self) -> int:
        return int(self._saved[0]) if self._saved is not None else 0

    def _save(self) -> None:
        """Copy all that a rollback puts back."""
        if self.choice != "rollback" or self.step is None:
            return
        update, network = self.cache.update, self.cache.network
        arrays = (network.flat.copy(), network.states.flat.copy(), [vector.flat.copy() for vector in update.vectors])
        self._saved = (update.t, self.state.step_in_epoch, arrays, self.step.progress())
        self._rollbacks = 0

    def _roll_back(self) -> None:
        assert self._saved is not None and self.step is not None
        update, network = self.cache.update, self.cache.network
        bad = update.t + 1
        update.t, self.state.step_in_epoch, (flat, states, vectors), progress = self._saved
        network.flat[...], network.states.flat[...] = flat, states
        for vector, kept in zip(update.vectors, vectors, strict=True):
            vector.flat[...] = kept
        self.step.restore_progress(progress)
        update.factor *= 0.5
        self._reset()
        back = f"back to step {update.t}, with half the learning rate, {self.cache.learning_rate:g}"
        text = f"step {bad} had a loss or a gradient that is not finite: {back}"
        warnings.warn(text, RuntimeWarning, stacklevel=6)

    def _error(self) -> NonFiniteError:
        """Compute the bad step again, call by call, and find the layer; nothing is changed."""
        cache, step = self.cache, self.step
        assert step is not None and self._load is not None
        if self._step_of is not None:
            step = self._step_of(self.state.step_in_epoch)
        network, update = step.network, cache.update
        states = network.states.flat.copy()
        batch = Batch(network, step.batch.rows, step.batch.target, step.batch.pieces)
        job = StepJob(network, cache.job.loss, seed=cache.job.seed)
        slow = Pass(job, batch, gradients=update.gradients, training=True)
        slow.context.step, slow.context.reuses = update.step, False
        self._load(batch, self.state.step_in_epoch)
        update.advance()
        update.set_batch_weight(batch.weight)
        layer, what = first_nonfinite(slow, update)
        number, update.t = update.t, update.t - 1
        network.states.flat[...] = states
        cause = cause_of(slow, cache.learning_rate)
        text = f"step {number}: {what}. {cause}. The network is as it was before the step"
        return NonFiniteError(text, number, layer)
