"""The update rules and loss sums of scikit-learn, where they differ from gpubp's.

    SGD        (1) v ← μ v - η g     (2) θ ← θ + v          nesterov:  (2') θ ← θ + μ v - η g
    Adam       (3) m ← β₁ m + (1 - β₁) g     (4) v ← β₂ v + (1 - β₂) g²
               (5) θ ← θ - α m / (√v + ε),   α = η √(1 - β₂ᵗ)/(1 - β₁ᵗ)
    outputs    (6) ℓᵢ = Σⱼ l(zᵢⱼ, tᵢⱼ)

In (1) the learning rate is part of the velocity (Sutskever et al. 2013), in `gpubp.SGD` it scales the velocity: the
same as long as η stays, and different once it changes, as with `learning_rate="adaptive"`. In (5) ε stands before the
bias correction (Kingma and Ba 2014, end of section 2), in `gpubp.Adam` after it. (6) is a sum where gpubp's losses take
the mean, so that a rate that suits one output suits each of many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..backends.exactness import is_exact
from ..formula import sqrt
from ..formula.host import power
from ..layers import Plan, Workspace
from ..layers.binding import plan_by
from ..losses import PointwiseLoss
from ..losses.base import targets_of
from ..optimizers import Numbers, Optimizer, Value
from ..schedules import Schedule


@dataclass(frozen=True, repr=False)
class ScikitSGD(Optimizer):
    """Gradient descent with momentum μ in scikit-learn's form, (1) and (2).

    >>> ScikitSGD(momentum=0.5, nesterov=False).rule(1.0, 2.0, 0.0, 0.1)
    (0.8, -0.2)
    """

    learning_rate: float | Schedule = 0.001
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    @property
    def moments(self) -> tuple[str, ...]:
        """v, if momentum is not 0."""
        return ("v",) if self.momentum else ()

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(1), (2)"""
        if not self.momentum:
            (eta,) = rest
            return (theta - eta * g,)
        v, eta = rest
        step = eta * g
        v = self.momentum * v - step  # (1)
        if self.nesterov:
            return theta + (self.momentum * v - step), v  # (2')
        return theta + v, v  # (2)


@dataclass(frozen=True, repr=False)
class ScikitAdam(Optimizer):
    """Adam in scikit-learn's form, (3) to (5).

    >>> import numpy as np
    >>> alpha = ScikitAdam().step_scalars(np.array([1.0]), np.array([0.1]))["alpha"]
    >>> round(alpha.item(), 6)                       # √0.001 / 0.1 of η
    0.031623
    """

    learning_rate: float | Schedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    exact = True

    @property
    def moments(self) -> tuple[str, ...]:
        """m, v: the means of g and g²."""
        return ("m", "v")

    def step_scalars(self, t: Numbers, eta: Numbers) -> dict[str, Numbers]:
        """α"""
        return {"alpha": eta * np.sqrt(1.0 - power(self.beta_2, t)) / (1.0 - power(self.beta_1, t))}

    def rule(self, theta: Value, g: Value, *rest: Value) -> tuple[Value, ...]:
        """(3), (4), (5)"""
        m, v, alpha = rest
        m = self.beta_1 * m + (1.0 - self.beta_1) * g  # (3)
        v = self.beta_2 * v + (1.0 - self.beta_2) * (g * g)  # (4)
        return theta - alpha * m / (sqrt(v) + self.eps), m, v  # (5)


@dataclass(frozen=True, repr=False)
class SumOverOutputs(PointwiseLoss):
    """(6): a pointwise loss, summed over `outputs` outputs instead of averaged.

    >>> import gpubp as bp
    >>> SumOverOutputs(bp.MeanSquaredError(), 3).l(2.0, 1.0)   # a third of it is its share in the mean
    3.0
    """

    loss: PointwiseLoss
    outputs: int

    def __repr__(self) -> str:
        """That of the loss, which messages name as it was given."""
        return repr(self.loss)

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether the loss is."""
        return is_exact(self.loss)

    @property
    def has_counts(self) -> bool:
        """As the loss has it."""
        return self.loss.has_counts

    def counts(self, ws: Workspace, t: Array) -> Array | None:
        """How much each row counts in the loss."""
        return self.loss.counts(ws, t)

    def formula_arguments(self) -> Mapping[str, Sequence[float]]:
        """What the formulas of the loss take."""
        return self.loss.formula_arguments()

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """The targets, as the loss itself takes them."""
        return targets_of(self.loss, y, z)

    def plan(self, z: Shape, t: Shape) -> Plan:
        """That of the loss; if it has a forward and backward of its own, also what these give, times outputs"""
        plan = plan_by(self.loss, z, t)
        if self.loss.is_by_formulas:
            return plan
        return replace(plan, arrays={**plan.arrays, "sum_of_outputs": (z[0],), "dz_of_sum": z})

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """outputs · ℓ"""
        if self.loss.is_by_formulas:
            return super().forward(ws, z, t)
        return ws.be.apply(self._times, self.loss.forward(ws, z, t), out=ws.sum_of_outputs)

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """outputs · ∂L/∂z"""
        if self.loss.is_by_formulas:
            return super().backward(ws, z, t)
        return ws.be.apply(self._times, self.loss.backward(ws, z, t), out=ws.dz_of_sum)

    def _times(self, value: Value) -> Value:
        return self.outputs * value

    def l(self, z: Value, t: Value, *more: Value) -> Value:  # noqa: E743
        """outputs · l"""
        return self.outputs * self.loss.l(z, t, *more)

    def dl(self, z: Value, t: Value, *more: Value) -> Value:
        """outputs · ∂l/∂z"""
        return self.outputs * self.loss.dl(z, t, *more)
