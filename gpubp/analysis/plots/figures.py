"""What all figures have in common: the checks before one is drawn, colours, grids, names of classes, and the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError

Place = str | os.PathLike[str] | None  # of a file to draw into; None for none

# Colours that people with any kind of colour vision can tell apart: six of Okabe and Ito (2008), without their black,
# which is for text, and their yellow, which is too pale on white; then four of Tol (2021).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#332288", "#999933", "#882255", "#44aa99")
MARKERS = "os^Dv*PX"


def require_matplotlib() -> None:
    """Raise MissingDependencyError, with the command that mends it, if there is no matplotlib.

    >>> require_matplotlib()
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError("pictures need matplotlib: pip install 'gpubp[plot]'") from None


def check_file(path: Place) -> None:
    """Raise what can be known before a figure is drawn: MissingDependencyError without matplotlib, and ValueError if no
    picture can be written to `path`, because of its ending or because its folder is missing.

    >>> check_file("curves.txt")
    Traceback (most recent call last):
    ...
    ValueError: a picture ends in .png, .svg or .pdf, and path is 'curves.txt'
    """
    require_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    if path is None or hasattr(path, "write"):  # matplotlib writes into open files too
        return
    place = Path(path)
    if place.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"a picture ends in .png, .svg or .pdf, and path is {str(path)!r}")
    if not place.parent.is_dir():
        raise ValueError(f"there is no folder {str(place.parent)!r} for the picture {place.name!r}; make it first")


def curves(figure: Any, path: Place, dpi: float | str = 120) -> Any:
    """Give every axes of a figure of curves its grid, and save it."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    return saved(figure, path, dpi)


def saved(figure: Any, path: Place, dpi: float | str = 120) -> Any:
    """The figure, written to `path` if there is one."""
    if path is not None:
        figure.savefig(path, dpi=dpi)
    return figure


def names_of_classes(given: Sequence[Any] | None, classes: int) -> list[str]:
    """The names of the classes as text; their numbers if none are given. Raises ValueError for too few or too many.

    >>> names_of_classes(None, 2), names_of_classes(["cat", 7], 2)
    (['0', '1'], ['cat', '7'])
    """
    if given is None:
        return [str(k) for k in range(classes)]
    if len(given) != classes:
        raise ValueError(f"class_names has {len(given)} names, and there are {classes} classes")
    return [literal(name) for name in given]


def literal(name: Any) -> str:
    """A name as matplotlib shows it as it is: a $ is a $, and begins no formula.

    >>> print(literal("US$"))
    US\\$
    """
    return str(name).replace("$", r"\$")
