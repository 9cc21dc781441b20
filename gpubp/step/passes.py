"""Pass: the forward and backward pass of a step, with the sums of loss and metrics over an epoch.

Loss and metrics are added up on the device in `Pass.totals`, an entry for each:

    Σ w ℓ, and Σ w m of every metric that is a mean of rows
    Σ w n of each of them, where the rows of the loss have counts n (`Loss.counts`, `Metric.counts`)
    the places that batches take, where a metric keeps rows of the whole epoch (`EpochMetric`); see kept_rows.py
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backends import Array
from ..backends.order import add_in_place, exact_sum
from ..backends.process import OfOneProcess
from ..errors import ShapeError
from ..flat import FlatArray
from ..formula import equal, exp
from ..layers import Context, Workspace
from ..layers.binding import plan_by
from ..layers.words import first_found, word_counts
from ..losses import answers_in, outputs_are
from ..losses.positions import Positions, PositionWeights, check_by_position
from ..metrics import EpochMetric, Metric
from .batch import Batch
from .epoch_sums import StepJob, epoch_results, last_loss
from .kept_rows import BEGINS, KeptRows
from .time_steps import TimeSteps, check_judges
from .workers import Member, Team


class Pass(OfOneProcess):
    """The forward and backward pass of a batch, or of one worker's part of it.

    batch: the rows. gradients: where backward puts them, None for evaluation. training: whether layers such as Dropout
    act as in training. member: the worker whose part of the rows it takes; without one, it takes all. common: a pass of
    the same job on batches of another number of time steps, whose totals and kept rows are this one's too.

    x, t: its rows and their targets. z: the network's outputs. sums: Σ w ℓ and Σ w m of every metric in the last batch,
    and more where it is needed, see above. totals: the same since `reset_totals`, in float64 on the device. guarded: if
    true, not forward but the update adds sums to totals, and only if the step is finite. kept: rows that metrics keep,
    None without such metrics. loss_context: what the loss sees of the step, with c = w / Σ w n as its share.
    word_counts: of Embeddings whose numbers are computed. ordered: whether `whole` and `totals` are those of all parts.

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
        common: Pass | None = None,
    ) -> None:
        member = member or Member(Team(1), 0, batch.be)
        self.job, self.batch, self.be = job, batch, member.be
        network, loss, metrics = job.network, job.loss, job.metrics
        self._member = member
        part = batch.part(member.number, member.team.size)
        self.x, self.t, rows = part.x, part.t, len(part.weights)
        self._lengths: Array = part.lengths
        self._weights: Array = part.of_positions
        judged = part.lengths is not None and network.layers.over_time != "ends"
        self._kept_steps = int(network.input_shape[0]) if judged else None  # T, where metrics keep each time step
        if judged:
            check_judges(loss, metrics)
        self._weighed: PositionWeights | None = None
        if part.of_positions is not None:
            check_by_position(loss, *(metric for metric in metrics if not self._takes_steps(metric)))
            self._weighed = PositionWeights(self.be, part.of_positions.shape, network.dtype)
        self.has_counts = loss.has_counts or self._weighed is not None
        self._steps: TimeSteps | None = None
        if part.lengths is not None:
            shape = (rows, int(network.input_shape[0]))
            self._steps = TimeSteps(self.be, shape, network.dtype, judged, self.has_counts)
        mask = None if self._steps is None else self._steps.mask
        self.context = Context(self.be, rows, network.dtype, job.seed, part=part, member=member, mask=mask)
        self.context.reuses = True
        self.ws = network.workspace(rows, training=training, gradients=gradients, context=self.context)
        self.word_counts = word_counts(self.ws)
        z = (rows, *network.output_shape)
        self.loss_context = self.context
        self._ones: Array = None
        self._places: dict[int, Array] = {}  # for numbers of metrics that are bool
        self._batch_count: Array = None  # Σ w n of a batch of several pieces
        pieces = batch.pieces if self.has_counts and batch.pieces > 1 else 0
        self._piece_counts = self.be.zeros((pieces,), network.dtype)  # Σ w n of this worker's part of each
        self._summed_counts = self.be.zeros((pieces,), network.dtype)  # and of all parts
        if self.has_counts or self._positions is not None:
            self.loss_context = copy.copy(self.context)
            self.loss_context.share = self.be.zeros((rows,), network.dtype)
        if self.has_counts:
            self._ones = self.be.to_device(np.ones(rows), network.dtype)
        self._loss_ws = self._workspace(loss, self.loss_context, z, self.t.shape)
        self._answers = answers_in(loss, z[-1])
        seen = (*z[:-1], self._answers)
        of_logarithms = bool(metrics) and outputs_are(loss) == "logarithms"  # metrics judge the numbers themselves
        self._exponentials: Array = self.be.zeros(z, network.dtype) if of_logarithms else None
        self._metric_ws = [self._workspace(m, self.context, seen, self.t.shape, loss.predicts) for m in metrics]
        for ws in self._metric_ws:
            ws.leaves_out = loss.has_counts
            ws.outputs_are = outputs_are(loss)
        self._means = job.means
        keeps = self._means <= len(metrics)
        entries = self._means * (2 if self.has_counts else 1) + keeps
        self.sums = self.be.zeros((entries,), network.dtype)
        self.ordered = member.team.ordered
        self.whole = self.be.zeros((entries,), network.dtype) if self.ordered else self.sums
        self.totals: Array = self.be.zeros((entries,), np.float64) if common is None else common.totals
        self._sums, self._totals = (
            [a[i : i + 1].reshape(()) for i in range(entries)] for a in (self.sums, self.totals)
        )
        self.kept = KeptRows(self.be, rows, self._totals[-1]) if keeps else None
        if common is not None:
            self.kept = common.kept
        self._begins: Array = None
        if keeps and self._kept_steps is not None:
            first = np.arange(self._kept_steps) == 0
            self._begins = self.be.to_device(np.broadcast_to(first, (rows, len(first))).copy(), np.bool_)
        self._room = 0
        self.reserve(1, self._kept_steps)
        self.z: Array = None
        self.guarded = False
        self._on_host: np.ndarray[Any, Any] | None = None  # sums of `sums_of_counted_rows`

    def _takes_steps(self, metric: Metric) -> bool:
        """Whether the positions are time steps, and the metric takes each as a row, whose weight is then a row's."""
        steps = self._kept_steps is not None and len(self.job.network.output_shape) == 2
        return steps and isinstance(metric, EpochMetric)

    def _workspace(self, of: Any, context: Context, *shapes: Any) -> Workspace:
        try:
            plan = plan_by(of, *shapes)
        except ShapeError as problem:
            raise problem.of(repr(of)) from None
        ws = Workspace(plan, of, context, of.__class__.__name__, self.ws.training, True, True)
        if self._positions is not None:
            ws.mask, ws.judged = context.mask, self._positions
        return ws

    @property
    def _positions(self) -> Positions | None:
        if self._weighed is not None:
            return self._weighed.positions
        return None if self._steps is None else self._steps.positions

    @property
    def loss_workspaces(self) -> list[Workspace]:
        """The workspaces of loss and metrics."""
        return [self._loss_ws, *self._metric_ws]

    def begin(self) -> None:
        """Begin a training step: rows that metrics kept of a step which was not finite are written over."""
        if self.kept is not None and self.guarded:
            self.kept.go_back()

    def take(self, piece: int) -> None:
        """Go on with a piece of the batch, on the same arrays."""
        part = self.batch.part(self._member.number, self._member.team.size, piece)
        self.x, self.t, self._lengths, self._weights = part.x, part.t, part.lengths, part.of_positions
        self.context.take(part)
        if self.loss_context is not self.context:
            share = self.loss_context.share
            self.loss_context.take(part)
            self.loss_context.share = share

    def forward(self, penalty: Array | None = None) -> None:
        """z, ℓ and the metrics; `penalty`, if given, is added to every ℓ, so that their mean contains it once."""
        self._mark_steps()
        self.z = self.ws.run_forward(self.x)
        counts = self._count() if self.has_counts else None
        losses = self._loss_ws.run_method("forward", self.context.weights.shape, self.z, self.t)
        if penalty is not None and counts is not None:
            self.be.apply(_with_penalty, losses, counts, penalty, out=losses)
        elif penalty is not None:
            self.be.xp.add(losses, penalty, out=losses)
        self._add(0, losses)
        self._add_metrics()

    def sum_parts(self) -> bool:
        """Put the sums of all parts into `whole`, where they are ordered. Whether the parts have met for it, after all
        that each has computed before."""
        if self.whole is self.sums:
            return False
        entries = len(self.sums) - (self.kept is not None)
        self.be.xp.copyto(self.whole[:entries], self._member.sum(self.sums[:entries]))
        self.be.xp.copyto(self.whole[entries:], self.sums[entries:])  # as many places in each part
        return True

    def _mark_steps(self) -> None:
        """The mask of rows that have lengths, and the weights of positions that have some."""
        if self._weighed is not None:
            self._weighed.mark(self._weights)
        if self._steps is None:
            return
        self._steps.mark(self._lengths)
        if self._positions is not None and self._positions.share is not None:
            self.be.xp.multiply(self.context.share, self._positions.share, out=self.loss_context.share)

    def _add(self, entry: int, values: Array) -> None:
        """Σ w v into an entry of the sums, and to that of the totals."""
        if self._on_host is not None:
            w, v = (self.be.to_host(a).astype(np.float64) for a in (self.context.weights, values))
            counted, exact = w > 0, self.be.numerics == "exact"
            self._on_host[entry] += exact_sum((w * v)[counted]) if exact else np.dot(w[counted], v[counted])
            return
        total = None if self.guarded else self._totals[entry]
        self.be.dot(self.context.weights, values, out=self._sums[entry], total=total)

    @contextmanager
    def sums_of_counted_rows(self, found: np.ndarray[Any, Any] | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """Inside, `forward` adds up on the host, without rows of weight 0; the totals are put in place at the end. For
        infinite losses, because 0 · ∞ is NaN, and padding repeats a row. Never recorded. found: the sums so far, of
        passes with which this one has its totals in common."""
        self._on_host = found = np.zeros(len(self._sums) - (self.kept is not None)) if found is None else found
        try:
            yield found
        finally:
            self._on_host = None
        self.be.put(self.totals[: len(found)], found)

    def count_batch(self) -> None:
        """Σ w n over a batch of several pieces, where the loss has counts: c needs it before the first piece."""
        counts = self._piece_counts
        if not counts.size:
            return
        for piece in range(counts.size):
            self.take(piece)
            self._mark_steps()
            self.be.dot(self.context.weights, self._counts_of_rows(), out=counts[piece : piece + 1].reshape(()))
        if self.ordered:
            self.be.xp.copyto(self._summed_counts, self._member.sum(counts))  # a copy, since all parts have one sum
            counts = self._summed_counts
        singles = [counts[piece : piece + 1] for piece in range(counts.size)]
        total = add_in_place(self.be.xp.add, singles, as_tree=self.be.numerics == "exact").reshape(())
        self._batch_count = total if self.ordered else self._member.sum(total)

    def _counts_of_rows(self) -> Array:
        """n (B,)"""
        return self._counted(0, self._loss_ws.run_counts(self.t) if self.job.loss.has_counts else None)

    def _counted(self, place: int, counts: Array | None) -> Array:
        if counts is None and self._weighed is not None:
            return self._weighed.counts
        if counts is None:
            return self._ones if self._positions is None else self._lengths
        return self._numbers(place, counts)

    def _numbers(self, place: int, made: Array) -> Array:
        """What loss or metric made, in the network's type: it may be bool. place: each has its own."""
        if made.dtype == self.context.dtype:
            return made
        if place not in self._places:
            self._places[place] = self.be.zeros(made.shape, self.context.dtype)
        self.be.xp.copyto(self._places[place], made)
        return self._places[place]

    def _count(self) -> Array:
        """The counts n of the rows, Σ w n, and c = w / Σ w n, with Σ over the whole batch."""
        counts = self._counts_of_rows()
        self._add(self._means, counts)
        total = self._batch_count if self._batch_count is not None else self._member.sum(self._sums[self._means])
        self.be.apply(_share, self.context.weights, total, out=self.loss_context.share)
        return counts

    def _add_metrics(self) -> None:
        """Σ w m of every metric that is a mean of rows, and the rows that the others keep."""
        predicts, entry = self.job.loss.predicts if self.job.metrics else "", 1
        z = self.z if self._answers == self.z.shape[-1] else self.z[..., : self._answers]
        if self._exponentials is not None:
            z = self.be.apply(exp, self.z, out=self._exponentials)
        for number, (metric, ws) in enumerate(zip(self.job.metrics, self._metric_ws, strict=True)):
            if isinstance(metric, EpochMetric):
                assert self.kept is not None
                made = ws.run_method("rows", None, z, self.t, predicts)
                self.kept.keep(number, metric, made, self._kept_steps)
                continue
            shape, also = self.context.weights.shape, (np.dtype(bool),)
            made = ws.run_method("rows", shape, z, self.t, predicts, also=also)
            self._add(entry, self._numbers(2 * entry, made))
            if self.has_counts:
                counts = self._counted(2 * entry + 1, ws.run_counts(z, self.t, predicts))
                self._add(self._means + entry, counts)
            entry += 1
        if self.kept is not None:
            self._keep_weights(self.kept, self._kept_steps)

    def _keep_weights(self, kept: KeptRows, steps: int | None) -> None:
        """Keep the weights of the rows, or of each of their time steps, and go on to the place of the next batch."""
        weights = self.context.weights
        if self._weighed is not None:
            weights = self._weighed.positions.weights
        elif self._steps is not None and steps is not None:
            weights = self._steps.weigh(weights)
        kept.write("weights", weights, steps)
        if steps is not None:
            kept.write(BEGINS, self._begins, steps)
        places = steps or 1
        kept.go_on(places)
        self.be.xp.copyto(self._sums[-1], self.be.constant(float(places), self.context.dtype))
        if not self.guarded:
            self.be.xp.add(self._totals[-1], self._sums[-1], out=self._totals[-1])

    def backward(self) -> None:
        """Every gradient, after `forward`."""
        dz = self._loss_ws.run_method("backward", self.z.shape, self.z, self.t)
        if self._weighed is not None:
            dz = self._weighed.weigh(dz)
        elif self._steps is not None:
            dz = self._steps.leave_out(dz)
        self.ws.run_backward(dz)

    def reset_totals(self) -> None:
        """Set the sums of the epoch to 0."""
        self.be.put(self.totals, 0.0)
        if self.kept is not None:
            self.kept.restore({}, 0)
        self.batch.total_weight = 0.0

    @property
    def places(self) -> int:
        """How many places the rows that metrics keep of a batch take, see `KeptRows`."""
        return (self._kept_steps or 1) * self.batch.pieces

    def reserve(self, batches: int, time_steps: int | None = None) -> bool:
        """Make room for the rows that metrics keep of so many batches; whether the pass must be recorded anew.
        time_steps: of all these batches together, where rows have lengths."""
        if self.kept is None:
            return False
        places = batches if self._kept_steps is None or time_steps is None else time_steps
        self.kept.reserve(places * self.batch.pieces)
        before, self._room = self._room, self.kept.made  # a pass that has its rows in common may have made room
        return before != self._room

    def means(self) -> dict[str, float]:
        """Loss and metrics of all batches since `reset_totals`; waits for the device."""
        self.check_words()
        return epoch_results([self])

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        self.check_words()
        return last_loss([self])

    def check_words(self) -> None:
        """Raise DataError if layers computed numbers that are no words of an Embedding; waits for the device. Where
        X is gone through batch by batch, `context.step` has been the number of the batch."""
        if self.word_counts and (found := first_found(self.word_counts)) is not None:
            raise found.error(found.step * self.batch.rows + found.row, " of X")


def _with_penalty(loss: Any, count: Any, penalty: Any) -> Any:
    return loss + count * penalty


def _share(weight: Any, total: Any) -> Any:
    """w / Σ w n, and finite where nothing counts"""
    return weight / (total + equal(total, 0.0))
