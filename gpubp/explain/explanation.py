"""explain: one step of a network on a few rows, every number beside its formula."""

from __future__ import annotations

from typing import Any

from ..config import Count, argument, instance
from ..layers.bound import BoundLayers
from ..losses import Loss
from ..optimizers import Optimizer
from .build import FEW, WRITTEN, Builder
from .chain import Chain
from .content import Content
from .watched import Watched

MOST_ROWS = 256  # of one explanation


class Explanation:
    """One step of a network on a few rows: forward, loss, backward and update, every number beside its formula.

    content: what it says, as sections and lines.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(1), bp.Sigmoid()), 1, device="cpu")
    >>> explanation = net.explain([[2.0]], [[1.0]], loss=bp.HalfMeanSquaredError())
    >>> [section.title for section in explanation.content.sections][1:3]
    ['layer 0, Dense(1)', 'layer 1, Sigmoid()']
    """

    def __init__(self, content: Content) -> None:
        self.content = content


def explain(
    net: BoundLayers,
    X: Any,
    y: Any,
    loss: Loss,
    optimizer: Optimizer | None = None,
    of: str | None = None,
    training: bool = True,
    sample_weight: Any = None,
    written: int = WRITTEN,
) -> Explanation:
    """The explanation of one step of a network on the rows X, y; see `Network.explain`.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 1, device="cpu")
    >>> explain(net, [[2.0]], [[1.0]], bp.HalfMeanSquaredError()).content.rows
    1
    """
    instance("explain", "loss", Loss, loss)
    if optimizer is not None:
        instance("explain", "optimizer", Optimizer, optimizer)
    written = argument("explain", "written", Count, written)
    rows = len(X)
    if rows > MOST_ROWS:
        raise ValueError(f"explain shows a step on {MOST_ROWS} rows at most, and X has {rows}; give it X[:4] and y[:4]")
    watched = Watched(net, X, y, loss, optimizer, training, sample_weight)
    builder = Builder(watched, written, FEW)
    count = f"{rows} rows" if rows > 1 else "one row"
    content = builder.content(f"One step of {net.layers!r} on {count}")
    if of is not None:
        chain = Chain(builder, of).section()
        content = content.with_section(chain, first=True)
    return Explanation(content)
