"""Conv and ConvTranspose: of sequences (B, C, T), images (B, C, H, W) and volumes (B, C, D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...layers import Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose, Layer
from ...layers.windows import transposed_axis
from .layout import Axis, Layout, Part, length, sizes
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .scaling import into_convolution, over, scaling_of
from .sizes import Size
from .spaces import ANY, NAMED, channels_last, dilations_at, padding_of, pair_of, windows_at
from .values import Array, Data, Linear, Padded, Value

LAYERS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}
TRANSPOSED: dict[int, Any] = {1: Conv1DTranspose, 2: Conv2DTranspose, 3: Conv3DTranspose}


@reads("Conv")
def conv(r: Reader, node: Node) -> Value:
    """Conv1D, Conv2D or Conv3D."""
    value = r.needed(node, 0)
    W, n, kernel = _weights(r, node, r.layout(value))
    called = f"Conv{n}D"
    before = scaling_of(r, value)
    if before is not None:
        value = before.x
    if not isinstance(value, Padded):
        value = r.data(value)
    extra = ([0] * n, [0] * n)
    if isinstance(value, Padded):
        extra, value = (list(value.before), list(value.after)), value.x
    x, space, channels = channels_last(r, value)
    groups = node.whole("group", 1)
    if groups < 1 or length(channels) != W.shape[1] * groups or W.shape[0] % groups:
        raise Refused(f"weights of shape {W.shape} in {groups} groups, for {length(channels)} channels", layout=None)
    dilations, (strides, front, after, auto) = dilations_at(node, kernel), windows_at(node, space, kernel)
    front, after = ([a + b for a, b in zip(*of, strict=True)] for of in ((front, extra[0]), (after, extra[1])))
    padding, outputs = padding_of(called, space, kernel, strides, dilations, front, after, auto)
    b, nodes = None, (node,)
    if before is not None:
        W, b = into_convolution(before, channels, W, groups, padding != "valid")
        nodes = (*before.nodes, node)
        _tell(r, before)
    W = W.transpose(*range(2, W.ndim), 1, 0)

    def layer(units: int, bias: bool) -> Layer:
        made: Layer = LAYERS[n](
            units, pair_of(kernel), pair_of(strides), padding, groups, bias, dilation=pair_of(dilations)
        )
        return made

    unit, l = _given(r, x, space, outputs, W.shape[-1])
    bias = _bias(r, node, W.shape[-1], l)
    bias = bias if b is None else b if bias is None else b + bias
    return Linear(x, layer, W, (unit,), l, nodes, bias, groups=groups)


@reads("ConvTranspose")
def conv_transpose(r: Reader, node: Node) -> Value:
    """Conv1DTranspose, Conv2DTranspose or Conv3DTranspose."""
    value = r.needed(node, 0)
    W, n, kernel = _weights(r, node, r.layout(value))
    before, nodes = scaling_of(r, value), (node,)
    x, space, channels = channels_last(r, r.data(value if before is None else before.x))
    groups = node.whole("group", 1)
    if groups < 1 or length(channels) != W.shape[0] or W.shape[0] % groups:
        raise Refused(f"weights of shape {W.shape} in {groups} groups, for {length(channels)} channels", layout=None)
    if before is not None:
        a, c = over(before, channels)
        if c.any():
            raise Refused("it shifts images before a transposed convolution", before.nodes[0], before.layout)
        W, nodes = a.astype(W.dtype).reshape(-1, *[1] * (n + 1)) * W, (*before.nodes, node)
        _tell(r, before)
    strides, dilations = windows_at(node, space, kernel)[0], dilations_at(node, kernel)
    padding, more, outputs = _cut(node, space, kernel, strides, dilations)
    last = _units_last(W, groups)

    def layer(units: int, bias: bool) -> Layer:
        at = (pair_of(kernel), pair_of(strides), padding, more, pair_of(dilations))
        made: Layer = TRANSPOSED[n](units, *at, groups, bias)
        return made

    unit, l = _given(r, x, space, outputs, last.shape[-1])
    bias = _bias(r, node, last.shape[-1], l)
    return Linear(
        x, layer, last, (unit,), l, nodes, bias, groups=groups, stored=lambda W: _channels_to_the_end(W, groups)
    )


def _weights(r: Reader, node: Node, layout: Layout) -> tuple[Array, int, list[int]]:
    """(weights as the file has them, axes of space, sizes of the kernel)."""
    W = r.numbers(node, 1, "weights")
    if W is None:
        raise Refused("it has no weights")
    n, kernel = W.ndim - 2, list(W.shape[2:])
    if n not in LAYERS:
        raise Refused(f"it has {n} axes of space; gpubp's convolutions have 1 to 3", layout=None)
    if (node.list("kernel_shape") or kernel) != kernel:
        raise Refused(f"kernel_shape {node.list('kernel_shape')} for weights of shape {W.shape}")
    if len(layout.ox) != W.ndim:
        raise Refused(f"its weights have {W.ndim} axes, and its input {len(layout.ox)}")
    return W, n, kernel


def _tell(r: Reader, before: Any) -> None:
    r.notes.append(f"{before.nodes[-1].shown}: the scaling before it is a part of its weights, and is trained as such")


def _given(r: Reader, x: Data, space: Sequence[Axis], outputs: Sequence[Any], units: int) -> tuple[Part, Layout]:
    """The part of the filters, and the layout of the output."""
    made = [axis if length(axis) == n else (Part(n),) for axis, n in zip(space, outputs, strict=True)]
    unit = Part(units)
    return unit, Layout((x.layout.gp[0], *made, (unit,)), (x.layout.ox[0], (unit,), *made), r.batch)


def _bias(r: Reader, node: Node, units: int, layout: Layout) -> Array | None:
    bias = r.numbers(node, 2, "bias")
    if bias is not None and bias.shape != (units,):
        raise Refused(f"its bias has the shape {bias.shape}, for {units} filters", layout=layout)
    return bias


def _units_last(W: Array, groups: int) -> Array:
    """(C, O/g, kh, kw) as (kh, kw, C/g, O)."""
    (C, m), kernel = W.shape[:2], W.shape[2:]
    k = len(kernel)
    of_groups = W.reshape(groups, C // groups, m, *kernel).transpose(*range(3, k + 3), 1, 0, 2)
    return of_groups.reshape(*kernel, C // groups, groups * m)


def _channels_to_the_end(W: Array, groups: int) -> Array:
    """(kh, kw, C/g, O) as (kh, kw, O/g, C)."""
    *kernel, c, O = W.shape
    of_groups = W.reshape(*kernel, c, groups, O // groups)
    k = len(kernel)
    return of_groups.transpose(*range(k), k + 2, k + 1, k).reshape(*kernel, O // groups, groups * c)


def _cut(
    node: Node, space: Sequence[Axis], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[Any, Any, list[Any]]:
    """(padding, output_padding, sizes of the output) of a transposed convolution, in gpubp's words."""
    n = len(space)
    _, before, after, auto = windows_at(node, space, kernel)
    more, shape = node.list("output_padding") or [0] * n, node.list("output_shape")
    if len(more) != n or min(more) < 0 or (shape is not None and len(shape) not in (n, n + 2)):
        raise Refused(f"output_padding {more}, output_shape {shape} for {n} axes of space")
    long = [ANY if isinstance(length(axis), Size) else sizes((Part(length(axis)),))[0] for axis in space]
    named = NAMED.get(auto)
    if named and shape is None and not any(more):
        found = [
            transposed_axis(m, k, s, named, d) for m, k, s, d in zip(long, kernel, strides, dilations, strict=True)
        ]
        return named, None, _sizes_out(space, [axis.n for axis in found])
    out = shape[-n:] if shape is not None else [m * s for m, s in zip(long, strides, strict=True)] if named else None
    whole = [  # without padding
        (m - 1) * s + (k - 1) * d + 1 for m, k, s, d in zip(long, kernel, strides, dilations, strict=True)
    ]
    if out is not None:
        lacking = [max(w + r - o, 0) for w, r, o in zip(whole, more, out, strict=True)]
        half = [lack // 2 if auto == "SAME_UPPER" else -(-lack // 2) for lack in lacking]
        before, after = half, [lack - h for lack, h in zip(lacking, half, strict=True)]
        more = [o - w + b + a for o, w, b, a in zip(out, whole, before, after, strict=True)]
    limits = [max(step) for step in zip(strides, dilations, strict=True)]
    for i, (a, r, limit) in enumerate(zip(after, more, limits, strict=True)):
        if r >= limit:  # the same places, fewer cut off and fewer added
            less = min(a, r)
            after[i], more[i] = a - less, r - less
    if any(r >= limit for r, limit in zip(more, limits, strict=True)):
        raise Refused(f"output_padding {more}, which is not below strides {strides} or dilations {dilations}")
    made = [w + r - b - a for w, r, b, a in zip(whole, more, before, after, strict=True)]
    if min(made) < 1:
        raise Refused(f"its padding leaves nothing of {whole} places")
    padding: Any = tuple(zip(before, after, strict=True))
    if before == after:
        padding = pair_of(before)
    elif n == 1:
        padding = padding[0]
    if not any([*before, *after, *more]) and all(
        k * d - d + 1 >= s for k, s, d in zip(kernel, strides, dilations, strict=True)
    ):
        padding = "valid"
    return padding, pair_of(more) if any(more) else None, _sizes_out(space, made)


def _sizes_out(space: Sequence[Axis], made: Sequence[int]) -> list[Any]:
    """The sizes; of an axis of any length its own, which must stay."""
    found: list[Any] = list(made)
    for i, axis in enumerate(space):
        if isinstance(length(axis), Size):
            if made[i] != ANY:
                raise Refused(
                    f"it changes the number {length(axis)} of time steps, which differs from row to row; say the "
                    "length: from_onnx(..., input_shape=...)"
                )
            found[i] = length(axis)
    return found
