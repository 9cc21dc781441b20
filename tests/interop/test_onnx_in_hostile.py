"""ONNX files that are damaged or made to do harm: an error in words, no other file read, no memory on their word."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import INT64, model, node, onnx, refusal, saved

import gpubp as bp
from gpubp.interop.onnx_in import wire

RNG = np.random.default_rng(2)
W = {"W": RNG.normal(size=(4, 3)).astype(np.float32)}


def dense(**options: Any) -> Any:
    return model([node("Gemm", "x W", "y")], ["n", 4], W, **options)


def of(content: bytes, folder: Path) -> str:
    """The message for a file with this content."""
    path = folder / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(bp.ModelFileError) as problem:
        bp.from_onnx(path, device="cpu")
    assert "model.onnx" in str(problem.value)
    return str(problem.value)


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\0", b"hello", b"PK\x03\x04" + bytes(100), bytes(range(256)), b"\xff" * 50])
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    of(content, tmp_path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match="there is no file"):
        bp.from_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(bp.ModelFileError, match="is a folder"):
        bp.from_onnx(tmp_path)


def test_a_file_that_is_cut_short_anywhere(tmp_path: Path) -> None:
    content = dense().SerializeToString()
    for end in range(0, len(content), 7):
        of(content[:end], tmp_path)


def test_bytes_changed_at_random(tmp_path: Path) -> None:
    nodes = [node("Conv", "x K", "1"), node("Relu", "1", "2"), node("Flatten", "2", "3"), node("Gemm", "3 W", "y")]
    constants = {"K": RNG.normal(size=(2, 1, 3, 3)), "W": RNG.normal(size=(8, 3))}
    content = model(nodes, ["n", 1, 4, 4], {n: a.astype(np.float32) for n, a in constants.items()}).SerializeToString()
    net = bp.Network(bp.Sequential(bp.GRU(2), bp.Dropout(0.1), bp.Dense(2)), (3, 2), device="cpu")
    net.to_onnx(tmp_path / "own.onnx")
    own = (tmp_path / "own.onnx").read_bytes()
    path, outcomes = tmp_path / "model.onnx", set()
    for seed in range(300):
        draw = random.Random(seed)
        damaged = bytearray(draw.choice((content, own)))
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(len(damaged))
            match draw.randrange(4):
                case 0:
                    damaged[at] = draw.randrange(256)
                case 1:
                    damaged[at] ^= 1 << draw.randrange(8)
                case 2:
                    del damaged[at : at + draw.choice((1, 4, 30))]
                case _:
                    damaged[at:at] = draw.randbytes(draw.choice((1, 8)))
            if not damaged:
                break
        path.write_bytes(damaged)
        try:
            bp.from_onnx(path, device="cpu")
            outcomes.add("read")
        except bp.ModelFileError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_numbers_in_other_files_are_not_read(tmp_path: Path) -> None:
    made = dense()
    secret = tmp_path / "secret"
    secret.write_bytes(W["W"].tobytes())
    for location in ("secret", str(secret), "../secret", "/etc/passwd"):
        tensor = onnx.TensorProto(name="W", dims=[4, 3], data_type=1, data_location=1)
        tensor.external_data.add(key="location", value=location)
        made.graph.initializer[0].CopyFrom(tensor)
        assert "external data" in refusal(made, tmp_path)


# -- parts that do not fit -------------------------------------------------------------------------------------------


def changed(change: Any, made: Any = None) -> Any:
    made = made or dense()
    change(made)
    return made


def axes(made: Any) -> Any:
    return made.graph.input[0].type.tensor_type.shape.dim


BROKEN: dict[str, tuple[Any, str]] = {
    "undefined": (lambda m: m.graph.node[0].input.__setitem__(1, "V"), "needs 'V', which no node before it makes"),
    "circle": (lambda m: m.graph.node[0].input.__setitem__(0, "y"), "which no node before it makes"),
    "twice made": (lambda m: m.graph.node.append(m.graph.node[0]), "makes 'y', which there already is"),
    "two of a name": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "two tensors called 'W'"),
    "two inputs of a name": (lambda m: m.graph.input.append(m.graph.input[0]), "two inputs of one name"),
    "no outputs": (lambda m: m.graph.ClearField("output"), "no outputs"),
    "an output of nothing": (lambda m: setattr(m.graph.output[0], "name", "z"), ""),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "no opset": (lambda m: m.ClearField("opset_import"), "opset_import"),
    "more dims than bytes": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40), "needs 13194139533312 bytes"),
    "fewer dims than bytes": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 3), "needs 36 bytes"),
    "negative dims": (lambda m: m.graph.initializer[0].dims.__setitem__(0, -4), "is none"),
    "many axes": (lambda m: m.graph.initializer[0].dims.extend([1] * 100), "is none"),
    "unknown type": (lambda m: setattr(m.graph.initializer[0], "data_type", 17), "float8e4m3fn"),
    "texts as weights": (
        lambda m: m.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("W", 8, [1], [b"a"])), "object",
    ),
    "a sparse tensor": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "a sequence as input": (
        lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent(), "of no tensor",
    ),
    "texts as input": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 8), "of string"),
    "a negative axis": (lambda m: setattr(axes(m)[1], "dim_value", -4), "has the shape"),
    "an axis of nothing": (lambda m: setattr(axes(m)[1], "dim_value", 0), "has the shape"),
    "an axis too many": (lambda m: axes(m).add(dim_value=2), "A has 3 axes"),
    "another width": (lambda m: setattr(axes(m)[1], "dim_value", 5), "for 4 numbers, and get 5"),
    "many axes of rows": (lambda m: axes(m).extend([axes(m)[1]] * 20), "has the shape"),
    "a text for a number": (
        lambda m: m.graph.node[0].attribute.append(onnx.helper.make_attribute("transB", "yes")), "a whole number",
    ),
    "an attribute twice": (
        lambda m: m.graph.node[0].attribute.extend([onnx.helper.make_attribute("transB", 0)] * 2), "two attributes",
    ),
    "no weights": (lambda m: m.graph.node[0].input.pop(), "B must be a matrix"),
    "no inputs": (lambda m: m.graph.node[0].ClearField("input"), "needs the inputs: none"),
    "another domain": (lambda m: setattr(m.graph.node[0], "domain", "a.b"), 'a.b.Gemm "Gemm_y": gpubp has no layer'),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_parts_that_do_not_fit_each_other(tmp_path: Path, name: str) -> None:
    change, why = BROKEN[name]
    assert why in refusal(changed(change), tmp_path)


def test_names_that_are_no_texts(tmp_path: Path) -> None:
    content = dense().SerializeToString().replace(b"Gemm", b"\xff\xfe\xfdm")
    of(content, tmp_path)


def test_graphs_in_nodes_and_functions_are_refused_by_name(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph(
        [node("Relu", "x", "z")], "inner", [], [onnx.helper.make_tensor_value_info("z", 1, None)]
    )
    made = model(
        [node("If", "c", "y", "choice", then_branch=inner, else_branch=inner)], ["n", 4], {"c": np.array(True)}
    )
    made.graph.node.append(node("Gemm", "x W", "z"))
    made.graph.node.append(node("Add", "y z", "w"))
    made.graph.output[0].name = "w"
    made.graph.initializer.append(onnx.numpy_helper.from_array(W["W"], "W"))
    assert 'If "choice": a node with a graph inside is not read' in refusal(made, tmp_path)


def test_a_graph_within_a_graph_again_and_again(tmp_path: Path) -> None:
    made = onnx.helper.make_graph([node("Relu", "x", "z")], "inner", [], [])
    for _ in range(14):
        made = onnx.helper.make_graph([node("If", "c", "z", then_branch=made)], "inner", [], [])
    whole = model(
        [node("Gemm", "x W", "y"), node("If", "c", "z", then_branch=made)], ["n", 4], {**W, "c": np.array(True)}
    )
    assert "nested more than" in of(whole.SerializeToString(), tmp_path)


def test_many_empty_parts_are_counted_before_they_become_objects(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(wire, "MOST_FIELDS", 1000)
    graph = b"\x0a\x00" * 2000  # nodes without anything
    size = bytes([len(graph) & 127 | 128, len(graph) >> 7])
    assert "more than 1,000 parts" in of(b"\x3a" + size + graph, tmp_path)


# -- memory and time ------------------------------------------------------------------------------------------------


def huge(*nodes: Any, **constants: Any) -> Any:
    arrays = {name: np.asarray(a) for name, a in constants.items()}
    return model([*nodes, node("Add", "x big", "1"), node("Gemm", "1 W", "y")], ["n", 4], {**W, **arrays})


ONES = {"K": np.ones((1, 1, 3, 3), np.float32)}
HUGE: dict[str, Any] = {
    "ConstantOfShape": huge(node("ConstantOfShape", "s", "big"), s=[2**40, 4]),
    "ConstantOfShape and more": huge(
        node("ConstantOfShape", "s", "a"), node("Exp", "a", "b"), node("Transpose", "b", "big"), s=[4, 2**33]
    ),
    "Expand": huge(node("Expand", "W s", "big"), s=[2**33, 4, 3]),
    "Range": huge(node("Range", "zero end one", "big"), zero=0, end=2**60, one=1),
    "Tile": huge(node("Tile", "W s", "big"), s=[2**30, 2**30]),
    "outer products": huge(
        node("Mul", "a b", "c"), node("Mul", "c d", "big"), a=np.ones((3000, 1, 1)), b=np.ones((1, 3000, 1)),
        d=np.ones((1, 1, 3000)),
    ),
    "doubling": huge(
        node("Concat", "W W", "c0", axis=0), *[node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(60)],
        node("Identity", "c60", "big"),
    ),
    "Pad": model(
        [node("Pad", "x p", "1"), node("Conv", "1 K", "y")], ["n", 1, 4, 4],
        {"p": np.array([0, 0, 2**40, 2**40] * 2), **ONES},
    ),
    "a large convolution": model([node("Conv", "x K", "y")], ["n", 1, 2**20, 2**20], ONES),
    "a large window": model([node("MaxPool", "x", "y", kernel_shape=[9000, 9000])], ["n", 1, 9000, 9000]),
    "many words": model([node("Gather", "W x", "y")], ["n", 2**40], W, kind=INT64),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_no_memory_is_taken_on_the_words_of_a_file(tmp_path: Path, name: str) -> None:
    path = saved(HUGE[name], tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(bp.ModelFileError):
            bp.from_onnx(path, device="cpu")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_branches_that_double_again_and_again(tmp_path: Path) -> None:
    """Two ways that part and meet 40 times are 2⁴⁰ ways; each layer is made once."""
    nodes = [node("Gemm", "x W", "h0")]
    for i in range(40):
        nodes += [
            node("Tanh", f"h{i}", f"a{i}"),
            node("Sigmoid", f"h{i}", f"b{i}"),
            node("Add", f"a{i} b{i}", f"h{i + 1}"),
        ]
    nodes.append(node("Identity", "h40", "y"))
    net = bp.from_onnx(saved(model(nodes, ["n", 4], W), tmp_path), device="cpu")
    assert len(list(net.layers.walk())) < 200


def test_branches_that_cross(tmp_path: Path) -> None:
    """Each step reads the two before it, in which way no Residual does."""
    nodes = [node("Relu", "x", "h0"), node("Gemm", "h0 V", "h1")]
    for i in range(60):
        nodes.append(node("Add", f"h{i} h{i + 1}", f"h{i + 2}"))
    nodes.append(node("Identity", "h61", "y"))
    assert refusal(model(nodes, ["n", 4], {"V": np.eye(4, dtype=np.float32)}), tmp_path)


def test_a_long_chain_and_a_deep_formula(tmp_path: Path) -> None:
    chain = [node("Tanh" if i % 2 else "Sigmoid", f"h{i}" if i else "x", f"h{i + 1}") for i in range(1500)]
    made = model([*chain, node("Gemm", "h1500 W", "y")], ["n", 4], W)
    assert len(bp.from_onnx(saved(made, tmp_path), device="cpu").layers.children) == 1501
    squares = [node("Mul", f"h{i} h{i}" if i else "x x", f"h{i + 1}") for i in range(200)]
    assert "operators within each other" in refusal(
        model([*squares, node("Gemm", "h200 W", "y")], ["n", 4], W), tmp_path
    )


@pytest.mark.parametrize(("count", "made"), [(6, True), (60, False)])
def test_results_joined_with_themselves_again_and_again(tmp_path: Path, count: int, made: bool) -> None:
    """Each join is made once, and not once for each of the 2**60 ways to it."""
    nodes = [node("Gemm", "x W", "h0")]
    nodes += [node("Concat", f"h{i} h{i}", f"h{i + 1}", axis=1) for i in range(count)]
    graph = model([*nodes, node("Relu", f"h{count}", "y")], ["n", 4], W)
    if made:
        assert bp.from_onnx(saved(graph, tmp_path), device="cpu").output_shape == (3 << count,)
    else:
        assert "numbers each" in refusal(graph, tmp_path)
