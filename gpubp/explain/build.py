"""From a watched step to the sections of an explanation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..backends import Array
from .content import Content, Factor, Line, Section, Summary
from .derivatives import Factors
from .expressions import Constant, Element, Expression, Index, Key, Operation, added, operate, total
from .formulas import formulas_of
from .memory import Source, locate, place_of, root
from .names import AGAIN, NEW, UPDATE
from .notes import notes_of_layer, notes_of_step, patch_of
from .watch import Frame
from .watched import Watched

WRITTEN = 24  # numbers of an array, up to which all are written out
FEW = 3  # of a larger array: the largest
MOST_INNER = 250  # of a section: numbers in between that have a line


class Made(NamedTuple):
    """An array that a frame has made. called: its name in the formulas. name: of the arrays of the workspace.

    last: the number of the call that wrote it last.
    """

    called: str
    name: str
    array: Array
    last: int


class Builder:
    """The sections of one watched step.

    written: how many numbers of an array are written out at most. few: how many of a larger array have a line.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(1), bp.Sigmoid()), 1, device="cpu")
    >>> content = Builder(Watched(net, [[2.0]], [[1.0]], bp.HalfMeanSquaredError())).content("a neuron")
    >>> [section.kind for section in content.sections]
    ['data', 'forward', 'forward', 'loss', 'loss-backward', 'backward', 'backward']
    """

    def __init__(self, watched: Watched, written: int = WRITTEN, few: int = FEW) -> None:
        self.watched, self.written, self.few = watched, written, few
        self.origins, self.names = watched.origins, watched.names
        self._factors: dict[Frame, FrameFactors] = {}
        self._seen: set[Key] = set()  # the numbers that have a line
        self.forward: dict[str, Frame] = {}
        self.backward: dict[str, Frame] = {}
        for frame in frames(watched.be.top):
            if frame.method == "forward":
                self.forward.setdefault(frame.path, frame)
            if frame.method == "backward":
                self.backward[frame.path] = frame

    def content(self, title: str) -> Content:
        """All of it."""
        sections = [self.data()]
        sections += [s for frame in frames(self.watched.be.top) for s in self.section(frame)]
        sections += self.update()
        notes = tuple(notes_of_step(self))
        return Content(title, self.watched.loss, self.watched.rows, tuple(sections), notes, str(self.watched.net.dtype))

    def data(self) -> Section:
        """What the step starts from: inputs, targets, and what part of the loss each row is."""
        lines, summaries, notes = [], [], []
        for name, a in self.watched.given.items():
            if name == "w" and not self._counted():
                continue
            made = Made(name, name, a, len(self.watched.be.events))
            shown = self.shown(made)
            found = [self._given(made, index, Key("", name, index)) for index in shown]
            lines += [*self._counts(found), *found]
            if len(shown) < a.size:
                summaries.append(self.summary("", made, len(shown)))
        if self.watched.rows > 1:
            notes.append("c[i] is the part that row i has in the loss L.")
        if "u" in self.watched.given:
            notes.append("u is the weight of each position, and a row of weight w = 0 has none.")
        return Section("data", "", "inputs and targets", (), tuple(lines), tuple(summaries), tuple(notes))

    def _counted(self) -> bool:
        """Whether c is computed in the step, from how much each row counts in the loss."""
        share = self.watched.given.get("c")
        return share is not None and self.origins.source(place_of(share, (0,), len(self.watched.be.events))) is not None

    def _counts(self, lines: list[Line]) -> list[Line]:
        """How much each row counts, where shares are computed from that."""
        found = {e.key: e for line in lines if line.expression is not None for e in line.expression.elements()}
        sources = [(e, self.origins.source(e.place)) for e in found.values() if e.key.path == "loss"]
        return [
            Line(e.name, e.index, e.key, self.origins.of(e.place, source.event.frame), e.value)
            for e, source in sources
            if source is not None
        ]

    def _given(self, made: Made, index: Index, key: Key) -> Line:
        place = place_of(made.array, index, made.last + 1)
        source = self.origins.source(place)
        expression = None if source is None else self.origins.of(place, source.event.frame)
        return Line(made.called, index, key, expression, self.origins.value(place))

    def section(self, frame: Frame) -> Iterator[Section]:
        """The section of a frame, if its own formulas compute anything."""
        if frame.ws is None or frame.method not in ("forward", "backward"):
            return
        made = self.made(frame)
        if not made:
            return
        lines: list[Line] = []
        summaries = []
        for one in made:
            shown = self.shown(one) if self.is_main(frame, one) else []
            lines += [self.line(frame, one, index) for index in shown]
            if shown and len(shown) < one.array.size:
                summaries.append(self.summary(frame.path, one, len(shown)))
        lines = [line for line in self.with_inner(frame, made, lines) if line.key not in self._seen]
        if not lines:
            return
        self._seen |= {line.key for line in lines}
        of, kind, path = frame.ws._layer, frame.method, frame.path
        title = f"layer {path}, {of!r}" if path else repr(of)
        if path == "loss":
            kind, path, title = ("loss" if kind == "forward" else "loss-backward"), "", f"loss, {of!r}"
        if kind == "loss":
            lines.append(self.loss_line(frame))
        if kind == "forward":
            lines = self.parameters(frame) + lines
        shapes = {one.called: one.array.shape for one in made}
        notes = tuple(notes_of_layer(self, frame))
        formulas = formulas_of(of)
        stated = formulas.forward if frame.method == "forward" else formulas.backward
        yield Section(kind, path, title, stated, tuple(lines), tuple(summaries), notes, shapes)

    def parameters(self, frame: Frame) -> list[Line]:
        """The layer's parameters, where they are few."""
        assert frame.ws is not None
        found = []
        for name in frame.ws._plan.parameters:
            made = Made(name, name, getattr(frame.ws, name), -1)
            if made.array.size <= self.written:
                found += [self._given(made, i, Key(frame.path, name, i)) for i in np.ndindex(*made.array.shape)]
        return found

    def loss_line(self, frame: Frame) -> Line:
        """L = Σ c ℓ over the rows."""
        end, losses = len(self.watched.be.events), frame.result.reshape(-1)
        terms = [self.origins.operand(place_of(losses, (i,), end), frame) for i in range(len(losses))]
        if any(a is frame.result for _, a in self.names.own(frame.ws)):  # then its lines call it ℓ
            terms = [Element("ℓ", e.index, e.value, e.key, e.place) if isinstance(e, Element) else e for e in terms]
        if (share := self.watched.share) is not None:
            shares = [self.origins.operand(place_of(share, (i,), end), frame) for i in range(len(losses))]
            terms = [operate("multiply", pair) for pair in zip(shares, terms, strict=True)]
        whole = total(terms)
        if np.isnan(self.watched.loss) and not np.isnan(whole.value):  # no number counts, so that the mean has none
            whole = Operation("divide", (whole, Constant(0.0)))
        return Line("L", (), Key("loss", "L", ()), whole, self.watched.loss)

    def made(self, frame: Frame) -> list[Made]:
        """The named arrays that the frame's own calls have written, in the order of their last calls. A loss may have
        computed its gradient in forward already."""
        assert frame.ws is not None
        events = [e for e in self.watched.be.events[frame.first : frame.last] if e.frame is frame]
        found: dict[int, Made] = {}
        arrays = list(self.names.own(frame.ws))
        if frame.path == "loss" and frame.method == "forward":
            gradient = self.backward["loss"].result
            arrays = [(name, a) for name, a in arrays if a is not gradient]
        if not events and frame.path == "loss" and frame.method == "backward":
            events = [e for e in self.watched.be.events if e.frame is self.forward["loss"]]
            arrays = [(name, a) for name, a in arrays if a is frame.result]
        if frame.path == "loss" and frame.method == "backward":  # whose dz the step multiplies by weights of positions
            events += [e for e in self.watched.be.events[frame.last :] if e.frame is frame.outer]
        for name, a in arrays:
            last = max((e.number for e in events for out in e.outs if np.may_share_memory(out, a)), default=-1)
            if last >= 0 and a.size:
                called = "ℓ" if frame.path == "loss" and frame.method == "forward" and a is frame.result else name
                found[id(a)] = Made(called, name, a, last)
        return sorted(found.values(), key=lambda one: one.last)

    def is_main(self, frame: Frame, made: Made) -> bool:
        """Whether an array is a result of the frame: an output, a gradient, a running statistic. Of others, such as a
        mean, what the results are computed from is shown."""
        ws, result = frame.ws, frame.result
        assert ws is not None
        if isinstance(result, np.ndarray) and np.may_share_memory(result, made.array):
            return True
        is_gradient = frame.method == "backward" and made.name[:1] == "d" and made.name[1:] in ws._plan.parameters
        return is_gradient or made.name in ws._plan.states

    def with_inner(self, frame: Frame, made: list[Made], lines: list[Line]) -> list[Line]:
        """The lines, each below those of the numbers that it is computed from, as far as the frame makes them."""
        found: dict[Key, Line] = {}
        ready: dict[Key, Line | None] = {line.key: line for line in lines}
        waiting, rest = deque(lines), MOST_INNER
        while waiting and rest:  # those that are read directly first
            line = waiting.popleft()
            for e in line.expression.elements() if line.expression is not None else ():
                if e.key not in ready and rest:
                    ready[e.key] = inner = self._inner_line(frame, made, e)
                    if inner is not None:
                        waiting.append(inner)
                        rest -= 1

        def add(line: Line) -> None:
            if line.key in found:
                return
            for e in line.expression.elements() if line.expression is not None else ():
                inner = ready.get(e.key)
                if inner is not None and inner.key not in found and inner.key != line.key:
                    add(inner)
            found[line.key] = line

        for line in lines:
            add(line)
        return list(found.values())

    def _inner_line(self, frame: Frame, made: list[Made], e: Element) -> Line | None:
        if e.part is not None:
            return Line(e.name, e.index, e.key, e.part, e.value) if e.key.path == frame.path else None
        if e.place is None or self.inner(e, frame) is None:
            return None
        for one in made:
            if root(one.array) is e.place.whole and (index := locate(one.array, e.place.address)) is not None:
                line = self.line(frame, one, index)
                return line if line.key == e.key else None
        return None

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
        place = place_of(made.array, index, max(frame.last, made.last + 1))
        source = self.origins.source(place)
        expression = self.origins.through(place, frame)
        key = self.names.key(place, source) or Key(frame.path, made.name, index)
        of = self.gradient_of(frame, made, index)
        factors = self.factors(frame, expression) if of is not None else ()
        called = made.called + AGAIN * (key.array == made.name + AGAIN)
        patch = patch_of(expression) if frame.method == "forward" else ""
        marks = (f"computed from {patch}",) if patch else ()
        return Line(called, index, key, expression, self.origins.value(place), of, factors, marks)

    def gradient_of(self, frame: Frame, made: Made, index: Index) -> Key | None:
        """The number a, where this one is ∂L/∂a."""
        if frame.method != "backward" or frame.ws is None:
            return None
        if frame.path == "loss":
            return self.key_at(frame.arguments[0], index) if made.array is frame.result else None
        if made.name[:1] == "d" and made.name[1:] in frame.ws._plan.parameters:
            return Key(frame.path, made.name[1:], index)
        if made.array is frame.result or made.name == "dx":
            forward = self.forward.get(frame.path)
            return None if forward is None else self.key_at(forward.arguments[0], index)
        return None

    def key_at(self, a: Array, index: Index) -> Key | None:
        """Which number of the step a[index] is."""
        if len(index) != a.ndim or any(i >= n for i, n in zip(index, a.shape, strict=True)):
            return None
        place = place_of(a, index, len(self.watched.be.events))
        return self.names.key(place, self.origins.source(place))

    def factors(self, frame: Frame, expression: Expression) -> tuple[Factor, ...]:
        """The terms of a gradient: what came from above, times the local derivative. None for the sum of a
        composition, whose terms are what its layers have made of that."""
        terms = self.terms(frame, expression)
        if any(source.event.frame is not frame and source.event.frame.within(frame) for _, source, _, _ in terms):
            return ()
        found = tuple(Factor(key, e.value, local) for e, _, key, local in terms)
        return found if self._add_up(found, expression.value) else ()

    def _add_up(self, factors: tuple[Factor, ...], gradient: float) -> bool:
        """Whether nothing else makes up the gradient, such as what a function without a formula has computed."""
        products = [factor.product for factor in factors]
        if not np.isfinite([*products, gradient]).all():
            return True
        near = float(np.sqrt(np.finfo(self.watched.net.dtype).eps))
        return abs(added(products) - gradient) <= near * max(map(abs, [*products, gradient]))

    def terms(self, frame: Frame, expression: Expression) -> list[tuple[Element, Source, Key, float]]:
        """The gradients that a gradient is computed from, the number whose gradient each is, and the local derivative.

        They are of the outputs of the frame's layer, dy, or what layers inside it have made of that.
        """
        forward = self.forward.get(frame.path)
        if frame.path == "loss" or frame.ws is None or forward is None or not isinstance(forward.result, np.ndarray):
            return []
        if frame not in self._factors:
            self._factors[frame] = FrameFactors(self, frame, forward.result)
        return self._factors[frame].terms(expression)

    def gradient_of_element(self, source: Source, e: Element) -> Key | None:
        """The number whose gradient an element of another frame is."""
        frame = source.event.frame
        for made in self.made(frame):
            if root(made.array) is e.place.whole and (index := locate(made.array, e.place.address)) is not None:
                return self.gradient_of(frame, made, index)
        return None

    def inner(self, e: Element, frame: Frame) -> Expression | None:
        """The expression of an element that the frame itself has computed."""
        source = None if e.place is None else self.origins.source(e.place)
        return None if source is None or source.event.frame is not frame else self.origins.of(e.place, frame)

    def update(self) -> list[Section]:
        """A section for each parameter that the optimizer's rule changes."""
        watched = self.watched
        frame = next((f for f in watched.be.top.inner if f.path == UPDATE), None)
        if frame is None:
            return []
        rule, sections, read = formulas_of(watched.optimizer).all, [], dict[Key, Element]()
        for name, gradient in watched.update.gradients.items():
            made = [Made(m, f"{name}.{m}", moment[name], -1) for m, moment in watched.update.moments.items()]
            made.append(Made("θ", name, watched.net.parameters[name], -1))
            shown = self.shown(Made("g", name, gradient, len(watched.be.events)))
            lines = [line for index in shown for one in made if (line := self._updated(frame, one, index)) is not None]
            lines = self.with_inner(frame, [], lines)
            for line in lines:
                found = line.expression.elements() if line.expression is not None else ()
                read |= {e.key: e for e in found if e.key.path == UPDATE and e.part is None}
            sections.append(Section(UPDATE, name, f"update of {name}, {watched.optimizer!r}", (), tuple(lines)))
        scalars = tuple(Line(e.name, e.index, key, None, e.value) for key, e in read.items())
        notes = ("θ is the parameter, g its gradient.",)
        return [Section(UPDATE, "", f"update, {watched.optimizer!r}", rule, scalars, (), notes), *sections]

    def _updated(self, frame: Frame, made: Made, index: Index) -> Line | None:
        place = place_of(made.array, index, max(frame.last, made.last + 1))
        source = self.origins.source(place)
        if source is None:
            return None
        path, _, letter = made.name.rpartition(".")
        expression = self.origins.of(place, frame)
        return Line(made.called, index, Key(path, letter + NEW, index), expression, self.origins.value(place))

    def summary(self, path: str, made: Made, shown: int) -> Summary:
        """How the numbers of an array are spread."""
        a = self.values(made).astype(np.float64)
        full = f"{path}.{made.name}" if path else made.name
        return Summary(
            made.called, full, a.shape, float(a.min()), float(a.max()), float(a.mean()), float(a.std()),
            float((a == 0).mean()), shown,
        )  # fmt: skip


class FrameFactors:
    """The factors of the gradients of one frame. y: the output of its layer."""

    def __init__(self, builder: Builder, frame: Frame, y: Array) -> None:
        self._builder, self._frame, self._y = builder, frame, y
        self._found: dict[Key, tuple[Element, Source, Key]] = {}
        self._factors = Factors(self._is_above, lambda e: builder.inner(e, frame))

    def terms(self, expression: Expression) -> list[tuple[Element, Source, Key, float]]:
        """See `Builder.terms`."""
        linear = self._factors.of(expression) or {}
        return [(*self._found[key], local) for key, local in linear.items()]

    def _is_above(self, e: Element) -> bool:
        builder, frame = self._builder, self._frame
        source = None if e.place is None else builder.origins.source(e.place)
        if source is None or source.event.frame is frame:
            return False
        key, dy = None, frame.arguments[-1]
        if root(dy) is e.place.whole and (index := locate(dy, e.place.address)) is not None:
            key = builder.key_at(self._y, index)
        elif source.event.frame.within(frame) and source.event.frame.method == "backward":
            key = builder.gradient_of_element(source, e)
        if key is not None:
            self._found[e.key] = e, source, key
        return key is not None


def frames(frame: Frame) -> Iterator[Frame]:
    """The frame and all inside, in the order in which their own formulas end."""
    for inner in frame.inner:
        yield from frames(inner)
    yield frame
