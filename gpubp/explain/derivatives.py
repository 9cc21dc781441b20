"""Derivatives: the factors of the chain rule, read from the expressions of a backward pass.

A backward pass is linear in what comes from above: dx = Σₖ dyₖ · ∂yₖ/∂x. So the local derivative ∂yₖ/∂x is the number
that dyₖ is multiplied by in the expression of dx, whatever formulas a layer uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .expressions import Element, Expression, Key, Operation, Sum

Linear = dict[Key, float]  # the factor of each dy
MOST = 1_000_000  # factors of all expressions of one frame: an attention over 64 steps has many millions


class NotLinear(Exception):
    """An expression is not linear in what came from above."""


class Factors:
    """The factors of what comes from above in the expressions of one frame.

    above: whether an element is of what comes from above. inner: the expression of an element that the same backward
    pass has computed, and None for all others. most: how many factors it finds, all expressions together; what needs
    more has none.
    """

    def __init__(
        self, above: Callable[[Element], bool], inner: Callable[[Element], Expression | None], most: int = MOST
    ) -> None:
        self._above, self._inner, self._left = above, inner, most
        self._known: dict[int, tuple[Expression, Linear | None]] = {}

    def of(self, expression: Expression) -> Linear | None:
        """Key of each dy -> its factor; None where the expression does not read any, or is not linear."""
        waiting, begun = [expression], set[int]()  # a recurrent layer goes back through all steps: too deep to recurse
        while waiting:
            e = waiting[-1]
            below = () if id(e) in self._known or self._left < 0 else self._below(e)
            missing = [one for one in below if id(one) not in self._known and id(one) not in begun]
            if missing:
                begun.add(id(e))
                waiting += missing
                continue
            waiting.pop()
            if id(e) not in self._known:
                try:
                    self._known[id(e)] = e, self._computed(e, [self._linear(one) for one in below])
                except NotLinear:
                    self._known[id(e)] = e, None
        return self._known[id(expression)][1] or None

    def _linear(self, e: Expression) -> Linear:
        found = self._known[id(e)][1] if id(e) in self._known else None
        if found is None:
            raise NotLinear
        return found

    def _below(self, e: Expression) -> Sequence[Expression]:
        """What an expression is computed from, as far as the same backward pass has computed it."""
        if not isinstance(e, Element):
            return e.operands
        if self._above(e):
            return ()
        inner = e.part if e.part is not None else self._inner(e)
        return () if inner is None else (inner,)

    def _computed(self, e: Expression, parts: list[Linear]) -> Linear:
        self._left -= 1 + sum(map(len, parts))
        if self._left < 0:
            raise NotLinear
        if isinstance(e, Element):
            return {e.key: 1.0} if self._above(e) else (parts or [{}])[0]
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
