"""The decision boundary: probabilities, outputs, rows and lines, read from the figure and compared with predictions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.collections import PathCollection  # noqa: E402
from matplotlib.contour import QuadContourSet  # noqa: E402

R = 40  # places along each axis


def network(outputs: int, dtype: str = "float64", **options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(outputs))
    return bp.Network(layers, 2, device="cpu", dtype=dtype, **options)


def places(axes: Any, count: int = R) -> np.ndarray:
    """The middles of the cells of a figure, (count², 2), row by row from below."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    a = left + (np.arange(count) + 0.5) * (right - left) / count
    b = low + (np.arange(count) + 0.5) * (high - low) / count
    return np.stack([g.ravel() for g in np.meshgrid(a, b)], axis=1)


def dots(axes: Any) -> list[np.ndarray]:
    """The rows that are drawn, for each scatter."""
    return [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]


def lines(axes: Any) -> np.ndarray:
    """The points of all lines, (n, 2)."""
    sets = [c for c in axes.collections if isinstance(c, QuadContourSet)]
    return np.concatenate([path.vertices for c in sets for path in c.get_paths() if len(path.vertices)])


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(60, 2)) * [1.0, 50.0]


def test_regions_shades_lines_and_rows_of_three_classes(X: np.ndarray, rng: np.random.Generator) -> None:
    net, y = network(3), rng.integers(0, 3, 60)
    net.parameters["0.W"][1] /= 50
    figure = bp.plot_decision_boundary(net, X, y, class_names=["cat", "dog", "owl"], resolution=R)
    axes = figure.axes[0]
    p = softmax(net.predict(places(axes)))
    for k, image in enumerate(axes.images):
        shown = image.get_array()
        assert np.array_equal(np.ma.getmaskarray(shown).ravel(), p.argmax(axis=1) != k)
        assert shown.compressed() == pytest.approx(p[p.argmax(axis=1) == k, k])
        assert image.norm.vmin == pytest.approx(1 / 3) and image.norm.vmax == 1
        assert tuple(image.get_extent()) == (*axes.get_xlim(), *axes.get_ylim()) and image.origin == "lower"
    for k, rows in enumerate(dots(axes)):
        assert np.array_equal(rows, X[y == k])
    assert legend(figure) == ["cat", "dog", "owl"]
    ends = np.sort(softmax(net.predict(lines(axes))), axis=1)
    assert ends[:, 2] - ends[:, 1] == pytest.approx(0, abs=0.02)  # on a line, the two largest are equal
    right = (net.predict(X).argmax(axis=1) == y).sum()
    assert axes.get_title() == f"{right} of 60 rows right"
    assert axes.get_xlim()[0] < X[:, 0].min() and axes.get_ylim()[1] > X[:, 1].max()
    assert figure.axes[1].get_ylabel() == "probability of the region's class"


@pytest.mark.parametrize("told", ["by loss", "by training", "by y"])
def test_two_classes_with_one_output(X: np.ndarray, told: str) -> None:
    X = X / [1, 50]
    net, y = network(1), (X[:, 0] > 0).astype("float32")
    loss = bp.BinaryCrossEntropy() if told == "by loss" else None
    if told == "by training":
        bp.Trainer(net, bp.BinaryCrossEntropy(), bp.Adam(0.05), batch_size=20).fit(X, y, epochs=3)
    figure = bp.plot_decision_boundary(net, X, y if told != "by loss" else y[:, None].tolist(), loss, resolution=R)
    axes = figure.axes[0]
    p = 1 / (1 + np.exp(-net.predict(places(axes))[:, 0]))
    no, yes = (image.get_array() for image in axes.images)
    assert no.compressed() == pytest.approx(1 - p[p < 0.5]) and yes.compressed() == pytest.approx(p[p > 0.5])
    assert net.predict(lines(axes)) == pytest.approx(0, abs=0.02)
    assert [len(rows) for rows in dots(axes)] == [int((y == 0).sum()), int((y == 1).sum())]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_output_of_a_regression(X: np.ndarray, dtype: str) -> None:
    X = X / [1, 50]
    net, y = network(1, dtype), X[:, 0] - X[:, 1]
    figure = bp.plot_decision_boundary(net, X.astype(dtype), y, bp.MeanSquaredError(), resolution=R)
    axes = figure.axes[0]
    image = axes.images[0]
    assert np.asarray(image.get_array()).ravel() == pytest.approx(net.predict(places(axes))[:, 0], abs=1e-5)
    (rows,) = (c for c in axes.collections if isinstance(c, PathCollection))
    assert np.asarray(rows.get_array()) == pytest.approx(y) and rows.norm is image.norm
    assert image.norm.vmin <= y.min() and image.norm.vmax >= y.max()
    levels = next(c for c in axes.collections if isinstance(c, QuadContourSet)).levels
    found = net.predict(lines(axes))
    assert np.abs(found - levels).min(axis=1) == pytest.approx(0, abs=0.02)  # each point is on a line of its level
    error = np.sqrt(((net.predict(X)[:, 0] - y) ** 2).mean())
    assert axes.get_title().startswith("root mean square of the errors ")
    assert float(axes.get_title().split()[-1]) == pytest.approx(error, abs=1e-3)


def test_counts_are_drawn_as_such_and_not_as_logarithms(X: np.ndarray) -> None:
    net = network(1)
    figure = bp.plot_decision_boundary(net, X, np.ones(60), bp.Poisson(), resolution=R)
    z = net.predict(places(figure.axes[0]))[:, 0]
    assert np.asarray(figure.axes[0].images[0].get_array()).ravel() == pytest.approx(np.exp(z))


def test_rows_as_lists_tables_and_sparse_matrices(X: np.ndarray, rng: np.random.Generator) -> None:
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    net, y = network(2), rng.integers(0, 2, 60)
    expected = bp.plot_decision_boundary(net, X, y, resolution=R).axes[0]
    assert (expected.get_xlabel(), expected.get_ylabel()) == ("X[:, 0]", "X[:, 1]")
    table = pandas.DataFrame(X, columns=["age", "income in $"])
    for given, t in ((X.tolist(), y.tolist()), (table, pandas.Series(y)), (sparse.csr_array(X), np.eye(2)[y])):
        axes = bp.plot_decision_boundary(net, given, t, resolution=R).axes[0]
        for one, other in zip(axes.images, expected.images, strict=True):
            assert np.array_equal(one.get_array().filled(-1), other.get_array().filled(-1))
        assert all(map(np.array_equal, dots(axes), dots(expected)))
        if given is table:
            assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", r"income in \$")  # a $ that begins no formula
    named = bp.plot_decision_boundary(net, table, y, feature_names=["a", "b"], resolution=R).axes[0]
    assert named.get_xlabel() == "a"


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_constant_columns_and_one_class_only(outputs: int, tmp_path: Path) -> None:
    net = network(outputs)
    loss = bp.BinaryCrossEntropy() if outputs == 1 else bp.SoftmaxCrossEntropy()
    for X in (np.array([[3.0, 1.0], [3.0, 2.0]]), np.zeros((5, 2)), np.full((1, 2), -1e4)):
        figure = bp.plot_decision_boundary(net, X, np.zeros(len(X)), loss, resolution=R, path=tmp_path / "a.png")
        axes = figure.axes[0]
        assert axes.get_xlim()[0] < X[:, 0].min() and axes.get_xlim()[1] > X[:, 0].max()
        p = net.predict(places(axes))
        winner = p.argmax(axis=1) if outputs > 1 else (p[:, 0] > 0).astype(int)
        counts = [int((~np.ma.getmaskarray(image.get_array())).sum()) for image in axes.images]
        assert counts == np.bincount(winner, minlength=max(outputs, 2)).tolist()
        assert [len(rows) for rows in dots(axes)] == [len(X), *[0] * (max(outputs, 2) - 1)]


def test_a_constant_output(tmp_path: Path) -> None:
    net = network(1)
    net.flat[...] = 0
    X = np.array([[0.0, 1.0], [2.0, 3.0]])
    axes = bp.plot_decision_boundary(net, X, [0.0, 0.0], bp.MeanSquaredError(), path=tmp_path / "a.svg").axes[0]
    assert not np.asarray(axes.images[0].get_array()).any()
    assert axes.get_title() == "root mean square of the errors 0.0000"


def test_names_of_classes_come_from_the_network(X: np.ndarray, tmp_path: Path) -> None:
    net = network(3)
    y = np.arange(60) % 3
    for told, names in (
        ({"names": ["_a", "b$", "c" * 99]}, ["_a", r"b\$", "c" * 29 + "..."]),
        ({"names": None, "classes": [3, 5, 7]}, ["3", "5", "7"]),
        ({"names": ["a", "b"]}, ["0", "1", "2"]),
        ({"names": "abc"}, ["0", "1", "2"]),
    ):
        net.metadata = told
        figure = bp.plot_decision_boundary(net, X, y, path=tmp_path / "a.png", resolution=R)
        assert [name.removeprefix("\u200b") for name in legend(figure)] == names


def test_a_gpu_gives_the_same_figure(X: np.ndarray) -> None:
    """By the CUDA backend on the strict stand-in."""
    X, y = X / [1, 50], np.arange(60) % 3
    layers = bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(3))
    net = bp.Network(layers, 2, device=CUDA(strict_cupy(), products=StrictProducts), dtype="float64")
    figures = [bp.plot_decision_boundary(one, X, y, resolution=R) for one in (network(3), net)]
    for one, other in zip(*(figure.axes[0].images for figure in figures), strict=True):
        assert one.get_array().filled(0) == pytest.approx(other.get_array().filled(0), abs=1e-9)


def test_of_many_rows_some_are_drawn(rng: np.random.Generator) -> None:
    X, net = rng.normal(size=(5000, 2)), network(2)
    axes = bp.plot_decision_boundary(net, X, net.predict(X).argmax(axis=1), resolution=R).axes[0]
    assert sum(map(len, dots(axes))) == 2000
    assert axes.get_title() == "5,000 of 5,000 rows right (2,000 are drawn)"


class TestEstimators:
    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("sklearn")

    def test_a_pipeline_on_a_table_with_labels(self, X: np.ndarray) -> None:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from gpubp.estimators import MLPClassifier

        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame(X, columns=["age", "income"])
        y = np.where(X[:, 0] > 0, "old", "new")
        mlp = MLPClassifier((8,), solver="lbfgs", random_state=0, max_iter=500, device="cpu")
        model = make_pipeline(StandardScaler(), mlp).fit(table, y)
        figure = bp.plot_decision_boundary(model, table, y, resolution=R)
        axes = figure.axes[0]
        p = model.predict_proba(pandas.DataFrame(places(axes), columns=["age", "income"]))
        for k, image in enumerate(axes.images):
            assert image.get_array().compressed() == pytest.approx(p[p.argmax(axis=1) == k, k])
        assert legend(figure) == ["new", "old"] and axes.get_xlabel() == "age"
        assert np.array_equal(dots(axes)[1], X[y == "old"])
        assert axes.get_title() == f"{(model.predict(table) == y).sum()} of 60 rows right"

    def test_a_classifier_without_probabilities_has_no_shades(self, X: np.ndarray) -> None:
        from sklearn.svm import SVC

        y = (X[:, 0] > 0) * 2 + 5
        model = SVC().fit(X, y)
        figure = bp.plot_decision_boundary(model, X, y, resolution=R)
        said = model.predict(places(figure.axes[0]))
        assert [(~image.get_array().mask).sum() for image in figure.axes[0].images] == [
            (said == 5).sum(),
            (said == 7).sum(),
        ]
        assert len(figure.axes) == 1 and legend(figure) == ["5", "7"]

    def test_a_regressor(self, X: np.ndarray) -> None:
        from gpubp.estimators import MLPRegressor

        y = X[:, 0] ** 2
        model = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", random_state=0, max_iter=50, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        axes = bp.plot_decision_boundary(model, X, y, resolution=R).axes[0]
        assert np.asarray(axes.images[0].get_array()).ravel() == pytest.approx(model.predict(places(axes)), abs=1e-5)

    def test_what_is_refused(self, X: np.ndarray) -> None:
        from sklearn.exceptions import NotFittedError
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        y = (X[:, 0] > 0).astype(int)
        three = LogisticRegression().fit(np.c_[X, X[:, 0]], y)
        two = LogisticRegression().fit(X, y)
        several = KNeighborsClassifier().fit(X, np.c_[y, y])
        pair = LinearRegression().fit(X, np.c_[y, y])
        for model, t, error, words in (
            (three, y, ValueError, "two inputs, and this LogisticRegression was fitted on 3"),
            (two, y + 1, bp.DataError, "y holds 2, and this LogisticRegression knows 0, 1"),
            (two, y[:4], bp.DataError, "X has 60 rows and y has 4"),
            (several, np.c_[y, y], ValueError, "several labels of each row"),
            (pair, y, ValueError, "predicts 2 numbers"),
            (LinearRegression(), y, NotFittedError, "not fitted"),
            ("text", y, TypeError, "has none"),
        ):
            with pytest.raises(error, match=words):
                bp.plot_decision_boundary(model, X, t)
        with pytest.raises(ValueError, match="leave it out for LogisticRegression"):
            bp.plot_decision_boundary(two, X, y, bp.SoftmaxCrossEntropy())


def test_what_cannot_be_drawn_is_refused_in_words(X: np.ndarray, tmp_path: Path) -> None:
    path, y, two = tmp_path / "none.png", np.arange(60) % 2, network(2)
    wide = bp.Network(bp.Dense(2), 5, device="cpu")
    long = bp.Network(bp.Sequential(bp.GRU(4), bp.Dense(2)), (None, 2), device="cpu")
    words = bp.Network(bp.Sequential(bp.Embedding(9, 2), bp.Flatten(), bp.Dense(2)), 2, device="cpu")
    grid = bp.Network(bp.Sequential(bp.Dense(4), bp.Reshape((2, 2))), 2, device="cpu")
    broken = network(2)
    broken.flat[...] = np.nan
    untold = network(2)
    untold.metadata = {"loss": {"class": "ReLU"}}
    more: dict[str, Any]
    for net, rows, t, more, error, told in (
        (wide, np.ones((60, 5)), y, {}, ValueError, r"this network takes rows of shape \(5,\)"),
        (two, np.ones((60, 5)), y, {}, bp.DataError, r"X needs the shape \(n, 2\), and has rows of shape \(5,\)"),
        (wide, X, y, {}, ValueError, r"two inputs, and this network takes rows of shape \(5,\)"),
        (long, X, y, {}, ValueError, "rows of different lengths"),
        (long, [np.ones((3, 2)), np.ones((4, 2))] * 30, y, {}, ValueError, "rows of different lengths"),
        (words, X, y, {}, ValueError, "reads its inputs as words"),
        (grid, X, y, {}, ValueError, "outputs in one row"),
        (broken, X, y, {}, ValueError, "not finite"),
        (untold, X, y, {}, bp.ModelFileError, r"ReLU\(\) is no loss"),
        (two, X, np.c_[y, y], {}, ValueError, "gives 2 numbers, and a picture shows one"),
        (two, X, np.c_[y, y], {"loss": bp.BinaryCrossEntropy()}, ValueError, "gives 2 labels"),
        (two, X, y + 1, {}, bp.DataError, "y holds the class 2"),
        (two, X, y[:9], {}, bp.DataError, "X has 60 rows and y has 9"),
        (two, X[:0], y, {}, bp.DataError, "X has no rows"),
        (two, X[:0], y[:0], {}, bp.DataError, "y needs a class number a row"),
        (two, np.where(X > 0, X, np.nan), y, {}, bp.DataError, "X holds nan in row"),
        (two, X, ["cat"] * 60, {}, bp.DataError, "y holds 'cat' in row 0"),
        (two, X, y, {"loss": "softmax"}, TypeError, "loss to be a gpubp Loss"),
        (two, X, y, {"class_names": ["a"]}, ValueError, "1 names, and there are 2 classes"),
        (two, X, y, {"feature_names": ["a"]}, ValueError, "names of two inputs, and it has 1"),
        (two, X, y, {"resolution": 1}, ValueError, "2 or more, and got 1"),
        (network(1), X, X[:, 0], {"class_names": ["a", "b"]}, ValueError, "predicts numbers: leave them out"),
        (network(1), X, X, {}, bp.DataError, "one number a row"),
    ):
        with pytest.raises(error, match=told):
            bp.plot_decision_boundary(net, rows, t, path=path, **more)
    assert not path.exists()
    with pytest.raises(ValueError, match="ends in .png"):
        bp.plot_decision_boundary(two, X, y, path="a.txt")
