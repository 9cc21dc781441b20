"""Drawings of networks: well-formed, right, and with no word over another."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LayerCase
from gpubp.explain.build import Builder
from gpubp.explain.content import Content
from gpubp.explain.drawings.diagram import Diagram, diagram_of_network, diagram_of_step
from gpubp.explain.drawings.drawing import Drawing, draw
from gpubp.explain.drawings.figures import CHOICES, OF_EACH, ROWS, STYLE, Step, figure_of_step, figure_of_steps
from gpubp.explain.drawings.svg import SMALLEST, Box, short
from gpubp.explain.drawings.unit_drawing import fits
from gpubp.explain.watched import Watched
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update

SVG = "{http://www.w3.org/2000/svg}"
DIGIT = 0.602  # width of a letter of DejaVu Sans Mono


def dense(*units: int, activation: bp.Layer | None = None) -> bp.Sequential:
    """Dense layers with activations between them."""
    layers: list[bp.Layer] = []
    for n in units:
        layers += [bp.Dense(n), activation or bp.Tanh()]
    return bp.Sequential(*layers)


SMALL = {
    "neuron": (bp.Sequential(bp.Dense(1), bp.Sigmoid()), 1),
    "one Dense": (bp.Dense(3), 2),
    "no bias": (bp.Sequential(bp.Dense(2, use_bias=False), bp.ReLU(), bp.Dense(2)), 2),
    "xor": (dense(2, 1, activation=bp.Sigmoid()), 2),
    "three": (dense(3, 3, 2), 3),
    "wide": (dense(8, 8, 8), 8),
    "narrow": (dense(1, 1, 1, 1), 1),
    "unequal": (dense(7, 1), 2),
    "units alone": (bp.Sequential(bp.Tanh(), bp.BatchNorm(), bp.PReLU(), bp.Dropout(0.5)), 4),
    "long names": (bp.Sequential(bp.LeakyReLU(0.123456), bp.Dense(2, use_bias=False), bp.LeakyReLU(0.01)), 4),
    "nested": (bp.Sequential(bp.Sequential(bp.Dense(2), bp.Tanh()), bp.Dense(2)), 2),
}
LARGE = {
    "deep": (dense(9, 9), 2),
    "images": (bp.Sequential(bp.Conv2D(9, 3), bp.ReLU(), bp.MaxPool2D(), bp.Flatten(), bp.Dense(3)), (8, 9, 2)),
    "paths": (
        bp.Sequential(
            bp.Parallel(bp.Residual(bp.Sequential(bp.Dense(4), bp.SiLU())), bp.Dense(2), bp.Residual(bp.Tanh())),
            bp.Ensemble(bp.Dense(3, weight_initializer=bp.Normal(std=0.123456789)), bp.Dense(3)),
        ),
        4,
    ),
    "sequences": (bp.Sequential(bp.Bidirectional(bp.LSTM(3, return_sequences=True)), bp.GRU(2)), (5, 3)),
}


def step(layers: bp.Layer, shape: object, rows: int = 3) -> tuple[bp.Network, Watched]:
    """A step on random numbers."""
    rng = np.random.default_rng(1)
    net = bp.Network(layers, shape, device="cpu", dtype="float64")
    X = rng.normal(size=(rows, *net.input_shape))
    return net, Watched(net, X, rng.normal(size=(rows, *net.output_shape)), bp.HalfMeanSquaredError())


def step_of_case(case: LayerCase) -> Watched:
    """A step of a network with the case's layer."""
    rng = np.random.default_rng(2)
    x = case.x(rng)
    net = bp.Network(case.network_layers(), x.shape[1:], device="cpu")
    return Watched(net, x, rng.integers(0, 3, len(x)), bp.SoftmaxCrossEntropy())


def texts(svg: str) -> Iterator[tuple[str, str, Box]]:
    """(words, class, room) of all that is written in a drawing, by the letters of a common font."""

    def walk(e: ET.Element, shift: float) -> Iterator[tuple[str, str, Box]]:
        if moved := re.match(r"translate\(([\d.]+) 0\)", e.get("transform", "")):
            shift += float(moved[1])
        if e.tag == f"{SVG}text":
            size, words = float(e.get("font-size", "")), e.text or ""
            width = len(words) * size * DIGIT
            left = (
                float(e.get("x", ""))
                + shift
                - {"start": 0, "middle": width / 2, "end": width}[e.get("text-anchor", "")]
            )
            y = float(e.get("y", ""))
            yield words, e.get("class", ""), Box(left, y - 0.76 * size, left + width, y + 0.24 * size)
        for inner in e:
            yield from walk(inner, shift)

    yield from walk(ET.fromstring(svg), 0.0)


def check(svg: str) -> None:
    """It is XML, words lie apart and inside, ids are there, and text stays large enough on a narrow page."""
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    found = list(texts(svg))
    for i, (words, _, room) in enumerate(found):
        assert room.left >= 0 and room.right <= width and room.top >= 0 and room.bottom <= height, words
        for others, _, other in found[:i]:
            assert not room.meets(other), (words, others)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert set(root.get("aria-labelledby", "").split()) <= set(ids)
    least = float(re.search(r"max\(100%, (\d+)px\)", root.get("style", ""))[1])  # type: ignore[index]
    sizes = [float(e.get("font-size", "")) for e in root.iter(f"{SVG}text")]
    assert min(sizes) * least / width >= SMALLEST


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_words_lie_apart(name: str) -> None:
    layers, shape = (SMALL | LARGE)[name]
    net, watched = step(layers, shape)
    diagram = diagram_of_step(watched)
    assert fits(diagram) == (name in SMALL)
    for svg in (draw(diagram_of_network(net)), draw(diagram), draw(diagram, Builder(watched).content("a"), row=2)):
        check(svg)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_is_drawn(case: LayerCase) -> None:
    watched = step_of_case(case)
    diagram = diagram_of_step(watched)
    svg = draw(diagram)
    check(svg)
    check(draw(diagram_of_network(watched.net)))
    words = "".join(words for words, _, _ in texts(svg)).replace(" ", "")
    for path, layer in watched.net.layers.walk():
        if not layer.children:
            assert f"{path}{layer!r}".replace(" ", "")[:20] in words or fits(diagram)
    assert all(node.y is not None and node.dy is not None for node in diagram.root.walk())


def agrees(shown: str, value: float) -> bool:
    """Whether what is printed is the number, to the digits shown."""
    return shown == short(value) and np.isclose(float(shown.replace("−", "-")), value, rtol=0.006, atol=0)


def test_units_show_the_numbers_of_the_step() -> None:
    net = bp.Network(dense(2, 1, activation=bp.Sigmoid()), 2, device="cpu", dtype="float64")
    X, t = np.array([[0.5, -1.5], [2.0, 1.0]]), np.array([[1.0], [0.25]])
    W, b, V, c = (net.parameters[name] for name in ("0.W", "0.b", "2.W", "2.b"))
    b[...], c[...] = [0.3, -0.2], 0.7
    a = X @ W + b
    h = 1 / (1 + np.exp(-a))
    z = h @ V + c
    y = 1 / (1 + np.exp(-z))
    dy = (y - t) / 2
    dz = dy * y * (1 - y)
    dh = dz @ V.T
    da = dh * h * (1 - h)
    dx = da @ W.T
    watched = Watched(net, X, t, bp.HalfMeanSquaredError())
    for row in range(2):
        found = list(texts(draw(diagram_of_step(watched), row=row)))
        for css, columns in (("y", (X, a, h, z, y)), ("d", (dx, da, dh, dz, dy))):
            shown = [words for words, name, _ in found if name == css]
            expected = [short(v) for column in columns for v in column[row]]
            assert shown[-len(expected) :] == expected  # behind those of the lines
        weights = [words for words, name, _ in found if name == ""]
        for value in (*W.ravel(), *b, *V.ravel(), *c):
            assert short(value) in weights
        gradients = [words for words, name, _ in found if name == "d"]
        for value in (*(X.T @ da).ravel(), *da.sum(0), *(h.T @ dz).ravel(), *dz.sum(0)):
            assert any(agrees(words, value) for words in gradients)
        assert f"L = {short(0.5 * ((y - t) ** 2).mean())}" in [words for words, _, _ in found]


@pytest.mark.parametrize("name", ["three", "wide"])
def test_lines_have_the_weights_and_their_gradients(name: str) -> None:
    layers, shape = SMALL[name]
    net, watched = step(layers, shape)
    svg = draw(diagram_of_step(watched), Builder(watched).content("a"))
    said = [e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}title")]
    shown = {words for words, _, _ in texts(svg)}
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), watched.step.batch.x, watched.step.batch.t)
    for full, values in net.parameters.items():
        for index, value in np.ndenumerate(values):
            place = f"{full}[{','.join(map(str, index))}]"
            assert any(s.startswith(f"{place} = ") for s in said) and short(value) in shown
            assert any(s.startswith(f"∂L/∂{place} = ") for s in said) and short(gradients[full][index]) in shown


def test_boxes_show_the_means_of_the_step() -> None:
    layers, shape = LARGE["deep"]
    net, watched = step(layers, shape)
    X, t = watched.step.batch.x, watched.step.batch.t
    W, b, V, c = (net.parameters[name] for name in ("0.W", "0.b", "2.W", "2.b"))
    a = X @ W + b
    h = np.tanh(a)
    z = h @ V + c
    y = np.tanh(z)
    dy = (y - t) / t.size
    dz = dy * (1 - y**2)
    dh = dz @ V.T
    da = dh * (1 - h**2)
    found = list(texts(draw(diagram_of_step(watched))))
    for css, arrays in (("y", (X, a, h, z, y)), ("d", (da @ W.T, da, dh, dz, dy))):
        shown = [words for words, name, _ in found if name == css and not words.startswith("|")]
        assert shown == [short(np.abs(one).mean()) for one in arrays]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1e-300, 1e300, -123456789.0, 0.000123456, -9.9999, np.inf, np.nan])
def test_short_numbers(value: float) -> None:
    shown = short(value)
    assert len(shown) <= 8 and "-0" != shown
    assert np.isclose(float(shown.replace("−", "-")), value, rtol=0.5 if abs(value) < 1e-99 else 0.06, equal_nan=True)


def parts(figure: str) -> ET.Element:
    """The HTML of a figure as a tree."""
    return ET.fromstring(
        f"<div>{figure.replace(' checked>', ' checked=`c`>')}</div>".replace("`", '"').replace('"><label', '"/><label')
    )


def test_every_link_leads_to_a_line() -> None:
    for layers, shape in (SMALL | LARGE).values():
        _, watched = step(layers, shape)
        content = Builder(watched).content("a")
        figure = figure_of_step(diagram_of_step(watched), content)
        targets = {line.key.anchor for line in content.lines()} | {section.anchor for section in content.sections}
        links = re.findall(r'href="#([^"]*)"', figure)
        assert links and set(links) <= targets


@pytest.mark.parametrize("case", LAYERS[::6], ids=str)
def test_links_of_a_page_lead_somewhere(case: LayerCase) -> None:
    rng = np.random.default_rng(0)
    x = case.x(rng)[:1]
    net = bp.Network(case.network_layers(), x.shape[1:], device="cpu")
    page = net.explain(x, [1], loss=bp.SoftmaxCrossEntropy(), written=2)._repr_html_()
    ids = re.findall(r'\sid="([^"]*)"', page)
    drawing = page.partition("<figure>")[2].partition("</figure>")[0]
    assert 'href="#' in drawing and len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_numbers_of_small_networks_have_links() -> None:
    _, watched = step(*SMALL["xor"])
    svg = draw(diagram_of_step(watched), Builder(watched).content("a"))
    linked = [e for e in ET.fromstring(svg).iter(f"{SVG}a")]
    words = [e.text for a in linked for e in a.iter(f"{SVG}text") if e.get("class") in ("y", "d")]
    said = [e.findtext(f"{SVG}title") or "" for e in linked]
    assert len(words) >= 2 * 6 + 9  # all but the inputs themselves
    assert any("σ(" in s for s in said) and any(s.startswith("∂L/∂0.W[0,1] = dW[0,1] = ") for s in said)


def test_rows_and_steps_are_chosen_without_a_script() -> None:
    _, watched = step(*SMALL["xor"], rows=12)
    diagram, content = diagram_of_step(watched), Builder(watched).content("a")
    for figure, count in (
        (figure_of_step(diagram, content), ROWS),
        (figure_of_step(*_of(*SMALL["wide"])), 2),
        (figure_of_step(*_of(*LARGE["deep"])), 1),
    ):
        assert figure.count("<svg") == count and "<script" not in figure and "<style" not in figure
        assert figure.count('type="radio"') == figure.count("<label") == (count if count > 1 else 0)
        assert figure.count(" checked>") == (count > 1)
        ids = re.findall(r' id="([^"]*)"', figure)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r' for="([^"]*)"', figure)) <= set(ids)
    assert f"input:nth-of-type({CHOICES}):checked ~ .net-panel:nth-of-type({CHOICES})" in STYLE
    steps = figure_of_steps([Step(diagram, content)] * 5)
    assert steps.count("<svg") == 5 * OF_EACH and steps.count(" checked>") == 6
    ids = re.findall(r' id="([^"]*)"', steps)
    assert len(ids) == len(set(ids))
    first, _, others = steps.partition("Step 2: L = ")
    assert "Step 5: L = " in others and "href=" in first and "href=" not in others


@pytest.mark.parametrize("optimizer", [bp.Adam(0.1), bp.SGD(bp.CosineDecay(0.5, steps=4), momentum=0.9)], ids=repr)
def test_first_steps_are_those_of_training(optimizer: bp.Optimizer) -> None:
    layers = bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.Tanh(), bp.Dropout(0.4), bp.Dense(1))
    net = bp.Network(layers, 2, device="cpu", dtype="float64")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    first = net.flat.copy()
    made = net.explain(X, y, loss=bp.MeanSquaredError(), optimizer=optimizer, steps=5)
    losses = [float(found) for found in re.findall(r"\d: L = ([\d.]+)</label>", made._repr_html_())]
    assert (net.flat == first).all()
    batch, update = Batch(net, 6, TargetShape((1,), "float64")), Update(net, optimizer)
    trained = TrainingStep(StepJob(net, bp.MeanSquaredError(), seed=net.seed), batch, update)
    batch.load(X, y[:, None], np.arange(6))
    assert len(losses) == 5
    for value in losses:
        trained.run()
        assert np.isclose(value, trained.last_loss(), rtol=1e-5)


def test_what_is_left_out_stands_nowhere_in_the_drawing() -> None:
    _, watched = step(*SMALL["xor"])
    diagram, content = diagram_of_step(watched), Builder(watched).content("a")
    lines = [line for line in content.lines() if line.expression is not None and line.key.path][::2]
    hidden = {line.key: f"({k})" for k, line in enumerate(lines)}
    for row in range(3):
        svg = draw(diagram, content, row=row, blank=hidden.get)
        words = [words for words, css, _ in texts(svg) if css in ("y", "d", "")]
        assert not {short(line.value) for line in lines} & set(words)
        assert set(words) & set(hidden.values()) and not words.count("0.0")
        check(svg)


def test_steps_that_can_not_be_drawn() -> None:
    net, _ = step(*SMALL["xor"])
    given = {"X": [[1.0, 0.0]], "y": [[1.0]], "loss": bp.MeanSquaredError()}
    with pytest.raises(ValueError, match="need an optimizer"):
        net.explain(**given, steps=2)
    with pytest.raises(ValueError, match="50 steps"):
        net.explain(**given, optimizer=bp.SGD(), steps=51)
    with pytest.raises(ValueError, match="leave out blanks or steps"):
        net.explain(**given, optimizer=bp.SGD(), steps=2, blanks=0.5)
    with pytest.raises(ValueError, match="steps"):
        net.explain(**given, steps=0)


def _of(layers: bp.Layer, shape: object) -> tuple[Diagram, Content]:
    _, watched = step(layers, shape)
    return diagram_of_step(watched), Builder(watched).content("a")


def test_a_drawing_is_saved(tmp_path) -> None:
    drawing = Drawing(draw(diagram_of_network(bp.Network(bp.Dense(2), 2, device="cpu"))))
    drawing.save(tmp_path / "net.svg")
    assert ET.parse(tmp_path / "net.svg").getroot().tag == f"{SVG}svg"
    assert drawing._repr_svg_() == drawing.svg
    with pytest.raises(ValueError, match=r"ends in \.svg"):
        drawing.save(tmp_path / "net.png")
    with pytest.raises(ValueError, match="make it first"):
        drawing.save(tmp_path / "nowhere" / "net.svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.svg"]


def test_words_of_users_are_escaped() -> None:
    class Less(bp.Activation):
        def f(self, x):
            return x * 1.0

        def df(self, x, y, dy):
            return dy * 1.0

        def __repr__(self) -> str:
            return '<b>&"Less"</b>'

    for layers in (bp.Sequential(bp.Dense(2), Less()), bp.Sequential(bp.Dense(20), Less())):
        check(draw(diagram_of_network(bp.Network(layers, 2, device="cpu"))))


def test_what_is_not_finite_is_drawn() -> None:
    net, _ = step(*SMALL["xor"])
    net.parameters["0.W"][0, 0], net.parameters["0.W"][1, 0] = np.inf, np.nan
    with np.errstate(all="ignore"):
        watched = Watched(net, [[1.0, 1.0]], [[1.0]], bp.HalfMeanSquaredError())
    check(draw(diagram_of_step(watched)))
    check(draw(diagram_of_network(net)))
