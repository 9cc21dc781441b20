"""Schedules made of others: warm-up, and one after another."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from ..config import Count, NotNegative
from .base import ConstantRate, Schedule, check_rate, rate_at
from .decays import check_boundaries


@dataclass(frozen=True, repr=False)
class Warmup(Schedule):
    """A straight line up to `after(0)` over `steps`, then `after`, a number or a schedule (Goyal et al. 2017).

    η(t) = after(0) (t + 1)/steps for t < steps, then after(t - steps)

    start: the rate of step 0. By default it is after(0)/steps, so that the first step moves, and step steps - 1 has
    after(0). With a number:

    η(t) = start + (after(0) - start) t/steps for t < steps, then after(t - steps)

    >>> [Warmup(1.0, steps=4)(t) for t in (0, 1, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    >>> [Warmup(1.0, steps=4, start=0.0)(t) for t in (0, 1, 3, 4)]
    [0.0, 0.25, 0.75, 1.0]
    """

    after: float | Schedule
    steps: Count = 1000
    start: NotNegative | None = None
    exact = True

    def __post_init__(self) -> None:
        check_rate("Warmup", self.after)

    def __call__(self, t: int) -> float:
        """The line, then after(t - steps)"""
        after = self.after if isinstance(self.after, Schedule) else ConstantRate(self.after)
        if t >= self.steps:
            return rate_at(after, t - self.steps, "the rate after Warmup")  # type: ignore[no-any-return]
        top = rate_at(after, 0, "the rate that Warmup rises to")
        if self.start is None:
            return top * (t + 1) / self.steps  # type: ignore[no-any-return]
        return self.start + (top - self.start) * t / self.steps  # type: ignore[no-any-return]


@dataclass(frozen=True, repr=False)
class JoinedSchedules(Schedule):
    """One schedule after another; each begins with its own step 0 when the step reaches its boundary.

    η(t) = schedules[k](t - boundaries[k - 1]), k the number of boundaries up to t; the first is given t itself

    schedules: schedules or numbers, one more than boundaries.

    >>> from gpubp import ExponentialDecay
    >>> joined = JoinedSchedules([0.1, ExponentialDecay(1.0, decay=0.5, steps=10)], boundaries=[20])
    >>> [joined(t) for t in (0, 19, 20, 30)]
    [0.1, 0.1, 1.0, 0.5]
    """

    schedules: tuple[float | Schedule, ...]
    boundaries: tuple[Count, ...]
    exact = True

    def __post_init__(self) -> None:
        for schedule in self.schedules:
            check_rate("JoinedSchedules", schedule)
        check_boundaries("JoinedSchedules", "boundaries", self.boundaries)
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                f"JoinedSchedules needs one schedule more than boundaries, which are {len(self.boundaries)}, and got "
                f"{len(self.schedules)} schedules"
            )

    def __call__(self, t: int) -> float:
        """schedules[k](t - boundaries[k - 1])"""
        k = bisect_right(self.boundaries, t)
        schedule = self.schedules[k]
        if not isinstance(schedule, Schedule):
            return schedule
        start = self.boundaries[k - 1] if k else 0
        return rate_at(schedule, t - start, "a rate of JoinedSchedules")  # type: ignore[no-any-return]
