"""Means and variances: the parts that a LayerNorm or an RMSNorm is written of in files without that operator.

mean = ⟨x⟩   centered = x - mean   squares = centered²   variance = ⟨squares⟩ (+ eps)   deviation = √variance
centered / deviation, or centered · (1 / deviation), is the normalized x; of an RMSNorm, without the mean, x / √⟨x²⟩
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .layout import Axis
from .model import Node
from .reader import Reader, makes
from .refused import Refused
from .values import Data, Expr, Normalized, Statistic, Term, Value


def mean_of(r: Reader, node: Node, value: Value, axes: list[int], kept: bool) -> Statistic | None:
    """The mean over the axes: of x, or of the squares, which is the variance; None where it is neither."""
    layout = r.layout_of(value)
    if layout is None:
        return None
    axis: Axis = tuple(part for n in axes for part in layout.ox[n])
    ox = tuple(() if n in axes else of for n, of in enumerate(layout.ox))
    if not kept:
        ox = tuple(of for n, of in enumerate(layout.ox) if n not in axes)
    if isinstance(value, Statistic):
        if value.kind != "squares" or set(value.axis) != set(axis):
            return None
        return replace(value, kind="variance", layout=replace(layout, ox=ox), node=node)
    return Statistic("mean", r.data(value), axis, replace(layout, ox=ox), node)


def root_of(term: Any) -> Any:
    """t where a formula is t², else None.

    >>> root_of(Term("Mul", ("x", "x"))), root_of(Term("Pow", ("x", 3.0)))
    ('x', None)
    """
    if not isinstance(term, Term) or len(term.operands) != 2:
        return None
    a, b = term.operands
    return a if term.op == "Mul" and a is b or term.op == "Pow" and isinstance(b, float) and b == 2.0 else None


def mean_of_squares(r: Reader, node: Node, value: Value, axes: list[int], kept: bool) -> Statistic | None:
    """⟨x²⟩, the first part of an RMSNorm; None where the value is no square."""
    root = root_of(value.term) if isinstance(value, Expr) else None
    if not isinstance(value, Expr) or root is None:
        return None
    found = mean_of(r, node, Expr(value.base, root), axes, kept)
    assert found is not None
    return replace(found, kind="variance", norm="rms")


def with_number(node: Node, value: Statistic, c: float | None, first: bool) -> Value:
    """The next part, by an operator with one number, or with none."""
    follows = {
        ("variance", "Sqrt"): "deviation",
        ("deviation", "Reciprocal"): "reciprocal",
        ("centered", "Pow"): "squares",
        ("variance", "Pow"): "deviation" if c == 0.5 else "reciprocal",
        ("variance", "Add"): "variance",
        ("deviation", "Div"): "reciprocal",
    }
    kind = follows.get((value.kind, node.op))
    fits = {"Pow": c == 2.0 if value.kind == "centered" else c in (0.5, -0.5), "Div": c == 1.0 and not first}
    if kind is None or not fits.get(node.op, True) or (value.kind == "deviation" and c == 0.0):
        raise no_norm(value)
    eps = value.eps + (c or 0.0) if node.op == "Add" else value.eps
    if eps < 0:
        raise no_norm(value)
    return replace(value, kind=kind or "", eps=eps, node=node)


def of_two(r: Reader, node: Node, a: Value, b: Value) -> Value | None:
    """The next part, by an operator with two of them; None where neither is one."""
    if isinstance(b, Statistic) and b.kind == "mean" and node.op == "Sub" and not isinstance(a, Statistic):
        x = r.data(a)
        if x.step == b.x.step and x.layout.ox == b.x.layout.ox:
            return Statistic("centered", x, b.axis, x.layout, node)
    if not isinstance(a, Statistic) and not isinstance(b, Statistic):
        return None
    for s, other, op in ((b, a, node.op), (a, b, "Mul" if node.op == "Mul" else "")):
        divides = isinstance(s, Statistic) and (s.kind, op) in (("deviation", "Div"), ("reciprocal", "Mul"))
        if isinstance(s, Statistic) and s.norm == "rms" and divides and not isinstance(other, Statistic):
            x = r.data(other)
            if x.step == s.x.step and x.layout.ox == s.x.layout.ox:
                return Normalized(x, s.axis, s.eps, x.layout, (node,), kind="rms")
    if isinstance(a, Statistic) and isinstance(b, Statistic) and a.x.step == b.x.step and set(a.axis) == set(b.axis):
        kinds = (a.kind, b.kind, node.op)
        if kinds == ("centered", "centered", "Mul"):
            return replace(a, kind="squares", node=node)
        if kinds in (("centered", "deviation", "Div"), ("centered", "reciprocal", "Mul")):
            return Normalized(a.x, a.axis, b.eps, a.layout, (node,))
        if kinds == ("reciprocal", "centered", "Mul"):
            return Normalized(a.x, a.axis, a.eps, b.layout, (node,))
    raise no_norm(a if isinstance(a, Statistic) else b)


def no_norm(value: Value) -> Refused:
    """Why a mean or a variance is no layer."""
    assert isinstance(value, Statistic)
    what = "mean" if value.kind in ("mean", "centered") else "variance"
    return Refused(
        f"it computes a {what} that is no part of a LayerNorm; gpubp has GlobalAvgPool2D, MeanOverTime and LayerNorm",
        value.node,
        value.layout,
    )


@makes(Statistic)
def _make(r: Reader, value: Statistic) -> Data:
    raise no_norm(value)
