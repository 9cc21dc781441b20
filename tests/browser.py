"""A page in a real browser, whose layout tests can measure.

A page around it, made for the test, holds it in frames of several widths and measures what the browser made of it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NONE = "no chromium and no google-chrome on PATH to look at a page with"
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
    bodyFont: w.getComputedStyle(d.body).fontFamily, paper: behind(d.querySelector("main")),
    alarmed: !!window.alarmed || !!w.alarmed,
  };
}
window.addEventListener("load", () => {
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
});
</script>
"""


def browse(tmp_path: Path, *arguments: str, dark: bool = False) -> str:
    """What the browser prints, with more arguments."""
    assert BROWSER is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [BROWSER, *FLAGS, profile, *scheme, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def measured(tmp_path: Path, page: Path, widths: Sequence[int], dark: bool = False) -> list[dict[str, Any]]:
    """What the browser made of a page, for each width: its sizes, what sticks out, the least contrast of a text, ..."""
    content = html.escape(page.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width="{w}" height="900" style="border:0" srcdoc="{content}"></iframe>' for w in widths)
    (tmp_path / "around.html").write_text(MEASURE % frames, encoding="utf-8")
    dom = browse(tmp_path, "--virtual-time-budget=20000", "--dump-dom", f"file://{tmp_path / 'around.html'}", dark=dark)
    found = re.search(r'<pre id="found">(.+?)</pre>', dom, re.S)
    assert found is not None, dom[-500:]
    return json.loads(html.unescape(found[1]))
