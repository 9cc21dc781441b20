"""Average: the exponential moving average of the trained parameters, or their mean, made after each step.

    (1)  a ← θ - d (θ - a)       exponential: d a + (1 - d) θ, and θ itself where d = 0
    (2)  a ← d a + (1 - d) θ     the mean: d = (n - 1)/n after step n of those that count; 1 after others: a stays

d is 0 up to the first step that counts, so that the average begins as the parameters of that step. It is one of the
numbers that change from step to step (`update.py`), and (1) or (2) is part of the recorded step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backends import Array
from ..flat import FlatArray
from ..layers.bound import BoundLayers
from .groups import Slices, slices_of


def exponential(theta: Any, a: Any, d: Any) -> Any:
    """(1)

    >>> exponential(2.0, 0.0, 0.75)
    0.5
    """
    return theta - d * (theta - a)


def mean(theta: Any, a: Any, d: Any) -> Any:
    """(2)

    >>> mean(2.0, 0.0, 0.75)
    0.5
    """
    return d * a + (1.0 - d) * theta


class Average:
    """The average of one network's trained parameters.

    names: of the trained parameters. decay: d of (1), None for the mean (2). first: the number of the first step that
    counts. validated: whether validation sees the averages in place of the parameters. every: of how many steps one
    counts in the mean.

    values: the averages by name, (...) as the parameters. At first they are the parameters as they are.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Constant(2.0)), 1, device="cpu")
    >>> average = Average(net, ["W"], decay=0.9, first=3)
    >>> average.values["W"].item(), average.decays(np.arange(2, 5)).tolist()
    (2.0, [0.0, 0.0, 0.9])
    >>> Average(net, ["W"], decay=None, first=3, every=2).decays(np.arange(2, 8)).tolist()
    [0.0, 0.0, 1.0, 0.5, 1.0, 0.6666666666666666]
    """

    def __init__(
        self,
        network: BoundLayers,
        names: list[str],
        decay: float | None,
        first: int,
        validated: bool = True,
        every: int = 1,
    ) -> None:
        self.decay, self.first, self.validated, self.every = decay, first, validated, every
        self._network = network
        shapes = {name: network.parameters[name].shape for name in names}
        self.values = FlatArray(network.backend, shapes, network.dtype)
        for name, value in self.values.items():
            network.backend.xp.copyto(value, network.parameters[name])

    @property
    def options(self) -> tuple[float | None, int, bool, int]:
        """(decay, first, validated, every)"""
        return self.decay, self.first, self.validated, self.every

    @property
    def slices(self) -> Slices:
        """(θ, a) slices of all trained parameters."""
        return slices_of(self._network, [self.values], self.values)

    def decays(self, t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """d at the steps `t`; (steps,)"""
        if self.decay is not None:
            return np.where(t <= self.first, 0.0, self.decay)
        before, rest = np.divmod(np.maximum(t - self.first, 0), self.every)  # before: how many counted before this one
        return np.where(t <= self.first, 0.0, np.where(rest, 1.0, before / (before + 1.0)))

    @property
    def rule(self) -> Callable[[Any, Any, Any], Any]:
        """(1) or (2), of θ, a and d."""
        return exponential if self.decay is not None else mean

    def vector(self) -> Array:
        """All parameters of the network as one new vector, the averages in place of those that are trained."""
        flat = self._network.flat.copy()
        views = self._network.parameters.views(flat)
        for name, value in self.values.items():
            self._network.backend.xp.copyto(views[name], value)
        return flat

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Inside, the network computes with the averages."""
        network = self._network
        kept, copy = network.flat.copy(), network.backend.xp.copyto
        try:
            copy(network.flat, self.vector())
            yield
        finally:
            copy(network.flat, kept)
