"""ONNX nodes of convolutions and transposed ones, of sequences, images and volumes, with the channels behind the batch.

The weights are W (kh, kw, C/g, O) here and (O, C/g, kh, kw) in ONNX; those of a transposed convolution are
(kh, kw, O/g, C) and (C, O/g, kh, kw). The places that a "same" padding adds are written as numbers, since ONNX's own
SAME_LOWER and SAME_UPPER are deprecated.
"""

from __future__ import annotations

from typing import Any

from ...layers import Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose
from ...layers.plan import join
from ...layers.windows import Windows, each, transposed_windows, windows_of
from .graph import Graph, Value
from .lowering import lowers

ANY = 9  # steps of a sequence of any length, whose windows lie alike whatever the length
Shape = tuple[int | str, ...]


def attributes(windows: Windows) -> dict[str, Any]:
    """Kernel, strides, dilations and padding as ONNX's convolutions and poolings have them: above, left, below, right.

    >>> attributes(windows_of((1, 6, 6, 1), (3, 3), (2, 2), "same"))
    {'kernel_shape': [3, 3], 'strides': [2, 2], 'pads': [0, 0, 1, 1]}
    """
    found = {
        "kernel_shape": [axis.k for axis in windows],
        "strides": [axis.s for axis in windows],
        "pads": [*(axis.p for axis in windows), *(axis.q for axis in windows)],
    }
    return found | _dilations(windows)


def _dilations(windows: Windows) -> dict[str, Any]:
    return {"dilations": [axis.d for axis in windows]} if any(axis.d > 1 for axis in windows) else {}


@lowers(Conv1D, Conv2D, Conv3D)
def convolution(g: Graph, layer: Conv1D | Conv2D | Conv3D, x: Value, path: str) -> Value:
    """y[n,o,h',w'] = Σ x W + b; padding behind a row's end is 0, as that of the sequence."""
    n = len(x.shape) - 2
    given = (each(layer.kernel_size, n), each(layer.stride, n), layer.padding, each(layer.dilation, n))
    windows = windows_of(_sizes(x), *given)
    shape: Shape = (x.shape[0], *_kept(x, windows.shape), layer.filters)
    return g.node(
        "Conv", [_input(g, x), *_weights(g, layer, path)], shape, True, **attributes(windows), group=layer.groups
    )


@lowers(Conv1DTranspose, Conv2DTranspose, Conv3DTranspose)
def transposed(g: Graph, layer: Conv1DTranspose | Conv2DTranspose | Conv3DTranspose, x: Value, path: str) -> Value:
    """y[n,o,h',w'] = Σ x W + b, over the pixels and taps that meet in (h', w')."""
    n = len(x.shape) - 2
    kernel, stride, dilation = (each(of, n) for of in (layer.kernel_size, layer.stride, layer.dilation))
    windows = transposed_windows(_sizes(x), kernel, stride, layer.padding, dilation, layer.output_padding)
    behind = [(axis.outputs - 1) * axis.s + axis.span - axis.p - axis.n for axis in windows]  # that are cut off
    of = {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": [*(axis.p for axis in windows), *(max(q, 0) for q in behind)],
        **_dilations(windows),
    }
    if min(behind) < 0:
        of["output_padding"] = [max(-q, 0) for q in behind]
    if any(-q >= axis.s for q, axis in zip(behind, windows, strict=True)):
        return _turned(g, layer, x, windows, behind, path)
    shape: Shape = (x.shape[0], *_kept(x, tuple(axis.n for axis in windows)), layer.filters)
    return g.node("ConvTranspose", [_input(g, x), *_weights(g, layer, path)], shape, True, **of, group=layer.groups)


def _turned(g: Graph, layer: Any, x: Value, windows: Windows, behind: list[int], path: str) -> Value:
    """The same as a convolution with the kernel turned by half a turn, of x with s - 1 zeros between its pixels, where
    output_padding is not below the stride, which onnxruntime wants."""
    n, x = len(windows), _input(g, x)
    sizes, C, O = x.shape[1:-1], int(x.shape[-1]), layer.filters
    if any(axis.s > 1 for axis in windows):
        apart = g.node("Unsqueeze", [x, g.whole(*range(3, 2 * n + 2, 2))], x.shape)
        after = [0, 0, *(m for axis in windows for m in (0, axis.s - 1))]
        apart = g.node("Pad", [apart, g.whole(*[0] * len(after), *after)], x.shape)
        sizes = tuple(int(size) * axis.s for size, axis in zip(sizes, windows, strict=True))
        x = g.node("Reshape", [apart, g.whole(0, C, *map(int, sizes))], (x.shape[0], *sizes, C), True)
    front = [axis.span - 1 - axis.p for axis in windows]
    back = [axis.span - axis.s - q for axis, q in zip(windows, behind, strict=True)]
    pads = [*front, *back]
    if min(pads) < 0:
        x = g.node("Pad", [x, g.whole(0, 0, *front, 0, 0, *back)], x.shape, True)
        pads = [0] * 2 * n
    name, groups, kernel = join(path, "W"), layer.groups, [axis.k for axis in windows]
    W = g.array(name)[(slice(None, None, -1),) * n].reshape(*kernel, O // groups, groups, C // groups)
    W = W.transpose(n + 1, n, n + 2, *range(n)).reshape(O, C // groups, *kernel)
    weights = [g.changed(name, W), *([g.parameter(join(path, "b"))] if layer.use_bias else [])]
    shape: Shape = (x.shape[0], *_kept(x, tuple(axis.n for axis in windows)), O)
    of = {"kernel_shape": kernel, "pads": pads, **_dilations(windows)}
    return g.node("Conv", [x, *weights], shape, True, **of, group=groups)


def _input(g: Graph, x: Value) -> Value:
    x = g.channels_first(x)
    return x if g.mask is None or len(x.shape) != 3 else g.mask.without_padding(g, x)


def _weights(g: Graph, layer: Any, path: str) -> list[str]:
    W = join(path, "W")
    array = g.array(W)
    n = array.ndim - 2
    weights = [g.changed(W, array.transpose(n + 1, n, *range(n)))]
    return [*weights, g.parameter(join(path, "b"))] if layer.use_bias else weights


def _sizes(x: Value) -> tuple[int, ...]:
    return (1, *(n if isinstance(n, int) else ANY for n in x.shape[1:]))


def _kept(x: Value, sizes: tuple[int, ...]) -> Shape:
    """The sizes of the output; where that of the input is any, the output has the same."""
    return tuple(size if isinstance(n, int) else n for n, size in zip(x.shape[1:-1], sizes, strict=True))
