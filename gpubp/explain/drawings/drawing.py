"""Drawings of networks as SVG: small ones unit by unit, others layer by layer.

With the numbers of a step, activations are blue and gradients red. A number shows its formula when one points at it,
and leads to its line on the page of an explanation. Nothing needs a script.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..content import Content
from ..forms.printing import Blank
from .box_drawing import BoxDrawing
from .diagram import Diagram
from .lookup import Lookup
from .pixels import CHANNELS, is_images
from .svg import SIZE, fitted, picture, short, text
from .unit_drawing import UnitDrawing, fits

LEGEND = 440.0  # wide at most, which is seen on narrow pages too
File = str | os.PathLike[str] | None


class Drawing:
    """A drawing, which notebooks show, and which can be saved.

    svg: the text of the file.

    >>> Drawing("<svg/>")._repr_svg_()
    '<svg/>'
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into a file that ends in .svg. Raises ValueError for other endings, and if its folder is missing."""
        check_file(path)
        Path(path).write_text(self.svg + "\n", encoding="utf-8")

    def __repr__(self) -> str:
        return f"<a drawing of {len(self.svg):,} characters; drawing.save('network.svg') writes it>"


def check_file(path: File) -> None:
    """Raise ValueError if no drawing can be written to `path`, because of its ending or because its folder is missing.

    >>> check_file("network.png")
    Traceback (most recent call last):
    ...
    ValueError: a drawing ends in .svg, and path is 'network.png'
    """
    if path is None:
        return
    place = Path(path)
    if place.suffix.lower() != ".svg":
        raise ValueError(f"a drawing ends in .svg, and path is {str(path)!r}")
    if not place.parent.is_dir():
        raise ValueError(f"there is no folder {str(place.parent)!r} for the drawing {place.name!r}; make it first")


def draw(
    diagram: Diagram,
    content: Content | None = None,
    *,
    row: int = 0,
    name: str = "net",
    links: bool = True,
    blank: Blank | None = None,
    style: bool = True,
) -> str:
    """The drawing of a network as SVG.

    content: the explanation of the same step, whose formulas the numbers show. row: whose numbers stand in the circles.
    name: begins the ids in the drawing, and no other drawing on a page may have it. links: whether numbers lead to
    their lines on the page. blank: what stands in the place of the number with a key, None for a number that is shown.
    style: whether its colours are in the drawing; a page may have them once, from `svg.STYLE`.

    >>> import gpubp as bp
    >>> from gpubp.explain.drawings.diagram import diagram_of_network
    >>> net = bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh()), 2, device="cpu")
    >>> draw(diagram_of_network(net))[:48]
    '<svg xmlns="http://www.w3.org/2000/svg" class="n'
    """
    lookup = Lookup(content, links, blank)
    of_units = fits(diagram)
    made: UnitDrawing | BoxDrawing = (UnitDrawing if of_units else BoxDrawing)(diagram, row, lookup)
    width, height = max(made.width, LEGEND), made.height
    legend = [line for sentence in _legend(diagram, made, row) for line in fitted(sentence, LEGEND - 28, 6)]
    body = [*made.body]
    if width > made.width:
        body = [f'<g transform="translate({(width - made.width) / 2:.1f} 0)">', *body, "</g>"]
    for line in legend:
        height += SIZE + 5
        body.append(text(14, height, line, "muted", "start"))
    title = f"The network {diagram.root.layer}" + (f", row {row} of a step" if diagram.rows > 1 and of_units else "")
    return picture(
        body,
        width,
        height + 12,
        name=name,
        title=title,
        description=_described(diagram),
        links=lookup.links,
        style=style,
    )


def _legend(diagram: Diagram, made: UnitDrawing | BoxDrawing, row: int) -> list[str]:
    said = []
    step, gradients = diagram.x is not None, diagram.dx is not None
    if isinstance(made, UnitDrawing):
        if step:
            below = ", below, red: ∂L/∂ of it" if gradients else ""
            said.append(f"Circles: above, blue: the activation{below}{f', of row {row}' if diagram.rows > 1 else ''}.")
        at = ", red: ∂L/∂ weight" + (", a sum over rows" if diagram.rows > 1 else "") if gradients else ""
        said.append(f"Lines: the weight, wide where |weight| is large, dashed where it is negative{at}.")
        if made.has_tables:
            said.append("Tables: the weights from the unit of the row to the unit of the column.")
    elif step:
        red = ", red: mean |∂L/∂y|" if gradients else ""
        said.append(f"Bars, blue: mean |y|{red}. A factor of 10 is a fourth of the longest bar.")
        shapes = [diagram.inputs, *(node.output for node in diagram.root.walk())]
        if images := [shape for shape in shapes if is_images(shape)]:
            more = "; red: |∂L/∂| of it, nothing where it is 0" if gradients else ""
            many = "" if all(shape[-1] <= CHANNELS for shape in images) else f"the first {CHANNELS} "
            each = f"{many}channels" if many else "a channel each"
            said.append(f"Pictures: row {row}, {each}, from the smallest, black, to the largest, white{more}.")
    else:
        said.append("Bars: mean |weights|. A factor of 10 is a fourth of the longest bar.")
    return said


def _described(diagram: Diagram) -> str:
    """The drawing in words: the layers, and what came out."""
    layers = "; ".join(f"{node.path} {node.layer}".strip() for node in diagram.chain())
    said = f"Inputs of shape {diagram.inputs}, then {layers}."
    if diagram.value is not None:
        said += f" The loss {diagram.loss} is {short(diagram.value)} on {diagram.rows} rows."
    return said
