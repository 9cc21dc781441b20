"""The likelihood of numbers under normal distributions, of which a network gives mean and variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Array, Shape
from ..config import Positive
from ..errors import ShapeError
from ..formula import exp, maximum
from ..formula.elementary import log64
from ..layers import Plan, Workspace
from .base import Loss, Value, numbers_for, outputs_of, row_means


@dataclass(frozen=True, repr=False)
class GaussianNLL(Loss):
    """Negative log-likelihood of numbers t under normal distributions (Nix, Weigend 1994).

    Along their last axis, the outputs (B, ..., 2n) are n means μ and then n logarithms v of variances, v = log σ²:

        (1) l = ½ (v + (t - μ)² e⁻ᵛ)      (2) ∂l/∂μ = (μ - t) e⁻ᵛ      (3) ∂l/∂v = ½ (1 - (t - μ)² e⁻ᵛ)

    So the network says of each row how sure it is: σ = exp(v / 2). A row's loss is the mean over its numbers. full:
    whether ½ log 2π is added, so that l is minus the logarithm of a density. eps: the least variance; v below log eps
    counts as that, and (3) is 0 there, so that the loss stays finite where targets are met exactly. Targets:
    (B, ..., n); (B,) stands for (B, 1). Metrics judge the means.

    PyTorch's `GaussianNLLLoss(full, eps)` takes μ and the variances eᵛ as two inputs. Raises ShapeError for an odd
    number of outputs, DataError for targets of another shape.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
    >>> net.loss_and_gradients(GaussianNLL(), [[1.0, 2.0]], [3.0])[0]                 # μ = 0 and σ = 1
    4.5
    """

    full: bool = False
    eps: Positive = 1e-6
    outputs_are: ClassVar[str] = "means and log-variances"
    predicts = "numbers"
    by_mask = True
    by_position: ClassVar[bool] = True
    exact = True

    @property
    def fits_outputs(self) -> int | None:
        """2: mean and variance of one number"""
        return 2

    def targets(self, y: np.ndarray[Any, Any], z: Shape) -> np.ndarray[Any, Any]:
        """One number for each mean."""
        return numbers_for(self, y, z, (*z[1:-1], self._means(z)), "half of them means")

    def _means(self, z: Shape) -> int:
        """n; ShapeError for an odd number of outputs"""
        if z[-1] % 2:
            raise ShapeError(
                f"{self!r} needs an even number of outputs, means and then logarithms of variances, and the network "
                f"has {z[-1]}"
            )
        return z[-1] // 2

    def plan(self, z: Shape, t: Shape) -> Plan:
        """l of every number, and of every row (B,), dz as z"""
        self._means(z)
        return Plan(output=(z[0],), arrays={"e": t, "rows": (z[0],), "dz": z})

    def l(self, mu: Value, v: Value, t: Value) -> Value:  # noqa: E743
        """(1)"""
        e, v = t - mu, maximum(v, log64(self.eps))
        loss = 0.5 * (v + e * e * exp(-v))
        return loss + _HALF_LOG_2_PI if self.full else loss

    def dz(self, mu: Value, v: Value, t: Value, c: Value, mean: Value) -> tuple[Value, Value]:
        """(2) and (3), times the row's share in the loss and 1/numbers"""
        e, share, least = mu - t, c * mean, log64(self.eps)
        precision = exp(-maximum(v, least))
        return e * precision * share, 0.5 * (1.0 - e * e * precision) * (v >= least) * share

    def forward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(1)"""
        n = t.shape[-1]
        return row_means(ws, ws.be.apply(self.l, z[..., :n], z[..., n:], t, out=ws.e))

    def backward(self, ws: Workspace, z: Array, t: Array) -> Array:
        """(2), (3)"""
        n = t.shape[-1]
        c = ws.context.share.reshape(-1, *[1] * (z.ndim - 1))
        mean = ws.be.constant(1.0 / math.prod(outputs_of(ws, t)), ws.dtype)
        ws.be.apply(self.dz, z[..., :n], z[..., n:], t, c, mean, out=(ws.dz[..., :n], ws.dz[..., n:]))
        return ws.dz


_HALF_LOG_2_PI = 0.9189385332046727  # ½ log 2π
