"""The update: from gradients to the next parameters.

    g ← g + ∂P/∂θ                       penalties P, part of the loss; -P where it is maximized
    g ← cut, or scaled                  clipping by value, and by the norm of all gradients together
    θ, moments ← rule(θ, g, moments)    the optimizer's rule, weight decay before it
    a ← θ - d (θ - a)                   the moving average of θ, or its mean, where one is asked for

All of it is work on whole vectors: parameters, gradients and moments lie in memory in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..backends.exactness import require_exact
from ..backends.process import OfOneProcess
from ..config import NotNegative, argument
from ..flat import FlatArray
from ..formula.host import host_numerics
from ..layers import Sequential
from ..layers.bound import BoundLayers
from ..optimizers import Optimizer
from ..schedules import Schedule, require_exact_rates
from .average import Average
from .exchange import Exchange
from .groups import Factors, Group
from .look_ahead import finite_steps, learning_rates, scalars_of
from .penalties import Clip, Penalty
from .rule_check import check_rule, initial_moments, names_of_moments
from .share import Share
from .workers import Member, Team


@dataclass(frozen=True)
class UpdateSettings:
    """What is done to gradients and learning rates besides the optimizer's rule.

    factors, decay_factors: name pattern of parameters -> what their learning rate, and the optimizer's weight decay,
    are multiplied by. guarded: whether a step that is not finite changes nothing. latch: whether none after it does,
    either; see `Guard`. penalized: patterns of the parameters that penalties reach, as `Optimizer.decayed`.

    >>> UpdateSettings(Clip(norm=1.0)).guarded
    False
    """

    clip: Clip = Clip()
    penalty: Penalty = Penalty()
    factors: Mapping[str, float] = field(default_factory=dict)
    decay_factors: Mapping[str, float] = field(default_factory=dict)
    guarded: bool = False
    latch: bool = False
    penalized: str | tuple[str, ...] | None = None


class Update(OfOneProcess):
    """The optimizer on a network's parameters: gradients, moments, and the scalars of each step.

    t: steps done. step: (1,) uint64 on the device, the number of the step under way. share: 1/Σ w of its batch, if the
    penalty goes by it; batch_weight: Σ w on the host, 0 before any step. factor: multiplies the learning rate from
    the next step on. trainable: names of the parameters it trains. gradients, and each of moments: arrays by parameter
    name. place: the bytes where a step finds its number and its scalars. whole: the update by a single worker. told:
    paths of the layers that `HeldStates` has warned of. average: the average of the parameters, None for none.
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
        self.clip = settings.clip
        self.penalty = settings.penalty.negative() if optimizer.maximize else settings.penalty
        self.guarded, self.latch = settings.guarded, settings.latch
        self.optimizer, self.be, self.dtype = optimizer, network.backend, network.dtype
        self._backends = [self.be]
        self.states = network.states.flat
        self.t = 0
        self._factor = 1.0
        self.trainable, self.frozen = network.trainable, frozenset(network.frozen)
        shapes = {n: network.parameters[n].shape for n in self.trainable}
        self.gradients = FlatArray(self.be, shapes, self.dtype, called="update.gradients")
        self.moments = {
            name: FlatArray(self.be, shapes, self.dtype, called=f'update.moments["{name}"]')
            for name in names_of_moments(optimizer)
        }
        with self.be.active():
            for name, value in initial_moments(optimizer, self.moments).items():
                for moment in self.moments[name].values():
                    self.be.xp.copyto(moment, self.be.constant(value, self.dtype))
        factors = Factors.of(network, settings.factors, settings.decay_factors, optimizer.decayed, settings.penalized)
        vectors = [self.gradients, *self.moments.values()]
        self.groups = [
            Group(network, vectors, factors, rate) for rate in sorted({factors.rate[n] for n in self.trainable})
        ]
        if self.be.numerics == "exact" and isinstance(optimizer.learning_rate, Schedule):
            require_exact_rates(optimizer.learning_rate)
        self._names = list(scalars_of(optimizer, np.ones(1), np.ones(1)))
        check_rule(optimizer, list(self.moments), self._names)
        self.told: set[str] = set()
        self.batch_weight = 0.0
        self._network = network
        self._exchange: Exchange | None = None
        self._gathered = 0  # at which step
        self.average: Average | None = None
        self.set_average(None)

    def set_average(self, average: Average | None) -> None:
        """Make an average of the parameters after each step, or none. Steps made earlier do not compute it."""
        if self._exchange is not None and self.average is not None:
            self._exchange.forget(self.average.values.flat)
        self.average = average
        # what changes with the step lies together, and is put in place by one copy
        count = sum(len(group.decays) + len(self._names) for group in self.groups) + (average is not None)
        self._head = 16 if self.guarded and not self.latch else 8
        self.place = self.be.zeros((self._head + (count + 1) * self.dtype.itemsize,), np.uint8)
        self.step = self.place[:8].view(np.uint64)
        self.weight = self.place[8:16].view(np.float64).reshape(()) if self._head > 8 else None
        h = self.place[self._head :].view(self.dtype)
        *self._scalars, self.share = (h[k : k + 1].reshape(()) for k in range(count + 1))
        if self.batch_weight:
            with self.be.active():
                self._put_weight()
        self._table: np.ndarray[Any, Any] = np.zeros(0)
        self._table_start = self._table_end = 0
        self.whole = Share(self, Member(Team(1, ordered=self.be.numerics == "exact"), 0, self.be))

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

    def shares(self, members: Sequence[Member], vectors: Sequence[FlatArray]) -> list[Share]:
        """Each part's share of the update. vectors: the gradients of each part."""
        team = members[0].team
        if team.size == 1 and team.ordered == self.whole.member.team.ordered:
            return [self.whole]
        return [Share(self, m, vectors) for m in members]

    def exchange(self, team: Team) -> Exchange | None:
        """What the processes of a team send each other; None for one process."""
        if team.processes is None:
            return None
        made = self._exchange
        if made is None or (made.processes, made.parts) != (team.processes, team.parts):
            parameters, exact = self._network.parameters, self.be.numerics == "exact"
            chain = _chain(self._network) if team.parts == 1 else []
            self._exchange = made = Exchange(team.processes, team.parts, parameters, self.gradients, exact, chain)
        return made

    def gather(self) -> None:
        """Bring to every process what each has changed of its own slice: moments, and the average. All of them call
        it."""
        self._gathered = self.t
        if self._exchange is not None:
            for vector in self.vectors:
                self._exchange.gather(vector.flat)

    def gather_gradients(self) -> None:
        """Bring to every process the gradients that the others have summed, after a step. All of them call it."""
        if self._exchange is not None:
            self._exchange.gather(self.gradients.flat)

    @property
    def gathered(self) -> bool:
        """Whether moments and average are whole in this process, and not only its slice, as after an error in a step
        that several processes share."""
        return self._exchange is None or self._gathered == self.t

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

    def ahead(self, most: int, weights: Any = None) -> np.ndarray[Any, Any]:
        """The bytes for `place` of the next steps, a row for each, on the host: `most` at most, and one at least.
        weights: Σ w of the batch of each, (most,); None for `batch_weight`."""
        if not self._table_start <= self.t + 1 < self._table_end:
            self._look_ahead(self.t + 1)
        first = self.t + 1 - self._table_start
        made = self._table[first : first + most]
        if self.weight is not None or self.penalty.per_weight:
            w = np.full(len(made), self.batch_weight) if weights is None else weights[: len(made)]
            if self.weight is not None:
                made[:, 8:16].view(np.float64)[:, 0] = w
            if self.penalty.per_weight:
                with np.errstate(all="ignore"):  # it may be infinite
                    made[:, -self.dtype.itemsize :].view(self.dtype)[:, 0] = np.where(w, 1.0 / w, 0.0)
        return made

    def go_on(self, weights: np.ndarray[Any, Any]) -> None:
        """Note steps that took the bytes that are `ahead` by themselves. weights: Σ w of their batches."""
        self.t += len(weights)
        self.batch_weight = float(weights[-1])

    def set_batch_weight(self, weight: float) -> None:
        """Put the coming batch's Σ w in place, if something goes by it."""
        if weight == self.batch_weight:
            return
        self.batch_weight = weight
        self._put_weight()

    def _put_weight(self) -> None:
        weight = self.batch_weight
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
        self._table[:, self._head : -self.dtype.itemsize] = h[:count].view(np.uint8)
        self._table_start, self._table_end = first, first + count

    @property
    def vectors(self) -> list[FlatArray]:
        """What a step changes beside the parameters: moments, and the average."""
        return [*self.moments.values(), *([] if self.average is None else [self.average.values])]

    def take_over(self, other: Update) -> None:
        """Go on where `other` was: its steps, its factor, moments and averages of parameters that both train."""
        other.gather()
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


def _chain(network: BoundLayers) -> list[list[str]]:
    """The names of the parameters of each layer, where the network is a chain; else nothing."""
    if type(network.layers) is not Sequential:  # another class may go through its layers in another way
        return []
    starts = [f"{i}." for i in range(len(network.layers.children))]
    return [[name for name in network.declared if name.startswith(start)] for start in starts]
