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

from ..backends import Shape
from ..errors import ShapeError
from .base import Layer
from .plan import Plan

KINDS = ("each", "keeps", "ends", "mixes")
FEWEST = 8  # time steps of a batch, at least


def bucket(length: int) -> int:
    """T of the batches that a row of this length is in: the next of 8, 12, 16, 24, 32, ..., which are 2ᵏ and 3·2ᵏ.

    It depends on the row's own length alone, and so the bits of a prediction do not depend on other rows.

    >>> [bucket(n) for n in (1, 9, 13, 100, 128, 129)]
    [8, 12, 16, 128, 128, 192]
    """
    T = FEWEST
    while T < length:
        T = T // 2 * 3 if T & (T - 1) == 0 else T // 3 * 4
    return T


def check_sequences(x: Shape) -> None:
    """Raise ShapeError if x is not the shape of sequences, (B, T, n).

    >>> check_sequences((32, 50, 8))
    """
    if len(x) != 3:
        hint = ""
        if len(x) == 2:
            hint = "; words need an Embedding before it, and a recurrent layer before it needs return_sequences=True"
        raise ShapeError(f"expects sequences, (batch, time, numbers), and got the shape {x}{hint}")


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
    ('1', BatchNorm())
    """
    if layer.over_time != "mixes":
        return None
    for i, child in enumerate(layer.children):
        found = mixing(child)
        if found is not None:
            return f"{i}.{found[0]}" if found[0] else str(i), found[1]
    return "", layer


def check_mixing(layer: Layer) -> None:
    """Raise ShapeError for the first layer that mixes time steps, where rows of a network have different lengths.

    >>> import gpubp as bp
    >>> check_mixing(bp.Sequential(bp.Dense(3), bp.Tanh()))
    """
    if (found := mixing(layer)) is not None:
        raise ShapeError(
            "mixes time steps as if none were padding, and input_shape=(None, ...) says that rows have different "
            "lengths; take a layer that goes by lengths, such as MeanOverTime, or give all rows one length",
            found[0],
            repr(found[1]),
        )


def check_lengths(layer: Layer, few: Plan, more: Plan) -> None:
    """Raise ShapeError where what a layer needs depends on the number of time steps, or outputs are joined over time.

    few, more: its plans for two numbers of time steps, `FEWEST` and more.

    >>> import gpubp as bp
    >>> d = bp.Dense(3)
    >>> check_lengths(d, d.plan((1, 8, 2)), d.plan((1, 12, 2)))
    >>> check_lengths(d, d.plan((1, 8)), d.plan((1, 12)))
    Traceback (most recent call last):
    ...
    gpubp.errors.ShapeError: Dense(3) has parameters 'W' of another shape for other lengths, (8, 3) and (12, 3); ...
    """
    for (path, inner), (_, one), (_, two) in zip(layer.walk(), few.walk(), more.walk(), strict=True):
        for name, p in {**one.parameters, **one.states}.items():
            other = {**two.parameters, **two.states}[name].shape
            if p.shape != other:
                raise ShapeError(
                    f"has parameters {name!r} of another shape for other lengths, {p.shape} and {other}; its last axis "
                    "is time, and rows have different lengths: an Embedding makes a vector of each word",
                    path,
                    repr(inner),
                )
    kept = few.output[1:2] == (FEWEST,) != more.output[1:2] and few.output[2:] == more.output[2:]
    if few.output != more.output and not kept:
        raise ShapeError(
            f"gives rows of shape {few.output[1:]} for {FEWEST} time steps, and {more.output[1:]} for more"
        )
