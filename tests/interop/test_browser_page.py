"""The page of examples/browser in a real browser: the same numbers as gpubp, drawings, keys, and its layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("sklearn")

from web_pages import EXAMPLE, found_by, why_not

import gpubp as bp
from browser import BROWSER, NONE, measured
from gpubp.cli.task import Task
from gpubp.datasets import load_digits

REASON = why_not()
in_a_browser = pytest.mark.skipif(REASON is not None, reason=str(REASON))
READY = "const w = frame.contentWindow, d = w.document; await w.ready;"

# Points of strokes on the drawing area, (x, y) from 0 to 320, as a hand draws them.
STROKES = {
    0: [[(160 + 60 * np.sin(a), 160 - 90 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 30)]],
    1: [[(130, 90), (165, 50), (160, 270)]],
    2: [[(100, 110), (120, 60), (170, 50), (205, 90), (190, 140), (100, 260), (215, 260)]],
    3: [[(100, 60), (200, 60), (145, 135), (200, 170), (205, 220), (160, 265), (95, 245)]],
    4: [[(170, 50), (90, 190), (230, 190)], [(185, 120), (175, 280)]],
    5: [[(205, 50), (115, 50), (105, 145), (170, 135), (210, 180), (190, 245), (140, 265), (95, 240)]],
    6: [[(180, 45), (120, 120), (100, 200), (130, 260), (185, 255), (205, 205), (170, 165), (110, 195)]],
    7: [[(90, 60), (220, 60), (175, 150), (140, 270)]],
    8: [[(200, 80), (150, 50), (110, 90), (160, 150), (205, 210), (160, 265), (110, 220), (150, 150), (200, 80)]],
    9: [[(205, 110), (160, 150), (115, 110), (150, 55), (205, 80), (210, 170), (180, 265)]],
}


@pytest.fixture(scope="module")
def network() -> bp.Network:
    """A small network that has learnt digits."""
    digits = load_digits()
    layers = bp.Sequential(bp.Dense(64), bp.ReLU(), bp.Dense(10))
    net = bp.Network(layers, 64, device="cpu", seed=0)
    bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam()).fit(digits.X, digits.y, epochs=20, verbose=False)
    net.metadata = Task.infer(digits, None).metadata()
    return net


@pytest.fixture
def folder(tmp_path: Path, network: bp.Network) -> Path:
    """The page with the network beside it."""
    shutil.copy(EXAMPLE / "index.html", tmp_path)
    network.to_onnx(tmp_path / "digits.onnx")
    return tmp_path


@in_a_browser
def test_the_probabilities_are_those_of_gpubp(network: bp.Network, folder: Path) -> None:
    X = load_digits().X_test[:20]
    script = f"const found = []; for (const x of {X.tolist()}) found.push(await w.classify(x)); return found;"
    found = found_by(READY + script, folder, "index.html")
    z = network.predict(X).astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.abs(np.array([row["probabilities"] for row in found]) - p).max() < 1e-5
    assert [row["label"] for row in found] == [str(k) for k in z.argmax(axis=1)]


@in_a_browser
def test_drawings_examples_and_keys_give_answers(folder: Path) -> None:
    drawn = {k: [[[float(x), float(y)] for x, y in stroke] for stroke in strokes] for k, strokes in STROKES.items()}
    script = """
    const paper = d.getElementById("drawing"), text = id => d.getElementById(id).textContent, found = {read: {}};
    const settled = () => new Promise(done => setTimeout(done, 100));
    const send = (kind, [x, y]) => {
      const box = paper.getBoundingClientRect(), at = {clientX: box.left + x * box.width / 320,
        clientY: box.top + y * box.height / 320, pointerId: 1, button: 0, bubbles: true};
      paper.dispatchEvent(new w.PointerEvent(kind, at));
    };
    found.state = text("state");
    found.before = text("answer");
    for (const [digit, strokes] of Object.entries(DRAWN)) {
      d.getElementById("clear").click();
      for (const stroke of strokes) {
        send("pointerdown", stroke[0]);
        for (let i = 1; i < stroke.length; i++) for (let k = 1; k <= 5; k++)
          send("pointermove", [0, 1].map(a => stroke[i - 1][a] + k / 5 * (stroke[i][a] - stroke[i - 1][a])));
        send("pointerup", stroke.at(-1));
      }
      await settled();
      found.read[digit] = [text("answer"), d.querySelectorAll("#pixels td")[0].getAttribute("aria-label")];
    }
    d.getElementById("clear").click();
    await settled();
    found.cleared = text("answer");
    found.shown = [];
    for (const button of d.querySelectorAll("#examples button")) {
      button.click();
      await settled();
      found.shown.push(text("answer").match(/a (\\d)/)[1]);
    }
    d.getElementById("clear").click();
    const press = key => w.document.activeElement.dispatchEvent(new w.KeyboardEvent("keydown", {key, bubbles: true}));
    d.querySelector("#pixels td").focus();
    for (const key of ["ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", " ", "ArrowDown", "+", "+", "-"]) press(key);
    await settled();
    found.keys = [1, 9].map(i => d.querySelectorAll("#pixels td")[i].getAttribute("aria-label"));
    found.reached = d.querySelectorAll("#pixels td[tabindex='0']").length;
    found.shares = [...d.querySelectorAll(".share")].map(cell => parseFloat(cell.textContent));
    return found;
    """
    found = found_by(READY + script.replace("DRAWN", json.dumps(drawn)), folder, "index.html")
    assert found["state"] == "The network is loaded." and found["before"] == found["cleared"] == "–"
    right = [digit for digit, (told, _) in found["read"].items() if f"This is a {digit} " in told]
    assert len(right) >= 9, found["read"]
    assert found["shown"] == [str(k) for k in range(10)]
    assert found["keys"] == ["row 1, column 2: 16 of 16", "row 2, column 2: 4 of 16"] and found["reached"] == 1
    assert abs(sum(found["shares"]) - 100) < 1


@in_a_browser
@pytest.mark.parametrize("missing", ["digits.onnx", "node_modules"])
def test_the_page_says_what_is_missing(folder: Path, missing: str) -> None:
    script = 'return d.getElementById("state").textContent;'
    if missing == "node_modules":
        page = (folder / "index.html").read_text(encoding="utf-8")
        (folder / "index.html").write_text(page.replace("ort.wasm.min.js", "gone.js"), encoding="utf-8")
        words = "onnxruntime-web is missing: npm install onnxruntime-web"
    else:
        (folder / missing).unlink()
        words = "digits.onnx is missing: gpubp export digits.safetensors digits.onnx"
    assert words in found_by(READY + script, folder, "index.html")


@in_a_browser
def test_the_page_refuses_another_network(folder: Path) -> None:
    net = bp.Network(bp.Dense(10), 5, device="cpu")
    net.metadata = {"task": "classes"}
    net.to_onnx(folder / "digits.onnx")
    told = found_by(READY + 'return d.getElementById("state").textContent;', folder, "index.html")
    assert "digits.onnx does not take rows of 64 numbers" in told


@pytest.mark.skipif(BROWSER is None, reason=NONE)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_lays_out_at_every_width(tmp_path: Path, dark: bool) -> None:
    for frame in measured(tmp_path, EXAMPLE / "index.html", (320, 400, 1200), dark):
        assert frame["scroll"] == frame["width"] and frame["over"] == []
        assert len(frame["sections"]) == 3 and all(width > 200 for _, _, width, _ in frame["sections"])
        assert frame["worst"]["ratio"] > 4.5, frame["worst"]
        assert (sum(frame["paper"][:3]) < 150) == dark
