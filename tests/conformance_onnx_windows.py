"""ONNX's node cases of layers with windows, and of losses, written with gpubp's own; see conformance_onnx.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp as bp
from conformance_onnx import Case, expresses
from conformance_runs import channels_first, channels_last, of_axes, one_or_all, run


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
