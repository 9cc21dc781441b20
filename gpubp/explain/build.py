"""From a watched step to the sections of an explanation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..backends import Array
from .content import Content, Factor, Line, Section, Summary
from .derivatives import Factors
from .expressions import Element, Expression, Index, Key
from .formulas import formulas_of
from .memory import locate, place_of, root
from .watch import Frame
from .watched import Watched

WRITTEN = 24  # numbers of an array, up to which all are written out
FEW = 3  # of a larger array: the largest


class Made(NamedTuple):
    """An array that a frame has made. called: its name in the formulas. name: of the arrays of the workspace."""

    called: str
    name: str
    array: Array
    last: int


class Builder:
    """The sections of one watched step. written: how many numbers of an array are written out at most."""

    def __init__(self, watched: Watched, written: int = WRITTEN, few: int = FEW) -> None:
        self.watched, self.written, self.few = watched, written, few
        self.origins, self.names = watched.origins, watched.names
        self._forward: dict[str, Frame] = {}
        self._backward: dict[str, Frame] = {}
        for frame in frames(watched.be.top):
            if frame.method == "forward" and frame.path not in self._forward:
                self._forward[frame.path] = frame
            if frame.method == "backward":
                self._backward[frame.path] = frame

    def content(self, title: str) -> Content:
        """All of it."""
        sections = [s for frame in frames(self.watched.be.top) for s in self.section(frame)]
        return Content(title, self.watched.loss, self.watched.rows, tuple(sections), (), str(self.watched.net.dtype))

    def section(self, frame: Frame) -> Iterator[Section]:
        """The section of a frame, if its own formulas compute anything."""
        if frame.ws is None or frame.method not in ("forward", "backward"):
            return
        made = self.made(frame)
        if not made:
            return
        of = frame.ws._layer
        kind = frame.method if frame.path != "loss" else ("loss" if frame.method == "forward" else "loss-backward")
        title = f"loss, {of!r}" if frame.path == "loss" else f"layer {frame.path or '0'}, {of!r}"
        lines: list[Line] = []
        summaries = []
        for one in sorted(made, key=lambda one: one.last):
            main = self.is_main(frame, one)
            shown = self.shown(one) if main else []
            found = [self.line(frame, one, index) for index in shown]
            lines += found
            if main and len(shown) < one.array.size:
                summaries.append(self.summary(frame, one, len(shown)))
        lines = self.with_inner(frame, made, lines)
        shapes = {one.called: one.array.shape for one in made}
        yield Section(
            kind,
            "" if frame.path == "loss" else frame.path,
            title,
            formulas_of(of),
            tuple(lines),
            tuple(summaries),
            (),
            shapes,
        )

    def made(self, frame: Frame) -> list[Made]:
        """The named arrays that the frame's own calls have written."""
        assert frame.ws is not None
        events = [e for e in self.watched.be.events[frame.first : frame.last] if e.frame is frame]
        found: dict[int, Made] = {}
        for name, a in self.names.own(frame.ws):
            last = max((e.number for e in events for out in e.outs if np.shares_memory(out, a)), default=-1)
            if last >= 0 and a.size:
                called = "ℓ" if frame.path == "loss" and frame.method == "forward" and a is frame.result else name
                found[id(a)] = Made(called, name, a, last)
        return list(found.values())

    def shown(self, made: Made) -> list[Index]:
        """The indices of the numbers that are written out."""
        if made.array.size <= self.written:
            return list(np.ndindex(*made.array.shape))
        values = np.abs(np.nan_to_num(self.values(made).astype(np.float64)))
        largest = np.argsort(-values, axis=None, kind="stable")[: self.few]
        return [tuple(int(i) for i in np.unravel_index(k, made.array.shape)) for k in sorted(largest)]

    def values(self, made: Made) -> Array:
        """The numbers as the frame has left them."""
        return self.origins.array(made.array, made.last + 1)

    def line(self, frame: Frame, made: Made, index: Index) -> Line:
        """One number of an array."""
        place = place_of(made.array, index, frame.last)
        source = self.origins.source(place)
        expression = self.origins.of(place, frame)
        key = self.names.key(place, source) or Key(frame.path, made.name, index)
        of = self.gradient_of(frame, made, index)
        factors = self.factors(frame, expression) if of is not None else ()
        return Line(made.called, index, key, expression, self.origins.value(place), of, factors)

    def is_main(self, frame: Frame, made: Made) -> bool:
        """Whether an array is a result of the frame: an output, a gradient, a running statistic. Of others, such as a
        mean, what the results are computed from is shown."""
        ws = frame.ws
        assert ws is not None
        result = frame.result
        is_result = isinstance(result, np.ndarray) and np.may_share_memory(result, made.array)
        return (
            is_result
            or made.name in ws._plan.states
            or (frame.method == "backward" and made.name[:1] == "d" and made.name[1:] in ws._plan.parameters)
        )

    def with_inner(self, frame: Frame, made: list[Made], lines: list[Line]) -> list[Line]:
        """The lines, each below those of the numbers that it is computed from, as far as the frame makes them."""
        found: dict[Key, Line] = {}
        ready = {line.key: line for line in lines}

        def add(line: Line) -> None:
            if line.key in found:
                return
            for e in line.expression.elements() if line.expression is not None else ():
                inner = ready.get(e.key) or self._inner_line(frame, made, e)
                if inner is not None and inner.key not in found and inner.key != line.key:
                    add(inner)
            found[line.key] = line

        for line in lines:
            add(line)
        return list(found.values())

    def _inner_line(self, frame: Frame, made: list[Made], e: Element) -> Line | None:
        if e.part is not None:
            return Line(e.name, e.index, e.key, e.part, e.value) if e.key.path == frame.path else None
        if e.place is None or self._inner(e, frame) is None:
            return None
        for one in made:
            if root(one.array) is e.place.whole and (index := locate(one.array, e.place.address)) is not None:
                line = self.line(frame, one, index)
                return line if line.key == e.key else None
        return None

    def gradient_of(self, frame: Frame, made: Made, index: Index) -> Key | None:
        """The number a, where this one is ∂L/∂a."""
        if frame.method != "backward" or frame.ws is None:
            return None
        if frame.path == "loss":
            return self._input(frame.arguments[0], index) if made.array is frame.result else None
        if made.array is frame.result or made.name == "dx":
            forward = self._forward.get(frame.path)
            return None if forward is None else self._input(forward.arguments[0], index)
        if made.name[:1] == "d" and made.name[1:] in frame.ws._plan.parameters:
            return Key(frame.path, made.name[1:], index)
        return None

    def _input(self, a: Array, index: Index) -> Key | None:
        if len(index) != a.ndim or any(i >= n for i, n in zip(index, a.shape, strict=True)):
            return None
        place = place_of(a, index, len(self.watched.be.events))
        return self.names.key(place, self.origins.source(place))

    def factors(self, frame: Frame, expression: Expression) -> tuple[Factor, ...]:
        """The terms of a gradient: what came from above, times the local derivative."""
        forward = self._forward.get(frame.path)
        if frame.path == "loss" or forward is None or not isinstance(forward.result, np.ndarray):
            return ()
        dy, y = frame.arguments[-1], forward.result
        found: dict[Key, tuple[Key, float]] = {}

        def above(e: Element) -> bool:
            if e.place is None or root(dy) is not e.place.whole or (index := locate(dy, e.place.address)) is None:
                return False
            key = self._input(y, index)
            if key is not None:
                found[e.key] = key, e.value
            return key is not None

        linear = Factors(above, lambda e: self._inner(e, frame)).of(expression)
        return tuple(Factor(*found[key], local) for key, local in (linear or {}).items())

    def _inner(self, e: Element, frame: Frame) -> Expression | None:
        if e.place is None:
            return None
        source = self.origins.source(e.place)
        if source is None or source.event.frame is not frame:
            return None
        return self.origins.of(e.place, frame)

    def summary(self, frame: Frame, made: Made, shown: int) -> Summary:
        """How the numbers of an array are spread."""
        a = self.values(made).astype(np.float64)
        full = f"{frame.path}.{made.name}" if frame.path else made.name
        return Summary(
            made.called, full, a.shape, float(a.min()), float(a.max()), float(a.mean()), float(a.std()),
            float((a == 0).mean()), shown,
        )  # fmt: skip


def frames(frame: Frame) -> Iterator[Frame]:
    """The frame and all inside, in the order in which their own formulas end."""
    for inner in frame.inner:
        yield from frames(inner)
    yield frame
