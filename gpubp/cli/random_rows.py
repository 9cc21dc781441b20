"""Random rows that a network can take, to compare what two programs make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import Embedding, Layer
from ..layers.bound import BoundLayers

Array = np.ndarray[Any, Any]
LONGEST = 12  # time steps of a random row


def random_rows(network: BoundLayers, rows: int, seed: int = 0) -> Array | list[Array]:
    """Rows of normal numbers, or where an Embedding reads them, of its words.

    Returns (rows, *input_shape) in the network's type; for rows of different lengths a list of rows, the first of one
    time step.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Embedding(7, 3), bp.LastStep()), (5,), device="cpu")
    >>> X = random_rows(net, 100)
    >>> X.shape, float(X.min()), float(X.max())
    ((100, 5), 0.0, 6.0)
    """
    draw = np.random.default_rng(seed)
    first, *rest = network.input_shape
    if first is not None:
        return _drawn(network, (rows, first, *rest), draw)
    lengths = [1, *draw.integers(1, LONGEST + 1, rows - 1).tolist()]
    return [_drawn(network, (1, steps, *rest), draw)[0] for steps in lengths]


def _drawn(network: BoundLayers, shape: Sequence[int], draw: np.random.Generator) -> Array:
    X = draw.normal(size=shape).astype(network.dtype)
    flat = X.reshape(len(X), -1)
    places = np.arange(math.prod(shape[1:]), dtype=np.float64).reshape(1, *shape[1:])  # which numbers a layer reads

    def look(layer: Layer, read: Any, path: str, column: int | None) -> None:
        if isinstance(layer, Embedding):
            at = np.unique(read if column is None else read[:, column]).astype(np.int64)
            flat[:, at] = draw.integers(0, layer.vocabulary, (len(X), len(at)))

    network.layers.follow_inputs(places, look)
    return X
