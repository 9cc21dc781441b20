"""Schedules that rise and fall: one cycle, many of them, and restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ..config import BetweenZeroAndOne, Count, NotNegative, Positive, Range, UpToOne
from ..formula.host import cos, power
from .base import Schedule


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up from rate/start to `rate` in the first `rise` of the steps, then down, both half a cosine (Smith 2018).

    end_of: what is divided by `end` to get the last rate: "peak", rate/end, or "start", rate/start/end, as in PyTorch
    and optax.

    >>> [round(OneCycle(1.0, steps=100)(t), 3) for t in (0, 30, 100)]
    [0.04, 1.0, 0.0]
    >>> OneCycle(1.0, steps=100, start=4.0, end=2.0)(100), OneCycle(1.0, 100, start=4.0, end=2.0, end_of="start")(100)
    (0.5, 0.125)
    """

    rate: NotNegative
    steps: Count
    rise: BetweenZeroAndOne = 0.3
    start: Positive = 25.0
    end: Positive = 1e4
    end_of: Literal["peak", "start"] = "peak"
    exact = True

    def __call__(self, t: int) -> float:
        """Two halves of a cosine"""
        top = self.rise * self.steps
        if t < top:
            low, done = self.rate / self.start, t / top
        else:
            low = (self.rate if self.end_of == "peak" else self.rate / self.start) / self.end
            done = 1.0 - min((t - top) / (self.steps - top), 1.0)
        return float(low + 0.5 * (self.rate - low) * (1.0 - cos(math.pi * done)))


@dataclass(frozen=True, repr=False)
class CosineRestarts(Schedule):
    """Half a cosine down from `rate` to `final`, again and again: SGDR (Loshchilov and Hutter 2016).

    η(t) = final + ½ rate_factorᵏ (rate - final)(1 + cos(π s / (steps · steps_factorᵏ)))

    in descent k = 0, 1, ..., s steps after its begin: each is steps_factor times as long as the one before, and
    rate_factor times as high.

    >>> [round(CosineRestarts(1.0, steps=10)(t), 3) for t in (0, 5, 9, 10, 20, 29, 30)]
    [1.0, 0.5, 0.024, 1.0, 0.5, 0.006, 1.0]
    """

    rate: NotNegative
    steps: Count
    steps_factor: Annotated[float, Range(1)] = 2.0
    rate_factor: NotNegative = 1.0
    final: NotNegative = 0.0
    exact = True

    def __call__(self, t: int) -> float:
        """Half a cosine"""
        k, begin, length = 0, 0.0, float(self.steps)
        if self.steps_factor == 1:
            k = t // self.steps
            begin = k * length
        while t - begin >= length:
            k, begin, length = k + 1, begin + length, length * self.steps_factor
        height = power(self.rate_factor, k) * (self.rate - self.final)
        return float(self.final + 0.5 * height * (1.0 + cos(math.pi * ((t - begin) / length))))


@dataclass(frozen=True, repr=False)
class CyclicRate(Schedule):
    """Straight lines up from `low` to `high` and down again, in cycles (Smith 2017, "triangular").

    η(t) = low + (high - low) factorᵏ decayᵗ x,  x = s / steps up, then 1 - (s - steps) / steps_down

    s steps after the begin of cycle k = 0, 1, ... steps_down: None for as many as `steps`. factor: 0.5 halves the
    height from cycle to cycle ("triangular2"). decay: below 1 it falls from step to step ("exp_range").

    >>> [CyclicRate(0.5, 1.5, steps=10)(t) for t in (0, 5, 10, 15, 20, 30)]
    [0.5, 1.0, 1.5, 1.0, 0.5, 1.5]
    >>> [CyclicRate(0.5, 1.5, steps=10, factor=0.5)(t) for t in (10, 30, 50)]
    [1.5, 1.0, 0.75]
    """

    low: NotNegative
    high: NotNegative
    steps: Count = 2000
    steps_down: Count | None = None
    factor: UpToOne = 1.0
    decay: UpToOne = 1.0
    exact = True

    def __call__(self, t: int) -> float:
        """low + (high - low) factorᵏ decayᵗ x"""
        down = self.steps_down or self.steps
        k, s = divmod(t, self.steps + down)
        x = s / self.steps if s <= self.steps else 1.0 - (s - self.steps) / down
        height = power(self.factor, k) * power(self.decay, t) * (self.high - self.low)
        return float(self.low + height * x)
