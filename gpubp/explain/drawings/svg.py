"""SVG: elements, texts with the room that they take, and the colours of drawings."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

SIZE = 13.0  # of text, in units of the drawing
SMALLEST = 11.0  # pixels, to which text may shrink on a narrow page
WIDTH = 0.61  # of a letter of the font below, by its size; that of DejaVu Sans Mono, the widest that is common

# Blue and red of equal darkness, which every kind of colour vision tells apart, by light and by dark; what they stand
# for is told by place too: activations above, gradients below.
STYLE = """
.net-drawing { --net-paper: #ffffff; --net-ink: #1c1c1a; --net-muted: #5f5d57; --net-line: #c9c6bd; --net-soft: #f5f4f0;
  --net-blue: #0b57a4; --net-red: #b3261e; }
@media screen and (prefers-color-scheme: dark) {
.net-drawing { --net-paper: #17181a; --net-ink: #e9e7e2; --net-muted: #aaa79f; --net-line: #4a4c50; --net-soft: #222427;
  --net-blue: #8cc2ff; --net-red: #ff9d92; } }
.net-drawing { color: var(--net-ink); }
.net-drawing text { font-family: "DejaVu Sans Mono", ui-monospace, Menlo, Consolas, monospace;
  fill: currentColor; text-rendering: geometricPrecision; }
.net-drawing .muted { fill: var(--net-muted); }
.net-drawing .strong { font-weight: bold; }
.net-drawing .paper { fill: var(--net-paper); }
.net-drawing .box { fill: var(--net-soft); stroke: var(--net-line); }
.net-drawing .frame { fill: none; stroke: var(--net-muted); stroke-dasharray: 2 3; }
.net-drawing .way { fill: none; stroke: var(--net-muted); stroke-width: 1.5; }
.net-drawing .tip { fill: var(--net-muted); }
.net-drawing .edge { stroke: currentColor; }
.net-drawing .near { stroke: transparent; stroke-width: 12; fill: none; }
.net-drawing text.y { fill: var(--net-blue); } .net-drawing text.d { fill: var(--net-red); }
.net-drawing .bar.y { fill: var(--net-blue); } .net-drawing .bar.d { fill: var(--net-red); }
.net-drawing .bar.w { fill: var(--net-muted); }
.net-drawing .arc { fill: none; }
.net-drawing .arc.y { stroke: var(--net-blue); }
.net-drawing .arc.d { stroke: var(--net-red); }
.net-drawing image { image-rendering: pixelated; }
.net-drawing a:hover .edge, .net-drawing a:focus-visible .edge { stroke: var(--net-blue); }
.net-drawing a:hover text, .net-drawing a:focus-visible text { text-decoration: underline; }
"""


class Box(NamedTuple):
    """A rectangle: left, top, right, bottom.

    >>> Box(0, 0, 10, 10).meets(Box(9, 9, 20, 20)), Box(0, 0, 10, 10).meets(Box(10, 0, 20, 10))
    (True, False)
    """

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they have an area in common."""
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def crossed_by(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        """Whether the line from a to b goes through it.

        >>> Box(0, 0, 10, 10).crossed_by((-5, 5), (15, 5)), Box(0, 0, 10, 10).crossed_by((-5, 5), (5, 25))
        (True, False)
        """
        enter, leave = 0.0, 1.0
        sides = ((self.left, self.right), (self.top, self.bottom))
        for start, end, (low, high) in zip(a, b, sides, strict=True):
            if start == end:
                if not low < start < high:
                    return False
                continue
            first, second = sorted(((low - start) / (end - start), (high - start) / (end - start)))
            enter, leave = max(enter, first), min(leave, second)
        return enter < leave


def element(name: str, *inside: str, **attributes: Any) -> str:
    """An element: what is inside is SVG, and attributes are escaped; one that is None is left out, and _ is -.

    >>> element("circle", cx=1.25, cy=3, stroke_width=2, css="unit")
    '<circle cx="1.25" cy="3" stroke-width="2" class="unit"/>'
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = _plain(value) if isinstance(value, float | int) else str(value)
            words.append(f'{"class" if key == "css" else key.replace("_", "-")}="{html.escape(shown)}"')
    body = "".join(inside)
    return f"<{' '.join(words)}>{body}</{name}>" if body else f"<{' '.join(words)}/>"


def text(x: float, y: float, words: str, css: str | None = None, anchor: str = "middle", size: float = SIZE) -> str:
    """Words on the line y; anchor: "start", "middle" or "end", the part of them that is at x."""
    return element("text", html.escape(words), x=x, y=y, css=css, text_anchor=anchor, font_size=size)


def room_of(x: float, y: float, words: str, anchor: str = "middle", size: float = SIZE) -> Box:
    """The room that `text` takes.

    >>> room_of(0, 0, "0.5", "start")
    Box(left=0, top=-10.4, right=23.79, bottom=3.25)
    """
    width = width_of(words, size)
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return Box(left, y - 0.8 * size, left + width, y + 0.25 * size)


def width_of(words: str, size: float = SIZE) -> float:
    """How wide words are at most."""
    return len(words) * size * WIDTH


def fitted(words: str, width: float, lines: int = 1, size: float = SIZE) -> list[str]:
    """Words in lines that are no wider than `width`; where more lines would be needed, … stands for the rest.

    >>> fitted("Dense(5, use_bias=False)", 100, 2)
    ['Dense(5,', 'use_bias=Fa…']
    """
    most, rest = max(int(width / (size * WIDTH)), 2), words
    found: list[str] = []
    while rest and len(found) < lines:
        if len(rest) <= most:
            found.append(rest)
            return found
        last = len(found) == lines - 1
        cut = most - 1 if last else max((rest.rfind(c, 0, most) + 1 for c in " (,"), default=0)
        cut = cut if cut > 3 else most
        found.append(rest[:cut].rstrip() + ("…" if last else ""))
        rest = rest[cut:].lstrip()
    return found


def link(target: str | None, said: str, *inside: str) -> str:
    """What is inside, with words that a pointer shows; a link where there is a target."""
    title = element("title", html.escape(said))
    return element("a", title, *inside, href=target) if target else element("g", title, *inside)


def path(points: Sequence[tuple[float, float]], **attributes: Any) -> str:
    """A line through points."""
    steps = " ".join(f"{'M' if i == 0 else 'L'}{_plain(x)} {_plain(y)}" for i, (x, y) in enumerate(points))
    return element("path", d=steps, **attributes)


def arrow(points: Sequence[tuple[float, float]], tip: bool = True) -> str:
    """A way of the data through points, with a tip at its end."""
    (x, y), (a, b) = points[-1], points[-2]
    length = math.hypot(x - a, y - b) or 1.0
    u, v = (x - a) / length, (y - b) / length
    drawn = path(points, css="way")
    if not tip:
        return drawn
    ends = ((x, y), (x - 7 * u - 4 * v, y - 7 * v + 4 * u), (x - 7 * u + 4 * v, y - 7 * v - 4 * u))
    return drawn + element("polygon", points=" ".join(f"{_plain(p)},{_plain(q)}" for p, q in ends), css="tip")


def picture(
    inside: Sequence[str],
    width: float,
    height: float,
    *,
    name: str,
    title: str,
    description: str,
    links: bool,
    style: bool,
) -> str:
    """A whole SVG.

    name: begins the ids in it, which no other drawing of a page may have. links: whether it has links, which a reader
    without sight gets to only where the drawing is no single image. style: whether it has its own styles.
    """
    least = math.ceil(width * SMALLEST / SIZE)
    return element(
        "svg",
        element("title", html.escape(title), id=f"{name}-title"),
        element("desc", html.escape(description), id=f"{name}-desc"),
        element("style", STYLE) if style else "",
        element("rect", width=width, height=height, rx=6, css="paper"),
        *inside,
        xmlns="http://www.w3.org/2000/svg",
        css="net-drawing",
        role="group" if links else "img",
        aria_labelledby=f"{name}-title {name}-desc",
        width=width,
        height=height,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        style=f"max-width: max(100%, {least}px); height: auto",
    )


def short(value: float) -> str:
    """A number in at most 8 letters, with three digits that count, and whole where it is large.

    >>> [short(v) for v in (0.5, -0.123456, 1e-5, -1968.4, -12345678.0, 0.0, float("inf"))]
    ['0.5', '−0.123', '1e-05', '−1968', '−1.2e+07', '0', 'inf']
    """
    if 1000 <= abs(value) < 999999.5:
        return f"{value:.0f}".replace("-", "−")
    if value == 0 or not math.isfinite(value):
        return f"{value + 0.0:g}".replace("-", "−", 1)
    found = next((s for digits in (3, 2, 1) if len(s := f"{value:.{digits}g}") <= 8), f"{value:.0e}")
    return "−" + found[1:] if found[0] == "-" else found


def _plain(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".") if isinstance(number, float) else str(number)
