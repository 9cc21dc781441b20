"""Figures of training runs and predictions, drawn by matplotlib (`pip install 'gpubp[plot]'`)."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..backends import Shape, as_numpy
from ..config import Count, argument
from ..data.checks import as_images
from ..data.lengths import targets_of_steps
from ..data.sequences import Sequences
from ..errors import DataError, MissingDependencyError
from ..metrics import as_classes, confusion_matrix
from .differences import OtherBackend

COUNTED = 25  # classes; a picture of more has colours and no counts


class Predictor(Protocol):
    """What a figure needs of a Network."""

    @property
    def input_shape(self) -> Shape: ...
    def predict(self, X: Any) -> Any: ...


class Comparison(Protocol):
    """What a figure needs of a BackendComparison."""

    @property
    def reference(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def others(self) -> Sequence[OtherBackend]: ...


def require_matplotlib() -> None:
    """Raise MissingDependencyError, with the command that mends it, if there is no matplotlib.

    >>> require_matplotlib()
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError("pictures need matplotlib: pip install 'gpubp[plot]'") from None


def plot_history(
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
    title: str = "",
    note: str = "",
) -> Any:
    """Draw the curves of a training run: the loss and every metric, for training and validation.

    history: what `Trainer.fit` returned. path: a .png, .svg or .pdf file to draw into, or None. title: above them all.
    note: a sentence below them. Returns the figure.
    Raises MissingDependencyError without matplotlib, ValueError if there is no epoch to draw.

    >>> from gpubp import History
    >>> history = History()
    >>> history.append({"loss": 0.5, "val_loss": 0.6})
    >>> len(plot_history(history).axes)
    1
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    count = max(map(len, history.values()), default=0)
    if not count:
        raise ValueError("the history has no epoch to draw")
    names = [name for name in history if not name.startswith("val_")]
    figure = Figure(figsize=(4.8 * len(names), 3.6), layout="constrained")
    epochs = range(1, count + 1)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        marker = "o" if count < 3 else ""
        axes.plot(epochs, history[name], marker=marker, label="training")
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker=marker, label="validation")
            axes.legend(frameon=False)
        if name == "loss" and min(history[name]) > 0 and max(history[name]) > 20 * min(history[name]):
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
    if title:
        figure.suptitle(title)
    if note:
        figure.supxlabel(textwrap.fill(note, 55 * len(names)), fontsize="small")
    return _curves(figure, path)


def plot_gradient_flow(
    names: Sequence[str], gradients: Sequence[Sequence[float]], path: str | os.PathLike[str] | None = None
) -> Any:
    """Draw the size of each layer's weight gradient on a logarithmic scale, one line an epoch, from light to dark.

    names: of the layers, lowest first. gradients: for each epoch, one root mean square a layer. path: as plot_history.

    >>> len(plot_gradient_flow(["0", "2"], [[1e-3, 1e-1]]).axes[0].lines)
    1
    """
    require_matplotlib()
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.8, 0.5 * len(names) + 2), 3.6), layout="constrained")
    axes = figure.subplots()
    for k, line in enumerate(gradients):
        label = f"epoch {k + 1}" if k in (0, len(gradients) - 1) else None
        axes.plot(names, line, marker="o", color=colormaps["viridis_r"]((k + 1) / (len(gradients) + 1)), label=label)
    axes.set(yscale="log", xlabel="layer, lowest first", title="size of the weights' gradient (root mean square)")
    axes.legend(frameon=False)
    return _curves(figure, path)


def plot_learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    suggestion: float | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw the loss against the learning rate, with the suggestion marked. path: as in plot_history.

    >>> plot_learning_rates([1e-3, 1e-2, 1e-1], [2.0, 1.0, 5.0], 1e-2).axes[0].get_xscale()
    'log'
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:orange", linestyle="--", label=f"suggested: {suggestion:.2g}")
        axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="learning rate", title="loss while the learning rate rises")
    return _curves(figure, path)


def _curves(figure: Any, path: str | os.PathLike[str] | None, dpi: float | str = 120) -> Any:
    """Give every axes of a figure of curves its grid, and save it."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    return _saved(figure, path, dpi)


def _saved(figure: Any, path: str | os.PathLike[str] | None, dpi: float | str = 120) -> Any:
    if path is not None:
        figure.savefig(path, dpi=dpi)
    return figure


def plot_comparison(found: Comparison, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw relative differences between backends by step, one line a layer: outputs, gradients, and free runs.

    found: what `compare_backends` returned. path: a .png, .svg or .pdf file to draw into, or None. Returns the figure.
    Raises MissingDependencyError without matplotlib.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(8, 2))
    >>> both = dict(loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"), steps=3)
    >>> [axes.get_title() for axes in plot_comparison(bp.compare_backends(bp.Dense(1), X, X[:, 0], **both)).axes]
    ['outputs', 'gradients', 'parameters, run freely']
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.4 * len(found.others)), layout="constrained")
    steps = range(1, found.steps + 1)
    for other, row in zip(found.others, figure.subplots(len(found.others), 3, squeeze=False), strict=True):
        for axes, what in zip(row, ("outputs", "gradients"), strict=False):
            for i, layer in enumerate(other.layers):
                if differences := getattr(layer, what):
                    label = f"{layer.name}  {layer.layer}"
                    axes.plot(steps, [d.relative for d in differences], color=f"C{i % 10}", label=label)
            axes.axhline(other.tolerance, color="0.5", linestyle="--", linewidth=0.8)
            axes.set_title(what)
        row[0].set_ylabel(f"{other.name} against {found.reference}\nrelative difference")
        row[0].legend(frameon=False, fontsize="x-small")
        row[2].plot(steps, [d.relative for d in other.drift], color="black")
        row[2].set_title("parameters, run freely")
        for axes in row:
            if any(max(line.get_ydata()) > 0 for line in axes.get_lines()):
                axes.set_yscale("log", nonpositive="clip")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_xlabel("step")
    return _curves(figure, path, dpi="figure")


def plot_confusion_matrix(
    network: Any, X: Any, y: Any, class_names: Sequence[Any] | None = None, path: str | os.PathLike[str] | None = None
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
    require_matplotlib()
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    answers: Any = network.predict(X) if hasattr(network, "predict") else network
    if isinstance(answers, Sequences):  # outputs of every time step
        answers, y = answers.flat, targets_of_steps(y, answers.lengths).flat
    counts = confusion_matrix(y, answers)
    names = _class_names(class_names, len(counts))
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
    return _saved(figure, path)


def plot_misclassified(
    network: Predictor,
    X: Any,
    y: Any,
    count: int = 25,
    class_names: Sequence[Any] | None = None,
    image_shape: Shape | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw the pictures that the network misclassifies, those with the highest probability first.

    Each has its true class above it, then the predicted one with its probability, and its row in X below it. The
    probability is the softmax of the outputs, or σ of a single output.

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
    require_matplotlib()
    from matplotlib.figure import Figure

    count = argument("plot_misclassified", "count", Count, count)
    shape = drawable(network.input_shape if image_shape is None else image_shape, network.input_shape)
    p = _probabilities(as_numpy(network.predict(X)))
    names = _class_names(class_names, p.shape[1])
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
    return _saved(figure, path)


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


def _probabilities(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """p (n, classes) of outputs z (n, classes), or (n, 1) of yes or no."""
    if z.ndim != 2:
        raise DataError(f"a row's outputs are one number a class, and this network gives rows of shape {z.shape[1:]}")
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)  # softmax (0, z) = (1 - σ(z), σ(z))
    e = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
    p: np.ndarray[Any, Any] = e / e.sum(axis=1, keepdims=True)
    return p


def _class_names(given: Sequence[Any] | None, classes: int) -> list[str]:
    if given is None:
        return [str(k) for k in range(classes)]
    if len(given) != classes:
        raise ValueError(f"class_names has {len(given)} names, and there are {classes} classes")
    return [str(name) for name in given]
