"""MaxPool and AveragePool: of sequences (B, C, T), images (B, C, H, W) and volumes (B, C, D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import AvgPool1D, AvgPool2D, AvgPool3D, MaxPool1D, MaxPool2D, MaxPool3D
from ...layers.windows import Axis as Windows
from ...layers.windows import axis_of, each_padding
from .layout import Axis, Layout, Part, length, sizes
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .sizes import Size
from .spaces import NAMED, channels_last, dilations_at, padding_of, pair_of, windows_at
from .values import Data, Value

MOST_TAPS = 4096  # of a pooling, which takes them one by one
LAYERS: dict[str, Any] = {
    "MaxPool": (MaxPool1D, MaxPool2D, MaxPool3D),
    "AveragePool": (AvgPool1D, AvgPool2D, AvgPool3D),
}


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


@reads("MaxPool", "AveragePool")
def pool(r: Reader, node: Node) -> Value:
    """A pooling of 1, 2 or 3 axes of space."""
    value = r.data(r.needed(node, 0))
    kernel, shape = node.list("kernel_shape") or [], value.layout.ox[2:]
    if len(node.outputs) > 1 and node.outputs[1] in r.readers:
        raise Refused("the places of its largest numbers are used", layout=value.layout)
    strides, before, after, auto = windows_at(node, shape, kernel)
    dilations = dilations_at(node, kernel)
    thin = _squeezable(node, value, list(shape), kernel, strides, before, after)
    if thin is not None:
        kept = 1 - thin
        kernel, strides, before, after, dilations = ([of[kept]] for of in (kernel, strides, before, after, dilations))
        ox = tuple(axis for n, axis in enumerate(value.layout.ox) if n != 2 + thin)
        value = Data(value.step, replace(value.layout, ox=ox))
    x, space, channels = channels_last(r, value)
    if np.prod([float(k) for k in kernel]) > MOST_TAPS:
        raise Refused(f"windows of {kernel}, which have more than {MOST_TAPS} places")
    ceil, counted = bool(node.whole("ceil_mode", 0)), bool(node.whole("count_include_pad", 0))
    counted = counted and node.op == "AveragePool"
    options: dict[str, Any] = {"dilation": pair_of(dilations)}
    if any(isinstance(length(axis), Size) for axis in space):
        called = LAYERS[node.op][len(kernel) - 1].__name__
        padding, outputs = padding_of(called, space, kernel, strides, dilations, before, after, auto, ceil)
    else:
        sides: list[Any] = [NAMED.get(auto) or pair for pair in zip(before, after, strict=True)]
        places = [sizes((Part(length(axis)),))[0] for axis in space]
        wanted = _axes(places, kernel, strides, sides, dilations, ceil)
        outputs = [axis.outputs for axis in wanted]
        if min(outputs) < 1:
            raise Refused(f"its windows of {kernel} are larger than its input {places}")
        counted = counted and any(a.inside(o, True) != a.inside(o) for a in wanted for o in range(a.outputs))
        padding, options["ceil_mode"] = _padding(places, (kernel, strides, dilations), wanted, sides, counted)
    if node.op == "AveragePool":
        options["count_include_pad"] = counted
    stride = None if strides == kernel else pair_of(strides)
    layer = LAYERS[node.op][len(kernel) - 1](pair_of(kernel), stride, padding, **options)
    if not any(isinstance(length(axis), Size) for axis in space):
        layer.plan((1, *(length(axis) for axis in space), 1))  # raises ShapeError for windows that see nothing
    made = [axis if length(axis) == n else (Part(n),) for axis, n in zip(space, outputs, strict=True)]
    ox = (x.layout.ox[0], channels, *made)
    if thin is not None:
        ox = (*ox[:2], *((), ox[2])[:: 1 if thin == 0 else -1])
    return r.step(layer, [x], Layout((x.layout.gp[0], *made, channels), ox, r.batch))


def _axes(
    places: Sequence[int], kernel: Sequence[int], strides: Sequence[int], sides: Sequence[Any],
    dilations: Sequence[int], ceil: bool,
) -> list[Windows]:  # fmt: skip
    of_axes = zip(places, kernel, strides, sides, dilations, strict=True)
    return [axis_of(*of_axis, ceil) for of_axis in of_axes]


def _padding(
    places: Sequence[int], of_axes: tuple[Any, Any, Any], wanted: list[Windows], sides: list[Any], counted: bool
) -> tuple[Any, bool]:
    """(padding, ceil_mode), the plainest that gives the same windows, and the same counts where padding is counted."""
    kernel, strides, dilations = of_axes
    front = pair_of([axis.p for axis in wanted])
    named = sides[0] if isinstance(sides[0], str) else None
    both = tuple((axis.p, axis.q) for axis in wanted)
    choices = [named, "valid", front, "same", "same_lower", both[0] if len(both) == 1 else both]
    for ceil in (False, True):
        for padding in choices:
            if padding is None:
                continue
            found = _axes(places, kernel, strides, each_padding(padding, len(places)), dilations, ceil)
            if all(_alike(a, b, counted) for a, b in zip(found, wanted, strict=True)):
                return padding, ceil
    raise Refused("its padding is none of gpubp's")  # which can't be, as the last choice is the node's own


def _alike(a: Windows, b: Windows, counted: bool) -> bool:
    if a.p != b.p or a.outputs != b.outputs:
        return False
    return not counted or all(a.inside(o, True) == b.inside(o, True) for o in range(a.outputs))
