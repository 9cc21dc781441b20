"""Inputs of small whole numbers, as pixels are: where a file computes with them as gpubp does with real numbers."""

from __future__ import annotations

from collections.abc import Iterable

from .model import Info, Node, type_of

KINDS = ("uint8", "uint16")
MOVING = {  # which keep numbers as they are
    "MaxPool", "GlobalMaxPool", "ReduceMax", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity",
    "Slice",
}  # fmt: skip


def are_pixels(source: Info, nodes: Iterable[Node]) -> bool:
    """Whether the input has pixels, and only nodes read them that make real numbers of them, or keep them as they are.

    nodes: in their order. Sums and products of whole numbers would overflow in the file, and not here.

    >>> def of(op: str) -> Node:
    ...     return Node(op, "", "", ("x",), ("y",), {})
    >>> x = Info("x", 2, None)
    >>> are_pixels(x, [of("MaxPool")]), are_pixels(x, [of("Cast")]), are_pixels(x, [of("Add")])
    (True, True, False)
    """
    whole = {source.name}
    for node in nodes:
        if not whole.isdisjoint(node.inputs):
            if node.op in MOVING:
                whole.update(node.outputs)
            elif node.op not in ("Cast", "CastLike"):
                return False
    return type_of(source) in KINDS
