"""ONNX graphs made by hand: which layers they become, and that these give the numbers of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import DOUBLE, INT64, Array, agree, compare, model, node, onnx, refusal, saved

import gpubp as bp

RNG = np.random.default_rng(5)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def kinds(net: bp.Network) -> list[str]:
    """The classes of the layers."""
    return [type(layer).__name__ for layer in net.layers.children]


# -- dense ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (1,), ()])
def test_gemm(tmp_path: Path, transposed: int, bias: tuple[int, ...] | None) -> None:
    W = normal(3, 4) if transposed else normal(4, 3)
    constants = {"W": W} if bias is None else {"W": W, "b": normal(*bias)}
    given = "x W" if bias is None else "x W b"
    made = model([node("Gemm", given, "y", transB=transposed)], ["n", 4], constants)
    net = compare(made, tmp_path, normal(5, 4))
    assert net.layers == bp.Sequential(bp.Dense(3, bias is not None))
    if bias == (3,):
        assert (net.parameters["0.W"] == (W.T if transposed else W)).all()
        assert (net.parameters["0.b"] == constants["b"]).all()


def test_gemm_with_factors(tmp_path: Path) -> None:
    made = model([node("Gemm", "x W b", "y", alpha=0.5, beta=2.0)], ["n", 4], {"W": normal(4, 3), "b": normal(3)})
    compare(made, tmp_path, normal(5, 4))


def test_matmul_and_add_as_keras_writes_them(tmp_path: Path) -> None:
    constants = {"W": normal(4, 6), "b": normal(6), "V": normal(6, 2), "c": normal(2)}
    nodes = [
        node("MatMul", "x W", "1"), node("Add", "1 b", "2"), node("Relu", "2", "3"),
        node("MatMul", "3 V", "4"), node("Add", "c 4", "5"), node("Softmax", "5", "y"),
    ]  # fmt: skip
    net = compare(model(nodes, ["n", 4], constants), tmp_path, normal(5, 4))
    assert net.layers == bp.Sequential(bp.Dense(6), bp.ReLU(), bp.Dense(2))
    assert net.metadata["task"] == "classes"
    assert all((net.parameters[f"{i}"] == constants[n]).all() for i, n in (("0.W", "W"), ("0.b", "b"), ("2.W", "V")))


def test_weights_in_constant_nodes_and_transposed_by_a_node(tmp_path: Path) -> None:
    W = onnx.numpy_helper.from_array(normal(3, 4))
    nodes = [node("Constant", "", "W", value=W), node("Transpose", "W", "V"), node("MatMul", "x V", "y")]
    assert kinds(compare(model(nodes, ["n", 4]), tmp_path, normal(5, 4))) == ["Dense"]


def test_dense_over_time_and_over_the_axis_before(tmp_path: Path) -> None:
    made = model(
        [node("MatMul", "x W", "1"), node("Add", "1 b", "y")], ["n", 7, 4], {"W": normal(4, 3), "b": normal(3)}
    )
    assert kinds(compare(made, tmp_path, normal(5, 7, 4))) == ["Dense"]
    made = model([node("MatMul", "W x", "y")], ["n", 4, 7], {"W": normal(3, 4)})
    net = compare(made, tmp_path, normal(5, 4, 7))
    assert net.input_shape == (7, 4) and kinds(net) == ["Dense"]


def test_scale_and_shift_of_units_go_into_the_weights(tmp_path: Path) -> None:
    constants = {"W": normal(4, 3), "s": normal(3), "t": normal(3), "half": np.float32(0.5)}
    nodes = [
        node("MatMul", "x W", "1"), node("Mul", "1 s", "2"), node("Add", "2 t", "3"), node("Mul", "3 half", "4"),
        node("Sub", "4 t", "y"),
    ]  # fmt: skip
    assert kinds(compare(model(nodes, ["n", 4], constants), tmp_path, normal(5, 4))) == ["Dense"]


def test_float64(tmp_path: Path) -> None:
    made = model(
        [node("MatMul", "x W", "1"), node("Tanh", "1", "y")], ["n", 4], {"W": RNG.normal(size=(4, 3))}, kind=11
    )
    made.graph.output[0].type.tensor_type.elem_type = DOUBLE
    net = compare(made, tmp_path, RNG.normal(size=(5, 4)), 1e-14)
    assert net.dtype == np.float64


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    W = normal(4, 3).astype(np.float16)
    made = model([node("MatMul", "x W", "y")], ["n", 4], {"W": W}, kind=10)
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    net = bp.from_onnx(path, device="cpu")
    assert net.dtype == np.float32 and (net.parameters["0.W"] == W.astype(np.float32)).all()
    assert "float16" in " ".join(net.metadata["imported"]["report"])


def test_bfloat16(tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor("W", 16, [2, 1], [1.5, -3.0])
    made = model([node("MatMul", "x W", "y")], ["n", 2], kind=16)
    made.graph.initializer.append(tensor)
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    assert bp.from_onnx(path, device="cpu").parameters["0.W"].tolist() == [[1.5], [-3.0]]


# -- activations ----------------------------------------------------------------------------------------------------

K = {
    "half": np.float32(0.5), "one": np.float32(1), "a": np.float32(0.044715), "s": np.float32(np.sqrt(2 / np.pi)),
    "three": np.float32(3), "root": np.float32(np.sqrt(2)), "slope": np.float32(0.2), "zero": np.float32(0),
}  # fmt: skip
FORMULAS: dict[str, tuple[list[Any], bp.Layer]] = {
    "silu": ([node("Sigmoid", "h", "1"), node("Mul", "h 1", "y")], bp.SiLU()),
    "silu by exp": (
        [node("Neg", "h", "1"), node("Exp", "1", "2"), node("Add", "2 one", "3"), node("Div", "h 3", "y")],
        bp.SiLU(),
    ),
    "gelu by tanh": (
        [
            node("Pow", "h three", "1"), node("Mul", "1 a", "2"), node("Add", "h 2", "3"), node("Mul", "3 s", "4"),
            node("Tanh", "4", "5"), node("Add", "5 one", "6"), node("Mul", "h half", "7"), node("Mul", "7 6", "y"),
        ],
        bp.GELU(),
    ),
    "softplus by log": ([node("Exp", "h", "1"), node("Add", "1 one", "2"), node("Log", "2", "y")], bp.Softplus()),
    "leaky by max": ([node("Mul", "h slope", "1"), node("Max", "h 1", "y")], bp.LeakyReLU(0.2)),
    "relu by clip": ([node("Clip", "h zero", "y")], bp.ReLU()),
    "two after each other": ([node("Tanh", "h", "1"), node("Relu", "1", "y")], bp.ReLU()),
    "elu": ([node("Elu", "h", "y", alpha=0.3)], bp.ELU(0.3)),
    "leaky": ([node("LeakyRelu", "h", "y", alpha=0.1)], bp.LeakyReLU(0.1)),
    "prelu": ([node("PRelu", "h slope", "y")], bp.LeakyReLU(0.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_in_any_way_to_write_them(tmp_path: Path, name: str) -> None:
    nodes, last = FORMULAS[name]
    used = {i for n in nodes for i in n.input}
    constants = {n: a for n, a in K.items() if n in used} | {"W": normal(4, 6)}
    net = compare(model([node("MatMul", "x W", "h"), *nodes], ["n", 4], constants), tmp_path, 2 * normal(50, 4))
    assert net.layers.children[-1] == last


def erf_gelu() -> Any:
    nodes = [
        node("Div", "x root", "1"), node("Erf", "1", "2"), node("Add", "2 one", "3"), node("Mul", "x 3", "4"),
        node("Mul", "4 half", "y", "last"),
    ]  # fmt: skip
    return model(nodes, ["n", 4], {n: K[n] for n in ("root", "one", "half")})


def test_gelu_of_the_error_function_only_where_it_is_asked_for(tmp_path: Path) -> None:
    X = np.linspace(-6, 6, 400, dtype=np.float32).reshape(100, 4)
    assert 'Mul "last": GELU by the error function' in refusal(erf_gelu(), tmp_path)
    net = compare(erf_gelu(), tmp_path, X, 5e-4, gelu="tanh")
    assert kinds(net) == ["GELU"] and "tanh form" in " ".join(net.metadata["imported"]["report"])
    with pytest.raises(ValueError, match="gelu"):
        bp.from_onnx(tmp_path / "model.onnx", gelu="erf")


@pytest.mark.parametrize(
    ("op", "attributes", "what"),
    [
        ("Selu", {}, "SELU"), ("HardSwish", {}, "hard swish"), ("Mish", {}, "Mish"), ("Exp", {}, "the exponential"),
        ("Celu", {"alpha": 2.0}, "a function of single numbers"), ("Softsign", {}, "softsign"),
    ],
)  # fmt: skip
def test_functions_without_a_layer_are_named(tmp_path: Path, op: str, attributes: Any, what: str) -> None:
    made = model([node("Tanh", "x", "1"), node(op, "1", "y", "act", **attributes)], ["n", 4], opset=18)
    assert f'{op} "act": it computes {what}, for which gpubp has no layer' in refusal(made, tmp_path)


def test_nearly_an_activation_is_none(tmp_path: Path) -> None:
    """A corner far out, and a term that is small near 0."""
    far, tiny = np.float32(20000.0), np.float32(1e-5)
    clipped = [node("Relu", "x", "1"), node("Min", "1 far", "y")]
    assert "no layer" in refusal(model(clipped, ["n", 4], {"far": far}), tmp_path)
    bent = [node("Sigmoid", "x", "1"), node("Mul", "x tiny", "2"), node("Add", "1 2", "3"), node("Mul", "3 one", "y")]
    assert "no layer" in refusal(model(bent, ["n", 4], {"tiny": tiny, "one": K["one"]}), tmp_path)


# -- normalization --------------------------------------------------------------------------------------------------


def layer_norm_nodes(reciprocal: bool) -> list[Any]:
    end = [node("Reciprocal", "5", "6"), node("Mul", "2 6", "7")] if reciprocal else [node("Div", "2 5", "7")]
    return [
        node("ReduceMean", "x", "1", axes=[-1]), node("Sub", "x 1", "2"), node("Pow", "2 two", "3"),
        node("ReduceMean", "3", "4", axes=[-1]), node("Add", "4 eps", "e"), node("Sqrt", "e", "5"), *end,
        node("Mul", "7 gamma", "8"), node("Add", "8 beta", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize("reciprocal", [False, True])
@pytest.mark.parametrize("shape", [(4,), (6, 4)])
def test_layer_norm_written_out(tmp_path: Path, reciprocal: bool, shape: tuple[int, ...]) -> None:
    constants = {"two": np.float32(2), "eps": np.float32(1e-3), "gamma": normal(4), "beta": normal(4)}
    made = model(layer_norm_nodes(reciprocal), ["n", *shape], constants, opset=11)
    net = compare(made, tmp_path, normal(5, *shape))
    assert net.layers == bp.Sequential(bp.LayerNorm(eps=1e-3))
    assert (net.parameters["0.gamma"] == constants["gamma"]).all()


def test_layer_normalization_over_the_last_and_over_all_axes(tmp_path: Path) -> None:
    last = model([node("LayerNormalization", "x g b", "y")], ["n", 6, 4], {"g": normal(4), "b": normal(4)})
    assert kinds(compare(last, tmp_path, normal(5, 6, 4))) == ["LayerNorm"]
    every = model(
        [node("LayerNormalization", "x g b", "y", axis=1)], ["n", 6, 4], {"g": normal(6, 4), "b": normal(6, 4)}
    )
    net = compare(every, tmp_path, normal(5, 6, 4))
    assert kinds(net) == ["Flatten", "LayerNorm", "Reshape"]


def test_a_mean_that_is_no_norm_is_refused(tmp_path: Path) -> None:
    made = model([node("ReduceMean", "x", "1", axes=[1]), node("Sub", "x 1", "y")], ["n", 4], opset=11)
    assert "a mean that is no part of a LayerNorm" in refusal(made, tmp_path)


@pytest.mark.parametrize("shape", [(3,), (3, 6), (3, 5, 6)])
def test_batch_norm(tmp_path: Path, shape: tuple[int, ...]) -> None:
    constants = {"g": normal(3), "b": normal(3), "m": normal(3), "v": np.abs(normal(3)) + 0.1}
    made = model([node("BatchNormalization", "x g b m v", "y", epsilon=1e-3, momentum=0.8)], ["n", *shape], constants)
    net = compare(made, tmp_path, normal(5, *shape))
    assert net.layers == bp.Sequential(bp.BatchNorm(0.8, eps=1e-3))
    assert (net.states["0.mean"] == constants["m"]).all()


# -- images ---------------------------------------------------------------------------------------------------------


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
    "same lower": ({"auto_pad": "SAME_LOWER"}, "same"),
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
        ({"dilations": [2, 2]}, "dilations (2, 2); gpubp's Conv2D has none"),
        ({"pads": [1, 1, 0, 0]}, "pads [1, 1, 0, 0]"),
        ({"auto_pad": "SAME_LOWER", "kernel": (2, 2)}, "gpubp's Conv2D has the same number"),
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
    assert 'Pad "p": gpubp pads images in a convolution only' in refusal(alone, tmp_path)


SAME, TWO = "SAME_UPPER", {"strides": [2, 2]}
POOLS: dict[str, tuple[str, dict[str, Any], bp.Layer | None]] = {
    "max": ("MaxPool", {"kernel_shape": [2, 2]}, bp.MaxPool2D(2, 1)),
    "max, side by side": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, bp.MaxPool2D(2)),
    "max, ceil": ("MaxPool", {"kernel_shape": [2, 2], **TWO, "ceil_mode": 1}, bp.MaxPool2D(2, None, "same")),
    "mean, pads": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, bp.AvgPool2D(3, 1, 1)),
    "mean, counted": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, None),
    "mean, counted, none": ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1}, bp.AvgPool2D(2, 1)),
    "mean, same": ("AveragePool", {**TWO, "kernel_shape": [3, 3], "auto_pad": SAME}, bp.AvgPool2D(3, 2, "same")),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pool(tmp_path: Path, name: str) -> None:
    op, attributes, layer = POOLS[name]
    made = model([node(op, "x", "y", "p", **attributes)], ["n", 2, 7, 5])
    if layer is None:
        assert f'{op} "p": count_include_pad=1' in refusal(made, tmp_path)
    else:
        assert compare(made, tmp_path, normal(3, 2, 7, 5)).layers.children == (layer,)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize(("op", "last"), [("ReduceMean", "GlobalAvgPool2D"), ("ReduceMax", "MaxOverTime")])
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
        node("Conv", "x W", "1", "conv1", dilations=[2, 2]), node("Selu", "1", "2", "act1"),
        node("Conv", "2 V", "3", "conv2", dilations=[2, 1]), node("InstanceNormalization", "3 g g", "4", "norm"),
        node("Resize", "4 - two", "y", "up"),
    ]  # fmt: skip
    constants = {
        "W": normal(3, 2, 3, 3),
        "V": normal(3, 3, 3, 3),
        "g": normal(3),
        "two": np.array([1, 1, 2, 2], np.float32),
    }
    lines = refusal(model(nodes, ["n", 2, 9, 9], constants), tmp_path).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        'Conv "conv1"', 'Selu "act1"', 'Conv "conv2"', 'InstanceNormalization "norm"', 'Resize "up"',
    ]  # fmt: skip


def test_dropout_of_old_and_new_files_is_kept(tmp_path: Path) -> None:
    made = model([node("Dropout", "x", "1", ratio=0.3), node("Relu", "1", "y")], ["n", 4], opset=10)
    assert compare(made, tmp_path, normal(5, 4)).layers == bp.Sequential(bp.Dropout(0.3), bp.ReLU())
    made = model([node("Dropout", "x r", "1"), node("Relu", "1", "y")], ["n", 4], {"r": np.float32(0.25)})
    assert compare(made, tmp_path, normal(5, 4)).layers == bp.Sequential(bp.Dropout(0.25), bp.ReLU())


def test_softmax_of_old_files_stands_for_all_axes_behind(tmp_path: Path) -> None:
    made = model([node("MatMul", "x W", "1"), node("Softmax", "1", "y")], ["n", 3, 4], {"W": normal(4, 4)}, opset=11)
    assert "axis 1 stands for all axes from there on" in refusal(made, tmp_path)


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


# -- scaling of inputs ----------------------------------------------------------------------------------------------

SCALE = {
    "m": normal(4), "d": np.abs(normal(4)) + 0.5, "W": normal(4, 3), "b": normal(3), "k": np.float32(255),
    "h": np.float32(0.5), "M": normal(1, 2, 1, 1), "S": normal(2, 1, 1), "K": normal(4, 2, 3, 3), "c": normal(4),
    "G": normal(4, 1, 3, 3), "V": normal(12, 3),
}  # fmt: skip
OF_SKLEARN = {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 1.0, 2.0, 3.0]}
SCALED: dict[str, tuple[list[Any], list[Any]]] = {
    "mean and deviation": ([node("Sub", "x m", "1"), node("Div", "1 d", "2"), node("Gemm", "2 W b", "y")], ["n", 4]),
    "from the other side": (
        [node("Sub", "m x", "1"), node("Mul", "1 d", "2"), node("MatMul", "2 W", "3"), node("Add", "3 b", "y")],
        ["n", 4],
    ),
    "numbers": (
        [node("Div", "x k", "1"), node("Sub", "1 h", "2"), node("Flatten", "2", "3"), node("Gemm", "3 V b", "y")],
        ["n", 2, 6],
    ),
    "of sklearn": (
        [node("Scaler", "x", "1", domain="ai.onnx.ml", **OF_SKLEARN), node("Gemm", "1 W", "y")], ["n", 4],
    ),
    "behind a Tanh": (
        [node("Tanh", "x", "1"), node("Mul", "1 h", "2"), node("Add", "2 h", "3"), node("Gemm", "3 W", "y")], ["n", 4],
    ),
    "images": ([node("Sub", "x M", "1"), node("Mul", "1 S", "2"), node("Conv", "2 K c", "y")], ["n", 2, 6, 5]),
    "images in groups": (
        [node("Sub", "x M", "1"), node("Mul", "1 S", "2"), node("Conv", "2 G", "y", group=2)], ["n", 2, 6, 5],
    ),
    "padded images": ([node("Mul", "x S", "1"), node("Conv", "1 K", "y", pads=[1, 1, 1, 1])], ["n", 2, 6, 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_scaling_of_inputs_goes_into_the_weights(tmp_path: Path, name: str) -> None:
    nodes, shape = SCALED[name]
    used = {i for n in nodes for i in n.input}
    X = normal(5, *shape[1:])
    net = compare(model(nodes, shape, {n: a for n, a in SCALE.items() if n in used}), tmp_path, X)
    assert kinds(net)[-1] in ("Dense", "Conv2D") and len(kinds(net)) <= 2
    assert "the scaling before it" in " ".join(net.metadata["imported"]["report"])


def test_scaling_that_no_layer_takes_is_refused(tmp_path: Path) -> None:
    padded = [node("Sub", "x M", "1", "shift"), node("Conv", "1 K", "y", pads=[1, 1, 1, 1])]
    message = refusal(model(padded, ["n", 2, 6, 5], {n: SCALE[n] for n in "MK"}), tmp_path)
    assert 'Sub "shift": it shifts images before a convolution that pads them' in message
    alone = model([node("Mul", "x d", "y", "scale")], ["n", 4], {"d": SCALE["d"]})
    assert 'Mul "scale": it scales or shifts by a constant' in refusal(alone, tmp_path)


def test_what_was_joined_is_read_by_a_dense(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x A", "1"), node("Relu", "1", "2"), node("Concat", "x 2", "3", axis=1), node("Gemm", "3 B", "4"),
        node("Tanh", "4", "5"), node("Concat", "3 5", "6", axis=-1), node("Gemm", "6 C", "y"),
    ]  # fmt: skip
    constants = {"A": normal(4, 3), "B": normal(7, 3), "C": normal(10, 2)}
    assert kinds(compare(model(nodes, ["n", 4], constants), tmp_path, normal(5, 4))) == [
        "Parallel",
        "Parallel",
        "Dense",
    ]


def test_names_of_classes_at_the_end(tmp_path: Path) -> None:
    """As skl2onnx ends a classifier: a label, and a list of probabilities by name."""
    nodes = [
        node("MatMul", "x W", "1"), node("Add", "1 b", "2"), node("Softmax", "2", "p"),
        node("ArgMax", "p", "label", axis=1),
        node("ZipMap", "p", "named", domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"]),
    ]  # fmt: skip
    made = model(nodes, ["n", 4], {n: SCALE[n] for n in "Wb"}, outputs=("label", "named"))
    made.graph.output[0].type.tensor_type.elem_type = INT64
    made.graph.output[1].type.sequence_type.elem_type.map_type.key_type = 8
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    net = bp.from_onnx(path, device="cpu")
    assert net.layers == bp.Sequential(bp.Dense(3)) and net.metadata["task"] == "classes"


def test_recurrent_with_rows_first(tmp_path: Path) -> None:
    """layout=1, which onnxruntime does not have."""
    nodes, constants = recurrent("GRU", 1, layout=1)
    nodes.append(node("Squeeze", "Y axes", "y"))
    used = {n: constants[n] for n in "WRB"} | {"axes": np.array([2])}
    made, X = model(nodes, ["n", 6, 2], used), normal(5, 6, 2)
    net = bp.from_onnx(saved(made, tmp_path), device="cpu")
    agree(net, X, pytest.importorskip("onnx.reference").ReferenceEvaluator(made).run(None, {"x": X})[0])


def test_units_of_a_convolution_taken_apart(tmp_path: Path) -> None:
    """Without groups each part is a convolution; in groups a part sees other channels, and is refused."""
    nodes = [node("Split", "h", "a b", axis=1), node("Relu", "b", "c"), node("Concat", "a c", "y", axis=1)]
    plain = model([node("Conv", "x K", "h"), *nodes], ["n", 2, 6, 5], {"K": normal(4, 2, 3, 3)})
    assert kinds(compare(plain, tmp_path, normal(3, 2, 6, 5))) == ["Parallel"]
    grouped = model([node("Conv", "x K", "h", group=2), *nodes], ["n", 2, 6, 5], {"K": normal(4, 1, 3, 3)})
    assert "it takes a part of its input" in refusal(grouped, tmp_path)


def test_an_open_first_axis_is_that_of_the_rows(tmp_path: Path) -> None:
    nodes = [node("MatMul", "W x", "1"), node("Transpose", "1", "y", perm=[1, 0, 2])]
    net = compare(model(nodes, ["n", 4, 5], {"W": normal(2, 4)}), tmp_path, normal(3, 4, 5))
    assert net.input_shape == (5, 4) and net.output_shape == (5, 2)
