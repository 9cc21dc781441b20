"""Curves of training runs: the history, sizes of gradients, a sweep of learning rates, and backends compared."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..differences import OtherBackend
from .figures import Place, check_file, curves


class Comparison(Protocol):
    """What a figure needs of a BackendComparison."""

    @property
    def reference(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def others(self) -> Sequence[OtherBackend]: ...


def plot_history(
    history: Mapping[str, Sequence[float]],
    path: Place = None,
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
    check_file(path)
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
    return curves(figure, path)


def plot_gradient_flow(names: Sequence[str], gradients: Sequence[Sequence[float]], path: Place = None) -> Any:
    """Draw the size of each layer's weight gradient on a logarithmic scale, one line an epoch, from light to dark.

    names: of the layers, lowest first. gradients: for each epoch, one root mean square a layer. path: as plot_history.

    >>> len(plot_gradient_flow(["0", "2"], [[1e-3, 1e-1]]).axes[0].lines)
    1
    """
    check_file(path)
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.8, 0.5 * len(names) + 2), 3.6), layout="constrained")
    axes = figure.subplots()
    for k, line in enumerate(gradients):
        label = f"epoch {k + 1}" if k in (0, len(gradients) - 1) else None
        axes.plot(names, line, marker="o", color=colormaps["viridis_r"]((k + 1) / (len(gradients) + 1)), label=label)
    axes.set(yscale="log", xlabel="layer, lowest first", title="size of the weights' gradient (root mean square)")
    axes.legend(frameon=False)
    return curves(figure, path)


def plot_learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    suggestion: float | None = None,
    path: Place = None,
) -> Any:
    """Draw the loss against the learning rate, with the suggestion marked. path: as in plot_history.

    >>> plot_learning_rates([1e-3, 1e-2, 1e-1], [2.0, 1.0, 5.0], 1e-2).axes[0].get_xscale()
    'log'
    """
    check_file(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:orange", linestyle="--", label=f"suggested: {suggestion:.2g}")
        axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="learning rate", title="loss while the learning rate rises")
    return curves(figure, path)


def plot_comparison(found: Comparison, path: Place = None) -> Any:
    """Draw relative differences between backends by step, one line a layer: outputs, gradients, and free runs.

    found: what `compare_backends` returned. path: a .png, .svg or .pdf file to draw into, or None. Returns the figure.
    Raises MissingDependencyError without matplotlib.

    >>> import numpy as np, gpubp as bp
    >>> X = np.random.default_rng(0).normal(size=(8, 2))
    >>> both = dict(loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"), steps=3)
    >>> [axes.get_title() for axes in plot_comparison(bp.compare_backends(bp.Dense(1), X, X[:, 0], **both)).axes]
    ['outputs', 'gradients', 'parameters, run freely']
    """
    check_file(path)
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
    return curves(figure, path, dpi="figure")
