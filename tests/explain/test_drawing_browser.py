"""Drawings in a real browser: no word over another, sizes of text, and radio buttons that choose without a script."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from browser import BROWSER, NONE, browse
from gpubp.explain.drawings.figures import STYLE
from gpubp.explain.explanation import Explanation

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NONE)
WIDTHS = (400, 800, 1400)
NETS = {
    "units": (bp.Sequential(bp.Dense(2), bp.Sigmoid(), bp.Dense(1)), 2),
    "table": (bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(4), bp.LeakyReLU(0.123)), 3),
    "boxes": (
        bp.Sequential(
            bp.Conv2D(3, 3), bp.Residual(bp.Sequential(bp.Conv2D(3, 3, padding="same"), bp.ReLU())), bp.Flatten(),
            bp.Parallel(bp.Dense(12), bp.Dense(2), bp.Tanh()), bp.Dense(1),
        ),
        (6, 6, 1),
    ),
}  # fmt: skip
MEASURE = """
<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">%s<pre id="found"></pre><script>
function shown(e) { return e.getClientRects().length > 0; }
function measure(frame) {
  const d = frame.contentDocument, w = frame.contentWindow, over = [];
  const drawings = [...d.querySelectorAll("svg")].filter(shown);
  let least = 99;
  for (const svg of drawings) {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width, all = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]);
    const sizes = [...svg.querySelectorAll("text")].map(e => parseFloat(w.getComputedStyle(e).fontSize));
    least = Math.min(least, ...sizes.map(size => scale * size));
    const inner = ([t, r]) => [t, r.left + 0.5, r.right - 0.5, r.top + 0.22 * r.height, r.bottom - 0.22 * r.height];
    const boxes = texts.map(inner);
    boxes.forEach(([t, l, r, a, b], i) => {
      if (l < all.left || r > all.right || a < all.top || b > all.bottom) over.push(t + " is outside");
      for (const [u, m, s, c, e] of boxes.slice(0, i)) if (l < s && m < r && a < e && c < b) over.push(t + " on " + u);
    });
  }
  const panels = () => [...d.querySelectorAll(".net-choice > .net-panel")].map(shown);
  const before = panels(), inputs = d.querySelectorAll(".net-choice > input");
  if (inputs.length > 1) inputs[1].click();
  return {over, least, count: drawings.length, scroll: d.documentElement.scrollWidth, before, after: panels(),
          ink: w.getComputedStyle(drawings[0]).color};
}
window.addEventListener("load", () => {
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
});
</script>
"""


def measured(tmp_path: Path, figure: str, dark: bool = False) -> list[dict[str, Any]]:
    """What the browser made of a figure on a page, for each width."""
    page = f'<!DOCTYPE html><meta charset="utf-8"><title>a</title><style>{STYLE}</style><main>{figure}</main>'
    frames = "".join(
        f'<iframe width="{w}" height="900" style="border:0" srcdoc="{html.escape(page)}"></iframe>' for w in WIDTHS
    )
    (tmp_path / "around.html").write_text(MEASURE % frames, encoding="utf-8")
    dom = browse(tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"file://{tmp_path / 'around.html'}", dark=dark)
    found = re.search(r'<pre id="found">(.+?)</pre>', dom, re.S)
    assert found is not None, dom[-500:]
    return json.loads(html.unescape(found[1]))


def rows_of(name: str, rows: int = 2) -> tuple[bp.Network, Any, Any]:
    """A network, and rows for it."""
    layers, shape = NETS[name]
    net = bp.Network(layers, shape, device="cpu")
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(rows, *net.input_shape)), rng.normal(size=(rows, *net.output_shape))


def figure_in(explanation: Explanation) -> str:
    """The drawing on the page of an explanation."""
    return explanation._repr_html_().partition("<figure>")[2].partition("</figure>")[0]


def trained(name: str, steps: int) -> str:
    """The drawing of the first steps of training a network."""
    net, X, y = rows_of(name)
    return figure_in(net.explain(X, y, loss=bp.MeanSquaredError(), optimizer=bp.SGD(0.1), steps=steps))


@pytest.mark.parametrize("name", NETS)
def test_words_lie_apart_and_can_be_read(name: str, tmp_path: Path) -> None:
    net, X, y = rows_of(name)
    figure = figure_in(net.explain(X, y, loss=bp.HalfMeanSquaredError()))
    ink = []
    for dark in (False, True):
        for found, width in zip(measured(tmp_path, figure, dark), WIDTHS, strict=True):
            assert found["over"] == [] and found["least"] >= 10.99 and found["scroll"] <= width
            assert found["count"] == 1  # of several rows, one is in sight
        ink.append(sum(map(float, re.findall(r"[\d.]+", found["ink"])[:3])))
    assert ink[0] < 200 < 550 < ink[1]


def test_a_click_chooses_a_step(tmp_path: Path) -> None:
    figure = trained("boxes", 3)
    for found in measured(tmp_path, figure):
        assert (found["before"], found["after"]) == ([True, False, False], [False, True, False])
    figure = trained("units", 2)
    found, *_ = measured(tmp_path, figure)
    assert found["before"] == [True, True, False, False, False, False]  # the first step, and its first row


def test_all_steps_are_printed(tmp_path: Path) -> None:
    pages = []
    for count in (1, 3):
        page, paper = tmp_path / f"{count}.html", tmp_path / f"{count}.pdf"
        figure = trained("boxes", count)
        page.write_text(f"<!DOCTYPE html><meta charset='utf-8'><style>{STYLE}</style>{figure}", encoding="utf-8")
        browse(tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer", f"file://{page}", dark=True)
        pages.append(len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())))
    assert pages[1] >= pages[0] + 2  # each step is higher than half a page
