"""A figure of the decision boundary: the predictions of a model of two inputs over the plane, and the rows of data.

classes   p = softmax(z), or σ(z) of a single output; the region of class k is where pₖ is the largest, and the
          boundary between two regions is where theirs are equal
numbers   the output itself, with lines through places of equal output
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from ...config import Range, argument
from ...errors import DataError
from ...losses import Loss
from ...rounding import number
from ..two_inputs import PlaneModel, like, points_of
from .figures import COLOURS, MARKERS, Place, check_file, literal, names_of_classes, saved

Array = np.ndarray[Any, Any]
PALE, FULL = 0.08, 0.6  # of a class's colour, from the lowest probability to the highest; more would hide the rows
LETTERS = 32  # of a class's name, in the legend
SIZE = 26  # of a row, in square points
MARGIN = 0.06  # of the range of the rows, left around them
POINTS = 2000  # rows; of more, so many are drawn


def plot_decision_boundary(
    network: Any,
    X: Any,
    y: Any,
    loss: Loss | None = None,
    class_names: Sequence[Any] | None = None,
    feature_names: Sequence[Any] | None = None,
    resolution: int = 200,
    path: Place = None,
) -> Any:
    """Draw what a model of two inputs says at every place of the plane, with the rows (X, y) on top.

    For classes the plane is divided into their regions. The darker a place, the higher the probability of its class:
    softmax of the outputs, or σ of a single output. A line is drawn where the regions of two classes meet. For numbers
    the colour is the output, with lines through places of equal output, and rows have the colour of their y.

    network: a Network of two inputs, or a fitted estimator that has `predict`, as of `gpubp.estimators` and
    scikit-learn, a pipeline with scaling included. X (n, 2), y: as `fit` took them; classes of a Network are numbers 0,
    1, 2, ... Of more than 2000 rows 2000 are drawn. loss: what a Network was trained with, which says whether outputs
    are classes or numbers. By default the one that the network tells, as it does after `Trainer.fit`; if it tells none,
    whole numbers in y are classes of several outputs, and 0 and 1 are no and yes of one. class_names: one a class; by
    default those in the network's metadata, or the estimator's labels. feature_names: two; by default those of the
    columns of X. resolution: places along each axis. path: as in plot_history.

    Returns the figure. Raises MissingDependencyError without matplotlib, ValueError for models of other inputs or
    outputs, or whose outputs are not finite, DataError where the data don't fit.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> net = bp.Network(bp.Dense(2), input_shape=2, device="cpu")
    >>> _ = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.1)).fit(X, y, epochs=20)
    >>> plot_decision_boundary(net, X, y, class_names=["below", "above"]).axes[0].get_title()
    '100 of 100 rows right'
    """
    check_file(path)
    resolution = argument("plot_decision_boundary", "resolution", Annotated[int, Range(2)], resolution)
    model = PlaneModel.of(network, y, loss)
    points, columns = points_of(X)
    if len(model.y) != len(points):
        raise DataError(f"X has {len(points)} rows and y has {len(model.y)}; each row of X needs its one y")
    features = _feature_names(feature_names, columns)
    names = None
    if model.classes is not None:
        names = names_of_classes(model.names if class_names is None else class_names, model.classes)
    elif class_names is not None:
        raise ValueError("class_names are of classes, and the model predicts numbers: leave them out")
    edges = [_edges(points[:, k], resolution) for k in (0, 1)]
    a, b = ((e[1:] + e[:-1]) / 2 for e in edges)
    plane = np.stack([coordinate.ravel() for coordinate in np.meshgrid(a, b)], axis=1)
    with np.errstate(all="ignore"):
        said, of_rows = model.values(like(plane, X)), model.values(X)
    if not (np.isfinite(said).all() and np.isfinite(of_rows).all()):
        raise ValueError("the outputs of the model are not finite, so there is nothing to draw; was it trained well?")
    from matplotlib.figure import Figure

    longest = min(max(map(len, names or [""])), LETTERS)
    figure = Figure(figsize=(6.4 + 0.08 * max(0, longest - 6), 4.6), layout="constrained")
    axes = figure.subplots()
    place = _Place(a, b, (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1]))
    some = np.linspace(0, len(points) - 1, min(len(points), POINTS)).astype(np.int64)
    if names is None:
        _draw_numbers(axes, place, said.reshape(resolution, resolution), points[some], model.y[some])
        title = f"root mean square of the errors {number(math.sqrt(np.mean((of_rows[:, 0] - model.y) ** 2)))}"
    else:
        _draw_classes(axes, place, said.reshape(resolution, resolution, -1), points[some], model.y[some], names)
        if model.has_shades:
            _draw_scale(axes, len(names))
        title = f"{(of_rows.argmax(axis=1) == model.y).sum():,} of {len(points):,} rows right"
    if len(some) < len(points):
        title += f" ({len(some):,} are drawn)"
    axes.set(xlabel=features[0], ylabel=features[1], title=title, xlim=place.extent[:2], ylim=place.extent[2:])
    return saved(figure, path)


class _Place(NamedTuple):
    """The middles of the cells along each axis, and their ends (left, right, bottom, top)."""

    a: Array
    b: Array
    extent: tuple[float, float, float, float]


def _draw_classes(axes: Any, place: _Place, p: Array, points: Array, y: Array, names: Sequence[str]) -> None:
    """p (b, a, classes). Each class has an image of its own, of its probability where that is the largest."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    norm, winner = Normalize(1 / len(names), 1), p.argmax(axis=2)
    for k, name in enumerate(names):
        colour = COLOURS[k % len(COLOURS)]
        shades = LinearSegmentedColormap.from_list(name, [_mixed(colour, PALE), _mixed(colour, FULL)])
        image = np.ma.masked_array(p[:, :, k], winner != k)
        axes.imshow(image, cmap=shades, norm=norm, origin="lower", extent=place.extent, aspect="auto")
        if len(names) > 2 or k == 1:  # of two classes, one line is both's
            margin = p[:, :, k] - np.delete(p, k, axis=2).max(axis=2)
            if margin.min() < 0 < margin.max():
                axes.contour(place.a, place.b, margin, levels=[0.0], colors="0.15", linewidths=1)
    handles = []
    for k in range(len(names)):
        its, marker = points[y == k], MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]
        colour = COLOURS[k % len(COLOURS)]
        size = SIZE * (2 if marker == "*" else 1)
        dots = axes.scatter(*its.T, s=size, c=colour, marker=marker, edgecolors="k", linewidths=0.6, zorder=3)
        handles.append(dots)
    columns = math.ceil(len(names) / 18)
    axes.figure.legend(
        handles,
        [_short(name) for name in names],
        loc="outside right upper",
        frameon=False,
        ncols=columns,
        handletextpad=0.2,
    )


def _draw_scale(axes: Any, classes: int) -> None:
    """The shades of the regions, in grey."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    greys = LinearSegmentedColormap.from_list("greys", [_mixed("k", PALE), _mixed("k", FULL)])
    scale = ScalarMappable(Normalize(1 / classes, 1), greys)
    axes.figure.colorbar(scale, ax=axes, label="probability of the region's class")


def _draw_numbers(axes: Any, place: _Place, z: Array, points: Array, y: Array) -> None:
    """z (b, a)"""
    from matplotlib.colors import Normalize

    low, high = min(z.min(), y.min()), max(z.max(), y.max())
    norm = Normalize(low, high if high > low else low + 1)
    image = axes.imshow(z, cmap="viridis", norm=norm, origin="lower", extent=place.extent, aspect="auto")
    if z.max() > z.min():
        lines = axes.contour(place.a, place.b, z, levels=8, colors="w", linewidths=0.8)
        axes.clabel(lines, fontsize="small")
    axes.scatter(*points.T, s=SIZE, c=y, cmap="viridis", norm=norm, edgecolors="k", linewidths=0.6, zorder=3)
    axes.figure.colorbar(image, ax=axes, label="output, and y of the rows")


def _edges(values: Array, count: int) -> Array:
    """The edges of `count` cells along an axis, with a margin around all values; around a single value, 1 wide."""
    low, high = values.min(), values.max()
    margin = MARGIN * (high - low) if high > low else 0.5 * max(1.0, abs(low))
    return np.linspace(low - margin, high + margin, count + 1)


def _feature_names(given: Sequence[Any] | None, columns: Sequence[Any]) -> list[str]:
    """What the two axes are called."""
    if given is None:
        return [literal(name) for name in columns] or ["X[:, 0]", "X[:, 1]"]
    if len(given) != 2:
        raise ValueError(f"feature_names are the names of two inputs, and it has {len(given)}")
    return [literal(name) for name in given]


def _short(name: str) -> str:
    """A name in the legend; an invisible character stands before a first _, which would leave it out of the legend."""
    return ("\u200b" if name[:1] == "_" else "") + (name if len(name) <= LETTERS else f"{name[: LETTERS - 3]}...")


def _mixed(colour: str, share: float) -> Any:
    """A colour with white: `share` of it."""
    from matplotlib.colors import to_rgb

    return tuple(1 - share * (1 - part) for part in to_rgb(colour))
