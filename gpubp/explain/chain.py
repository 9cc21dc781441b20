"""The chain rule of one number: from the loss down to a weight, an input or an output of a layer.

    ∂L/∂a = Σ ∂L/∂b · ∂b/∂a     over the numbers b that are computed from a, each again by this formula, up to the loss

Written out this is a sum over all paths from a to L, of the product of the local derivatives on a path. Few paths are
shown one by one; of many, the sums, for the numbers that contribute most.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import islice

import numpy as np

from ..backends import Array
from .build import Builder
from .content import Line, Section
from .expressions import Element, Expression, Key, Operation, Sum
from .memory import Place, place_of
from .names import AGAIN
from .watch import Frame

Term = tuple["Node", float]
PATHS = 8  # that are shown one by one
FOLLOWED = 3  # of many contributions, those that are followed up to the loss


class Node:
    """The gradient of one number. key: the number. find: gives `terms`.

    make: gives `expression`, what computes the gradient in the backward pass.
    """

    def __init__(
        self, key: Key, value: float, make: Callable[[], Expression], find: Callable[[Node], list[Term]]
    ) -> None:
        self.key, self.value, self._make, self._find = key, value, make, find

    @cached_property
    def expression(self) -> Expression:
        """Made when it is asked for: there may be thousands, of thousands of terms each."""
        return self._make()

    @cached_property
    def terms(self) -> list[Term]:
        """(the node above, the local derivative), found when they are asked for: there may be thousands."""
        return self._find(self)

    @property
    def called(self) -> str:
        """As ∂L/∂2.W[4,1]."""
        return f"∂L/∂{self.key}"


class Chain:
    """The chain rule of one number of a watched step. of: its name, as "2.W[4,1]", "x[0,17]" or "1.y[0,3]".

    Raises ValueError for a name that is not in the step, or has no gradient.
    """

    def __init__(self, builder: Builder, of: str) -> None:
        self.builder, self._nodes = builder, dict[tuple[int, int, int], Node]()
        self._derivatives: dict[tuple[Key, Key], list[float]] = {}
        self._ends: set[str] = set()  # gradients below the loss whose terms are not known
        self.key, place, frame = self._gradient(of)
        self.node = self._node(self.key, place, frame)

    def section(self) -> Section:
        """Its lines: path by path where there are few paths, else the largest sums."""
        paths = list(islice(self._paths(self.node), PATHS + 1))
        few = len(paths) <= PATHS
        lines = self._by_path(paths) if few else list(self._by_sums())
        most = f"In each layer, the {FOLLOWED} numbers that contribute most are followed up to the loss."
        notes = [] if few else [most]
        if self._ends:
            ends = ", ".join(sorted(self._ends)[:FOLLOWED])
            notes.append(f"The chain ends at {ends}: a layer's own numbers there are too many, or not linear in dy.")
        return Section(
            "chain", "", f"the chain rule of {self.key}", ("∂L/∂a = Σ ∂L/∂b · ∂b/∂a",), tuple(lines), (), tuple(notes)
        )

    def _gradient(self, of: str) -> tuple[Key, Place, Frame]:
        """The number, and where its gradient is: the place, and the frame that computed it."""
        builder, end = self.builder, len(self.builder.watched.be.events)
        if not isinstance(of, str):
            raise ValueError(f"of is the name of a number, such as '0.W[1,0]' or 'x[0,17]', and got {of!r}")
        match = re.fullmatch(r"\s*(.*?)\s*(?:\[([-\d,\s]*)\])?\s*", of)
        name = match[1] if match else of
        found = dict(self._arrays())
        if name not in found:
            near = difflib.get_close_matches(name, found, 3, 0.0)
            raise ValueError(f"of={of!r} names no number of this step; it has {', '.join(near)} and others")
        shape, gradient = found[name]
        parts = match[2].split(",") if match and match[2] else []
        index = tuple(int(part) for part in parts if re.fullmatch(r"\s*\d+\s*", part))
        if not len(parts) == len(index) == len(shape) or any(i >= n for i, n in zip(index, shape, strict=True)):
            first, last = (",".join(str(k) for k in at) for at in ([0] * len(shape), [n - 1 for n in shape]))
            raise ValueError(f"of={of!r}: {name} has the shape {shape}, so write {name}[{first}] up to {name}[{last}]")
        path, _, letter = name.rpartition(".")
        if gradient is None:
            why = "it is frozen" if name in builder.watched.net.frozen else "nothing below it is trained"
            raise ValueError(f"{name} has no gradient in this step, because {why}")
        place = place_of(gradient, index, end)
        source = builder.origins.source(place)
        if source is None:
            raise ValueError(f"{name} has no gradient in this step")
        return Key(path, letter, index), place, source.event.frame

    def _arrays(self) -> Iterator[tuple[str, tuple[tuple[int, ...], Array | None]]]:
        """Name -> shape and gradient of what `of` can name."""
        builder = self.builder
        gradients = builder.watched.update.gradients
        for name, a in builder.watched.net.parameters.items():
            yield name, (a.shape, gradients.get(name))
        for path, frame in builder.forward.items():
            y, backward = frame.result, builder.backward.get(path)
            if path != "loss" and isinstance(y, np.ndarray) and backward is not None:
                yield (f"{path}.y" if path else "y"), (y.shape, backward.arguments[-1])
        x, whole = builder.watched.given["x"], builder.backward.get("")
        yield "x", (x.shape, whole.result if whole is not None and isinstance(whole.result, np.ndarray) else None)

    def _node(self, key: Key, place: Place, frame: Frame) -> Node:
        source = self.builder.origins.source(place)
        assert source is not None
        known = (source.event.number, source.out, hash(source.at))
        if known in self._nodes:
            return self._nodes[known]

        def find(node: Node) -> list[Term]:
            found: list[Term] = []
            for e, origin, of, local in self.builder.terms(frame, node.expression):
                above = self._node(of, e.place, origin.event.frame)
                passed = above.key == node.key and above.terms  # a layer inside has computed a part of this gradient
                for b, further in passed or [(above, 1.0)]:
                    found.append((b, local * further))
            if not found and frame.path != "loss" and frame.ws is not None and node.value:
                self._ends.add(str(node.key))
            return found

        make = partial(self.builder.origins.through, place, frame)
        node = self._nodes[known] = Node(key, self.builder.origins.value(place), make, find)
        return node

    def _paths(self, node: Node) -> Iterator[list[Term]]:
        """Each path from a number up to the loss: the nodes above, each with the local derivative that leads to it."""
        if not node.terms:
            yield []
        for above, local in node.terms:
            for rest in self._paths(above):
                yield [(above, local), *rest]

    def _by_path(self, paths: list[list[Term]]) -> list[Line]:
        whole, products = self.node, []
        if not whole.terms:
            return [self._top(whole)]
        for path in paths:
            top = path[-1][0] if path else whole
            factors: list[Expression] = [self._element(top)]
            below = [*(node for node, _ in reversed(path[:-1])), whole] if path else []  # a word that is in no row
            for (above, local), node in zip(reversed(path), below, strict=True):
                factors.append(self._derivative(above.key, node.key, local))
            products.append(_product(factors))
        products.sort(key=lambda product: -abs(product.value))
        tops = {id(path[-1][0]): path[-1][0] for path in paths if path}
        if len(products) == 1:
            lines = [Line(whole.called, (), _key(whole.key), products[0], whole.value, whole.key)]
        else:
            names = [
                Element(f"path {n}", (), p.value, Key("chain", f"path {n}", ())) for n, p in enumerate(products, 1)
            ]
            lines = [Line(whole.called, (), _key(whole.key), Sum(names), whole.value, whole.key)]
            lines += [Line(e.name, (), e.key, p, p.value) for e, p in zip(names, products, strict=True)]
        return lines + [self._top(node) for node in tops.values()]

    def _by_sums(self) -> Iterator[Line]:
        """∂L/∂a as a sum over the numbers above, largest terms first, and the same of those that contribute most."""
        level: dict[int, tuple[float, Node]] = {0: (1.0, self.node)}
        seen: set[int] = set()
        while level:
            above: dict[int, tuple[float, Node]] = {}
            most = sorted(level.values(), key=lambda item: -abs(item[0] * item[1].value))[:FOLLOWED]
            for share, node in most:
                if id(node) in seen:
                    continue
                seen.add(id(node))
                if not node.terms:
                    yield self._top(node)
                    continue
                terms = sorted(node.terms, key=lambda term: -abs(term[0].value * term[1]))
                products = [_product([self._element(b), self._derivative(b.key, node.key, v)]) for b, v in terms]
                whole = Sum(products) if len(products) > 1 else products[0]
                yield Line(node.called, (), _key(node.key), whole, node.value, node.key)
                for b, local in terms:
                    above[id(b)] = above.get(id(b), (0.0, b))[0] + share * local, b
            level = above

    def _top(self, node: Node) -> Line:
        """The derivative of the loss by an output of the network."""
        return Line(node.called, (), _key(node.key), node.expression, node.value, node.key)

    def _derivative(self, above: Key, below: Key, value: float) -> Element:
        """Of the ways from one number to another, as through the body of a Residual and past it, each has its own."""
        values = self._derivatives.setdefault((above, below), [])
        if value not in values:
            values.append(value)
        name = f"∂{above}/∂{below}" + AGAIN * values.index(value)
        return Element(name, (), value, Key("chain", name, ()))

    def _element(self, node: Node) -> Element:
        return Element(node.called, (), node.value, _key(node.key))


def _key(key: Key) -> Key:
    return Key("chain", str(key), ())


def _product(factors: list[Expression]) -> Expression:
    product = factors[0]
    for factor in factors[1:]:
        product = Operation("multiply", (product, factor))
    return product
