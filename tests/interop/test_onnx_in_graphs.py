"""ONNX graphs with branches, several outputs and recurrent nodes: their layers, and the numbers of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import INT64, RNG, Array, agree, compare, kinds, model, node, normal, onnx, refusal, saved
from onnx_reference import by_reference

import gpubp as bp

# -- graphs ---------------------------------------------------------------------------------------------------------


def test_residuals_within_each_other(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x A", "1"), node("Relu", "1", "2"), node("Gemm", "2 B", "3"), node("Tanh", "3", "4"),
        node("Add", "3 4", "5"), node("Add", "2 5", "6"), node("Gemm", "x C", "7"), node("Sum", "6 7", "y"),
    ]  # fmt: skip
    net = compare(model(nodes, ["n", 4], {n: normal(4, 4) for n in "ABC"}), tmp_path, normal(5, 4))
    assert sum(isinstance(layer, bp.Dense) for _, layer in net.layers.walk()) <= 4


def test_branches_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x A", "1", "first"), node("Gemm", "x B", "2"), node("Add", "1 2", "3"), node("Gemm", "3 C", "4"),
        node("Concat", "4 1", "5", axis=1), node("Add", "5 5", "y"),
    ]  # fmt: skip
    message = refusal(model(nodes, ["n", 4], {n: normal(4, 4) for n in "ABC"}), tmp_path)
    assert 'Gemm "first": its result is read by branches that do not meet again' in message


def test_all_that_is_refused_is_named_at_once(tmp_path: Path) -> None:
    nodes = [
        node("LRN", "x", "1", "norm1", size=3), node("Tan", "1", "2", "act1"), node("Conv", "2 V", "3", "conv"),
        node("LRN", "3", "4", "norm2", size=3), node("Resize", "4 - two", "y", "up", mode="cubic"),
    ]  # fmt: skip
    constants = {"V": normal(3, 2, 3, 3), "two": np.array([1, 1, 2, 2], np.float32)}
    lines = refusal(model(nodes, ["n", 2, 9, 9], constants), tmp_path).splitlines()
    named = [line.split(":")[0].strip() for line in lines[1:]]
    assert named == ['LRN "norm1"', 'Tan "act1"', 'LRN "norm2"', 'Resize "up"']


def test_dropout_of_old_and_new_files_is_kept(tmp_path: Path) -> None:
    made = model([node("Dropout", "x", "1", ratio=0.3), node("Relu", "1", "y")], ["n", 4], opset=10)
    assert compare(made, tmp_path, normal(5, 4)).layers == bp.Sequential(bp.Dropout(0.3), bp.ReLU())
    made = model([node("Dropout", "x r", "1"), node("Relu", "1", "y")], ["n", 4], {"r": np.float32(0.25)})
    assert compare(made, tmp_path, normal(5, 4)).layers == bp.Sequential(bp.Dropout(0.25), bp.ReLU())


def test_softmax_of_old_files_stands_for_all_axes_behind(tmp_path: Path) -> None:
    made = model([node("MatMul", "x W", "1"), node("Softmax", "1", "y")], ["n", 3, 4], {"W": normal(4, 4)}, opset=11)
    net = compare(made, tmp_path, normal(2, 3, 4))
    assert kinds(net) == ["Dense", "Flatten", "Softmax", "Reshape"]


def test_sigmoid_at_the_end_stays_and_the_head_replaces_it_too(tmp_path: Path) -> None:
    made = model([node("Gemm", "x W", "1"), node("Sigmoid", "1", "y")], ["n", 4], {"W": normal(4, 1)})
    net = compare(made, tmp_path, normal(5, 4))
    assert kinds(net) == ["Dense", "Sigmoid"]
    assert "BinaryCrossEntropy" in " ".join(net.metadata["imported"]["report"])
    assert bp.from_onnx(tmp_path / "model.onnx", bp.Dense(3), device="cpu").layers == bp.Sequential(bp.Dense(3))


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x W", "y"), node("Tanh", "y", "z")]
    made = model(nodes, ["n", 4], {"W": normal(4, 3)}, outputs=("y", "z"))
    assert "it has the outputs y, z; say which one" in refusal(made, tmp_path)
    assert "it has no output 'w'" in refusal(made, tmp_path, output="w")
    assert kinds(bp.from_onnx(tmp_path / "model.onnx", device="cpu", output="z")) == ["Dense", "Tanh"]


def test_labels_beside_probabilities_need_no_choice(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x W", "1"), node("Softmax", "1", "p"), node("ArgMax", "p", "label", axis=1)]
    made = model(nodes, ["n", 4], {"W": normal(4, 3)}, outputs=("label", "p"))
    made.graph.output[0].type.tensor_type.elem_type = INT64
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    assert kinds(bp.from_onnx(path, device="cpu")) == ["Dense"]


def test_open_lengths(tmp_path: Path) -> None:
    made = model([node("Conv", "x W", "y")], ["n", 2, "h", "w"], {"W": normal(4, 2, 3, 3)})
    assert "say the shape of a row" in refusal(made, tmp_path)
    assert "is none of its rows" in refusal(made, tmp_path, input_shape=(6, 5, 3))
    assert compare(made, tmp_path, normal(3, 2, 6, 5), input_shape=(6, 5, 2)).input_shape == (6, 5, 2)
    steps = model(
        [node("MatMul", "x W", "1"), node("ReduceMean", "1", "y", axes=[1], keepdims=0)],
        ["n", "t", 4],
        {"W": normal(4, 3)},
    )
    net = compare(steps, tmp_path, normal(3, 7, 4), input_shape=(7, 4))
    assert net.input_shape == (7, 4)
    net = bp.from_onnx(tmp_path / "model.onnx", device="cpu")
    assert net.input_shape == (None, 4) and net.predict([normal(3, 4), normal(9, 4)]).shape == (2, 3)


def test_no_shape_at_all(tmp_path: Path) -> None:
    made = model([node("Gemm", "x W", "y")], ["n", 4], {"W": normal(4, 3)})
    made.graph.input[0].type.tensor_type.ClearField("shape")
    assert "does not say the shape of its input 'x'" in refusal(made, tmp_path)
    assert kinds(compare(made, tmp_path, normal(5, 4), input_shape=4)) == ["Dense"]


def test_positions(tmp_path: Path) -> None:
    constants = {"E": normal(9, 4), "P": normal(1, 6, 4)}
    nodes = [node("Gather", "E x", "1"), node("Add", "1 P", "y")]
    net = compare(model(nodes, ["n", 6], constants, kind=INT64), tmp_path, RNG.integers(0, 9, (5, 6)))
    assert net.layers == bp.Sequential(bp.Embedding(9, 4), bp.PositionalEmbedding(6))


# -- recurrent ------------------------------------------------------------------------------------------------------


def recurrent(op: str, directions: int, **attributes: Any) -> tuple[list[Any], dict[str, Array]]:
    k = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    constants = {
        "W": normal(directions, k * 3, 2), "R": normal(directions, k * 3, 3), "B": normal(directions, 2 * k * 3),
        "h": np.repeat(normal(directions, 1, 3), 5, 1), "c": np.repeat(normal(directions, 1, 3), 5, 1),
    }  # fmt: skip
    if op == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    if directions == 2:
        attributes["direction"] = "bidirectional"
    return [node(op, "x W R B", "Y Y_h", "r", hidden_size=3, **attributes)], constants


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("end", ["Y", "Y_h"])
def test_recurrent(tmp_path: Path, op: str, directions: int, end: str) -> None:
    nodes, constants = recurrent(op, directions)
    shape = {"Y": np.array([0, 0, -1]), "Y_h": np.array([0, -1])}[end]
    nodes.append(node("Transpose", end, "1", perm=[0, 2, 1, 3] if end == "Y" else [1, 0, 2]))
    nodes.append(node("Reshape", "1 shape", "y"))
    used = {n: constants[n] for n in "WRB"} | {"shape": shape}
    net = compare(model(nodes, [6, "n", 2], used), tmp_path, normal(6, 5, 2))
    assert net.input_shape == (6, 2)
    name = {"RNN": "SimpleRNN"}.get(op, op) if directions == 1 else "Bidirectional"
    assert kinds(net) == [name]


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_backwards_with_a_first_state(tmp_path: Path, op: str) -> None:
    nodes, constants = recurrent(op, 1, direction="reverse")
    nodes[0].input.extend(["", "h", *(["c"] if op == "LSTM" else [])])
    nodes.append(node("Squeeze", "Y_h axes", "y"))
    used = {n: constants[n] for n in ("W", "R", "B", "h", *(["c"] if op == "LSTM" else []))} | {"axes": np.array([0])}
    net = compare(model(nodes, [6, "n", 2], used), tmp_path, normal(6, 5, 2))
    (layer,) = net.layers.children
    assert layer.reverse and layer.initial_state == "learned"


def test_recurrent_without_biases(tmp_path: Path) -> None:
    nodes, constants = recurrent("LSTM", 1)
    del nodes[0].input[3:]
    nodes.append(node("Squeeze", "Y axes", "y"))
    compare(
        model(nodes, [6, "n", 2], {"W": constants["W"], "R": constants["R"], "axes": np.array([1])}),
        tmp_path,
        normal(6, 5, 2),
    )


@pytest.mark.parametrize(
    ("op", "attributes", "why"),
    [
        ("GRU", {"linear_before_reset": 0}, "linear_before_reset=0"),
        ("RNN", {"activations": ["Relu"]}, "activations ['Relu']"),
        ("LSTM", {"clip": 3.0}, "clip"),
        ("LSTM", {"input_forget": 1}, "input_forget=1"),
        ("LSTM", {"hidden_size": 4}, "do not fit each other"),
    ],
)
def test_recurrent_nodes_that_are_refused(tmp_path: Path, op: str, attributes: Any, why: str) -> None:
    nodes, constants = recurrent(op, 1, **{k: v for k, v in attributes.items() if k != "hidden_size"})
    if "hidden_size" in attributes:
        nodes[0].attribute[0].i = 4
    made = model(
        [*nodes, node("Squeeze", "Y_h axes", "y")],
        [6, "n", 2],
        {n: constants[n] for n in "WRB"} | {"axes": np.array([0])},
    )
    message = refusal(made, tmp_path)
    assert f'{op} "r": ' in message and why in message


@pytest.mark.parametrize(
    ("layers", "shape", "made"),
    [
        (bp.Sequential(bp.Embedding(9, 4), bp.Flatten(), bp.Dense(5)), (1,), (5,)),
        (bp.Sequential(bp.Dense(3), bp.Flatten(), bp.Dense(2)), (1, 4), (2,)),
        (bp.Sequential(bp.Dense(3), bp.Flatten(), bp.Tanh()), (1, 1, 2), (3,)),
        (bp.Sequential(bp.Conv2D(3, 2), bp.Reshape((2, 3))), (3, 2, 1), (2, 3)),
        (bp.Sequential(bp.AvgPool2D((3, 1)), bp.Flatten()), (3, 4, 1), (4,)),
    ],
    ids=str,
)
def test_axes_of_length_1_that_the_file_leaves_out_are_left_out(
    tmp_path: Path, layers: bp.Layer, shape: tuple[int, ...], made: tuple[int, ...]
) -> None:
    net = bp.Network(layers, shape, device="cpu")
    net.to_onnx(tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx")
    del graph.metadata_props[:]  # it is read as another library's
    found = bp.from_onnx(saved(graph, tmp_path), device="cpu")
    assert found.output_shape == made
    X = np.ones((3, *shape), np.float32)
    assert np.abs(found.predict(X) - net.predict(X)).max() <= 1e-6


def test_the_report_says_that_outputs_have_fewer_axes(tmp_path: Path) -> None:
    net = compare(model([node("GlobalAveragePool", "x", "y")], ["n", 3, 4, 5], {}), tmp_path, normal(2, 3, 4, 5))
    assert net.output_shape == (3,)
    assert "outputs are rows of (3), and the file gives (n, 3, 1, 1)" in net.metadata["imported"]["report"]


def test_recurrent_with_rows_first(tmp_path: Path) -> None:
    """layout=1, which onnxruntime does not have."""
    nodes, constants = recurrent("GRU", 1, layout=1)
    nodes.append(node("Squeeze", "Y axes", "y"))
    used = {n: constants[n] for n in "WRB"} | {"axes": np.array([2])}
    made, X = model(nodes, ["n", 6, 2], used), normal(5, 6, 2)
    net = bp.from_onnx(saved(made, tmp_path), device="cpu")
    agree(net, X, by_reference(made, {"x": X})[0])
