"""Steps: the layers that a graph became, each with the steps that it reads, put together as one layer.

A graph of layers becomes Sequential, Residual and Parallel where its branches part and meet again in pairs: for every
sum or concatenation there is a last step that all its branches come from, and what lies between is the branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...layers import Dropout, Layer, Parallel, Residual, Sequential
from ...layers.plan import join
from .refused import Refused

Array = np.ndarray[Any, Any]
DEEPEST = 40  # of branches within branches


@dataclass(frozen=True, eq=False)
class Step:
    """A layer, or where `merge` says so, a sum ("add", "sum") or a concatenation of what it reads.

    >>> Step(None).inputs
    ()
    """

    layer: Layer | None
    inputs: tuple[int, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)
    merge: str = ""
    nodes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Composed:
    """A layer with the arrays of its parameters and states by name, and which nodes became which inner layer."""

    layer: Layer
    arrays: Mapping[str, Array]
    origins: Sequence[tuple[str, Layer, Sequence[Any]]]

    def inside(self, place: int) -> Composed:
        """As the inner layer number `place` of another."""
        arrays = {join(str(place), name): a for name, a in self.arrays.items()}
        return Composed(self.layer, arrays, [(join(str(place), p), l, nodes) for p, l, nodes in self.origins])


def compose(steps: Sequence[Step], output: int) -> Composed:
    """The layer that computes step `output` of step 0, the input, always a Sequential.

    Raises Refused where branches part and do not meet again, with the node that is in two places.

    >>> from gpubp import ReLU, Tanh
    >>> two = [Step(None), Step(ReLU(), (0,)), Step(Tanh(), (1,)), Step(None, (2, 1), merge="add")]
    >>> compose(two, 3).layer
    Sequential(ReLU(), Residual(Tanh()))
    """
    return _Composer(steps, output).chain(0, output, whole=True)


class _Composer:
    def __init__(self, steps: Sequence[Step], output: int) -> None:
        self.steps = steps
        self.above = _dominators(steps, output)
        self.used: set[int] = set()
        self.left = 4 * len(steps) + 100  # layers, so that branches that are read again and again do not multiply

    def chain(self, start: int, end: int, whole: bool = False, depth: int = 0) -> Composed:
        """The layers from step `start` to step `end`, of which all ways lead through `start`."""
        if depth > DEEPEST:
            raise Refused(f"branches within branches, more than {DEEPEST} deep")
        found: list[Composed] = []
        while end != start:
            step = self.steps[end]
            found.append(self._single(end) if step.layer is not None else self._merged(end, depth))
            end = self.above[end]
        found.reverse()
        if len(found) == 1 and not whole:
            return found[0]
        if not found:
            return Composed(Dropout(0.0), {}, [])  # y = x
        inside = [part.inside(i) for i, part in enumerate(found)]
        return _joined(Sequential(*(part.layer for part in found)), inside)

    def _single(self, number: int) -> Composed:
        step = self.steps[number]
        self.left -= 1
        if self.left < 0:
            raise Refused("its branches are read more often than can be written as layers")
        if number in self.used and step.arrays:
            raise Refused(
                "its result is read by branches that do not meet again in one place; gpubp has Residual and Parallel, "
                "whose branches begin in one place and end in one",
                step.nodes[0] if step.nodes else None,
            )
        self.used.add(number)
        assert step.layer is not None
        return Composed(step.layer, step.arrays, [("", step.layer, step.nodes)])

    def _merged(self, number: int, depth: int) -> Composed:
        step, start = self.steps[number], self.above[number]
        branches = [self.chain(start, of, depth=depth + 1) for of in step.inputs]
        layer: Layer
        if step.merge == "add" and len(branches) == 2 and any(of != start for of in step.inputs):
            if step.inputs[0] == start:
                branches.reverse()
            if start in step.inputs:
                branches.pop()
            layer = Residual(*(b.layer for b in branches))
        else:
            merge = "concatenate" if step.merge == "concatenate" else "add"
            layer = Parallel(*(b.layer for b in branches), merge=merge)
        found = _joined(layer, [b.inside(i) for i, b in enumerate(branches)])
        return Composed(found.layer, found.arrays, [*found.origins, ("", found.layer, step.nodes)])


def _joined(layer: Layer, parts: Sequence[Composed]) -> Composed:
    arrays = {name: a for part in parts for name, a in part.arrays.items()}
    return Composed(layer, arrays, [origin for part in parts for origin in part.origins])


def _dominators(steps: Sequence[Step], output: int) -> dict[int, int]:
    """For each step that the output needs: the last step that all ways from the input to it lead through.

    Of a step that reads several, it is found by going up from two of them in turn, always from the later one.
    """
    needed, waiting = set(), [output]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += steps[number].inputs
    above = {0: 0}
    for number in sorted(needed - {0}):  # a step reads earlier ones
        first, *others = steps[number].inputs
        for other in others:
            while first != other:
                if first > other:
                    first = above[first]
                else:
                    other = above[other]
        above[number] = first
    return above
