"""The update: from gradients to the next parameters.

    g ← g + ∂P/∂θ                       penalties P, part of the loss
    g ← cut, or scaled                  clipping by value, and by the norm of all gradients together
    θ, moments ← rule(θ, g, moments)    the optimizer's rule, weight decay before it
    a ← θ - d (θ - a)                   the moving average of θ, where one is asked for

All of it is work on whole vectors: parameters, gradients and moments lie in memory in the same order.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..backends.exactness import require_exact
from ..backends.order import tree_pairs
from ..backends.process import OfOneProcess
from ..config import NotNegative, argument
from ..flat import FlatArray
from ..formula.host import host_numerics
from ..layers.bound import BoundLayers
from ..optimizers import Optimizer
from ..schedules import Schedule, require_exact_rates
from .average import Average
from .exact_sums import ExactSums, range_of
from .finite_guard import Guard
from .groups import Factors, Group, between
from .look_ahead import finite_steps, learning_rates, scalars_of
from .penalties import Clip, Penalty
from .rule_check import check_rule, names_of_moments
from .workers import Member, Team


@dataclass(frozen=True)
class UpdateSettings:
    """What is done to gradients and learning rates besides the optimizer's rule.

    factors, decay_factors: name pattern of parameters -> what their learning rate, and the optimizer's weight decay,
    are multiplied by. guarded: whether a step that is not finite changes nothing. latch: whether none after it does,
    either; see `Guard`.

    >>> UpdateSettings(Clip(norm=1.0)).guarded
    False
    """

    clip: Clip = Clip()
    penalty: Penalty = Penalty()
    factors: Mapping[str, float] = field(default_factory=dict)
    decay_factors: Mapping[str, float] = field(default_factory=dict)
    guarded: bool = False
    latch: bool = False


class Update(OfOneProcess):
    """The optimizer on a network's parameters: gradients, moments, and the scalars of each step.

    t: steps done. step: (1,) uint64 on the device, the number of the step under way. share: 1/Σ w of its batch, if the
    penalty goes by it; batch_weight: Σ w on the host, 0 before any step. factor: multiplies the learning rate from
    the next step on. trainable: names of the parameters it trains. gradients, and each of moments: arrays by parameter
    name. place: the bytes where a step finds its number and its scalars. whole: the update by a single worker. told:
    paths of the layers that `HeldStates` has warned of. average: the moving average of the parameters, None for none.
    weight: Σ w of the batch, float64 on the device, where bad steps are skipped; else None.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> list(Update(net, bp.Adam()).moments)
    ['m', 'v']
    """

    AHEAD = 256  # steps whose scalars are computed at once

    def __init__(self, network: BoundLayers, optimizer: Optimizer, settings: UpdateSettings | None = None) -> None:
        settings = settings or UpdateSettings()
        if network.backend.numerics == "exact":
            by = "computes its step_scalars by + - * /, square roots and functions of gpubp.formula.host alone"
            require_exact(optimizer, if_it=by)
        self.clip, self.penalty = settings.clip, settings.penalty
        self.guarded, self.latch = settings.guarded, settings.latch
        self.optimizer, self.be, self.dtype = optimizer, network.backend, network.dtype
        self._backends = [self.be]
        self.states = network.states.flat
        self.t = 0
        self._factor = 1.0
        self.trainable = network.trainable
        shapes = {n: network.parameters[n].shape for n in self.trainable}
        self.gradients = FlatArray(self.be, shapes, self.dtype, called="update.gradients")
        self.moments = {
            name: FlatArray(self.be, shapes, self.dtype, called=f'update.moments["{name}"]')
            for name in names_of_moments(optimizer)
        }
        factors = Factors.of(network, settings.factors, settings.decay_factors)
        vectors = [self.gradients, *self.moments.values()]
        self.groups = [
            Group(network, vectors, factors, rate) for rate in sorted({factors.rate[n] for n in self.trainable})
        ]
        if self.be.numerics == "exact" and isinstance(optimizer.learning_rate, Schedule):
            require_exact_rates(optimizer.learning_rate)
        self._names = list(scalars_of(optimizer, np.ones(1), np.ones(1)))
        check_rule(optimizer, list(self.moments), self._names)
        self.share = self.be.zeros((), self.dtype)
        self.weight = self.be.zeros((), np.float64) if self.guarded and not self.latch else None
        self.told: set[str] = set()
        self.batch_weight = 0.0
        self._network = network
        self.set_average(None)

    def set_average(self, average: Average | None) -> None:
        """Make a moving average of the parameters after each step, or none. Steps made earlier do not compute it."""
        self.average = average
        # what changes with the step lies together, and is put in place by one copy
        count = sum(len(group.decays) + len(self._names) for group in self.groups) + (average is not None)
        self.place = self.be.zeros((8 + count * self.dtype.itemsize,), np.uint8)
        self.step = self.place[:8].view(np.uint64)
        h = self.place[8:].view(self.dtype)
        self._scalars = [h[k : k + 1].reshape(()) for k in range(count)]
        self._table: np.ndarray[Any, Any] = np.zeros(0)
        self._table_start = self._table_end = 0
        self.whole = Share(self, Member(Team(1), 0, self.be))

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Inside, the network computes with the parameters that validation is to see: the averages, or its own."""
        if self.average is None or not self.average.validated:
            yield
            return
        with self.average.in_network():
            yield

    def validated_vector(self) -> Array:
        """A copy of the parameters that validation sees, as one vector."""
        if self.average is None or not self.average.validated:
            return self._network.flat.copy()
        return self.average.vector()

    def backend_of(self, worker: int) -> Backend:
        """The backend of a worker. All steps take the same ones, and so share their scratch memory."""
        while worker >= len(self._backends):
            self._backends.append(self.be.another())
        return self._backends[worker]

    def shares(self, members: Sequence[Member], others: Sequence[FlatArray]) -> list[Share]:
        """Each worker's share of the update. others: the gradients of all workers but the first."""
        return [self.whole] if len(members) == 1 else [Share(self, member, others) for member in members]

    @property
    def factor(self) -> float:
        """What the optimizer's learning rate is multiplied by."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        self._factor, self._table_end = float(argument("Update", "factor", NotNegative, value)), 0

    def scalars(self, group: int) -> tuple[list[Array], list[Array]]:
        """keep = 1 - η λ for each decay factor of one group, and the rule's scalars, at the step under way: 0-d."""
        start = sum(len(g.decays) + len(self._names) for g in self.groups[:group])
        middle = start + len(self.groups[group].decays)
        return self._scalars[start:middle], self._scalars[middle : middle + len(self._names)]

    @property
    def scalar_names(self) -> list[str]:
        """What the optimizer's rule calls its scalars."""
        return self._names

    @property
    def average_decay(self) -> Array:
        """d of the average at the step under way: 0-d."""
        return self._scalars[-1]

    def advance(self) -> None:
        """Go on to the next step: put its number and its scalars in place."""
        self.be.put(self.place, self.next_numbers())

    def next_numbers(self) -> np.ndarray[Any, Any]:
        """Go on to the next step, and return the bytes that belong in `place`."""
        numbers: np.ndarray[Any, Any] = self.ahead(1)[0]
        self.t += 1
        return numbers

    def ahead(self, most: int) -> np.ndarray[Any, Any]:
        """The bytes for `place` of the next steps, a row for each, on the host: `most` at most, and one at least."""
        if not self._table_start <= self.t + 1 < self._table_end:
            self._look_ahead(self.t + 1)
        first = self.t + 1 - self._table_start
        return self._table[first : first + most]

    def set_batch_weight(self, weight: float) -> None:
        """Put the coming batch's Σ w in place, if something goes by it."""
        if weight == self.batch_weight:
            return
        self.batch_weight = weight
        if self.penalty.per_weight:
            self.be.put(self.share, 1.0 / weight if weight else 0.0)
        if self.weight is not None:
            self.be.put(self.weight, weight)

    def _look_ahead(self, first: int) -> None:
        with host_numerics(self.be.numerics):
            self._look_ahead_here(first)

    def _look_ahead_here(self, first: int) -> None:
        rates = learning_rates(self.optimizer, first, self.AHEAD)
        t = np.arange(first, first + len(rates))
        columns: dict[str, Any] = {}
        for group in self.groups:
            eta = self._factor * rates * group.rate
            where = f" with the learning-rate factor {group.rate:g}" if len(self.groups) > 1 else ""
            for decay in group.decays:
                times = "" if decay == 1 else f"{decay:g} "
                columns[f"1 - {times}eta weight_decay{where}"] = 1.0 - eta * (self.optimizer.weight_decay * decay)
            given = scalars_of(self.optimizer, t.astype(np.float64), eta, self._names)
            columns |= {f"{name}{where}": given[name] for name in self._names}
        if self.average is not None:
            columns["decay of the average"] = self.average.decays(t)
        h = np.zeros((len(t), len(columns)), self.dtype)
        with np.errstate(over="ignore"):  # what is too large for the type is an error in words
            for k, column in enumerate(columns.values()):
                h[:, k] = column
        count = finite_steps(self.optimizer, h, first, list(columns))
        self._table = np.zeros((count, self.place.size), np.uint8)
        self._table[:, :8] = t[:count].astype(np.uint64)[:, None].view(np.uint8)
        self._table[:, 8:] = h[:count].view(np.uint8)
        self._table_start, self._table_end = first, first + count

    @property
    def vectors(self) -> list[FlatArray]:
        """What a step changes beside the parameters: moments, and the average."""
        return [*self.moments.values(), *([] if self.average is None else [self.average.values])]

    def take_over(self, other: Update) -> None:
        """Go on where `other` was: its steps, its factor, moments and averages of parameters that both train."""
        self.t, self.factor, self.told = other.t, other.factor, other.told
        self.set_batch_weight(other.batch_weight)
        pairs: list[tuple[Mapping[str, Array], Mapping[str, Array]]]
        pairs = [(moment, other.moments.get(name, {})) for name, moment in self.moments.items()]
        if other.average is not None:
            average = Average(self._network, self.trainable, *other.average.options)
            self.set_average(average)
            pairs.append((average.values, other.average.values))
        for mine, theirs in pairs:
            for parameter in mine.keys() & theirs.keys():
                mine[parameter][...] = theirs[parameter]


class Share:
    """The part of the update that one worker does: one slice of every vector; all of it for a single worker.

    member: the worker. others: the gradients of all workers but the first, which are added to the first's. gradients:
    this worker's slice of the first's vector.

    >>> import gpubp as bp
    >>> update = Update(bp.Network(bp.Dense(1), 2, device="cpu"), bp.SGD())
    >>> len(update.whole.gradients) == len(update.gradients.flat)
    True
    """

    def __init__(self, of: Update, member: Member, others: Sequence[FlatArray] = ()) -> None:
        self._update = weakref.ref(of)  # a circle would keep update and network until Python looks for circles
        self.member, self.be = member, member.be
        count, number, length = member.team.workers, member.number, len(of.gradients.flat)
        self._exact = self.be.numerics == "exact"
        if self._exact:
            low, high = range_of(length, number, count)
        else:
            low, high = ((length * k // count) // 16 * 16 if k < count else length for k in (number, number + 1))
        self.gradients = of.gradients.flat[low:high]
        self.others = [other.flat[low:high] for other in others]
        self.groups = [group.part(low, high, self.be.block) for group in of.groups]
        self._one = {n: self.be.zeros((), of.dtype) for n in ("part", "penalty", "squares", "scale")}
        self._averaged = [] if of.average is None else between(of.average.slices, low, high, self.be.block)
        longest = max((len(theta) for group in self.groups for theta, _ in group.penalized), default=0)
        self._values = self.be.zeros((longest if of.penalty.l1 and not self._exact else 0,), of.dtype)
        if self._exact:
            penalized = [theta for group in of.groups for theta, _ in group.part(0, length, length).penalized]
            self._sums = ExactSums(member, of.gradients.flat, penalized, of.penalty)
        states = of.states if number == 0 else None
        self.guard = Guard(self.be, of.dtype, of.latch, states) if of.guarded else None

    @property
    def _of(self) -> Update:
        update = self._update()
        assert update is not None, "whoever uses a share keeps the update"
        return update

    def penalty_value(self) -> Array | None:
        """P of the parameters as they are, or None where there is none."""
        penalty, dtype, be = self._of.penalty, self._of.dtype, self.be
        if not penalty:
            return None
        total, part = self._one["penalty"], self._one["part"]
        be.xp.copyto(total, be.constant(0.0, dtype))
        if self._exact:
            self._sums.add_penalty(total)
        for group in () if self._exact else self.groups:
            for theta, _ in group.penalized:
                if penalty.l1:
                    values = be.apply(penalty.value, theta, out=self._values[: len(theta)])
                    be.xp.sum(values, out=part)
                else:  # Σθ² in one pass
                    be.dot(theta, theta, out=part)
                    be.xp.multiply(part, be.constant(0.5 * penalty.l2, dtype), out=part)
                be.xp.add(total, part, out=total)
        if penalty.per_weight:
            be.xp.multiply(total, self._of.share, out=total)
        return total if self._exact else self.member.sum(total)

    def sum_gradients(self) -> None:
        """The workers' gradients summed, this worker's slice; part of the step."""
        self.member.meet()  # before any worker reads the others' gradients
        if self._exact:
            slices = [self.gradients, *self.others]
            for to, of in tree_pairs(len(slices)):
                self.be.xp.add(slices[to], slices[of], out=slices[to])
            return
        for other in self.others:
            self.be.xp.add(self.gradients, other, out=self.gradients)

    def update(self, sums: Array, totals: Array) -> None:
        """Penalties, clipping, decay and rule, after `sum_gradients`.

        sums: Σ w ℓ of the batch and of its metrics. totals: where guarded, totals += sums is done here, if the step
        counts; in exact numerics in any case.
        """
        be, g, guard = self.be, self.gradients, self.guard
        if guard is None:
            self._change()
            if self._exact:
                be.xp.add(totals, sums, out=totals)
            return
        loss = sums[:1].reshape(())
        self._sums.squares("guard", guard.total) if self._exact else be.dot(g, g, out=guard.total)
        if self.others and not self._exact:
            be.xp.add(guard.total, loss, out=guard.total)
            guard.check_finite(self.member.sum(guard.total))
        else:
            guard.check_finite(guard.total, loss)  # (1), (2) of finite_guard.py

        def change() -> None:
            self._change()
            be.xp.add(totals, sums, out=totals)
            if guard.weight is not None:
                be.xp.add(guard.weight, self._of.weight, out=guard.weight)

        changed = [a for group in self.groups for theta, _, *moments in group.trained for a in (theta, *moments)]
        changed += [a for _, a in self._averaged]
        changed += [] if guard.weight is None else [guard.weight]
        changed += [g] if self._of.penalty.per_weight else []  # 1/Σ w may be infinite, and ∞ · 0 is NaN in the padding
        guard.update_if_finite(change, [*changed, totals])

    def _change(self) -> None:
        be, g, update = self.be, self.gradients, self._of
        if update.penalty:
            for group in self.groups:
                for theta, dtheta in group.penalized:
                    if update.penalty.per_weight:
                        be.apply(update.penalty.gradient_per_weight, theta, dtheta, update.share, out=dtheta)
                    else:
                        be.apply(update.penalty.gradient, theta, dtheta, out=dtheta)
        if update.clip.value is not None:
            be.apply(update.clip.cut, g, out=g)
        if update.clip.norm is not None:
            squares = self._one["squares"]
            if self._exact:
                self._sums.squares("clip", squares)
            else:
                squares = self.member.sum(be.dot(g, g, out=squares))
            be.apply(update.clip.scale, squares, out=self._one["scale"])
            be.xp.multiply(g, self._one["scale"], out=g)
        for i, group in enumerate(self.groups):
            keeps, scalars = update.scalars(i)
            if update.optimizer.weight_decay:
                for keep, decayed in zip(keeps, group.decayed, strict=True):
                    for theta, _ in decayed:
                        be.xp.multiply(theta, keep, out=theta)  # (0) of optimizers.py
            for theta, dtheta, *moments in group.trained:
                be.apply(update.optimizer.rule, theta, dtheta, *moments, *scalars, out=(theta, *moments))
        for theta, a in self._averaged:
            be.apply(Average.rule, theta, a, update.average_decay, out=a)
