"""The report: its numbers are those of the evaluation, it is valid HTML, loads nothing, and escapes all texts."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.report.content import ReportContent, ReportOptions

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7 * 7 }} $\\frac{x$",
    "--></style>&amp;\udcff\x07",
]


class Page(HTMLParser):
    """A page as tags with their attributes and the text in them; open tags must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []  # (path of tags, text)
        self.cells: list[tuple[str, str]] = []  # (class, text) of every cell of a table
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "td":
            self.cells.append((self.tags[-1][1].get("class", ""), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] = (self.cells[-1][0], self.cells[-1][1] + data)
        if data.strip():
            self.texts.append((" ".join(self.open), data.strip()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return "\n".join(text for path, text in self.texts if "style" not in path)


def trained(kind: str = "classes", epochs: int = 4, **options: Any) -> tuple[bp.Trainer, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 4))
    flow = bp.GradientFlow(samples=4)
    made: dict[str, tuple[int, np.ndarray, bp.Loss, Any]] = {
        "classes": (3, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0), bp.SoftmaxCrossEntropy(0.1), "accuracy"),
        "yes or no": (1, (X[:, 0] > 0).astype(int), bp.BinaryCrossEntropy(), "accuracy"),
        "labels": (3, (X[:, :3] > 0).astype(int), bp.BinaryCrossEntropy(), "accuracy"),
        "numbers": (1, X @ [1.0, -2.0, 0.5, 0.0] + 1, bp.MeanSquaredError(), "mae"),
        "two numbers": (2, X[:, :2] + X[:, 2:], bp.Huber(), ("mae", "mse")),
    }
    outputs, y, loss, metrics = made[kind]
    net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(outputs)), 4, device="cpu")
    trainer = bp.Trainer(net, loss, bp.Adam(0.01), batch_size=32, metrics=metrics, **options)
    trainer.fit(X, y, epochs=epochs, validation_fraction=0.1, callbacks=[flow], verbose=False)
    trainer.flow = flow  # type: ignore[attr-defined]
    return trainer, X, y


def report(path: Path, trainer: bp.Trainer, X: Any, y: Any, **options: Any) -> Page:
    bp.write_report(path, trainer, X, y, **{"flow": getattr(trainer, "flow", None)} | options)
    return Page(path.read_text(encoding="utf-8"))


def values(page: Page) -> list[float]:
    return [float(a["value"]) for a in page.all("data")]


@pytest.mark.parametrize("kind", ["classes", "yes or no", "labels", "numbers", "two numbers"])
def test_the_numbers_are_those_of_the_evaluation(tmp_path: Path, kind: str) -> None:
    trainer, X, y = trained(kind)
    page = report(tmp_path / "a.html", trainer, X, y, rows="test rows")
    evaluation, z = trainer.evaluate(X, y), trainer.network.predict(X)
    ordered = [v for k, v in evaluation.items() if k != "loss"] + [evaluation["loss"]]
    assert values(page)[: len(ordered)] == ordered  # to the last digit
    history = [trainer.history[name][-1] for name in trainer.history if name.startswith("val_")]
    count = sum(a.size for a in trainer.network.parameters.values())
    assert values(page)[len(ordered) :] == [*history, 4, count]
    if kind in ("classes", "yes or no"):
        counts = bp.confusion_matrix(y, z)
        assert f"{counts.trace()} of 300 test rows right, " in page.text
        assert [int(text or 0) for kind, text in page.cells if kind in ("right", "wrong")] == counts.ravel().tolist()
        assert [kind for kind, _ in page.cells].count("right") == len(counts)
    elif kind == "labels":
        assert f"{(y == (z > 0)).sum()} of 900 labels of 300 test rows right" in page.text
    else:
        metrics = pytest.importorskip("sklearn.metrics")
        off, r2 = metrics.mean_absolute_error(y, z), metrics.r2_score(y, z)
        assert f"off by {off:.4f} on average on 300 test rows, R² {r2:.4f}" in page.text
    for k in range(4):
        line = [f"{column[k]:.4f}" for column in trainer.history.values()]
        assert "\n".join([str(k + 1), *line]) in page.text
    assert "The gradient " in page.text and trainer.flow.report().splitlines()[0] in page.text  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_it_fetches_nothing(tmp_path: Path, kind: str) -> None:
    page = report(tmp_path / "a.html", *trained(kind))
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "http:" not in html and "https:" not in html and "@import" not in html
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "a"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                assert value.startswith("data:image/png;base64," if tag == "img" else "#"), (tag, name, value[:80])
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for _, a in page.tags if "href" in a} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used <= set(ids)


def test_it_has_every_part(tmp_path: Path) -> None:
    trainer, X, y = trained(clip_norm=1.0)
    columns = [
        {"column": "age", "type": "number", "missing": 1200, "mean": 0.5},
        {"column": "town", "type": "category"},
    ]
    page = report(
        tmp_path / "a.html", trainer, X[:50], y[:50], rows="test rows", class_names=["low", "middle", "high"],
        data={"training": (X, y), "test": (X[:50], y[:50])}, columns=columns, seconds=12.5, steps=36, title="My title",
        command="gpubp train a.npz --report=a.html", notes=["A word more."],
    )  # fmt: skip
    sections = [a["id"] for a in page.all("section")]
    assert sections == ["curves", "judged", "flow", "network", "data", "run"]
    assert ("html body main header h1", "My title") in page.texts and ("html head title", "My title") in page.texts
    for words in (
        "A word more.", "gpubp train a.npz --report=a.html", "By class", "What is taken for what", "middle",
        "12.5 s, validation included", "347 ms", "92 rows a second", "clip_norm", "Adam(0.01)", bp.__version__,
        "Dense(8)", "67 parameters (268 B), float32 on cpu", "town", "1,200", "Classes, training",
    ):  # fmt: skip
        assert words in page.text, words
    assert len(page.all("svg")) == 3  # loss, accuracy, gradient flow
    assert not [t for p, t in page.texts if "pre" in p.split() and "Dense(8)" in t and "name  layer" not in t]


def test_sentences_about_curves_and_guesses(tmp_path: Path) -> None:
    trainer, X, y = trained(epochs=1)
    page = report(tmp_path / "a.html", trainer, X, np.zeros_like(y))
    assert "one class only" in page.text and "All rows are of the class 0." in page.text
    page = report(tmp_path / "a.html", trainer, X, y, data={"training": (X, y)})
    assert "judged by its own rows" in page.text and "how it does on others is not known" in page.text
    history = bp.History()
    for k in range(10):
        history.append({"loss": 1 / (k + 1), "accuracy": 1.0, "val_loss": 1 + 0.1 * abs(k - 4), "val_accuracy": 0.7})
    trainer.history = history
    page = report(tmp_path / "a.html", trainer, X, y)
    assert "best after epoch 5 of 10 and ended 50% higher" in page.text
    assert "Right on 100.0% of the rows it was trained with and on 70.0% of the others" in page.text
    assert "still falling" in page.text
    trainer.stop = True
    page = report(tmp_path / "a.html", trainer, X, y)
    assert "best after" not in page.text and "ended training after 10 epochs" in page.text
    trainer.history = bp.History()
    page = report(tmp_path / "a.html", trainer, X, y, flow=None)
    assert "No epoch was finished" in page.text and [a["id"] for a in page.all("section")][2] == "network"


def test_a_network_that_learnt_nothing(tmp_path: Path) -> None:
    trainer, X, y = trained("numbers", epochs=0)
    page = report(tmp_path / "a.html", trainer, X, np.random.default_rng(1).normal(size=300) + 9)
    assert "learnt nothing" in page.text and "No better than always answering the mean." in page.text


class Hostile(bp.Metric):
    """A metric with a name like that."""

    name = HOSTILE[1] + "$\\frac{"
    kinds = ("classes",)

    def plan(self, z: Any, t: Any, predicts: str) -> bp.Plan:
        return bp.Plan(output=(z[0],), arrays={"rows": (z[0],)})

    def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
        return ws.xp.sum(z, axis=-1, out=ws.rows)


def test_hostile_words_are_shown_and_do_nothing(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(90, 4)), np.arange(90) % 4
    net = bp.Network(bp.Sequential(bp.Dense(4)), 4, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), metrics=["accuracy", Hostile()])
    trainer.fit(X, y, epochs=3, validation_fraction=0.2, verbose=False)
    a, b, c, d = HOSTILE
    page = report(
        tmp_path / f"{c[:8]}.html", trainer, X, y, title=a, rows=b, command=c + d, notes=[d, a], class_names=HOSTILE,
        data={d: (X, y)}, columns=[{a: b, c: d}], evaluation={b: 1.0},
    )  # fmt: skip
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script"} and len(page.all("img")) == 0 and len(page.all("style")) == 1
    text = page.text
    for word in HOSTILE:
        assert word.replace("\udcff", "\\udcff") in text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert Hostile.name.capitalize().replace("_", " ") in text


def pictures(tmp_path: Path, **options: Any) -> Page:
    draw = np.random.default_rng(0)
    X, y = draw.random(size=(80, 8, 8, 3)), np.arange(80) % 4
    net = bp.Network(bp.Sequential(bp.Flatten(), bp.Dense(4)), (8, 8, 3), device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam())
    trainer.fit(X, y, epochs=1, verbose=False)
    return report(tmp_path / "a.html", trainer, X, y, **options)


def test_mistaken_pictures_are_shown(tmp_path: Path) -> None:
    import base64
    import io

    from matplotlib.image import imread

    page = pictures(tmp_path)
    shown = page.all("img")
    assert len(shown) == 24 and re.search(r"24 of \d\d mistakes in 80 rows, the surest first", page.text)
    first = imread(io.BytesIO(base64.b64decode(shown[0]["src"].partition(",")[2])))
    row = int(shown[0]["alt"].removeprefix("row "))
    X = np.random.default_rng(0).random(size=(80, 8, 8, 3))
    assert np.abs(first[..., :3] - X[row]).max() < 0.01


def test_mistaken_rows_of_tables_are_shown(tmp_path: Path) -> None:
    trainer, X, y = trained(epochs=1)
    page = report(tmp_path / "a.html", trainer, X, y)
    wrong = trainer.network.predict(X).argmax(axis=1) != y
    assert f"12 of {wrong.sum()} mistakes in 300 rows" in page.text
    rows = [t for p, t in page.texts if p.endswith("table thead tr th")]
    assert rows[rows.index("probability") :][1:5] == ["x0", "x1", "x2", "x3"]
    named = report(tmp_path / "a.html", trainer, X, y, feature_names=["age", "sex", "height", "weight"])
    assert [t for p, t in named.texts if p.endswith("thead tr th") and t == "height"] == ["height"]
    assert [t for _, t in named.cells if t == "height"] == ["height"]  # of the features' ranges


def test_large_data_make_a_small_page(tmp_path: Path) -> None:
    """A million rows of 150 classes, 600 epochs, 60 layers; and numbers that fill a cloud."""
    draw = np.random.default_rng(0)
    layers = bp.Sequential(*(bp.Dense(2) for _ in range(59)), bp.Dense(150))
    net = bp.Network(layers, 2, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), batch_size=100)
    flow = bp.GradientFlow(samples=1)
    X, y = draw.normal(size=(100_000, 2)).astype("f4"), draw.integers(0, 150, 100_000)
    trainer.fit(X[:100], y[:100], epochs=600, callbacks=[flow], verbose=False)
    page = report(tmp_path / "a.html", trainer, X, y, flow=flow, class_names=[f"class {k}" for k in range(150)])
    assert (tmp_path / "a.html").stat().st_size < 500_000
    assert "the 50 of 150 classes that are found least" in page.text and "Most frequent mistakes" in page.text
    net = bp.Network(bp.Dense(6), 2, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.01))
    Y = draw.standard_t(2, size=(100_000, 6))
    trainer.fit(X[:100], Y[:100], epochs=1, verbose=False)
    report(tmp_path / "a.html", trainer, X, Y)
    assert (tmp_path / "a.html").stat().st_size < 1_500_000


def test_the_same_training_makes_the_same_page(tmp_path: Path) -> None:
    trainer, X, y = trained()
    pages = []
    for name in ("a.html", "b.html"):
        report(tmp_path / name, trainer, X, y)
        html = (tmp_path / name).read_text(encoding="utf-8")
        pages.append(re.sub(r"gpubp, \d{4}-.*|<dt>predicting.*?</dd>", "", html))
    assert pages[0] == pages[1]


def test_a_page_is_written_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, X, y = trained()
    (tmp_path / "a.html").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        report(tmp_path / "a.html", trainer, X, y)
    assert (tmp_path / "a.html").read_text() == "old" and os.listdir(tmp_path) == ["a.html"]


def test_matplotlib_settings_are_unchanged(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 17.0, "text.usetex": True, "svg.fonttype": "path"}):
        page = report(tmp_path / "a.html", *trained())
        assert matplotlib.rcParams["font.size"] == 17.0 and matplotlib.rcParams["text.usetex"]
    assert "training" in [text for path, text in page.texts if path.endswith("text")]


@pytest.mark.parametrize(("library", "extra"), [("jinja2", "report"), ("matplotlib", "plot")])
def test_a_missing_library(library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, X, y = trained(epochs=1)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(bp.MissingDependencyError, match=rf"need\w* {library}: pip install 'gpubp\[{extra}\]'"):
        report(tmp_path / "a.html", trainer, X, y)


def test_data_that_do_not_fit(tmp_path: Path) -> None:
    trainer, X, y = trained(epochs=1)
    with pytest.raises(bp.DataError):
        report(tmp_path / "a.html", trainer, X[:, :3], y)
    assert not os.listdir(tmp_path)


def test_unknown_keywords_are_refused(tmp_path: Path) -> None:
    """`ReportOptions` tells type checkers which keywords there are, and `ReportContent` has their defaults."""
    trainer, X, y = trained()
    with pytest.raises(TypeError, match=r"^write_report\(\) got an unexpected keyword argument 'colour'$"):
        bp.write_report(tmp_path / "a.html", trainer, X, y, colour="red")  # type: ignore[call-arg]
    assert not os.listdir(tmp_path)
    keywords = [field.name for field in fields(ReportContent)]
    assert keywords == ["trainer", "X", "y", *ReportOptions.__annotations__]


def test_kinds_of_data(tmp_path: Path) -> None:
    """Sequences, for which there is no matrix of classes; sparse rows with one 1 a row; lists."""
    X = np.random.default_rng(0).integers(0, 9, size=(200, 5))
    net = bp.Network(bp.Sequential(bp.Embedding(9, 4), bp.Dense(9)), 5, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), metrics="accuracy")
    trainer.fit(X, X, epochs=2, verbose=False)
    page = report(tmp_path / "a.html", trainer, X, X)
    assert "judged" not in [a["id"] for a in page.all("section")]
    assert values(page)[:2] == [trainer.evaluate(X, X)[name] for name in ("accuracy", "loss")]
    sparse = pytest.importorskip("scipy.sparse")
    S, y = sparse.random(300, 50, density=0.1, format="coo", random_state=0), np.eye(2)[np.arange(300) % 2]
    net = bp.Network(bp.Dense(2), 50, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam())
    trainer.fit(S, y, epochs=1, verbose=False)
    page = report(tmp_path / "a.html", trainer, S, y, class_names=["even", "odd"])
    assert (
        "of 300 rows right" in page.text and "0 to 0.9" in page.text and page.text.count("150") == 5
    )  # with those of the rarest class
    net = bp.Network(bp.Dense(1), 2, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1))
    trainer.fit([[1, 2], [3, 4]], [1, 2], verbose=False)
    assert "on 2 rows, R²" in report(tmp_path / "a.html", trainer, [[1, 2], [3, 4]], [1, 2]).text


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_training_that_went_wrong(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.Dense(1)), 3, device="cpu")
    trainer, flow = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(1e9)), bp.GradientFlow()
    trainer.fit(X, X[:, 0], epochs=9, callbacks=[flow], verbose=False)
    page = report(tmp_path / "a.html", trainer, X, X[:, 0], flow=flow)
    for words in ("learnt nothing", "off by nan on average", "The gradient explodes", "The loss is not finite"):
        assert words in page.text


@pytest.mark.parametrize("rows", [3, 3000])
def test_figures_of_constant_numbers(rows: int) -> None:
    from gpubp.report import figures

    one, many = np.ones(rows), np.random.default_rng(0).normal(size=rows) * 1e30
    drawn = [figures.cloud(one, one), figures.cloud(many, one), figures.cloud(one, many), figures.cloud(many, many)]
    drawn += [figures.residuals(one - one), figures.residuals(many), figures.spread(one), figures.spread(many)]
    for svg in drawn:
        Page(svg)
        assert "nan" not in svg and "var(--first)" in svg and "font-family" not in svg
