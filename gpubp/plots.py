"""Pictures, drawn by matplotlib (`pip install 'gpubp[plot]'`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import MissingDependencyError

if TYPE_CHECKING:
    from .history import History
    from .parity import BackendComparison

__all__ = ["plot_comparison", "plot_gradient_flow", "plot_history", "plot_learning_rates", "require_matplotlib"]


def require_matplotlib() -> None:
    """Raise MissingDependencyError, with the command that mends it, if there is no matplotlib.

    >>> require_matplotlib()
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError("pictures need matplotlib: pip install 'gpubp[plot]'") from None


def plot_history(history: History, path: str | os.PathLike[str] | None = None, title: str = "") -> Any:
    """Curves of a training: the loss, and every metric beside it, training and validation together.

    history: what `Trainer.fit` returned. path: a .png, .svg or .pdf file to draw into, or None. title: above them all.
    Returns the figure.
    Raises MissingDependencyError without matplotlib, ValueError if there is no epoch to draw.

    >>> from gpubp import History
    >>> history = History()
    >>> history.append({"loss": 0.5, "val_loss": 0.6})
    >>> len(plot_history(history).axes)
    1
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    if not history.epochs:
        raise ValueError("the history has no epoch to draw")
    names = [name for name in history if not name.startswith("val_")]
    figure = Figure(figsize=(4.8 * len(names), 3.6), layout="constrained")
    epochs = range(1, history.epochs + 1)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        marker = "o" if history.epochs < 3 else ""
        axes.plot(epochs, history[name], marker=marker, label="training")
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker=marker, label="validation")
            axes.legend(frameon=False)
        if name == "loss" and min(history[name]) > 0 and max(history[name]) > 20 * min(history[name]):
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    return _finished(figure, path)


def plot_gradient_flow(
    names: Sequence[str], gradients: Sequence[Sequence[float]], path: str | os.PathLike[str] | None = None
) -> Any:
    """The size of each layer's weight gradient, a line an epoch from light to dark, on a logarithmic scale.

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
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return _finished(figure, path)


def plot_learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    suggestion: float | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Loss against learning rate, the suggestion marked. path: as in plot_history.

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
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return _finished(figure, path)


def _finished(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def plot_comparison(found: BackendComparison, path: str | os.PathLike[str] | None = None) -> Any:
    """Relative differences between backends by step, a line a layer: of outputs, and of gradients; and how they drift.

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
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3)
    if path is not None:
        figure.savefig(path)
    return figure
