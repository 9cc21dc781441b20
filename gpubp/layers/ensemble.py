"""Ensemble: several networks on the same input, whose predictions are averaged.

N members, zᵢ = fᵢ(x) (B, ..., K), i = 1 ... N. The mean is taken of what the outputs stand for, and y stands for it in
the same way, so that a loss, and what decodes outputs, need not know of the members:

    "numbers"   (1) y = Σ zᵢ / N
    "classes"   (2) pᵢ = softmax(zᵢ)        y = log (Σ pᵢ / N)                        softmax(y) is the mean of pᵢ
    "labels"    (3) pᵢ = σ(zᵢ)              y = log (Σ pᵢ / N) - log (Σ (1 - pᵢ) / N)       σ(y) is the mean of pᵢ

(2) and (3) are computed from logarithms, log pᵢ = zᵢ - max zᵢ - log Σ exp(zᵢ - max zᵢ), and log σ(z) = min(z, 0) -
log (1 + e^-|z|), with log (eᵃ + eᵇ) = max(a, b) + log (1 + e^-|a - b|), so that nothing overflows.

Backward    (4) dzᵢ = dy / N
            (5) rᵢ = pᵢ / Σ pⱼ              dzᵢ = rᵢ dy - pᵢ Σ_k rᵢ dy
            (6) sᵢ = (1 - pᵢ) / Σ (1 - pⱼ)  dzᵢ = (rᵢ (1 - pᵢ) + sᵢ pᵢ) dy

(5): ∂y_k/∂pᵢ_k = 1 / Σ pⱼ_k and ∂pᵢ_k/∂zᵢ_l = pᵢ_k (δ_kl - pᵢ_l). (6): ∂log pᵢ/∂zᵢ = 1 - pᵢ, ∂log (1 - pᵢ)/∂zᵢ = -pᵢ.

Deep ensembles: Lakshminarayanan, Pritzel and Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles (NeurIPS 2017), who average probabilities as (2) does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backends import Array, Shape
from ..errors import ShapeError
from ..formula import absolute, exp, fmax, log, log1p, maximum, minimum, row_max, row_sum, sigmoid
from ..formula.host import host_numerics
from ..formula.host import log as log_here
from .base import Layer, Look, Workspace
from .composition import checked_layers, plan_child, sum_into, sum_of_dx
from .plan import Plan, join
from .time_steps import side_by_side

Value = Any  # a number, an array, or a symbol of a formula
AVERAGES = ("numbers", "classes", "labels")


@dataclass(frozen=True, repr=False, init=False)
class Ensemble(Layer):
    """The mean of the predictions of several layers on the same input.

    members: layers with outputs of one shape. average: what outputs stand for: "numbers", the logits of "classes", as
    for SoftmaxCrossEntropy, or the logits of "labels", as for BinaryCrossEntropy. Input as the members', output
    (B, ..., K). Raises ShapeError for members whose outputs have different shapes.

    Members that are trained together, by one loss of their mean, become alike in what they get wrong. Train each by
    itself, and copy its parameters: those of member i are called "i.NAME". `gpubp train --ensemble N` does so.

    >>> import numpy as np, gpubp as bp
    >>> nets = [bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3)), 4, device="cpu", seed=s) for s in (0, 1)]
    >>> both = bp.Network(bp.Ensemble(*(net.layers for net in nets), average="classes"), 4, device="cpu")
    >>> for i, net in enumerate(nets):
    ...     for name, array in net.parameters.items():
    ...         both.parameters[f"{i}.{name}"][...] = array
    >>> x = np.ones((1, 4))
    >>> p = [np.exp(net.predict(x)) / np.exp(net.predict(x)).sum() for net in nets]
    >>> np.allclose(np.exp(both.predict(x)), (p[0] + p[1]) / 2)
    True
    """

    members: tuple[Layer, ...]
    average: str
    exact = True

    def __init__(self, *members: Layer, average: str = "numbers") -> None:
        if average not in AVERAGES:
            raise ValueError(f'Ensemble averages "numbers", "classes" or "labels", and got {average!r}')
        object.__setattr__(self, "members", checked_layers("Ensemble", members))
        object.__setattr__(self, "average", average)

    @property
    def children(self) -> tuple[Layer, ...]:
        """The members."""
        return self.members

    def plan(self, x: Shape) -> Plan:
        """y, and a dz for each member"""
        plans = [plan_child(layer, i, x) for i, layer in enumerate(self.members)]
        shapes = [p.output for p in plans]
        z = shapes[0]
        if len(set(shapes)) > 1:
            raise ShapeError(f"can't average outputs of shapes {', '.join(map(str, shapes))}", layer=repr(self))
        if self.average == "classes" and len(z) < 2:
            raise ShapeError(f"averages classes, which are on the last axis, and got outputs of {z}", layer=repr(self))
        sums = {"numbers": (), "classes": ("yes",), "labels": ("yes", "no")}[self.average]
        arrays = {"y": z, "dx": x} | dict.fromkeys([*sums, *(f"dz{i}" for i in range(len(plans)))], z)
        return Plan(output=z, arrays=arrays, children=plans)

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """Follow X into every member; their mean is computed."""
        for i, member in enumerate(self.members):
            member.follow_inputs(X, look, join(path, str(i)), training)
        return None

    @property
    def over_time(self) -> str:
        """As all members."""
        return side_by_side(member.over_time for member in self.members)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1), (2) or (3)"""
        ws.z = [child.run_forward(x) for child in ws.children]
        share = ws.be.constant(1.0 / len(ws.z), ws.dtype)
        if self.average == "numbers":
            return ws.xp.multiply(sum_into(ws, ws.z, ws.y), share, out=ws.y)  # (1)
        logs = self._logs(ws, "yes")
        if self.average == "labels":
            return ws.xp.subtract(logs, self._logs(ws, "no"), out=ws.y)  # (3)
        with host_numerics(ws.be.numerics):
            of_members = -log_here(float(len(ws.z)))
        return ws.xp.add(logs, ws.be.constant(of_members, ws.dtype), out=ws.y)  # (2)

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """(4), (5) or (6) for each member"""
        share = ws.be.constant(1.0 / len(ws.z), ws.dtype)
        terms = []
        for i, child in enumerate(ws.children):
            z, dz = ws.z[i], getattr(ws, f"dz{i}")
            if self.average == "numbers":
                ws.xp.multiply(dy, share, out=dz)
            elif self.average == "classes":
                ws.be.apply(_through_classes, z, ws.yes, dy, out=dz)
            else:
                ws.be.apply(_through_labels, z, ws.yes, ws.no, dy, out=dz)
            terms.append(child.run_backward(dz))
        return sum_of_dx(ws, terms)

    def _logs(self, ws: Workspace, which: str) -> Array:
        """log Σ pᵢ for "yes", log Σ (1 - pᵢ) for "no", in the array of that name"""
        formula = _log_softmax if self.average == "classes" else _log_yes if which == "yes" else _log_no
        total: Array = getattr(ws, which)
        ws.be.apply(formula, ws.z[0], out=total)
        for z in ws.z[1:]:
            ws.be.apply(_added[formula], z, total, out=total)
        return total


def _log_softmax(z: Value) -> Value:
    s = z - row_max(z)
    return s - log(row_sum(exp(s)))


def _log_yes(z: Value) -> Value:
    return minimum(z, 0.0) - log1p(exp(-absolute(z)))


def _log_no(z: Value) -> Value:
    return minimum(-z, 0.0) - log1p(exp(-absolute(z)))


def _log_of_sum(a: Value, b: Value) -> Value:
    """log (eᵃ + eᵇ); -∞ of two classes that are masked by -∞"""
    return maximum(a, b) + log1p(fmax(exp(-absolute(a - b)), 0.0))


def _add_softmax(z: Value, total: Value) -> Value:
    return _log_of_sum(total, _log_softmax(z))


def _add_yes(z: Value, total: Value) -> Value:
    return _log_of_sum(total, _log_yes(z))


def _add_no(z: Value, total: Value) -> Value:
    return _log_of_sum(total, _log_no(z))


_added = {_log_softmax: _add_softmax, _log_yes: _add_yes, _log_no: _add_no}


def _through_classes(z: Value, total: Value, dy: Value) -> Value:
    log_p = _log_softmax(z)
    part = fmax(exp(log_p - total), 0.0) * dy
    return part - exp(log_p) * row_sum(part)  # (5)


def _through_labels(z: Value, yes: Value, no: Value, dy: Value) -> Value:
    p = sigmoid(z)
    r, s = exp(_log_yes(z) - yes), exp(_log_no(z) - no)
    return (r * (1.0 - p) + s * p) * dy  # (6)
