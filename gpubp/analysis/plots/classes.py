"""Figures of classes: the confusion matrix, and the pictures that are misclassified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ...backends import Shape, as_numpy
from ...config import Count, argument
from ...data.checks import as_images
from ...data.lengths import targets_of_steps
from ...data.sequences import Sequences
from ...errors import DataError
from ...metrics import as_classes, confusion_matrix
from ...network.probabilities import Outputs
from ..probabilities import probabilities
from .figures import Place, check_file, names_of_classes, saved

COUNTED = 25  # classes; a picture of more has colours and no counts


class Predictor(Outputs, Protocol):
    """What a figure needs of a Network."""

    @property
    def input_shape(self) -> Shape: ...
    def predict(self, X: Any) -> Any: ...


def plot_confusion_matrix(
    network: Any, X: Any, y: Any, class_names: Sequence[Any] | None = None, path: Place = None
) -> Any:
    """Draw the confusion matrix: true classes in rows, predicted classes in columns.

    The colour is the share of the true class, on a scale of square roots so that rare mistakes are seen; the number
    counts rows, or time steps where outputs have them, and none stands for 0.

    network: a Network, to predict X; or answers, class numbers (n,) or outputs (n, classes), where X may be None.
    y: as `confusion_matrix` takes it. class_names: one a class; numbers by default. path: as in plot_history.
    Returns the figure. Raises MissingDependencyError without matplotlib, DataError where the data don't fit.

    >>> plot_confusion_matrix([0, 1, 1, 1], None, [0, 0, 1, 1], ["cat", "dog"]).axes[0].get_title()
    '3 of 4 rows right'
    """
    check_file(path)
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    answers: Any = network.predict(X) if hasattr(network, "predict") else network
    if isinstance(answers, Sequences):  # outputs of every time step
        answers, y = answers.flat, targets_of_steps(y, answers.lengths).flat
    counts = confusion_matrix(y, answers)
    names = names_of_classes(class_names, len(counts))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.6, 0.42 * len(counts) + 1.5), 14)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if len(counts) <= COUNTED:
        for i, j in np.argwhere(counts):
            dark = share[i, j] > 0.3
            axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", size="small", color="w" if dark else "k")
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=f"{counts.trace():,} of {counts.sum():,} rows right")
    axes.spines[:].set_visible(False)
    return saved(figure, path)


def plot_misclassified(
    network: Predictor,
    X: Any,
    y: Any,
    count: int = 25,
    class_names: Sequence[Any] | None = None,
    image_shape: Shape | None = None,
    path: Place = None,
) -> Any:
    """Draw the pictures that the network misclassifies, those with the highest probability first.

    Each has its true class above it, then the predicted one with its probability, and its row in X below it. The
    probability is that of `net.predict_proba`; of a network that does not know its loss, the softmax of the outputs, or
    σ of a single one.

    X: (n, *input_shape), pictures; y: as `confusion_matrix` takes it. count: how many to draw at most. class_names: as
    in plot_confusion_matrix. image_shape: (height, width) or (height, width, channels) of a row, where its own shape
    does not say so. path: as in plot_history.
    Returns the figure. Raises MissingDependencyError without matplotlib, ValueError if the rows are no pictures or the
    network makes no mistake, DataError where the data don't fit.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(2, bias_initializer=bp.Constant(0.0)), input_shape=4, device="cpu")
    >>> X = np.eye(4)
    >>> figure = plot_misclassified(net, X, 1 - net.predict(X).argmax(axis=1))
    >>> figure.get_suptitle()
    'all 4 mistakes in 4 rows, the surest first'
    """
    check_file(path)
    from matplotlib.figure import Figure

    count = argument("plot_misclassified", "count", Count, count)
    shape = drawable(network.input_shape if image_shape is None else image_shape, network.input_shape)
    p = probabilities(network, as_numpy(network.predict(X)))
    names = names_of_classes(class_names, p.shape[1])
    truth, said, sure = as_classes(y, "y", p.shape[1]), p.argmax(axis=1), p.max(axis=1)
    if len(truth) != len(p):
        raise DataError(f"X has {len(p)} rows and y has {len(truth)}; each row of X needs its one y")
    wrong = np.flatnonzero(truth != said)
    if not len(wrong):
        raise ValueError(f"the network takes none of the {len(p):,} rows for another class: there is nothing to draw")
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    pictures = _as_colours(X, shown, shape)
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    titles = [f"true {names[truth[row]]}\npredicted {names[said[row]]}, {sure[row]:.3f}" for row in shown]
    width = max(1.5, 0.08 * max(map(len, names)) + 1.3)  # inches
    figure = Figure(figsize=(max(width * columns, 4.5), 1.9 * lines + 0.4), layout="constrained")
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, row, title, picture in zip(places, shown, titles, pictures, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, size="small")
        axes.set_xlabel(f"row {row}", size="x-small")
        axes.set(xticks=[], yticks=[])
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    total = "all" if len(shown) == len(wrong) else f"{len(shown)} of"
    figure.suptitle(f"{total} {len(wrong):,} mistakes in {len(p):,} rows, the surest first")
    return saved(figure, path)


def drawable(shape: Shape, row: Shape) -> Shape:
    """(height, width, channels) of rows of shape `row` seen as pictures of `shape`; ValueError where that can't be.

    >>> drawable((2, 3), (6,))
    (2, 3, 1)
    """
    if None in shape or None in row:
        raise ValueError("rows of different lengths are no pictures")
    image = as_images(shape)
    if math.prod(image) != math.prod(row):
        raise ValueError(f"pictures of {' x '.join(map(str, shape))} don't fit rows of {math.prod(row)} numbers")
    if image[2] not in (1, 3, 4):
        raise ValueError(f"pictures of {image[2]} channels can't be drawn; 1 is grey, 3 are red, green and blue")
    return image


def _as_colours(X: Any, rows: Any, shape: Shape) -> Any:
    """Those rows of X as pictures with values from 0 to 1."""
    chosen = X[rows] if hasattr(X, "shape") else np.asarray(X)[rows]
    chosen = as_numpy(chosen.toarray() if hasattr(chosen, "toarray") else chosen).astype(np.float64)
    low, high = min(chosen.min(), 0.0), max(chosen.max(), 1.0)
    pictures = ((chosen - low) / (high - low)).reshape(len(rows), *shape)
    return pictures[..., 0] if shape[2] == 1 else pictures
