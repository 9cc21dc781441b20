"""Networks of any size: a box for each layer, from the inputs at the top to the loss at the bottom.

A box has the layer as it is printed, the shape of its output and the number of its parameters, and bars of the mean
|activation|, in blue, and the mean |∂L/∂ activation|, in red. Small images have a picture of each channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...backends import Array
from ...layers.bound import Row
from ..forms.numbers import number
from .diagram import Diagram, Node
from .lookup import Lookup, Said
from .pixels import CHANNELS, channels, is_images
from .svg import SIZE, arrow, element, fitted, link, path, short, text, width_of

WIDTH = 250.0  # of a box
INSIDE = 10.0  # between the edge of a box and what is in it
LINE = SIZE + 4
GAP = 24.0  # from box to box
APART = 18.0  # between boxes side by side
MARGIN = 14.0
DECADES = 4  # of sizes, that the length of a bar shows
IMAGE = 52.0  # the largest side of a channel's picture
LOOP = 22.0

Draw = Callable[[float, float], list[str]]


class Block(NamedTuple):
    """Something that is drawn: its size, and draw(middle, top) -> SVG. It is entered at its middle, and left there."""

    width: float
    height: float
    draw: Draw


class BoxDrawing:
    """The drawing of a network. body: SVG; width, height: of it."""

    def __init__(self, diagram: Diagram, row: int, lookup: Lookup) -> None:
        self.diagram, self.row, self.lookup = diagram, row, lookup
        nodes = list(diagram.root.walk())
        self._largest = {
            "y": _largest([diagram.real(a) for a in (diagram.x, *(n.y for n in nodes))]),
            "d": _largest([diagram.real(a) for a in (diagram.dx, *(n.dy for n in nodes))]),
            "w": _largest([w.value for n in nodes for w in n.parameters.values()]),
        }
        blocks = [self._inputs()]
        root = diagram.root
        blocks += [self.block(child) for child in root.children] if root.flow == "chain" else [self.block(root)]
        if diagram.value is not None:
            blocks.append(self._loss())
        whole = _stacked(blocks)
        self.width, self.height = whole.width + 2 * MARGIN, whole.height + 2 * MARGIN
        self.body = whole.draw(self.width / 2, MARGIN)

    def block(self, node: Node) -> Block:
        """A layer, with all inside."""
        if not node.children:
            return self._box(node)
        if node.flow == "chain":
            inside = _stacked([self.block(child) for child in node.children])
        else:
            inside = self._paths(node)
        return self._framed(node, inside)

    def _framed(self, node: Node, inside: Block) -> Block:
        """A composition: a frame around its layers."""
        words = f"{node.path}  {node.kind}".strip()
        width = max(inside.width, 2 * width_of(words) + 2 * INSIDE) + 2 * INSIDE  # the words end beside the way in
        height = inside.height + LINE + 3 * INSIDE

        def draw(x: float, y: float) -> list[str]:
            left = x - width / 2
            said = f"{node.layer}: rows of {_shape(node.output)}, {_parameters(node.count)}"
            return [
                element("rect", x=left, y=y, width=width, height=height, rx=8, css="frame"),
                link(None, said, text(left + INSIDE, y + LINE, words, "muted", "start")),
                arrow([(x, y), (x, y + LINE + 2 * INSIDE)], False) if node.flow == "chain" else "",
                *inside.draw(x, y + LINE + 2 * INSIDE),
                arrow([(x, y + LINE + 2 * INSIDE + inside.height), (x, y + height)], False),
            ]

        return Block(width, height, draw)

    def _paths(self, node: Node) -> Block:
        """Layers side by side, which start from one place and meet in another."""
        blocks = [self.block(child) for child in node.children]
        if node.bypass:
            blocks.append(Block(30, 0, lambda x, y: []))
        width = sum(b.width for b in blocks) + APART * (len(blocks) - 1)
        tallest = max(b.height for b in blocks)
        sign = node.sign or "joined"
        room = width_of(sign) / 2 + 10
        height = 2 * GAP + tallest + 2 * 14

        def draw(x: float, y: float) -> list[str]:
            left, meeting = x - width / 2, y + GAP + tallest + GAP / 2
            drawn = [path([(x, y - LINE - 2 * INSIDE), (x, y)], css="way")]
            for block in blocks:
                at = left + block.width / 2
                start = y + GAP + (tallest - block.height) / 2
                if block.height:
                    drawn += [arrow([(x, y), (at, y), (at, start)]), *block.draw(at, start)]
                    drawn.append(arrow([(at, start + block.height), (at, meeting), (x, meeting)], False))
                else:
                    drawn.append(arrow([(x, y), (at, y), (at, meeting), (x, meeting)], False))
                    label = element(
                        "rect", x=at - 8, y=y + GAP + tallest / 2 - SIZE, width=16, height=SIZE + 6, css="paper"
                    )
                    drawn.append(label + text(at, y + GAP + tallest / 2, "x", "muted"))
                left += block.width + APART
            below = meeting + 14
            drawn.append(path([(x, meeting), (x, y + height)], css="way"))
            drawn.append(element("rect", x=x - room, y=below - 14, width=2 * room, height=28, rx=14, css="box"))
            drawn.append(text(x, below + 0.35 * SIZE, sign))
            return drawn

        return Block(width, height, draw)

    def _box(self, node: Node) -> Block:
        loop = LOOP if node.steps != 0 else 0.0
        facts = [f"output {_shape(node.output)}"]
        if node.count:
            facts.append(_parameters(node.count))
        if node.steps != 0:
            facts.append(
                f"{'T' if node.steps is None else node.steps} steps of time" if node.steps != 1 else "1 step of time"
            )
        name = f"{node.path} " if node.path else ""
        weights = [w.value for w in node.parameters.values()] if node.y is None else []
        said = f"{name}{node.layer}: {', '.join(facts)}"
        targets = (_anchor("forward", node.path), _anchor("backward", node.path))
        return self._filled(name, node.layer, said, facts, (node.y, node.dy, weights), targets, loop)

    def _inputs(self) -> Block:
        d = self.diagram
        facts = [f"rows of {_shape(d.inputs)}"] + ([f"{d.rows} row{'s' if d.rows != 1 else ''}"] if d.rows else [])
        return self._filled("", "x", "x, the inputs", facts, (d.x, d.dx, []), ("data", ""), 0.0)

    def _loss(self) -> Block:
        d = self.diagram
        assert d.t is not None and d.losses is not None and d.value is not None
        facts = [f"L = {short(d.value)}" + (f" over {d.rows} rows" if d.rows > 1 else "")]
        t = d.t[self.row].reshape(-1)
        shown = ", ".join(short(float(v)) for v in t[:4]) + (", …" if len(t) > 4 else "")
        facts.append(f"t{f' of row {self.row}' if d.rows > 1 else ''} = {shown}")
        return self._filled("", d.loss, f"{d.loss}: L = {number(d.value)}", facts, (None, None, []), ("loss", ""), 0.0)

    def _filled(
        self,
        name: str,
        layer: str,
        said: str,
        facts: Sequence[str],
        arrays: tuple[Array | None, Array | None, list[Array]],
        targets: tuple[str, str],
        loop: float,
    ) -> Block:
        """A box with words, bars and pictures. loop: room at its right for the way of a state to the next step."""
        room = WIDTH - 2 * INSIDE
        title = fitted(name + layer, room, 3)
        words = [part for fact in facts for part in fitted(fact, room, 2)]
        y, dy, weights = arrays
        a = "x" if layer == "x" else "y"
        bars = [
            (letter, sign, mean)
            for letter, sign, mean in (
                ("y", f"|{a}|", _mean([self.diagram.real(y)])),
                ("d", f"|∂L/∂{a}|", _mean([self.diagram.real(dy)])),
                ("w", "|weights|", _mean(weights)),
            )
            if mean is not None
        ]
        pictures = [(a, red) for a, red in ((y, False), (dy, True)) if a is not None and is_images(a.shape[1:])]
        tall = [self._picture_size(a) for a, _ in pictures]
        many = [min(a.shape[-1], CHANNELS) for a, _ in pictures]
        is_one_line = sum(n * (wide + 3) + 6 for n, (wide, _) in zip(many, tall, strict=True)) <= room
        sides = [side + 6 for _, side in tall]
        height = (
            2 * INSIDE
            + LINE * (len(title) + len(words) + len(bars))
            + (max(sides, default=0.0) if is_one_line else sum(sides))
        )

        def draw(x: float, top: float) -> list[str]:
            left, at = x - WIDTH / 2 + INSIDE, top + INSIDE - 3
            drawn = [element("rect", x=x - WIDTH / 2, y=top, width=WIDTH, height=height, rx=6, css="box")]
            head = ""
            for line in title:
                at += LINE
                head += text(left, at, line, "strong", "start")
            drawn.append(link(self.lookup.section(targets[0]), said, head))
            for line in words:
                at += LINE
                drawn.append(text(left, at, line, "muted", "start"))
            for letter, sign, mean in bars:
                at += LINE
                drawn.append(
                    self._bar(left, at, letter, self.lookup.mean(sign, mean, targets[letter == "d"]), sign, mean)
                )
            at += 8
            start = left
            for (a, red), (wide, side) in zip(pictures, tall, strict=True):
                for address in channels(a[self.row], red):
                    drawn.append(element("image", x=start, y=at, width=wide, height=side, href=address))
                    start += wide + 3
                if is_one_line:
                    start += 6
                else:
                    start, at = left, at + side + 6
            if loop:
                right, low, high = x + WIDTH / 2, top + height - 16, top + 16
                drawn.append(arrow([(right, low), (right + loop - 6, low), (right + loop - 6, high), (right, high)]))
            return drawn

        return Block(WIDTH + 2 * loop, height, draw)

    def _picture_size(self, a: Array) -> tuple[float, float]:
        rows, columns, n = a.shape[1:]
        n = min(n, CHANNELS)
        wide = min(IMAGE, (WIDTH - 2 * INSIDE - 3 * (n - 1)) / n)
        scale = min(wide / columns, IMAGE / rows)
        return columns * scale, rows * scale

    def _bar(self, left: float, at: float, letter: str, said: Said, sign: str, mean: float) -> str:
        """Its length goes by the logarithm, so that gradients that vanish are still seen."""
        start, room = (
            left + width_of("|weights|") + 6,
            WIDTH - 2 * INSIDE - width_of("|weights|") - width_of("−1.2e−05") - 12,
        )
        most = self._largest[letter]
        share = 1 + math.log10(mean / most) / DECADES if mean > 0 and most > 0 and math.isfinite(mean) else 0.0
        return link(
            said.target,
            said.words,
            text(left, at, sign, letter if letter != "w" else "muted", "start"),
            element("rect", x=start, y=at - 9, width=max(share, 0.02) * room, height=9, css=f"bar {letter}"),
            text(left + WIDTH - 2 * INSIDE, at, said.shown, letter if letter != "w" else None, "end"),
        )


def _stacked(blocks: Sequence[Block]) -> Block:
    """Blocks one below the other, with arrows between them."""
    height = sum(b.height for b in blocks) + GAP * (len(blocks) - 1)

    def draw(x: float, y: float) -> list[str]:
        drawn: list[str] = []
        for k, block in enumerate(blocks):
            if k:
                drawn.append(arrow([(x, y), (x, y + GAP)]))
                y += GAP
            drawn += block.draw(x, y)
            y += block.height
        return drawn

    return Block(max(b.width for b in blocks), height, draw)


def _mean(arrays: Sequence[Array | None]) -> float | None:
    """The mean |a| of all numbers; None without any."""
    found = [np.abs(a.astype(np.float64)).reshape(-1) for a in arrays if a is not None and a.size]
    return float(np.concatenate(found).mean()) if found else None


def _largest(arrays: Sequence[Array | None]) -> float:
    """The largest mean |a| that is finite."""
    return max((m for a in arrays if (m := _mean([a])) is not None and math.isfinite(m)), default=0.0)


def _shape(row: Row) -> str:
    return "(" + ", ".join("T" if n is None else str(n) for n in row) + ("," if len(row) == 1 else "") + ")"


def _parameters(count: int) -> str:
    return f"{count:,} parameter{'s' if count != 1 else ''}"


def _anchor(kind: str, at: str) -> str:
    return f"{kind}-{at}" if at else kind
