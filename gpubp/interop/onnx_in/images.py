"""Pooling and BatchNormalization: of images (B, C, H, W), and of sequences (B, C, T); see `convolutions` for Conv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import (
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    MaxPool1D,
    MaxPool2D,
)  # fmt: skip
from .dense import in_order
from .elementwise import shortest
from .layout import Axis, Layout, Part, length, sizes
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .sizes import Size
from .spaces import channels_last, padding_of, pair_of, windows_at
from .values import Data, Value

MOST_TAPS = 4096  # of a pooling, which takes them one by one


def _squeezable(node: Node, x: Data, space: list[Axis], *per_axis: Sequence[int]) -> int | None:
    """Which of two axes of space has the length 1, and a window of 1 that stays: then the other is time."""
    if len(space) != 2 or len(x.layout.gp) != 3:
        return None
    for n in (1, 0):
        if length(space[n]) == 1 and all(
            values[n] == plain for values, plain in zip(per_axis, (1, 1, 0, 0), strict=True)
        ):
            return n
    return None


def _no_dilations(r: Reader, node: Node, called: str, layout: Layout, kernel: Sequence[int], units: int | None) -> None:
    dilations = node.list("dilations")
    if dilations and set(dilations) != {1}:
        after = _dilated(r, node, layout, kernel, dilations, units)
        raise Refused(f"dilations {tuple(dilations)}; gpubp's {called} has none", layout=after)


def _dilated(
    r: Reader, node: Node, layout: Layout, kernel: Sequence[int], dilations: Sequence[int], units: int | None
) -> Layout | None:
    """What a node with dilations would give, for the nodes behind it; None where that is not known."""
    space = [length(axis) for axis in layout.ox[2:]]
    if len(space) != len(kernel) or len(dilations) != len(kernel) or any(isinstance(n, Size) for n in space):
        return None
    strides, before, after, auto = windows_at(node, layout.ox[2:], kernel)
    channels = layout.ox[1] if units is None else (Part(units),)
    made: list[Axis] = []
    for n, size in enumerate(sizes(tuple(map(Part, space)))):
        lost = 0 if auto.startswith("SAME") else (kernel[n] - 1) * dilations[n] - before[n] - after[n]
        if size - lost < 1:
            return None
        made.append((Part((size - lost - 1) // strides[n] + 1),))
    return Layout((layout.ox[0], *made, channels), (layout.ox[0], channels, *made), r.batch)


@reads("MaxPool", "AveragePool")
def pool(r: Reader, node: Node) -> Value:
    """MaxPool1D, MaxPool2D, AvgPool1D, AvgPool2D."""
    value = r.data(r.needed(node, 0))
    called = f"{'Max' if node.op == 'MaxPool' else 'Avg'}Pool{len(value.layout.ox) - 2}D"
    kernel = node.list("kernel_shape") or []
    _no_dilations(r, node, called, value.layout, kernel, None)
    if len(node.outputs) > 1 and node.outputs[1] in r.readers:
        raise Refused("the places of its largest numbers are used", layout=value.layout)
    if len(value.layout.ox) not in (3, 4):
        raise Refused(f"it has {len(value.layout.ox) - 2} axes of space; gpubp pools 1 or 2")
    shape = value.layout.ox[2:]
    strides, before, after, auto = windows_at(node, shape, kernel)
    ceil = bool(node.whole("ceil_mode", 0))
    thin = _squeezable(node, value, list(shape), kernel, strides, before, after)
    if thin is not None:
        kept = 1 - thin
        kernel, strides, before, after = ([of[kept]] for of in (kernel, strides, before, after))
        ox = tuple(axis for n, axis in enumerate(value.layout.ox) if n != 2 + thin)
        value = Data(value.step, replace(value.layout, ox=ox))
    x, space, channels = channels_last(r, value)
    padding, outputs = padding_of(called, space, kernel, strides, [1] * len(kernel), before, after, auto, ceil)
    counted = node.op == "AveragePool" and node.whole("count_include_pad", 0) and padding != "valid"
    if counted and padding != 0 and any([*before, *after, auto != "NOTSET", ceil]):
        raise Refused("count_include_pad=1; gpubp's AvgPool counts the places inside alone", layout=None)
    if np.prod([float(k) for k in kernel]) > MOST_TAPS:
        raise Refused(f"windows of {kernel}, which have more than {MOST_TAPS} places")
    layers: dict[tuple[str, int], Any] = {
        ("MaxPool", 1): MaxPool1D, ("MaxPool", 2): MaxPool2D,
        ("AveragePool", 1): AvgPool1D, ("AveragePool", 2): AvgPool2D,
    }  # fmt: skip
    of = layers[node.op, len(kernel)]
    stride = None if strides == kernel else strides[0] if len(kernel) == 1 else pair_of(strides)
    layer = of(kernel[0] if len(kernel) == 1 else pair_of(kernel), stride, padding)
    made = [axis if length(axis) == n else (Part(n),) for axis, n in zip(space, outputs, strict=True)]
    ox = (x.layout.ox[0], channels, *made)
    if thin is not None:
        ox = (*ox[:2], *((), ox[2])[:: 1 if thin == 0 else -1])
    return r.step(layer, [x], Layout((x.layout.gp[0], *made, channels), ox, r.batch))


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
