"""ONNX graphs of images made by hand: their layers, and the numbers of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import compare, kinds, model, node, normal, refusal

import gpubp as bp


def conv(**attributes: Any) -> Any:
    kernel = attributes.pop("kernel", (3, 3))
    return model(
        [node("Conv", "x W b", "y", "c", **attributes)], ["n", 2, 7, 6], {"W": normal(4, 2, *kernel), "b": normal(4)}
    )


CONVS: dict[str, tuple[dict[str, Any], Any]] = {
    "valid": ({}, "valid"),
    "pads": ({"pads": [1, 1, 1, 1]}, 1),
    "two pads": ({"pads": [1, 0, 1, 0]}, (1, 0)),
    "strides": ({"strides": [2, 3], "pads": [1, 1, 1, 1]}, 1),
    "same upper": ({"auto_pad": "SAME_UPPER"}, "same"),
    "same upper, even": ({"auto_pad": "SAME_UPPER", "kernel": (2, 4)}, "same"),
    "same lower": ({"auto_pad": "SAME_LOWER"}, "same_lower"),
    "same lower, even": ({"auto_pad": "SAME_LOWER", "kernel": (2, 2)}, "same_lower"),
    "sides": ({"pads": [1, 1, 0, 0]}, ((1, 0), (1, 0))),
    "dilated": ({"dilations": [2, 1], "pads": [2, 1, 2, 1]}, (2, 1)),
    "same, strides": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "same"),
    "same, by pads": ({"pads": [0, 1, 1, 2], "kernel": (2, 4)}, "same"),
    "as tensorflow": ({"pads": [1, 0, 1, 1], "strides": [2, 2]}, "same"),
    "auto valid": ({"auto_pad": "VALID"}, "valid"),
}


@pytest.mark.parametrize("name", CONVS)
def test_conv(tmp_path: Path, name: str) -> None:
    attributes, padding = CONVS[name]
    net = compare(conv(**attributes), tmp_path, normal(3, 2, 7, 6))
    (layer,) = net.layers.children
    assert isinstance(layer, bp.Conv2D) and layer.padding == padding
    assert net.input_shape == (7, 6, 2) and net.metadata["imported"]["input_axes"] == [0, 2, 3, 1]


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"dilations": [2]}, "dilations [2] for 2 axes of space"),
        ({"dilations": [4, 4]}, "its windows of [3, 3] are larger than its input [7, 6]"),
        ({"pads": [-1, 0, 0, 0]}, "cut nothing off"),
        ({"group": 2}, "in 2 groups"),
        ({"strides": [0, 1]}, "strides [0, 1]"),
        ({"kernel_shape": [5, 5]}, "kernel_shape [5, 5]"),
    ],
)
def test_convs_that_are_refused(tmp_path: Path, attributes: Any, why: str) -> None:
    message = refusal(conv(**attributes), tmp_path)
    assert 'Conv "c": ' in message and why in message


def test_conv_without_bias_and_add(tmp_path: Path) -> None:
    nodes = [node("Conv", "x W", "1"), node("Add", "1 b", "y")]
    net = compare(
        model(nodes, ["n", 2, 5, 5], {"W": normal(4, 2, 3, 3), "b": normal(1, 4, 1, 1)}), tmp_path, normal(2, 2, 5, 5)
    )
    assert net.layers == bp.Sequential(bp.Conv2D(4, 3))


def test_pad_before_a_convolution(tmp_path: Path) -> None:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    nodes = [node("Pad", "x pads", "1", "p"), node("Conv", "1 W", "y")]
    made = model(nodes, ["n", 2, 5, 5], {"W": normal(4, 2, 3, 3), "pads": pads})
    assert compare(made, tmp_path, normal(2, 2, 5, 5)).layers == bp.Sequential(
        bp.Conv2D(4, 3, padding=1, use_bias=False)
    )
    alone = model(nodes[:1] + [node("MaxPool", "1", "y", kernel_shape=[2, 2])], ["n", 2, 5, 5], {"pads": pads})
    net = compare(alone, tmp_path, normal(2, 2, 5, 5))
    assert net.layers == bp.Sequential(bp.ZeroPadding2D(1), bp.MaxPool2D(2, stride=1))


SAME, TWO = "SAME_UPPER", {"strides": [2, 2]}
COUNTED = bp.AvgPool2D(3, 1, 1, count_include_pad=True)
SIDES = bp.AvgPool2D(3, 1, ((0, 1), (2, 1)), count_include_pad=True)
CEIL, DILATED = bp.AvgPool2D((2, 3), 2, (1, 0)), bp.MaxPool2D((2, 3), 1, dilation=(3, 1))
POOLS: dict[str, tuple[str, dict[str, Any], bp.Layer]] = {
    "max": ("MaxPool", {"kernel_shape": [2, 2]}, bp.MaxPool2D(2, 1)),
    "max, side by side": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, bp.MaxPool2D(2)),
    "max, ceil": ("MaxPool", {"kernel_shape": [2, 2], **TWO, "ceil_mode": 1}, bp.MaxPool2D(2, None, "same")),
    "mean, pads": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, bp.AvgPool2D(3, 1, 1)),
    "mean, counted": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, COUNTED),
    "mean, sides": ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 2, 1, 1], "count_include_pad": 1}, SIDES),
    "max, dilated": ("MaxPool", {"kernel_shape": [2, 3], "dilations": [3, 1]}, DILATED),
    "max, lower": ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}, bp.MaxPool2D(2, 1, "same_lower")),
    "mean, ceil": ("AveragePool", {"kernel_shape": [2, 3], **TWO, "pads": [1, 0, 0, 0], "ceil_mode": 1}, CEIL),
    "mean, counted, none": ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1}, bp.AvgPool2D(2, 1)),
    "mean, same": ("AveragePool", {**TWO, "kernel_shape": [3, 3], "auto_pad": SAME}, bp.AvgPool2D(3, 2, "same")),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pool(tmp_path: Path, name: str) -> None:
    op, attributes, layer = POOLS[name]
    made = model([node(op, "x", "y", "p", **attributes)], ["n", 2, 7, 5])
    assert compare(made, tmp_path, normal(3, 2, 7, 5)).layers.children == (layer,)


def test_pools_that_are_refused(tmp_path: Path) -> None:
    for attributes, why in (
        ({"kernel_shape": [2, 2], "dilations": [7, 1]}, "larger than its input"),
        ({"kernel_shape": [2, 2], "dilations": [8, 1], "pads": [4, 0, 4, 0]}, "taps lie outside of inputs of (7, 5)"),
        ({"kernel_shape": [2, 2], "dilations": [1]}, "dilations [1] for 2 axes"),
        ({"kernel_shape": [65, 64]}, "more than 4096 places"),
    ):
        assert why in refusal(model([node("MaxPool", "x", "y", "p", **attributes)], ["n", 2, 7, 5]), tmp_path)


def test_pixels(tmp_path: Path) -> None:
    """Whole numbers from 0 to 255, which become real ones behind a pooling; what could overflow is refused."""
    nodes = [node("MaxPool", "x", "1", kernel_shape=[2, 2]), node("Cast", "1", "2", to=1), node("Conv", "2 W", "y")]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 6, 5)).astype("uint8")
    net = compare(model(nodes, ["n", 2, 6, 5], {"W": normal(4, 2, 3, 3) / 256}, kind=2), tmp_path, pixels)
    assert kinds(net) == ["MaxPool2D", "Conv2D"]
    sums = [node("Add", "x x", "1"), node("Cast", "1", "y", to=1)]
    assert "its input 'x' is of uint8" in refusal(model(sums, ["n", 2, 6, 5], kind=2), tmp_path)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize(("op", "last"), [("ReduceMean", "GlobalAvgPool2D"), ("ReduceMax", "GlobalMaxPool2D")])
def test_reductions_over_images(tmp_path: Path, op: str, last: str, kept: int) -> None:
    nodes = [node("Conv", "x W", "1"), node(op, "1", "2", axes=[2, 3], keepdims=kept), node("Flatten", "2", "3")]
    nodes.append(node("Gemm", "3 V", "y"))
    made = model(nodes, ["n", 2, 6, 5], {"W": normal(4, 2, 3, 3), "V": normal(4, 3)}, opset=13)
    net = compare(made, tmp_path, normal(3, 2, 6, 5))
    assert [k for k in kinds(net) if k != "Reshape"] == ["Conv2D", last, "Dense"]


def test_flatten_of_images_and_dense(tmp_path: Path) -> None:
    """The rows of W go from channels first to channels last."""
    constants = {"W": normal(4, 2, 3, 3), "V": normal(4 * 4 * 3, 5), "shape": np.array([0, -1])}
    for end in ([node("Flatten", "2", "3")], [node("Reshape", "2 shape", "3")]):
        nodes = [node("Conv", "x W", "1"), node("Relu", "1", "2"), *end, node("Gemm", "3 V", "y")]
        net = compare(model(nodes, ["n", 2, 6, 5], constants), tmp_path, normal(3, 2, 6, 5))
        assert kinds(net) == ["Conv2D", "ReLU", "Flatten", "Dense"]
        moved = constants["V"].reshape(4, 4, 3, 5).transpose(1, 2, 0, 3).reshape(48, 5)
        assert (net.parameters["3.W"] == moved).all()


def test_a_reshape_by_the_shape_of_the_input(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x W", "h"), node("Shape", "h", "s"), node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"), node("Concat", "n1 rest", "shape", axis=0), node("Reshape", "h shape", "f"),
        node("Gemm", "f V", "y"),
    ]  # fmt: skip
    constants = {
        "W": normal(4, 2, 3, 3),
        "V": normal(48, 5),
        "zero": np.array(0),
        "axes": np.array([0]),
        "rest": np.array([-1]),
    }
    assert kinds(compare(model(nodes, ["n", 2, 6, 5], constants), tmp_path, normal(3, 2, 6, 5))) == [
        "Conv2D",
        "Flatten",
        "Dense",
    ]


def test_files_that_take_channels_last_keep_them(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "1", perm=[0, 3, 1, 2]), node("Conv", "1 W", "2"), node("Relu", "2", "3"),
        node("Transpose", "3", "y", perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    for channels in (1, 2):
        made = model(nodes, ["n", 6, 5, channels], {"W": normal(4, channels, 3, 3)})
        net = compare(made, tmp_path, normal(3, 6, 5, channels))
        told = net.metadata["imported"]
        assert kinds(net) == ["Conv2D", "ReLU"] and net.input_shape == (6, 5, channels)
        assert told["input_axes"] == told["output_axes"] == [0, 1, 2, 3]


def test_grey_images_have_their_channel_last(tmp_path: Path) -> None:
    net = compare(
        model([node("Conv", "x W", "y")], ["n", 1, 6, 5], {"W": normal(4, 1, 3, 3)}), tmp_path, normal(3, 1, 6, 5)
    )
    assert net.input_shape == (6, 5, 1) and kinds(net) == ["Conv2D"]


def test_branches_of_images_joined_at_the_channels(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x A", "1"), node("Conv", "1 B", "2", pads=[1, 1, 1, 1]), node("Relu", "2", "3"),
        node("Concat", "1 3", "4", axis=1), node("Conv", "4 C", "y"),
    ]  # fmt: skip
    constants = {"A": normal(3, 2, 3, 3), "B": normal(4, 3, 3, 3), "C": normal(2, 7, 1, 1)}
    net = compare(model(nodes, ["n", 2, 6, 5], constants), tmp_path, normal(3, 2, 6, 5))
    assert kinds(net) == ["Conv2D", "Parallel", "Conv2D"]


def test_conv_over_time(tmp_path: Path) -> None:
    constants = {"W": normal(4, 2, 3), "V": normal(5, 4, 3)}
    nodes = [
        node("Conv", "x W", "1", pads=[2, 0]),
        node("Conv", "1 V", "2", pads=[1, 1]),
        node("GlobalAveragePool", "2", "y"),
    ]
    net = compare(model(nodes, ["n", 2, 9], constants), tmp_path, normal(3, 2, 9))
    assert [repr(layer) for layer in net.layers.children] == [
        "Conv1D(4, 3, padding='causal', use_bias=False)",
        "Conv1D(5, 3, padding=1, use_bias=False)",
        "MeanOverTime()",
    ]


def test_units_of_a_convolution_taken_apart(tmp_path: Path) -> None:
    """Without groups each part is a convolution; in groups a part sees other channels, and is refused."""
    nodes = [node("Split", "h", "a b", axis=1), node("Relu", "b", "c"), node("Concat", "a c", "y", axis=1)]
    plain = model([node("Conv", "x K", "h"), *nodes], ["n", 2, 6, 5], {"K": normal(4, 2, 3, 3)})
    assert kinds(compare(plain, tmp_path, normal(3, 2, 6, 5))) == ["Parallel"]
    grouped = model([node("Conv", "x K", "h", group=2), *nodes], ["n", 2, 6, 5], {"K": normal(4, 1, 3, 3)})
    assert "it takes a part of its input" in refusal(grouped, tmp_path)
