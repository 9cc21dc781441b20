"""Gradient descent, and descent by the signs of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import BelowOne, NotNegative, UpToOne
from ..formula import sign
from ..schedules import Schedule
from .base import Numbers, Optimizer, Value


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Gradient descent, with momentum μ (Polyak 1964) in PyTorch's form, where η scales the whole velocity.

        (1) v ← μ v + g     (2) θ ← θ - η v          nesterov (Sutskever et al. 2013):  (2') θ ← θ - η (g + μ v)

    dampening: τ, which from the second step on makes the gradient's part of (1) smaller:

        (1') v ← μ v + part g,  part = 1 - τ, in the first step 1

    >>> SGD(learning_rate=0.1, momentum=0.5).rule(1.0, 2.0, 4.0, 0.1)
    (0.6, 4.0)
    """

    learning_rate: float | Schedule = 0.01
    momentum: BelowOne = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    dampening: UpToOne = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ValueError("SGD with nesterov=True needs a momentum above 0")
        if self.dampening and (self.nesterov or not self.momentum):
            raise ValueError("SGD with dampening needs a momentum above 0 and nesterov=False")

    @property
    def moments(self) -> tuple[str, ...]:
        """v, if there is momentum."""
        return ("v",) if self.momentum else ()

    @property
    def is_by_formulas(self) -> bool:
        """Whether the class brings no numbers but those of its rule and of `SGD`."""
        return type(self).step_scalars is SGD.step_scalars and type(self).rate is Optimizer.rate

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """η, and with dampening 1 - τ, in the first step 1"""
        return {"eta": eta, "part": np.where(t == 1, 1.0, 1.0 - self.dampening)} if self.dampening else {"eta": eta}

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        if not self.momentum:
            (eta,) = rest
            return (theta - eta * g,)
        v, eta, *part = rest
        v = self.momentum * v + (part[0] * g if part else g)  # (1)
        step = g + self.momentum * v if self.nesterov else v
        return theta - eta * step, v  # (2)


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """Steps of one length for every parameter, by the sign of a mean of the gradients (Chen et al. 2023).

        (1) c ← β₁ m + (1 - β₁) g     (2) θ ← θ - η sign c     (3) m ← β₂ m + (1 - β₂) g

    The rate is about a tenth of Adam's, and the weight decay ten times as strong.

    >>> Lion().rule(1.0, 2.0, 0.0, 0.25)[0].item()
    0.75
    """

    learning_rate: float | Schedule = 1e-4
    beta_1: BelowOne = 0.9
    beta_2: BelowOne = 0.99
    weight_decay: NotNegative = 0.0
    maximize: bool = False
    decayed: str | tuple[str, ...] | None = None

    @property
    def moments(self) -> tuple[str, ...]:
        """m: the mean of g."""
        return ("m",)

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2), (3)"""
        m, eta = rest
        c = self.beta_1 * m + (1.0 - self.beta_1) * g  # (1)
        return theta - eta * sign(c), self.beta_2 * m + (1.0 - self.beta_2) * g  # (2), (3)
