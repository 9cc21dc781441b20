"""The report in a real browser: its layout at several widths, and the contrast of its texts in light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from browser import BROWSER, NONE, browse, measured

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NONE)
WIDTHS = (400, 700, 1400)

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
    found = measured(tmp_path, page, WIDTHS, dark)
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
