"""Derivatives: the factors of the chain rule, read from the expressions of a backward pass.

A backward pass is linear in what comes from above: dx = Σₖ dyₖ · ∂yₖ/∂x. So the local derivative ∂yₖ/∂x is the number
that dyₖ is multiplied by in the expression of dx, whatever formulas a layer uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .expressions import Constant, Element, Expression, Key, Operation, Sum

Linear = dict[Key, float]  # the factor of each dy


class NotLinear(Exception):
    """An expression is not linear in what came from above."""


class Factors:
    """The factors of what comes from above in the expressions of one frame.

    above: whether an element is of what comes from above. inner: the expression of an element that the same backward
    pass has computed, and None for all others.
    """

    def __init__(self, above: Callable[[Element], bool], inner: Callable[[Element], Expression | None]) -> None:
        self._above, self._inner = above, inner
        self._known: dict[int, tuple[Expression, Linear | None]] = {}

    def of(self, expression: Expression) -> Linear | None:
        """Key of each dy -> its factor; None where the expression does not read any, or is not linear."""
        try:
            found = self._linear(expression)
        except NotLinear:
            return None
        return found or None

    def _linear(self, e: Expression) -> Linear:
        if id(e) in self._known:
            found = self._known[id(e)][1]
            if found is None:
                raise NotLinear
            return found
        self._known[id(e)] = e, None
        found = self._computed(e)
        self._known[id(e)] = e, found
        return found

    def _computed(self, e: Expression) -> Linear:
        if isinstance(e, Constant):
            return {}
        if isinstance(e, Element):
            if self._above(e):
                return {e.key: 1.0}
            inner = e.part if e.part is not None else self._inner(e)
            return {} if inner is None else self._linear(inner)
        parts = [self._linear(o) for o in e.operands]
        if not any(parts):
            return {}
        if isinstance(e, Sum):
            return _sum(parts)
        if isinstance(e, Operation):
            return self._operated(e, parts)
        raise NotLinear

    def _operated(self, e: Operation, parts: list[Linear]) -> Linear:
        values = [o.value for o in e.operands]
        if e.name == "negative":
            return _scaled(parts[0], -1.0)
        if e.name in ("add", "subtract"):
            return _sum([parts[0], _scaled(parts[1], 1.0 if e.name == "add" else -1.0)])
        if e.name == "multiply" and not (parts[0] and parts[1]):
            return _scaled(parts[0], values[1]) if parts[0] else _scaled(parts[1], values[0])
        if e.name == "divide" and not parts[1]:
            with np.errstate(all="ignore"):
                return _scaled(parts[0], float(np.float64(1.0) / values[1]))
        raise NotLinear


def _sum(parts: list[Linear]) -> Linear:
    found: dict[Any, float] = {}
    for part in parts:
        for key, factor in part.items():
            found[key] = found.get(key, 0.0) + factor
    return found


def _scaled(part: Linear, by: float) -> Linear:
    return {key: factor * by for key, factor in part.items()}
