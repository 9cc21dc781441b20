"""explain: one step of a network on a few rows, every number beside its formula."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..atomic import write_parts
from ..config import Count, argument, instance
from ..errors import DataError
from ..layers.bound import BoundLayers
from ..losses import Loss
from ..optimizers import Optimizer
from .build import FEW, WRITTEN, Builder
from .chain import Chain
from .content import Content
from .drawings.diagram import diagram_of_step
from .drawings.figures import CHOICES, Step, figure_of_step, figure_of_steps
from .examples import example
from .exercises.blanks import Exercise, with_blanks
from .exercises.marking import Marks, check
from .expressions import Key
from .forms import html, markdown, tex, text
from .forms.printing import Blank
from .labels import with_labels
from .later_steps import later_steps
from .watched import Watched

Draw = Callable[[Content, Blank], str]
MOST_ROWS = 256  # of one explanation
FORMS: dict[str, Callable[..., str]] = {
    ".html": html.page,
    ".md": markdown.render,
    ".tex": tex.render,
    ".txt": text.render,
}


class Explanation:
    """One step of a network on a few rows: forward, loss, backward and update, every number beside its formula.

    It prints itself as text, and shows itself in a notebook. content: what it says, as sections and lines. exercise:
    which numbers are left out. is_part: whether it is a part of another, as explanation["chain"]. draw: makes the
    drawing of a page, from the content and from what is left out; None for a page without one.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(1), bp.Sigmoid()), 1, device="cpu")
    >>> explanation = net.explain([[2.0]], [[1.0]], loss=bp.HalfMeanSquaredError())
    >>> [section.title for section in explanation.content.sections][1:3]
    ['layer 0, Dense(1)', 'layer 1, Sigmoid()']
    """

    def __init__(self, content: Content, blanks: float = 0.0, seed: int = 0, draw: Draw | None = None) -> None:
        self.exercise: Exercise = with_blanks(content, blanks, seed)
        self.content, self.draw, self.is_part = self.exercise.content, draw, False

    def __getitem__(self, name: str) -> Explanation:
        """A part of it: the sections with this name, as "data", "forward-0", "loss", "backward-2" or "chain".

        Raises KeyError with the names that there are.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), 1, device="cpu")
        >>> explanation = net.explain([[2.0]], [[1.0]], loss=bp.HalfMeanSquaredError())
        >>> [line.called for line in explanation["loss"].content.lines()][-1]
        'L'
        """
        found = tuple(section for section in self.content.sections if section.anchor == name)
        if not found:
            there = ", ".join(dict.fromkeys(section.anchor for section in self.content.sections))
            raise KeyError(f"the explanation has no part {name!r}; it has {there}")
        part = copy.copy(self)
        part.content, part.draw, part.is_part = replace(self.content, sections=found, notes=()), None, True
        vars(part).pop("_drawn", None)
        return part

    def __str__(self) -> str:
        told = text.render(self.content, blank=self.exercise.blank)
        if not self.is_part:
            return told
        return "\n".join(line for line in told.splitlines()[3:] if line)  # without the title, and without empty lines

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html.fragment(self._drawn, self.exercise.blank)

    @cached_property
    def _drawn(self) -> Content:
        """The content of a page, which has the drawing."""
        if self.draw is None:
            return self.content
        return replace(self.content, figure=self.draw(self.content, self.exercise.blank))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into a file, as a page (.html), for LaTeX (.tex), as Markdown (.md) or as text (.txt).

        Raises DataError for another ending, OSError where the file can't be written; an older file is then still there.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1), 1, device="cpu")
        >>> net.explain([[2.0]], [[1.0]], loss=bp.HalfMeanSquaredError()).save("page.pdf")
        Traceback (most recent call last):
        ...
        gpubp.errors.DataError: page.pdf: an explanation is saved as .html, .md, .tex or .txt
        """
        form = FORMS.get(Path(path).suffix.lower())
        if form is None:
            *others, last = FORMS
            raise DataError(f"{os.fspath(path)}: an explanation is saved as {', '.join(others)} or {last}")
        told = form(self._drawn if form is html.page else self.content, blank=self.exercise.blank)
        write_parts(path, [told.encode() if told.endswith("\n") else f"{told}\n".encode()])

    def check(self, answers: Any) -> Marks:
        """Mark answers to the numbers that are left out.

        answers: as {1: 0.49, 2: "−0,41"}, or a list in the order of the blanks; see `marking.check`. Raises DataError
        for a blank that is not there, and for what is no number.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Constant(0.5)), 1, device="cpu")
        >>> explanation = net.explain([[2.0]], [[4.0]], loss=bp.HalfMeanSquaredError(), blanks=0.2, seed=2)
        >>> print(explanation.check({1: "1,0"}))
        1 of 2 right.
        right: (1)
        missing: (2)
        """
        return check(self.exercise, answers)


def explain(
    net: BoundLayers,
    X: Any,
    y: Any,
    loss: Loss,
    optimizer: Optimizer | None = None,
    of: str | None = None,
    training: bool = True,
    sample_weight: Any = None,
    written: int = WRITTEN,
    blanks: float = 0.0,
    seed: int = 0,
    steps: int = 1,
) -> Explanation:
    """The explanation of one step of a network on the rows X, y; see `Network.explain`.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 1, device="cpu")
    >>> explain(net, [[2.0]], [[1.0]], bp.HalfMeanSquaredError()).content.rows
    1
    """
    instance("explain", "loss", Loss, loss)
    if optimizer is not None:
        instance("explain", "optimizer", Optimizer, optimizer)
    written = argument("explain", "written", Count, written)
    _check_steps(argument("explain", "steps", Count, steps), optimizer, blanks)
    shape = getattr(X, "shape", None)
    rows = shape[0] if shape else len(X) if hasattr(X, "__len__") else 0  # what has no rows is refused below
    if rows > MOST_ROWS:
        raise ValueError(f"explain shows a step on {MOST_ROWS} rows at most, and X has {rows}; give it X[:4] and y[:4]")
    watched = Watched(net, X, y, loss, optimizer, training, sample_weight)
    builder = Builder(watched, written, FEW)
    count = f"{watched.rows} rows" if watched.rows > 1 else "one row"
    content = builder.content(f"One step of {net.layers!r} on {count}")
    if of is not None:
        chain = Chain(builder, of).section()
        content = content.with_section(chain, first=True)
    diagram = diagram_of_step(watched)
    later = list(later_steps(watched, X, y, loss, steps - 1, training, sample_weight))

    def draw(content: Content, blank: Blank) -> str:
        if later:
            return figure_of_steps([Step(diagram, content), *later])
        return figure_of_step(diagram, content, blank=blank)

    return Explanation(content, blanks, seed, draw)


def _check_steps(steps: int, optimizer: Optimizer | None, blanks: float) -> None:
    if steps > CHOICES:
        raise ValueError(f"explain draws {CHOICES} steps of training at most, and steps={steps}")
    if steps > 1 and optimizer is None:
        raise ValueError(f"steps={steps} are steps of training, which need an optimizer, such as SGD(0.1)")
    if steps > 1 and blanks:
        raise ValueError("later steps would tell the answers of an exercise of the first: leave out blanks or steps")


def explain_example(
    name: str,
    optimizer: Optimizer | None = None,
    of: str | None = None,
    written: int | None = None,
    blanks: float = 0.0,
    seed: int = 0,
    steps: int = 1,
) -> Explanation:
    """The explanation of an example, "neuron", "chain", "xor" or "conv".

    optimizer: in place of the example's own. Other arguments are as for `Network.explain`. Raises DataError for another
    name.

    >>> print(explain_example("chain").content.title)
    A chain A → B → C → D: b = 2 a, c = 1 b, d = 3 c
    """
    one = example(name)
    _check_steps(argument("explain", "steps", Count, steps), one.optimizer, blanks)
    made = explain(
        one.bound(),
        one.X,
        one.y,
        one.loss,
        optimizer or one.optimizer,
        of,
        written=written or one.written,
        steps=steps,
    )
    content = replace(made.content, title=one.title, notes=(one.look, *made.content.notes))
    targets = {Key("", "t", (i,)): f"the class {one.classes[t]}" for i, t in enumerate(one.y)} if one.classes else {}
    content = with_labels(content, targets, [f"output for the class {word}" for word in one.classes])
    return Explanation(content, blanks, seed, made.draw)
