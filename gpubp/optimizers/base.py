"""Optimizer: the base class of update rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..config import Configurable, real
from ..schedules import Schedule, check_rate, rate_at

Value = Any  # a number, an array, or a symbol of a formula
Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Optimizer(Configurable, ABC):
    """An update rule. Write your own as a class with `rule`, and with `moments` and `step_scalars` if it needs them.

    learning_rate: a number or a Schedule. weight_decay: λ of (0).
    maximize: make the loss large: the rule gets -g. Weight decay and penalties P still shrink the parameters, so that
    the objective, and the loss that is reported, is loss - P.
    decayed: the parameters that (0) changes, by patterns of their names: "*" for all, ("*.W", "1.gamma") for some,
    ("*", "!0.*") for all but some. None, the default: weights, and no biases or normalization parameters; "!0.*" alone
    takes from these. Of two patterns that match a name the later counts.
    exact: whether `step_scalars` has the same bits on every machine in exact numerics; a class with a rule alone need
    not say so. A class of your own may leave out the last three.

    >>> import gpubp as bp
    >>> bp.SGD(learning_rate=0.1).rule(1.0, 2.0, 0.1)
    (0.8,)
    """

    learning_rate: float | Schedule
    weight_decay: float
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None
    exact: ClassVar[bool] = False

    @property
    def is_by_formulas(self) -> bool:
        """Whether the class brings no numbers but those of its rule, which is a formula."""
        return all(getattr(type(self), name) is getattr(Optimizer, name) for name in ("step_scalars", "rate"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(type(self).__name__, self.learning_rate)

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the vectors it keeps between steps, zero at first if `initial_moments` names no other number."""
        return ()

    @property
    def initial_moments(self) -> Mapping[str, float]:
        """What moments are at first, by name; 0 those that are not named."""
        return {}

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """What else the rule reads at the steps `t`, whose learning rates are `eta`; all (steps,)."""
        return {"eta": eta}

    numbers = step_scalars  # its name before; an optimizer of your own may still have it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = next(vars(c) for c in cls.__mro__ if {"step_scalars", "numbers"} & vars(c).keys())
        for name, other in (("step_scalars", "numbers"), ("numbers", "step_scalars")):
            if name not in own:
                setattr(cls, name, own[other])

    @abstractmethod
    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(θ, *moments) after the step, from θ, g, the moments and the numbers, in the order declared."""

    def ascend(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """The rule with -g in place of g, as a step takes it with maximize."""
        return self.rule(theta, -g, *rest)

    def rate(self, t: int) -> float:
        """η of step t = 1, 2, ... Raises ValueError if the schedule gives no finite number of 0 or more."""
        schedule = self.learning_rate
        if not isinstance(schedule, Schedule):
            check_rate(type(self).__name__, schedule)
            return schedule
        return real(rate_at(schedule, t - 1, f"the learning rate of step {t}"))
