"""The pictures of `gpubp evaluate`: mistakes, the decision boundary, and histograms of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np

from ..metrics import confusion_matrix
from ..network.network import Network
from .console import note
from .files import check_picture, draw
from .table_plane import TablePlane, columns_of
from .task import Task

OPTIONS = {
    "confusion": "Draw which classes are taken for which: .png, .svg or .pdf.",
    "misclassified": "Draw the pictures mistaken, the surest first.",
    "boundary": "Draw what a network of two inputs says at every place.",
    "histograms": "Draw histograms of weights, activations, gradients.",
}
SHOWN = {"boundary": 20_000, "histograms": 256}  # rows, at most; of more, so many evenly


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for name, words in reversed(OPTIONS.items()):
        command = click.option(f"--{name}", metavar="FILE.png", help=words)(command)
    return command


class Pictures:
    """The files that are asked for, by the names of their options. others: files that none may write over.

    Raises UsageError for a file that can't be written, MissingDependencyError without matplotlib.
    """

    def __init__(self, options: dict[str, Any], others: list[str]) -> None:
        self.files: dict[str, str] = {name: options[name] for name in OPTIONS if options[name] is not None}
        taken = list(others)
        for name, file in self.files.items():
            check_picture(file, f"--{name}", not_over=taken)
            taken.append(file)

    def check(self, network: Network, task: Task, model: str) -> None:
        """Raise UsageError, before any row is evaluated, for what could not be drawn of this network."""
        of_classes = task.kind == "classes" or (task.kind == "labels" and task.outputs == 1)
        for name in ("confusion", "misclassified"):
            if name in self.files and not of_classes:
                raise click.UsageError(f"--{name} draws mistaken classes, and {model} has {task.describe()}")
        if "misclassified" in self.files:
            from ..analysis.plots.classes import drawable

            if task.sound is not None:
                raise click.UsageError(f"--misclassified draws pictures, and {model} takes sounds")
            try:
                drawable(network.input_shape, network.input_shape)
            except ValueError as problem:
                raise click.UsageError(f"--misclassified draws pictures, and {problem}") from problem
        if "boundary" in self.files:
            from ..analysis.two_inputs import PlaneModel

            if task.table is not None:
                if not columns_of(task.table):
                    columns = ", ".join(f"{column.name} ({column.kind})" for column in task.table.columns)
                    raise click.UsageError(
                        f"--boundary draws models of two columns of numbers, and {model} takes {columns:.200}"
                    )
                return
            try:
                PlaneModel.of(network, np.zeros(1), task.loss)
            except ValueError as problem:
                raise click.UsageError(f"--boundary: {problem}") from problem

    def draw(self, network: Network, task: Task, X: Any, t: Any, z: Any) -> None:
        """Draw all of them, of rows X with targets t and the network's outputs z, which are None for numbers."""
        from ..analysis.plots.classes import plot_confusion_matrix, plot_misclassified

        names = task.output_names
        for name, file in self.files.items():
            if name == "confusion":
                draw("drawn", file, lambda path: plot_confusion_matrix(z, X, t, names, path))
            elif name == "misclassified":
                counts = confusion_matrix(t, z)
                if counts.trace() == counts.sum():
                    note(f"no row is mistaken: there is nothing to draw into {file}")
                    continue
                draw("drawn", file, lambda path: plot_misclassified(network, X, t, class_names=names, path=path))
            else:
                rows = np.linspace(0, len(X) - 1, min(len(X), SHOWN[name])).astype(np.int64)
                self._draw_network(name, file, network, task, X[rows], t[rows])

    def _draw_network(self, name: str, file: str, network: Network, task: Task, X: Any, t: Any) -> None:
        if name == "histograms":
            from ..analysis.plots.histograms import plot_histograms

            draw("drawn", file, lambda path: plot_histograms(network, X, t, task.loss, path=path))
            return
        from ..analysis.plots.regions import plot_decision_boundary

        if task.table is not None:
            plane = TablePlane(network, task)
            points, y = plane.rows(X, t)
            draw(
                "drawn", file, lambda path: plot_decision_boundary(plane, points, y, None, None, plane.names, path=path)
            )
            return
        names = None if task.kind == "numbers" else task.output_names
        draw("drawn", file, lambda path: plot_decision_boundary(network, X, t, task.loss, names, path=path))
