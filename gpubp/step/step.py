"""The training step: forward pass, backward pass, update of the parameters.

    forward    z = network(x);  ℓ = loss(z, t)            Pass.forward
    backward   dz = ∂L/∂z;  g = ∂L/∂θ                     Pass.backward
    update     penalties, clipping, decay, the rule       Share.update, in update.py

x: inputs. t: targets. z: outputs. ℓ: the loss of each row. w: row weights. L = Σ w ℓ / Σ w: the loss of the batch, or
Σ w ℓ / Σ w n where the rows of the loss have counts n. θ: the parameters.

All arrays of a step stay at fixed addresses. Before each run the batch is copied into x and t, and learning rate, bias
corrections and step number into small arrays. A short batch is padded with a real row of weight 0. If the data lie on
a GPU, the step itself takes rows and numbers (`Upcoming` in batch.py). So the calls of the first run can be recorded
(`backends/recording.py`), and later runs repeat the record. Parameters and gradients are views of one vector each
(`flat.py`), and the update changes the parameters in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..backends import Array, Recorded
from ..backends.cpu.blas_threads import one_blas_thread
from ..backends.process import OfOneProcess
from ..layers.words import first_found
from .accumulation import Accumulation, PieceStatistics
from .batch import Batch
from .epoch_sums import Progress, StepJob, epoch_results, kept_by_all, last_loss
from .finite_guard import Guard
from .held_states import HeldStates
from .passes import Pass
from .update import Update
from .workers import Member, Team

__all__ = ["Pass", "Probe", "Progress", "StepJob", "TrainingStep"]


class TrainingStep(OfOneProcess):
    """One training step for one batch shape. Steps of other batch shapes can use the same `update`.

    workers: threads that divide the rows and the update, on a CPU; their number divides the rows of each of the batch's
    pieces, which are computed one after the other in the same arrays. team: in place of workers, the parts of the batch
    and who computes them; their number divides the rows of a piece. rows: of data in a step, where the batch has room
    for a few more, so that it has equal parts. common: a step of the same job on batches of
    another number of time steps, whose sums and guards are this one's too. probes: objects that are called during the
    step, to look at its arrays; only with one worker.

    passes, shares: each part's forward and backward pass, and its share of the update. x, t: of all rows of this
    process. z, ws (workspace), context, be (backend): those of the first part's pass; a single one has all rows of a
    piece.
    memory: bytes of its arrays, as far as is known.

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
        self,
        job: StepJob,
        batch: Batch,
        update: Update,
        workers: int = 1,
        probes: Sequence[Probe] = (),
        common: TrainingStep | None = None,
        team: Team | None = None,
        rows: int | None = None,
    ) -> None:
        exact = update.be.numerics == "exact"
        self.team = team or Team(workers, ordered=exact)
        self.job, self.batch, self.update, self.workers = job, batch, update, self.team.workers
        self.network, self.rows, self.probes = job.network, rows or batch.rows, tuple(probes)
        self.memory = 0
        self.key: Any = None  # by which whoever keeps several steps finds it
        members = [Member(self.team, k, update.backend_of(k)) for k in range(self.team.parts)]
        gradients = [update.gradients, *(update.gradients.like(member.be) for member in members[1:])]
        others: Sequence[Pass | None] = [None] * len(members) if common is None else common.passes
        self.passes: list[Pass] = [
            Pass(job, batch, gradients=g, training=True, member=m, common=other)
            for g, m, other in zip(gradients, members, others, strict=True)
        ]
        self.shares = update.shares(members, gradients)
        if common is not None:
            for share, its in zip(self.shares, common.shares, strict=True):
                share.guard = its.guard
        self._exact = exact  # each part sums its slice of all gradients after each piece of the batch
        slices = [share.gradients if exact else g.flat for share, g in zip(self.shares, gradients, strict=True)]
        self.sums = [
            Accumulation(one.be, (g, one.whole), batch.pieces) for one, g in zip(self.passes, slices, strict=True)
        ]
        self._exchange = update.exchange(self.team)
        if self._exchange is not None and batch.pieces == 1:
            sends = {str(layer): send for layer, send in self._exchange.ready.items()}
            self.passes[0].context.after_backward = sends
        self._statistics = PieceStatistics(job.network, batch)
        for pass_k in self.passes:
            for context in (pass_k.context, pass_k.loss_context):
                context.step = update.step
            pass_k.context.reuses = not probes  # a probe looks at arrays, so none may share memory
            pass_k.guarded = update.guarded or exact or self.team.ordered
        first = self.passes[0]
        self._held = HeldStates(job.network, first.ws, update.told)
        self._word_counts = [count for pass_k in self.passes for count in pass_k.word_counts]
        self.x, self.t, self.ws, self.context, self.be = batch.x, batch.t, first.ws, first.context, first.be
        me = weakref.ref(self)  # with a circle, dropped steps would keep their memory until Python looks for circles
        self._recorded = [Recorded(pass_k.be, partial(_compute, me, k)) for k, pass_k in enumerate(self.passes)]

    def compute(self, k: int = 0) -> None:
        """All calls of part k in one step; the first `run` records them."""
        pass_k, share_k, exchange = self.passes[k], self.shares[k], self._exchange
        sum_slices = None if exchange is None else exchange.sum_gradients
        share_k.member.begin()  # Member.sum finds the place of each sum by counting from 0
        pass_k.begin()
        self._call_probes("before_step")

        self.batch.gather()  # and 1/Σ w, which a penalty may go by
        penalty = share_k.penalty_value()
        pass_k.count_batch()
        if k == 0:
            self._statistics.begin()
        for piece in range(self.batch.pieces):
            if self.batch.pieces > 1:
                pass_k.take(piece)
            pass_k.forward(penalty)  # z, ℓ
            pass_k.backward()  # g = ∂L/∂θ
            met = pass_k.sum_parts()
            if self.batch.pieces > 1:
                if self._exact:
                    share_k.sum_gradients(sum_slices, met)
                    self.sums[k].add(piece)
                share_k.member.meet()  # the others have read this part's sums, which are written again from here on
                if not self._exact:
                    self.sums[k].add(piece)
                    met = False
            if k == 0:
                self._statistics.end(piece)
        self._call_probes("after_backward")
        if self.batch.pieces == 1 or not self._exact:
            share_k.sum_gradients(sum_slices, met)
        share_k.update(pass_k.whole, pass_k.totals)  # the next θ; the sums count if all numbers are finite
        if exchange is not None:
            share_k.member.meet(exchange.gather_parameters)

        self._call_probes("after_update")

    def run(self) -> None:
        """Do one step on the loaded batch. The first run records it; later runs repeat the record.

        Raises DataError if layers computed numbers that are no words of an Embedding: on a CPU now, on a GPU when the
        loss is read.
        """
        held = self._held.begin(self.batch.counted, self.rows // self.batch.pieces)
        self.update.set_batch_weight(self.batch.weight)
        if self.batch.upcoming is None:
            self.update.advance()
        else:  # all data lie on the device, and the step itself takes its rows
            self.batch.upcoming.put_numbers(self.update.next_numbers()[None])
        try:
            if self.team.parts == 1 and not self.team.one_thread:
                self._recorded[0]()
            else:
                self.run_workers(self._run_worker)
        except BaseException:
            self.update.t -= 1  # the step was not done
            raise
        if held:
            self._held.put_back(held)
            if self.guard is not None:
                self.guard.keep_states()
        if self._word_counts and self.be.name == "cpu":
            self.check_words()

    def check_words(self) -> None:
        """Raise DataError if layers computed numbers that are no words of an Embedding; waits for the device."""
        if self._word_counts and (found := first_found(self._word_counts)) is not None:
            ago = self.update.t - found.step
            then = f" of the batch of step {found.step}" + (f", {ago} step{'s' * (ago > 1)} ago" if ago else "")
            raise found.error(found.row, then, found.step)

    @property
    def is_held(self) -> bool:
        """Whether full batches are so small that some running statistics are put back after each step."""
        return self.batch.pieces == 1 and bool(self._held.names(self.rows))

    def unheld(self, w: np.ndarray[Any, Any]) -> int:
        """How many of the first of coming batches change all running statistics. w: weights of their rows, (steps,
        rows)."""
        if not self._held.most:
            return len(w)
        few = np.flatnonzero(self.batch.count(w).min(axis=1) < self._held.most)
        return int(few[0]) if len(few) else len(w)

    def _run_worker(self, k: int) -> None:
        with self.passes[k].be.active():
            self._recorded[k]()

    def run_workers(self, work: Callable[[int], None]) -> None:
        """Run work(k) for every part k of this process. With several parts or workers, BLAS uses one thread in each."""
        with one_blas_thread() if self.team.one_thread else nullcontext():
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

    def take_weights(self, wanted: bool) -> None:
        """Whether the step itself takes its rows' weights where it takes its rows; what is new is recorded anew."""
        upcoming = self.batch.upcoming
        if upcoming is not None and upcoming.take_weights(self.batch.weighing if wanted else None):
            for recorded in self._recorded:
                recorded.forget()

    def reset_totals(self) -> None:
        """Set the sums of the epoch to 0."""
        for one in self.passes:
            one.reset_totals()

    def reserve(self, batches: int, time_steps: int | None = None) -> None:
        """Make room for the rows that metrics keep of so many batches; where that is new, the step is recorded anew.
        time_steps: of all these batches together, where rows have lengths."""
        if any([one.reserve(batches, time_steps) for one in self.passes]):
            for recorded in self._recorded:
                recorded.forget()

    def means(self) -> dict[str, float]:
        """Loss and metrics of all batches since `reset_totals`; waits for the device."""
        self.check_words()
        return epoch_results(self.passes, self.team.processes)

    def last_loss(self) -> float:
        """The loss of the last batch; waits for the device."""
        self.check_words()
        return last_loss(self.passes)

    @property
    def z(self) -> Array:
        """The network's outputs for the last batch, or the last of its pieces."""
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
                share.guard.begin(self.batch.total_weight)

    def progress(self) -> Progress:
        """The sums from which `means` is computed, copied to the host; waits for the device."""
        self.check_words()
        ordered = self.team.ordered
        passes = self.passes[:1] if ordered else self.passes
        totals, sums = (np.stack([one.be.to_host(getattr(one, a)) for one in passes]) for a in ("totals", "whole"))
        kept = kept_by_all(self.passes, self.team.processes)
        stacked = {name: np.stack([of_worker[name] for of_worker in kept]) for name in (kept[0] if kept else ())}
        if ordered:  # the rows of all parts as those of one
            stacked = {name: np.concatenate(a, axis=1)[None] for name, a in stacked.items()}
        return Progress(totals, sums, self.batch.weight, self.batch.total_weight, stacked)

    def restore_progress(self, progress: Progress) -> None:
        """Restore the sums, to continue in the middle of an epoch."""
        kept, team = progress.kept, self.team
        if team.ordered:
            mine = slice(team.first, team.first + team.parts)
            kept = {name: np.stack(np.split(a[0], team.size, axis=1)[mine]) for name, a in kept.items()}
        for k, one in enumerate(self.passes):
            of = 0 if team.ordered else k
            one.be.put(one.totals, progress.totals[of])
            one.be.put(one.whole, progress.sums[of])
            if one.kept is not None:
                one.kept.restore({name: a[k] for name, a in kept.items()}, int(progress.totals[of, -1]))
        self.batch.restore_progress(progress.weight, progress.total_weight)


def _compute(step: weakref.ref[TrainingStep], k: int) -> None:
    """What worker k of a step computes."""
    alive = step()
    assert alive is not None, "whoever runs a step keeps it"
    alive.compute(k)


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
