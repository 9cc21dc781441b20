"""The update: from gradients to the next parameters.

    g ← g + ∂P/∂θ                       penalties P, part of the loss
    g ← cut, or scaled                  clipping by value, and by the norm of all gradients together
    θ, moments ← rule(θ, g, moments)    the optimizer's rule, weight decay before it

All of it is work on whole vectors: parameters, gradients and moments lie in memory in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..flat import FlatArray, matching
from ..formula import absolute, maximum, minimum, sign, sqrt
from ..layers.bound import BoundLayers
from ..optimizers import Optimizer
from .finite_guard import Guard
from .workers import Member, Team


@dataclass(frozen=True)
class Penalty:
    """P = l1 Σ|θ| + ½ l2 Σθ², added to the loss, so that ∂P/∂θ = l1 sign θ + l2 θ. Biases and normalization stay out.

    per_weight: P is divided by the batch's Σ w, as scikit-learn's `alpha` is, so that more rows leave less of it.

    >>> Penalty(l1=0.0, l2=0.5).gradient(2.0, 1.0)
    2.0
    """

    l1: float = 0.0
    l2: float = 0.0
    per_weight: bool = False

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def gradient(self, theta: Any, g: Any) -> Any:
        """g + ∂P/∂θ"""
        if self.l2:
            g = g + self.l2 * theta
        return g + self.l1 * sign(theta) if self.l1 else g

    def gradient_per_weight(self, theta: Any, g: Any, share: Any) -> Any:
        """g + ∂P/∂θ with P divided by Σ w, share = 1/Σ w"""
        if self.l2:
            g = g + (self.l2 * share) * theta
        return g + (self.l1 * share) * sign(theta) if self.l1 else g

    def value(self, theta: Any) -> Any:
        """What one θ adds to P"""
        if not self.l1:
            return (0.5 * self.l2) * (theta * theta)
        return self.l1 * absolute(theta) + (0.5 * self.l2) * (theta * theta) if self.l2 else self.l1 * absolute(theta)


@dataclass(frozen=True)
class Clip:
    """Limits of the gradients: of the norm of all together, and of each number's absolute value; None for none.

    >>> Clip(norm=1.0).scale(16.0).item(), Clip(value=0.5).cut(-2.0).item()
    (0.25, -0.5)
    """

    norm: float | None = None
    value: float | None = None

    def scale(self, squares: Any) -> Any:
        """What every gradient is multiplied by, squares = Σ g²"""
        return minimum(self.norm / sqrt(squares), 1.0)

    def cut(self, g: Any) -> Any:
        """g, at most `value` away from 0"""
        return maximum(minimum(g, self.value), -self.value)  # type: ignore[operator]


@dataclass(frozen=True)
class UpdateSettings:
    """What is done to gradients and learning rates besides the optimizer's rule.

    factors: name pattern of parameters -> what their learning rate is multiplied by. guarded: whether a step that is
    not finite changes nothing. latch: whether none after it does, either; see `Guard`.

    >>> UpdateSettings(Clip(norm=1.0)).guarded
    False
    """

    clip: Clip = Clip()
    penalty: Penalty = Penalty()
    factors: Mapping[str, float] = field(default_factory=dict)
    guarded: bool = False
    latch: bool = False


class Update:
    """The optimizer on a network's parameters: gradients, moments, and the scalars of each step.

    t: steps done. step: (1,) uint64 on the device, the number of the step under way. share: 1/Σ w of its batch, if the
    penalty goes by it. factor: multiplies the learning rate from the next step on. trainable: names of the parameters
    it trains. gradients, and each of moments: arrays by parameter name. place: the bytes where a step finds its number
    and its scalars. whole: the update by a single worker. told: paths of the layers that `HeldStates` has warned of.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), input_shape=(2,), device="cpu")
    >>> list(Update(net, bp.Adam()).moments)
    ['m', 'v']
    """

    AHEAD = 256  # steps whose scalars are computed at once

    def __init__(self, network: BoundLayers, optimizer: Optimizer, settings: UpdateSettings | None = None) -> None:
        settings = settings or UpdateSettings()
        self.clip, self.penalty = settings.clip, settings.penalty
        self.guarded, self.latch = settings.guarded, settings.latch
        self.optimizer, self.be, self.dtype = optimizer, network.backend, network.dtype
        self.states = network.states.flat
        self.t = 0
        self._factor = 1.0
        self.trainable = network.trainable
        shapes = {n: network.parameters[n].shape for n in self.trainable}
        self.gradients = FlatArray(self.be, shapes, self.dtype)
        self.moments = {name: FlatArray(self.be, shapes, self.dtype) for name in optimizer.moments}
        factors = _factors(settings.factors, network.declared)
        self.groups = [
            _Group(network, self, factors, factor) for factor in sorted({factors[n] for n in self.trainable})
        ]
        self._names = ["keep", *optimizer.step_scalars(np.ones(1), np.ones(1))]
        # what changes with the step lies together, and is put in place by one copy
        self.place = self.be.zeros((8 + len(self.groups) * len(self._names) * self.dtype.itemsize,), np.uint8)
        self.step = self.place[:8].view(np.uint64)
        self._h = self.place[8:].view(self.dtype).reshape(len(self.groups), len(self._names))
        self._table: np.ndarray[Any, Any] = np.zeros(0)
        self._table_start = self._table_end = 0
        self.share = self.be.zeros((), self.dtype)
        self.told: set[str] = set()
        self._weight = 0.0
        self.whole = Share(self, Member(Team(1), 0, self.be))

    def shares(self, members: Sequence[Member], others: Sequence[FlatArray]) -> list[Share]:
        """Each worker's share of the update. others: the gradients of all workers but the first."""
        return [self.whole] if len(members) == 1 else [Share(self, member, others) for member in members]

    @property
    def factor(self) -> float:
        """What the optimizer's learning rate is multiplied by."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        self._factor, self._table_end = value, 0

    def scalars(self, group: int) -> list[Array]:
        """keep = 1 - η λ, and the rule's scalars, for one group at the step under way: 0-d arrays."""
        return [self._h[group, k : k + 1].reshape(()) for k in range(len(self._names))]

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
        """Put the coming batch's Σ w in place, if the penalty goes by it."""
        if self.penalty.per_weight and weight != self._weight:
            self._weight = weight
            self.be.put(self.share, 1.0 / weight if weight else 0.0)

    def _look_ahead(self, first: int) -> None:
        self._table_start, self._table_end = first, first + self.AHEAD
        t = np.arange(self._table_start, self._table_end)
        rate = self._factor * np.array([self.optimizer.rate(int(k)) for k in t], np.float64)
        of_groups = []
        for group in self.groups:
            eta = rate * group.factor
            scalars = {"keep": 1.0 - eta * self.optimizer.weight_decay}
            scalars |= self.optimizer.step_scalars(t.astype(np.float64), eta)
            of_groups.append(np.stack([scalars[name] for name in self._names], axis=1))
        self._table = np.zeros((self.AHEAD, self.place.size), np.uint8)
        self._table[:, :8] = t.astype(np.uint64)[:, None].view(np.uint8)
        if of_groups:
            h = np.stack(of_groups, axis=1).astype(self.dtype)
            self._table[:, 8:] = h.reshape(self.AHEAD, -1).view(np.uint8)

    def take_over(self, other: Update) -> None:
        """Go on where `other` was: its steps, its factor, and the moments of parameters that both train."""
        self.t, self.factor, self.told = other.t, other.factor, other.told
        for name, moment in self.moments.items():
            for parameter in moment:
                if parameter in other.moments.get(name, ()):
                    moment[parameter][...] = other.moments[name][parameter]


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
        self._of, self.member, self.be = of, member, member.be
        count, number, length = member.team.workers, member.number, len(of.gradients.flat)
        low, high = ((length * k // count) // 16 * 16 if k < count else length for k in (number, number + 1))
        self.gradients = of.gradients.flat[low:high]
        self.others = [other.flat[low:high] for other in others]
        self.groups = [group.part(low, high, self.be.block) for group in of.groups]
        self._one = {n: self.be.zeros((), of.dtype) for n in ("part", "penalty", "squares", "scale")}
        longest = max((len(theta) for group in self.groups for theta, _ in group.decayed), default=0)
        self._values = self.be.zeros((longest if of.penalty.l1 else 0,), of.dtype)
        states = of.states if number == 0 else None
        self.guard = Guard(self.be, of.dtype, of.latch, states) if of.guarded else None

    def penalty_value(self) -> Array | None:
        """P of the parameters as they are, or None where there is none."""
        penalty, dtype, be = self._of.penalty, self._of.dtype, self.be
        if not penalty:
            return None
        total, part = self._one["penalty"], self._one["part"]
        be.xp.copyto(total, be.constant(0.0, dtype))
        for group in self.groups:
            for theta, _ in group.decayed:
                if penalty.l1:
                    values = be.apply(penalty.value, theta, out=self._values[: len(theta)])
                    be.xp.sum(values, out=part)
                else:  # Σθ² in one pass
                    be.dot(theta, theta, out=part)
                    be.xp.multiply(part, be.constant(0.5 * penalty.l2, dtype), out=part)
                be.xp.add(total, part, out=total)
        if penalty.per_weight:
            be.xp.multiply(total, self._of.share, out=total)
        return self.member.sum(total)

    def update(self, sums: Array, totals: Array) -> None:
        """The workers' gradients summed; penalties, clipping, decay and rule.

        sums: Σ w ℓ of the batch and of its metrics. totals: where guarded, totals += sums is done here, if the step
        counts.
        """
        be, g, guard = self.be, self.gradients, self.guard
        self.member.meet()  # before any worker reads the others' gradients
        for other in self.others:
            be.xp.add(g, other, out=g)
        if guard is None:
            self._change()
            return
        loss = sums[:1].reshape(())
        be.dot(g, g, out=guard.total)
        if self.others:
            be.xp.add(guard.total, loss, out=guard.total)
            guard.check_finite(self.member.sum(guard.total))
        else:
            guard.check_finite(guard.total, loss)  # (1), (2) of finite_guard.py

        def change() -> None:
            self._change()
            be.xp.add(totals, sums, out=totals)

        changed = [a for group in self.groups for theta, _, *moments in group.trained for a in (theta, *moments)]
        guard.update_if_finite(change, [*changed, totals])

    def _change(self) -> None:
        be, g, update = self.be, self.gradients, self._of
        if update.penalty:
            for group in self.groups:
                for theta, dtheta in group.decayed:
                    if update.penalty.per_weight:
                        be.apply(update.penalty.gradient_per_weight, theta, dtheta, update.share, out=dtheta)
                    else:
                        be.apply(update.penalty.gradient, theta, dtheta, out=dtheta)
        if update.clip.value is not None:
            be.apply(update.clip.cut, g, out=g)
        if update.clip.norm is not None:
            be.dot(g, g, out=self._one["squares"])
            be.apply(update.clip.scale, self.member.sum(self._one["squares"]), out=self._one["scale"])
            be.xp.multiply(g, self._one["scale"], out=g)
        for i, group in enumerate(self.groups):
            keep, *scalars = update.scalars(i)
            if update.optimizer.weight_decay:
                for theta, _ in group.decayed:
                    be.xp.multiply(theta, keep, out=theta)  # (0) of optimizers.py
            for theta, dtheta, *moments in group.trained:
                be.apply(update.optimizer.rule, theta, dtheta, *moments, *scalars, out=(theta, *moments))


class _Group:
    """The trained parameters that have one learning-rate factor, in the longest possible slices of the vectors."""

    def __init__(self, network: BoundLayers, update: Update, factors: Mapping[str, float], factor: float) -> None:
        self.factor = factor
        vectors = [update.gradients, *update.moments.values()]
        names = [name for name in update.trainable if factors[name] == factor]
        decayed = [name for name in names if network.declared[name].decay]
        self._trained = _slices(network, vectors, names)
        self._decayed = _slices(network, vectors[:1], decayed)

    def part(self, low: int, high: int, block: int) -> _Part:
        """Its slices between two positions of the gradients' vector, each at most `block` numbers long."""
        return _Part(_between(self._trained, low, high, block), _between(self._decayed, low, high, block))


class _Part(NamedTuple):
    """trained: (θ, g, *moments) slices. decayed: (θ, g) slices of those that weight decay and penalties reach."""

    trained: list[tuple[Array, ...]]
    decayed: list[tuple[Array, ...]]


Slices = list[tuple[int, tuple[Array, ...]]]  # where each starts in the gradients' vector, and θ, g, ... there


def _between(slices: Slices, low: int, high: int, block: int) -> list[tuple[Array, ...]]:
    found = []
    for start, arrays in slices:
        first, end = max(low - start, 0), min(high - start, len(arrays[0]))
        while first < end:
            upto = min(first + block, end)
            found.append(tuple(array[first:upto] for array in arrays))
            first = upto
    return found


def _slices(network: BoundLayers, vectors: list[FlatArray], names: list[str]) -> Slices:
    slices = []
    for first, run in network.runs(names):
        start = vectors[0].offsets[first]  # neighbours in the network's vector are neighbours here
        length = run.stop - run.start
        slices.append((start, (network.flat[run], *(v.flat[start : start + length] for v in vectors))))
    return slices


def _factors(patterns: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in patterns.items():
        if not factor >= 0:
            raise ValueError(f"a learning-rate factor is 0 or more, and that of {pattern!r} is {factor!r}")
        for name in matching(pattern, names):
            factors[name] = float(factor)
    return factors
