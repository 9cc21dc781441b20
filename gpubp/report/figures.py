"""Drawings of a report: matplotlib's SVG, whose colours are CSS variables of the page.

A figure is drawn in colours that stand for names, `#0a0001` for the ink and so on; in the SVG each is replaced by a CSS
variable, so that one drawing serves light and dark. Words stay words, in the page's font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..training.history import History

NAMES = ("ink", "muted", "line", "first", "second")
INK, MUTED, LINE, FIRST, SECOND = (f"#0a000{k}" for k in range(1, 6))
VARIABLES = {f"#0a000{k}": f"var(--{name})" for k, name in enumerate(NAMES, 1)}
SIZE = (5.2, 3.1)  # inches
POINTS = 1500  # a cloud of more is counted in hexagons
LINES = 12  # epochs of a gradient flow
Array = np.ndarray[Any, Any]


@contextmanager
def _canvas(salt: str, size: tuple[float, float] = SIZE) -> Iterator[tuple[Any, Any, list[str]]]:
    """(figure, axes, a list that gets the SVG at the end)."""
    import matplotlib
    from matplotlib.figure import Figure

    svg: list[str] = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": salt,  # what SVGs of one page are told apart by, the same at every writing
                "text.parse_math": False,  # a $ in a name is a $
                "axes.unicode_minus": True,
                "text.color": INK,
                "axes.labelcolor": MUTED,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "axes.edgecolor": LINE,
                "grid.color": LINE,
                "font.size": 10.5,
                "lines.linewidth": 1.8,
                "legend.frameon": False,
                "legend.labelcolor": MUTED,
            }
        )
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        yield figure, axes, svg
        target = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
        svg.append(_for_a_page(target.getvalue()))


def _for_a_page(svg: str) -> str:
    """Reduce an SVG file to what a page needs: no header, no size, no names that nothing refers to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.S)
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = re.sub(r"<svg[^>]*>", f"<svg {box[0] if box else ''}>", svg, count=1).replace("xlink:href=", "href=")
    used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"#0a000[1-5]\b", lambda found: VARIABLES[found[0]], svg)
    svg = re.sub(r' font-family: [^;"]*;', "", svg)  # the page's own
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _few_ticks(axes: Any) -> None:
    """Use few ticks, so that long numbers do not overlap."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_written())


def _written() -> Any:
    """What writes the numbers of an axis: in full, with commas between thousands."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, place: f"{value:,.10g}".replace("-", "−"))


def _legend(axes: Any) -> None:
    """Put the legend above the axes, where it hides no line."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2)


def _log(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if 0 < low and high < 100 * low:  # powers of ten alone would be one or two numbers
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def evenly(count: int, most: int) -> Sequence[int]:
    """The numbers from 0 below `count`, of which at most `most` are taken, spread evenly, first and last among them.

    >>> list(evenly(3, 5)), evenly(100, 3)
    ([0, 1, 2], [0, 50, 99])
    """
    return sorted({round(k * (count - 1) / max(1, most - 1)) for k in range(most)}) if count > most else range(count)


def curve(history: History, name: str) -> str:
    """The curve of one number by epoch, of training and, if there is one, of validation.

    >>> from gpubp import History
    >>> history = History()
    >>> history.append({"loss": 0.5})
    >>> curve(history, "loss").startswith("<svg viewBox=")
    True
    """
    columns = [history[name]] + ([history[f"val_{name}"]] if f"val_{name}" in history else [])
    with _canvas(f"curve {name}") as (_, axes, svg):
        epochs = range(1, history.epochs + 1)
        marker = "o" if history.epochs < 3 else ""
        for column, label, colour in zip(columns, ("training", "validation"), (FIRST, SECOND), strict=False):
            finite = [v if math.isfinite(v) else math.nan for v in column]
            axes.plot(epochs, finite, color=colour, label=label, marker=marker)
        values = [v for column in columns for v in column if math.isfinite(v)]
        if name == "loss" and values and min(values) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
            _log(axes.yaxis)
        elif values and max(values) >= 1000:
            axes.yaxis.set_major_formatter(_written())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        if len(columns) > 1:
            _legend(axes)
    return svg[0]


def flow(names: Sequence[str], gradients: Sequence[Sequence[float]]) -> str:
    """The sizes of the layers' gradients: a line for each epoch, or for some of many, from faint to full colour.

    >>> flow(["0", "2"], [[1e-3, 1e-1], [1e-3, 1e-2]]).count("epoch")
    2
    """
    count = len(gradients)
    width = min(max(SIZE[0], 0.35 * len(names) + 1.5), 14.0)
    with _canvas("flow", (width, SIZE[1])) as (_, axes, svg):
        places = range(len(names))
        for k in evenly(count, LINES):
            values = [g if math.isfinite(g) and g > 0 else math.nan for g in gradients[k]]
            label = f"epoch {k + 1}" if k in (0, count - 1) else None
            strength = 0.25 + 0.75 * (k + 1) / count
            axes.plot(places, values, color=FIRST, alpha=strength, marker="o", markersize=4, label=label)
        if any(g > 0 for line in gradients for g in line):
            axes.set_yscale("log")
            _log(axes.yaxis)
        step = max(1, math.ceil(len(names) / 40))
        axes.set_xticks(list(places)[::step], [str(name)[:12] for name in names][::step])
        axes.tick_params(axis="x", rotation=90 if len(names) > 15 or max(map(len, names)) > 6 else 0)
        axes.set_xlabel("layer, lowest first")
        _legend(axes)
    return svg[0]


def cloud(truth: Array, predicted: Array, salt: str = "", name: str = "") -> str:
    """Predicted against true numbers (n,), which are called `name`, with the line y = x.

    More than 1500 are counted in hexagons.

    >>> cloud(np.array([1.0, 2.0]), np.array([1.5, 2.0])).count("<use")
    2
    """
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    with _canvas(f"cloud {salt}") as (_, axes, svg):
        axes.axline(
            (low, low), (high, high) if high > low else None, slope=None if high > low else 1, color=SECOND, lw=1
        )
        if len(truth) <= POINTS or np.ptp(truth) == 0 or np.ptp(predicted) == 0:  # a line has no hexagons
            some = np.linspace(0, len(truth) - 1, min(len(truth), POINTS)).astype(np.int64)
            axes.plot(truth[some], predicted[some], "o", color=FIRST, markersize=4, alpha=0.55, markeredgewidth=0)
        else:
            from matplotlib.colors import to_rgb

            cells = axes.hexbin(truth, predicted, gridsize=36, mincnt=1, linewidths=0)
            counts = np.asarray(cells.get_array(), np.float64)
            share = 0.15 + 0.85 * np.log1p(counts) / np.log1p(counts.max())
            cells.set_array(None)
            cells.set_facecolor([(*to_rgb(FIRST), a) for a in share])
        axes.set(xlabel=f"true {name}".strip(), ylabel=f"predicted {name}".strip())
        _few_ticks(axes)
    return svg[0]


def residuals(errors: Array, salt: str = "", name: str = "") -> str:
    """A histogram of errors (n,), predicted less true; `name` is what is predicted.

    >>> residuals(np.array([-1.0, 0.0, 1.0])).startswith("<svg")
    True
    """
    with _canvas(f"residuals {salt}") as (_, axes, svg):
        largest, usual = float(np.abs(errors).max()) or 1.0, float(np.quantile(np.abs(errors), 0.99))
        far = largest > 3 * usual > 0
        reach = 1.5 * usual if far else largest
        counts, edges = np.histogram(errors.clip(-reach, reach), bins=41, range=(-reach, reach))
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=FIRST, alpha=0.8, linewidth=0)
        axes.axvline(0, color=SECOND, lw=1)
        axes.grid(False, axis="x")
        axes.yaxis.get_major_locator().set_params(integer=True)
        what = f"predicted less true {name}".strip()
        axes.set(xlabel=f"{what}{', those further off at the edges' * far}", ylabel="rows")
        _few_ticks(axes)
    return svg[0]


def spread(values: Array, name: str = "y") -> str:
    """A histogram of targets (n,), which are called `name`.

    >>> spread(np.array([1.0, 2.0, 2.0])).startswith("<svg")
    True
    """
    with _canvas("spread") as (_, axes, svg):
        counts, edges = np.histogram(values, bins=40)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=FIRST, alpha=0.8, linewidth=0)
        axes.grid(False, axis="x")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel=name, ylabel="rows")
        _few_ticks(axes)
    return svg[0]


def drawn(salt: str, draw: Callable[[Any], None]) -> str:
    """What a function draws on axes of matplotlib, in the colours above. salt: another for each drawing of a page.

    >>> drawn("a line", lambda axes: axes.plot([0, 1], [0, 1], color=FIRST)).startswith("<svg")
    True
    """
    with _canvas(salt) as (_, axes, svg):
        draw(axes)
    return svg[0]


def picture(a: Array) -> str:
    """A picture (height, width) or (height, width, channels), numbers from 0 to 1, as a data URL of a PNG.

    >>> picture(np.zeros((2, 2)))[:22]
    'data:image/png;base64,'
    """
    import base64

    from matplotlib.image import imsave

    target = io.BytesIO()
    imsave(target, a, format="png", cmap="gray", vmin=0, vmax=1, metadata={})
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
