"""BatchNormalization of rows, sequences (B, C, T), images (B, C, H, W) and volumes."""

from __future__ import annotations

from ...layers import (
    BatchNorm,
)  # fmt: skip
from .dense import in_order
from .elementwise import shortest
from .layout import length
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .spaces import channels_last
from .values import Value


@reads("BatchNormalization")
def batch_norm(r: Reader, node: Node) -> Value:
    """BatchNorm with the statistics of the file."""
    x = r.data(r.needed(node, 0))
    l = x.layout
    if node.whole("training_mode", 0) or any(name in r.readers for name in node.outputs[1:] if name):
        raise Refused("it computes with the statistics of the batch (training_mode=1)", layout=l)
    if not node.whole("spatial", 1) and len(l.ox) > 2:
        raise Refused("spatial=0; gpubp has one mean for each channel", layout=l)
    if len(l.ox) < 2:
        raise Refused("it has no axis of channels", layout=l)
    if len(l.ox) in (3, 4, 5) and l.ox[0] == (r.batch,):
        x = channels_last(r, x)[0]
    x = r.with_last(x, l.ox[1])
    arrays = {}
    for number, name in enumerate(("gamma", "beta", "mean", "var"), 1):
        array = r.numbers(node, number, name)
        if array is None or array.size != length(l.ox[1]):
            raise Refused(f"it needs {length(l.ox[1])} numbers as its {name}", layout=l)
        arrays[name] = in_order(array.reshape(-1, 1), l.ox[1], x.layout.gp[-1]).reshape(-1)
    momentum, eps = node.number("momentum", 0.9), node.number("epsilon", 1e-5)
    if not 0.0 <= momentum <= 1.0 or not eps >= 0.0:
        raise Refused(f"momentum {momentum:g}, epsilon {eps:g}", layout=l)
    return r.step(BatchNorm(shortest(momentum), shortest(eps)), [x], x.layout, (node,), arrays)
