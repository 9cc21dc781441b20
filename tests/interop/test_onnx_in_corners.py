"""Odd graphs: factors of 0, rows of one number, axes of length 1, rows that a file leaves out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import compare, model, node, normal, onnxruntime, refusal, saved

import gpubp as bp


def test_alpha_0_leaves_the_bias(tmp_path: Path) -> None:
    made = model([node("Gemm", "x W c", "y", alpha=0.0, beta=2.0)], ["N", 3], {"W": normal(3, 2), "c": normal(2)})
    compare(made, tmp_path, normal(4, 3))


def test_times_0_plus_a_vector(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x W c", "a"), node("Mul", "a z", "b"), node("Add", "b c", "d"), node("Relu", "d", "y")]
    constants = {"W": normal(3, 2), "c": normal(2), "z": np.zeros((), np.float32)}
    compare(model(nodes, ["N", 3], constants), tmp_path, normal(4, 3))


def test_a_small_factor_before_a_bias(tmp_path: Path) -> None:
    made = model([node("Gemm", "x W c", "y", alpha=1e-39)], ["N", 3], {"W": normal(3, 2), "c": normal(2)})
    compare(made, tmp_path, normal(4, 3))


def test_one_number_of_a_row_is_refused_in_words(tmp_path: Path) -> None:
    nodes = [node("Gather", "x at", "y", axis=1)]
    assert "takes a part of its input" in refusal(model(nodes, ["N", 4], {"at": np.array(2)}), tmp_path)


@pytest.mark.parametrize("axes", [[1, 2], [2]])
def test_outputs_without_an_axis_of_numbers(tmp_path: Path, axes: list[int]) -> None:
    nodes = [node("MatMul", "x W", "a"), node("Squeeze", "a axes", "y")]
    net = compare(model(nodes, ["N", 1, 4], {"W": normal(4, 1), "axes": np.array(axes)}), tmp_path, normal(5, 1, 4))
    assert net.predict(normal(5, 1, 4)).shape == (5, 1)


def test_rows_are_the_first_axis_where_both_could_be(tmp_path: Path) -> None:
    X = normal(6, 5, 4)
    net = compare(model([node("MatMul", "x v", "y")], ["N", 5, 4], {"v": normal(4)}), tmp_path, X)
    assert net.metadata["imported"]["input_axes"] == [0, 1, 2] and net.predict(X).shape == (6, 5)


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        (["N", 10], [node("Reshape", "x to", "a"), node("MaxPool", "a", "y", kernel_shape=[1])]),
        (["N", 1, 4], [node("Tanh", "x", "a"), node("Transpose", "a", "y", perm=[0, 2, 1])]),
        (["N", 1, 1, 4], [node("Concat", "x x", "a", axis=-2), node("Tanh", "a", "y")]),
    ],
)
def test_output_axes_place_those_of_length_1(tmp_path: Path, shape: list[object], nodes: list[object]) -> None:
    X = normal(3, *[n for n in shape if isinstance(n, int)])
    net = compare(model(nodes, shape, {"to": np.array([0, 0, 1])}), tmp_path, X)
    told = net.metadata["imported"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": X})[0].transpose(told["output_axes"])
    assert net.predict(X.transpose(told["input_axes"])).shape == wanted.shape


def test_squeeze_that_leaves_out_one_row(tmp_path: Path) -> None:
    nodes = [node("Squeeze", "x", "a"), node("Concat", "a a", "y", axis=1)]
    assert "that of the rows" in refusal(model(nodes, [1, 4, 3], opset=11), tmp_path)


def test_softmax_before_a_flatten_is_not_the_loss_s(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x W", "a"), node("Softmax", "a", "b", axis=-1), node("Flatten", "b", "y")]
    net = compare(model(nodes, ["N", 3, 4], {"W": normal(4, 5)}), tmp_path, normal(2, 3, 4))
    assert net.layers == bp.Sequential(bp.Dense(5, use_bias=False), bp.Softmax(), bp.Flatten())
    assert "task" not in net.metadata


def test_output_axes_where_flatten_joined_axes_of_length_1(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x W", "a"), node("Flatten", "a", "b"), node("Unsqueeze", "b at", "y")]
    X = normal(3, 1, 1, 7)
    net = compare(model(nodes, ["N", 1, 1, 7], {"W": normal(7, 2), "at": np.array([2])}), tmp_path, X)
    assert net.metadata["imported"]["output_axes"] == [0, 2, 1] and net.predict(X).shape == (3, 1, 2)


@pytest.mark.parametrize("first", ["s", "t"])
def test_lengths_that_are_squared_again_and_again(tmp_path: Path, first: str) -> None:
    nodes = [node("Shape", "x", "s"), node("Mul", "s three", "t")]
    nodes += [node("Mul", f"{first if i == 0 else i} {first if i == 0 else i}", f"{i + 1}") for i in range(40)]
    nodes += [node("Reshape", "x 40", "y")]
    assert "is no length of an axis" in refusal(model(nodes, ["N", 4], {"three": np.array(3)}), tmp_path)


def test_branches_that_are_joined_again_and_again(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x W", "0")]
    nodes += [node("Concat", " ".join(map(str, range(i))), str(i), axis=1) for i in range(1, 60)]
    assert "more than 268,435,456 numbers" in refusal(
        model(nodes, ["N", 3], {"W": normal(3, 2)}, outputs=("59",)), tmp_path
    )


def test_names_in_messages_do_not_command_a_terminal(tmp_path: Path) -> None:
    made = model([node("Einsum", "x", "y", "a\n\x1b[31mb" * 1000)], ["N", 3])
    message = refusal(made, tmp_path)
    assert "\x1b" not in message and "\n" not in message and len(message) < 1000


@pytest.mark.parametrize("version", [-1, 1, 5, 2**31])
def test_versions_of_operators_that_nobody_knows_are_refused(tmp_path: Path, version: int) -> None:
    made = model([node("MatMul", "x W", "y")], ["n", 4], {"W": np.eye(4, dtype=np.float32)})
    made.opset_import[0].version = version
    with pytest.raises(bp.ModelFileError, match=rf"version {version} of ONNX's operators, and 6 to \d+ are read"):
        bp.from_onnx(saved(made, tmp_path), device="cpu")


def test_a_pipe_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(bp.ModelFileError, match="pipe.onnx is no plain file"):
        bp.from_onnx(tmp_path / "pipe.onnx", device="cpu")
