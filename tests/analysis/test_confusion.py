"""The confusion matrix: its counts, its figure, and the figure of the misclassified rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data.checks import as_images

NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize("classes", [None, 5])
def test_counts_equal_those_of_scikit_learn(classes: int | None, rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, answers = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    theirs = metrics.confusion_matrix(y, answers, labels=range(classes or 4))
    assert np.array_equal(bp.confusion_matrix(y, answers, classes), theirs)


def test_classes_as_numbers_columns_or_one_hot(rng: np.random.Generator) -> None:
    y, z = rng.integers(0, 3, 50), rng.normal(size=(50, 3))
    expected = bp.confusion_matrix(y, z.argmax(axis=1), 3)
    for truth in (y, y[:, None], y.astype("float32"), np.eye(3)[y], y.tolist()):
        for answers in (z, z.argmax(axis=1), z.argmax(axis=1)[:, None]):
            assert np.array_equal(bp.confusion_matrix(truth, answers), expected)
    yes = bp.confusion_matrix([0, 1, 1, 0], np.array([[-1.0], [2.0], [-0.5], [-3.0]]))
    assert yes.tolist() == [[2, 0], [1, 1]]
    assert bp.confusion_matrix([0, 0], np.array([[-1.0], [-2.0]])).tolist() == [[2, 0], [0, 0]]
    assert bp.confusion_matrix([True, False], [True, True]).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("y", "answers", "classes", "words"),
    [
        ([0, 1], [0], None, "2 rows of y and 1 answers"),
        ([0, -1], [0, 1], None, "y holds -1, and classes are numbered 0, 1, 2"),
        ([0, 1], [0, 0.5], None, "answers holds 0.5"),
        ([0, float("nan")], [0, 1], None, "y holds nan"),
        ([0, 3], [0, 1], 3, "y holds the class 3, and the 3 classes are 0 to 2"),
        ([0, 3], np.zeros((2, 3)), None, "y holds the class 3, and the 3 classes are 0 to 2"),
        ([[1, 1], [0, 1]], [0, 1], None, "several classes, or to none"),
        (["cat", "dog"], [0, 1], None, "y needs a class number a row"),
        ([], [], None, "y needs a class number a row"),
        (np.zeros((2, 2, 2)), [0, 1], None, "y needs a class number a row"),
    ],
)
def test_invalid_classes_are_refused(y: Any, answers: Any, classes: int | None, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        bp.confusion_matrix(y, answers, classes)


# -- pictures ---------------------------------------------------------------------------------------------------------

Z = np.array([[2.0, 0, 0], [0, 3, 0], [0, 1, 0], [0, 0, 5], [0, 0, 0.5], [4, 0, 0]])  # outputs of six rows
T = np.array([0, 0, 1, 1, 2, 2])  # rows 1, 3 and 5 are wrong: with 3, 5 and 4 against 0


def says(z: np.ndarray, pixels: tuple[int, ...] = (2, 2, 1)) -> tuple[bp.Network, np.ndarray]:
    """A network and pictures X, whose outputs are z: its weights unpack them from the first pixels."""
    x = np.zeros((len(z), *pixels))
    x.reshape(len(z), -1)[:, : z.shape[1]] = z
    net = bp.Network(bp.Sequential(bp.Flatten(), bp.Dense(z.shape[1])), pixels, device="cpu")
    net.parameters["1.W"][...] = np.eye(*net.parameters["1.W"].shape)
    net.parameters["1.b"][...] = 0
    return net, x


def texts(axes: Any) -> dict[tuple[int, int], str]:
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}


def shown(axes: Any) -> np.ndarray:
    """The numbers of a picture."""
    return np.asarray(axes.images[0].get_array())


def test_the_matrix_shows_shares_and_counts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    net, X = says(Z)
    path = tmp_path / "confusion.png"
    axes = bp.plot_confusion_matrix(net, X, T, NAMES, path).axes[0]
    assert shown(axes) == pytest.approx(np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]))
    assert texts(axes) == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (1, 2): "1", (2, 0): "1", (2, 2): "1"}
    assert [t.get_text() for t in axes.get_yticklabels()] == NAMES == [t.get_text() for t in axes.get_xticklabels()]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "3 of 6 rows right")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    same = bp.plot_confusion_matrix(Z, None, T).axes[0]
    assert texts(same) == texts(axes) and [t.get_text() for t in same.get_xticklabels()] == ["0", "1", "2"]


def test_colours_of_rare_mistakes_and_many_classes() -> None:
    pytest.importorskip("matplotlib")
    y, answers = np.repeat([0, 1], 100), np.repeat([0, 1], 100)
    answers[0] = 1  # a hundredth
    image = bp.plot_confusion_matrix(answers, None, y).axes[0].images[0]
    assert image.norm(0.01) == pytest.approx(0.1)
    many = np.arange(60)
    axes = bp.plot_confusion_matrix(many, None, many).axes[0]
    assert not axes.texts and np.array_equal(shown(axes), np.eye(60))
    one = bp.plot_confusion_matrix([2, 2], None, [2, 2]).axes[0]  # classes without a row have a share of 0
    assert shown(one).sum() == 1


def test_the_surest_mistakes_come_first(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    net, X = says(Z)
    path = tmp_path / "mistakes.svg"
    figure = bp.plot_misclassified(net, X, T, class_names=NAMES, path=path)
    drawn = [axes for axes in figure.axes if axes.images]
    p = np.exp([5.0, 4, 3]) / (np.exp([5.0, 4, 3]) + 2)
    assert [axes.get_title() for axes in drawn] == [
        f"true dog\npredicted owl, {p[0]:.3f}",
        f"true owl\npredicted cat, {p[1]:.3f}",
        f"true cat\npredicted dog, {p[2]:.3f}",
    ]
    assert [axes.get_xlabel() for axes in drawn] == ["row 3", "row 5", "row 1"]
    for axes, row in zip(drawn, (3, 5, 1), strict=True):  # all on one scale, that of the pictures shown
        assert shown(axes) == pytest.approx(X[row, ..., 0] / 5) and axes.images[0].get_clim() == (0, 1)
    assert figure.get_suptitle() == "all 3 mistakes in 6 rows, the surest first"
    assert path.read_text().startswith("<?xml") and not figure.axes[-1].axison  # the fourth place stays empty
    fewer = bp.plot_misclassified(net, X, T, 2)
    assert [axes.get_xlabel() for axes in fewer.axes] == ["row 3", "row 5"]
    assert fewer.get_suptitle() == "2 of 3 mistakes in 6 rows, the surest first"


def test_equally_sure_mistakes_stand_in_the_order_of_their_rows() -> None:
    pytest.importorskip("matplotlib")
    net, X = says(np.tile([[1.0, 0.0]], (7, 1)))
    figure = bp.plot_misclassified(net, X, np.ones(7, int))
    assert [axes.get_xlabel() for axes in figure.axes if axes.images] == [f"row {k}" for k in range(7)]


@pytest.mark.parametrize("pixels", [(3, 2), (3, 2, 1), (3, 2, 3), (9,), (6,)])
def test_shapes_of_rows_that_are_pictures(pixels: tuple[int, ...]) -> None:
    pytest.importorskip("matplotlib")
    net, X = says(Z, pixels) if len(pixels) > 1 else says(Z, (*pixels, 1))
    if len(pixels) == 1:
        flat = bp.Network(bp.Dense(3), pixels, device="cpu")
        for name in ("W", "b"):
            flat.parameters[name][...] = net.parameters[f"1.{name}"]
        net, X = flat, X[..., 0]
    shape = (2, 3) if pixels == (6,) else None
    array = shown(bp.plot_misclassified(net, X, T, 1, image_shape=shape).axes[0])
    image = as_images(shape or pixels)
    assert array == pytest.approx((X[3] / 5).reshape(image if image[2] == 3 else image[:2]))


def test_other_kinds_of_X_and_of_numbers() -> None:
    """Below 0, bytes, lists, sparse rows, yes or no by one output."""
    pytest.importorskip("matplotlib")
    sparse = pytest.importorskip("scipy.sparse")
    net, X = says(-Z)
    T = np.array([0, 0, 1, 1, 2, 2])
    low, high = X.min(), 1.0
    figure = bp.plot_misclassified(net, X, T)
    for axes in (a for a in figure.axes if a.images):
        row = int(axes.get_xlabel().removeprefix("row "))
        values = shown(axes)
        assert 0 <= values.min() and values.max() <= 1
        assert values == pytest.approx((X[row, ..., 0] - low) / (high - low))
    lists = bp.plot_misclassified(net, X.tolist(), T.tolist())
    assert [a.get_title() for a in lists.axes] == [a.get_title() for a in figure.axes]
    flat = bp.Network(bp.Dense(1, weight_initializer=bp.Constant(1.0)), 4, device="cpu")
    rows = np.array([[0, 0, 0, 200], [0, 0, 0, 0], [0, 100, 0, 0]], "uint8")
    for X in (rows, sparse.csr_array(rows)):
        figure = bp.plot_misclassified(flat, X, [0, 0, 0])
        assert [a.get_title() for a in figure.axes] == ["true 0\npredicted 1, 1.000"] * 2
        assert shown(figure.axes[0]) == pytest.approx(np.array([[0, 0], [0, 1]]))


def test_rows_that_can_not_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "none.png"
    net, X = says(Z)
    wide = bp.Network(bp.Dense(3), 5, device="cpu")
    two, X2 = says(Z, (2, 2, 2))
    pixelwise = bp.Network(bp.Dense(3), (2, 2), device="cpu")
    for call, error, words in (
        (lambda: bp.plot_misclassified(net, X, Z.argmax(axis=1), path=path), ValueError, "none of the 6 rows"),
        (lambda: bp.plot_misclassified(net, X, T, 0, path=path), ValueError, "1 or more, and got 0"),
        (lambda: bp.plot_misclassified(wide, np.eye(5), T[:5], path=path), ValueError, "5 numbers are no square"),
        (lambda: bp.plot_misclassified(two, X2, T, path=path), ValueError, "2 channels can't be drawn"),
        (lambda: bp.plot_misclassified(net, X, T, image_shape=(3, 3), path=path), ValueError, "3 x 3 don't fit rows"),
        (lambda: bp.plot_misclassified(net, X, T[:4], path=path), bp.DataError, "X has 6 rows and y has 4"),
        (lambda: bp.plot_misclassified(net, X, T + 1, path=path), bp.DataError, "y holds the class 3"),
        (lambda: bp.plot_misclassified(net, X[..., 0], T, path=path), bp.DataError, "rows of shape"),
        (lambda: bp.plot_misclassified(net, X, T, class_names=["a"], path=path), ValueError, "1 names.*3 classes"),
        (lambda: bp.plot_misclassified(pixelwise, X[..., 0], T, path=path), bp.DataError, "one number a class"),
        (lambda: bp.plot_confusion_matrix(net, X, T, ["a", "b"], path), ValueError, "2 names.*3 classes"),
        (lambda: bp.plot_confusion_matrix(net, X, T[:4], path=path), bp.DataError, "4 rows of y and 6 answers"),
    ):
        with pytest.raises(error, match=words):
            call()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (bp.plot_confusion_matrix, bp.plot_misclassified):
        with pytest.raises(bp.MissingDependencyError, match=r"pip install 'gpubp\[plot\]'"):
            draw(net, X, T, path=path)
    assert not path.exists()
