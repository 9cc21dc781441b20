"""Groups: the trained parameters by learning rate and weight decay, as slices of the vectors.

All vectors of an update lie in memory in the same order, and parameters that decay lie before the others. So the
parameters of one group are few slices, and one call does its work on each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from ..backends import Array
from ..flat import FlatArray, matching
from ..layers.bound import BoundLayers
from .exact_sums import range_of

Slices = list[tuple[int, tuple[Array, ...]]]  # where each starts in the gradients' vector, and θ, g, ... there


class Factors(NamedTuple):
    """What learning rate and weight decay are multiplied by, for each parameter by its name. Use `of`.

    penalized: the names of those that penalties reach.

    >>> Factors({"W": 0.1}, {"W": 1.0}, set()).rate["W"]
    0.1
    """

    rate: Mapping[str, float]
    decay: Mapping[str, float]
    penalized: Set[str]

    @classmethod
    def of(
        cls,
        network: BoundLayers,
        rate: Mapping[str, float],
        decay: Mapping[str, float],
        decayed: str | Sequence[str] | None = None,
        penalized: str | Sequence[str] | None = None,
    ) -> Factors:
        """From patterns of names; a later pattern overrules an earlier one. Raises ValueError for a pattern that
        matches nothing, or is no text.

        Weight decay leaves out what `decayed` does not name, by default biases and normalization parameters, unless a
        pattern of `decay` matches nothing else. decayed, penalized: see `chosen`.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(1)), 4, device="cpu")
        >>> Factors.of(net, {}, {"*": 0.5, "1.*": 0.1, "0.b": 2.0}).decay
        {'0.W': 0.5, '0.b': 2.0, '1.W': 0.1, '1.b': 0.0}
        """
        declared = network.declared
        rates = dict.fromkeys(declared, 1.0)
        for names, factor in _matched("learning_rate_factors", rate, declared):
            rates |= dict.fromkeys(names, factor)
        decaying = chosen("decayed", decayed, network)
        decays = {name: float(name in decaying) for name in declared}
        for names, factor in _matched("weight_decay_factors", decay, declared):
            decays |= dict.fromkeys([n for n in names if n in decaying] or names, factor)
        return cls(rates, decays, chosen("penalized", penalized, network))


def chosen(option: str, patterns: str | Sequence[str] | None, network: BoundLayers) -> set[str]:
    """The parameters that patterns name, the later one counting; "!" before one takes names out.

    The default is None: weights, and no biases or normalization parameters; a first pattern with "!" takes from these.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(1)), 4, device="cpu")
    >>> sorted(chosen("decayed", None, net)), sorted(chosen("decayed", "!0.*", net))
    (['0.W', '1.W'], ['1.W'])
    >>> sorted(chosen("decayed", ("*", "!0.*", "0.b"), net))
    ['0.b', '1.W', '1.b']
    """
    declared = network.declared
    listed = [patterns] if isinstance(patterns, str) else list(patterns or ())
    usual = patterns is None or (listed and listed[0].startswith("!"))
    names = {name for name, p in declared.items() if p.decay and usual}
    for pattern in listed:
        try:
            found = set(matching(pattern.removeprefix("!"), declared))
        except ValueError as problem:
            raise ValueError(f"{option}={patterns!r}: {problem}") from None
        names = names - found if pattern.startswith("!") else names | found
    return names


def _matched(option: str, factors: Mapping[str, float], names: Iterable[str]) -> Iterator[tuple[list[str], float]]:
    """(the names that a pattern matches, its factor) of each pattern."""
    for pattern, factor in factors.items():
        if not isinstance(pattern, str):
            raise ValueError(f'{option} has patterns of names, such as "0.*", and one is {pattern!r}')
        yield matching(pattern, names), float(factor)


def slice_of(length: int, number: int, parts: int, exact: bool = False) -> tuple[int, int]:
    """From where to where part `number` of so many has the numbers of a vector of this length.

    exact: in exact numerics, whose sums over vectors go by `NodeSums`.

    >>> [slice_of(100, k, 3) for k in range(3)]
    [(0, 32), (32, 64), (64, 100)]
    """
    if exact:
        return range_of(length, number, parts)
    low, high = ((length * k // parts) // 16 * 16 if k < parts else length for k in (number, number + 1))
    return low, high


class Group:
    """The trained parameters that have one learning-rate factor.

    rate: that factor. decays: the weight-decay factors above 0 among them.
    """

    def __init__(self, network: BoundLayers, vectors: list[FlatArray], factors: Factors, rate: float) -> None:
        """vectors: gradients and moments, of the trained parameters."""
        self.rate = rate
        names = [name for name in vectors[0] if factors.rate[name] == rate]
        self.decays = sorted({factors.decay[name] for name in names} - {0.0})
        self._trained = slices_of(network, vectors, names)
        self._decayed = [
            slices_of(network, vectors[:1], [name for name in names if factors.decay[name] == decay])
            for decay in self.decays
        ]
        penalized = [name for name in names if name in factors.penalized]
        self._penalized = slices_of(network, vectors[:1], penalized)

    def part(self, low: int, high: int, block: int) -> Part:
        """Its slices between two positions of the gradients' vector, each at most `block` numbers long."""
        decayed = [between(slices, low, high, block) for slices in self._decayed]
        return Part(between(self._trained, low, high, block), decayed, between(self._penalized, low, high, block))


class Part(NamedTuple):
    """trained: (θ, g, *moments) slices. decayed: (θ, g) slices, for each of `Group.decays`. penalized: (θ, g) slices of
    those that penalties reach.

    >>> Part([], [], []).trained
    []
    """

    trained: list[tuple[Array, ...]]
    decayed: list[list[tuple[Array, ...]]]
    penalized: list[tuple[Array, ...]]


def between(slices: Slices, low: int, high: int, block: int) -> list[tuple[Array, ...]]:
    """The slices, cut to what lies between two positions of the gradients' vector, each at most `block` long.

    >>> import numpy as np
    >>> [a.tolist() for (a,) in between([(4, (np.arange(6),))], 6, 20, 3)]
    [[2, 3, 4], [5]]
    """
    found = []
    for start, arrays in slices:
        first, end = max(low - start, 0), min(high - start, len(arrays[0]))
        while first < end:
            upto = min(first + block, end)
            found.append(tuple(array[first:upto] for array in arrays))
            first = upto
    return found


def slices_of(network: BoundLayers, vectors: Sequence[FlatArray], names: Iterable[str]) -> Slices:
    """The slices of θ and of each vector that hold the parameters called `names`."""
    slices = []
    for first, run in network.runs(names):
        start = vectors[0].offsets[first]  # neighbours in the network's vector are neighbours here
        length = run.stop - run.start
        slices.append((start, (network.flat[run], *(v.flat[start : start + length] for v in vectors))))
    return slices
