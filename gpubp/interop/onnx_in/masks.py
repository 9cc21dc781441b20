"""Masks of attention: a constant that is added to the scores, and is 0 where a query may look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .model import Node
from .refused import Refused
from .values import Array, Attending

NEVER = -1e4  # what files add where a query may not look, or less


def masked(value: Attending, array: Array, node: Node) -> Attending:
    """The scores with a constant added: nothing, or the mask of a causal attention. Refused for others."""
    if value.kind != "scores" or node.op not in ("Add", "Sub"):
        raise Refused("it combines an attention with a constant, in a way that gpubp's has not", layout=value.layout)
    return with_mask(value, array if node.op == "Add" else -array, node)


def with_mask(value: Attending, array: Array, node: Node) -> Attending:
    """The scores with a mask: 0 where a query may look."""
    if not array.any():
        return value
    T = array.shape[-1]
    square = array.reshape(-1, *array.shape[-2:])
    ahead = np.triu(np.ones((T, T), bool), 1) if array.ndim >= 2 and array.shape[-2] == T else None
    if ahead is None or not all((part[ahead] <= NEVER).all() and not part[~ahead].any() for part in square):
        raise Refused(
            "it adds a constant to the scores of an attention; gpubp's MultiHeadAttention has the mask causal=True "
            "only, which is 0 up to a query's own step, and far below 0 after it",
            layout=value.layout,
        )
    return replace(value, causal=True, nodes=(*value.nodes, node))
