"""Markdown of explanations, read by a parser of Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt
from steps import TINY, explained

import gpubp as bp
from gpubp.explain.content import Content, Line, Section
from gpubp.explain.exercises.blanks import with_blanks
from gpubp.explain.expressions import Element, Key, operate
from gpubp.explain.forms import markdown, tex, text
from gpubp.explain.forms.numbers import number


@pytest.mark.parametrize("name", TINY)
def test_it_has_the_sections_and_numbers_of_the_explanation(name: str) -> None:
    content = explained(name, optimizer=bp.Adam())
    said = markdown.render(content)
    tokens = MarkdownIt("commonmark").enable("table").parse(said)
    headings = [after.content for token, after in zip(tokens, tokens[1:], strict=False) if token.type == "heading_open"]
    assert len(headings) == 1 + len(content.sections)
    code = "\n".join(token.content for token in tokens if token.type == "fence")
    stated = re.sub(r"\s+", " ", code)
    for line in content.lines():
        assert f" {number(line.value)}" in stated
        assert line.called in stated
    tables = sum(token.type == "table_open" for token in tokens)
    assert tables == sum(bool(section.summaries) for section in content.sections)
    targets = re.findall(r"\]\(#([^)]+)\)", said)
    assert len(targets) == len(content.sections) and set(targets) == set(re.findall(r'<a id="([^"]+)">', said))
    assert max(map(len, code.splitlines())) <= 125


def test_words_of_users_are_words() -> None:
    evil = "![a](http://b) <script>x</script> `c` **d** | e ``` f"
    line = Line(evil, (0,), Key("0", evil, (0,)), Element(evil, (), 1.0, Key("", evil, ())), 1.0, marks=(evil,))
    section = Section("forward", "0", evil, (evil,), (line,), (), (evil,))
    shown = MarkdownIt("commonmark").enable("table").render(markdown.render(Content(evil, 1.0, 1, (section,), (evil,))))
    assert "<script" not in shown and "<img" not in shown and "<strong" not in shown and "<table" not in shown
    assert shown.count("<pre>") == 2


@pytest.mark.parametrize("render", [markdown.render, text.render])
def test_numbers_can_be_left_out(render: object) -> None:
    exercise = with_blanks(explained("dense"), 0.3)
    said = render(exercise.content, blank=exercise.blank)  # type: ignore[operator]
    before, _, key = said.rpartition("Answers")
    assert len(exercise.answers) > 2
    for answer in exercise.answers:
        assert f"({answer.number})" in before
        assert not re.search(rf"(?<![\d.]){re.escape(number(answer.value))}(?![\d.])", before)
        assert number(answer.value) in key


def test_lines_of_text_fit_the_width() -> None:
    for name in TINY:
        for width in (80, 100):
            lines = text.render(explained(name), width=width).splitlines()
            long = [line for line in lines if len(line) > width and line.startswith("  ") and "=" in line[:40]]
            assert [line for line in long if not line.startswith("    ")] == []


@pytest.mark.parametrize("render", [markdown.render, text.render, tex.render])
def test_roundings_are_explained_where_they_are_seen(render: Callable[[Content], str]) -> None:
    u = Element("u", (), 0.20488843, Key("", "u", ()))
    for other, seen in ((0.20446412, True), (0.1, False)):
        e = operate("subtract", [u, Element("v", (), other, Key("", "v", ()))])
        line = Line("y", (), Key("0", "y", ()), e, e.value)
        said = render(Content("", 0.5, 1, (Section("forward", "0", "", lines=(line,)),)))
        assert ("six digits" in said) == seen
