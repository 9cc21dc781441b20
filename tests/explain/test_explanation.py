"""Explanation: printed, in a notebook, in files, and as an exercise."""

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest
from reading import PageReader

import gpubp as bp
from gpubp.explain.content import Content, Section
from gpubp.explain.examples import EXAMPLES, example
from gpubp.explain.exercises.accuracy import digits_of
from gpubp.explain.exercises.blanks import SAME
from gpubp.explain.explanation import Explanation, explain_example
from gpubp.explain.expressions import Key
from gpubp.explain.forms import html, markdown, tex, text
from gpubp.explain.forms.numbers import number
from gpubp.explain.labels import with_labels

LONG = "age: 37, and so on" * 6


def explanation(name: str = "chain", blanks: float = 0.0) -> Explanation:
    one = example(name)
    return one.network(bp.Network).explain(one.X, one.y, loss=one.loss, optimizer=one.optimizer, blanks=blanks, seed=1)


@pytest.mark.parametrize("blanks", [0.0, 0.3])
def test_files_and_notebook(tmp_path: Path, blanks: float) -> None:
    made = explanation(blanks=blanks)
    made.save(tmp_path / "page.txt")
    made.save(tmp_path / "page.md")
    made.save(tmp_path / "page.tex")
    made.save(tmp_path / "PAGE.HTML")
    assert (tmp_path / "page.txt").read_text() == f"{made}\n"
    page = (tmp_path / "PAGE.HTML").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert made._repr_html_().startswith('<div class="explain">')
    others = [(tmp_path / f"page{ending}").read_text() for ending in (".md", ".tex")]
    for told in (str(made), page, made._repr_html_(), *others):
        assert ("Answers" in told) == (blanks > 0)


def test_answer_key_is_the_last_section_and_full() -> None:
    made = explanation(blanks=0.3)
    before, _, key = str(made).partition("\nAnswers\n")
    lines = [line for line in key.splitlines() if line.startswith("  (")]
    assert len(lines) == len(made.exercise.answers)
    first = made.exercise.answers[0]
    assert lines[0].startswith(f"  (1) {first.line.key.path}.{first.line.called} = ")
    assert made.check({a.number: a.value for a in made.exercise.answers}).score == 1.0
    assert before.count("\n") > 50


def test_other_endings_and_folders_that_are_not_there(tmp_path: Path) -> None:
    made = explanation("neuron")
    with pytest.raises(bp.DataError, match=r"page\.pdf: an explanation is saved as \.html"):
        made.save(tmp_path / "page.pdf")
    with pytest.raises(OSError) as found:
        made.save(tmp_path / "no" / "page.html")
    assert found.value.errno == errno.ENOENT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_pages_of_exercises_have_no_faults(name: str) -> None:
    made = explain_example(name, blanks=0.3, seed=1)
    for page in (html.page(made.content, made.exercise.blank), made._repr_html_()):
        read = PageReader(page)
        assert read.faults == []
        assert set(read.links) <= set(read.ids) and len(set(read.ids)) == len(read.ids)


@pytest.mark.parametrize("form", ["html", "markdown", "tex", "text"])
def test_what_is_left_out_stands_in_no_form(form: str) -> None:
    exercise = explanation("xor", 0.4).exercise
    content = replace(exercise.content, sections=exercise.content.sections[:-1])
    render = {"html": html.page, "markdown": markdown.render, "tex": tex.render, "text": text.render}[form]
    written = render(content, blank=exercise.blank)
    for answer in exercise.answers:
        assert f"({answer.number})" in written
        if len(digits_of(answer.value)) >= SAME and "e" not in number(answer.value):
            assert not re.search(rf"(?<![\d.]){re.escape(number(abs(answer.value)))}(?!\d)", written), answer


@pytest.mark.parametrize("blanks", [0.0, 0.3])
def test_page_has_a_drawing_that_tells_nothing_of_what_is_left_out(blanks: float) -> None:
    made = explanation("xor", blanks)
    assert made.content.figure == "" and "<svg" not in str(made)
    page = made._repr_html_()
    drawing = page[page.index("<svg") : page.rindex("</svg>")]
    assert drawing.count("<svg") == 4, "one for each row"
    assert (">(1)<" in drawing or "= (1)" in drawing) == (blanks > 0)
    for answer in made.exercise.answers:
        assert len(digits_of(answer.value)) < SAME or number(abs(answer.value)) not in drawing


def test_labels_stand_below_numbers_and_their_gradients() -> None:
    content = with_labels(explanation().content, {Key("", "x", (1, 0)): "age: 37"}, ["price"])
    labelled = {str(line.key): line.label for line in content.lines() if line.label}
    assert labelled == {
        "x[1,0]": "age: 37", "0.dx[1,0]": "age: 37",
        "2.y[0,0]": "price", "2.y[1,0]": "price", "2.y[2,0]": "price",
        "loss.dz[0,0]": "price", "loss.dz[1,0]": "price", "loss.dz[2,0]": "price",
    }  # fmt: skip
    made = Explanation(content)
    assert "  x[0,0] = 3\n  x[1,0] = 10    age: 37\n  x[2,0] = 7\n" in str(made)
    assert "\n      age: 37, and so on" in str(Explanation(with_labels(content, {Key("", "x", (1, 0)): LONG})))
    assert made._repr_html_().count('<span class="small">age: 37</span>') == 2
    assert tex.render(content).count("\\textit{age: 37}") == markdown.render(content).count("    age: 37\n") == 2


def test_classes_of_an_example_have_names() -> None:
    labels = {str(line.key): line.label for line in explain_example("conv").content.lines() if line.label}
    assert labels["t[0]"] == "the class falling"
    assert [labels[f"4.y[0,{k}]"] for k in (0, 1)] == [f"output for the class {c}" for c in ("falling", "rising")]


def test_no_forward_section() -> None:
    content = Content("", 0.0, 1, (Section("loss", "", "loss"),))
    assert with_labels(content, {}, ["price"]) == content
