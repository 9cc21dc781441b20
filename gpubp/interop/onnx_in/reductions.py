"""Means and maxima over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .folding import check_room
from .global_pooling import over_space
from .layout import flat
from .model import Node
from .reader import Reader, expanded, reads
from .refused import Refused
from .statistics import mean_of, mean_of_squares
from .values import Const, Filled, Statistic, Value

OF_CONSTANTS: dict[str, Any] = {
    "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceSum": np.sum,
}  # fmt: skip


@reads("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin")
def reduce(r: Reader, node: Node) -> Value:
    """Over time steps, over images, or as a part of a LayerNorm."""
    x = r.needed(node, 0)
    axes, kept = r.list_of(node, "axes", 1), bool(node.whole("keepdims", 1))
    if axes == [] and node.whole("noop_with_empty_axes", 0):
        return x
    if isinstance(x, Const | Filled):
        array = (expanded(x) if isinstance(x, Filled) else x).array
        if array.dtype.kind not in "fiu":
            raise Refused(f"{node.op} of constants of {array.dtype}")
        check_room(r, array.shape, [array])
        named = tuple(axes) if axes else None
        if named and any(not -array.ndim <= n < array.ndim for n in named):
            raise Refused(f"axes {axes} of a constant of {array.ndim} axes")
        return Const(np.asarray(OF_CONSTANTS[node.op](array, axis=named, keepdims=kept)).astype(array.dtype))
    layout = r.layout(x)
    places = sorted({layout.axis(n) for n in axes} if axes else range(len(layout.ox)))
    if node.op not in ("ReduceMean", "ReduceMax"):
        raise Refused(f"{node.op} of the network's data; gpubp has means and maxima", layout=None)
    if any(r.batch in layout.ox[n] for n in places):
        raise Refused("it computes over the rows, and gpubp's layers have each row by itself")
    if isinstance(x, Statistic):
        found = mean_of(r, node, x, places, kept) if node.op == "ReduceMean" else None
        if found is None:
            raise Refused("it is no part of a LayerNorm", layout=layout)
        return found
    if node.op == "ReduceMean" and (squares := mean_of_squares(r, node, x, places, kept)) is not None:
        return squares
    data = r.data(x)
    last = set(flat([data.layout.gp[-1]]))
    parts = {part for n in places for part in data.layout.ox[n] if part.size != 1}
    if node.op == "ReduceMean" and parts and (parts & last or len(data.layout.gp) < 3):
        found = mean_of(r, node, data, places, kept)
        assert found is not None
        return found
    return over_space(r, node, data, places, kept, node.op == "ReduceMax")
