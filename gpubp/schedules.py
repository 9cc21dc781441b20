"""Schedules: the learning rate η as a function of the step number t, which starts at 0.

A schedule is given to an optimizer in place of a number: `Adam(learning_rate=CosineDecay(1e-3, steps=10_000))`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from .backends.exactness import require_exact
from .config import BetweenZeroAndOne, Configurable, Count, NotNegative, Positive, real
from .formula.host import cos, power


class Schedule(Configurable, ABC):
    """η(t), a finite number of 0 or more. Write your own as a class with `__call__(self, t)`.

    It is asked for up to 256 steps ahead. What it raises or gives for a step counts only once that step is due. exact:
    whether in exact numerics the rates have the same bits on every machine: + - * / √ have, and cos, exp, log, power
    and sin of `gpubp.formula.host`.

    >>> ExponentialDecay(0.1, decay=0.5, steps=10)(10)
    0.05
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, t: int) -> float:
        """The learning rate of step t = 0, 1, 2, ..."""


def check_rate(of: str, rate: Any) -> None:
    """Raise TypeError or ValueError if `rate`, what an optimizer was given, is no schedule and no rate.

    >>> check_rate("SGD", 0.1)
    >>> check_rate("SGD", -0.1)
    Traceback (most recent call last):
    ...
    ValueError: SGD needs a learning rate that is a finite number, 0 or more, or a Schedule, and got -0.1
    """
    if isinstance(rate, Schedule) or 0 <= real(rate) < math.inf:
        return
    kind: type[Exception] = ValueError
    hint = ""
    if isinstance(rate, type) and issubclass(rate, Schedule):
        kind, hint = TypeError, f"; write {rate.__name__}(...)"
    elif callable(rate):
        kind, hint = TypeError, "; write a class with the base gpubp.Schedule, whose __call__(self, t) returns the rate"
    raise kind(f"{of} needs a learning rate that is a finite number, 0 or more, or a Schedule, and got {rate!r}{hint}")


def rate_at(schedule: Schedule, t: int, what: str) -> Any:
    """What the schedule gives for the argument t, as it gives it; ValueError unless it is a finite number of 0 or more.

    what: what it is asked for, for the errors; its own errors get it in a note.

    >>> rate_at(ConstantRate(0.1), 0, "the learning rate of step 1")
    0.1
    """
    try:
        given = schedule(t)
    except Exception as problem:
        problem.add_note(f"{schedule!r} was asked for {what}: {t} was its argument")
        raise
    if not 0 <= real(given) < math.inf:
        raise ValueError(
            f"{schedule!r} gave {given!r:.200} as {what} ({t} was its argument); its __call__(self, t) must return a "
            f"finite number, 0 or more{'; is a return missing?' * (given is None)}"
        )
    return given


def require_exact_rates(schedule: Schedule) -> None:
    """Raise ExactError if it, or a schedule within it, does not say that it is exact.

    >>> require_exact_rates(Warmup(CosineDecay(0.1, steps=100), steps=10))
    """
    require_exact(schedule, if_it="computes by + - * /, square roots and the functions of gpubp.formula.host alone")
    for value in vars(schedule).values():
        if isinstance(value, Schedule):
            require_exact_rates(value)


@dataclass(frozen=True, repr=False)
class ConstantRate(Schedule):
    """η(t) = rate

    >>> ConstantRate(0.1)(1000)
    0.1
    """

    rate: NotNegative
    exact = True

    def __call__(self, t: int) -> float:
        """rate"""
        return self.rate


@dataclass(frozen=True, repr=False)
class StepDecay(Schedule):
    """η(t) = rate · factor^⌊t / steps⌋: constant for `steps` steps at a time.

    >>> [StepDecay(1.0, factor=0.5, steps=10)(t) for t in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """

    rate: NotNegative
    factor: NotNegative = 0.1
    steps: Count = 1000
    exact = True

    def __call__(self, t: int) -> float:
        """rate · factor^⌊t / steps⌋"""
        return self.rate * power(self.factor, t // self.steps)  # type: ignore[no-any-return]


@dataclass(frozen=True, repr=False)
class ExponentialDecay(Schedule):
    """η(t) = rate · decay^(t / steps)

    >>> ExponentialDecay(1.0, decay=0.25, steps=10)(5)
    0.5
    """

    rate: NotNegative
    decay: Positive = 0.96
    steps: Count = 1000
    exact = True

    def __call__(self, t: int) -> float:
        """rate · decay^(t / steps)"""
        return float(self.rate * power(self.decay, t / self.steps))


@dataclass(frozen=True, repr=False)
class InverseTimeDecay(Schedule):
    """η(t) = rate / (1 + decay · t / steps) (Robbins and Monro 1951)

    >>> InverseTimeDecay(1.0, decay=1.0, steps=10)(10)
    0.5
    """

    rate: NotNegative
    decay: NotNegative = 1.0
    steps: Count = 1000
    exact = True

    def __call__(self, t: int) -> float:
        """rate / (1 + decay · t / steps)"""
        return self.rate / (1.0 + self.decay * t / self.steps)


@dataclass(frozen=True, repr=False)
class CosineDecay(Schedule):
    """Half a cosine from `rate` down to `final` over `steps`, then `final` (Loshchilov and Hutter 2016).

    η(t) = final + ½ (rate - final)(1 + cos(π min(t / steps, 1)))

    >>> [round(CosineDecay(1.0, steps=10)(t), 3) for t in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """

    rate: NotNegative
    steps: Count
    final: NotNegative = 0.0
    exact = True

    def __call__(self, t: int) -> float:
        """final + ½ (rate - final)(1 + cos(π t / steps))"""
        done = min(t / self.steps, 1.0)
        return float(self.final + 0.5 * (self.rate - self.final) * (1.0 + cos(math.pi * done)))


@dataclass(frozen=True, repr=False)
class Warmup(Schedule):
    """A straight line up to `after(0)` over `steps`, then `after`, a number or a schedule (Goyal et al. 2017).

    η(t) = after(0) (t + 1)/steps for t < steps, then after(t - steps)

    >>> [Warmup(1.0, steps=4)(t) for t in (0, 1, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    """

    after: float | Schedule
    steps: Count = 1000
    exact = True

    def __post_init__(self) -> None:
        check_rate("Warmup", self.after)

    def __call__(self, t: int) -> float:
        """after(0) (t + 1)/steps, then after(t - steps)"""
        after = self.after if isinstance(self.after, Schedule) else ConstantRate(self.after)
        if t < self.steps:
            return rate_at(after, 0, "the rate that Warmup rises to") * (t + 1) / self.steps  # type: ignore[no-any-return]
        return rate_at(after, t - self.steps, "the rate after Warmup")  # type: ignore[no-any-return]


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up from rate/start to `rate` in the first `rise` of the steps, down to rate/end, both half a cosine (Smith 2018).

    >>> [round(OneCycle(1.0, steps=100)(t), 3) for t in (0, 30, 100)]
    [0.04, 1.0, 0.0]
    """

    rate: NotNegative
    steps: Count
    rise: BetweenZeroAndOne = 0.3
    start: Positive = 25.0
    end: Positive = 1e4
    exact = True

    def __call__(self, t: int) -> float:
        """Two halves of a cosine"""
        top = self.rise * self.steps
        low, high, done = (
            (self.rate / self.start, self.rate, t / top)
            if t < top
            else (self.rate / self.end, self.rate, 1.0 - min((t - top) / (self.steps - top), 1.0))
        )
        return float(low + 0.5 * (high - low) * (1.0 - cos(math.pi * done)))
