"""Refused: why a node of an ONNX file can't become a layer."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """What gpubp can't read of a node, in words that follow the node's name.

    node: which, if it is not the one that is being read. layout: what the node would give, so that the nodes behind it
    can be looked at too; None where nobody knows. order: whether another order of the input's axes might help.

    >>> print(Refused("group 3, for 4 channels"))
    group 3, for 4 channels
    """

    def __init__(self, why: str, node: Any = None, layout: Any = None, order: bool = False) -> None:
        super().__init__(why)
        self.node, self.layout, self.order = node, layout, order


# What comes of parts of a file that do not fit each other, where no check has seen it before.
UNFIT = (ValueError, TypeError, IndexError, ArithmeticError, RecursionError)
