"""Histograms of a network's weights, activations and gradients, a row of panels for each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...config import instance
from ...losses import Loss
from ...network.network import Network
from ...rounding import brief
from ..histograms import Histogram, LayerHistograms, NetworkHistograms
from .figures import Place, check_file, literal, saved

WEIGHTS, ACTIVATIONS, GRADIENTS = "#6b7280", "#0072b2", "#d55e00"
MARKED = "#fff1b8"  # behind a panel that shows what is dead, saturated or vanishing
HEADINGS = ("weights", "activations (line: their inputs)", "sizes of gradients, |∂L/∂W|")
ROWS = 24  # of panels, at most
CHARACTERS = 34  # of a layer's text


def plot_histograms(
    network: Network,
    X: Any,
    y: Any = None,
    loss: Loss | None = None,
    training: bool = True,
    path: Place = None,
) -> Any:
    """Draw histograms of weights, activations and, with y, gradients: a row of panels for each layer, lowest first.

    An activation stands in the row of the layer that it follows; the thin line is what it reads. Gradients are ∂L/∂W,
    by their size on a logarithmic axis that all layers have in common: a gradient that vanishes moves to the left from
    row to row, and what is smaller than the axis shows is in the first bar. Where many numbers are exactly 0, their
    share stands above the panel, and the bars show the others.
    Marked, and named in words below the picture, are units that are dead (the derivative of their activation is 0 for
    all rows, as of a ReLU that is 0), units that are saturated (within 2% of an end of the sigmoid, tanh or another
    activation that has two ends, for 80% of the rows or more), and gradients that vanish (of less than a thousandth of
    the size of another layer's). Biases and the parameters of normalization are left out, as by `GradientFlow`.

    network: a Network. X, y: rows to look at, one batch of some hundred, as `Network.loss_and_gradients` takes them.
    loss: what gradients are of; by default what the network tells that it was trained with. training: whether layers
    such as Dropout and BatchNorm act as in training. path: as in plot_history. Of more than 24 rows of panels 24 are
    drawn; the words are of all.

    Returns the figure. Raises MissingDependencyError without matplotlib, DataError where the data don't fit, ValueError
    where loss and y don't go together, or where no layer has weights or is an activation.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(1)), input_shape=4, device="cpu")
    >>> net.parameters["0.b"][:2] = -100.0
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> figure = plot_histograms(net, X, X[:, 0], bp.MeanSquaredError())
    >>> print(figure.get_supxlabel().splitlines()[0])
    Dead: 2 of 8 units of layer "1", ReLU(), are 0 for all 50 rows, so no gradient passes them.
    """
    check_file(path)
    instance("plot_histograms", "network", Network, network)
    found = NetworkHistograms.of(network, X, y, loss, training)
    from matplotlib.figure import Figure

    some = np.linspace(0, len(found.layers) - 1, min(len(found.layers), ROWS)).astype(np.int64)
    columns = 2 if found.loss is None else 3
    words = "\n".join(textwrap.fill(sentence, 42 * columns) for sentence in found.words)
    height = 1.05 * len(some) + 0.2 * words.count("\n") + 1.4
    figure = Figure(figsize=(2.9 * columns + 2.0, height), layout="constrained")
    panels = figure.subplots(len(some), columns, squeeze=False)
    for row, layer in zip(panels, [found.layers[i] for i in some], strict=True):
        _draw_layer(row, layer)
    for axes, heading in zip(panels[0], HEADINGS, strict=False):
        above = {"xycoords": "axes fraction", "xytext": (0, 19), "textcoords": "offset points"}
        axes.annotate(heading, (0, 1), **above, fontweight="bold")
    title = f"{found.rows:,} rows"
    if found.loss is not None and found.value is not None:
        title += f", {found.loss!r} {brief(found.value)}"
    if len(some) < len(found.layers):
        title += f"; {len(some)} of {len(found.layers)} layers"
    figure.suptitle(literal(title))
    figure.supxlabel(literal(words), x=0.02, ha="left", fontsize="medium")
    return saved(figure, path)


def _draw_layer(row: Sequence[Any], layer: LayerHistograms) -> None:
    """The panels of one layer; one without numbers stays empty."""
    lines = [line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 3]}..." for line in layer.title.splitlines()]
    row[0].set_ylabel(literal("\n".join(lines)), rotation=0, ha="right", va="center")
    for axes in row:
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize="small")
        axes.locator_params(axis="x", nbins=4)
    _draw(row[0], layer.weights, WEIGHTS)
    unwell = f"{layer.dead:,} of {layer.units:,} dead" if layer.dead else ""
    if layer.saturated:
        unwell = f"{layer.saturated:,} of {layer.units:,} saturated"
    _draw(row[1], layer.outputs, ACTIVATIONS, unwell)
    if layer.ends is not None:
        low, high = sorted(layer.ends)
        row[1].set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    elif layer.sums is not None and layer.outputs is not None:
        scale = (layer.outputs.counts.max() or 1) / max(1, layer.sums.counts.max())
        row[1].stairs(layer.sums.counts * scale, layer.sums.edges, color="0.25", linewidth=0.9)
    if len(row) > 2:
        _draw(row[2], layer.gradient, GRADIENTS, "vanishes" if layer.vanishes else "", of_sizes=True)


def _draw(axes: Any, found: Histogram | None, colour: str, unwell: str = "", of_sizes: bool = False) -> None:
    """One panel. unwell: what is wrong, in a word or two."""
    if found is None:
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return
    axes.stairs(found.counts, found.edges, fill=True, color=colour)
    axes.set_ylim(0, 1.05 * (found.counts.max() or 1))
    about = [f"size {found.size:.1e}" if of_sizes else f"std {found.deviation:.2g}"]
    if found.zeros == found.count:
        about = ["all are 0"]
    elif found.zeros:
        share = 100 * found.zeros / found.count
        about.append(f"{share:.0f}% are 0" if share < 99.5 else "nearly all are 0")
    axes.set_title(" · ".join([*about, unwell] if unwell else about), loc="right", fontsize="small", pad=3)
    if unwell:
        axes.set_facecolor(MARKED)
    if of_sizes:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"1e{value:.0f}" if value else "1"))
        if not found.counts.any():
            axes.set_xticks([])
