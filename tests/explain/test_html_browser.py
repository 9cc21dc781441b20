"""Explanations in a real browser: their layout at several widths, the contrast of texts, notebooks and paper."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from reading import PageReader
from steps import drawn, explained

import gpubp as bp
from browser import BROWSER, NONE, browse, measured
from gpubp.explain.exercises.blanks import with_blanks
from gpubp.explain.explanation import explain
from gpubp.explain.forms import html

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NONE)
WIDTHS = (400, 800, 1400)


@pytest.fixture(scope="module", params=["conv", "wide", "drawn", "blanks"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    of = "0.W[3,7]" if request.param == "wide" else None
    path = tmp_path_factory.mktemp("page") / "page.html"
    if request.param == "drawn":
        page = html.page(drawn("residual"))
    elif request.param == "blanks":
        exercise = with_blanks(explained("dense"), 0.3)
        page = html.page(exercise.content, exercise.blank)
    else:
        page = html.page(explained(request.param, optimizer=bp.Adam(), of=of))
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_lays_out_at_every_width(page: Path, tmp_path: Path, dark: bool) -> None:
    found = measured(tmp_path, page, WIDTHS, dark)
    sections = page.read_text(encoding="utf-8").count("<section")
    for frame, width in zip(found, WIDTHS, strict=True):
        assert frame["width"] == frame["scroll"] == width and frame["over"] == []
        assert len(frame["sections"]) == sections and all(height > 50 for *_, height in frame["sections"])
        assert frame["worst"]["ratio"] > 4.5, frame["worst"]
        assert (sum(frame["paper"][:3]) < 150) == dark
    heights = [frame["height"] for frame in found]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("page", ["conv"], indirect=True)
def test_a_screenshot_has_text_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    imread = pytest.importorskip("matplotlib.image").imread
    shot = tmp_path / "shot.png"
    browse(tmp_path, f"--screenshot={shot}", "--window-size=800,1800", f"file://{page}")
    pixels = imread(shot)[..., :3]
    inked = np.abs(pixels - pixels[2, 2]).max(axis=2) > 0.2
    assert 0.005 < inked.mean() < 0.5
    assert all(stretch.mean() > 0.001 for stretch in np.array_split(inked, 6))


@pytest.mark.parametrize("page", ["drawn"], indirect=True)
def test_it_prints(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer", f"file://{page}", dark=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    lines = len(PageReader(page.read_text(encoding="utf-8")).lines)
    assert 2 <= pages <= 3 + lines / 8


def test_a_notebook_keeps_its_own_looks(tmp_path: Path) -> None:
    """What is beside the explanation looks as it does without it."""
    part = html.fragment(explained("dense"))
    around = "<!DOCTYPE html><title>t</title><body><h1>t</h1><p id='p'>beside <a href='#p'>it</a></p>{}</body>"
    read = (
        "<script>const own = [...document.querySelectorAll('body, body > h1, body > p, body > p > a')];"
        "document.title = JSON.stringify(own"
        ".map(e => [...getComputedStyle(e)].filter(n => !/height|block-size|width|inline-size|origin/.test(n))"
        ".map(n => getComputedStyle(e).getPropertyValue(n))))</script>"
    )
    looks = []
    for name, inside in (("alone", ""), ("with", part)):
        (tmp_path / name).with_suffix(".html").write_text(around.format(inside + read), encoding="utf-8")
        dom = browse(tmp_path, "--dump-dom", f"file://{tmp_path / name}.html")
        found = re.search("<title>(.+?)</title>", dom)
        assert found is not None and len(found[1]) > 1000
        looks.append(found[1])
    assert looks[0] == looks[1]


def test_a_long_path_fits_its_page(tmp_path: Path) -> None:
    """A chain rule with a factor for each of many layers goes on in a new line."""
    net = bp.Network(bp.Sequential(*[bp.Dense(1) for _ in range(12)]), 1, device="cpu")
    content = explain(net, [[1.0]], [[0.0]], bp.MeanSquaredError(), of="0.W[0,0]").content
    (tmp_path / "page.html").write_text(html.page(content), encoding="utf-8")
    for frame, width in zip(measured(tmp_path, tmp_path / "page.html", WIDTHS), WIDTHS, strict=True):
        assert frame["scroll"] == width and frame["over"] == []
