"""Histograms of weights, activations and gradients: the bars of the figure and its words, compared with the arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LayerCase
from gpubp.analysis.histograms import Histogram, NetworkHistograms
from gpubp.analysis.layer_arrays import Seen, look_forward
from gpubp.analysis.plots.histograms import MARKED
from gpubp.backends.cuda.backend import CUDA
from length_cases import ALL, STEPS, Y, network
from length_cases import X as ROWS
from strict import StrictProducts, strict_cupy

pytest.importorskip("matplotlib")

CE, MSE = bp.SoftmaxCrossEntropy(), bp.MeanSquaredError()


def mlp(*layers: bp.Layer, inputs: int = 4, **options: Any) -> bp.Network:
    return bp.Network(bp.Sequential(*layers), inputs, device="cpu", dtype="float64", **options)


def panels(figure: Any, columns: int = 3) -> list[list[Any]]:
    """The panels of the figure, a list for each row."""
    return [figure.axes[i : i + columns] for i in range(0, len(figure.axes), columns)]


def bars(axes: Any, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(heights, edges) of the bars of a panel, or with k = 1 of its line."""
    heights, edges, _ = axes.patches[k].get_data()
    return heights, edges


def told(axes: Any) -> str:
    return str(axes.get_title(loc="right"))


def is_marked(axes: Any) -> bool:
    from matplotlib.colors import to_rgba

    return bool(axes.get_facecolor() == to_rgba(MARKED))


def counted(numbers: Any, edges: np.ndarray) -> np.ndarray:
    return np.histogram(np.asarray(numbers).ravel(), edges)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bars_are_those_of_the_arrays(dtype: str, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(8), bp.ReLU(), bp.Dense(2))
    net = bp.Network(layers, 4, device="cpu", dtype=dtype)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    figure = bp.plot_histograms(net, X, y, CE)
    p = {name: np.array(a, np.float64) for name, a in net.parameters.items()}
    loss, g = net.loss_and_gradients(CE, X, y)
    a0 = X @ p["0.W"] + p["0.b"]
    h0 = np.tanh(a0)
    a1 = h0 @ p["2.W"] + p["2.b"]
    h1 = np.maximum(a1, 0)
    z = h1 @ p["4.W"] + p["4.b"]
    rows = panels(figure)
    assert [row[0].get_ylabel() for row in rows] == ["0  Dense(16)\n1  Tanh()", "2  Dense(8)\n3  ReLU()", "4  Dense(2)"]
    assert figure.get_suptitle() == f"50 rows, SoftmaxCrossEntropy() {loss:.4g}"
    for row, name, outputs in zip(rows, ("0.W", "2.W", "4.W"), (h0, h1[h1 > 0], z), strict=True):
        heights, edges = bars(row[0])
        assert np.array_equal(heights, counted(p[name], edges)) and heights.sum() == p[name].size
        assert (edges[0], edges[-1]) == pytest.approx((p[name].min(), p[name].max()))
        assert told(row[0]) == f"std {p[name].std():.2g}"
        heights, edges = bars(row[1])
        assert heights.sum() == outputs.size
        assert np.abs(heights - counted(outputs, edges)).sum() <= (8 if dtype == "float32" else 0)  # at edges
        sizes = np.abs(g[name][g[name] != 0])
        heights, edges = bars(row[2])
        clipped = np.log10(sizes.astype(np.float64)).clip(edges[0], edges[-1])
        assert np.array_equal(heights, counted(clipped, edges)) and heights.sum() == sizes.size
        assert told(row[2]).startswith(f"size {np.sqrt((g[name].astype(np.float64) ** 2).mean()):.1e}")
    assert told(rows[1][1]) == f"std {h1.std():.2g} · {100 * (h1 == 0).mean():.0f}% are 0"
    line, edges = bars(rows[1][1], 1)  # what ReLU reads, on the scale of the bars
    expected = counted(a1, edges)
    assert line.max() == bars(rows[1][1])[0].max()
    assert np.abs(line * expected.max() / line.max() - expected).sum() == pytest.approx(
        0, abs=1e-6 + 8 * (dtype != "float64")
    )
    assert len({bars(row[2])[1].tobytes() for row in rows}) == 1  # one axis for all gradients


def test_dead_units_are_marked_and_named(rng: np.random.Generator) -> None:
    net = mlp(bp.Dense(8), bp.ReLU(), bp.Dense(6), bp.LeakyReLU(), bp.Dense(1))
    net.parameters["0.b"][:3] = -1000
    net.parameters["2.b"][:] = -1000
    X = rng.normal(size=(40, 4))
    figure = bp.plot_histograms(net, X, X[:, 0], MSE)
    first, second, last = panels(figure)
    assert is_marked(first[1]) and told(first[1]).endswith("3 of 8 dead")
    assert not is_marked(second[1]) and not is_marked(last[1])  # a leaky unit passes gradients
    words = figure.get_supxlabel().splitlines()
    assert words[0] == 'Dead: 3 of 8 units of layer "1", ReLU(), are 0 for all 40 rows, so no gradient passes them.'
    few = bp.plot_histograms(net, X[:2]).get_supxlabel()
    assert "for all 2 rows" in few and "So few rows may make a unit look dead" in few


def test_saturated_units_are_marked_and_named(rng: np.random.Generator) -> None:
    net = mlp(bp.Dense(8), bp.Sigmoid(), bp.Dense(8), bp.Tanh(), bp.Dense(1))
    net.parameters["0.W"][:, :2] = 0
    net.parameters["0.b"][:2] = [30, -30]
    X = rng.normal(size=(40, 4))
    figure = bp.plot_histograms(net, X)
    first, second, last = panels(figure, 2)
    assert is_marked(first[1]) and told(first[1]).endswith("2 of 8 saturated") and not is_marked(second[1])
    assert first[1].get_xlim() == pytest.approx((-0.05, 1.05)) and second[1].get_xlim() == pytest.approx((-1.1, 1.1))
    assert figure.get_supxlabel().replace("\n", " ") == (
        'Saturated: 2 of 8 units of layer "1", Sigmoid(), are within 2% of 0 or 1 for 80% of the rows or more, where '
        "little gradient passes them."
    )
    healthy = bp.plot_histograms(mlp(bp.Dense(4), bp.Sigmoid()), X)
    assert healthy.get_supxlabel() == "No unit is dead or saturated."


def test_vanishing_and_exploding_gradients(rng: np.random.Generator) -> None:
    deep = mlp(*[layer for _ in range(8) for layer in (bp.Dense(16), bp.Sigmoid())], bp.Dense(1))
    X = rng.normal(size=(40, 4))
    figure = bp.plot_histograms(deep, X, X[:, 0], MSE)
    _, g = deep.loss_and_gradients(MSE, X, X[:, 0])
    sizes = [np.sqrt((g[f"{i}.W"] ** 2).mean()) for i in range(0, 17, 2)]
    marked = [is_marked(row[2]) for row in panels(figure)]
    assert marked == [size < 1e-3 * max(sizes) for size in sizes] and any(marked)
    assert [told(row[2]).endswith("vanishes") for row in panels(figure)] == marked
    assert 'The gradient vanishes: that of layer "0", Dense(16), is' in figure.get_supxlabel()
    assert f'times that of layer "{2 * int(np.argmax(sizes))}"' in figure.get_supxlabel()
    large = bp.plot_histograms(mlp(bp.Dense(1)), 1e5 * X, X[:, 0], MSE)
    assert "The gradient explodes" in large.get_supxlabel()


def test_numbers_that_are_not_finite_or_all_0(rng: np.random.Generator, tmp_path: Path) -> None:
    X, path = rng.normal(size=(30, 4)), tmp_path / "a.png"
    broken = mlp(bp.Dense(4), bp.ReLU(), bp.Dense(1))
    broken.parameters["0.W"][0, 0] = np.nan
    found = NetworkHistograms.of(broken, X, X[:, 0], MSE)
    assert found.words[:3] == [
        'Not finite: 1 of 16 weights of layer "0", Dense(4).',
        'Not finite: 30 of 120 activations of layer "1", ReLU().',
        'Not finite: 16 of 16 gradients of layer "0", Dense(4).',
    ]
    bp.plot_histograms(broken, X, X[:, 0], MSE, path=path)
    zero = mlp(bp.Dense(4), bp.ReLU(), bp.Dense(1))
    zero.flat[...] = 0
    figure = bp.plot_histograms(zero, np.zeros((30, 4)), np.zeros(30), MSE, path=path)
    assert figure.get_supxlabel().endswith("All gradients are 0.")
    assert [told(axes) for axes in panels(figure)[1]] == ["all are 0"] * 3


@pytest.mark.parametrize(
    "numbers", [[0.0], [3.0], [1e-30, 2e-30], [1.0, 1.0 + 1e-15], [-1e300, 1e300], [np.nan], [np.inf, 1.0], []]
)
def test_numbers_of_any_size_have_a_histogram(numbers: list[float]) -> None:
    found = Histogram.of(numbers)
    assert found.counts.sum() + found.zeros + found.strange == len(numbers) == found.count
    assert (np.diff(found.edges) > 0).all()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_arrays_of_every_layer_are_those_of_the_passes(
    case: LayerCase, training: bool, rng: np.random.Generator
) -> None:
    net = bp.Network(case.network_layers(), case.shape[1:], device="cpu", dtype="float64")
    X, states = case.x(rng, 6), net.states.flat.copy()
    paths: list[str] = []
    outputs: list[np.ndarray] = []

    def look(one: Seen) -> None:
        if one.follows:
            assert np.array_equal(one.inputs(), outputs[-1])
        paths.append(one.path)
        outputs.append(one.outputs().copy())

    assert look_forward(net, X, look, training) == 6
    leaves = [path for path, layer in net.layers.walk() if not layer.children]
    assert sorted(paths) == sorted(leaves)
    z, y = outputs[-1], rng.normal(size=(6, 3))
    loss, _ = net.loss_and_gradients(MSE, X, y, training=training)
    assert ((z - y) ** 2).mean() == pytest.approx(loss, rel=1e-9)
    if not training:
        assert z == pytest.approx(net.predict(X), rel=1e-9, abs=1e-12)
    assert np.array_equal(net.states.flat, states)
    found = NetworkHistograms.of(net, X, y, MSE, training)
    assert found.value == loss and found.layers[-1].name == leaves[-1]


@pytest.mark.parametrize("name", ALL)
def test_rows_of_different_lengths_show_no_padding(name: str) -> None:
    net = network(name, "float64")
    steps = net.output_shape[0] is None
    y: Any = STEPS if steps else Y
    seen: dict[str, np.ndarray] = {}
    look_forward(net, ROWS, lambda one: seen.update({one.path: one.outputs().copy()}), training=False)
    z = list(seen.values())[-1]
    expected = net.predict(ROWS)
    assert z == pytest.approx(expected.flat if steps else expected, rel=1e-9, abs=1e-12)
    figure = bp.plot_histograms(net, ROWS, y, CE, training=False)
    heights, edges = bars(panels(figure)[-1][1])
    assert heights.sum() == z.size and np.array_equal(heights, counted(z, edges))
    loss, _ = net.loss_and_gradients(CE, ROWS, y, training=False)
    assert figure.get_suptitle().endswith(f" {loss:.4g}")


@pytest.mark.parametrize("name", ["mlp", "rnn", "each"])
def test_a_gpu_gives_the_same_figure(name: str, rng: np.random.Generator) -> None:
    """By the CUDA backend on the strict stand-in."""
    layers = bp.Sequential(
        bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3), bp.Dense(4), bp.Sigmoid(), bp.Dense(3)
    )
    rows: Any = (rng.normal(size=(40, 3)), rng.integers(0, 3, 40)) if name == "mlp" else (ROWS, STEPS)
    figures = []
    for device in ("cpu", CUDA(strict_cupy(), products=StrictProducts)):
        if name == "mlp":
            net = bp.Network(layers, 3, device=device, dtype="float64")
            net.parameters["0.W"][:, :2] = 0
        else:
            net = network(name, "float64", device=device)
        figures.append(bp.plot_histograms(net, *rows, CE))
    cpu, gpu = figures
    assert cpu.get_suptitle() == gpu.get_suptitle() and cpu.get_supxlabel() == gpu.get_supxlabel()
    for one, other in zip(cpu.axes, gpu.axes, strict=True):
        for mine, its in zip(one.patches, other.patches, strict=True):
            assert np.abs(mine.get_data().values - its.get_data().values).sum() <= 6  # roundings, at edges
            assert mine.get_data().edges == pytest.approx(its.get_data().edges)


def test_which_layer_an_activation_belongs_to(rng: np.random.Generator) -> None:
    branches = bp.Parallel(bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.ReLU(), bp.Tanh()), bp.Sigmoid())
    net = mlp(bp.Dropout(0.5), branches, bp.Flatten(), bp.Dense(2))
    X = rng.normal(size=(30, 4))
    rows = NetworkHistograms.of(net, X).layers
    assert [row.title.split("\n") for row in rows] == [
        ["1.0.0  Dense(4)", "1.0.2  ReLU()"],
        ["1.0.3  Tanh()"],
        ["1.1  Sigmoid()"],
        ["3  Dense(2)"],
    ]
    assert [row.weights is None for row in rows] == [False, True, True, False]
    rows_of_panels = panels(bp.plot_histograms(net, X), 2)
    assert not rows_of_panels[1][0].patches and rows_of_panels[1][1].patches
    alone = bp.Network(bp.Dense(2), 4, device="cpu")
    assert panels(bp.plot_histograms(alone, X), 2)[0][0].get_ylabel() == "Dense(2)"


def test_an_activation_of_ones_own(rng: np.random.Generator) -> None:
    class HardTanh(bp.Activation):
        def f(self, x: Any) -> Any:
            from gpubp.formula import maximum, minimum

            return maximum(minimum(x, 1.0), -1.0)

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy * (x > -1.0) * (x < 1.0)

    class Bent(bp.Activation):
        def f(self, x: Any) -> Any:
            return (x > 0.0) * x + 1.0

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy * (x > 0.0)

    X = rng.normal(size=(30, 4))
    net = mlp(bp.Dense(4), HardTanh(), bp.Dense(4), Bent())
    net.parameters["0.b"][0] = 99
    net.parameters["2.b"][1:] = -99
    words = NetworkHistograms.of(net, X).words
    assert words[0].startswith('Saturated: 1 of 4 units of layer "1", HardTanh(), are within 2% of -1 or 1')
    assert words[1].startswith('Dead: 3 of 4 units of layer "3", Bent(), have the derivative 0 for all 30 rows')


def test_frozen_weights_have_no_gradient_and_words_are_not_judged(rng: np.random.Generator) -> None:
    net = mlp(bp.Dense(4), bp.ReLU(), bp.Dense(1))
    net.freeze("0.*")
    X = rng.normal(size=(30, 4))
    first, second = panels(bp.plot_histograms(net, X, X[:, 0], MSE))
    assert first[0].patches and not first[2].patches and second[2].patches
    words = mlp(bp.Embedding(50, 3), bp.Flatten(), bp.Dense(1))
    words.parameters["2.W"][...] = 1e-9  # so that hardly any gradient reaches the words
    rows = NetworkHistograms.of(words, rng.integers(0, 50, (30, 4)), X[:, 0], MSE).layers
    assert rows[0].name == "0" and not rows[0].vanishes


def test_the_loss_that_a_network_was_trained_with(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas")
    net = mlp(bp.Dense(3), bp.Dropout(0.5), bp.Dense(2))
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 2, 30)
    with pytest.raises(ValueError, match="the network tells none that it was trained with: give loss="):
        bp.plot_histograms(net, X, y)
    bp.Trainer(net, CE, bp.SGD(0.1)).fit(X, y, epochs=1)
    before = net.flat.copy()
    loss, _ = net.loss_and_gradients(CE, X, y, training=False)
    for given, t in ((X, y), (X.tolist(), y.tolist()), (pandas.DataFrame(X), pandas.Series(y))):
        figure = bp.plot_histograms(net, given, t, training=False)
        assert figure.get_suptitle() == f"30 rows, SoftmaxCrossEntropy() {loss:.4g}"
    assert np.array_equal(net.flat, before)


def test_a_deep_network_has_no_more_rows_than_a_page(rng: np.random.Generator) -> None:
    layers = [layer for _ in range(30) for layer in (bp.Dense(3), bp.ReLU())]
    net = mlp(*layers, bp.Dense(1))
    net.parameters["58.b"][:] = -99
    figure = bp.plot_histograms(net, rng.normal(size=(20, 4)))
    labels = [row[0].get_ylabel() for row in panels(figure, 2)]
    assert len(labels) == 24 and labels[0].startswith("0 ") and labels[-1] == "60  Dense(1)"
    assert figure.get_suptitle() == "20 rows; 24 of 31 layers"
    words = figure.get_supxlabel()
    assert words.count("Dead: ") == 5 and words.endswith(" more.")  # of layers, that have dead units


def test_what_cannot_be_drawn_is_refused_in_words(rng: np.random.Generator, tmp_path: Path) -> None:
    net, X, path = mlp(bp.Dense(2)), rng.normal(size=(9, 4)), tmp_path / "none.png"
    flat = bp.Network(bp.Flatten(), (2, 2), device="cpu")
    y: Any = np.zeros(9, int)
    thing: Any = object()
    for call, error, words in (
        (lambda: bp.plot_histograms(net, X, loss=CE, path=path), ValueError, "gradients of a loss need y"),
        (lambda: bp.plot_histograms(net, X, y, thing, path=path), TypeError, "loss to be a gpubp Loss"),
        (lambda: bp.plot_histograms(thing, X, path=path), TypeError, "network to be a gpubp Network"),
        (lambda: bp.plot_histograms(net, X[:, :3], path=path), bp.DataError, r"rows of shape \(3,\)"),
        (lambda: bp.plot_histograms(net, X, y[:4], CE, path=path), bp.DataError, "X has 9 rows and y has 4"),
        (lambda: bp.plot_histograms(net, X, y + 5, CE, path=path), bp.DataError, "5"),
        (lambda: bp.plot_histograms(net, X * np.nan, path=path), bp.DataError, "nan"),
        (lambda: bp.plot_histograms(flat, X.reshape(9, 2, 2), path=path), ValueError, "there is nothing to draw"),
        (lambda: bp.plot_histograms(net, X, path="a.txt"), ValueError, "ends in .png"),
    ):
        with pytest.raises(error, match=words):
            call()
    assert not path.exists()
