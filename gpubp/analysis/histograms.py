"""Histograms of weights, activations and gradients in each layer, and the units that are dead or saturated.

    dead        the derivative of a unit's activation is 0 for all rows, so that no gradient passes it: a ReLU that is 0
    saturated   an activation with two ends, such as the sigmoid with 0 and 1, is near one of them for nearly all rows
    vanishing   the gradient of a layer is small beside that of another: see `gradient_sizes`

(Glorot and Bengio 2010 show such histograms; Lu, Shin, Su and Karniadakis 2019 on units that die.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import instance
from ..layers import Activation, Layer
from ..losses import Loss
from ..network.network import Network
from ..network.purpose import told_loss
from .gradient_sizes import findings, size_of, starving, weights_of
from .layer_arrays import Seen, look_forward

Array = np.ndarray[Any, Any]
BINS = 40
SPIKE = 0.05  # of the numbers: if so many are exactly 0, they are counted apart, as they would dwarf all other bars
NEAR, MOSTLY = 0.02, 0.8  # of the distance between the ends; of the rows
DECADES = 12  # of the axis of gradients, at most
FEW_ROWS = 20  # by which a unit may be judged wrongly
SENTENCES = 5  # about units, at most


@dataclass(frozen=True)
class Histogram:
    """How often the numbers of an array lie in each bin.

    counts (bins,), edges (bins + 1,). zeros: how many are exactly 0 and left out of the bins, because they are many.
    strange: how many are not finite, and left out. count: of all. deviation, size: of the finite, zeros among
    them; the size is their root mean square.

    >>> Histogram.of([1.0, 1.0, 2.0], bins=2).counts.tolist()
    [2, 1]
    """

    counts: Array
    edges: Array
    zeros: int
    strange: int
    count: int
    deviation: float
    size: float

    @classmethod
    def of(cls, numbers: Any, bins: int = BINS) -> Histogram:
        """Of numbers of any shape, with bins between the smallest and the largest."""
        finite, told = _told(numbers)
        zeros = int((finite == 0).sum())
        zeros = zeros if zeros > SPIKE * finite.size else 0
        shown = finite[finite != 0] if zeros else finite
        low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 0.0)
        least = 1e-6 * max(abs(low), abs(high))  # below it, bins would be narrower than numbers can tell
        if high - low <= least:
            middle, half = (low + high) / 2, max(abs(high), abs(low)) / 2 or 0.5
            low, high = middle - half, middle + half
        counts, edges = np.histogram(shown, bins, (low, high))
        return cls(counts, edges, zeros, **told)

    @classmethod
    def of_sizes(cls, numbers: Any, low: float, high: float, bins: int = BINS) -> Histogram:
        """Of log10 |g| of numbers g other than 0, with bins between `low` and `high`; what is beyond is at the edge."""
        finite, told = _told(numbers)
        shown = np.log10(np.abs(finite[finite != 0])).clip(low, high)
        counts, edges = np.histogram(shown, bins, (low, high))
        return cls(counts, edges, finite.size - shown.size, **told)


def _told(numbers: Any) -> tuple[Array, dict[str, Any]]:
    """(the finite numbers, what a Histogram says of all)."""
    a = np.asarray(numbers, np.float64).reshape(-1)
    finite = a[np.isfinite(a)]
    told = {"strange": a.size - finite.size, "count": a.size, "size": size_of(finite)}
    with np.errstate(all="ignore"):  # squares may be beyond float64
        return finite, told | {"deviation": float(finite.std()) if finite.size else 0.0}


@dataclass
class LayerHistograms:
    """The histograms of a layer and of the activation behind it, each None where there is none.

    layers: (path, layer) of what the row shows. outputs: of the activation, or where there is none of the layer. sums:
    what the activation reads. gradient: of the size of ∂L/∂W. units: how many the activation has; dead, saturated: how
    many of them are. ends: of the activation, if it has two. vanishes: whether the gradient has vanished.

    >>> import gpubp as bp
    >>> LayerHistograms([("0", bp.Dense(8)), ("1", bp.ReLU())]).title
    '0  Dense(8)\\n1  ReLU()'
    """

    layers: list[tuple[str, Layer]]
    weights: Histogram | None = None
    outputs: Histogram | None = None
    sums: Histogram | None = None
    gradient: Histogram | None = None
    units: int = 0
    dead: int = 0
    saturated: int = 0
    ends: tuple[float, float] | None = None
    vanishes: bool = False
    is_zero: bool = True  # whether dead units give 0

    @property
    def name(self) -> str:
        """The path of the first layer."""
        return self.layers[0][0]

    @property
    def title(self) -> str:
        """The paths and layers, a line each."""
        return "\n".join(f"{path}  {layer!r}".strip() for path, layer in self.layers)

    def sentences(self, rows: int) -> Iterator[str]:
        """What is wrong with its units, in words."""
        first, last = (
            f'layer "{path}", {layer!r}' if path else f"{layer!r}" for path, layer in (self.layers[0], self.layers[-1])
        )
        of = f"of {self.units:,} units of {last},"
        if self.dead:
            what = "are 0" if self.is_zero else "have the derivative 0"
            yield f"Dead: {self.dead:,} {of} {what} for all {rows:,} rows, so no gradient passes them."
        if self.saturated and self.ends:
            low, high = (f"{end:g}" for end in self.ends)
            yield (
                f"Saturated: {self.saturated:,} {of} are within {100 * NEAR:g}% of {low} or {high} for "
                f"{100 * MOSTLY:g}% of the rows or more, where little gradient passes them."
            )
        parts = (
            ("weights", self.weights, first),
            ("activations", self.outputs, last),
            ("gradients", self.gradient, first),
        )
        for what, found, place in parts:
            if found is not None and found.strange:
                yield f"Not finite: {found.strange:,} of {found.count:,} {what} of {place}."


@dataclass
class NetworkHistograms:
    """The histograms of a network's layers for some rows.

    layers: lowest first. rows: how many. loss, value: what was minimised and how large it is; None without. words: what
    is dead, saturated or vanishing, in sentences.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(1)), input_shape=4, device="cpu")
    >>> found = NetworkHistograms.of(net, np.eye(4), np.ones(4), bp.MeanSquaredError())
    >>> [layer.name for layer in found.layers]
    ['0', '2']
    """

    layers: list[LayerHistograms] = field(default_factory=list)
    rows: int = 0
    loss: Loss | None = None
    value: float | None = None
    words: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, network: Network, X: Any, y: Any = None, loss: Loss | None = None, training: bool = True
    ) -> NetworkHistograms:
        """Of the rows (X, y): see `plot_histograms`."""
        made = cls(loss=_loss(network, y, loss))
        gradients: dict[str, Array] = {}
        if made.loss is not None:  # first, because it checks y
            made.value, gradients = network.loss_and_gradients(made.loss, X, y, training=training)
        look = _Look(network)
        made.rows = look_forward(network, X, look, training)
        made.layers = look.layers
        if not made.layers:
            raise ValueError("no layer of this network has weights or is an activation: there is nothing to draw")
        of_gradients = _take_gradients(network, made.layers, gradients) if gradients else []
        about_units = [sentence for layer in made.layers for sentence in layer.sentences(made.rows)]
        made.words = about_units[:SENTENCES] or ["No unit is dead or saturated."]
        if len(about_units) > SENTENCES:
            made.words.append(f"And {len(about_units) - SENTENCES} more.")
        if made.rows < FEW_ROWS and any(layer.dead or layer.saturated for layer in made.layers):
            made.words.append("So few rows may make a unit look dead or saturated: give more.")
        made.words += of_gradients
        return made


class _Look:
    """Makes the rows of the figure from the layers as they compute: an activation belongs to the layer it follows."""

    def __init__(self, network: Network) -> None:
        self.layers: list[LayerHistograms] = []
        self._network = network
        self._weights: dict[str, list[str]] = {}
        for name, declared in network.declared.items():
            if declared.decay:
                self._weights.setdefault(name.rpartition(".")[0], []).append(name)
        self._open = False  # whether an activation would belong to the last row

    def __call__(self, seen: Seen) -> None:
        here = (seen.path, seen.layer)
        self._open = self._open and seen.follows
        if names := self._weights.get(seen.path):
            weights = _together(self._network.backend.to_host(self._network.parameters[name]) for name in names)
            self.layers.append(LayerHistograms([here], Histogram.of(weights), Histogram.of(seen.outputs())))
            self._open = True
        elif isinstance(seen.layer, Activation):
            if not self._open:
                self.layers.append(LayerHistograms([]))
            row = self.layers[-1]
            row.layers.append(here)
            row.sums, row.outputs = Histogram.of(seen.inputs()), Histogram.of(seen.outputs())
            _judge_units(row, seen, seen.layer)
            self._open = False


def _judge_units(row: LayerHistograms, seen: Seen, layer: Activation) -> None:
    """Count the units of an activation that are dead or saturated; a unit is a place on the last axis of y."""
    if not layer.is_by_formulas:
        return
    y = seen.outputs()
    units = y.shape[-1] if y.ndim > 1 else 1
    y = y.reshape(-1, units)
    row.units, row.ends = units, _ends(layer)
    if row.ends is not None:
        low, high = row.ends
        near = np.minimum(np.abs(y - low), np.abs(high - y)) <= NEAR * abs(high - low)
        row.saturated = int((near.mean(axis=0) >= MOSTLY).sum())
    else:
        dead = (seen.slopes().reshape(-1, units) == 0).all(axis=0) & np.isfinite(y).all(axis=0)
        row.dead, row.is_zero = int(dead.sum()), bool((y[:, dead] == 0).all())


def _ends(layer: Activation) -> tuple[float, float] | None:
    """The two ends of an activation, such as (0, 1) of the sigmoid; None if it has not both."""
    with np.errstate(all="ignore"):
        far = [float(layer.f(np.float64(x))) for x in (-1e6, -1e4, 1e4, 1e6)]
    flat = np.isfinite(far).all() and abs(far[0] - far[1]) < 1e-3 > abs(far[3] - far[2])
    return (round(far[0], 3), round(far[3], 3)) if flat and far[0] != far[3] else None


def _take_gradients(network: Network, layers: list[LayerHistograms], gradients: dict[str, Array]) -> list[str]:
    """Give each row its gradient, and say what the sizes of all say. Frozen weights have none."""
    weights = weights_of(network)
    of_layer: dict[str, Array] = {}
    for path in dict.fromkeys(_path(weight.name) for weight in weights):
        of_layer[path] = _together(gradients[weight.name] for weight in weights if _path(weight.name) == path)
    lookups = {_path(weight.name): weight.lookup for weight in weights}
    rows = {row.name: row for row in layers if row.name in of_layer}
    sizes = [size_of(of_layer[name]) for name in rows]
    seen = [np.abs(g[np.isfinite(g) & (g != 0)], dtype=np.float64) for g in of_layer.values()]
    seen = [g for g in seen if g.size]
    low, high = -1.0, 0.0
    if seen:
        low = float(np.floor(np.log10(min(np.quantile(g, 0.01) for g in seen))))
        high = max(float(np.ceil(np.log10(max(g.max() for g in seen)))), low + 1)
        low = max(low, high - DECADES)
    few = starving(sizes, [lookups[name] for name in rows])
    for (name, row), vanishes in zip(rows.items(), few, strict=True):
        row.gradient, row.vanishes = Histogram.of_sizes(of_layer[name], low, high), bool(vanishes)
    shown = [(name or "the layer", repr(row.layers[0][1])) for name, row in rows.items()]
    if not any(sizes):
        return ["All gradients are 0."] if sizes else []
    return list(findings(shown, [lookups[name] for name in rows], sizes))


def _loss(network: Network, y: Any, loss: Loss | None) -> Loss | None:
    """The loss by which gradients are computed; None where none are wanted."""
    if y is None:
        if loss is not None:
            raise ValueError("gradients of a loss need y; give it, or leave out loss")
        return None
    found = told_loss(network) if loss is None else instance("plot_histograms", "loss", Loss, loss)
    if found is None:
        raise ValueError("gradients need a loss, and the network tells none that it was trained with: give loss=")
    return found


def _together(arrays: Iterable[Any]) -> Array:
    return np.concatenate([np.asarray(a).reshape(-1) for a in arrays])


def _path(name: str) -> str:
    return name.rpartition(".")[0]
