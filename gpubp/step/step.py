"""The training step: forward pass, backward pass, update of the parameters.

    forward    z = network(x);  ℓ = loss(z, t)            Pass.forward
    backward   dz = ∂L/∂z;  g = ∂L/∂θ                     Pass.backward
    update     penalties, clipping, decay, the rule       Share.update, in update.py

x: inputs. t: targets. z: outputs. ℓ: the loss of each row. w: row weights. L = Σ w ℓ / Σ w: the loss of the batch.
θ: the parameters.

All arrays of a step stay at fixed addresses. Before each run the batch is copied into x and t, and learning rate, bias
corrections and step number into small arrays. A short batch is padded with a real row of weight 0. If the data lie on
a GPU, the step itself takes rows and numbers (`Upcoming` in batch.py). So the calls of the first run can be recorded
(`backends/recording.py`), and later runs repeat the record. Parameters and gradients are views of one vector each
(`flat.py`), and the update changes the parameters in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array, Recorded
from ..backends.cpu.blas_threads import one_blas_thread
from ..errors import ShapeError
from ..flat import FlatArray
from ..layers import Context, Workspace
from ..layers.binding import plan_by
from ..layers.bound import BoundLayers
from ..losses import Loss
from ..metrics import Metric
from .batch import Batch
from .finite_guard import Guard
from .update import Update
from .workers import Member, Team


@dataclass(frozen=True)
class StepJob:
    """What a step computes: network, loss, metrics, and the seed of random layers such as Dropout.

    >>> import gpubp as bp
    >>> StepJob(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError()).names
    ('loss',)
    """

    network: BoundLayers
    loss: Loss
    metrics: tuple[Metric, ...] = ()
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """What an epoch reports: "loss", and the metrics' names."""
        return ("loss", *(metric.name for metric in self.metrics))


class TrainingStep:
    """One training step for one batch shape. Steps of other batch shapes can use the same `update`.

    workers: threads that divide the rows and the update, on a CPU; their number divides `batch.rows`. probes: objects
    that are called during the step, to look at its arrays; only with one worker.

    passes, shares: each worker's forward and backward pass, and its share of the update. x, t, z, ws (workspace),
    context, be (backend): those of the first worker's pass; with one worker it has all rows.

    >>> import numpy as np, gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(1,), device="cpu")
    >>> job, batch = StepJob(net, bp.HalfMeanSquaredError()), Batch(net, 2, TargetShape((1,), "float32"))
    >>> step = TrainingStep(job, batch, Update(net, bp.SGD(learning_rate=0.5)))
    >>> step.load(np.array([[1.0], [1.0]]), np.array([[2.0], [4.0]]))
    >>> step.run()                       # dL/dW = ((0 - 2) · 1 + (0 - 4) · 1) / 2 = -3, W = 0 + 0.5 · 3
    >>> net.parameters["W"].item()
    1.5
    """

    def __init__(
        self, job: StepJob, batch: Batch, update: Update, workers: int = 1, probes: Sequence[Probe] = ()
    ) -> None:
        self.job, self.batch, self.update, self.workers = job, batch, update, workers
        self.network, self.rows, self.probes = job.network, batch.rows, tuple(probes)
        self.team = Team(workers)
        members = [Member(self.team, k, batch.be if k == 0 else batch.be.another()) for k in range(workers)]
        gradients = [update.gradients, *(update.gradients.like(member.be) for member in members[1:])]
        self.passes = [
            Pass(job, batch, gradients=g, training=True, member=m) for g, m in zip(gradients, members, strict=True)
        ]
        self.shares = update.shares(members, gradients[1:])
        for pass_k in self.passes:
            pass_k.context.step = update.step
            pass_k.context.reuses = not probes  # a probe looks at arrays, so none may share memory
            pass_k.guarded = update.guarded
        first = self.passes[0]
        self.x, self.t, self.ws, self.context, self.be = first.x, first.t, first.ws, first.context, first.be
        self._recorded = [Recorded(pass_k.be, partial(self.compute, k)) for k, pass_k in enumerate(self.passes)]
        self._run_recorded = self._recorded[0] if workers == 1 else partial(self.run_workers, self._run_worker)

    def compute(self, k: int = 0) -> None:
        """All calls of worker k in one step; the first `run` records them."""
        pass_k, share_k = self.passes[k], self.shares[k]
        share_k.member.begin()  # Member.sum finds the place of each sum by counting from 0
        self._call_probes("before_step")

        pass_k.forward(penalty=share_k.penalty_value())  # z, ℓ
        pass_k.backward()  # g = ∂L/∂θ
        self._call_probes("after_backward")
        share_k.update(pass_k.sums, pass_k.totals)  # the next θ; the sums count if all numbers are finite

        self._call_probes("after_update")

    def run(self) -> None:
        """Do one step on the loaded batch. The first run records it; later runs repeat the record."""
        if self.batch.upcoming is None:
            self.update.advance()
        else:  # all data lie on the device, and the step itself takes its rows
            self.batch.upcoming.put_numbers(self.update.next_numbers()[None])
        self.update.set_batch_weight(self.batch.weight)
        try:
            self._run_recorded()
        except BaseException:
            self.update.t -= 1  # the step was not done
            raise

    def _run_worker(self, k: int) -> None:
        with self.passes[k].be.active():
            self._recorded[k]()

    def run_workers(self, work: Callable[[int], None]) -> None:
        """Run work(k) for every worker k at the same time. With several workers, BLAS uses one thread in each."""
        with nullcontext() if self.workers == 1 else one_blas_thread():
            self.team.run(work)

    def _call_probes(self, name: str) -> None:
        for probe in self.probes:
            getattr(probe, name)(self)

    def load(self, X: Array, T: Array, rows: Any = None, weights: Any = None) -> None:
        """Copy the batch (X[rows], T[rows]) into the arrays of the step: see `Batch`."""
        self.batch.load(X, T, rows, weights)

    def read_from(self, X: Array, T: Array) -> None:
        """Let the step itself take its rows from these arrays on the device: see `Batch`. For a single worker."""
        self.batch.read_from(X, T, self.update.place)

    def reset_totals(self) -> None:
        """Set the sums of the epoch to 0."""
        for one in self.passes:
            one.reset_totals()

    def means(self) -> dict[str, float]:
        """The weighted means of loss and metrics since `reset_totals`; waits for the device."""
        return _means(self.passes)

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        return _last_loss(self.passes)

    @property
    def z(self) -> Array:
        """The network's outputs for the last batch."""
        return self.passes[0].z

    @property
    def record(self) -> Callable[[], None] | None:
        """What the first worker replays; None before it was recorded. `print` shows its calls."""
        return self._recorded[0].record

    @property
    def records(self) -> list[Any]:
        """What each worker replays."""
        return [recorded.record for recorded in self._recorded]

    @property
    def guard(self) -> Guard | None:
        """The first worker's guard against numbers that are not finite, or None; those of all workers agree."""
        return self.shares[0].guard

    def begin_guard(self) -> None:
        """Reset the guard of every worker."""
        for share in self.shares:
            if share.guard is not None:
                share.guard.begin()

    def progress(self) -> Progress:
        """The sums from which `means` is computed, copied to the host; waits for the device."""
        totals, sums = (np.stack([one.be.to_host(getattr(one, a)) for one in self.passes]) for a in ("totals", "sums"))
        return Progress(totals, sums, self.batch.weight, self.batch.total_weight)

    def restore_progress(self, progress: Progress) -> None:
        """Restore the sums, to continue in the middle of an epoch."""
        for one, totals, sums in zip(self.passes, progress.totals, progress.sums, strict=True):
            one.be.put(one.totals, totals)
            one.be.put(one.sums, sums)
        self.batch.restore_progress(progress.weight, progress.total_weight)


class Pass:
    """The forward and backward pass of a batch, or of one worker's part of it.

    batch: the rows. gradients: where backward puts them, None for evaluation. training: whether layers such as Dropout
    act as in training. member: the worker whose part of the rows it takes; without one, it takes all.

    x, t: its rows and their targets. z: the network's outputs. sums: Σ w ℓ and Σ w m of every metric in the last batch.
    totals: the same since `reset_totals`, in float64 on the device. guarded: if true, not
    forward but the update adds sums to totals, and only if the step is finite.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=2, device="cpu")
    >>> batch = Batch(net, 4, TargetShape((1,), "float32"))
    >>> one = Pass(StepJob(net, bp.MeanSquaredError()), batch)
    >>> batch.load(np.ones((4, 2)), np.full((4, 1), 3.0))
    >>> one.forward()
    >>> one.means()
    {'loss': 9.0}
    """

    def __init__(
        self,
        job: StepJob,
        batch: Batch,
        *,
        gradients: FlatArray | None = None,
        training: bool = False,
        member: Member | None = None,
    ) -> None:
        member = member or Member(Team(1), 0, batch.be)
        self.job, self.batch, self.be = job, batch, member.be
        network, loss, metrics = job.network, job.loss, job.metrics
        part = batch.part(member.number, member.team.workers)
        self.x, self.t, rows = part.x, part.t, len(part.weights)
        self.context = Context(self.be, rows, network.dtype, job.seed, part=part, member=member)
        self.context.reuses = True
        self.ws = network.workspace(rows, training=training, gradients=gradients, context=self.context)
        z = (rows, *network.output_shape)
        self._loss_ws = self._workspace(loss, z, self.t.shape)
        self._metric_ws = [self._workspace(m, z, self.t.shape, loss.predicts) for m in metrics]
        self.sums = self.be.zeros((1 + len(metrics),), network.dtype)
        self.totals = self.be.zeros((1 + len(metrics),), np.float64)
        self._sums, self._totals = (
            [a[i : i + 1].reshape(()) for i in range(1 + len(metrics))] for a in (self.sums, self.totals)
        )
        self.z: Array = None
        self.guarded = False

    def _workspace(self, of: Any, *shapes: Any) -> Workspace:
        try:
            plan = plan_by(of, *shapes)
        except ShapeError as problem:
            raise problem.of(repr(of)) from None
        return Workspace(plan, of, self.context, of.__class__.__name__, self.ws.training, True, True)

    @property
    def loss_workspaces(self) -> list[Workspace]:
        """The workspaces of loss and metrics."""
        return [self._loss_ws, *self._metric_ws]

    def forward(self, penalty: Array | None = None) -> None:
        """z, ℓ and the metrics; `penalty`, if given, is added to every ℓ, so that their mean contains it once."""
        weights, dot, predicts = self.context.weights, self.be.dot, self.job.loss.predicts
        rows = weights.shape
        self.batch.gather()
        self.z = self.ws.run_forward(self.x)
        losses = self._loss_ws.run_method("forward", rows, self.z, self.t)
        if penalty is not None:
            self.be.xp.add(losses, penalty, out=losses)
        totals: list[Array] = [None] * len(self._totals) if self.guarded else self._totals
        dot(weights, losses, out=self._sums[0], total=totals[0])
        for ws, out, total in zip(self._metric_ws, self._sums[1:], totals[1:], strict=True):
            dot(weights, ws.run_method("rows", rows, self.z, self.t, predicts), out=out, total=total)

    def backward(self) -> None:
        """Every gradient, after `forward`."""
        self.ws.run_backward(self._loss_ws.run_method("backward", self.z.shape, self.z, self.t))

    def reset_totals(self) -> None:
        """Set the sums of the epoch to 0."""
        self.be.put(self.totals, 0.0)
        self.batch.total_weight = 0.0

    def means(self) -> dict[str, float]:
        """The weighted means of loss and metrics since `reset_totals`; waits for the device."""
        return _means([self])

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        return _last_loss([self])


def _means(passes: Sequence[Pass]) -> dict[str, float]:
    names, weight = passes[0].job.names, passes[0].batch.total_weight
    totals = [one.be.to_host(one.totals) for one in passes]
    means = sum(totals[1:], totals[0]) / weight if weight else np.full(len(names), np.nan)
    return dict(zip(names, means.tolist(), strict=True))


def _last_loss(passes: Sequence[Pass]) -> float:
    weight = passes[0].batch.weight
    losses = [float(one.be.to_host(one.sums)[0]) for one in passes]
    return sum(losses[1:], losses[0]) / weight if weight else float("nan")


class Probe:
    """Is called within a step, to look at its arrays. What it computes is recorded with the step, and so it keeps to
    the rules of a step: it writes results into arrays made before, and reads nothing to the host.

    >>> Probe().after_backward(None)
    """

    def before_step(self, step: TrainingStep) -> None:
        """Before the forward pass."""

    def after_backward(self, step: TrainingStep) -> None:
        """When every gradient is in `step.update.gradients`, before clipping and penalties."""

    def after_update(self, step: TrainingStep) -> None:
        """When the parameters are those of the next step."""


class Progress(NamedTuple):
    """The sums of an epoch so far: totals and sums of each worker, (workers, 1 + metrics), and weights.

    >>> Progress(np.zeros((1, 2)), np.zeros((1, 2)), 8.0, 24.0).workers
    1
    """

    totals: np.ndarray[Any, Any]
    sums: np.ndarray[Any, Any]
    weight: float
    total_weight: float

    @property
    def workers(self) -> int:
        """How many workers have shared the step."""
        return len(self.totals)
