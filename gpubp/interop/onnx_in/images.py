"""Conv, pooling and BatchNormalization: of images (B, C, H, W), and of sequences (B, C, T)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ...errors import ShapeError
from ...layers import (
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Layer,
    MaxPool1D,
    MaxPool2D,
)  # fmt: skip
from ...layers.windows import windows_of, windows_over_time
from .dense import in_order
from .elementwise import shortest
from .layout import Axis, Layout, Part, length, sizes
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .scaling import into_convolution, scaling_of
from .sizes import Size
from .values import Data, Linear, Padded, Value

MOST_TAPS = 4096  # of a pooling, which takes them one by one


def _channels_last(r: Reader, x: Data) -> tuple[Data, list[Axis], Axis]:
    """Images or sequences with their channels last, (data, axes of space, axis of channels)."""
    ox = x.layout.ox
    if len(ox) not in (3, 4):
        raise Refused(f"it works on {len(ox) - 2} axes of space, and gpubp's layers on 1 or 2", layout=x.layout)
    if ox[0] != (r.batch,):
        raise Refused("its first axis is not that of the rows")
    space, channels = list(ox[2:]), ox[1]
    return r.regrouped(x, (ox[0], *space, channels)), space, channels


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


def _windows(node: Node, space: Sequence[Axis], kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], str]:
    """(strides, places before, places after, auto_pad) for each axis of space."""
    n = len(space)
    strides, pads = node.list("strides") or [1] * n, node.list("pads") or [0] * 2 * n
    if len(strides) != n or len(pads) != 2 * n or len(kernel) != n or min(*strides, *kernel) < 1:
        raise Refused(f"kernel_shape {list(kernel)}, strides {strides}, pads {pads} for {n} axes of space")
    auto = node.text("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"auto_pad={auto!r}")
    if min(pads) < 0:
        raise Refused(f"pads {pads}; gpubp's layers cut nothing off")
    if auto != "NOTSET":
        pads = [0] * 2 * n
    return strides, pads[:n], pads[n:], auto


def _padding(
    called: str, space: Sequence[Axis], kernel: Sequence[int], strides: Sequence[int], before: Sequence[int],
    after: Sequence[int], auto: str, ceil: bool,
) -> tuple[Any, list[int]]:  # fmt: skip
    """gpubp's padding with the same windows, and how many there are on each axis; Refused if it has none."""
    before, after, outputs = list(before), list(after), []
    for n, axis in enumerate(space):
        if isinstance(length(axis), Size):
            return _padding_of_any_length(called, axis, kernel, strides, before, after, auto)
        size, k, s = sizes((Part(length(axis)),))[0], kernel[n], strides[n]
        if auto.startswith("SAME"):
            lacking = max((-(-size // s) - 1) * s + k - size, 0)
            before[n] = lacking // 2 if auto == "SAME_UPPER" else -(-lacking // 2)
            after[n] = lacking - before[n]
        span = size + before[n] + after[n] - k
        count = (-(-span // s) if ceil else span // s) + 1
        if ceil and (count - 1) * s >= size + before[n]:
            count -= 1  # a window must begin in the image or in the padding before it
        if span < 0 or count < 1:
            raise Refused(f"its windows of {list(kernel)} are larger than its input {[length(a) for a in space]}")
        outputs.append(count)
    shape = (1, *(length(axis) for axis in space), 1)
    choices: list[Any] = ["same"] if auto.startswith("SAME") else ["valid"]
    numbers = tuple(before) if len(set(before)) > 1 else before[0]
    choices += [numbers, "same", *(["causal"] if len(space) == 1 and called.startswith("Conv") else [])]
    for padding in choices:
        try:
            if len(space) == 2:
                axes = tuple(windows_of(cast(Any, shape), tuple(kernel), tuple(strides), padding))
            else:
                axes = (windows_over_time(cast(Any, shape), kernel[0], strides[0], padding).columns,)
        except (ShapeError, TypeError):
            continue
        if [a.p for a in axes] == before and [a.outputs for a in axes] == outputs:
            return padding, outputs
    raise Refused(
        f"pads {[*before, *after]} for kernel_shape {list(kernel)}, strides {list(strides)}"
        f"{', ceil_mode=1' if ceil else ''}; gpubp's {called} has the same number of places before and after an axis, "
        'or "same", which has an odd one after it'
    )


def _padding_of_any_length(
    called: str, axis: Axis, kernel: Sequence[int], strides: Sequence[int], before: Sequence[int],
    after: Sequence[int], auto: str,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Of sequences of any length: those of gpubp that keep the number of steps."""
    k = kernel[0]
    if len(kernel) == 1 and strides[0] == 1 and (auto == "SAME_UPPER" or before[0] + after[0] == k - 1):
        if auto == "SAME_UPPER" or before[0] == (k - 1) // 2:
            return "same", [length(axis)]
        if before[0] == k - 1 and called.startswith("Conv"):
            return "causal", [length(axis)]
    raise Refused(
        f"it changes the number {length(axis)} of time steps, which differs from row to row; say the length: "
        "from_onnx(..., input_shape=...)"
    )


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
    strides, before, after, auto = _windows(node, layout.ox[2:], kernel)
    channels = layout.ox[1] if units is None else (Part(units),)
    made: list[Axis] = []
    for n, size in enumerate(sizes(tuple(map(Part, space)))):
        lost = 0 if auto.startswith("SAME") else (kernel[n] - 1) * dilations[n] - before[n] - after[n]
        if size - lost < 1:
            return None
        made.append((Part((size - lost - 1) // strides[n] + 1),))
    return Layout((layout.ox[0], *made, channels), (layout.ox[0], channels, *made), r.batch)


@reads("Conv")
def conv(r: Reader, node: Node) -> Value:
    """Conv1D or Conv2D."""
    W, value = r.numbers(node, 1, "weights"), r.needed(node, 0)
    layout = r.layout(value)
    if W is None:
        raise Refused("it has no weights")
    called = "Conv1D" if W.ndim == 3 else "Conv2D"
    if W.ndim not in (3, 4):
        raise Refused(f"it has {W.ndim - 2} axes of space; gpubp has Conv1D and Conv2D", layout=None)
    before = scaling_of(r, value)
    if before is not None:
        value = before.x
    if not isinstance(value, Padded):
        value = r.data(value)
    kernel = list(W.shape[2:])
    _no_dilations(r, node, called, layout, kernel, W.shape[0])
    if (node.list("kernel_shape") or kernel) != kernel:
        raise Refused(f"kernel_shape {node.list('kernel_shape')} for weights of shape {W.shape}")
    extra = ([0] * len(kernel), [0] * len(kernel))
    if isinstance(value, Padded):
        extra, value = (list(value.before), list(value.after)), value.x
    if len(layout.ox) != W.ndim:
        raise Refused(f"its weights have {W.ndim} axes, and its input {len(layout.ox)}")
    x, space, channels = _channels_last(r, value)
    groups = node.whole("group", 1)
    if groups < 1 or length(channels) != W.shape[1] * groups or W.shape[0] % groups:
        raise Refused(f"weights of shape {W.shape} in {groups} groups, for {length(channels)} channels", layout=None)
    strides, front, after, auto = _windows(node, space, kernel)
    front, after = ([a + b for a, b in zip(*of, strict=True)] for of in ((front, extra[0]), (after, extra[1])))
    unit = Part(W.shape[0])
    padding, outputs = _padding(called, space, kernel, strides, front, after, auto, False)
    b, nodes = None, (node,)
    if before is not None:
        W, b = into_convolution(before, channels, W, groups, padding != "valid")
        nodes = (*before.nodes, node)
        r.notes.append(
            f"{before.nodes[-1].shown}: the scaling before it is a part of its weights, and is trained as such"
        )
    W = W.transpose(*range(2, W.ndim), 1, 0)
    made = [axis if length(axis) == n else (Part(n),) for axis, n in zip(space, outputs, strict=True)]

    def layer(units: int, bias: bool) -> Layer:
        if len(kernel) == 1:
            return Conv1D(units, kernel[0], strides[0], padding, groups, bias)
        return Conv2D(units, _pair(kernel), _pair(strides), padding, groups, bias)

    l = Layout((x.layout.gp[0], *made, (unit,)), (x.layout.ox[0], (unit,), *made), r.batch)
    given = r.numbers(node, 2, "bias")
    if given is not None and given.shape != (W.shape[-1],):
        raise Refused(f"its bias has the shape {given.shape}, for {W.shape[-1]} filters", layout=l)
    bias = given if b is None else b if given is None else b + given
    return Linear(x, layer, W, (unit,), l, nodes, bias, groups=groups)


def _pair(values: Sequence[int]) -> Any:
    return values[0] if len(set(values)) == 1 else tuple(values)


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
    strides, before, after, auto = _windows(node, shape, kernel)
    ceil = bool(node.whole("ceil_mode", 0))
    thin = _squeezable(node, value, list(shape), kernel, strides, before, after)
    if thin is not None:
        kept = 1 - thin
        kernel, strides, before, after = ([of[kept]] for of in (kernel, strides, before, after))
        ox = tuple(axis for n, axis in enumerate(value.layout.ox) if n != 2 + thin)
        value = Data(value.step, replace(value.layout, ox=ox))
    x, space, channels = _channels_last(r, value)
    padding, outputs = _padding(called, space, kernel, strides, before, after, auto, ceil)
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
    stride = None if strides == kernel else strides[0] if len(kernel) == 1 else _pair(strides)
    layer = of(kernel[0] if len(kernel) == 1 else _pair(kernel), stride, padding)
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
    if len(l.ox) in (3, 4) and l.ox[0] == (r.batch,):
        x = _channels_last(r, x)[0]
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
