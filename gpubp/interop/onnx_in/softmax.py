"""Softmax and LogSoftmax: layers, shares of an attention, or the end of a classifier, which its loss contains."""

from __future__ import annotations

from ...layers import Layer, LogSoftmax, Softmax
from .attention import shares
from .layout import Axis, flat, length
from .model import Node
from .reader import Reader, makes, reads
from .refused import Refused
from .values import Attending, Data, Ending, Value


@reads("Softmax", "LogSoftmax")
def softmax(r: Reader, node: Node) -> Value:
    """Along one axis, or in files of opset 12 and before along all axes from there on."""
    x = r.needed(node, 0)
    layout = r.layout_of(x)
    if layout is None:
        raise Refused("a softmax of constants")
    axis = layout.axis(node.whole("axis", -1 if r.opset >= 13 else 1))
    axes = layout.ox[axis : axis + 1] if r.opset >= 13 else layout.ox[axis:]
    parts = tuple(part for of in axes for part in of)
    if isinstance(x, Attending):
        if node.op != "Softmax" or any(length(of) != 1 for of in axes[1:]):
            raise Refused(f"{node.op} over other axes of the scores of an attention", layout=layout)
        return shares(x, node, axis)
    if r.batch in parts:
        raise Refused("it computes over the rows, and gpubp's layers have each row by itself", layout=layout)
    data = r.data(x)
    if _place(data, parts) is None:
        data = r.with_last(data, parts)
    return Ending(node.op, data, data.layout, node, parts)


def _place(x: Data, parts: Axis) -> int | None:
    """The axis of gpubp's array that has these parts, in any order, the last one first; None if none has."""
    axes = [set(flat([axis])) for axis in x.layout.gp]
    return next((n for n in range(len(axes) - 1, 0, -1) if axes[n] == set(flat([parts]))), None)


@makes(Ending)
def step_of_softmax(r: Reader, value: Ending) -> Data:
    """The layer, along the axis that the parts are."""
    if not value.made:
        axis = _place(value.x, value.axis)
        assert axis is not None
        along = -1 if axis == len(value.x.layout.gp) - 1 else axis
        layer: Layer = Softmax(along) if value.kind == "Softmax" else LogSoftmax(along)
        value.made.append(r.step(layer, [value.x], value.x.layout, (value.node,)).step)
    return Data(value.made[0], value.layout)
