"""Dilated and transposed convolutions in ONNX files: written, read as layers of gpubp, or refused for a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import compare, kinds, model, node, normal, onnxruntime, refusal, saved

import gpubp as bp

TRANSPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, "Conv2DTranspose(4, 3)"),
    "strides": ({"strides": [2, 3]}, "Conv2DTranspose(4, 3, stride=(2, 3))"),
    "zeros behind": ({"strides": [4, 1]}, "Conv2DTranspose(4, 3, stride=(4, 1), padding=0)"),
    "pads": (
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        "Conv2DTranspose(4, 3, stride=2, padding=1, output_padding=1)",
    ),
    "sides": ({"pads": [1, 0, 0, 2]}, "Conv2DTranspose(4, 3, padding=((1, 0), (0, 2)))"),
    "dilations": (
        {"strides": [2, 1], "dilations": [1, 3], "pads": [2, 1, 2, 1], "output_padding": [1, 0]},
        "Conv2DTranspose(4, 3, stride=(2, 1), padding=(2, 1), output_padding=(1, 0), dilation=(1, 3))",
    ),
    "same": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "Conv2DTranspose(4, 3, stride=2, padding='same')"),
    "same lower": (
        {"auto_pad": "SAME_LOWER", "strides": [2, 2], "kernel": (4, 3)},
        "Conv2DTranspose(4, (4, 3), stride=2, padding='same_lower')",
    ),
    "valid": ({"auto_pad": "VALID"}, "Conv2DTranspose(4, 3)"),
    "a shape": (
        {"output_shape": [9, 8], "strides": [2, 2]},
        "Conv2DTranspose(4, 3, stride=2, padding=((1, 1), (1, 0)))",
    ),
    "a larger shape": (
        {"output_shape": [12, 9], "strides": [2, 2]},
        "Conv2DTranspose(4, 3, stride=2, padding=0, output_padding=(1, 0))",
    ),
    "groups": ({"group": 2}, "Conv2DTranspose(8, 3, groups=2)"),
    "a pixel": ({"kernel": (1, 1)}, "Conv2DTranspose(4, 1)"),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(tmp_path: Path, name: str) -> None:
    attributes, layer = TRANSPOSED[name]
    attributes = dict(attributes)
    kernel, units = attributes.pop("kernel", (3, 3)), 4 * attributes.get("group", 1)
    constants = {"W": normal(2, 4, *kernel), "b": normal(units)}
    made = model([node("ConvTranspose", "x W b", "y", **attributes)], ["n", 2, 5, 4], constants)
    net = compare(made, tmp_path, normal(3, 2, 5, 4))
    assert [repr(one) for one in net.layers.children] == [layer]


def test_sequences_and_volumes(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x A", "1", dilations=[2], pads=[4, 0]),
        node("Conv", "1 B", "2", dilations=[3], pads=[1, 2]),
        node("ConvTranspose", "2 C", "y", strides=[2], pads=[1, 1]),
    ]
    constants = {"A": normal(4, 2, 3), "B": normal(3, 4, 2), "C": normal(3, 2, 4)}
    net = compare(model(nodes, ["n", 2, 9], constants), tmp_path, normal(3, 2, 9))
    assert [repr(one) for one in net.layers.children] == [
        "Conv1D(4, 3, padding='causal', use_bias=False, dilation=2)",
        "Conv1D(3, 2, padding='same', use_bias=False, dilation=3)",
        "Conv1DTranspose(2, 4, stride=2, padding=1, use_bias=False)",
    ]
    nodes = [
        node("Conv", "x A", "1", group=2, pads=[1, 0, 0, 0, 0, 1], strides=[1, 2, 1]),
        node("Relu", "1", "2"),
        node("ConvTranspose", "2 C d", "3", strides=[2, 1, 1], output_padding=[1, 0, 0]),
        node("Flatten", "3", "4"),
        node("Gemm", "4 V", "y"),
    ]
    constants = {"A": normal(4, 1, 2, 2, 2), "C": normal(4, 3, 2, 1, 2), "d": normal(3), "V": normal(3 * 7 * 2 * 4, 2)}
    net = compare(model(nodes, ["n", 2, 3, 5, 3], constants), tmp_path, normal(3, 2, 3, 5, 3))
    assert kinds(net) == ["Conv3D", "ReLU", "Conv3DTranspose", "Flatten", "Dense"]


def test_sequences_of_any_length(tmp_path: Path) -> None:
    """Where the number of steps stays."""
    nodes = [
        node("Conv", "x A", "1", dilations=[2], pads=[4, 0]),
        node("Conv", "1 B", "2", dilations=[2], pads=[1, 3]),
        node("ConvTranspose", "2 C", "y", pads=[1, 1]),
    ]
    constants = {"A": normal(4, 2, 3), "B": normal(3, 4, 3), "C": normal(3, 2, 3)}
    made = model(nodes, ["n", 2, "time"], constants)
    net, X = bp.from_onnx(saved(made, tmp_path), device="cpu"), normal(3, 2, 9)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": X})
    for found, row in zip(net.predict(list(X.transpose(0, 2, 1))), wanted, strict=True):
        np.testing.assert_allclose(found, row.T, rtol=1e-5, atol=1e-5)
    assert net.input_shape == (None, 2) and net.layers.over_time == "keeps"
    assert net.layers.children[1] == bp.Conv1D(3, 3, padding=(1, 3), use_bias=False, dilation=2)
    for changed in (node("Conv", "x A", "1"), node("ConvTranspose", "x D", "1", strides=[2])):
        other = model([changed, *nodes[1:]], ["n", 2, "time"], constants | {"D": normal(2, 4, 3)})
        assert "it changes the number time of time steps" in refusal(other, tmp_path)


def test_what_stands_beside_a_transposed_convolution(tmp_path: Path) -> None:
    """Scaling before it and behind it is in its weights; a part of its filters is a convolution of its own."""
    constants = {"s": normal(2, 1, 1), "C": normal(2, 3, 3, 3), "t": normal(3, 1, 1), "d": normal(3, 1, 1)}
    constants["E"] = normal(2, 4, 3, 3)
    nodes = [
        node("Mul", "x s", "1"), node("ConvTranspose", "1 C", "2", strides=[2, 2]), node("Mul", "2 t", "3"),
        node("Add", "3 d", "y"),
    ]  # fmt: skip
    net = compare(model(nodes, ["n", 2, 4, 4], constants), tmp_path, normal(3, 2, 4, 4))
    assert net.layers == bp.Sequential(bp.Conv2DTranspose(3, 3, stride=2))
    nodes = [
        node("ConvTranspose", "x E", "h"), node("Split", "h", "a b", axis=1), node("Relu", "b", "c"),
        node("Concat", "a c", "y", axis=1),
    ]  # fmt: skip
    assert kinds(compare(model(nodes, ["n", 2, 4, 4], constants), tmp_path, normal(3, 2, 4, 4))) == ["Parallel"]
    nodes = [node("Add", "x s", "1"), node("ConvTranspose", "1 C", "y")]
    assert "it shifts images before a transposed" in refusal(model(nodes, ["n", 2, 4, 4], constants), tmp_path)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"output_padding": [1, 0]}, "output_padding [1, 0], which is not below strides [1, 1] or dilations [1, 1]"),
        ({"output_padding": [0]}, "output_padding [0], output_shape None for 2 axes of space"),
        ({"output_shape": [40, 9]}, "which is not below strides"),
        ({"pads": [4, 0, 4, 0]}, "its padding leaves nothing of [7, 6] places"),
        ({"pads": [-1, 0, 0, 0]}, "cut nothing off"),
        ({"group": 3}, "in 3 groups, for 2 channels"),
        ({"dilations": [0, 1]}, "dilations [0, 1] for 2 axes"),
        ({"kernel_shape": [2, 2]}, "kernel_shape [2, 2] for weights"),
    ],
)
def test_what_is_refused(tmp_path: Path, attributes: Any, why: str) -> None:
    made = model([node("ConvTranspose", "x W", "y", "up", **attributes)], ["n", 2, 5, 4], {"W": normal(2, 4, 3, 3)})
    message = refusal(made, tmp_path)
    assert 'ConvTranspose "up": ' in message and why in message


def test_four_axes_of_space_are_refused(tmp_path: Path) -> None:
    made = model([node("Conv", "x W", "y", "c")], ["n", 2, 3, 3, 3, 3], {"W": normal(4, 2, 1, 1, 1, 1)})
    assert "it has 4 axes of space; gpubp's convolutions have 1 to 3" in refusal(made, tmp_path)


WRITTEN: list[tuple[Any, tuple[int, ...]]] = [
    (bp.Conv2D(4, 2, padding="same_lower", dilation=3), (5, 6, 2)),
    (bp.Conv3D(4, 2, padding=((1, 0), (0, 1), (1, 1)), dilation=(2, 1, 1), groups=2), (4, 4, 4, 2)),
    (bp.Conv2DTranspose(4, 1, stride=3), (3, 4, 2)),
    (bp.Conv2DTranspose(4, 2, stride=3, padding="same"), (3, 4, 2)),
    (bp.Conv2DTranspose(4, 3, padding=4), (9, 9, 2)),
    (bp.Conv2DTranspose(2, 3, padding=((0, 1), (2, 0)), stride=2, output_padding=1), (3, 4, 2)),
    (bp.Conv1DTranspose(2, 1, dilation=2, output_padding=1), (5, 3)),  # which onnxruntime does not take as it is
    (bp.Conv2DTranspose(4, 3, stride=(2, 1), padding=1, output_padding=(2, 0), groups=2, dilation=(3, 1)), (3, 4, 2)),
    (bp.Conv2DTranspose(4, 2, padding=(3, 0), output_padding=1, dilation=2, use_bias=False), (4, 4, 2)),
]


@pytest.mark.parametrize(("layer", "row"), WRITTEN, ids=[repr(layer) for layer, _ in WRITTEN])
def test_what_is_written_predicts_the_same(tmp_path: Path, layer: bp.Layer, row: Any) -> None:
    """And comes back with the same bits."""
    net = bp.Network(layer, row, device="cpu")
    net.flat[...] = np.random.default_rng(0).normal(size=net.flat.size)
    path, X = tmp_path / "net.onnx", normal(3, *row)
    net.to_onnx(path, raw=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: X})
    wanted = net.predict(X)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    again = bp.from_onnx(path, device="cpu")
    assert repr(again.layers) == repr(layer) and np.array_equal(again.predict(X), wanted)
