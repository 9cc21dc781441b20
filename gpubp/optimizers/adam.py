"""Adam and its kin: momentum and scaled steps together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..config import BelowOne, NotNegative, Positive
from ..formula import absolute, maximum, sqrt
from ..formula.host import power
from ..schedules import Schedule
from .base import Numbers, Optimizer, Value


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
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None


@dataclass(frozen=True, repr=False)
class AdamW(_AdamRule):
    """Adam with decoupled weight decay of 0.01 by default (Loshchilov and Hutter 2017). amsgrad: as in Adam.

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
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None


@dataclass(frozen=True, repr=False)
class Adamax(Optimizer):
    """Adam that divides by a decaying maximum of |g| in place of √v (Kingma and Ba 2014, section 7.1).

        (1) m ← β₁ m + (1 - β₁) g     (2) u ← max(β₂ u, |g| + ε)     (3) θ ← θ - α m / u,  α = η/(1 - β₁ᵗ)

    >>> Adamax().rule(1.0, 2.0, 0.0, 0.0, 0.5)[2].item()
    2.00000001
    """

    learning_rate: float | Schedule = 2e-3
    beta_1: BelowOne = 0.9
    beta_2: BelowOne = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None
    exact = True

    @property
    def moments(self) -> tuple[str, ...]:
        """m, u: the mean of g, and the largest |g|."""
        return ("m", "u")

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """α = η / (1 - β₁ᵗ)"""
        return {"alpha": eta / (1.0 - power(self.beta_1, t))}

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2), (3)"""
        m, u, alpha = rest
        m = self.beta_1 * m + (1.0 - self.beta_1) * g  # (1)
        u = maximum(self.beta_2 * u, absolute(g) + self.eps)  # (2)
        return theta - alpha * m / u, m, u  # (3)


@dataclass(frozen=True, repr=False)
class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which rises from step to step (Dozat 2016), as in PyTorch.

        μₜ = β₁ (1 - ½ 0.96^(ψ t)),  Mₜ = μ₁ μ₂ … μₜ
        (1) m ← β₁ m + (1 - β₁) g     (2) v ← β₂ v + (1 - β₂) g²
        (3) θ ← θ - η ((1 - μₜ)/(1 - Mₜ) g + μₜ₊₁/(1 - Mₜ₊₁) m) / (√v̂ + ε),  v̂ = v/(1 - β₂ᵗ)

    (3) is computed as θ - (α g + α_m m) / (√v + ε̂), numerator and denominator multiplied by √(1 - β₂ᵗ).
    momentum_decay: ψ; Keras's Nadam has 1.

    >>> import numpy as np
    >>> nadam = NAdam()
    >>> n = nadam.step_scalars(np.array([1.0]), np.array([0.1]))
    >>> round(nadam.rule(1.0, 5.0, 0.0, 0.0, n["alpha"], n["alpha_m"], n["eps_hat"])[0].item(), 4)
    0.8944
    """

    learning_rate: float | Schedule = 2e-3
    beta_1: BelowOne = 0.9
    beta_2: BelowOne = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0
    momentum_decay: NotNegative = 4e-3
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None
    exact = True

    @property
    def moments(self) -> tuple[str, ...]:
        """m, v: the means of g and g²."""
        return ("m", "v")

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """α = η √(1 - β₂ᵗ) (1 - μₜ)/(1 - Mₜ), α_m = η √(1 - β₂ᵗ) μₜ₊₁/(1 - Mₜ₊₁), ε̂ = ε √(1 - β₂ᵗ)"""
        root, here, after = np.sqrt(1.0 - power(self.beta_2, t)), self._mu(t), self._mu(t + 1.0)
        product = self._products(t)
        return {
            "alpha": eta * root * (1.0 - here) / (1.0 - product),
            "alpha_m": eta * root * after / (1.0 - product * after),
            "eps_hat": self.eps * root,
        }

    def _mu(self, t: Numbers) -> Numbers:
        """μₜ"""
        return self.beta_1 * (1.0 - 0.5 * power(0.96, t * self.momentum_decay))  # type: ignore[no-any-return]

    def _products(self, t: Numbers) -> Numbers:
        """Mₜ, always from the first step on, so that it depends on t alone; 0 where it is below 2⁻⁶⁰ and 1 - M is 1."""
        enough = math.ceil(42.0 / -math.log(self.beta_1)) if self.beta_1 else 1
        index = np.minimum(t, enough).astype(np.int64)
        if index.min() == enough:
            return np.zeros(len(t))
        steps = np.arange(1.0, index.max() + 1.0)
        return np.multiply.accumulate(self._mu(steps))[index - 1]

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2), (3)"""
        m, v, alpha, alpha_m, eps_hat = rest
        m = self.beta_1 * m + (1.0 - self.beta_1) * g  # (1)
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)  # (2)
        return theta - (alpha * g + alpha_m * m) / (sqrt(v) + eps_hat), m, v  # (3)
