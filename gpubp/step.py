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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .backends import Array, Backend, Recorded, Shape
from .flat import FlatArray
from .layers import Context, Workspace
from .losses import Loss
from .metrics import Metric
from .update import Update

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Pass", "Probe", "TargetShape", "TrainingStep"]


class TargetShape(NamedTuple):
    """Shape of one row's target, and its type.

    >>> import numpy as np
    >>> TargetShape.of(np.zeros((5, 3), "float32"))
    TargetShape(row=(3,), dtype='float32')
    """

    row: Shape
    dtype: str

    @classmethod
    def of(cls, t: Array) -> TargetShape:
        """That of the array of all targets."""
        return cls(tuple(t.shape[1:]), str(t.dtype))


class Pass:
    """Forward through network, loss and metrics for one batch shape.

    rows: of a batch. target: what a row's target looks like. gradients: where backward puts them, None for evaluation.
    x, t: the batch. totals: Σ w ℓ and Σ w m of every metric since `start`, in float64 on the device.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
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
    ) -> None:
        self.network, self.loss, self.metrics, self.rows, self.be = network, loss, metrics, rows, backend
        dtype = network.dtype
        self.context = Context(backend, rows, dtype, seed)
        self.x = backend.zeros((rows, *network.input_shape), dtype)
        self.t = backend.zeros((rows, *target.row), target.dtype)
        self.ws = network.workspace(rows, training=training, gradients=gradients, context=self.context)
        z = (rows, *network.output_shape)
        self._loss_ws = self._workspace(loss.plan(z, self.t.shape), loss)
        self._metric_ws = [self._workspace(m.plan(z, self.t.shape, loss.predicts), m) for m in metrics]
        self.sums = backend.zeros((1 + len(metrics),), dtype)
        self.totals = backend.zeros((1 + len(metrics),), np.float64)
        self._sums, self._totals = (
            [a[i : i + 1].reshape(()) for i in range(1 + len(metrics))] for a in (self.sums, self.totals)
        )
        self.weight = float(rows)  # Σ w of the batch, and of all batches since `start`
        self.total_weight = 0.0
        self._even = True
        self.z: Array = None
        self._source: tuple[Array, Array] | None = None
        self._at: Array = None

    def read_from(self, X: Array, T: Array) -> None:
        """From now on the pass itself takes its rows from these arrays, which stay where they are on the device; `load`
        says which rows."""
        self._source, self._at = (X, T), self.be.zeros((self.rows,), np.int64)

    def _workspace(self, plan: Any, of: Any) -> Workspace:
        return Workspace(plan, of, self.context, of.__class__.__name__, self.ws.training, True, True)

    def load(self, X: Array, T: Array, rows: Any = None, weights: Any = None) -> None:
        """Put the batch (X[rows], T[rows]), with the rows' weights, in place; short batches are padded.

        rows: indices, or None for the first `self.rows` of X as they are. weights: (len(rows),) or None for ones.
        """
        count = self.rows if rows is None else len(rows)
        if count == self.rows and weights is None:
            if not self._even:
                self.be.put(self.context.weights, 1.0)
                self.be.put(self.context.share, 1.0 / count)
                self.weight, self._even = float(count), True
        else:
            w = np.zeros(self.rows)
            w[:count] = 1.0 if weights is None else weights
            self.weight, self._even = float(w.sum()), False
            self.be.put(self.context.weights, w)
            self.be.put(self.context.share, w / self.weight if self.weight else w)
        if count < self.rows:  # padding repeats a real row, so that its numbers are as harmless as the row's
            rows = np.concatenate([rows, np.full(self.rows - count, rows[0])])
        if self._source is None:
            self.be.stage(self.x, X, rows)
            self.be.stage(self.t, T, rows)
        else:
            self.be.put(self._at, rows)
        self.total_weight += self.weight

    def start(self) -> None:
        """Begin new totals."""
        self.be.put(self.totals, 0.0)
        self.total_weight = 0.0

    def forward(self, penalty: Array | None = None) -> None:
        """z, ℓ and the metrics; `penalty`, if given, is added to every ℓ."""
        weights = self.context.weights
        if self._source is not None:
            self.be.gather(self._source[0], self._at, out=self.x)
            self.be.gather(self._source[1], self._at, out=self.t)
        self.z = self.network.layers.forward(self.ws, self.x)
        rows = self.loss.forward(self._loss_ws, self.z, self.t)
        if penalty is not None:
            self.be.xp.add(rows, penalty, out=rows)
        self.be.dot(weights, rows, out=self._sums[0], total=self._totals[0])
        places = zip(self.metrics, self._metric_ws, self._sums[1:], self._totals[1:], strict=True)
        for metric, ws, out, total in places:
            self.be.dot(weights, metric.rows(ws, self.z, self.t, self.loss.predicts), out=out, total=total)

    def backward(self) -> None:
        """Every gradient, after `forward`."""
        self.network.layers.backward(self.ws, self.loss.backward(self._loss_ws, self.z, self.t))

    def means(self) -> dict[str, float]:
        """The weighted means of loss and metrics since `start`; waits for the device."""
        names = ("loss", *(m.name for m in self.metrics))
        means = self.be.to_host(self.totals) / self.total_weight if self.total_weight else np.full(len(names), np.nan)
        return dict(zip(names, means.tolist(), strict=True))

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        return float(self.be.to_host(self.sums)[0]) / self.weight if self.weight else float("nan")


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

    probes: what looks into it.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(1,), device="cpu")
    >>> update = Update(net, bp.SGD(learning_rate=0.5), net.backend)
    >>> step = TrainingStep(net, bp.HalfMeanSquaredError(), (), 1, TargetShape((1,), "float32"), update)
    >>> step.load(np.array([[1.0]]), np.array([[2.0]]))
    >>> step.run()                       # dL/dW = (0 - 2) · 1, W = 0 + 0.5 · 2
    >>> net.parameters["W"].item()
    1.0
    """

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
        self.update = update
        self.context.step = update.step
        self.probes = tuple(probes)
        self._recorded = Recorded(self.be, self.compute)

    @property
    def record(self) -> Callable[[], None] | None:
        """What is replayed; None before it was captured. On the CPU it can be printed and read."""
        return self._recorded.record

    def compute(self) -> None:
        """Forward, backward and update, call by call, with the probes' looks in between."""
        for probe in self.probes:
            probe.before_step(self)
        self.forward(self.update.penalize())
        self.backward()
        for probe in self.probes:
            probe.after_backward(self)
        self.update.run()
        for probe in self.probes:
            probe.after_update(self)

    def run(self) -> None:
        """One step on the batch in place: eagerly at first, then recorded, then by the record."""
        self.update.advance()
        try:
            self._recorded()
        except BaseException:
            self.update.t -= 1
            raise
