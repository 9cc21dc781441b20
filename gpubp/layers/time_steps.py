"""Time steps: what layers do with the axis T of inputs (B, T, ...) whose rows have different lengths.

Row i has Lᵢ ≤ T time steps, and padding behind them. The mask says so:

    (1) μ[i, t] = [t < Lᵢ]        (B, T), as `ws.mask`; None where every row has T steps

`Layer.over_time` says what a layer does with steps:

    "each"    y_t depends on x_t alone: Dense, activations, LayerNorm, Dropout, Embedding
    "keeps"   y_t depends on the steps of its row, and not on its padding
    "ends"    y, without a time axis, depends on the steps of its row, and not on its padding
    "mixes"   anything else, such as a sum over all T, or over the rows of a batch

Layers keep to this, from which it follows that padding changes nothing: numbers at padding are finite, and dy is 0
there, in what a layer gets and in what it gives. A loss of single steps gives dz = 0 there, and a layer that ends time
a dx of 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from .base import Layer

KINDS = ("each", "keeps", "ends", "mixes")


def one_after_another(kinds: Iterable[str]) -> str:
    """`over_time` of layers that follow each other, from theirs; behind one that ends time there are no steps.

    >>> one_after_another(["each", "keeps"]), one_after_another(["each", "ends", "mixes"])
    ('keeps', 'ends')
    """
    found = "each"
    for kind in kinds:
        if kind in ("ends", "mixes"):
            return kind
        found = "keeps" if kind == "keeps" else found
    return found


def side_by_side(kinds: Iterable[str]) -> str:
    """`over_time` of layers on the same input whose outputs are joined, from theirs.

    >>> side_by_side(["each", "keeps"]), side_by_side(["each", "ends"])
    ('keeps', 'mixes')
    """
    found = set(kinds)
    if found == {"ends"}:
        return "ends"
    if found <= {"each", "keeps"}:
        return "keeps" if "keeps" in found else "each"
    return "mixes"


def mixing(layer: Layer) -> tuple[str, Layer] | None:
    """(path, layer) of the first layer inside that mixes time steps without regard to lengths; None if none does.

    >>> import gpubp as bp
    >>> mixing(bp.Sequential(bp.Dense(3), bp.BatchNorm()))
    ('1', BatchNorm(0.9, 1e-05))
    """
    if layer.over_time != "mixes":
        return None
    for i, child in enumerate(layer.children):
        found = mixing(child)
        if found is not None:
            return f"{i}.{found[0]}" if found[0] else str(i), found[1]
    return "", layer
