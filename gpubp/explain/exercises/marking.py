"""Marking: which answers to an exercise are right, which are wrong, and why."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...errors import DataError
from ..content import Line
from ..expressions import Key
from ..forms.equations import equation
from ..forms.numbers import number
from ..forms.printing import Printer
from .accuracy import digit, value_with
from .blanks import EXACT, FULL, Answer, Exercise, stands_for

MINUS = dict.fromkeys(map(ord, "−–—‐‑﹣－"), "-")  # signs that are taken for a minus
UP = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


class Mistake(NamedTuple):
    """A wrong answer. answer: what was given. value: what is right. line: how it is computed, in a line of text. hint:
    what may have gone wrong, or an empty text."""

    answer: float
    value: float
    line: str
    hint: str = ""


@dataclass(frozen=True)
class Marks:
    """The result of marking. right: numbers of blanks. wrong: number -> the mistake. missing: blanks without an answer.

    >>> print(Marks((1,), {2: Mistake(0.5, -0.4, "dz = y − t = −0.4")}, (3,)))
    1 of 3 right.
    right: (1)
    wrong: (2) 0.5: dz = y − t = −0.4
    missing: (3)
    """

    right: tuple[int, ...]
    wrong: Mapping[int, Mistake]
    missing: tuple[int, ...]

    @property
    def score(self) -> float:
        """The share of blanks with a right answer, from 0 to 1; 1 where nothing is asked.

        >>> Marks((1,), {}, (2, 3, 4)).score
        0.25
        """
        count = len(self.right) + len(self.wrong) + len(self.missing)
        return len(self.right) / count if count else 1.0

    def __str__(self) -> str:
        count = len(self.right) + len(self.wrong) + len(self.missing)
        found = [f"{len(self.right)} of {count} right."]
        if self.right:
            found.append(f"right: {_places(self.right)}")
        for place, mistake in self.wrong.items():
            hint = f" ({mistake.hint})" if mistake.hint else ""
            found.append(f"wrong: ({place}) {number(mistake.answer)}: {mistake.line}{hint}")
        if self.missing:
            found.append(f"missing: {_places(self.missing)}")
        return "\n".join(found)


def check(exercise: Exercise, answers: Any) -> Marks:
    """Mark the answers to an exercise.

    answers: the number of a blank -> its answer, or a list of answers in the order of the blanks. An answer is a
    number, or a text as a person writes it: with a comma or a point, any kind of minus sign, as a fraction "1/3" or as
    "1.2·10⁻³". None or an empty text is a missing one.

    An answer is right if its first three digits are, but for one unit of the third, or for what the digits shown leave
    open. Of a parameter after its update, these are the digits of the change. Raises DataError for a blank that the
    exercise does not have, and for what is no number.

    >>> from gpubp.explain.exercises.blanks import with_blanks
    >>> from gpubp.explain.build import Builder
    >>> from gpubp.explain.examples import example
    >>> from gpubp.explain.watched import Watched
    >>> one = example("neuron")
    >>> content = Builder(Watched(one.bound(), one.X, one.y, one.loss)).content(one.title)
    >>> print(check(with_blanks(content, share=0.3), {1: "−0,269"}))
    1 of 3 right.
    right: (1)
    missing: (2), (3)
    """
    given = read_answers(answers, len(exercise.answers))
    right, missing, wrong = [], [], {}
    for answer in exercise.answers:
        found = given.get(answer.number)
        if found is None:
            missing.append(answer.number)
        elif is_right(found, answer):
            right.append(answer.number)
        else:
            hint = _hint(exercise, answer, found, given)
            wrong[answer.number] = Mistake(found, answer.value, _text(answer.line), hint)
    return Marks(tuple(right), wrong, tuple(missing))


def _text(line: Line) -> str:
    """A line in full, with its result."""
    left, sides = equation(line, Printer())
    return " ".join([left, *(f"{relation} {side}" for relation, side in sides)])


def is_right(found: float, answer: Answer) -> bool:
    """Whether a number is near enough to the one that was left out."""
    return abs(found - answer.value) <= answer.error * (1 + 1e-9) + 1e-12 * abs(answer.value)


def read_answers(answers: Any, count: int) -> dict[int, float | None]:
    """The number of a blank -> its answer; None for a missing one. Raises DataError as `check` does.

    >>> read_answers({"(1)": "−0,41", 2: 1e-3}, 3)
    {1: -0.41, 2: 0.001}
    """
    if isinstance(answers, Mapping):
        items = [(_place(key), answer) for key, answer in answers.items()]
    elif isinstance(answers, Sequence) and not isinstance(answers, str):
        items = list(enumerate(answers, 1))
    else:
        raise DataError(f"answers are a dict, as {{1: 0.49, 2: -0.41}}, or a list, and got {answers!r:.60}")
    found: dict[int, float | None] = {}
    for place, answer in items:
        if not 1 <= place <= count:
            has = f"has the blanks (1) to ({count})" if count > 1 else f"has {count} blank{'' if count else 's'}"
            raise DataError(f"there is an answer to ({place}), and the exercise {has}")
        if place in found:
            raise DataError(f"there are two answers to ({place}); give one")
        found[place] = read_number(answer, place)
    return found


def read_number(answer: Any, place: int) -> float | None:
    """An answer as a number; None for a missing one. place: of its blank, for the error.

    >>> [read_number(text, 1) for text in ("−0,41", " 1/4 ", "1.2·10⁻³", "1 968", "1,968.5", "")]
    [-0.41, 0.25, 0.0012, 1968.0, 1968.5, None]
    """
    if answer is None:
        return None
    if isinstance(answer, numbers.Real) and not isinstance(answer, bool):
        return _finite(float(answer), answer, place)
    if not isinstance(answer, str):
        try:
            return _finite(float(answer.item()), answer, place)  # an array of one number
        except (AttributeError, ValueError, TypeError):
            raise DataError(f"the answer to ({place}) is {answer!r:.60}, which is no number") from None
    text = re.sub(r"[\s'’_]", "", answer).translate(MINUS)
    if not text:
        return None
    text = re.sub(r"[·×*x]10\^?([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+|[+-]?\d+)$", lambda m: "e" + m[1].translate(UP), text)
    top, slash, below = text.partition("/")
    try:
        value = _decimal(top) / (_decimal(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise DataError(f"the answer to ({place}) is {answer!r:.60}, which is no number") from None
    return _finite(value, answer, place)


def _finite(value: float, answer: Any, place: int) -> float:
    if not math.isfinite(value):
        raise DataError(f"the answer to ({place}) is {answer!r:.60}, which is no number")
    return value


def _decimal(text: str) -> float:
    """A number with a comma or a point; where it has both, the last of them is the decimal one."""
    if "," in text and "." in text:
        thousands = "," if text.rindex(",") < text.rindex(".") else "."
        text = text.replace(thousands, "")
    elif text.count(",") > 1:
        text = text.replace(",", "")
    return float(text.replace(",", "."))


def _place(key: Any) -> int:
    text = str(key).strip().removeprefix("(").removesuffix(")")
    if isinstance(key, bool) or not (text.isascii() and text.isdigit()):
        raise DataError(f"answers are known by the numbers of the blanks, 1, 2, ..., and got {key!r:.60}")
    return int(text)


def _hint(exercise: Exercise, answer: Answer, found: float, given: Mapping[int, float | None]) -> str:
    """What may have gone wrong."""
    value = answer.value
    if value and is_right(-found, answer):
        return "the sign is wrong"
    line = answer.line
    digits = FULL if answer.error < digit(value, EXACT) else EXACT
    if value and _rounded(found, value, digits):
        return f"rounded too much: {digits} digits are asked for"
    assert line.expression is not None
    own: dict[Key, float] = {}
    wrong = []
    for other in exercise.answers:
        theirs = given.get(other.number)
        signs = {
            key: sign for key, text in exercise.blanks.items() for n, sign in [stands_for(text)] if n == other.number
        }
        if theirs is None or other is answer or not any(e.key in signs for e in line.expression.elements()):
            continue
        own |= {key: sign * theirs for key, sign in signs.items()}
        if not is_right(theirs, other):
            wrong.append(other.number)
    if wrong and abs(value_with(line.expression, own) - found) <= max(answer.error, abs(found) * 10.0 ** (1 - EXACT)):
        return f"it follows from your {_places(wrong)}, which {'is' if len(wrong) == 1 else 'are'} wrong"
    return ""


def _rounded(found: float, value: float, asked: int) -> bool:
    """Whether an answer is the right number with fewer digits than are asked for."""
    return any(float(f"{value:.{digits}g}") == found for digits in range(1, asked))


def _places(places: Sequence[int]) -> str:
    return ", ".join(f"({place})" for place in places)
