"""Trainer: the settings and public methods of training. `loop.py` is the loop."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import model_file
from ..backends import Backend
from ..config import Count, CountOrZero, argument, instance
from ..data.feed import Feed
from ..errors import InUseError
from ..losses import Loss
from ..metrics import Metric, get_metrics
from ..network.network import Network, from_file
from ..network.probabilities import doubt_of
from ..network.purpose import tell_purpose
from ..optimizers import Optimizer
from ..processes import processes_of
from ..step.average import Average
from ..step.profile import Profile
from ..step.step import Probe, StepJob
from .callbacks import Callback, checked, of_process
from .copies import Copied
from .history import History
from .loop import run_epochs, run_once
from .nonfinite import NonFiniteCheck
from .progress_bar import ProgressBar, stderr_is_terminal
from .settings import Settings, check_fit
from .snapshot import Snapshot, checkpoints_in, made_from, restore, take
from .state import Fit, RunState
from .status import Status
from .step_cache import StepCache, profiled
from .together import begin_together, from_first, meet, read_once
from .user_classes import check_own


class Trainer(Copied, Status):
    """Trains a network on batches.

    network; loss; optimizer.
    batch_size: rows a step; None for all rows, 1 for online learning.
    seed: of the batch order and of random layers' draws.
    clip_norm: largest Euclidean norm of all gradients together. clip_value: largest absolute value of any.
    l1, l2: penalties l1 Σ|θ| + ½ l2 Σθ² on all parameters but biases and normalization, part of the reported loss.
    penalized: the parameters that they reach, by patterns of their names, as `Optimizer.decayed`: "*" for all.
    penalty_per_weight: divide them by the batch's Σ w, as scikit-learn does.
    metrics: names ("accuracy", "mae", "f1", "roc_auc", "r2", ...) or Metric objects.
    learning_rate_factors: pattern of parameter names -> what their learning rate is multiplied by, as {"0.*": 0.1}.
    weight_decay_factors: pattern of parameter names -> what the optimizer's weight decay is multiplied by; 0 for none.
    Biases and normalization parameters decay only where a pattern matches nothing else, as {"*.b": 1.0}, or where the
    optimizer's `decayed` names them. Of two patterns that match a name the later counts. The penalties l1 and l2 are
    not changed by these factors.
    accumulate: batches of batch_size rows whose gradients are summed for one step: a step on accumulate · batch_size
    rows in the memory of batch_size rows. Batch normalization takes each batch by itself.
    workers: threads that share each step on a CPU, where they divide its rows; None for as many as seem best. In exact
    numerics fewer where so many would change the bits: each has 64, 128, 256, ... rows of the batch; the log says so.
    shards: parts of every batch, each computed by itself on one thread of BLAS, whose sums are added as a tree: the
    same bits on any number of workers and of processes, for a fixed number of shards. It costs speed where a batch is
    small. None for as many parts as there are workers.
    communicator: processes that train the network together, each on its part of every batch, which batch_size counts
    as a whole: "auto" for those that mpiexec or srun has started, if there are several; None for this process alone; or
    an mpi4py communicator. All of them make the same calls with the same data, and end with the same parameters.
    on_nonfinite: what happens when a loss or a gradient is not finite: "raise" a NonFiniteError that names step, layer
    and likely cause, the network as it was before the step; "skip" the step, which then changes nothing; "rollback" to
    the beginning of the epoch, or 1,024 steps, with half the learning rate; None to let it happen.

    step_count: steps done. loss: of the last step's batch. learning_rate: of the next step. epoch: epochs done.
    step_in_epoch: steps done of the epoch under way. history: of the last fit. stop: a callback sets it to end training
    after the epoch, in any of the processes.

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
        weight_decay_factors: Mapping[str, float] | None = None,
        accumulate: int = 1,
        shards: int | None = None,
        communicator: Any = "auto",
        penalized: str | tuple[str, ...] | None = None,
    ) -> None:
        for name, value, kind in (
            ("network", network, Network),
            ("loss", loss, Loss),
            ("optimizer", optimizer, Optimizer),
        ):
            instance("Trainer", name, kind, value)
        settings = Settings(
            batch_size, seed, clip_norm, clip_value, l1, l2, metrics, learning_rate_factors, penalty_per_weight,
            workers, on_nonfinite, weight_decay_factors, accumulate, shards, penalized,
        )  # fmt: skip
        given = set(vars(self))
        self.network = network
        self.loss_function = loss
        self.batch_size = settings.batch_size
        self.seed = settings.seed
        self.metrics = get_metrics(metrics, loss)
        job = StepJob(network, loss, self.metrics, settings.seed)
        processes = processes_of(communicator)
        if processes is not None:
            from ..processes import processes_on

            processes = processes_on(network.backend, processes)
        updates, most = settings.updates(network, optimizer), settings.most_rows
        cache = StepCache(job, updates, settings.workers, most, settings.shards, processes)
        super().__init__(cache, RunState())
        self.nonfinite_check = NonFiniteCheck(cache, self.state, on_nonfinite) if on_nonfinite is not None else None
        self._recordable = False  # as far as is known
        self._told = False  # what it is trained for, by a step
        self.settings: dict[str, Any] = dict(vars(settings))
        cache.sharing.settings = self.settings
        self._made = {"_made", *vars(self)} - given

    @property
    def accumulate(self) -> int:
        """Batches of batch_size rows whose gradients are summed for one step."""
        return int(self.settings["accumulate"])

    def attach(self, probe: Probe) -> None:
        """Call a probe in every step from the next one on; steps are recorded anew."""
        instance("attach", "probe", Probe, probe)
        with self.network.one_thread.during("attach"):
            self.step_cache.attach(probe)

    def detach(self, probe: Probe) -> None:
        """Remove a probe; steps are recorded anew."""
        with self.network.one_thread.during("detach"):
            self.step_cache.detach(probe)

    def set_average(self, average: Average | None) -> None:
        """Average the parameters after each step from the next one on, or no more; steps are recorded anew.

        The callbacks `ExponentialMovingAverage` and `WeightAverage` do it.
        """
        with self.network.one_thread.during("set_average"):
            self.update.set_average(average)
            self.step_cache.steps.clear()

    def renew(self) -> None:
        """Forget steps and moments, after parameters were frozen or unfrozen."""
        with self.network.one_thread.during("renew"):
            self.step_cache.reset()

    def fresh(self, optimizer: Optimizer) -> Trainer:
        """A trainer of the same network and settings in this process alone, with another optimizer, on_nonfinite=None
        and no step done."""
        settings = self.settings | {"on_nonfinite": None, "communicator": None}
        return Trainer(self.network, self.loss_function, optimizer, **settings)

    def profile(self, X: Any, y: Any, *, steps: int = 50) -> Profile:
        """Measure the time of a training step by layer: the result prints as a table; its `parts` have the seconds.

        X, y: as for `fit`; the first batch of them is used. steps: each call is timed so often, and the median taken.
        Network and trainer are left as they were. Raises DataError if the data don't fit.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(1)), input_shape=4, device="cpu")
        >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        >>> found = trainer.profile(np.ones((32, 4)), np.ones(32), steps=5)
        >>> [part.name for part in found.parts]
        ['0', '1', '2', 'loss', 'update', 'batch']
        """
        steps = argument("profile", "steps", Count, steps)
        feed = self._feed(X, y)
        rows = self.rows_of_step(len(feed))
        with self.step_cache.memory_advice(rows, feed):
            return profiled(self.fresh(self.optimizer).step_cache, feed, rows, steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint, from which `resume` goes on. The callback `Checkpoint` does it while `fit` runs.

        Raises OSError where it can't be written; what was at `path` is then still there. Several processes call this
        together, and process 0 writes the file.

        >>> import os, tempfile, gpubp as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
        >>> bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.Adam(0.1)).save(path)
        >>> bp.Trainer.load(path, device="cpu").optimizer
        Adam(0.1)
        """
        taken = self.snapshot()
        from_first(self.processes, lambda: model_file.write(path, *taken))  # no process goes on before it is there

    def snapshot(self) -> Snapshot:
        """The training run as it stands, between two steps, in host memory: (config, arrays) of a checkpoint."""
        with self.network.one_thread.during("save"), self.backend.active():
            meet(self.processes, f"a checkpoint at step {self.step_count}")
            self._check_numbers()
            self.update.gather()
            return take(self.network, self.step_cache, self.state, self.settings)

    def resume(self, where: str | os.PathLike[str], missing_ok: bool = False) -> Path | None:
        """Go on from a checkpoint, or from the newest of a folder, of a trainer that was made like this one.

        Parameters, moments and steps are put back now. The next `fit`, given the same data and callbacks, continues
        the one interrupted, in the middle of an epoch: its `epochs` count those done before. What comes out has the
        bits of a training that was never interrupted; in exact numerics also on another device, with other workers and
        libraries. One exception: with on_nonfinite="rollback", a rollback in the
        epoch that is continued goes back to the resumed step, and not to the beginning of the epoch.

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
        with self.network.one_thread.during("resume"):
            if self.state.fit is not None:
                raise InUseError("a callback called resume of the trainer that is training; call it before fit")
        if missing_ok and not from_first(self.processes, lambda: Path(where).is_file() or bool(checkpoints_in(where))):
            return None
        path, taken = read_once(self.processes, where)
        restore(self.network, self.step_cache, self.state, self.settings, taken, path)
        return path

    @classmethod
    def load(cls, where: str | os.PathLike[str], device: str | Backend = "auto", communicator: Any = "auto") -> Trainer:
        """The trainer with its network that a checkpoint, or the newest of a folder, was written of; see `resume`.

        Raises ModelFileError if there is none. Classes of your own must be imported before.
        """
        processes = processes_of(communicator)
        if processes is not None and not isinstance(device, Backend):
            from ..processes import device_of

            device = device_of(processes, device)
        path, taken = read_once(processes, where)
        loss, optimizer, settings = made_from(taken, path)
        numerics = None if isinstance(device, Backend) else str(taken.config.get("numerics", "ordinary"))
        network = from_file(path, taken.config, model_file.of_network(taken.arrays), device, numerics=numerics)
        with model_file.described(path, "a training"):
            trainer = cls(network, loss, optimizer, **settings, communicator=processes)  # type: ignore[arg-type]
        restore(network, trainer.step_cache, trainer.state, trainer.settings, taken, path)
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

        X: (n, *input_shape), or a list of arrays where rows have different lengths. y: targets as the loss takes them;
        where outputs have time steps, as many for each row as X has. shuffle: a new order every epoch, from the seed;
        or a function of (epoch, n) that gives the epoch's row numbers in order, some left out or repeated if it likes.
        sample_weight: (n,), or (n, ...) a weight for each position of the outputs, all axes but the last; then the loss
        is Σ w l / Σ w v over all positions, see docs/losses-and-metrics.md. class_weight: class -> weight, or
        "balanced"; of the rows trained on, not of validation. validation_data: (Xv, yv) or (Xv, yv, weights), evaluated
        after every epoch as "val_loss" and so on; or validation_fraction: a random part of the rows, taken out of
        training, with its part of sample_weight. verbose: a progress bar; None for one where errors go to a terminal.

        Ctrl-C ends training after the step under way; the parameters stay, and the history says `interrupted`.
        SIGTERM does the same, and then raises SystemExit(143), because it is meant for the whole process.
        Raises DataError if the data don't fit, before anything is trained.
        """
        check_fit(shuffle, validation_fraction, verbose)
        epochs = argument("fit", "epochs", CountOrZero, epochs)
        callbacks = checked(callbacks)
        given = self._feed(X, y, sample_weight)
        validation = Feed.to_validate(self.network, self.loss_function, validation_data)
        feed, validation = given.to_fit(validation, validation_fraction, class_weight, self.seed)
        rows = self.rows_of_step(len(feed))
        steps = -(-len(feed) // rows)
        callbacks, left_out = of_process(callbacks, self.processes)
        shown = (verbose or (verbose is None and stderr_is_terminal())) and self.leads
        bars = [ProgressBar(epochs, steps)] if shown else []
        callbacks = sorted([*callbacks, *bars], key=lambda c: c.comes_last - c.comes_first)
        fit = Fit(epochs, shuffle, callbacks, rows, feed, validation, left_out=left_out)
        if self.state.position is not None:
            self.state.position.check(fit, self.resumed_from)
        self._tell()
        run_epochs(self, self.step_cache, self.state, self.nonfinite_check, fit)
        return self.history

    def step(self, xb: Any, yb: Any, sample_weight: Any = None) -> None:
        """One training step on one batch: recorded at its first call with this many rows, then replayed.

        xb: (rows, *input_shape), yb: their targets. Rows of different lengths are padded to the longest of them. With
        `accumulate` above 1, rows beyond batch_size are computed in pieces of at most batch_size rows. Returns nothing;
        `trainer.loss` reads the batch's loss.
        The steps of the 32 batch sizes used last are kept, if their arrays take 512 MB together at most; the steps of
        the last two are always kept.
        Raises DataError if they don't fit.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
        >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        >>> trainer.step(np.ones((4, 2)), np.ones(4))
        >>> trainer.step_count
        1
        """
        feed = self._feed(xb, yb, sample_weight)
        if not self._told:
            self._tell()
        run_once(self.step_cache, self.state, self.nonfinite_check, feed)

    def _tell(self) -> None:
        """Tell the network what it is trained for; and the user, once, where its end and the loss do not fit."""
        if not self._told and self.leads and (doubt := doubt_of(self.network.layers, self.loss_function)):
            warnings.warn(doubt, UserWarning, stacklevel=3)
        tell_purpose(self.network, self.loss_function)
        self._told = True

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """{"loss": ..., and every metric}: weighted means over (X, y), in evaluation mode, penalties included.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
        >>> bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).evaluate(np.ones((4, 2)), [1, 1, 1, 3])
        {'loss': 3.0}
        """
        feed = self._feed(X, y, sample_weight)
        with self.network.one_thread.during("evaluate"), self.backend.active(), feed.opened() as rows:
            begin_together(self.step_cache)
            if self.processes is not None:
                self.processes.doing = f"an evaluation at step {self.step_count}"
            return self.step_cache.evaluate(rows)

    def _feed(self, X: Any, y: Any, sample_weight: Any = None) -> Feed:
        feed = Feed.of(self.network, self.loss_function, X, y, sample_weight)
        if not self._recordable:
            check_own(self.network, self.loss_function, self.metrics, feed.X, feed.t)
            self._recordable = True
        return feed

    def rows_of_step(self, rows: int) -> int:
        """The rows of a step of a fit on `rows` rows: batch_size · accumulate, or for fewer rows about all of them.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
        >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=8, accumulate=4)
        >>> trainer.rows_of_step(1000), trainer.rows_of_step(15)    # 15: in two pieces, the last with a row of weight 0
        (32, 16)
        """
        if self.batch_size is None:
            return rows
        return self.step_cache.fitting(min(int(self.batch_size) * self.accumulate, rows))
