"""Marking: which answers are right, how they may be written, and what is said of mistakes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.explain.build import Builder
from gpubp.explain.examples import example
from gpubp.explain.exercises.blanks import Exercise, with_blanks
from gpubp.explain.exercises.marking import Marks, check, read_answers
from gpubp.explain.expressions import Key
from gpubp.explain.watched import Watched


def exercise_of(name: str, share: float, seed: int = 0) -> Exercise:
    one = example(name)
    return with_blanks(Builder(Watched(one.bound(), one.X, one.y, one.loss)).content(one.title), share, seed)


@pytest.fixture(scope="module")
def neuron() -> Exercise:
    """All numbers but the loss are left out: y, z and what comes after."""
    return exercise_of("neuron", 1.0)


def values(exercise: Exercise) -> dict[int, float]:
    return {answer.number: answer.value for answer in exercise.answers}


def place(exercise: Exercise, key: str) -> int:
    return next(answer.number for answer in exercise.answers if str(answer.line.key) == key)


def test_all_right(neuron: Exercise) -> None:
    marks = check(neuron, values(neuron))
    assert (marks.score, marks.wrong, marks.missing) == (1.0, {}, ())
    assert marks == check(neuron, list(values(neuron).values()))
    assert check(neuron, np.array(list(values(neuron).values())).tolist()).score == 1.0


def test_right_wrong_and_missing(neuron: Exercise) -> None:
    y, dz = place(neuron, "1.y[0,0]"), place(neuron, "loss.dz[0,0]")
    marks = check(neuron, {y: "0,731", dz: 0.3})
    count = len(neuron.answers)
    assert marks.right == (y,)
    assert list(marks.wrong) == [dz]
    assert len(marks.missing) == count - 2
    assert marks.score == pytest.approx(1 / count)
    assert marks.wrong[dz].line == "dz[0,0] = z[0,0] − t[0,0] = 0.731059 − 1 = −0.268941"
    text = str(marks)
    assert text.startswith(f"1 of {count} right.\nright: ({y})\nwrong: ({dz}) 0.3: dz[0,0] = z[0,0] − t[0,0] = ")
    assert f"missing: {', '.join(f'({n})' for n in marks.missing)}" in text


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (0.731, True), (0.7311, True), (0.73106, True), (0.732, True), (0.73, False), (0.7, False), (0.729, False),
        (-0.731, False), ("0.731", True), ("0,731", True), (" .731 ", True), ("7,31·10⁻¹", True), ("7.31e-1", True),
        ("73.1x10^-2", True), ("731/1000", True), ("0,74", False), (np.float32(0.731), True), (np.array([0.731]), True),
    ],
)  # fmt: skip
def test_what_is_right(neuron: Exercise, answer: Any, right: bool) -> None:
    """0.731059: three digits, and one unit of the third more or less."""
    y = place(neuron, "1.y[0,0]")
    assert (check(neuron, {y: answer}).right == (y,)) is right


@pytest.mark.parametrize("minus", list("-−–—‐‑﹣－"))
def test_every_minus(minus: str) -> None:
    assert read_answers([f"{minus} 0.41"], 1) == {1: -0.41}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1 968", 1968.0), ("1.968,5", 1968.5), ("1,968.5", 1968.5), ("−1'968", -1968.0), ("1,000,000", 1e6),
     ("+3", 3.0), ("1/3", 1 / 3), ("−139/3", -139 / 3), ("2·10³", 2000.0), ("0", 0.0)],
)  # fmt: skip
def test_ways_to_write_a_number(text: str, value: float) -> None:
    assert read_answers({"(1)": text}, 1) == {1: value}


def test_empty_answers_are_missing(neuron: Exercise) -> None:
    assert len(check(neuron, {}).missing) == len(neuron.answers)
    assert len(check(neuron, ["", None, "  "]).missing) == len(neuron.answers)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({17: 0.5}, r"there is an answer to \(17\), and the exercise has the blanks \(1\) to \(\d\)"),
        ({0: 0.5}, r"there is an answer to \(0\)"),
        ([0.5] * 30, r"there is an answer to \(\d+\), and the exercise has"),
        ({1: "abc"}, r"the answer to \(1\) is 'abc', which is no number"),
        ({1: "1/0"}, r"the answer to \(1\) is '1/0', which is no number"),
        ({1: "NaN"}, r"the answer to \(1\) is 'NaN', which is no number"),
        ({1: float("inf")}, r"the answer to \(1\) is inf, which is no number"),
        ({1: True}, r"the answer to \(1\) is True, which is no number"),
        ({1: [0.1, 0.2]}, r"the answer to \(1\) is \[0.1, 0.2\], which is no number"),
        ({1: np.ones(3)}, r"the answer to \(1\) is array.*, which is no number"),
        ({"one": 0.5}, r"answers are known by the numbers of the blanks, 1, 2, ..., and got 'one'"),
        ({1: 0.5, "(1)": 0.6}, r"there are two answers to \(1\); give one"),
        ("0.5", r"answers are a dict, as \{1: 0.49, 2: -0.41\}, or a list, and got '0.5'"),
        (3, "answers are a dict"),
    ],
)  # fmt: skip
def test_mistakes_of_the_caller(neuron: Exercise, answers: Any, message: str) -> None:
    with pytest.raises(bp.DataError, match=message):
        check(neuron, answers)


def test_a_wrong_sign_is_named(neuron: Exercise) -> None:
    dz = place(neuron, "loss.dz[0,0]")
    assert check(neuron, {dz: 0.269}).wrong[dz].hint == "the sign is wrong"


def test_too_few_digits_are_named(neuron: Exercise) -> None:
    dz = place(neuron, "loss.dz[0,0]")
    assert check(neuron, {dz: -0.27}).wrong[dz].hint == "rounded too much: 3 digits are asked for"


def test_an_answer_that_follows_from_a_wrong_one(neuron: Exercise) -> None:
    """Who goes on rightly from a mistake is told where the mistake is."""
    y, dz = place(neuron, "1.y[0,0]"), place(neuron, "loss.dz[0,0]")
    marks = check(neuron, {y: 0.9, dz: -0.1})
    assert marks.wrong[dz].hint == f"it follows from your ({y}), which is wrong"
    assert marks.wrong[y].hint == ""
    assert f"(it follows from your ({y}), which is wrong)" in str(marks)
    assert check(neuron, {y: 0.9, dz: -0.15}).wrong[dz].hint == ""


def test_what_rounding_leaves_open_is_right() -> None:
    """After cancellation of answers with four digits the third digit can't be asked for."""
    for name in ("chain", "xor"):
        exercise = exercise_of(name, 0.6, seed=3)
        assert all(answer.error >= 0.001 * abs(answer.value) for answer in exercise.answers)
        assert all(answer.error <= 0.05 * abs(answer.value) for answer in exercise.answers)


def test_of_a_parameter_the_change_counts() -> None:
    """-0.8 - 2·0.0000843132 is -0.800169: the weight before the update is no answer, with three digits or not."""
    one = example("xor")
    exercise = (
        one.network(bp.Network).explain(one.X, one.y, loss=one.loss, optimizer=one.optimizer, blanks=1.0).exercise
    )
    new = next(a.number for a in exercise.answers if a.line.replaces and a.value == pytest.approx(-0.800169, abs=1e-6))
    assert check(exercise, {new: -0.800169}).right == (new,)
    marks = check(exercise, {new: -0.8})
    assert marks.wrong[new].hint == "rounded too much: 6 digits are asked for"
    assert check(exercise, {new: -0.80013}).wrong[new].hint == ""


def cases() -> Iterator[Marks]:
    yield Marks((), {}, ())
    yield check(exercise_of("neuron", 0.0), {})


def test_nothing_asked() -> None:
    for marks in cases():
        assert (marks.score, str(marks)) == (1.0, "0 of 0 right.")


def test_keys_of_blanks_have_texts(neuron: Exercise) -> None:
    assert neuron.blank(Key("", "x", (0, 0))) is None
    assert {neuron.blank(answer.line.key) for answer in neuron.answers} == {
        f"({n})" for n in range(1, len(neuron.answers) + 1)
    }
