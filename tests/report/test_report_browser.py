"""The report in a real browser: its layout at several widths, and the contrast of its texts in light and dark.

A page around it, made for the test, holds it in frames of several widths and measures what the browser made of it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium and no google-chrome on PATH to look at a report with"
)
WIDTHS = (400, 700, 1400)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --force-device-scale-factor=1"
).split()

MEASURE = """
<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">%s<pre id="found"></pre><script>
function parsed(colour) {
  const n = colour.match(/[\\d.]+/g).map(Number);
  return colour.startsWith("color(") ? [255 * n[0], 255 * n[1], 255 * n[2], n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
}
function luminance([r, g, b]) {
  const f = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
}
function behind(element) {
  for (let e = element; e; e = e.parentElement) {
    const c = parsed(e.ownerDocument.defaultView.getComputedStyle(e).backgroundColor);
    if (c[3] > 0.99) return c;
  }
  return [255, 255, 255, 1];
}
function measure(frame) {
  const d = frame.contentDocument, w = frame.contentWindow, root = d.documentElement;
  const worst = {ratio: 99};
  for (const e of d.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()) || !e.getClientRects().length) continue;
    const s = w.getComputedStyle(e), own = parsed(e.namespaceURI.endsWith("svg") ? s.fill : s.color);
    const [a, b] = [luminance(own), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const what = e.tagName + "." + e.getAttribute("class");
    if (ratio < worst.ratio) Object.assign(worst, {ratio, what, text: e.textContent});
  }
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
  const inside = e => { for (e = e.parentElement; e; e = e.parentElement)
    if (["auto", "scroll", "hidden"].includes(w.getComputedStyle(e).overflowX)) return true; return false; };
  return {
    width: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight, worst,
    over: [...d.querySelectorAll("main *")].filter(e => !inside(e) && box(e)[1] > root.clientWidth + 0.5 && box(e)[2])
      .map(e => e.tagName + "." + e.getAttribute("class")),
    drawings: [...d.querySelectorAll("svg")].map(box), sections: [...d.querySelectorAll("section")].map(box),
    cut: [...d.querySelectorAll(".tile data")].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent),
    images: [...d.querySelectorAll("img")].map(e => e.naturalWidth), words: d.body.innerText.length,
    svgFont: [...d.querySelectorAll("svg text")].map(e => w.getComputedStyle(e).fontFamily)[0],
    bodyFont: w.getComputedStyle(d.body).fontFamily, paper: parsed(w.getComputedStyle(d.body).backgroundColor),
    alarmed: !!window.alarmed || !!w.alarmed,
  };
}
window.addEventListener("load", () => {
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
});
</script>
"""


def browse(tmp_path: Path, *arguments: str, dark: bool = False) -> str:
    assert BROWSER is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [BROWSER, *FLAGS, profile, *scheme, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def measured(tmp_path: Path, page: Path, dark: bool = False) -> list[dict[str, Any]]:
    content = html.escape(page.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width="{w}" height="900" style="border:0" srcdoc="{content}"></iframe>' for w in WIDTHS)
    (tmp_path / "around.html").write_text(MEASURE % frames, encoding="utf-8")
    dom = browse(tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"file://{tmp_path / 'around.html'}", dark=dark)
    found = re.search(r'<pre id="found">(.+?)</pre>', dom, re.S)
    assert found is not None, dom[-500:]
    return json.loads(html.unescape(found[1]))


LONG = "a class with a long name that nobody wants to read to its end, and_one_word_without_any_blank_in_it" * 2


def written(kind: str, path: Path) -> None:
    draw = np.random.default_rng(0)
    columns = [{"column": LONG, "type": "category", "values": LONG}, {"column": "age", "missing": 3}]
    options: dict[str, Any] = {"title": LONG, "command": f"gpubp train {LONG}", "columns": columns, "notes": [LONG]}
    if kind == "pictures":
        X, y = draw.random(size=(300, 8, 8)), np.arange(300) % 12
        net = bp.Network(bp.Sequential(bp.Flatten(), bp.Dense(16), bp.ReLU(), bp.Dense(12)), (8, 8), device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), metrics="accuracy")
        options["class_names"] = [LONG, '"><script>parent.alarmed = window.alarmed = 1</script>', *map(str, range(10))]
    else:
        X = draw.normal(size=(4000, 20))
        y = X[:, 0] * 1e6 + draw.standard_t(2, size=4000)
        net = bp.Network(bp.Sequential(*[bp.Dense(8) for _ in range(20)], bp.Dense(1)), 20, device="cpu")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=400, metrics="mae")
    flow = bp.GradientFlow()
    trainer.fit(X, y, epochs=3, validation_fraction=0.1, callbacks=[flow], verbose=False)
    bp.write_report(path, trainer, X, y, flow=flow, seconds=3.0, **options)


@pytest.fixture(scope="module", params=["pictures", "numbers"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    written(request.param, path)
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_lays_out_at_every_width(page: Path, tmp_path: Path, dark: bool) -> None:
    found = measured(tmp_path, page, dark)
    assert [frame["width"] for frame in found] == list(WIDTHS)
    for frame in found:
        assert frame["scroll"] == frame["width"] and frame["over"] == [] and frame["cut"] == []
        assert len(frame["sections"]) == 6 and all(height > 50 for *_, height in frame["sections"])
        assert len(frame["drawings"]) >= 3
        for left, right, width, height in frame["drawings"]:
            assert left >= 0 and right <= frame["width"] and width > 250 and height > 120
        assert frame["images"] == [8] * (24 if page.stem == "pictures" else 0)  # every picture was read
        assert frame["words"] > 1500 and frame["svgFont"] == frame["bodyFont"]
        assert frame["worst"]["ratio"] > 4.5, frame["worst"]
        assert (sum(frame["paper"][:3]) < 150) == dark
        assert not frame["alarmed"]
    heights = [frame["height"] for frame in found]
    assert heights == sorted(heights, reverse=True) and heights[0] > 1.2 * heights[-1]  # columns go beside each other


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, True)])
def test_screenshots_have_text_on_the_background_colour(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    """Every stretch of the screenshot has ink on paper, and the paper is what it should be."""
    from matplotlib.image import imread

    shot = tmp_path / "shot.png"
    browse(tmp_path, f"--screenshot={shot}", f"--window-size={width},1500", f"file://{page}", dark=dark)
    pixels = imread(shot)[..., :3]
    assert pixels.shape[1] >= width
    paper = pixels[2, 2]
    assert (paper.mean() < 0.2) == dark
    inked = np.abs(pixels - paper).max(axis=2) > 0.2
    assert 0.005 < inked.mean() < 0.5
    assert all(stretch.mean() > 0.001 for stretch in np.array_split(inked, 5))
