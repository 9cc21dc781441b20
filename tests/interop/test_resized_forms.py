"""Poolings with all options, upsampling, padding and cropping in other forms: ONNX, its graph read again, and C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_runs import Compiled, difference, needs_compiler
from onnx_graphs import onnx, saved
from onnx_runs import compare, compare_anywhere

import gpubp as bp

SHAPES = {1: (9, 2), 2: (6, 7, 2), 3: (4, 3, 5, 2)}
COUNTED = (bp.AvgPool1D, bp.AvgPool2D, bp.AvgPool3D)
NETS: list[tuple[bp.Layer, int]] = [
    *((layer(3, 2, 1, ceil_mode=True), d) for d, layer in enumerate((bp.MaxPool1D, bp.MaxPool2D, bp.MaxPool3D), 1)),
    *((layer(3, 2, 1, ceil_mode=True), d) for d, layer in enumerate(COUNTED, 1)),
    *((layer(2, 2, 1, count_include_pad=True), d) for d, layer in enumerate(COUNTED, 1)),
    *((layer(2, 1, divisor_override=3), d) for d, layer in enumerate(COUNTED, 1)),
    (bp.MaxPool1D(3, 2, (3, 4), dilation=2), 1),  # more padding than taps
    (bp.MaxPool2D((2, 3), (2, 1), "same_lower", dilation=(3, 2)), 2),
    (bp.MaxPool3D((1, 2, 3), dilation=(1, 2, 1), ceil_mode=True), 3),
    (bp.AvgPool1D(3, 2, (3, 1), dilation=2, count_include_pad=True), 1),
    (bp.AvgPool2D((2, 3), padding=((0, 1), (2, 0)), ceil_mode=True, count_include_pad=True), 2),
    (bp.AvgPool2D(2, 1, "same", divisor_override=5), 2),
    (bp.AvgPool3D((2, 1, 2), (1, 2, 2), (1, 0, 1), dilation=(2, 1, 1)), 3),
    (bp.AdaptiveAvgPool1D(4), 1),
    (bp.AdaptiveMaxPool1D(3), 1),
    (bp.AdaptiveMaxPool2D((3, 7)), 2),
    (bp.AdaptiveAvgPool3D((2, None, 2)), 3),
    (bp.AdaptiveMaxPool3D(2), 3),
    (bp.UpSampling1D(3, "linear"), 1),
    (bp.UpSampling2D((3, 2), "bilinear"), 2),
    (bp.UpSampling3D((1, 3, 2)), 3),
    (bp.UpSampling3D(2, "trilinear"), 3),
    *((layer(2, "reflect"), d) for d, layer in enumerate((bp.Padding1D, bp.Padding2D, bp.Padding3D), 1)),
    *((layer(1, "edge"), d) for d, layer in enumerate((bp.Padding1D, bp.Padding2D, bp.Padding3D), 1)),
    *((layer(2, "wrap"), d) for d, layer in enumerate((bp.Padding1D, bp.Padding2D, bp.Padding3D), 1)),
    (bp.Padding2D(((0, 2), (1, 0)), value=-1.5), 2),
    (bp.Padding1D((0, 4), "wrap"), 1),
    (bp.Cropping1D((2, 0)), 1),
    (bp.Cropping2D(((1, 0), (2, 3))), 2),
    (bp.Cropping3D(1), 3),
    (bp.GlobalMaxPool3D(), 3),
]


@pytest.mark.parametrize(("layer", "d"), NETS, ids=repr)
def test_onnx_has_the_same_numbers(layer: bp.Layer, d: int, tmp_path: Path) -> None:
    """By onnxruntime in both precisions, or by ONNX's reference where that has none in float64; and from the graph."""
    X = np.random.default_rng(1).normal(size=(3, *SHAPES[d]))
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        net = bp.Network(layer, SHAPES[d], "cpu", dtype)
        compare_anywhere(net, tmp_path, X.astype(dtype), tolerance)
    net = bp.Network(layer, SHAPES[d], "cpu")
    compare(net, tmp_path, X.astype("float32"))
    made = onnx.load(tmp_path / "model.onnx")
    del made.metadata_props[:]
    ops = {node.op_type for node in made.graph.node}
    if ops & {"Concat", "Mul"} or ({"Pad", "MaxPool"} <= ops):  # windows one by one, counts, and -∞ around the input
        return
    again = bp.from_onnx(saved(made, tmp_path), device="cpu")
    np.testing.assert_allclose(again.predict(X), net.predict(X), rtol=0, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-6), ("float64", 1e-14)])
def test_c_has_the_same_numbers(dtype: str, most: float, tmp_path: Path) -> None:
    nets = {f"n{i}": bp.Network(layer, SHAPES[d], "cpu", dtype) for i, (layer, d) in enumerate(NETS)}
    compiled, rng = Compiled(nets, tmp_path, "-O0"), np.random.default_rng(1)
    for name, net in nets.items():
        X = rng.normal(size=(3, *net.input_shape)).astype(dtype)
        assert difference(compiled.predict(name, X), net.predict(X)) <= most, net
