"""Schedules that fall: in steps, along a curve, or as a line."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from ..config import Count, NotNegative, Positive
from ..formula.host import cos, power
from .base import Schedule


def check_boundaries(of: str, name: str, boundaries: tuple[int, ...]) -> None:
    """Raise ValueError unless the numbers of steps rise.

    >>> check_boundaries("MultiStepDecay", "milestones", (10, 5))
    Traceback (most recent call last):
    ...
    ValueError: MultiStepDecay needs milestones that rise from one to the next, and got (10, 5)
    """
    if any(later <= earlier for earlier, later in zip(boundaries, boundaries[1:], strict=False)):
        raise ValueError(f"{of} needs {name} that rise from one to the next, and got {boundaries!r}")


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
class MultiStepDecay(Schedule):
    """η(t) = rate · factor^k, k the number of milestones ≤ t: lower from each of these steps on.

    >>> [MultiStepDecay(1.0, milestones=(10, 30), factor=0.5)(t) for t in (0, 9, 10, 29, 30)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    rate: NotNegative
    milestones: tuple[Count, ...]
    factor: NotNegative = 0.1
    exact = True

    def __post_init__(self) -> None:
        check_boundaries("MultiStepDecay", "milestones", self.milestones)

    def __call__(self, t: int) -> float:
        """rate · factor^k"""
        return self.rate * power(self.factor, bisect_right(self.milestones, t))  # type: ignore[no-any-return]


@dataclass(frozen=True, repr=False)
class PiecewiseConstant(Schedule):
    """η(t) = rates[k], k the number of boundaries ≤ t: the next rate begins at the step that a boundary names.

    rates: one more than boundaries.

    >>> [PiecewiseConstant((10, 30), (1.0, 0.5, 0.1))(t) for t in (0, 9, 10, 29, 30)]
    [1.0, 1.0, 0.5, 0.5, 0.1]
    """

    boundaries: tuple[Count, ...]
    rates: tuple[NotNegative, ...]
    exact = True

    def __post_init__(self) -> None:
        check_boundaries("PiecewiseConstant", "boundaries", self.boundaries)
        if len(self.rates) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstant needs one rate more than boundaries, which are {len(self.boundaries)}, and got "
                f"{len(self.rates)} rates"
            )

    def __call__(self, t: int) -> float:
        """rates[k]"""
        return self.rates[bisect_right(self.boundaries, t)]


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
class InverseSquareRoot(Schedule):
    """A line up to `rate` over `steps`, then down as one over the root of t: for transformers (Vaswani et al. 2017).

    η(t) = rate · min((t + 1) / steps, √(steps / (t + 1)))

    The paper's d^-½ min(s^-½, s steps^-3/2) of step s = t + 1, for vectors of d numbers, has rate = 1 / √(d · steps).

    >>> [InverseSquareRoot(1.0, steps=4)(t) for t in (0, 1, 3, 15, 63)]
    [0.25, 0.5, 1.0, 0.5, 0.25]
    """

    rate: NotNegative
    steps: Count = 4000
    exact = True

    def __call__(self, t: int) -> float:
        """rate · min((t + 1) / steps, √(steps / (t + 1)))"""
        return self.rate * min((t + 1) / self.steps, math.sqrt(self.steps / (t + 1)))


@dataclass(frozen=True, repr=False)
class LinearDecay(Schedule):
    """A straight line from `rate` to `final` over `steps`, then `final`.

    η(t) = final + (rate - final)(1 - min(t / steps, 1))

    >>> [LinearDecay(1.0, steps=10)(t) for t in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """

    rate: NotNegative
    steps: Count
    final: NotNegative = 0.0
    exact = True

    def __call__(self, t: int) -> float:
        """final + (rate - final)(1 - t / steps)"""
        return self.final + (self.rate - self.final) * (1.0 - min(t / self.steps, 1.0))


@dataclass(frozen=True, repr=False)
class PolynomialDecay(Schedule):
    """A power of the share of steps that remain, from `rate` to `final`, then `final`; with power 1 a line.

    η(t) = final + (rate - final)(1 - min(t / steps, 1))^power

    >>> [PolynomialDecay(1.0, steps=10, power=2)(t) for t in (0, 5, 10, 20)]
    [1.0, 0.25, 0.0, 0.0]
    """

    rate: NotNegative
    steps: Count
    final: NotNegative = 0.0
    power: Positive = 1.0
    exact = True

    def __call__(self, t: int) -> float:
        """final + (rate - final)(1 - t / steps)^power"""
        left = 1.0 - min(t / self.steps, 1.0)
        return float(self.final + (self.rate - self.final) * (power(left, self.power) if left else 0.0))


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
