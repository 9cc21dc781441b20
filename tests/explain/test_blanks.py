"""Exercises: which numbers are left out, that they stand nowhere else, and that they can be computed."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from gpubp.explain.build import Builder
from gpubp.explain.content import Content, Factor, Line, Section
from gpubp.explain.examples import EXAMPLES, example
from gpubp.explain.exercises.accuracy import digits_of, value_with
from gpubp.explain.exercises.blanks import SAME, Exercise, stands_for, with_blanks
from gpubp.explain.exercises.marking import check
from gpubp.explain.explanation import explain_example
from gpubp.explain.expressions import Constant, Element, Key, Operation
from gpubp.explain.forms import html
from gpubp.explain.forms.numbers import number, parsed
from gpubp.explain.forms.text import render
from gpubp.explain.watched import Watched


def content_of(name: str) -> Content:
    one = example(name)
    return Builder(Watched(one.bound(), one.X, one.y, one.loss, one.optimizer)).content(one.title)


CONTENTS = {name: content_of(name) for name in EXAMPLES}


@pytest.fixture(params=EXAMPLES)
def content(request: pytest.FixtureRequest) -> Content:
    return CONTENTS[request.param]


def questions(exercise: Exercise) -> Content:
    """The page without the answer key."""
    *sections, answers = exercise.content.sections
    assert answers.kind == "answers"
    return replace(exercise.content, sections=tuple(sections))


def solved(exercise: Exercise) -> dict[int, float]:
    """The answers of a reader who computes with the digits on the page, and writes four digits down, and six of
    parameters after an update."""
    own: dict[Key, float] = {}
    answers = {}
    for answer in exercise.answers:
        expression = answer.line.expression
        assert expression is not None
        read = {e.key: own.get(e.key, parsed(number(e.value))) for e in expression.elements()}
        found = float(f"{value_with(expression, read):.{6 if answer.line.replaces else 4}g}")
        answers[answer.number] = found
        places = {key: stands_for(text) for key, text in exercise.blanks.items()}
        own |= {key: sign * found for key, (n, sign) in places.items() if n == answer.number}
    return answers


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_can_be_solved_with_the_digits_on_the_page(content: Content, share: float, seed: int) -> None:
    exercise = with_blanks(content, share, seed)
    marks = check(exercise, solved(exercise))
    assert (marks.wrong, marks.missing, marks.score) == ({}, (), 1.0)
    assert [answer.number for answer in exercise.answers] == list(range(1, len(exercise.answers) + 1))


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_can_be_an_exercise(case: LayerCase) -> None:
    rng = np.random.default_rng(3)
    net = bp.Network(case.network_layers(), case.shape[1:], device="cpu", dtype="float64")
    watched = Watched(net, case.x(rng, 2), rng.normal(size=(2, 3)), bp.MeanSquaredError())
    exercise = with_blanks(Builder(watched, written=3).content(case.id), 0.3, seed=1)
    assert exercise.answers
    assert check(exercise, solved(exercise)).score == 1.0
    assert_nowhere(exercise)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss_can_be_an_exercise(case: LossCase) -> None:
    rng = np.random.default_rng(4)
    shape = case.shape[1:]
    last = ([bp.Reshape(shape)] if len(shape) > 1 else []) + ([] if case.last is None else [case.last])
    layers = bp.Sequential(bp.Flatten(), bp.Dense(math.prod(shape)), *last)
    net = bp.Network(layers, shape, device="cpu", dtype="float64")
    y = case.targets(rng, (2, *shape))
    exercise = with_blanks(
        Builder(Watched(net, rng.normal(size=(2, *shape)), y, case.loss), written=6).content(""), 0.3
    )
    assert exercise.answers
    assert check(exercise, solved(exercise)).score == 1.0
    assert_nowhere(exercise)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_update_can_be_an_exercise(case: OptimizerCase) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh(), bp.Dense(2)), 2, device="cpu", dtype="float64", seed=4)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    made = net.explain(x, y, loss=bp.MeanSquaredError(), optimizer=case.optimizer, of="0.W[0,0]", blanks=0.9)
    assert any(answer.line.replaces for answer in made.exercise.answers)
    assert check(made.exercise, solved(made.exercise)).score == 1.0
    assert_nowhere(made.exercise)


def assert_nowhere(exercise: Exercise) -> None:
    """What is left out stands on the page neither as it is nor with another sign, and what stands in its place means
    it everywhere."""
    values = {answer.number: answer.value for answer in exercise.answers}
    for key, value in printed(questions(exercise)):
        if text := exercise.blank(key):
            place, sign = stands_for(text)
            assert number(sign * values[place]) == number(value), key
    text = render(questions(exercise), blank=exercise.blank)
    shown = set(re.findall(r"\d[\d.]*(?:e[-+]?\d+)?", text))
    for answer in exercise.answers:
        assert f"({answer.number})" in text
        if len(digits_of(answer.value)) >= SAME:
            assert number(abs(answer.value)) not in shown, answer


def printed(content: Content) -> Iterator[tuple[Key, float]]:
    """All numbers on a page, by the keys under which they are printed."""
    yield from ((e.key, e.value) for e in content.elements())
    for line in content.lines():
        yield line.key, line.value
        for factor in line.factors:
            yield Key("", f"∂{factor.above}/∂{line.gradient_of}", ()), factor.local
            yield Key("", f"∂L/∂{factor.above}", ()), factor.gradient


@pytest.mark.parametrize("seed", range(5))
def test_stands_nowhere_on_the_page(content: Content, seed: int) -> None:
    assert_nowhere(with_blanks(content, 0.4, seed))


@pytest.mark.parametrize(("name", "of"), [("xor", "0.W[0,1]"), ("conv", "0.W[0,0,0,0]"), ("conv", "x[0,2,2,0]")])
def test_chain_rule_of_one_number_tells_nothing(name: str, of: str) -> None:
    for seed in range(4):
        exercise = explain_example(name, of=of, blanks=0.4, seed=seed).exercise
        assert exercise.content.sections[0].kind == "chain"
        assert_nowhere(exercise)
        assert check(exercise, solved(exercise)).score == 1.0


def test_short_numbers_are_not_told_by_lines_that_hand_them_on() -> None:
    """c = 1·b in the chain: where b is left out, c is too; and b is a factor in the gradient of the weight above."""
    for seed in range(8):
        exercise = with_blanks(CONTENTS["chain"], 0.3, seed)
        for row in range(3):
            b, c = (exercise.blank(Key(path, "y", (row, 0))) for path in "01")
            assert b is None or c is not None
            local = exercise.blank(Key("", f"∂1.y[{row},0]/∂1.W[0,0]", ()))
            assert (local is None) == (b is None)


def test_a_number_that_is_computed_twice_is_left_out_twice() -> None:
    """z - t is computed by the loss and by its gradient: -3 here, which is too short to be known by its digits."""
    net = bp.Network(bp.Dense(1, weight_initializer=bp.Constant(0.5)), 1, device="cpu", dtype="float64")
    left_out = set()
    for seed in range(9):
        exercise = net.explain([[2.0]], [[4.0]], loss=bp.HalfMeanSquaredError(), blanks=0.4, seed=seed).exercise
        both = [exercise.blank(Key("loss", name, (0, 0))) is None for name in ("e′", "dz")]
        left_out.add(tuple(both))
    assert left_out == {(True, True), (False, False)}


def test_page_does_not_tell_in_links_and_titles(content: Content) -> None:
    exercise = with_blanks(content, 0.4, seed=2)
    page = html.page(questions(exercise), exercise.blank).partition("<body>")[2]
    for answer in exercise.answers:
        assert f">({answer.number})<" in page
        if len(digits_of(answer.value)) >= SAME:
            assert not re.search(rf"(?<![\d.]){re.escape(number(abs(answer.value)))}(?![\d.])", page), answer


def test_the_negative_of_a_number_stands_there_with_a_minus() -> None:
    """A local derivative that is the negative of a number which is left out."""
    half, dy = (Element(name, (), 0.5, Key("", name, ())) for name in ("h", "dy"))
    x = Element("x", (), 0.123456, Key("0", "x", ()))
    product = Operation("multiply", [dy, Operation("negative", [x])])
    above, of = Key("0", "y", ()), Key("0", "W", ())
    lines = (
        Line("x", (), x.key, Operation("multiply", [half, Constant(0.246912)]), x.value),
        Line("dW", (), Key("0", "dW", ()), product, product.value, of, (Factor(above, 0.5, -x.value),)),
    )
    exercises = [
        with_blanks(Content("", 1.0, 1, (Section("forward", "0", "", lines=lines),)), 0.5, s) for s in range(9)
    ]
    exercise = next(e for e in exercises if e.blank(x.key))
    text = render(exercise.content, blank=exercise.blank)
    assert "dW = dy·(−x) = 0.5·(−(1)) = −0.061728" in text
    assert "∂L/∂0.W = ∂L/∂0.y · ∂0.y/∂0.W = 0.5 · (−(1)) = −0.061728" in text


def test_same_seed_same_numbers() -> None:
    """On every machine: the draw goes by the names of the numbers."""
    exercise = with_blanks(CONTENTS["xor"], 0.1, seed=1)
    assert [str(answer.line.key) for answer in exercise.answers] == [
        "1.y[1,0]",
        "3.y[0,0]",
        "loss.e′[0,0]",
        "loss.e[1,0]",
        "3.dx[1,0]",
        "2.dx[2,1]",
        "1.dx[1,1]",
        "0.dx[2,0]",
    ]
    others = [with_blanks(CONTENTS["xor"], 0.1, seed).blanks for seed in range(5)]
    assert all(one != two for n, one in enumerate(others) for two in others[:n])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_share(share: float) -> None:
    for name in ("chain", "xor"):
        count = len([line for line in CONTENTS[name].lines() if line.expression is not None])
        for seed in range(5):
            assert len(with_blanks(CONTENTS[name], share, seed).answers) == pytest.approx(share * count, abs=1.0)


def given(exercise: Exercise) -> Iterator[Key]:
    computed = {line.key for line in exercise.content.lines() if line.expression is not None}
    yield from (e.key for e in exercise.content.elements() if e.key not in computed)
    yield from (line.key for line in exercise.content.lines() if line.expression is None)


def test_what_is_given_is_shown(content: Content) -> None:
    exercise = with_blanks(content, 1.0)
    keys = set(given(exercise))
    assert {key.array for key in keys} >= {"x", "t", "W"}
    assert not keys & exercise.blanks.keys()


def test_numbers_of_pure_rounding_are_never_asked_for() -> None:
    """The gradient of a bias below BatchNorm is 0 but for roundings, which differ from machine to machine."""
    layers = bp.Sequential(bp.Dense(2), bp.BatchNorm(), bp.Dense(1))
    net = bp.Network(layers, 2, device="cpu", dtype="float64")
    watched = Watched(net, [[1.0, 2.5], [3.0, 5.0], [0.3, 0.7]], [1.0, 0.0, 2.0], bp.HalfMeanSquaredError())
    content = Builder(watched).content("")
    noise = {line.key for line in content.lines() if str(line.gradient_of).startswith("0.b")}
    assert len(noise) == 2
    assert not noise & with_blanks(content, 1.0).blanks.keys()


def test_the_loss_stays_on_the_page(content: Content) -> None:
    """It stands at the top, so that a reader can see whether the forward pass is right."""
    exercise = with_blanks(content, 1.0)
    assert all(answer.value != content.loss for answer in exercise.answers)


def test_nothing_left_out() -> None:
    exercise = with_blanks(CONTENTS["neuron"], 0.0)
    assert (exercise.content, exercise.blanks, exercise.answers) == (CONTENTS["neuron"], {}, ())


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan, "a third", True])
def test_shares_that_are_none(share: object) -> None:
    with pytest.raises(bp.DataError, match="blanks is the share of numbers to leave out, from 0 to 1, and got"):
        with_blanks(CONTENTS["neuron"], share)  # type: ignore[arg-type]


def test_nothing_can_be_left_out() -> None:
    with pytest.raises(bp.DataError, match="no number of this step can be left out"):
        with_blanks(Content("", 0.0, 1, ()), 0.5)


def test_answer_key_has_every_number() -> None:
    exercise = with_blanks(CONTENTS["chain"], 0.3, seed=1)
    key = exercise.content.sections[-1]
    assert [line.value for line in key.lines] == [answer.value for answer in exercise.answers]
    assert key.lines[0].called == "(1) 1.y[1,0]"
