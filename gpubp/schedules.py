"""Schedules: the learning rate η as a function of the step number t, which starts at 0.

A schedule is given to an optimizer in place of a number: `Adam(learning_rate=CosineDecay(1e-3, steps=10_000))`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from .config import Configurable

__all__ = [
    "ConstantRate",
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "OneCycle",
    "Schedule",
    "StepDecay",
    "Warmup",
]


class Schedule(Configurable, ABC):
    """η(t). Write your own as a class with `__call__(self, t)`.

    >>> ExponentialDecay(0.1, decay=0.5, steps=10)(10)
    0.05
    """

    @abstractmethod
    def __call__(self, t: int) -> float:
        """The learning rate of step t = 0, 1, 2, ..."""


class _Stepped(Schedule):
    steps: int

    def __post_init__(self) -> None:
        if not self.steps >= 1:
            raise ValueError(f"{type(self).__name__} needs steps of 1 or more and got {self.steps!r}")


@dataclass(frozen=True, repr=False)
class ConstantRate(Schedule):
    """η(t) = rate

    >>> ConstantRate(0.1)(1000)
    0.1
    """

    rate: float

    def __call__(self, t: int) -> float:
        """rate"""
        return self.rate


@dataclass(frozen=True, repr=False)
class StepDecay(_Stepped):
    """η(t) = rate · factor^⌊t / steps⌋: constant for `steps` steps at a time.

    >>> [StepDecay(1.0, factor=0.5, steps=10)(t) for t in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """

    rate: float
    factor: float = 0.1
    steps: int = 1000

    def __call__(self, t: int) -> float:
        """rate · factor^⌊t / steps⌋"""
        return self.rate * self.factor ** (t // self.steps)


@dataclass(frozen=True, repr=False)
class ExponentialDecay(_Stepped):
    """η(t) = rate · decay^(t / steps)

    >>> ExponentialDecay(1.0, decay=0.25, steps=10)(5)
    0.5
    """

    rate: float
    decay: float = 0.96
    steps: int = 1000

    def __call__(self, t: int) -> float:
        """rate · decay^(t / steps)"""
        return float(self.rate * self.decay ** (t / self.steps))


@dataclass(frozen=True, repr=False)
class InverseTimeDecay(_Stepped):
    """η(t) = rate / (1 + decay · t / steps) (Robbins and Monro 1951)

    >>> InverseTimeDecay(1.0, decay=1.0, steps=10)(10)
    0.5
    """

    rate: float
    decay: float = 1.0
    steps: int = 1000

    def __call__(self, t: int) -> float:
        """rate / (1 + decay · t / steps)"""
        return self.rate / (1.0 + self.decay * t / self.steps)


@dataclass(frozen=True, repr=False)
class CosineDecay(_Stepped):
    """Half a cosine from `rate` down to `final` over `steps`, then `final` (Loshchilov and Hutter 2016).

    η(t) = final + ½ (rate - final)(1 + cos(π min(t / steps, 1)))

    >>> [round(CosineDecay(1.0, steps=10)(t), 3) for t in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """

    rate: float
    steps: int
    final: float = 0.0

    def __call__(self, t: int) -> float:
        """final + ½ (rate - final)(1 + cos(π t / steps))"""
        done = min(t / self.steps, 1.0)
        return self.final + 0.5 * (self.rate - self.final) * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True, repr=False)
class Warmup(_Stepped):
    """A straight line up to `after(0)` over `steps`, then `after`, a number or a schedule (Goyal et al. 2017).

    η(t) = after(0) (t + 1)/steps for t < steps, then after(t - steps)

    >>> [Warmup(1.0, steps=4)(t) for t in (0, 1, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    """

    after: float | Schedule
    steps: int = 1000

    def __call__(self, t: int) -> float:
        """after(0) (t + 1)/steps, then after(t - steps)"""
        after = self.after if isinstance(self.after, Schedule) else ConstantRate(self.after)
        return after(0) * (t + 1) / self.steps if t < self.steps else after(t - self.steps)


@dataclass(frozen=True, repr=False)
class OneCycle(_Stepped):
    """Up from rate/start to `rate` in the first `rise` of the steps, down to rate/end, both half a cosine (Smith 2018).

    >>> [round(OneCycle(1.0, steps=100)(t), 3) for t in (0, 30, 100)]
    [0.04, 1.0, 0.0]
    """

    rate: float
    steps: int
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rise < 1:
            raise ValueError(f"OneCycle needs a rise between 0 and 1 and got {self.rise!r}")
        if not (self.start > 0 and self.end > 0):
            raise ValueError(f"OneCycle needs start and end above 0 and got {self.start!r} and {self.end!r}")

    def __call__(self, t: int) -> float:
        """Two halves of a cosine"""
        top = self.rise * self.steps
        low, high, done = (
            (self.rate / self.start, self.rate, t / top)
            if t < top
            else (self.rate / self.end, self.rate, 1.0 - min((t - top) / (self.steps - top), 1.0))
        )
        return low + 0.5 * (high - low) * (1.0 - math.cos(math.pi * done))
