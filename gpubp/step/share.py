"""Share: the part of an update that one worker does, or one shard of a batch.

Each part sums one slice of the gradients over all parts, and updates the parameters of that slice; what goes by the
whole vector, as a norm, is summed over the parts once more.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..backends import Array
from ..backends.order import add_in_place
from ..flat import FlatArray
from ..optimizers import Optimizer
from .average import Average
from .exact_sums import ExactSums
from .finite_guard import Guard
from .groups import Group, between, slice_of
from .penalties import Clip, Penalty
from .workers import Member


class WholeUpdate(Protocol):
    """What a share uses of its `Update`, which documents the names."""

    clip: Clip
    penalty: Penalty
    guarded: bool
    latch: bool
    optimizer: Optimizer
    dtype: Any
    states: Array
    gradients: FlatArray
    groups: list[Group]
    average: Average | None
    share: Array
    weight: Array

    @property
    def average_decay(self) -> Array: ...
    def scalars(self, group: int) -> tuple[list[Array], list[Array]]: ...


class Share:
    """What one part of a team does of the update: one slice of every vector; all of it for a team of one.

    member: the part. vectors: the gradients of each part of this process, the first of which get the sums. gradients:
    this part's slice of them.

    >>> import gpubp as bp
    >>> from gpubp.step.update import Update
    >>> update = Update(bp.Network(bp.Dense(1), 2, device="cpu"), bp.SGD())
    >>> len(update.whole.gradients) == len(update.gradients.flat)
    True
    """

    def __init__(self, of: WholeUpdate, member: Member, vectors: Sequence[FlatArray] = ()) -> None:
        self._update = weakref.ref(of)  # a circle would keep update and network until Python looks for circles
        self.member, self.be = member, member.be
        length = len(of.gradients.flat)
        self._exact = self.be.numerics == "exact"
        self._ordered = member.team.ordered
        low, high = slice_of(length, member.number, member.team.size, self._exact)
        self.gradients = of.gradients.flat[low:high]
        if member.team.processes is not None:  # this process's sum is computed of the whole vectors
            low_sum, high_sum = slice_of(length, member.local, member.team.parts, self._exact)
        else:
            low_sum, high_sum = low, high
        self._vectors = [vector.flat[low_sum:high_sum] for vector in vectors]
        self.groups = [group.part(low, high, self.be.block) for group in of.groups]
        self._one = {n: self.be.zeros((), of.dtype) for n in ("part", "penalty", "squares", "scale")}
        self._averaged = [] if of.average is None else between(of.average.slices, low, high, self.be.block)
        longest = max((len(theta) for group in self.groups for theta, _ in group.penalized), default=0)
        self._values = self.be.zeros((longest if of.penalty.l1 and not self._exact else 0,), of.dtype)
        if self._exact:
            penalized = [theta for group in of.groups for theta, _ in group.part(0, length, length).penalized]
            self._sums = ExactSums(member, of.gradients.flat, penalized, of.penalty)
        states = of.states if member.leads else None
        self.guard = Guard(self.be, of.dtype, of.latch, states) if of.guarded else None

    @property
    def _of(self) -> WholeUpdate:
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

    def sum_gradients(self, exchange: Callable[[], None] | None = None, met: bool = False) -> None:
        """The parts' gradients summed, this part's slice; part of the step. exchange: sums the slices of all processes,
        called when this process's parts are summed. met: whether the parts have met since they computed gradients."""
        if len(self._vectors) < 2 and exchange is None:
            return
        if not met:
            self.member.meet()  # before any part reads the others' gradients
        add_in_place(self.be.xp.add, self._vectors, as_tree=self._ordered)
        if exchange is not None:
            self.member.meet(exchange)

    def update(self, sums: Array, totals: Array) -> None:
        """Penalties, clipping, decay and rule, after `sum_gradients`.

        sums: Σ w ℓ of the batch and of its metrics. totals: where guarded, totals += sums is done here, if the step
        counts; in exact numerics, and where sums are ordered, in any case.
        """
        be, g, guard = self.be, self.gradients, self.guard
        if guard is None:
            self._change()
            if self._exact or self._ordered:
                be.xp.add(totals, sums, out=totals)
            return
        loss = sums[:1].reshape(())
        self._sums.squares("guard", guard.total) if self._exact else be.dot(g, g, out=guard.total)
        if self._ordered and not self._exact:
            guard.check_finite(self.member.sum(guard.total), loss)
        elif self.member.team.size > 1 and not self._exact:
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
        optimizer = update.optimizer
        rule = optimizer.ascend if optimizer.maximize else optimizer.rule
        for i, group in enumerate(self.groups):
            keeps, scalars = update.scalars(i)
            if optimizer.weight_decay:
                for keep, decayed in zip(keeps, group.decayed, strict=True):
                    for theta, _ in decayed:
                        be.xp.multiply(theta, keep, out=theta)  # (0) of optimizers/
            for theta, dtheta, *moments in group.trained:
                be.apply(rule, theta, dtheta, *moments, *scalars, out=(theta, *moments))
        if update.average is not None:
            for theta, a in self._averaged:
                be.apply(update.average.rule, theta, a, update.average_decay, out=a)
