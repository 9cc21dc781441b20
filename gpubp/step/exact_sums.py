"""Sums of exact numerics over the vectors of an update, of which each worker computes a part.

    (1)  s = Σ over a vector, in the order of `order.py`
    (2)  Σ g² over the vector of all gradients            for clipping, and to see whether all are finite
    (3)  P = Σ over the runs of parameters that penalties reach, one run after the other; a run is of neighbours in the
         vector of parameters that have one learning-rate factor, and lower factors come first

A vector is cut into parts of 64 · 2ᵏ numbers, which are numbers in its tree. Each worker sums some of them, all workers
learn what the others have found, and each adds all parts as a tree. So the bits do not depend on the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backends import Array
from ..backends.order import BLOCK
from .penalties import Penalty
from .workers import Member

PARTS = 16  # of all vectors together, for each worker


class Node(NamedTuple):
    """A part of vector number `vector`: its numbers from `start` to `stop`.

    >>> Node(0, 0, 64).stop
    64
    """

    vector: int
    start: int
    stop: int


def nodes_of(lengths: Sequence[int], workers: int) -> list[Node]:
    """The parts of vectors of these lengths: of one size, but for the last of each; a whole vector for one worker.

    >>> nodes_of([3000], 1), len(nodes_of([3000], 2))
    ([Node(vector=0, start=0, stop=3000)], 24)
    """
    if workers == 1:
        return [Node(v, 0, length) for v, length in enumerate(lengths)]
    size = BLOCK
    while sum(-(-length // size) for length in lengths) > PARTS * workers + len(lengths):
        size *= 2
    return [
        Node(v, start, min(start + size, length))
        for v, length in enumerate(lengths)
        for start in range(0, max(length, 1), size)
    ]


def range_of(length: int, number: int, workers: int) -> tuple[int, int]:
    """From where to where worker `number` has the numbers of a vector: its nodes.

    >>> [range_of(1000, k, 3) for k in range(3)]
    [(0, 320), (320, 640), (640, 1000)]
    """
    nodes = nodes_of([length], workers)
    firsts = [nodes[i].start for i in range(len(nodes))] + [length]
    return firsts[len(nodes) * number // workers], firsts[len(nodes) * (number + 1) // workers]


class NodeSums:
    """The sums (1) of several vectors; each worker makes one, and they call `compute` at the same place of the step.

    >>> import numpy as np
    >>> from gpubp.backends import get_backend
    >>> from gpubp.step.workers import Team
    >>> be, a = get_backend("cpu"), np.ones(100)
    >>> sums = NodeSums(Member(Team(1), 0, be), [100], "float64")
    >>> [s.item() for s in sums.compute(lambda node, out: be.dot(a[node.start : node.stop], a, out=out))]
    [100.0]
    """

    def __init__(self, member: Member, lengths: Sequence[int], dtype: Any) -> None:
        self.member, self.be = member, member.be
        workers, number = member.team.size, member.number
        nodes = nodes_of(lengths, workers)
        first, end = len(nodes) * number // workers, len(nodes) * (number + 1) // workers
        self._parts = self.be.zeros((len(nodes),), dtype)  # 0 for those of other workers
        self._mine = [(nodes[i], self._parts[i : i + 1].reshape(())) for i in range(first, end)]
        counts = [sum(node.vector == v for node in nodes) for v in range(len(lengths))]
        self._slices = [slice(sum(counts[:v]), sum(counts[: v + 1])) for v in range(len(lengths))]
        self._levels = [[self.be.zeros((n,), dtype) for n in _widths(count)] for count in counts]

    def compute(self, part: Callable[[Node, Array], Any]) -> list[Array]:
        """The sum of each vector, 0-d. part: puts the sum of one node into a 0-d array; part of the step."""
        for node, out in self._mine:
            part(node, out)
        parts = self.member.sum(self._parts)
        return [self._tree(parts[where], levels) for where, levels in zip(self._slices, self._levels, strict=True)]

    def _tree(self, level: Array, levels: list[Array]) -> Array:
        xp = self.be.xp
        for above in levels:
            pairs = len(level) // 2
            xp.add(level[: 2 * pairs : 2], level[1 : 2 * pairs : 2], out=above[:pairs])
            if len(level) % 2:
                xp.copyto(above[pairs:], level[2 * pairs :])
            level = above
        return level.reshape(())


def _widths(count: int) -> list[int]:
    """How many parts each level of the tree has, above the first."""
    widths = []
    while count > 1:
        count = -(-count // 2)
        widths.append(count)
    return widths


class ExactSums:
    """(2) and (3), for one worker's share of the update.

    member: the worker. gradients: the whole vector. penalized: the runs of (3).

    >>> import numpy as np
    >>> from gpubp.backends import get_backend
    >>> from gpubp.step.workers import Team
    >>> be, g, out = get_backend("cpu"), np.full(100, 2.0), np.zeros(())
    >>> sums = ExactSums(Member(Team(1), 0, be), g, [g], Penalty(l2=0.5))
    >>> sums.squares("clip", out), out.item()
    (None, 400.0)
    >>> out[...] = 0.0
    >>> sums.add_penalty(out), out.item()
    (None, 100.0)
    """

    def __init__(self, member: Member, gradients: Array, penalized: Sequence[Array], penalty: Penalty) -> None:
        self.be, self._gradients, self._penalized, self._penalty = member.be, gradients, penalized, penalty
        dtype, lengths = gradients.dtype, [len(theta) for theta in penalized]
        self._squares = {use: NodeSums(member, [len(gradients)], dtype) for use in ("guard", "clip")}
        self._of_penalty = NodeSums(member, lengths, dtype)
        longest = max(lengths, default=0) if penalty.l1 else 0
        self._values, self._ones = self.be.zeros((longest,), dtype), self.be.to_device(np.ones(longest), dtype)

    def squares(self, use: str, out: Array) -> None:
        """(2); part of the step. use: each has memory of its own, since other workers read what one has found."""
        (found,) = self._squares[use].compute(self._squares_of)
        self.be.xp.copyto(out, found)

    def _squares_of(self, node: Node, out: Array) -> None:
        g = self._gradients[node.start : node.stop]
        self.be.dot(g, g, out=out)

    def add_penalty(self, total: Array) -> None:
        """total += (3); part of the step."""
        be, penalty = self.be, self._penalty
        for found in self._of_penalty.compute(self._penalty_of):
            be.xp.add(total, found, out=total)
        if not penalty.l1:
            be.xp.multiply(total, be.constant(0.5 * penalty.l2, total.dtype), out=total)

    def _penalty_of(self, node: Node, out: Array) -> None:
        """What a part of the parameters adds to P; without l1 Σθ²."""
        theta, be = self._penalized[node.vector][node.start : node.stop], self.be
        if self._penalty.l1:
            values = be.apply(self._penalty.value, theta, out=self._values[: len(theta)])
            be.dot(values, self._ones[: len(values)], out=out)
        else:
            be.dot(theta, theta, out=out)
