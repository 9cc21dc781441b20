"""Pages of explanations: well formed, every link has its target, and every number is that of the step."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reading import PageReader, calculated
from steps import TINY, drawn, explained

import gpubp as bp
from gpubp.explain.content import Content, Line, Section
from gpubp.explain.expressions import Constant, Element, Key, Operation
from gpubp.explain.forms import html
from gpubp.explain.forms.equations import Gradients, chain_rule, equation
from gpubp.explain.forms.numbers import number, parsed
from gpubp.explain.forms.printing import Printer, agree

STEPS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in TINY},
    "float64": {"name": "dense", "dtype": "float64"},
    "Adam": {"name": "dense", "optimizer": bp.Adam()},
    "path by path": {"name": "dense", "of": "0.W[0,1]"},
    "by sums": {"name": "wide", "of": "x[0,17]"},
    "drawn": {"name": "dense"},
}


@pytest.fixture(params=STEPS)
def content(request: pytest.FixtureRequest) -> Content:
    return (drawn if request.param == "drawn" else explained)(**STEPS[request.param])


def test_a_page_is_well_formed(content: Content) -> None:
    read = PageReader(html.page(content))
    assert read.faults == []
    assert len(read.ids) == len(set(read.ids)) > 5
    assert set(read.links) <= set(read.ids), set(read.links) - set(read.ids)
    assert "script" not in read.tags and len(read.links) > 10
    assert content.title in read.words


@pytest.mark.skipif(shutil.which("tidy") is None, reason="no HTML Tidy on PATH to check the page with")
def test_html_tidy_finds_no_fault(content: Content, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html.page(content), encoding="utf-8")
    command = ["tidy", "-e", "-q", "-utf8", "--drop-empty-elements", "no", str(tmp_path / "page.html")]
    done = subprocess.run(command, capture_output=True, text=True)
    in_svg = ('<a> proprietary attribute "href"', '<title> proprietary attribute "id"')  # Tidy knows no SVG 2
    found = [line for line in done.stderr.splitlines() if not line.endswith(in_svg)]
    assert found == [] and done.returncode <= 1


def test_every_number_is_that_of_the_step(content: Content) -> None:
    """Results, and what formulas read, to the digits shown."""
    read, printer = PageReader(html.page(content)), Printer()
    gradients = Gradients(content)
    assert len(read.lines) == len(list(content.lines())) and not read.unnamed
    for (name, found), line in zip(read.lines.items(), content.lines(), strict=True):
        assert name in (line.key.anchor, line.key.anchor + "_2")
        assert found[0].result == number(line.value)
        plain = equation(line, printer)
        assert found[0].left == plain.left
        assert len(found[0].sides) == len(plain.sides)
        chain = chain_rule(line, gradients, printer)
        assert len(found) == 1 + (chain is not None)
        if chain is not None:
            assert found[1].result == number(line.value)
            assert found[1].left == chain.left
            assert found[1].sides == [" ".join(side) for side in chain.sides]
        for side, (sign, text) in zip(found[0].sides, plain.sides, strict=True):
            assert side[:2] == sign + " " and _digits(side) == _digits(text)


def _digits(text: str) -> list[str]:
    return re.findall(r"\d[\d.]*", re.sub(r"\^\((\d)\)|[²³]|exp|e\^", "", text))


def test_a_calculator_comes_to_each_result(content: Content) -> None:
    """With the digits shown, by the brackets shown; where the last digits differ the page says "≈"."""
    read, checked = PageReader(html.page(content)), 0
    for equations, line in zip(read.lines.values(), content.lines(), strict=True):
        for place, (_, sides, result) in enumerate(equations):
            if line.expression is None or (place == 0 and not line.expression.operands):  # given, or a copy
                continue
            value = calculated(sides[-2][2:])
            assert (sides[-1][0] == "=") == agree(value, parsed(result)), sides
            checked += 1
    assert checked >= 10


def test_numbers_lead_to_the_lines_that_compute_them(content: Content) -> None:
    page = html.page(content)
    read = PageReader(page)
    for target, shown in re.findall(r'<a href="#(n-[^"]+)" title="[^"]*">([^<]+)</a>', page):
        assert read.lines[target][0].result == shown
    computed = {line.key for line in content.lines()}
    linked = re.findall(r'<a href="#(n-[^"]+)"', page)
    read_of_them = [e for e in content.elements() if e.key in computed and e.place is not None]
    assert len(read_of_them) > 0 and len(linked) >= 0.8 * len(read_of_them) or len(linked) > 100


def test_gradients_that_are_handed_on_have_links() -> None:
    """Inside a composition, ∂L/∂y is the number that the layer above it has computed."""
    page = html.page(explained("residual"))
    chains = re.findall(r'<div class="eq chain">.*?</div>', page)
    assert len(chains) > 20
    assert all('<a href="#n-' in chain for chain in chains)


def test_a_number_says_what_it_is() -> None:
    read = PageReader(html.page(explained("dense")))
    assert ("y[0,0] = σ(x[0,0])", number(_value("dense", "1.y[0,0]"))) in read.titles
    assert any(title == "W[0,0], 0.W[0,0]" for title, _ in read.titles)


def _value(name: str, key: str) -> float:
    return next(line.value for line in explained(name).lines() if str(line.key) == key)


def test_long_sums_name_what_is_not_shown() -> None:
    words = PageReader(html.page(explained("wide"))).words
    assert re.search(r"… \(780 more, together −?[\d.e-]+\)", words.replace("\u00a0", " "))
    assert "standard deviation" in words and "31,360" in words  # dW (784, 40)


def test_text_of_users_is_never_markup() -> None:
    evil = '"><script>alert(1)</script>'
    x = Element(evil, (0,), 1.0, Key("0", evil, (0,)))
    line = Line(evil, (0,), Key("0", evil, (1,)), Operation("negative", [x]), -1.0, marks=(evil,))
    section = Section("forward", evil, evil, (evil,), (line,), (), (evil,), {evil: (1,)})
    page = html.page(Content(evil, 1.0, 1, (section,), (evil,)), blank=lambda key: evil if key == x.key else None)
    read = PageReader(page)
    assert read.faults == [] and "script" not in read.tags
    assert read.words.count(evil) >= 9


def test_the_same_name_twice_has_one_id() -> None:
    key = Key("0", "mean", (0,))
    before = Element("mean", (0,), 0.5, key)
    lines = (
        Line("mean", (0,), key, Operation("multiply", [Constant(0.9), before]), 0.45),
        Line("y", (0,), Key("0", "y", (0,)), Element("mean", (0,), 0.45, key), 0.45),
        Line("mean", (0,), key, Constant(3.0), 3.0),
    )
    page = html.page(Content("", 0.0, 1, (Section("forward", "0", "", lines=lines),)))
    read = PageReader(page)
    assert len(set(read.ids)) == len(read.ids) and read.links.count("n-0.mean-0") == 1  # not from 0.5, which is another
    assert len(read.lines) == 3 and read.unnamed == []


def test_numbers_can_be_left_out() -> None:
    content = explained("dense")
    key = next(line.key for line in content.lines() if str(line.key) == "1.y[0,0]")
    answers = Section("answers", "", "answers", lines=tuple(line for line in content.lines() if line.key == key))
    whole = replace(content, sections=(*content.sections, answers))
    hidden = {key, Key("", "∂2.y[0,0]/∂2.W[0,0]", ())}  # which is y too
    page = html.page(whole, blank=lambda k: "(1)" if k in hidden else None)
    read = PageReader(page)
    assert read.faults == [] and set(read.links) <= set(read.ids) and len(set(read.ids)) == len(read.ids)
    assert read.lines[key.anchor][0].result == "(1)"
    told = number(_value("dense", "1.y[0,0]"))
    assert [found[0].result for found in read.unnamed] == [told]
    before, _, _ = page.partition('id="answers"')
    assert told not in before and before.count('class="blank"') >= 3


@pytest.mark.parametrize("name", ["dense", "residual"])
def test_drawings_have_their_places(name: str) -> None:
    content = drawn(name)
    page, part = html.page(content), html.fragment(content)
    read, inside = PageReader(page), PageReader(part)
    assert read.faults == inside.faults == []
    assert page.count("<figure>") == 2 and page.count("<svg") >= 4 and page.count(".net-drawing {") >= 1
    assert set(read.links) <= set(read.ids) and len(set(read.ids)) == len(read.ids)
    assert set(inside.links) <= set(inside.ids) and not set(inside.ids) & set(read.ids)
    names = re.findall(r'(?:for|aria-labelledby|name)="([^"]+)"', part)
    ids = {id.partition("-")[0] for id in inside.ids}
    assert len(ids) == 1 and all(word.startswith(*ids) for name in names for word in name.split())
    lines = {f"#{id}" for id in read.lines}
    to_lines = sum(target in lines for target in re.findall(r'<a href="([^"]+)"><title>', page))
    assert (to_lines > 4) == (name == "dense")  # larger networks are drawn layer by layer


def test_a_fragment_leaves_its_page_alone(content: Content) -> None:
    part, page = html.fragment(content), html.page(content)
    style = part.partition("<style>")[2].partition("</style>")[0]
    rules = re.sub(r"@media[^{]*\{", "", re.sub(r"/\*.*?\*/", "", style, flags=re.S))
    selectors = [s.strip() for group in re.findall(r"([^{}]+)\{", rules) for s in group.split(",")]
    assert len(selectors) > 60 and all(s.startswith((".explain", ".net-")) for s in selectors)
    assert "body {" in page and part.startswith('<div class="explain">') and part.endswith("</div>\n")
    read = PageReader(part)
    assert read.faults == [] and set(read.links) <= set(read.ids)
    assert not set(read.ids) & set(PageReader(page).ids)
    other = html.fragment(replace(content, title="another"))
    assert not set(read.ids) & set(PageReader(other).ids)


def test_a_page_needs_nothing_beside_it() -> None:
    page = html.page(explained("dense"))
    assert "http" not in re.sub(r'http-equiv|xmlns="[^"]*"', "", page) and "url(" not in page and "@import" not in page
    assert html.page(explained("dense")) == page
