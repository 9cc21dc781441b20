"""Small networks: every unit a circle, every weight a line.

In each circle the activation stands above, in blue, and ∂L/∂ of it below, in red. The arcs around it are as wide as
these numbers are large, within their column. A line is as wide as its weight is large, and dashed where it is negative.
Weights and their gradients stand at the lines where there is room for all of a layer, and else in a table below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..expressions import Key
from .diagram import Diagram, Node
from .lookup import Lookup, Said
from .svg import SIZE, Box, element, fitted, link, path, room_of, text, width_of

UNITS = 8  # of a layer, at most
LAYERS = 8
RADIUS = 38.0
PITCH = 98.0  # from unit to unit
LABELLED = 12  # lines of a layer with numbers at them, at most
GAPS = (130.0, 170.0, 220.0)  # between the circles of two layers that are joined by weights
NARROW = 52.0  # between those of others
HEADING = 2 * RADIUS + NARROW - 6  # room for the name of a layer
HEAD, MARGIN = 66.0, 14.0
CELL = width_of("−0.00123") + 12  # of a table
ROWS = width_of("bias") + 16
LOSS = 150.0

Point = tuple[float, float]


class Edge(NamedTuple):
    """A line: from where to where, between the middles of circles; its weight; what is said of it, and of ∂L/∂ of it,
    None where that is unknown."""

    start: Point
    end: Point
    weight: float
    key: Key
    said: Said
    gradient: Said | None


class Label(NamedTuple):
    """Where the numbers of an edge stand: the middle of the two lines."""

    edge: Edge
    x: float
    y: float


class Column(NamedTuple):
    """A layer's units: where they are, and the lines that come to them from the column before."""

    node: Node | None  # None: the inputs
    x: float
    places: list[Point]
    bias: Point | None  # of the 1 that the biases of the next layer are multiplied by
    edges: list[Edge]
    labels: list[Label] | None  # None: in a table


def fits(diagram: Diagram) -> bool:
    """Whether a network is small enough, and of such layers, that every unit can be drawn."""
    chain = diagram.chain()
    shapes = [diagram.inputs, *(node.output for node in chain)]
    small = all(len(shape) == 1 and (shape[0] or 0) <= UNITS for shape in shapes)
    return small and len(chain) <= LAYERS and all(n.kind == "Dense" or n.unitwise for n in chain)


class UnitDrawing:
    """The drawing of one row. body: SVG; width, height: of it."""

    def __init__(self, diagram: Diagram, row: int, lookup: Lookup) -> None:
        self.diagram, self.row, self.lookup = diagram, row, lookup
        self.width = self.height = 0.0
        self.has_tables = False
        weights = [w.value for node in diagram.chain() for w in node.parameters.values() if node.kind == "Dense"]
        self._largest = max((float(np.abs(w).max()) for w in weights if np.isfinite(w).all()), default=0.0) or 1.0
        most = max(self._count(node) for node in (None, *diagram.chain()))
        self._middle = HEAD + most * PITCH / 2
        self._bottom = HEAD + most * PITCH
        self.body = list(self._drawn())

    def _count(self, node: Node | None) -> int:
        return int((self.diagram.inputs if node is None else node.output)[0] or 0)

    def _drawn(self) -> Iterator[str]:
        columns = list(self._columns())
        for column in columns:
            yield from self._lines(column)
        for column in columns:
            yield from self._circles(column)
        for column, right in zip(columns, [*columns[1:], None], strict=True):
            yield from self._head(column, right)
        last = fitted(columns[-1].node.layer, HEADING, 2) if columns[-1].node is not None else []
        x = columns[-1].x + max(RADIUS, *(width_of(line) / 2 for line in last)) + MARGIN
        if self.diagram.value is not None:
            yield from self._loss(columns[-1])
            x = columns[-1].x + RADIUS + NARROW + LOSS + MARGIN
        self.width, self.height = x, self._bottom + MARGIN
        yield from self._tables(columns)

    def _columns(self) -> Iterator[Column]:
        x, before = MARGIN + RADIUS, None
        chain = self.diagram.chain()
        for node, after in zip([None, *chain], [*chain, None], strict=True):
            edges: list[Edge] = []
            labels: list[Label] | None = []
            if before is not None and node is not None and node.kind == "Dense":
                x, edges, labels = self._joined(node, before)
            elif before is not None:
                x = before.x + 2 * RADIUS + NARROW
            places = self._places(node, x)
            bias = None
            if after is not None and "b" in after.parameters and after.kind == "Dense":
                bias = x, places[-1][1] + PITCH
                self._bottom = max(self._bottom, bias[1] + 24)
            before = Column(node, x, places, bias, edges, labels)
            yield before

    def _joined(self, node: Node, before: Column) -> tuple[float, list[Edge], list[Label] | None]:
        """Where a layer with weights stands, its lines, and their numbers: as near as numbers find their places."""
        found: list[tuple[int, float, list[Edge], list[Label]]] = []
        x, edges = 0.0, []
        for gap in GAPS:
            x = before.x + 2 * RADIUS + gap
            edges = list(self._edges(node, before, x))
            made = placed(edges, [*before.places, *self._places(node, x)], before.bias)
            if made is not None:
                found.append((made[0], x, edges, made[1]))
                if not made[0]:
                    break
        return min(found, key=lambda one: one[0])[1:] if found else (x, edges, None)

    def _places(self, node: Node | None, x: float) -> list[Point]:
        n = self._count(node)
        return [(x, self._middle + (i - (n - 1) / 2) * PITCH) for i in range(n)]

    def _edges(self, node: Node, before: Column, x: float) -> Iterator[Edge]:
        for name, starts in (("W", before.places), ("b", [before.bias])):
            if name not in node.parameters:
                continue
            value, gradient = (None if a is None else a.reshape(-1, a.shape[-1]) for a in node.parameters[name])
            assert value is not None
            for i, start in enumerate(starts):
                for j, end in enumerate(self._places(node, x)):
                    assert start is not None
                    key = Key(node.path, name, (i, j) if name == "W" else (j,))
                    of = None if gradient is None else self.lookup.gradient(key, float(gradient[i, j]))
                    weight = float(value[i, j])
                    yield Edge(start, end, weight, key, self.lookup.value(key, weight), of)

    def _lines(self, column: Column) -> Iterator[str]:
        if column.node is not None and not column.edges:
            for x, y in column.places:
                yield path([(x - RADIUS - NARROW, y), (x - RADIUS, y)], css="way")
        for edge in column.edges:
            ends = _between(edge)
            finite = abs(edge.weight) if math.isfinite(edge.weight) else self._largest
            width = 1 + 5 * finite / self._largest
            dashes = "7 5" if edge.weight < 0 else "1 5" if edge.weight == 0 else None
            yield link(
                edge.said.target,
                edge.said.words,
                path(ends, css="near"),
                path(ends, css="edge", stroke_width=width, stroke_dasharray=dashes),
            )
        for edge, x, y in column.labels or ():
            yield from self._numbers(edge, x, y)

    def _numbers(self, edge: Edge, x: float, y: float) -> Iterator[str]:
        room = label_room(edge, x, y)
        back = element(
            "rect", x=room.left, y=room.top, width=room.right - room.left, height=room.bottom - room.top, css="paper"
        )
        if edge.gradient is None:
            yield back + _linked(edge.said, x, y + 0.3 * SIZE)
            return
        yield back
        yield _linked(edge.said, x, y - 2)
        yield _linked(edge.gradient, x, y + SIZE, "d")

    def _circles(self, column: Column) -> Iterator[str]:
        node = column.node
        y, dy = (self.diagram.x, self.diagram.dx) if node is None else (node.y, node.dy)
        largest = [0.0 if a is None else float(np.abs(a[self.row]).max()) for a in (y, dy)]
        for i, place in enumerate(column.places):
            key = Key(node.path, "y", (self.row, i)) if node is not None else Key("", "x", (self.row, i))
            yield element("circle", cx=place[0], cy=place[1], r=RADIUS, css="box")
            if y is None:
                yield text(place[0], place[1] + 0.35 * SIZE, f"{i}", "muted")
            for a, name, most in ((y, "y", largest[0]), (dy, "d", largest[1])):
                if a is not None:
                    yield self._half(place, float(a[self.row, i]), name, most, key)
        if column.bias is not None:
            x, at = column.bias
            yield link(
                None,
                "1, which biases are multiplied by",
                element("circle", cx=x, cy=at, r=16, css="box"),
                text(x, at + 0.35 * SIZE, "1", "muted"),
            )

    def _half(self, place: Point, value: float, name: str, most: float, key: Key) -> str:
        """The upper half of a circle with its activation, or the lower with its gradient."""
        x, y = place
        sweep = 1 if name == "y" else 0
        share = abs(value) / most if most and math.isfinite(value) else 0.0
        said = self.lookup.value(key, value) if name == "y" else self.lookup.gradient(key, value)
        arc = f"M{x - RADIUS:.1f} {y:.1f}A{RADIUS:.1f} {RADIUS:.1f} 0 0 {sweep} {x + RADIUS:.1f} {y:.1f}"
        at = y - 3 if name == "y" else y + SIZE
        return link(
            said.target,
            said.words,
            element("path", d=arc, css=f"arc {name}", stroke_width=1 + 5 * share),
            text(x, at, said.shown, name),
        )

    def _head(self, column: Column, right: Column | None) -> Iterator[str]:
        name, layer = "x", "inputs"
        if column.node is not None:
            name, layer = column.node.path or "layer", column.node.layer
        head = text(column.x, 20, name, "muted")
        for k, line in enumerate(fitted(layer, HEADING, 2)):
            head += text(column.x, 20 + (k + 1) * (SIZE + 3), line, "strong")
        anchor = "data" if column.node is None else _anchor("forward", column.node.path)
        yield link(self.lookup.section(anchor), layer, head)

    def _loss(self, last: Column) -> Iterator[str]:
        """The box of the loss: the targets beside the outputs, ℓ of the row, and L."""
        d = self.diagram
        assert d.t is not None and d.losses is not None and d.value is not None
        left, middle = last.x + RADIUS + NARROW, last.x + RADIUS + NARROW + LOSS / 2
        t = d.t[self.row].reshape(-1)
        rows = 3 if d.rows > 1 else 2
        beside = len(t) == len(last.places)
        top = last.places[0][1] - RADIUS
        bottom = last.places[-1][1] + RADIUS + (rows - 1) * (SIZE + 8)
        self._bottom = max(self._bottom, bottom)
        for x, y in last.places:
            yield path([(x + RADIUS, y), (left, y)], css="way")
        yield element("rect", x=left, y=top, width=LOSS, height=bottom - top, rx=6, css="box")
        lines = fitted(d.loss, LOSS + 2 * MARGIN, 2)
        head = text(middle, 20, "loss", "muted")
        for k, line in enumerate(lines):
            head += text(middle, 20 + (k + 1) * (SIZE + 3), line, "strong")
        yield link(self.lookup.section("loss"), d.loss, head)
        for j, value in enumerate(t):
            y = last.places[j][1] if beside else self._middle + (j - (len(t) - 1) / 2) * (SIZE + 8)
            index = (self.row, j) if d.t.ndim > 1 else (self.row,)
            yield _linked(self.lookup.value(Key("", "t", index), float(value)), middle, y + 0.35 * SIZE, name="t = ")
        below = last.places[-1][1] + 18 + SIZE
        if d.rows > 1:
            loss = float(d.losses[self.row])
            yield _linked(self.lookup.row_loss(self.row, loss), middle, below, name="ℓ = ")
            below += SIZE + 8
        yield _linked(self.lookup.value(Key("loss", "L", ()), d.value), middle, below, "strong", "L = ")

    def _tables(self, columns: list[Column]) -> Iterator[str]:
        """The weights of layers at whose lines there is no room for numbers, side by side as far as they fit."""
        left, top, tallest = MARGIN, self.height + 22, 0.0
        for column in columns:
            if column.labels is not None:
                continue
            width = ROWS + len(column.places) * CELL
            if left > MARGIN and left + width > self.width - MARGIN:
                left, top, tallest = MARGIN, top + tallest, 0.0
            self.has_tables = True
            drawn, height = self._table(column, left, top)
            yield from drawn
            self.width, tallest = max(self.width, left + width + MARGIN), max(tallest, height)
            left, self.height = left + width + 2 * MARGIN, top + tallest - 22

    def _table(self, column: Column, left: float, top: float) -> tuple[list[str], float]:
        """A row for each unit that weights come from, a column for each that they go to; and the height."""
        assert column.node is not None
        n, first = len(column.places), top
        given = any(edge.gradient is not None for edge in column.edges)
        pitch = (2 if given else 1) * (SIZE + 2) + 8
        title = f"{column.node.path} {column.node.layer}: weights"
        drawn = []
        for line in fitted(title, ROWS + n * CELL, 3):
            drawn.append(text(left, top, line, "strong", "start"))
            top += SIZE + 3
        left += ROWS
        drawn += [text(left + (j + 0.5) * CELL, top, f"{j}", "muted") for j in range(n)]
        top += SIZE + 8
        for i in range(len(column.edges) // n):
            of_row = column.edges[i * n : (i + 1) * n]
            drawn.append(text(left - 12, top, "bias" if of_row[0].key.array == "b" else f"{i}", "muted", "end"))
            for edge in of_row:
                x = left + (edge.key.at[-1] + 0.5) * CELL
                drawn.append(_linked(edge.said, x, top))
                if edge.gradient is not None:
                    drawn.append(_linked(edge.gradient, x, top + SIZE + 2, "d"))
            top += pitch
        return drawn, top - first + 12


def _linked(said: Said, x: float, y: float, css: str | None = None, name: str = "") -> str:
    return link(said.target, said.words, text(x, y, name + said.shown, css))


def label_room(edge: Edge, x: float, y: float) -> Box:
    """The room of the numbers of an edge whose middle is (x, y)."""
    if edge.gradient is None:
        found = room_of(x, y + 0.3 * SIZE, edge.said.shown)
    else:
        one, two = room_of(x, y - 2, edge.said.shown), room_of(x, y + SIZE, edge.gradient.shown)
        found = Box(min(one.left, two.left), one.top, max(one.right, two.right), two.bottom)
    return Box(found.left - 2, found.top - 1, found.right + 2, found.bottom + 1)


def placed(edges: list[Edge], circles: list[Point], bias: Point | None) -> tuple[int, list[Label]] | None:
    """A place for the numbers of each edge, on its line and apart from all others; None where there are none.

    Of several places, one that few other lines go through, and that is near the middle, is taken. Also returns how many
    other lines go through the places.
    """
    if len(edges) > LABELLED:
        return None
    taken = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in circles]
    if bias is not None:
        taken.append(Box(bias[0] - 16, bias[1] - 16, bias[0] + 16, bias[1] + 16))
    found: list[Label] = []
    total = 0
    for edge in edges:
        (a, b), (c, d) = _between(edge)
        best: tuple[float, int, Label, Box] | None = None
        for k in range(41):
            share = 0.5 + (k + 1) // 2 * (-1) ** k * 0.02
            label = Label(edge, a + share * (c - a), b + share * (d - b))
            room = label_room(*label)
            if any(room.meets(other) for other in taken):
                continue
            crossed = sum(other is not edge and room.crossed_by(*_between(other)) for other in edges)
            cost = crossed + abs(share - 0.5)
            if best is None or cost < best[0]:
                best = cost, crossed, label, room
        if best is None:
            return None
        total += best[1]
        found.append(best[2])
        taken.append(best[3])
    return total, found


def _between(edge: Edge) -> tuple[Point, Point]:
    """An edge without the parts that lie in its circles."""
    (a, b), (c, d) = edge.start, edge.end
    length = math.hypot(c - a, d - b)
    u, v = (c - a) / length, (d - b) / length
    first = 16 if edge.key.array == "b" else RADIUS
    return (a + first * u, b + first * v), (c - RADIUS * u, d - RADIUS * v)


def _anchor(kind: str, at: str) -> str:
    return f"{kind}-{at}" if at else kind
