"""The step: forward, loss, backward, update; run, then recorded, then replayed.

    forward    z = network(x);  ℓ = loss(z, t)            Pass
    backward   dz = ∂L/∂z;  g = ∂L/∂θ                     TrainingStep
    update     penalties, clipping, the optimizer's rule  Update

Everything a step touches lies at a fixed address: the batch is copied into `x` and `t`, padded with rows of weight 0
where it is short, and what changes from step to step (learning rate, bias corrections, step number) is put into small
arrays before it runs. So after its first runs the step is a record (see `backends/`), which `run` replays.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .backends import Array, Backend, Shape
from .flat import FlatArray
from .formula import absolute, maximum, minimum, sign, sqrt
from .layers import Context, Workspace
from .losses import Loss
from .metrics import Metric
from .optimizers import Optimizer

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Pass", "Penalty", "TargetShape", "TrainingStep", "Update"]


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
        self._sums = [self.sums[i : i + 1].reshape(()) for i in range(1 + len(metrics))]
        self.weight = float(rows)  # Σ w of the batch, and of all batches since `start`
        self.total_weight = 0.0
        self._even = True
        self.z: Array = None

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
        self.be.stage(self.x, X, rows)
        self.be.stage(self.t, T, rows)
        self.total_weight += self.weight

    def start(self) -> None:
        """Begin new totals."""
        self.be.put(self.totals, 0.0)
        self.total_weight = 0.0

    def forward(self, penalty: Array | None = None) -> None:
        """z, ℓ and the metrics; `penalty`, if given, is added to every ℓ."""
        xp, weights = self.be.xp, self.context.weights
        self.z = self.network.layers.forward(self.ws, self.x)
        rows = self.loss.forward(self._loss_ws, self.z, self.t)
        if penalty is not None:
            xp.add(rows, penalty, out=rows)
        self.be.dot(weights, rows, out=self._sums[0])
        for metric, ws, out in zip(self.metrics, self._metric_ws, self._sums[1:], strict=True):
            self.be.dot(weights, metric.rows(ws, self.z, self.t, self.loss.predicts), out=out)
        xp.add(self.totals, self.sums, out=self.totals)

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


@dataclass(frozen=True)
class Penalty:
    """P = l1 Σ|θ| + ½ l2 Σθ², added to the loss, so that ∂P/∂θ = l1 sign θ + l2 θ. Biases and normalization stay out.

    >>> Penalty(l1=0.0, l2=0.5).gradient(2.0, 1.0)
    2.0
    """

    l1: float = 0.0
    l2: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def gradient(self, theta: Any, g: Any) -> Any:
        """g + ∂P/∂θ"""
        if self.l2:
            g = g + self.l2 * theta
        return g + self.l1 * sign(theta) if self.l1 else g

    def value(self, theta: Any) -> Any:
        """What one θ adds to P"""
        if not self.l1:
            return (0.5 * self.l2) * (theta * theta)
        return self.l1 * absolute(theta) + (0.5 * self.l2) * (theta * theta) if self.l2 else self.l1 * absolute(theta)


@dataclass(frozen=True)
class _Clip:
    norm: float | None = None
    value: float | None = None

    def scale(self, squares: Any) -> Any:
        return minimum(self.norm / sqrt(squares), 1.0)

    def cut(self, g: Any) -> Any:
        return maximum(minimum(g, self.value), -self.value)  # type: ignore[operator]


class Update:
    """The optimizer on a network: its gradients, its moments, its numbers.

    t: steps done. factor: multiplies the learning rate from the next step on. trainable: names of the parameters it
    trains. gradients, and each of moments: arrays by parameter name. learning_rate_factors: name pattern -> factor.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> list(Update(net, bp.Adam(), net.backend).moments)
    ['m', 'v']
    """

    AHEAD = 256  # steps whose numbers are computed at once

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        backend: Backend,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        penalty: Penalty | None = None,
        learning_rate_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.optimizer, self.be, self.dtype = optimizer, backend, network.dtype
        self.penalty = penalty or Penalty()
        self.clip = _Clip(clip_norm, clip_value)
        self.t = 0
        self._factor = 1.0
        self.trainable = network.trainable
        shapes = {n: network.parameters[n].shape for n in self.trainable}
        self.gradients = FlatArray(backend, shapes, self.dtype)
        self.moments = {name: FlatArray(backend, shapes, self.dtype) for name in optimizer.moments}
        factors = _factors(learning_rate_factors or {}, network.declared)
        self._groups = [
            _Group(network, self, factors, factor) for factor in sorted({factors[n] for n in self.trainable})
        ]
        self._names = ["keep", *optimizer.numbers(np.ones(1), np.ones(1))]
        self._h = backend.zeros((len(self._groups), len(self._names)), self.dtype)
        self._table: np.ndarray[Any, Any] = np.zeros(0)
        self._table_start = self._table_end = 0
        self._one = {n: backend.zeros((), self.dtype) for n in ("part", "penalty", "squares", "scale")}
        longest = max((len(theta) for group in self._groups for theta, _ in group.decayed), default=0)
        self._values = backend.zeros((longest if self.penalty else 0,), self.dtype)

    @property
    def factor(self) -> float:
        """What the optimizer's learning rate is multiplied by."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        self._factor, self._table_end = value, 0

    def advance(self) -> None:
        """On to the next step: put its numbers in place."""
        self.t += 1
        if not self._table_start <= self.t < self._table_end:
            self._look_ahead()
        self.be.put(self._h, self._table[self.t - self._table_start])

    def _look_ahead(self) -> None:
        self._table_start, self._table_end = self.t, self.t + self.AHEAD
        t = np.arange(self._table_start, self._table_end)
        rate = self._factor * np.array([self.optimizer.rate(int(k)) for k in t], np.float64)
        of_groups = []
        for group in self._groups:
            eta = rate * group.factor
            numbers = {"keep": 1.0 - eta * self.optimizer.weight_decay}
            numbers |= self.optimizer.numbers(t.astype(np.float64), eta)
            of_groups.append(np.stack([numbers[name] for name in self._names], axis=1))
        self._table = (
            np.stack(of_groups, axis=1).astype(self.dtype) if of_groups else np.zeros((self.AHEAD, *self._h.shape))
        )

    def penalize(self) -> Array | None:
        """P of the parameters as they are, or None where there is none."""
        if not self.penalty:
            return None
        be, total, part = self.be, self._one["penalty"], self._one["part"]
        be.xp.copyto(total, be.constant(0.0, self.dtype))
        for group in self._groups:
            for theta, _ in group.decayed:
                values = be.apply(self.penalty.value, theta, out=self._values[: len(theta)])
                be.xp.sum(values, out=part)
                be.xp.add(total, part, out=total)
        return total

    def run(self) -> None:
        """Penalties, clipping, decay and rule, on gradients just computed."""
        be, g = self.be, self.gradients.flat
        if self.penalty:
            for group in self._groups:
                for theta, dtheta in group.decayed:
                    be.apply(self.penalty.gradient, theta, dtheta, out=dtheta)
        if self.clip.value is not None:
            be.apply(self.clip.cut, g, out=g)
        if self.clip.norm is not None:
            be.dot(g, g, out=self._one["squares"])
            be.apply(self.clip.scale, self._one["squares"], out=self._one["scale"])
            be.xp.multiply(g, self._one["scale"], out=g)
        for i, group in enumerate(self._groups):
            keep, *numbers = [self._h[i, k : k + 1].reshape(()) for k in range(len(self._names))]
            if self.optimizer.weight_decay:
                for theta, _ in group.decayed:
                    be.xp.multiply(theta, keep, out=theta)  # (0) of optimizers.py
            for theta, dtheta, *moments in group.trained:
                be.apply(self.optimizer.rule, theta, dtheta, *moments, *numbers, out=(theta, *moments))

    def take_over(self, other: Update) -> None:
        """Go on where `other` was: its steps, its factor, and the moments of parameters that both train."""
        self.t, self.factor = other.t, other.factor
        for name, moment in self.moments.items():
            for parameter in moment:
                if parameter in other.moments.get(name, ()):
                    moment[parameter][...] = other.moments[name][parameter]


class _Group:
    """The trained parameters that have one learning-rate factor, in slices of the flat vectors as long as can be.

    trained: (θ, g, *moments) slices of all of them. decayed: (θ, g) of those that weight decay and penalties reach.
    """

    def __init__(self, network: Network, update: Update, factors: Mapping[str, float], factor: float) -> None:
        self.factor = factor
        vectors = [update.gradients, *update.moments.values()]
        names = [name for name in update.trainable if factors[name] == factor]
        decayed = [name for name in names if network.declared[name].decay]
        self.trained = _slices(network, vectors, names)
        self.decayed = _slices(network, vectors[:1], decayed)


def _slices(network: Network, vectors: list[FlatArray], names: list[str]) -> list[tuple[Array, ...]]:
    slices = []
    for first, run in network.runs(names):
        start = vectors[0].offsets[first]  # neighbours in the network's vector are neighbours here
        length = run.stop - run.start
        slices.append((network.flat[run], *(v.flat[start : start + length] for v in vectors)))
    return slices


def _factors(patterns: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in patterns.items():
        if not factor >= 0:
            raise ValueError(f"a learning-rate factor is 0 or more, and that of {pattern!r} is {factor!r}")
        for name in matching(pattern, names):
            factors[name] = float(factor)
    return factors


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The parameters that a pattern such as "0.*" or "*.b" means; ValueError if there are none.

    >>> matching("0.*", ["0.W", "0.b", "2.W"])
    ['0.W', '0.b']
    """
    names = list(names)
    found = fnmatch.filter(names, pattern)
    if not found:
        raise ValueError(f"no parameter is called {pattern!r}; there are {', '.join(names) or 'none'}")
    return found


class TrainingStep(Pass):
    """One training step for one batch shape; `update` may be shared by steps of several shapes.

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
    ) -> None:
        super().__init__(
            network, loss, metrics, rows, target, update.be, gradients=update.gradients, training=True, seed=seed
        )
        self.update = update
        self.record: Callable[[], None] | None = None
        self._runs = 0

    def compute(self) -> None:
        """Forward, backward and update, call by call."""
        self.forward(self.update.penalize())
        self.backward()
        self.update.run()

    def run(self) -> None:
        """One step on the batch in place: eagerly at first, then recorded, then by the record."""
        self.update.advance()
        self.be.put(self.context.step, self.update.t)
        if self.record is not None:
            self.record()
        elif self._runs < self.be.warmup:
            self._runs += 1
            self.compute()
        else:
            self.record = self.be.capture(self.compute)
