"""The step: forward, loss, backward, update; run, then recorded, then replayed.

    forward    z = network(x);  ℓ = loss(z, t)            Pass
    backward   dz = ∂L/∂z;  g = ∂L/∂θ                     TrainingStep
    update     penalties, clipping, the optimizer's rule  Update, in update.py

Everything a step touches lies at a fixed address: the batch is copied into `x` and `t`, padded with rows of weight 0
where it is short, and what changes from step to step (learning rate, bias corrections, step number) is put into small
arrays before it runs. So after its first runs the step is a record (see `backends/`), which `run` replays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..backends import Array, Backend, Recorded
from ..flat import FlatArray
from ..layers import Context, Workspace
from ..losses import Loss
from ..metrics import Metric
from .batch import Batch, Part, TargetShape
from .finite_guard import Guard
from .update import Share, Update
from .workers import Member, Team, one_blas_thread

if TYPE_CHECKING:
    from ..network.network import Network

__all__ = ["Pass", "Probe", "Progress", "SharedStep", "TrainingStep", "named_means"]


class Progress(NamedTuple):
    """What a step has summed up in an epoch: totals and sums of each worker, (workers, 1 + metrics), and weights.

    >>> Progress(np.zeros((1, 2)), np.zeros((1, 2)), 8.0, 24.0).workers
    1
    """

    totals: np.ndarray[Any, Any]
    sums: np.ndarray[Any, Any]
    weight: float
    total_weight: float

    @property
    def workers(self) -> int:
        """How many have shared the step."""
        return len(self.totals)


def _progress(passes: Sequence[Pass], batch: Batch) -> Progress:
    totals, sums = (np.stack([own.be.to_host(getattr(own, a)) for own in passes]) for a in ("totals", "sums"))
    return Progress(totals, sums, batch.weight, batch.total_weight)


def _go_on(passes: Sequence[Pass], batch: Batch, progress: Progress) -> None:
    for own, totals, sums in zip(passes, progress.totals, progress.sums, strict=True):
        own.be.put(own.totals, totals)
        own.be.put(own.sums, sums)
    batch.go_on(progress.weight, progress.total_weight)


class Pass:
    """Forward through network, loss and metrics for one batch shape.

    rows: of a batch. target: what a row's target looks like. gradients: where backward puts them, None for evaluation.
    x, t: the batch. totals: Σ w ℓ and Σ w m of every metric since `start`, in float64 on the device.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> from gpubp.step.batch import TargetShape
    >>> p = Pass(net, bp.MeanSquaredError(), (), 4, TargetShape((1,), "float32"), net.backend)
    >>> p.x.shape
    (4, 2)
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        metrics: tuple[Metric, ...],
        rows: int,
        target: TargetShape,
        backend: Backend,
        *,
        gradients: FlatArray | None = None,
        training: bool = False,
        seed: int = 0,
        part: Part | None = None,
        member: Member | None = None,
    ) -> None:
        self.network, self.loss, self.metrics, self.rows, self.be = network, loss, metrics, rows, backend
        dtype = network.dtype
        self.batch: Batch | None = None
        if part is None:
            self.batch = Batch(backend, rows, network.input_shape, target, dtype)
            part = self.batch.part(0, 1)
        self.x, self.t = part.x, part.t
        self.context = Context(backend, rows, dtype, seed, part=part, member=member)
        self.context.reuses = True
        self.ws = network.workspace(rows, training=training, gradients=gradients, context=self.context)
        z = (rows, *network.output_shape)
        self._loss_ws = self._workspace(loss.plan(z, self.t.shape), loss)
        self._metric_ws = [self._workspace(m.plan(z, self.t.shape, loss.predicts), m) for m in metrics]
        self.sums = backend.zeros((1 + len(metrics),), dtype)
        self.totals = backend.zeros((1 + len(metrics),), np.float64)
        self._sums, self._totals = (
            [a[i : i + 1].reshape(()) for i in range(1 + len(metrics))] for a in (self.sums, self.totals)
        )
        self.z: Array = None
        self.guarded = False

    def _workspace(self, plan: Any, of: Any) -> Workspace:
        return Workspace(plan, of, self.context, of.__class__.__name__, self.ws.training, True, True)

    @property
    def judging(self) -> list[Workspace]:
        """The workspaces of loss and metrics."""
        return [self._loss_ws, *self._metric_ws]

    def load(self, X: Array, T: Array, rows: Any = None, weights: Any = None) -> None:
        """Put the batch (X[rows], T[rows]) in place: see `Batch`."""
        self._own.load(X, T, rows, weights)

    @property
    def _own(self) -> Batch:
        assert self.batch is not None, "the batch of a worker's part is loaded as a whole"
        return self.batch

    @property
    def weight(self) -> float:
        """Σ w of the batch in place."""
        return self._own.weight

    def start(self) -> None:
        """Begin new totals."""
        self.be.put(self.totals, 0.0)
        if self.batch is not None:
            self.batch.total_weight = 0.0

    def progress(self) -> Progress:
        """What `means` is made of, on the host; waits for the device."""
        return _progress([self], self._own)

    def go_on(self, progress: Progress) -> None:
        """Go on in the middle of an epoch from there."""
        _go_on([self], self._own, progress)

    def forward(self, penalty: Array | None = None) -> None:
        """z, ℓ and the metrics; `penalty`, if given, is added to every ℓ."""
        weights = self.context.weights
        if self.batch is not None:
            self.batch.gather()
        self.z = self.network.layers.forward(self.ws, self.x)
        rows = self.loss.forward(self._loss_ws, self.z, self.t)
        if penalty is not None:
            self.be.xp.add(rows, penalty, out=rows)
        sums_up = not self.guarded  # else the update does, if the step counts
        self.be.dot(weights, rows, out=self._sums[0], total=self._totals[0] if sums_up else None)
        places = zip(self.metrics, self._metric_ws, self._sums[1:], self._totals[1:], strict=True)
        for metric, ws, out, total in places:
            self.be.dot(
                weights, metric.rows(ws, self.z, self.t, self.loss.predicts), out=out, total=total if sums_up else None
            )

    def backward(self) -> None:
        """Every gradient, after `forward`."""
        self.network.layers.backward(self.ws, self.loss.backward(self._loss_ws, self.z, self.t))

    def means(self) -> dict[str, float]:
        """The weighted means of loss and metrics since `start`; waits for the device."""
        return named_means(self.be.to_host(self.totals), self._own.total_weight, self.metrics)

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        return float(self.be.to_host(self.sums)[0]) / self.weight if self.weight else float("nan")


def named_means(totals: np.ndarray[Any, Any], weight: float, metrics: Sequence[Metric]) -> dict[str, float]:
    """{"loss": ..., and every metric} from weighted sums.

    >>> import numpy as np
    >>> named_means(np.array([6.0]), 3.0, ())
    {'loss': 2.0}
    """
    names = ("loss", *(m.name for m in metrics))
    means = totals / weight if weight else np.full(len(names), np.nan)
    return dict(zip(names, means.tolist(), strict=True))


class Probe:
    """Looks into a step from within. What it computes is recorded with the step, and so keeps to a step's rules:
    results into arrays it made before, nothing read to the host.

    >>> Probe().after_backward(None)
    """

    def before_step(self, step: TrainingStep) -> None:
        """Before the forward pass."""

    def after_backward(self, step: TrainingStep) -> None:
        """When every gradient stands in `step.update.gradients`, before clipping and penalties."""

    def after_update(self, step: TrainingStep) -> None:
        """When the parameters are those of the next step."""


class TrainingStep(Pass):
    """One training step for one batch shape; `update` may be shared by steps of several shapes.

    probes: what looks into it. workers: 1, as against a SharedStep.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(1,), device="cpu")
    >>> from gpubp.step.batch import TargetShape
    >>> update = Update(net, bp.SGD(learning_rate=0.5), net.backend)
    >>> step = TrainingStep(net, bp.HalfMeanSquaredError(), (), 1, TargetShape((1,), "float32"), update)
    >>> step.load(np.array([[1.0]]), np.array([[2.0]]))
    >>> step.run()                       # dL/dW = (0 - 2) · 1, W = 0 + 0.5 · 2
    >>> net.parameters["W"].item()
    1.0
    """

    workers = 1

    def __init__(
        self,
        network: Network,
        loss: Loss,
        metrics: tuple[Metric, ...],
        rows: int,
        target: TargetShape,
        update: Update,
        seed: int = 0,
        probes: Sequence[Probe] = (),
    ) -> None:
        super().__init__(
            network, loss, metrics, rows, target, update.be, gradients=update.gradients, training=True, seed=seed
        )
        self.guarded = update.guarded
        self.update = update
        self.context.step = update.step
        self.probes = tuple(probes)
        self.context.reuses = not self.probes
        self._recorded = Recorded(self.be, self.compute)

    @property
    def record(self) -> Callable[[], None] | None:
        """What is replayed; None before it was captured. It can be printed and read."""
        return self._recorded.record

    @property
    def guard(self) -> Guard | None:
        """What keeps a step that is not finite from changing anything, if asked for."""
        return self.update.guard

    def begin_guard(self) -> None:
        """Let the guard count anew."""
        if self.guard is not None:
            self.guard.begin()

    @property
    def passes(self) -> list[Pass]:
        """The workers' passes: this one."""
        return [self]

    @property
    def records(self) -> list[Any]:
        """The workers' records: the one."""
        return [self.record]

    def together(self, work: Callable[[int], None]) -> None:
        """work(k) for every worker k: for the one."""
        work(0)

    def compute(self) -> None:
        """Forward, backward and update, call by call, with the probes' looks in between."""
        for probe in self.probes:
            probe.before_step(self)
        self.forward(self.update.penalize())
        self.backward()
        for probe in self.probes:
            probe.after_backward(self)
        self.update.run(self._sums[0], self.totals, self.sums)
        for probe in self.probes:
            probe.after_update(self)

    def read_from(self, X: Array, T: Array) -> None:
        """Take the rows from there in the step: see `Batch`."""
        self._own.read_from(X, T, self.update.place)

    def run(self) -> None:
        """One step on the batch in place: eagerly at first, then recorded, then by the record."""
        if self._own.upcoming is None:
            self.update.advance()
        else:
            self._own.upcoming.put_numbers(self.update.next_numbers()[None])
        self.update.weigh(self.weight)
        try:
            self._recorded()
        except BaseException:
            self.update.t -= 1
            raise


class SharedStep:
    """A training step whose rows are shared out among the workers of a team; `TrainingStep` to whoever uses it.

    rows: of the whole batch, a multiple of the workers. Each worker goes forward and backward with its rows, into
    gradients of its own, and then updates its stretch of all parameters. The losses, and all that batch normalization
    sums, are those of the whole batch.

    >>> import numpy as np, gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(1,), device="cpu")
    >>> update = Update(net, bp.SGD(learning_rate=0.5), net.backend)
    >>> step = SharedStep(net, bp.HalfMeanSquaredError(), (), 2, TargetShape((1,), "float32"), update, Team(2))
    >>> step.load(np.array([[1.0], [1.0]]), np.array([[2.0], [4.0]]))
    >>> step.run()                       # dL/dW = ((0 - 2) · 1 + (0 - 4) · 1) / 2
    >>> net.parameters["W"].item()
    1.5
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        metrics: tuple[Metric, ...],
        rows: int,
        target: TargetShape,
        update: Update,
        team: Team,
        seed: int = 0,
    ) -> None:
        self.network, self.metrics, self.rows, self.update, self.team = network, metrics, rows, update, team
        self.batch = Batch(update.be, rows, network.input_shape, target, network.dtype)
        backends = [update.be, *(update.be.another() for _ in range(1, team.workers))]
        gradients = [update.gradients, *(update.gradients.like(be) for be in backends[1:])]
        self._members = [Member(team, k, be) for k, be in enumerate(backends)]
        self._passes, self._shares = [], []
        for k, (be, member) in enumerate(zip(backends, self._members, strict=True)):
            part = self.batch.part(k, team.workers)
            own = Pass(
                network, loss, metrics, rows // team.workers, target, be,
                gradients=gradients[k], training=True, seed=seed, part=part, member=member,
            )  # fmt: skip
            own.context.step = update.step
            own.guarded = update.guarded
            self._passes.append(own)
            self._shares.append(Share(update, be, member, gradients[1:]))
        self.workers = team.workers
        self._recorded = [Recorded(p.be, partial(self._compute, k)) for k, p in enumerate(self._passes)]

    @property
    def record(self) -> Callable[[], None] | None:
        """What the first worker replays; None before it was captured."""
        return self._recorded[0].record

    @property
    def passes(self) -> list[Pass]:
        """The workers' passes."""
        return list(self._passes)

    @property
    def records(self) -> list[Any]:
        """What the workers replay; None before it was captured."""
        return [recorded.record for recorded in self._recorded]

    def together(self, work: Callable[[int], None]) -> None:
        """work(k) for every worker k at once, each with one thread of BLAS."""
        with one_blas_thread():
            self.team.run(work)

    def load(self, X: Array, T: Array, rows: Any = None, weights: Any = None) -> None:
        """Put the batch in place: see `Batch`."""
        self.batch.load(X, T, rows, weights)

    def start(self) -> None:
        """Begin new totals."""
        for own in self._passes:
            own.start()
        self.batch.total_weight = 0.0

    def run(self) -> None:
        """One step on the batch in place."""
        self.update.advance()
        self.update.weigh(self.batch.weight)
        try:
            self.together(self._work)
        except BaseException:
            self.update.t -= 1
            raise

    def _work(self, k: int) -> None:
        with self._passes[k].be.active():
            self._recorded[k]()

    def _compute(self, k: int) -> None:
        own, share, member = self._passes[k], self._shares[k], self._members[k]
        member.begin()
        own.forward(share.penalize())
        own.backward()
        member.meet()  # before anyone reads the others' gradients
        share.run(own._sums[0], own.totals, own.sums)

    def progress(self) -> Progress:
        """What `means` is made of, with a row for every worker."""
        return _progress(self._passes, self.batch)

    def go_on(self, progress: Progress) -> None:
        """Go on in the middle of an epoch from there."""
        _go_on(self._passes, self.batch, progress)

    @property
    def guard(self) -> Guard | None:
        """The first worker's; the others' say the same."""
        return self._shares[0].guard

    def begin_guard(self) -> None:
        """Let every worker's guard count anew."""
        for share in self._shares:
            if share.guard is not None:
                share.guard.begin()

    def means(self) -> dict[str, float]:
        """The weighted means of loss and metrics since `start`."""
        totals = sum(own.be.to_host(own.totals) for own in self._passes)
        return named_means(np.asarray(totals), self.batch.total_weight, self.metrics)

    def last_loss(self) -> float:
        """The loss of the last batch."""
        total = sum(float(own.be.to_host(own.sums)[0]) for own in self._passes)
        return total / self.batch.weight if self.batch.weight else float("nan")
