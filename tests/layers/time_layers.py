"""Small layers over time, written plainly, for tests of lengths and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gpubp as bp


class MaskedSum(bp.Layer):
    """y = Σ_t μ_t x_t, (B, T, n) -> (B, n)."""

    over_time = "ends"
    exact = True

    def plan(self, x: Any) -> bp.Plan:
        """μ x (B, T, n)"""
        return bp.Plan(output=(x[0], x[2]), arrays={"y": (x[0], x[2]), "steps": x, "dx": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        """Σ μ x"""
        ws.T = x.shape[1]
        ws.xp.copyto(ws.steps, x)
        if ws.mask is not None:
            ws.xp.multiply(x, ws.mask.reshape(*x.shape[:2], 1), out=ws.steps)
        return ws.xp.sum(ws.steps, axis=1, out=ws.y)

    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        """dx_t = μ_t dy"""
        ws.xp.copyto(ws.dx, dy.reshape(dy.shape[0], 1, dy.shape[1]))
        if ws.mask is not None:
            ws.xp.multiply(ws.dx, ws.mask.reshape(*ws.mask.shape, 1), out=ws.dx)
        return ws.dx


class AddSum(MaskedSum):
    """y_t = x_t + Σ_s μ_s x_s, which keeps the steps."""

    over_time = "keeps"
    exact = True

    def plan(self, x: Any) -> bp.Plan:
        """As MaskedSum, with more outputs."""
        return bp.Plan(output=x, arrays={"y": (x[0], x[2]), "steps": x, "dx": x, "all": x, "ds": (x[0], x[2])})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        """x + Σ μ x"""
        total = super().forward(ws, x)
        return ws.xp.add(x, total.reshape(total.shape[0], 1, -1), out=ws.all)

    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        """dx_t = dy_t + μ_t Σ_s dy_s, where dy is 0 at padding"""
        ws.xp.sum(dy, axis=1, out=ws.ds)
        return ws.xp.add(super().input_gradient(ws, ws.ds), dy, out=ws.dx)


class Words(bp.Layer):
    """Words (B, T), 0 for none, through a layer that gets the mask [words > 0]."""

    over_time = "mixes"

    def __init__(self, body: bp.Layer, vocabulary: int = 6, dim: int = 3) -> None:
        object.__setattr__(self, "body", bp.Sequential(bp.Embedding(vocabulary, dim), body))

    @property
    def children(self) -> tuple[bp.Layer, ...]:
        """The embedding with the body."""
        return (self.body,)  # type: ignore[attr-defined]

    def plan(self, x: Any) -> bp.Plan:
        """μ (B, T)"""
        inner = self.body.plan(x)  # type: ignore[attr-defined]
        return bp.Plan(output=inner.output, arrays={"mu": x}, children=[inner])

    def masks_of_children(self, ws: bp.Workspace) -> Sequence[Any]:
        """μ, which forward writes."""
        return [ws.mu]

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        """The body, after μ = [x > 0]"""
        ws.be.apply(_is_word, x, out=ws.mu)
        return ws.children[0].run_forward(x)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        """As the body's"""
        return ws.children[0].run_backward(dy)


def _is_word(x: Any) -> Any:
    return (x > 0.0) * 1.0
