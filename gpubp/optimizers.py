"""Optimizers: update rules on all parameters at once.

θ are the parameters as one vector, g = ∂L/∂θ, η the learning rate, t = 1, 2, ... the number of the step. A rule is a
formula (see `gpubp.formula`), number by number on the whole vector, and one kernel on a GPU; sums over gradients are no
part of it. What changes from step to step besides vectors, such as η and Adam's bias corrections, is computed on the
host in float64 by `step_scalars`, so that every device reads the same bits.

Decoupled weight decay λ (Loshchilov and Hutter 2017) comes before the rule:  (0) θ ← (1 - η λ) θ,  biases and
normalization parameters left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .config import BelowOne, Configurable, NotNegative, Positive, real
from .formula import maximum, sqrt
from .formula.host import power
from .schedules import Schedule, check_rate, rate_at

Value = Any  # a number, an array, or a symbol of a formula
Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Optimizer(Configurable, ABC):
    """An update rule. Write your own as a class with `rule`, and with `moments` and `step_scalars` if it needs them.

    learning_rate: a number or a Schedule. weight_decay: λ of (0). exact: whether `step_scalars` has the same bits on
    every machine in exact numerics; a class with a rule alone need not say so.

    >>> import numpy as np
    >>> SGD(learning_rate=0.1).rule(1.0, 2.0, 0.1)
    (0.8,)
    """

    learning_rate: float | Schedule
    weight_decay: float
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
        """Names of the vectors it keeps between steps, zero at first."""
        return ()

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

    def rate(self, t: int) -> float:
        """η of step t = 1, 2, ... Raises ValueError if the schedule gives no finite number of 0 or more."""
        schedule = self.learning_rate
        if not isinstance(schedule, Schedule):
            check_rate(type(self).__name__, schedule)
            return schedule
        return real(rate_at(schedule, t - 1, f"the learning rate of step {t}"))


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Gradient descent, with momentum μ (Polyak 1964) in PyTorch's form, where η scales the whole velocity.

        (1) v ← μ v + g     (2) θ ← θ - η v          nesterov (Sutskever et al. 2013):  (2') θ ← θ - η (g + μ v)

    >>> SGD(learning_rate=0.1, momentum=0.5).rule(1.0, 2.0, 4.0, 0.1)
    (0.6, 4.0)
    """

    learning_rate: float | Schedule = 0.01
    momentum: BelowOne = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ValueError("SGD with nesterov=True needs a momentum above 0")

    @property
    def moments(self) -> tuple[str, ...]:
        """v, if there is momentum."""
        return ("v",) if self.momentum else ()

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        if not self.momentum:
            (eta,) = rest
            return (theta - eta * g,)
        v, eta = rest
        v = self.momentum * v + g  # (1)
        step = g + self.momentum * v if self.nesterov else v
        return theta - eta * step, v  # (2)


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """Steps scaled by a running root mean square of the gradient (Tieleman and Hinton 2012).

        (1) v ← ρ v + (1 - ρ) g²     (2) θ ← θ - η g / (√v + ε)

    >>> RMSprop(rho=0.0).rule(1.0, 2.0, 0.0, 0.5)[1]
    4.0
    """

    learning_rate: float | Schedule = 1e-3
    rho: BelowOne = 0.9
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0

    @property
    def moments(self) -> tuple[str, ...]:
        """v: the mean square."""
        return ("v",)

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        v, eta = rest
        v = self.rho * v + (1.0 - self.rho) * (g * g)  # (1)
        return theta - eta * g / (sqrt(v) + self.eps), v  # (2)


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Steps scaled by the root of all squared gradients so far (Duchi, Hazan and Singer 2011).

        (1) v ← v + g²     (2) θ ← θ - η g / (√v + ε)

    >>> Adagrad().rule(1.0, 2.0, 0.0, 0.5)[1]
    4.0
    """

    learning_rate: float | Schedule = 0.01
    eps: Positive = 1e-10
    weight_decay: NotNegative = 0.0

    @property
    def moments(self) -> tuple[str, ...]:
        """v: the sum of squares."""
        return ("v",)

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        v, eta = rest
        v = v + g * g  # (1)
        return theta - eta * g / (sqrt(v) + self.eps), v  # (2)


class _AdamRule(Optimizer):
    beta_1: BelowOne
    beta_2: BelowOne
    eps: Positive
    amsgrad: bool
    exact = True

    @property
    def moments(self) -> tuple[str, ...]:
        """m, v: the means of g and g²; with amsgrad also vmax, the largest v so far."""
        return ("m", "v", "vmax") if self.amsgrad else ("m", "v")

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """α = η √(1 - β₂ᵗ) / (1 - β₁ᵗ) and ε̂ = ε √(1 - β₂ᵗ)"""
        root = np.sqrt(1.0 - power(self.beta_2, t))
        return {"alpha": eta * root / (1.0 - power(self.beta_1, t)), "eps_hat": self.eps * root}

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2), (3)"""
        m, v, *largest, alpha, eps_hat = rest
        m = self.beta_1 * m + (1.0 - self.beta_1) * g  # (1)
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)  # (2)
        if largest:
            vmax = maximum(largest[0], v)  # (2')
            return theta - alpha * m / (sqrt(vmax) + eps_hat), m, v, vmax  # (3)
        return theta - alpha * m / (sqrt(v) + eps_hat), m, v  # (3)


@dataclass(frozen=True, repr=False)
class Adam(_AdamRule):
    """Adam (Kingma and Ba 2014), ε standing after the bias-corrected root as in the paper's algorithm and PyTorch.

        (1) m ← β₁ m + (1 - β₁) g     (2) v ← β₂ v + (1 - β₂) g²
        (3) θ ← θ - η m̂ / (√v̂ + ε),  m̂ = m/(1 - β₁ᵗ),  v̂ = v/(1 - β₂ᵗ)

    (3) is computed as θ - α m / (√v + ε̂), numerator and denominator multiplied by √(1 - β₂ᵗ):
    α = η √(1 - β₂ᵗ)/(1 - β₁ᵗ), ε̂ = ε √(1 - β₂ᵗ).

    amsgrad (Reddi, Kale and Kumar 2018): the largest v so far in place of v, so that the step sizes of a parameter
    don't grow again. As in PyTorch it is taken before the bias correction:

        (2') vmax ← max(vmax, v),  v̂ = vmax/(1 - β₂ᵗ)

    >>> import numpy as np
    >>> adam = Adam(learning_rate=0.1)
    >>> n = adam.step_scalars(np.array([1.0]), np.array([0.1]))
    >>> theta, m, v = adam.rule(1.0, 5.0, 0.0, 0.0, n["alpha"], n["eps_hat"])
    >>> round(theta.item(), 6)                       # the first step has length η
    0.9
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: BelowOne = 0.9
    beta_2: BelowOne = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    amsgrad: bool = False


@dataclass(frozen=True, repr=False)
class AdamW(_AdamRule):
    """Adam with decoupled weight decay, (0), by default (Loshchilov and Hutter 2017). amsgrad: as in Adam.

        (0) θ ← (1 - η λ) θ     (1) m ← β₁ m + (1 - β₁) g     (2) v ← β₂ v + (1 - β₂) g²
        (3) θ ← θ - η m̂ / (√v̂ + ε),  m̂ = m/(1 - β₁ᵗ),  v̂ = v/(1 - β₂ᵗ)

    >>> AdamW().weight_decay
    0.01
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: BelowOne = 0.9
    beta_2: BelowOne = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.01
    amsgrad: bool = False
