"""ONNX graphs with normalizations, as operators and written out, become layers that give the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import compare, model, node, normal, refusal, saved

import gpubp as bp

ONE, ZERO = np.ones(3, np.float32), np.zeros(3, np.float32)


def by_reference(made: Any, folder: Path, X: np.ndarray) -> bp.Network:
    """The network of a model, compared with ONNX's own reference, which has what onnxruntime lacks."""
    net = bp.from_onnx(saved(made, folder), device="cpu")
    from onnx.reference import ReferenceEvaluator

    wanted = ReferenceEvaluator(made).run(None, {"x": X})[0]
    told = net.metadata["imported"]
    found = net.predict(X.transpose(told["input_axes"]))
    assert np.abs(found - wanted.transpose(told["output_axes"])).max() <= 1e-5 * np.abs(wanted).max()
    return net


@pytest.mark.parametrize("places", [(5,), (4, 5), (2, 4, 3)])
def test_instance_normalization(tmp_path: Path, places: tuple[int, ...]) -> None:
    constants = {"g": normal(3), "b": normal(3), "1": ONE, "0": ZERO}
    made = model([node("InstanceNormalization", "x g b", "y", epsilon=0.01)], ["n", 3, *places], constants)
    net = compare(made, tmp_path, normal(2, 3, *places))
    assert net.layers == bp.Sequential(bp.InstanceNorm(0.01))
    assert (net.parameters["0.gamma"] == constants["g"]).all() and (net.parameters["0.beta"] == constants["b"]).all()
    made = model([node("InstanceNormalization", "x 1 0", "y")], ["n", 3, *places], constants)  # PyTorch's, by default
    assert compare(made, tmp_path, normal(2, 3, *places)).layers == bp.Sequential(bp.InstanceNorm(affine=False))


@pytest.mark.parametrize(("opset", "numbers"), [(18, 3), (21, 6)])
def test_group_normalization_of_both_opsets(tmp_path: Path, opset: int, numbers: int) -> None:
    """Until opset 20 a group has one scale."""
    constants = {"g": normal(numbers), "b": normal(numbers)}
    nodes = [node("GroupNormalization", "x g b", "y", num_groups=3, epsilon=0.01)]
    net = by_reference(model(nodes, ["n", 6, 4, 5], constants, opset), tmp_path, normal(2, 6, 4, 5))
    assert net.layers == bp.Sequential(bp.GroupNorm(3, 0.01))
    assert (net.parameters["0.gamma"] == np.repeat(constants["g"], 6 // numbers)).all()


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 5), (6,)])
@pytest.mark.parametrize("ending", ["", "Mul", "Mul Add"])
def test_groups_by_reshapes_around_an_instance_normalization(
    tmp_path: Path, shape: tuple[int, ...], ending: str
) -> None:
    """As PyTorch's exporter writes a GroupNorm."""
    ones = [1] * (len(shape) - 1)
    constants = {
        "in": np.array([0, 3, -1]), "out": np.array([0, *shape]), "1": ONE, "0": ZERO, "Mul": normal(6, *ones),
        "Add": normal(6, *ones),
    }  # fmt: skip
    nodes = [node("Reshape", "x in", "a"), node("InstanceNormalization", "a 1 0", "b"), node("Reshape", "b out", "c")]
    last = "c"
    for op in ending.split():
        nodes.append(node(op, f"{last} {op}", f"{last}c"))
        last += "c"
    nodes.append(node("Identity", last, "y"))
    net = compare(model(nodes, ["n", *shape], constants), tmp_path, normal(2, *shape))
    assert net.layers == bp.Sequential(bp.GroupNorm(3, affine=bool(ending), use_bias=ending != "Mul"))


def test_groups_of_one_channel_by_reshapes_are_an_instance_norm(tmp_path: Path) -> None:
    constants = {"in": np.array([0, 3, -1]), "out": np.array([0, 3, 4, 5]), "1": ONE, "0": ZERO}
    nodes = [node("Reshape", "x in", "a"), node("InstanceNormalization", "a 1 0", "b"), node("Reshape", "b out", "y")]
    net = compare(model(nodes, ["n", 3, 4, 5], constants), tmp_path, normal(2, 3, 4, 5))
    assert net.layers == bp.Sequential(bp.InstanceNorm(affine=False))


@pytest.mark.parametrize("axis", [-1, -2, 1])
def test_rms_normalization(tmp_path: Path, axis: int) -> None:
    shape = (3, 4)[axis % 3 - 1 :]
    made = model(
        [node("RMSNormalization", "x g", "y", axis=axis, epsilon=0.01)], ["n", 3, 4], {"g": normal(*shape)}, 23
    )
    net = by_reference(made, tmp_path, normal(2, 3, 4))
    assert net.layers == bp.Sequential(bp.RMSNorm(0.01, axes=len(shape)))


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("end", ["Div", "Reciprocal", "Quotient"])
@pytest.mark.parametrize("gamma", [False, True])
def test_rms_norm_written_out(tmp_path: Path, square: str, end: str, gamma: bool) -> None:
    constants = {"two": np.float32(2), "one": np.float32(1), "eps": np.float32(1e-3), "g": normal(4)}
    ends = {
        "Div": [node("Div", "h r", "z")],
        "Reciprocal": [node("Reciprocal", "r", "i"), node("Mul", "h i", "z")],
        "Quotient": [node("Div", "one r", "i"), node("Mul", "i h", "z")],
    }
    nodes = [
        node("Tanh", "x", "h"), node(square, "h h" if square == "Mul" else "h two", "s"),
        node("ReduceMean", "s", "m", axes=[-1]), node("Add", "m eps", "e"), node("Sqrt", "e", "r"), *ends[end],
        node("Mul", "z g", "y") if gamma else node("Identity", "z", "y"),
    ]  # fmt: skip
    net = compare(model(nodes, ["n", 6, 4], constants, opset=13), tmp_path, normal(3, 6, 4))
    assert net.layers == bp.Sequential(bp.Tanh(), bp.RMSNorm(1e-3, affine=gamma))


def test_a_layer_norm_without_its_bias_or_over_maps(tmp_path: Path) -> None:
    made = model([node("LayerNormalization", "x g", "y")], ["n", 6, 4], {"g": normal(4)})
    assert compare(made, tmp_path, normal(2, 6, 4)).layers == bp.Sequential(bp.LayerNorm(use_bias=False))
    made = model([node("LayerNormalization", "x g b", "y", axis=1)], ["n", 3, 4, 5], {n: normal(3, 4, 5) for n in "gb"})
    assert compare(made, tmp_path, normal(2, 3, 4, 5)).layers == bp.Sequential(bp.LayerNorm(axes=3))
    conv = {"W": normal(6, 3, 3, 3), "g": normal(6, 2, 3), "b": normal(6, 2, 3)}
    nodes = [node("Conv", "x W", "c"), node("LayerNormalization", "c g b", "y", axis=1)]
    net = compare(model(nodes, ["n", 3, 4, 5], conv), tmp_path, normal(2, 3, 4, 5))
    assert net.layers == bp.Sequential(bp.Conv2D(6, 3, use_bias=False), bp.LayerNorm(axes=3))
    assert (net.parameters["1.gamma"] == np.moveaxis(conv["g"], 0, -1)).all()


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("LayerNormalization", "x g", "y", axis=0)], "it computes over the rows"),
        ([node("RMSNormalization", "x g", "y", axis=0)], "it computes over the rows"),
        ([node("GroupNormalization", "x g g", "y", num_groups=4)], "num_groups 4 for 6 channels"),
        ([node("InstanceNormalization", "x two two", "y")], "it needs 6 numbers as its scale"),
        ([node("Flatten", "x", "f"), node("InstanceNormalization", "f h h", "y")], "groups of one number"),
        ([node("InstanceNormalization", "x x g", "y")], "its scale depends on the input"),
        ([node("Mul", "x x", "s"), node("ReduceMean", "s", "y", axes=[-1])], "a variance that is no part of"),
    ],
)
def test_what_no_layer_does_is_refused(tmp_path: Path, nodes: list[Any], words: str) -> None:
    made = model(nodes, ["n", 6, 4, 5], {"g": normal(6), "two": normal(2), "h": normal(120)})
    assert words in refusal(made, tmp_path)
