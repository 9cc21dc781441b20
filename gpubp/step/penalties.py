"""Penalties on the parameters, and clipping of the gradients: what is done before the optimizer's rule.

g ← g + ∂P/∂θ                       penalties P, part of the loss
g ← cut, or scaled                  clipping by value, and by the norm of all gradients together
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..formula import absolute, fmin, maximum, minimum, sign, sqrt


@dataclass(frozen=True)
class Penalty:
    """P = l1 Σ|θ| + ½ l2 Σθ², added to the loss, so that ∂P/∂θ = l1 sign θ + l2 θ. Biases and normalization stay out.

    per_weight: P is divided by the batch's Σ w, as scikit-learn's `alpha` is, so that more rows leave less of it.

    >>> Penalty(l1=0.0, l2=0.5).gradient(2.0, 1.0)
    2.0
    """

    l1: float = 0.0
    l2: float = 0.0
    per_weight: bool = False

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def negative(self) -> Penalty:
        """-P: what is added to a loss that is maximized.

        >>> Penalty(l2=0.5).negative().gradient(2.0, 1.0)
        0.0
        """
        return replace(self, l1=-self.l1, l2=-self.l2)

    def gradient(self, theta: Any, g: Any) -> Any:
        """g + ∂P/∂θ"""
        if self.l2:
            g = g + self.l2 * theta
        return g + self.l1 * sign(theta) if self.l1 else g

    def gradient_per_weight(self, theta: Any, g: Any, share: Any) -> Any:
        """g + ∂P/∂θ with P divided by Σ w, share = 1/Σ w"""
        if self.l2:
            g = g + (self.l2 * share) * theta
        return g + (self.l1 * share) * sign(theta) if self.l1 else g

    def value(self, theta: Any) -> Any:
        """What one θ adds to P"""
        if not self.l1:
            return (0.5 * self.l2) * (theta * theta)
        return self.l1 * absolute(theta) + (0.5 * self.l2) * (theta * theta) if self.l2 else self.l1 * absolute(theta)


@dataclass(frozen=True)
class Clip:
    """Limits of the gradients: of the norm of all together, and of each number's absolute value; None for none.

    >>> Clip(norm=1.0).scale(16.0).item(), Clip(value=0.5).cut(-2.0).item()
    (0.25, -0.5)
    """

    norm: float | None = None
    value: float | None = None

    def scale(self, squares: Any) -> Any:
        """What every gradient is multiplied by, squares = Σ g²; 1 where that is not a number, as a gradient is not then

        The padding of their vector is multiplied too, and nothing else writes it: it must stay 0, and 0 · NaN is NaN.
        """
        return fmin(self.norm / sqrt(squares), 1.0)

    def cut(self, g: Any) -> Any:
        """g, at most `value` away from 0"""
        return maximum(minimum(g, self.value), -self.value)  # type: ignore[operator]
