"""Pad, Resize, Upsample, Slice and global poolings of ONNX files, of images, sequences and volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import compare, model, node, normal, refusal, saved

import gpubp as bp

FLOAT, WAY = np.float32, "coordinate_transformation_mode"
IMAGES, STEPS, VOLUMES = ["n", 2, 4, 5], ["n", 2, 6], ["n", 2, 3, 4, 2]


@pytest.mark.parametrize(
    ("mode", "shape", "pads", "layers"),
    [
        ("constant", IMAGES, [0, 0, 1, 1, 0, 0, 1, 1], [bp.ZeroPadding2D(1)]),
        ("constant", IMAGES, [0, 0, 0, 2, 0, 0, 1, 0], [bp.ZeroPadding2D(((0, 1), (2, 0)))]),
        ("reflect", IMAGES, [0, 0, 2, 1, 0, 0, 2, 1], [bp.Padding2D((2, 1), "reflect")]),
        ("edge", STEPS, [0, 0, 3, 0, 0, 1], [bp.Padding1D((3, 1), "edge")]),
        ("wrap", VOLUMES, [0, 0, 1, 2, 1, 0, 0, 1, 2, 1], [bp.Padding3D((1, 2, 1), "wrap")]),
        ("constant", IMAGES, [0, 0, -1, 1, 0, 0, 0, 1], [bp.Cropping2D(((1, 0), (0, 0))), bp.ZeroPadding2D((0, 1))]),
        ("edge", STEPS, [0, 0, -2, 0, 0, -1], [bp.Cropping1D((2, 1))]),
        ("constant", STEPS, [0] * 6, []),
    ],
    ids=str,
)  # fmt: skip
def test_pad(tmp_path: Path, mode: str, shape: Any, pads: list[int], layers: list[bp.Layer]) -> None:
    nodes = [node("Pad", "x pads", "1", "p", mode=mode), node("Tanh", "1", "y")]
    made = model(nodes, shape, {"pads": np.array(pads)}, opset=19)
    net = compare(made, tmp_path, normal(3, *shape[1:]))
    assert net.layers == bp.Sequential(*layers, bp.Tanh())


def test_pad_with_a_number_and_named_axes(tmp_path: Path) -> None:
    constants = {"pads": np.array([1, 2]), "value": np.array(0.5, FLOAT), "axes": np.array([-1])}
    made = model([node("Pad", "x pads value axes", "y", "p")], IMAGES, constants, opset=18)
    net = compare(made, tmp_path, normal(3, 2, 4, 5))
    assert net.layers == bp.Sequential(bp.Padding2D(((0, 0), (1, 2)), value=0.5))


@pytest.mark.parametrize(
    ("shape", "scales", "attributes", "layer"),
    [
        (IMAGES, [1, 1, 2, 3], {WAY: "asymmetric", "nearest_mode": "floor"}, bp.UpSampling2D((2, 3))),
        (IMAGES, [1, 1, 2, 2], {"nearest_mode": "round_prefer_ceil"}, bp.UpSampling2D(2)),
        (IMAGES, [1, 1, 2, 2], {"mode": "linear"}, bp.UpSampling2D(2, "bilinear")),
        (STEPS, [1, 1, 3], {"mode": "linear", WAY: "pytorch_half_pixel"}, bp.UpSampling1D(3, "linear")),
        (VOLUMES, [1, 1, 1, 2, 2], {"mode": "nearest"}, bp.UpSampling3D((1, 2, 2))),
    ],
    ids=str,
)  # fmt: skip
def test_resize(tmp_path: Path, shape: Any, scales: list[int], attributes: Any, layer: bp.Layer) -> None:
    made = model([node("Resize", "x - s", "y", "r", **attributes)], shape, {"s": np.array(scales, FLOAT)}, opset=13)
    x = normal(3, *shape[1:])
    assert compare(made, tmp_path, x).layers == bp.Sequential(layer)
    sizes = [3, *(int(n * f) for n, f in zip(shape[1:], scales[1:], strict=True))]
    made = model([node("Resize", "x - - s", "y", "r", **attributes)], [3, *shape[1:]], {"s": np.array(sizes)}, opset=13)
    assert compare(made, tmp_path, x).layers == bp.Sequential(layer)


def test_upsample(tmp_path: Path) -> None:
    made = model([node("Upsample", "x s", "y")], IMAGES, {"s": np.array([1, 1, 2, 2], FLOAT)}, opset=9)
    assert compare(made, tmp_path, normal(3, 2, 4, 5)).layers == bp.Sequential(bp.UpSampling2D(2))


@pytest.mark.parametrize(
    ("scales", "attributes", "why"),
    [
        ([1, 1, 1.5, 2], {}, "scales [1.0, 1.0, 1.5, 2.0]; gpubp's UpSampling takes whole numbers"),
        ([1, 1, 0.5, 1], {}, "takes whole numbers"),
        ([2, 1, 1, 1], {}, "changes the length of axis 0"),
        ([1, 2, 2, 2], {}, "changes the length of axis"),
        ([1, 1, 2, 2], {"mode": "cubic"}, "mode='cubic'"),
        ([1, 1, 2, 2], {"mode": "linear", WAY: "align_corners"}, "'align_corners'"),
        ([1, 1, 3, 3], {WAY: "asymmetric"}, "nearest_mode='round_prefer_floor'"),
    ],
    ids=str,
)
def test_resizes_that_are_refused(tmp_path: Path, scales: list[float], attributes: Any, why: str) -> None:
    made = model([node("Resize", "x - s", "y", "r", **attributes)], IMAGES, {"s": np.array(scales, FLOAT)}, opset=13)
    message = refusal(made, tmp_path)
    assert 'Resize "r": ' in message and why in message


def test_pads_that_are_refused(tmp_path: Path) -> None:
    for pads, value, why in (
        ([1, 0, 0, 0, 0, 0, 0, 0], 0.0, "changes the length of axis 0"),
        ([0, 1, 1, 1, 0, 0, 0, 0], 0.0, "changes the length of axis"),
        ([0, 0, 1, 1, 0, 0, 0, 0], -np.inf, "gpubp pads with finite numbers"),
        ([0, 0, -4, 0, 0, 0, 0, 0], 0.0, "leaves nothing of its input"),
    ):
        constants = {"pads": np.array(pads), "value": np.array(value, FLOAT)}
        assert why in refusal(model([node("Pad", "x pads value", "y", "p")], IMAGES, constants), tmp_path)


def test_slices_of_space_are_croppings(tmp_path: Path) -> None:
    constants = {"first": np.array([1]), "end": np.array([4]), "axis": np.array([3])}
    made = model([node("Slice", "x first end axis", "1"), node("Tanh", "1", "y")], IMAGES, constants)
    net = compare(made, tmp_path, normal(3, 2, 4, 5))
    assert net.layers == bp.Sequential(bp.Cropping2D((0, 1)), bp.Tanh())
    channels_last = {**constants, "axis": np.array([1]), "end": np.array([2])}
    made = model([node("Slice", "x first end axis", "1"), node("Tanh", "1", "y")], IMAGES, channels_last)
    assert compare(made, tmp_path, normal(3, 2, 4, 5)).layers.children[0] == bp.Cropping2D(((1, 0), (0, 0)))


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        (STEPS, (bp.MeanOverTime(), bp.MaxOverTime())),
        (IMAGES, (bp.GlobalAvgPool2D(), bp.GlobalMaxPool2D())),
        (VOLUMES, (bp.GlobalAvgPool3D(), bp.GlobalMaxPool3D())),
    ],
    ids=str,
)
def test_global_poolings(tmp_path: Path, shape: Any, layers: tuple[bp.Layer, bp.Layer]) -> None:
    for op, layer in zip(("GlobalAveragePool", "GlobalMaxPool"), layers, strict=True):
        net = compare(model([node(op, "x", "y")], shape), tmp_path, normal(3, *shape[1:]))
        assert net.layers == bp.Sequential(layer)


def test_upsample_of_the_oldest_kind(tmp_path: Path) -> None:
    """Its scales are an attribute, as they are in opset 7."""
    made = model([node("Upsample", "x", "y", scales=[1.0, 1.0, 3.0, 1.0])], IMAGES, opset=7)
    net, x = bp.from_onnx(saved(made, tmp_path), device="cpu"), normal(3, 2, 4, 5)
    assert net.layers == bp.Sequential(bp.UpSampling2D((3, 1)))
    axes = net.metadata["imported"]["input_axes"]
    np.testing.assert_array_equal(net.predict(x.transpose(axes)), np.repeat(x, 3, axis=2).transpose(axes))
