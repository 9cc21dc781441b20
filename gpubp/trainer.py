"""Trainer: epochs and validation, the one loop.

Full-batch gradient descent, mini-batch training and online learning are this loop with batch sizes of all rows, some,
and one.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any

import numpy as np

from . import checkpoint, resume
from .backends import Array, Backend, Recorded
from .batch import TargetShape
from .callbacks import Callback, ProgressBar, checked, stderr_is_terminal
from .config import real, whole
from .data import as_inputs, as_targets, epoch_order, row_weights, split
from .errors import DataError, DeviceMemoryError, in_bytes
from .history import History
from .interrupt import Interrupts, Stopped
from .losses import Loss
from .metrics import Metric, get_metrics
from .network import Network, from_file
from .optimizers import Optimizer
from .profile import Profile, profile_step
from .replay import check_own
from .step import Pass, Probe, SharedStep, TrainingStep
from .update import Penalty, Update
from .watch import CHOICES, Watch
from .workers import Team, advised

__all__ = ["Trainer"]

EVALUATED_AT_ONCE = 256  # rows


class Trainer:
    """Trains a network on batches.

    network; loss; optimizer.
    batch_size: rows a step; None for all rows, 1 for online learning.
    seed: of the batch order and of random layers' draws.
    clip_norm: largest Euclidean norm of all gradients together. clip_value: largest absolute value of any.
    l1, l2: penalties l1 Σ|θ| + ½ l2 Σθ² on all parameters but biases and normalization, part of the reported loss.
    penalty_per_weight: divide them by the batch's Σ w, as scikit-learn does.
    metrics: names ("accuracy", "mae", "mse") or Metric objects.
    learning_rate_factors: pattern of parameter names -> what their learning rate is multiplied by, as {"0.*": 0.1}.
    workers: threads that share each step on a CPU, where they divide its rows; None for as many as seem best.
    on_nonfinite: what happens when a loss or a gradient is not finite: "raise" a NonFiniteError that names step, layer
    and likely cause, the network as it was before the step; "skip" the step, which then changes nothing; "rollback" to
    the beginning of the epoch, or 1,024 steps, with half the learning rate; None to let it happen.

    step_count: steps done. loss: of the last step's batch. learning_rate: of the next step. epoch: epochs done.
    step_in_epoch: steps done of the epoch under way.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(64, 2))
    >>> y = X @ [[1.0], [-2.0]] + 3.0
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(learning_rate=0.1), batch_size=16)
    >>> history = trainer.fit(X, y, epochs=40)
    >>> history["loss"][-1] < 1e-4
    True
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int | None = 32,
        seed: int = 0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        metrics: Sequence[str | Metric] | str = (),
        learning_rate_factors: Mapping[str, float] | None = None,
        penalty_per_weight: bool = False,
        workers: int | None = None,
        on_nonfinite: str | None = None,
    ) -> None:
        for name, value, kind in (
            ("network", network, Network),
            ("loss", loss, Loss),
            ("optimizer", optimizer, Optimizer),
        ):
            if not isinstance(value, kind):
                hint = f"; write {value.__name__}(...)" if isinstance(value, type) else ""
                raise TypeError(f"Trainer needs {name} to be a gpubp {kind.__name__} and got {value!r}{hint}")
        if batch_size is not None and whole(batch_size) is None:
            raise ValueError(
                f"batch_size is a whole number of rows, 1 or more, or None for all rows; got {batch_size!r}"
            )
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and not real(limit) > 0:
                raise ValueError(f"{name} must be above 0, or None, and is {limit!r}")
        for name, strength in (("l1", l1), ("l2", l2)):
            if not real(strength) >= 0:
                raise ValueError(f"{name} must be 0 or more and is {strength!r}")
        if whole(seed, least=0) is None:
            raise ValueError(f"a seed is a whole number, 0 or more, and got {seed!r}")
        if workers is not None and whole(workers) is None:
            raise ValueError(f"workers is a whole number, 1 or more, or None, and got {workers!r}")
        if on_nonfinite is not None and on_nonfinite not in CHOICES:
            raise ValueError(f'on_nonfinite is "raise", "skip", "rollback" or None, and got {on_nonfinite!r}')
        self.network = network
        self.loss_function = loss
        self.workers = workers
        self.batch_size = batch_size
        self.seed = seed
        self.metrics = get_metrics(metrics, loss)
        self.history = History()
        self.epoch = 0  # epochs done, over all fits
        self.step_in_epoch = 0
        self.stop = False  # set by a callback to end training after the epoch
        self.under_way: resume.Fit | None = None
        self.pending: Any = None  # where the next fit goes on
        self.resumed_from: Path | None = None
        self.shared_by = 0  # the workers of the training that was resumed
        self.backend = network.backend
        self._make_update = partial(
            Update,
            network,
            optimizer,
            self.backend,
            clip_norm=clip_norm,
            clip_value=clip_value,
            penalty=Penalty(float(l1), float(l2), bool(penalty_per_weight)),
            learning_rate_factors=dict(learning_rate_factors or {}),
            guarded=on_nonfinite is not None,
            latch=on_nonfinite in ("raise", "rollback"),
        )
        self.watch = Watch(self, on_nonfinite) if on_nonfinite is not None else None
        self._steps: dict[tuple[Any, ...], TrainingStep | SharedStep] = {}
        self._kept: dict[str, Array] = {}  # what was trained on last, on the device
        self._evaluations: dict[TargetShape, tuple[Pass, Recorded]] = {}
        self.last_step: TrainingStep | SharedStep | None = None
        self.renew()
        self._probes: list[Probe] = []
        self._recordable = False  # as far as is known
        self.settings: dict[str, Any] = dict(
            batch_size=batch_size, seed=seed, clip_norm=clip_norm, clip_value=clip_value, l1=l1, l2=l2,
            metrics=metrics, learning_rate_factors=learning_rate_factors, penalty_per_weight=penalty_per_weight,
            workers=workers, on_nonfinite=on_nonfinite,
        )  # fmt: skip

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer."""
        return self.update.optimizer

    @property
    def step_count(self) -> int:
        """Steps done since the trainer was made."""
        return self.update.t

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.update.factor * self.optimizer.rate(self.update.t + 1)

    @property
    def loss(self) -> float:
        """The loss of the last step's batch, before the step; waits for the device. Not a number before any step."""
        if self.last_step is None:
            return float("nan")
        with self.backend.active():
            return self.last_step.last_loss()

    @property
    def record(self) -> Any:
        """What a step does, as it is replayed: printed, on the CPU, a list of calls. None before it was recorded.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1, use_bias=False), input_shape=2, device="cpu")
        >>> trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD())
        >>> trainer.step(np.ones((4, 2)), np.ones(4))
        >>> str(trainer.record).splitlines()[0]                          # y = x W
        'dot(a0, a1, a2)'
        """
        return self.last_step.record if self.last_step is not None else None

    def attach(self, probe: Probe) -> None:
        """Let a probe look into every step from the next one on; steps are recorded anew."""
        self._probes.append(probe)
        self._steps.clear()

    def detach(self, probe: Probe) -> None:
        """Let it look no more."""
        self._probes.remove(probe)
        self._steps.clear()

    def renew(self) -> None:
        """Forget steps and moments, after parameters were frozen or freed."""
        with self.backend.active():
            self.update = self._make_update()
        self._steps.clear()
        self.last_step = None

    def fresh(self, optimizer: Optimizer) -> Trainer:
        """A trainer of the same network with the same settings, another optimizer, and no step done."""
        return Trainer(self.network, self.loss_function, optimizer, **self.settings | {"on_nonfinite": None})

    def profile(self, X: Any, y: Any, *, steps: int = 50) -> Profile:
        """Where the time of a training step goes: print it for a table by layer; its `parts` have the seconds.

        X, y: as for `fit`; the first batch of them is used. steps: each call is timed so often, and the median taken.
        Network and trainer are left as they were. Raises DataError if the data don't fit.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(1)), input_shape=4, device="cpu")
        >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        >>> found = trainer.profile(np.ones((32, 4)), np.ones(32), steps=5)
        >>> [part.name for part in found.parts]
        ['0', '1', '2', 'loss', 'update', 'batch']
        """
        if whole(steps) is None:
            raise ValueError(f"steps is a whole number, 1 or more, and got {steps!r}")
        x, t, _ = self._checked(X, y, None)
        rows = np.arange(len(x) if self.batch_size is None else min(int(self.batch_size), len(x)))
        network, other = self.network, self.fresh(self.optimizer)
        with self.backend.active(), self._room_for(len(rows)):
            flat, states = network.flat.copy(), network.states.flat.copy()
            try:
                step = other._step(len(rows), t)
                return profile_step(
                    step, partial(step.load, x, t, rows), network.layers, self.optimizer, self.loss_function, steps
                )
            finally:
                network.flat[...] = flat
                network.states.flat[...] = states

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint: the network and all that training goes on from. `Checkpoint` does it while `fit` runs.

        Raises OSError where it can't be written; what was at `path` is then still there.

        >>> import os, tempfile, gpubp as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
        >>> bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.Adam(0.1)).save(path)
        >>> bp.Trainer.load(path, device="cpu").optimizer
        Adam(0.1)
        """
        with self.backend.active():
            taken = resume.snapshot(self)
        checkpoint.write(path, taken.config, taken.arrays)

    def resume(self, where: str | os.PathLike[str], missing_ok: bool = False) -> Path | None:
        """Go on from a checkpoint, or from the newest of a folder, of a trainer that was made like this one.

        Parameters, moments and steps are put back now. The next `fit`, given the same data and callbacks, continues
        the one interrupted, in the middle of an epoch: its `epochs` count those done before. What comes out has the
        bits of a training that was never interrupted.

        missing_ok: begin anew where there is no checkpoint yet. Returns the checkpoint's path, None where there is
        none. Raises ModelFileError, a line for every difference, if it is of another training.

        >>> import tempfile, numpy as np, gpubp as bp
        >>> folder, X = tempfile.mkdtemp(), np.eye(4)
        >>> def fit(epochs):
        ...     net = bp.Network(bp.Dense(1), 4, device="cpu")
        ...     trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.1), batch_size=2)
        ...     trainer.resume(folder, missing_ok=True)
        ...     return trainer.fit(X, X[:, 0], epochs=epochs, callbacks=[bp.Checkpoint(folder)])
        >>> fit(2).epochs, fit(5).epochs
        (2, 5)
        """
        if missing_ok and not (Path(where).is_file() or resume.checkpoints_in(where)):
            return None
        path, taken = resume.read(where)
        resume.restore(self, taken, path)
        return path

    @classmethod
    def load(cls, where: str | os.PathLike[str], device: str | Backend = "auto") -> Trainer:
        """The trainer with its network that a checkpoint, or the newest of a folder, was written of; see `resume`.

        Raises ModelFileError if there is none. Classes of your own must be imported before.
        """
        path, taken = resume.read(where)
        loss, optimizer, settings = resume.made_from(taken, path)
        network = from_file(path, taken.config, checkpoint.of_network(taken.arrays), device)
        with checkpoint.described(path, "a training"):
            trainer = cls(network, loss, optimizer, **settings)  # type: ignore[arg-type]
        resume.restore(trainer, taken, path)
        return trainer

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        shuffle: bool | Callable[[int, int], Any] = True,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
        validation_data: tuple[Any, ...] | None = None,
        validation_fraction: float = 0.0,
        callbacks: Sequence[Callback] = (),
        verbose: bool | None = None,
    ) -> History:
        """Train for `epochs` passes over (X, y) and return what each reported.

        X: (n, *input_shape). y: targets as the loss takes them. shuffle: a new order every epoch, from the seed; or a
        function of (epoch, n) that gives the epoch's row numbers in order, some left out or repeated if it likes.
        sample_weight: (n,). class_weight: class -> weight, or "balanced".
        validation_data: (Xv, yv) or (Xv, yv, weights), judged after every epoch as "val_loss" and so on; or
        validation_fraction: a random part of the rows, taken out of training. verbose: a progress bar; None for one
        where errors go to a terminal.

        Ctrl-C ends training after the step under way; what was learnt stays, and the history says `interrupted`.
        SIGTERM does the same, and then raises SystemExit(143): who sends it means the whole process.
        Raises DataError if the data don't fit, before anything is trained.
        """
        if whole(epochs, least=0) is None:
            raise ValueError(f"epochs is a whole number, 0 or more, and got {epochs!r}")
        callbacks = checked(callbacks)
        X, t, weights = self._checked(X, y, sample_weight, class_weight)
        validation = self._validation(validation_data)
        if validation_fraction:
            if validation is not None:
                raise DataError("give validation_data or validation_fraction, not both")
            training, held = split(len(X), validation_fraction, self.seed)
            validation = (X[held], t[held], None if weights is None else weights[held])
            X, t, weights = X[training], t[training], None if weights is None else weights[training]
        n = len(X)
        rows = n if self.batch_size is None else min(int(self.batch_size), n)
        steps = -(-n // rows)
        callbacks = sorted([*callbacks, *_progress(verbose, epochs, steps)], key=lambda c: c.comes_last)
        after_step = [c.on_step_end for c in callbacks if c.looks_at_steps]
        names = ("X", "y", "weights", "Xv", "yv", "validation weights")
        arrays = dict(zip(names, (X, t, weights, *(validation or ())), strict=False))
        fit = resume.Fit(epochs, shuffle, callbacks, arrays)
        going_on = self.pending
        if going_on is not None:
            going_on.check(fit, self.resumed_from, steps)
        self.history, self.stop, self.step_in_epoch, self.under_way = History(), False, 0, fit
        with self.backend.active(), self._room_for(rows), Interrupts() as self._interrupts:
            try:
                if going_on is not None:
                    going_on.into_history(self)
                for callback in callbacks:
                    callback.on_train_begin(self)
                if going_on is not None:
                    going_on.into_callbacks(fit, self.resumed_from)
                source = self._on_device(X, t)
                while self.history.epochs < epochs and not self.stop:
                    logs = self._epoch(rows, source, X, t, weights, shuffle, after_step)
                    if validation is not None:
                        logs |= {f"val_{name}": value for name, value in self._evaluate(*validation).items()}
                    self.epoch += 1
                    self.step_in_epoch = 0
                    self.history.append(logs)
                    for callback in callbacks:
                        callback.on_epoch_end(self, logs)
                self._interrupts.heed()
            except Stopped as stopped:
                self.history.interrupted = True
                for callback in callbacks:
                    callback.on_interrupt(self)
                if stopped.number != signal.SIGINT:
                    raise SystemExit(stopped.exit_code) from None
            except KeyboardInterrupt:  # a callback's own; or a second Ctrl-C, which is for the whole program
                self.history.interrupted = True
                if self._interrupts.heard:
                    raise
            finally:
                self.pending = self.resumed_from = None
                for callback in callbacks:
                    callback.on_train_end(self)
                self.under_way = None
                self.backend.synchronize()
        return self.history

    def _epoch(
        self, rows: int, source: Any, X: Array, t: Array, weights: Any, shuffle: Any, after_step: list[Any]
    ) -> dict[str, float]:
        step = self._step(rows, t, source)
        order = (
            _rows_given(shuffle(self.epoch, len(X)), len(X))
            if callable(shuffle)
            else epoch_order(len(X), self.seed, self.epoch, shuffle)
        )
        if self.step_in_epoch:
            self.pending.into_step(step, self.resumed_from)
        else:
            step.start()

        def load(step: Any, k: int) -> None:
            batch = order[k * rows : (k + 1) * rows]
            step.load(X, t, batch, None if weights is None else weights[batch])

        watch, steps = self.watch, -(-len(order) // rows)
        if watch is not None:
            watch.begin(step, load)
        while self.step_in_epoch < steps:
            load(step, self.step_in_epoch)
            step.run()
            self.step_in_epoch += 1
            if watch is not None:
                watch.after_step()
                if self.step_in_epoch == steps:
                    watch.look()
            for look in after_step:
                look(self)
            self._interrupts.heed()
        if watch is not None:
            watch.end()
        return step.means()

    def step(self, xb: Any, yb: Any, sample_weight: Any = None) -> None:
        """One training step on one batch: recorded at its second call with this many rows, then replayed.

        xb: (rows, *input_shape), yb: their targets. Returns nothing; `trainer.loss` reads the batch's loss.
        Raises DataError if they don't fit.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
        >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        >>> trainer.step(np.ones((4, 2)), np.ones(4))
        >>> trainer.step_count
        1
        """
        x, t, weights = self._checked(xb, yb, sample_weight)
        with self.backend.active(), self._room_for(len(x)):
            self._one(x, t, weights)

    def _one(self, x: Array, t: Array, weights: Any) -> None:
        step = self._step(len(x), t)
        step.start()

        def load(step: Any, k: int) -> None:
            step.load(x, t, None if weights is None else np.arange(len(x)), weights)

        if self.watch is None:
            load(step, 0)
            step.run()
            return
        self.step_in_epoch = 0
        self.watch.begin(step, load)
        load(step, 0)
        step.run()
        self.step_in_epoch = 1
        try:
            self.watch.after_step()
            self.watch.look()
            self.watch.end()
        finally:
            self.step_in_epoch = 0

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """{"loss": ..., and every metric}: weighted means over (X, y), in evaluation mode, penalties included.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
        >>> bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).evaluate(np.ones((4, 2)), [1, 1, 1, 3])
        {'loss': 3.0}
        """
        x, t, weights = self._checked(X, y, sample_weight)
        with self.backend.active():
            return self._evaluate(x, t, weights)

    def _evaluate(self, X: Array, t: Array, weights: Any) -> dict[str, float]:
        target = TargetShape.of(t)
        if target not in self._evaluations:
            run = Pass(self.network, self.loss_function, self.metrics, EVALUATED_AT_ONCE, target, self.backend)
            self._evaluations[target] = run, Recorded(self.backend, run.forward)
        run, forward = self._evaluations[target]
        run.start()
        for start in range(0, len(X), EVALUATED_AT_ONCE):
            batch = np.arange(start, min(start + EVALUATED_AT_ONCE, len(X)))
            run.load(X, t, batch, None if weights is None else weights[batch])
            forward()
        means = run.means()
        penalty = self.update.penalize()
        if penalty is not None:
            means["loss"] += float(self.backend.to_host(penalty))
        return means

    def _checked(self, X: Any, y: Any, sample_weight: Any, class_weight: Any = None) -> tuple[Array, Array, Any]:
        network = self.network
        X = as_inputs(X, network.input_shape, self.backend, network.dtype)
        network.layers.check_data(X)
        t = as_targets(y, self.loss_function, network.output_shape, len(X), network.dtype)
        if not self._recordable:
            check_own(network, self.loss_function, self.metrics, X, t)
            self._recordable = True
        return X, t, row_weights(len(X), sample_weight, class_weight, t)

    def _validation(self, data: tuple[Any, ...] | None) -> tuple[Array, Array, Any] | None:
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError("validation_data is (X, y) or (X, y, sample_weight)")
        try:
            return self._checked(data[0], data[1], data[2] if len(data) == 3 else None)
        except DataError as problem:
            raise DataError(f"in validation_data, {problem}") from None

    @contextmanager
    def _room_for(self, rows: int) -> Iterator[None]:
        """Where memory runs out, say which batch would fit."""
        try:
            yield
        except DeviceMemoryError as problem:
            self._steps.clear()
            self._kept.clear()
            self.last_step = None
            clear_frames(problem.__traceback__)  # which hold the arrays that there was room for
            gc.collect()
            needs, free = self.network.step_memory(rows), self.backend.memory()[0]
            fitting = int(0.9 * free / (self.network.step_memory(rows + 1) - needs))
            advice = f"a batch_size of about {fitting} fits" if 0 < fitting < rows else "a smaller network would fit"
            raise DeviceMemoryError(f"{problem}. A step on {rows} rows needs {in_bytes(needs)}; {advice}") from None

    def _on_device(self, X: Array, t: Array) -> tuple[Array, Array] | None:
        """The data where the steps themselves can take their batches, if the device keeps them."""
        if not self.backend.keeps(X.nbytes + t.nbytes):
            return None
        if self.backend.owns(X):
            self._kept.pop("X", None)
            return X, self._copied("t", t)
        return self._copied("X", X), self._copied("t", t)

    def _copied(self, name: str, a: Array) -> Array:
        kept = self._kept.get(name)
        if kept is None or kept.shape != a.shape or kept.dtype != a.dtype:
            kept = self._kept[name] = self.backend.empty(a.shape, a.dtype)
        self.backend.stage(kept, a)
        return kept

    def _step(self, rows: int, t: Array, source: tuple[Array, Array] | None = None) -> TrainingStep | SharedStep:
        if self.update.trainable != self.network.trainable:  # frozen or unfrozen since
            before = self.update
            self.renew()
            self.update.take_over(before)
        if not self.update.trainable:
            raise ValueError("there is nothing to train: every parameter is frozen; net.unfreeze() frees them")
        target = TargetShape.of(t)
        key = (rows, target, *(id(a) for a in source or ()))  # which the step keeps alive
        if key not in self._steps:
            if source is not None:
                self._steps = {k: s for k, s in self._steps.items() if len(k) == 2}  # let earlier data go
            self._steps[key] = step = self._new_step(rows, target)
            if source is not None:
                step.read_from(*source)
        self.last_step = self._steps[key]
        return self.last_step

    def _new_step(self, rows: int, target: TargetShape) -> TrainingStep | SharedStep:
        asked = (self.network, self.loss_function, self.metrics, rows, target, self.update)
        workers = self.workers or self.shared_by or advised(rows, self.network.step_memory(rows))
        if workers == 1 or rows % workers or self._probes or self.backend.name != "cpu":
            return TrainingStep(*asked, self.seed, self._probes)
        return SharedStep(*asked, Team(workers), self.seed)


def _rows_given(given: Any, rows: int) -> np.ndarray[Any, Any]:
    order: np.ndarray[Any, Any] = np.asarray(given)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise DataError(f"shuffle gives the row numbers of an epoch, whole numbers in one axis, and gave {order!r}")
    if not (order.min() >= 0 and order.max() < rows):
        raise DataError(f"shuffle gave the row {order.max() if order.max() >= rows else order.min()} of {rows} rows")
    return order


def _progress(verbose: bool | None, epochs: int, steps: int) -> list[Callback]:
    return [ProgressBar(epochs, steps)] if verbose or (verbose is None and stderr_is_terminal()) else []
