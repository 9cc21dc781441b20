"""Pictures, drawn by matplotlib (`pip install 'gpubp[plot]'`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .errors import MissingDependencyError

if TYPE_CHECKING:
    from .trainer import History

__all__ = ["plot_history", "require_matplotlib"]


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
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
