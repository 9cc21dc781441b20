"""PRelu: a trained slope below 0, for each channel, each number of a row, or all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers import PReLU
from .arithmetic import aligned, spread
from .layout import sizes
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .values import Array, Const, Data, Value


@reads("PRelu")
def prelu(r: Reader, node: Node) -> Value:
    """A PReLU with as few slopes as say the same."""
    slope = r.numbers(node, 1, "slope")
    x = r.data(r.needed(node, 0))
    if slope is None or slope.size == 0:
        raise Refused("it has no slope", layout=x.layout)
    layout = x.layout
    if r.opset < 7 and slope.ndim == 1 and slope.size > 1:  # one for each channel, wherever broadcasting would put them
        slope = slope.reshape(-1, *[1] * (len(layout.ox) - 2))
    array = aligned(node, Const(slope), layout)
    if slope.size == 1:
        return _made(r, node, x, "single", slope.reshape(1))
    if len(layout.gp) > 1 and (channels := spread(array, layout, layout.gp[-1])) is not None:
        return _made(r, node, x, "channel", channels)
    each = spread(array, layout, tuple(part for axis in layout.gp[1:] for part in axis))
    if each is None:
        raise Refused("its slopes differ from row to row", layout=layout)
    return _made(r, node, x, "each", each.reshape([int(np.prod(sizes(axis))) for axis in layout.gp[1:]]))


def _made(r: Reader, node: Node, x: Data, slopes: Any, a: Array) -> Data:
    return r.step(PReLU(slopes), [x], x.layout, (node,), {"a": a})
