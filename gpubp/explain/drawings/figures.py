"""Figures of a page: the drawing of a step, row by row, and those of the first steps of training.

One row, or one step, is seen at a time, and radio buttons choose which; no script is needed. On paper, and without
styles, they stand one below the other.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from ..content import Content
from ..forms.numbers import number
from ..forms.printing import Blank
from .diagram import Diagram
from .drawing import draw
from .svg import STYLE as OF_DRAWINGS
from .unit_drawing import fits

ROWS = 8  # of a step, that are drawn
WEIGHTS = 500  # in the drawings of all rows together, because each takes half a kilobyte
OF_EACH = 4  # of one of several steps
CHOICES = 50  # for which there are styles

_NTH = ",\n".join(
    f".net-choice > input:nth-of-type({k}):checked ~ .net-panel:nth-of-type({k})" for k in range(1, CHOICES + 1)
)
STYLE = (
    OF_DRAWINGS
    + """
.net-scroll { overflow: auto; max-height: min(90vh, 60rem); }
.net-scroll:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.net-choice { position: relative; margin: 0 0 1rem; padding: 0; border: 0; min-width: 0; }
.net-choice > legend { float: left; padding: 0.2rem 0.6rem 0.2rem 0; font-weight: 600; }
.net-choice > input { position: absolute; width: 1px; height: 1px; margin: 0; opacity: 0; }
.net-choice > label { display: inline-block; margin: 0 0.3rem 0.3rem 0; padding: 0.1rem 0.6rem; cursor: pointer;
  border: 1px solid color-mix(in srgb, currentColor 40%, transparent); border-radius: 0.4rem; }
.net-choice > input:checked + label { border-color: currentColor; box-shadow: inset 0 0 0 1px currentColor;
  font-weight: 600; }
.net-choice > input:focus-visible + label { outline: 2px solid currentColor; outline-offset: 2px; }
.net-panel { clear: both; }
.net-panel > p { margin: 0.3rem 0; font-weight: 600; }
@media screen {
.net-choice > .net-panel, .net-panel > p { display: none; }
"""
    + _NTH
    + """ { display: block; } }
@media print {
.net-choice > input, .net-choice > label { display: none; }
.net-panel { break-inside: avoid; }
.net-scroll { overflow: visible; max-height: none; }
.net-drawing { max-width: 100% !important; } }
"""
)


class Step(NamedTuple):
    """One step of training: the numbers of its drawing, and its explanation.

    >>> from gpubp.explain.drawings.diagram import Node
    >>> Step(Diagram(Node("", "Tanh()", "Tanh", (2,), (2,), {}), (2,)), Content("a", 0.5, 1, ())).content.loss
    0.5
    """

    diagram: Diagram
    content: Content


def figure_of_step(
    diagram: Diagram,
    content: Content,
    name: str = "net",
    blank: Blank | None = None,
    links: bool = True,
    rows: int = ROWS,
) -> str:
    """The drawing of a step as HTML, with a choice among its first rows where numbers of single rows are drawn.

    content: the explanation of the step, on whose page the figure stands. name: begins the ids, which no other figure
    of the page may have. blank: what stands in the place of the number with a key, None for a number that is shown.
    links: whether the page has the lines of this step. rows: that are drawn at most. The page needs `STYLE` once.

    >>> import gpubp as bp
    >>> from gpubp.explain.build import Builder
    >>> from gpubp.explain.drawings.diagram import diagram_of_step
    >>> from gpubp.explain.watched import Watched
    >>> net = bp.Network(bp.Dense(1), 1, device="cpu")
    >>> watched = Watched(net, [[1.0], [2.0]], [1.0, 0.0], bp.HalfMeanSquaredError())
    >>> figure_of_step(diagram_of_step(watched), Builder(watched).content("a step")).count("<svg")
    2
    """
    rows = min(diagram.rows, rows, max(1, WEIGHTS // max(1, diagram.root.count))) if fits(diagram) else 1
    drawn = [
        _scrolled(
            draw(diagram, content, row=row, name=f"{name}-row{row}", links=links, blank=blank, style=False),
            f"row {row}",
        )
        for row in range(rows)
    ]
    return choice("Row", [(f"{row}", one) for row, one in enumerate(drawn)], f"{name}-row")


def figure_of_steps(steps: Sequence[Step], name: str = "steps") -> str:
    """The drawings and losses of the first steps of training as HTML, with a choice among them.

    name: as in `figure_of_step`. Numbers of the first step have links, because a page has the lines of that step.
    Raises ValueError for more than 50 steps.

    >>> import gpubp as bp
    >>> from gpubp.explain.build import Builder
    >>> from gpubp.explain.drawings.diagram import diagram_of_step
    >>> from gpubp.explain.watched import Watched
    >>> watched = Watched(bp.Network(bp.Dense(1), 1, device="cpu"), [[1.0]], [0.0], bp.HalfMeanSquaredError())
    >>> one = Step(diagram_of_step(watched), Builder(watched).content("a step"))
    >>> figure_of_steps([one, one]).count('type="radio"')
    2
    """
    if len(steps) > CHOICES:
        raise ValueError(f"a page shows {CHOICES} steps of training at most, and {len(steps)} were given")
    panels = []
    for k, (diagram, content) in enumerate(steps, 1):
        drawn = figure_of_step(diagram, content, f"{name}-{k}", links=k == 1, rows=OF_EACH)
        panels.append((f"{k}: L = {number(content.loss)}", drawn))
    return choice("Step", panels, f"{name}-step")


def choice(of: str, panels: Sequence[tuple[str, str]], name: str) -> str:
    """HTML with one of several panels in sight: (words at its button, HTML). of: what is chosen.

    >>> choice("Row", [("0", "<b></b>")], "rows")
    '<b></b>'
    """
    if len(panels) == 1:
        return panels[0][1]
    parts = [f'<fieldset class="net-choice"><legend>{html.escape(of)}</legend>']
    for k, (word, _) in enumerate(panels):
        checked = " checked" if not k else ""
        at = f"{name}-{k}-button"
        parts.append(
            f'<input type="radio" name="{name}" id="{at}"{checked}><label for="{at}">{html.escape(word)}</label>'
        )
    parts += [f'<div class="net-panel"><p>{html.escape(f"{of} {word}")}</p>{inside}</div>' for word, inside in panels]
    return "\n".join([*parts, "</fieldset>"])


def _scrolled(svg: str, of: str) -> str:
    """On a narrow page a drawing stays readable, and is moved sideways; a long one leaves the page in sight."""
    return f'<div class="net-scroll" tabindex="0" role="group" aria-label="drawing of {html.escape(of)}">{svg}</div>'
