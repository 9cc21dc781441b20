"""Schedules: the learning rate η as a function of the step number t, which starts at 0.

A schedule is given to an optimizer in place of a number: `Adam(learning_rate=CosineDecay(1e-3, steps=10_000))`.

base       the base class, the check of rates, and the constant rate
decays     schedules that fall
cycles     schedules that rise and fall
joined     schedules made of others
"""

from .base import ConstantRate, Schedule, check_rate, rate_at, require_exact_rates
from .cycles import CosineRestarts, CyclicRate, OneCycle
from .decays import (
    CosineDecay,
    ExponentialDecay,
    InverseSquareRoot,
    InverseTimeDecay,
    LinearDecay,
    MultiStepDecay,
    PiecewiseConstant,
    PolynomialDecay,
    StepDecay,
)
from .joined import JoinedSchedules, Warmup

__all__ = [
    "ConstantRate", "CosineDecay", "CosineRestarts", "CyclicRate", "ExponentialDecay", "InverseSquareRoot",
    "InverseTimeDecay", "JoinedSchedules", "LinearDecay", "MultiStepDecay", "OneCycle", "PiecewiseConstant",
    "PolynomialDecay", "Schedule", "StepDecay", "Warmup", "check_rate", "rate_at", "require_exact_rates",
]  # fmt: skip
