"""ONNX's node cases of layers with windows, and of losses, written with gpubp's own; see conformance_onnx.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp as bp
from conformance_onnx import Case, expresses
from conformance_runs import NotExpressible, channels_first, channels_last, of_axes, one_or_all, run


def _geometry(case: Case, kernel: list[int]) -> dict[str, Any]:
    """Stride, padding before and behind along each axis, and what else is not as usual."""
    axes, places = len(kernel), case.inputs[0].shape[2:]
    stride, dilation = case.get("strides") or [1] * axes, case.get("dilations") or [1] * axes
    pads, auto = case.get("pads") or [0] * 2 * axes, case.get("auto_pad", "NOTSET")
    pairs = list(zip(pads[:axes], pads[axes:], strict=True))
    if auto.startswith("SAME"):
        sizes = zip(places, kernel, stride, dilation, strict=True)
        lacking = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes]
        pairs = [(p // 2, p - p // 2) if auto == "SAME_UPPER" else (p - p // 2, p // 2) for p in lacking]
    arguments = {"stride": one_or_all(stride), "padding": one_or_all(pairs)}
    return arguments | ({"dilation": one_or_all(dilation)} if max(dilation) > 1 else {})


@expresses("Conv")
def convolution(case: Case) -> list[Any]:
    """Weights (O, C/g, ...) become (..., C/g, O)."""
    x, W, b = case.inputs[0], case.inputs[1], case.input(2)
    kernel, W = list(W.shape[2:]), np.moveaxis(W, (0, 1), (-1, -2))
    layer = of_axes("Conv", len(kernel))(
        W.shape[-1], one_or_all(kernel), groups=case.get("group", 1), use_bias=b is not None, **_geometry(case, kernel)
    )
    p = {"W": W} | ({} if b is None else {"b": b})
    return [channels_first(run(layer, channels_last(x), p, dtype=case.dtype)[0])]


@expresses("MaxPool", "AveragePool")
def pooling(case: Case) -> list[Any]:
    """Windows with the largest number, or the mean."""
    kernel = case.get("kernel_shape")
    more = {"ceil_mode": True} if case.get("ceil_mode") else {}
    if case.get("count_include_pad"):
        more["count_include_pad"] = True
    layer = of_axes({"MaxPool": "MaxPool", "AveragePool": "AvgPool"}[case.operator], len(kernel))(
        one_or_all(kernel), **_geometry(case, kernel), **more
    )
    y = channels_first(run(layer, channels_last(case.inputs[0]).astype(case.dtype), dtype=case.dtype)[0])
    return [y.astype(case.inputs[0].dtype)]


@expresses("GlobalAveragePool", "GlobalMaxPool")
def global_pooling(case: Case) -> list[Any]:
    """One number a channel."""
    x = case.inputs[0]
    layer = of_axes(case.operator.replace("Average", "Avg"), x.ndim - 2)()
    y = run(layer, channels_last(x), dtype=case.dtype)[0]
    return [y.reshape(y.shape + (1,) * (x.ndim - 2))]


@expresses("ConvTranspose")
def transposed_convolution(case: Case) -> list[Any]:
    """Weights (C, O/g, ...) become (..., O/g, C)."""
    x, W, b = case.inputs[0], case.inputs[1], case.input(2)
    kernel, axes = list(W.shape[2:]), W.ndim - 2
    if not hasattr(bp, f"Conv{axes}DTranspose"):
        raise NotExpressible(f"there is no Conv{axes}DTranspose")
    arguments = _geometry(case, kernel)
    stride, dilation = case.get("strides") or [1] * axes, case.get("dilations") or [1] * axes
    given = zip(x.shape[2:], kernel, stride, dilation, case.get("output_padding") or [0] * axes, strict=True)
    sizes = [(n - 1) * s + (k - 1) * d + 1 + o for n, k, s, d, o in given]  # without padding
    wanted = case.get("output_shape") or (
        [n * s for n, s in zip(x.shape[2:], stride, strict=True)] if case.get("auto_pad") == "SAME_UPPER" else None
    )
    if wanted:
        cut = [size - n for size, n in zip(sizes, wanted, strict=True)]
        arguments["padding"] = one_or_all([(max(c, 0) // 2, max(c, 0) - max(c, 0) // 2) for c in cut])
        missing = [max(-c, 0) + o for c, o in zip(cut, case.get("output_padding") or [0] * axes, strict=True)]
    else:
        missing = case.get("output_padding") or [0] * axes
    if any(missing):
        arguments["output_padding"] = one_or_all(missing)
    groups = case.get("group", 1)
    layer = getattr(bp, f"Conv{axes}DTranspose")(
        W.shape[1] * groups, one_or_all(kernel), groups=groups, use_bias=b is not None, **arguments
    )
    p = {"W": np.moveaxis(W, (0, 1), (-1, -2))} | ({} if b is None else {"b": b})
    return [channels_first(run(layer, channels_last(x), p, dtype=case.dtype)[0])]


@expresses("Pad")
def padding(case: Case) -> list[Any]:
    """Around images, by a number or by what lies in them."""
    x, pads, value, of = case.inputs[0], case.inputs[1], case.input(2), case.input(3)
    axes = range(x.ndim) if of is None else [int(a) % x.ndim for a in of]
    pairs = dict.fromkeys(range(x.ndim), (0, 0))
    pairs |= {a: (int(pads[k]), int(pads[len(pads) // 2 + k])) for k, a in enumerate(axes)}
    alone = any(pairs[a] != (0, 0) for a in (0, 1))  # an axis that is the batch's or the channels'
    rows = x[None, ..., None] if alone else channels_last(x)
    around = [pairs[a] for a in range(0 if alone else 2, x.ndim)]
    layer = of_axes("Padding", len(around))(
        one_or_all(around), case.get("mode", "constant"), **({"value": float(value)} if value is not None else {})
    )
    y = run(layer, rows, dtype=case.dtype)[0]
    return [y[0, ..., 0] if alone else channels_first(y)]


@expresses("Resize", "Upsample")
def resizing(case: Case) -> list[Any]:
    """Images a whole number of times as large."""
    x, mode, y = case.inputs[0], case.get("mode", "nearest"), case.wanted[0]
    factors = [n / m for n, m in zip(y.shape, x.shape, strict=True)]
    scales = case.input(2 if case.operator == "Resize" else 1)
    axes = case.get("axes", range(x.ndim))
    given = factors if scales is None else [1.0] * x.ndim
    for a, scale in zip(axes, [] if scales is None else scales, strict=False):
        given[a] = float(scale)
    if any(f != int(f) for f in factors) or factors[:2] != [1, 1] or given != factors:
        raise NotExpressible("a size that is not a whole number of times as large")
    if mode == "cubic" or case.get("antialias"):
        raise NotExpressible("another interpolation than nearest and bilinear")
    half_pixel = case.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    if not half_pixel or case.get("nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        raise NotExpressible("other places between pixels than half a pixel from their edges")
    layer = of_axes("UpSampling", x.ndim - 2)(
        one_or_all([int(f) for f in factors[2:]]), interpolation="nearest" if mode == "nearest" else "bilinear"
    )
    return [channels_first(run(layer, channels_last(x), dtype=case.dtype)[0])]


# -- losses ---------------------------------------------------------------------------------------------------------


@expresses("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def classes_loss(case: Case) -> list[Any]:
    """The loss of each position, their weighted mean, or their sum."""
    z, t, weight = channels_last(case.inputs[0]), case.inputs[1], case.input(2)
    made = bp.SoftmaxCrossEntropy if case.operator == "SoftmaxCrossEntropyLoss" else bp.NegativeLogLikelihood
    loss = made(ignore_index=case.get("ignore_index"), class_weight=None if weight is None else weight.tolist())
    reduction = case.get("reduction", "mean")
    if reduction == "mean":
        return [np.float32(loss.value_and_gradient(z, t)[0])]
    each = loss.rows(z, t, each="position")
    return [each if reduction == "none" else each.sum()]
