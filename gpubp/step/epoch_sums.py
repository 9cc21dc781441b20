"""What a step computes, and the numbers of an epoch from the sums that its passes add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..backends import Array, Backend
from ..backends.exactness import BY_DEVICE, require_exact
from ..layers.binding import plan_by
from ..layers.bound import BoundLayers
from ..layers.plan import bytes_of
from ..losses import Loss, answers_in
from ..metrics import EpochMetric, Metric
from ..processes import Processes
from .batch import Batch, TargetShape
from .kept_rows import KeptRows, result

OF_EPOCHS = "computes its result by + - * /, square roots, comparisons, and exact_sum of gpubp.backends.order for sums"


@dataclass(frozen=True)
class StepJob:
    """What a step computes: network, loss, metrics, and the seed of random layers such as Dropout.

    >>> import gpubp as bp
    >>> StepJob(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError()).metrics
    ()
    """

    network: BoundLayers
    loss: Loss
    metrics: tuple[Metric, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network.backend.numerics == "exact":
            require_exact(self.loss)
            for metric in self.metrics:
                require_exact(metric, "", OF_EPOCHS if isinstance(metric, EpochMetric) else BY_DEVICE)

    @property
    def means(self) -> int:
        """How many numbers of an epoch are means of rows: the loss, and metrics other than `EpochMetric`s."""
        return 1 + sum(not isinstance(metric, EpochMetric) for metric in self.metrics)

    def bytes_of_plans(self, network: BoundLayers, rows: int, target: TargetShape) -> int:
        """Bytes of the arrays that loss and metrics plan for `rows` rows. network: the layers for their time steps."""
        z, t = (rows, *network.output_shape), (rows, *target.row)
        seen = (*z[:-1], answers_in(self.loss, z[-1]))
        plans = [plan_by(self.loss, z, t), *(plan_by(metric, seen, t, self.loss.predicts) for metric in self.metrics)]
        return sum(bytes_of(plan.all_arrays(network.backend.piece), network.dtype) for plan in plans)


class SummedPass(Protocol):
    """What is asked of a `Pass`, which has the sums of one part of the batch; where they are ordered, `totals` and
    `whole` are those of all parts."""

    job: StepJob
    batch: Batch
    be: Backend
    totals: Array
    whole: Array
    kept: KeptRows | None
    ordered: bool
    has_counts: bool


def epoch_results(passes: Sequence[SummedPass], processes: Processes | None = None) -> dict[str, float]:
    """Loss and metrics of all batches since `reset_totals`, from the passes of all parts; NaN where nothing counts.
    processes: that have as many parts each.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> from gpubp.step.passes import Pass
    >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
    >>> epoch_results([Pass(StepJob(net, bp.MeanSquaredError()), Batch(net, 4, TargetShape((1,), "float32")))])
    {'loss': nan}
    """
    totals = [one.be.to_host(one.totals) for one in _summed(passes)]
    kept = kept_by_all(passes, processes)
    return results_of(
        passes[0].job, sum(totals[1:], totals[0]), passes[0].batch.total_weight, kept, passes[0].has_counts
    )


def results_of(
    job: StepJob,
    total: np.ndarray[Any, Any],
    weight: float,
    kept: Sequence[Mapping[str, np.ndarray[Any, Any]]],
    has_counts: bool,
) -> dict[str, float]:
    """Loss and metrics from their sums, (entries,), as `Pass.totals` has them; NaN where nothing counts.

    weight: Σ w of all batches. kept: what metrics have kept of each row, of each part of the batches. has_counts: as of
    the passes.

    >>> import gpubp as bp
    >>> job = StepJob(bp.Network(bp.Dense(1), input_shape=2, device="cpu"), bp.MeanSquaredError())
    >>> results_of(job, np.array([6.0]), 4.0, [], False)
    {'loss': 1.5}
    """
    n, exact = job.means, job.network.backend.numerics == "exact"
    if has_counts:
        counted = total[n : 2 * n]
        means = np.divide(total[:n], counted, out=np.full(n, np.nan), where=counted != 0)
    else:
        means = total[:n] / weight if weight else np.full(n, np.nan)
    loss, *others = means.tolist()
    found = {"loss": loss}
    for number, metric in enumerate(job.metrics):
        value = result(metric, number, kept, exact) if isinstance(metric, EpochMetric) else others.pop(0)
        found[metric.name] = value
    return found


def kept_by_all(passes: Sequence[SummedPass], processes: Processes | None) -> list[dict[str, np.ndarray[Any, Any]]]:
    """What metrics have kept of each row, (places, rows, ...) by name, of each part, or of each process.

    >>> kept_by_all([], None)
    []
    """
    kept = [one.kept.read() for one in passes if one.kept is not None]
    if processes is None or not kept:
        return kept
    found: list[dict[str, np.ndarray[Any, Any]]] = [{} for _ in range(processes.size)]
    for name in kept[0]:
        mine = np.ascontiguousarray(np.concatenate([of_part[name] for of_part in kept], axis=1))
        everything = np.empty((processes.size, *mine.shape), mine.dtype)
        processes.gather(mine, everything)
        for k, theirs in enumerate(everything):
            found[k][name] = theirs
    return found


def last_loss(passes: Sequence[SummedPass]) -> float:
    """The loss of the last batch, from the passes of all workers; NaN where nothing counts.

    >>> import gpubp as bp
    >>> from gpubp.step.batch import TargetShape
    >>> from gpubp.step.passes import Pass
    >>> net = bp.Network(bp.Dense(1), input_shape=2, device="cpu")
    >>> last_loss([Pass(StepJob(net, bp.MeanSquaredError()), Batch(net, 4, TargetShape((1,), "float32")))])
    0.0
    """
    sums = [one.be.to_host(one.whole) for one in _summed(passes)]
    losses, weight = [float(a[0]) for a in sums], passes[0].batch.weight
    if passes[0].has_counts:
        weight = sum(float(a[passes[0].job.means]) for a in sums)
    return sum(losses[1:], losses[0]) / weight if weight else float("nan")


def _summed(passes: Sequence[SummedPass]) -> Sequence[SummedPass]:
    """The passes whose sums together are those of the batch."""
    return passes[:1] if passes[0].ordered else passes


class Progress(NamedTuple):
    """The sums of an epoch so far: totals and sums of each worker, (workers, entries), and weights. Where sums are
    ordered, those of all parts are as if there were one worker.

    kept: the rows that metrics have kept, (workers, places, rows, ...) by name, see `KeptRows`.

    >>> Progress(np.zeros((1, 2)), np.zeros((1, 2)), 8.0, 24.0).workers
    1
    """

    totals: np.ndarray[Any, Any]
    sums: np.ndarray[Any, Any]
    weight: float
    total_weight: float
    kept: Mapping[str, np.ndarray[Any, Any]] = {}

    @property
    def workers(self) -> int:
        """How many workers have shared the step."""
        return len(self.totals)
