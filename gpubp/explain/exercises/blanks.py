"""Blanks: an explanation with some of its numbers left out, as an exercise.

A number that is left out must be found by computing it, and not by looking for it elsewhere on the page. So it is left
out wherever the page prints it: in its own line, in lines that read it, and as a factor of the chain rule. Another line
that has the same number, as y = max(x, 0) has that of x, is left out with it. What is given, as inputs, targets and
parameters, is never left out, nor a number that can't be computed from the digits that the page shows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...errors import DataError
from ..content import Content, Line, Section
from ..expressions import Constant, Element, Given, Key
from ..forms.numbers import number
from .accuracy import digit, digits_of, error_of, shown_error

SAME = 4  # digits from which on equal numbers are no coincidence
EXACT = 3  # digits that an answer must have right
CARRIED = 4  # digits of an answer with which a reader goes on computing
FULL = 6  # digits of an answer that differs little from a number that is given, as a parameter after its update


class Answer(NamedTuple):
    """One number that was left out. number: of the blank. title: of its section. line: with its value.

    error: by how much a reader's number may differ, because of roundings on the way.
    """

    number: int
    title: str
    line: Line
    error: float

    @property
    def value(self) -> float:
        """The number that was left out."""
        return self.line.value


@dataclass(frozen=True)
class Exercise:
    """An explanation of which numbers are left out.

    content: the explanation; its last section, of the kind "answers", has the lines of what is left out, and
    drawings, which show numbers, are not in it. blanks: what stands in the place of a number, as "(3)", by its key;
    "(−(3))" where it is the negative of one. answers: the numbers that were left out, in the order of the page.

    >>> from gpubp.explain.build import Builder
    >>> from gpubp.explain.examples import example
    >>> from gpubp.explain.watched import Watched
    >>> one = example("neuron")
    >>> content = Builder(Watched(one.bound(), one.X, one.y, one.loss)).content(one.title)
    >>> exercise = with_blanks(content, share=0.3, seed=0)
    >>> [(answer.number, answer.line.called) for answer in exercise.answers]
    [(1, 'e′[0,0]'), (2, 'dz[0,0]'), (3, 'dW[0,0]')]
    >>> exercise.blank(exercise.answers[0].line.key), exercise.content.sections[-1].title
    ('(1)', 'Answers')
    """

    content: Content
    blanks: dict[Key, str]
    answers: tuple[Answer, ...]

    def blank(self, key: Key) -> str | None:
        """What stands in the place of a number; None for a number that is shown."""
        return self.blanks.get(key)


def with_blanks(content: Content, share: float, seed: int = 0) -> Exercise:
    """The explanation with about `share` of its computed numbers left out.

    The same seed leaves out the same numbers, on every machine. A number that the page also tells in words, such as the
    largest of an array or the loss, is not left out. Raises DataError for a share that is not from 0 to 1, and where no
    number can be left out.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise DataError(f"blanks is the share of numbers to leave out, from 0 to 1, and got {share!r}")
    if not share:
        return Exercise(content, {}, ())
    numbers = _Numbers(content)
    chosen = numbers.chosen(share, seed)
    if not chosen:
        raise DataError("no number of this step can be left out: none is computed from others that are shown")
    order = [key for key in numbers.lines if key in chosen]
    texts = {key: f"({place})" for place, key in enumerate(order, 1)}
    blanks = numbers.everywhere(texts)
    answers: list[Answer] = []
    errors: dict[int, float] = {}
    for place, key in enumerate(order, 1):
        title, line = numbers.lines[key]
        error = numbers.error(line, blanks, errors)
        errors[place] = error + digit(line.value, FULL if line.replaces else CARRIED) / 2
        answers.append(Answer(place, title, line, max(error, _asked(line))))
    content = _without_words(content, numbers, chosen)
    content = replace(content, sections=(*content.sections, _key(answers)))
    return Exercise(content, blanks, tuple(answers))


def _asked(line: Line) -> float:
    """By how much an answer may differ in any case: one unit of its third digit, or where the number takes the place of
    another, of the third digit of the change."""
    if not line.replaces:
        return digit(line.value, EXACT)
    old = next(e.value for e in _elements(line) if e.name == line.name and e.index == line.index)
    return max(digit(line.value - old, EXACT), shown_error(line.value))


def _key(answers: list[Answer]) -> Section:
    """The answer key."""
    lines = [
        replace(a.line, name=f"({a.number}) {'.'.join(filter(None, a.line.key[:2]))}", gradient_of=None, factors=())
        for a in answers
    ]
    return Section("answers", "", "Answers", lines=tuple(lines))


class _Numbers:
    """The numbers that a page computes: each has one line, and maybe others that tell it once more.

    lines: of a number, its section's title and its first line; in the order of the page.
    """

    def __init__(self, content: Content) -> None:
        self.content = content
        own = [(s.title, line) for s in content.sections for line in s.lines if s.kind != "chain"]
        self._gradients = {str(line.gradient_of): line.key for _, line in own if line.gradient_of is not None}
        others = [(s.title, line) for s in content.sections for line in s.lines if s.kind == "chain"]
        found: dict[Key, tuple[str, Line]] = {}
        for title, line in (*own, *others):
            if _is_computed(line):
                found.setdefault(self.key(line.key), (title, line))
        order = dict.fromkeys(self.key(line.key) for line in content.lines())
        self.lines = {key: found[key] for key in order if key in found}
        self.read: dict[Key, dict[Key, float]] = {}  # by the line of a number: keys and values
        self.values: dict[Key, set[float]] = {}  # that stand on the page under a key
        self.readers: dict[Key, list[Key]] = {}
        for line in content.lines():
            key = self.key(line.key)
            read = {self.key(e.key): e.value for e in _elements(line)}
            self.read.setdefault(key, {}).update(read)
            for other, value in (*read.items(), (key, line.value)):
                self.values.setdefault(other, set()).add(value)
            for other in read:
                self.readers.setdefault(other, []).append(key)
        self.equal: dict[str, list[Key]] = {}
        for key, (_, line) in self.lines.items():
            if len(digits_of(line.value)) >= SAME:
                self.equal.setdefault(number(abs(line.value)), []).append(key)
        self.twins: dict[tuple[frozenset[Key], str], list[Key]] = {}  # the same number of the same numbers
        for key, (_, line) in self.lines.items():
            self.twins.setdefault(self._twin(key, line), []).append(key)
        self._given = _read_before([line for _, line in own])
        given = {e.value for e in content.elements() if self.key(e.key) in self._given}
        given |= {value for line in content.lines() for value in _constants(line)}
        given |= {value for several in self.values.values() if len(several) > 1 for value in several}
        self._told = {number(abs(value)) for value in given if len(digits_of(value)) >= SAME}
        self._told |= {number(abs(value)) for value in _told(content)}

    def _twin(self, key: Key, line: Line) -> tuple[frozenset[Key], str]:
        return frozenset(self.read[key]), number(abs(line.value))

    def key(self, key: Key) -> Key:
        """One key for a gradient and for what the chain rule of one number calls it."""
        return self._gradients.get(key.array, key) if key.path == "chain" else key

    def error(self, line: Line, blanks: dict[Key, str], errors: dict[int, float]) -> float:
        """By how much a number may differ if it is computed from what is shown. errors: by the number of a blank."""

        def of(e: Element) -> float:
            place = stands_for(blanks[e.key])[0] if e.key in blanks else 0
            return errors.get(place, shown_error(e.value))

        return math.inf if line.expression is None else error_of(line.expression, of)

    def chosen(self, share: float, seed: int) -> set[Key]:
        """The numbers that are left out."""
        wanted = max(1, round(share * len(self.lines)))
        chosen: set[Key] = set()
        for key in sorted(self.lines, key=lambda key: _drawn(seed, key)):
            if key in chosen or isinstance(self.lines[key][1].expression, Element):
                continue
            group = self._group(key)
            if len(chosen | group) <= wanted and all(self._computable(k) for k in group):
                chosen |= group
        return chosen

    def _group(self, key: Key) -> set[Key]:
        """The number, and all from which it could be read off."""
        group, stack = {key}, [key]
        while stack:
            one = stack.pop()
            line = self.lines[one][1]
            value = line.value
            readers = [key for key in self.readers.get(one, ()) if key in self.lines]
            copies = [key for key in readers if number(abs(self.lines[key][1].value)) == number(abs(value))]
            for other in (*copies, *self.twins[self._twin(one, line)], *self.equal.get(number(abs(value)), ())):
                if other not in group:
                    group.add(other)
                    stack.append(other)
        return group

    def _computable(self, key: Key) -> bool:
        """Whether a reader can find the number, and whether the key stands for this number alone."""
        line = self.lines[key][1]
        if not math.isfinite(line.value) or number(abs(line.value)) in self._told:
            return False
        if key in self._given or len(self.values[key]) > 1:
            return False
        return self.error(line, {}, {}) <= digit(line.value, EXACT)

    def everywhere(self, texts: dict[Key, str]) -> dict[Key, str]:
        """What stands in the place of a number, for all keys under which the page prints one that is left out."""
        found = dict(texts)
        values = {key: self.lines[key][1].value for key in texts}
        known = {number(v): texts[key] for key, v in values.items() if len(digits_of(v)) >= SAME}
        for line in self.content.lines():
            for e in _elements(line):
                text = texts.get(self.key(e.key))
                if text is None and e.key.path == "chain" and e.key not in self.lines:  # a local derivative
                    text = _instead(e.value, known)
                if text is not None:
                    found.setdefault(e.key, text)
            key = self.key(line.key)
            if key in texts:
                found[line.key] = texts[key]
            near = known | {number(v): texts[k] for k, v in self.read[key].items() if k in texts}
            for factor in line.factors:
                local = f"∂{factor.above}/∂{line.gradient_of}"
                for value, name, of in (
                    (factor.local, local, local),
                    (factor.gradient, f"∂L/∂{factor.above}", str(factor.above)),
                ):
                    text = _instead(value, near)
                    if text is not None:
                        found[Key("", name, ())] = found[Key("chain", of, ())] = text
        return found


def _instead(value: float, known: Mapping[str, str]) -> str | None:
    """What stands in the place of a number that equals one of `known`, or is its negative; else None."""
    if number(value) in known:
        return known[number(value)]
    other = known.get(number(-value))
    return None if other is None else f"(−{other})"


def stands_for(text: str) -> tuple[int, int]:
    """The number of the blank of a text, and the sign before it.

    >>> stands_for("(3)"), stands_for("(−(3))")
    ((3, 1), (3, -1))
    """
    return int(text.strip("(−)")), -1 if "−" in text else 1


def _is_computed(line: Line) -> bool:
    """Whether a line says how its number is computed."""
    return line.expression is not None and not isinstance(line.expression, Given | Constant)


def _elements(line: Line) -> Iterator[Element]:
    if line.expression is not None:
        yield from line.expression.elements()


def _constants(line: Line) -> Iterator[float]:
    """Numbers that a line is given: those of its formula, and all of it where nothing is computed."""
    if not _is_computed(line):
        yield line.value
    seen: set[int] = set()
    stack = [line.expression]
    while stack:
        one = stack.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            stack.extend(one.operands)
            if isinstance(one, Constant | Given):
                yield one.value


def _read_before(lines: Iterable[Line]) -> set[Key]:
    """The numbers that a line reads before another computes them, if any does: inputs, parameters, numbers of a large
    array that have no line."""
    computed: set[Key] = set()
    found: set[Key] = set()
    for line in lines:
        found.update(e.key for e in _elements(line) if e.key not in computed)
        if _is_computed(line):
            computed.add(line.key)
    return found


def _told(content: Content) -> Iterator[float]:
    """Numbers that the page tells besides its lines."""
    yield content.loss
    for section in content.sections:
        for summary in section.summaries:
            yield from (summary.smallest, summary.largest, summary.mean)


def _drawn(seed: int, key: Key) -> bytes:
    """A draw by the seed and the name of the number alone."""
    return hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16).digest()


def _without_words(content: Content, numbers: _Numbers, chosen: set[Key]) -> Content:
    """The content without drawings, and without marks and notes that tell a number which is left out."""
    hidden = {number(abs(numbers.lines[key][1].value)) for key in chosen}

    def silent(sentences: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(s for s in sentences if not any(text in s for text in hidden if len(text) > SAME))

    def of(section: Section) -> Section:
        lines = tuple(
            replace(line, marks=() if numbers.key(line.key) in chosen else silent(line.marks)) for line in section.lines
        )
        return replace(section, lines=lines, notes=silent(section.notes), figure="")

    return replace(content, sections=tuple(map(of, content.sections)), notes=silent(content.notes), figure="")
