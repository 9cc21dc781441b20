"""Schedule: the base class, the check of rates, and the constant rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backends.exactness import require_exact
from ..config import Configurable, NotNegative, real


class Schedule(Configurable, ABC):
    """η(t), a finite number of 0 or more. Write your own as a class with `__call__(self, t)`.

    It is asked for up to 256 steps ahead. What it raises or gives for a step counts only once that step is due. exact:
    whether in exact numerics the rates have the same bits on every machine: + - * / √ have, and cos, exp, log, power
    and sin of `gpubp.formula.host`.

    >>> import gpubp as bp
    >>> bp.ExponentialDecay(0.1, decay=0.5, steps=10)(10)
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

    >>> import gpubp as bp
    >>> require_exact_rates(bp.Warmup(bp.CosineDecay(0.1, steps=100), steps=10))
    """
    require_exact(schedule, if_it="computes by + - * /, square roots and the functions of gpubp.formula.host alone")
    for value in vars(schedule).values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if isinstance(inner, Schedule):
                require_exact_rates(inner)


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
