"""ONNX graphs made by hand: which layers they become, and that these give the numbers of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import DOUBLE, INT64, RNG, compare, kinds, model, node, normal, onnx, refusal

import gpubp as bp

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
    "minus": np.float32(-0.7), "six": np.float32(6),
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
        bp.GELU("tanh"),
    ),
    "gelu by erf": (
        [
            node("Div", "h root", "1"), node("Erf", "1", "2"), node("Sum", "one 2", "3"), node("Mul", "h 3", "4"),
            node("Mul", "4 half", "y"),
        ],
        bp.GELU(),
    ),
    "softplus by log": ([node("Exp", "h", "1"), node("Add", "1 one", "2"), node("Log", "2", "y")], bp.Softplus()),
    "leaky by max": ([node("Mul", "h slope", "1"), node("Max", "h 1", "y")], bp.LeakyReLU(0.2)),
    "relu by clip": ([node("Clip", "h zero", "y")], bp.ReLU()),
    "two after each other": ([node("Tanh", "h", "1"), node("Relu", "1", "y")], bp.ReLU()),
    "elu": ([node("Elu", "h", "y", alpha=0.3)], bp.ELU(0.3)),
    "leaky": ([node("LeakyRelu", "h", "y", alpha=0.1)], bp.LeakyReLU(0.1)),
    "selu": ([node("Selu", "h", "y", alpha=2.0, gamma=3.0)], bp.SELU(2.0, 3.0)),
    "selu as it is": ([node("Selu", "h", "y", alpha=1.67326319, gamma=1.05070102)], bp.SELU()),
    "hard sigmoid of PyTorch": ([node("HardSigmoid", "h", "y", alpha=0.16666667)], bp.HardSigmoid()),
    "celu": ([node("Celu", "h", "y", alpha=2.0)], bp.CELU(2.0)),
    "mish": ([node("Mish", "h", "y")], bp.Mish()),
    "mish by softplus": ([node("Softplus", "h", "1"), node("Tanh", "1", "2"), node("Mul", "h 2", "y")], bp.Mish()),
    "hard sigmoid": ([node("HardSigmoid", "h", "y", alpha=0.5, beta=0.6)], bp.HardSigmoid(0.5, 0.6)),
    "hard sigmoid by clip": (
        [node("Mul", "h slope", "1"), node("Add", "1 half", "2"), node("Clip", "2 zero one", "y")],
        bp.HardSigmoid(0.2),
    ),
    "hard sigmoid by clip of a tanh": (
        [
            node("Tanh", "h", "0"), node("Mul", "0 three", "1"), node("Add", "1 half", "2"),
            node("Clip", "2 zero one", "y"),
        ],
        bp.HardSigmoid(3.0),
    ),
    "hard swish by clip": (
        [
            node("Add", "h three", "1"), node("Clip", "1 zero six", "2"), node("Mul", "h 2", "3"),
            node("Div", "3 six", "y"),
        ],
        bp.HardSwish(),
    ),
    "shrink softly by where": (
        [
            node("Sub", "h half", "1"), node("Add", "h half", "2"), node("Greater", "h half", "3"),
            node("Neg", "half", "4"), node("Less", "h 4", "5"), node("Where", "5 2 zero", "6"),
            node("Where", "3 1 6", "y"),
        ],
        bp.Softshrink(),
    ),
    "shrink by or": (
        [
            node("Neg", "minus", "0"), node("Greater", "h 0", "1"), node("Less", "h minus", "2"),
            node("Cast", "1", "3", to=9),
            node("Cast", "2", "4", to=9), node("Or", "3 4", "5"), node("Where", "5 h zero", "y"),
        ],
        bp.Hardshrink(0.7),
    ),
    "hard swish": ([node("HardSwish", "h", "y")], bp.HardSwish()),
    "hard swish by hard sigmoid": (
        [node("HardSigmoid", "h", "1", alpha=1 / 6), node("Mul", "h 1", "y")],
        bp.HardSwish(),
    ),
    "softsign": ([node("Softsign", "h", "y")], bp.Softsign()),
    "softsign by abs": ([node("Abs", "h", "1"), node("Add", "1 one", "2"), node("Div", "h 2", "y")], bp.Softsign()),
    "log sigmoid": ([node("Sigmoid", "h", "1"), node("Log", "1", "y")], bp.LogSigmoid()),
    "tanhshrink": ([node("Tanh", "h", "1"), node("Sub", "h 1", "y")], bp.Tanhshrink()),
    "thresholded": ([node("ThresholdedRelu", "h", "y", alpha=0.7)], bp.ThresholdedReLU(0.7)),
    "threshold by where": (
        [node("Greater", "h half", "1"), node("Where", "1 h slope", "y")],
        bp.ThresholdedReLU(0.5, 0.2),
    ),
    "relu6": ([node("Clip", "h zero three", "y")], bp.ReLU(3.0)),
    "hardtanh": ([node("Clip", "h minus three", "y")], bp.Hardtanh(-0.7, 3.0)),
    "clip from below": ([node("Clip", "h minus", "y")], bp.Hardtanh(-0.7, None)),
    "clip from above": ([node("Min", "h half", "y")], bp.Hardtanh(None, 0.5)),
    "shrink": ([node("Shrink", "h", "y", lambd=0.3)], bp.Hardshrink(0.3)),
    "shrink softly": ([node("Shrink", "h", "y", lambd=0.3, bias=0.3)], bp.Softshrink(0.3)),
    "softplus of a half": (
        [node("Mul", "h half", "1"), node("Softplus", "1", "2"), node("Div", "2 half", "y")],
        bp.Softplus(0.5),
    ),
    "swish": ([node("Mul", "h slope", "1"), node("Sigmoid", "1", "2"), node("Mul", "h 2", "y")], bp.SiLU(0.2)),
    "prelu": ([node("PRelu", "h slope", "y")], bp.PReLU("single")),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_in_any_way_to_write_them(tmp_path: Path, name: str) -> None:
    nodes, last = FORMULAS[name]
    used = {i for n in nodes for i in n.input}
    constants = {n: a for n, a in K.items() if n in used} | {"W": normal(4, 6)}
    made = model([node("MatMul", "x W", "h"), *nodes], ["n", 4], constants, opset=18 if name == "mish" else 17)
    wide = 0.5 if name == "log sigmoid" else 2.0  # onnxruntime's small sigmoids have few places
    net = compare(made, tmp_path, wide * normal(50, 4))
    assert net.layers.children[-1] == last


def erf_gelu() -> Any:
    nodes = [
        node("Div", "x root", "1"), node("Erf", "1", "2"), node("Add", "2 one", "3"), node("Mul", "x 3", "4"),
        node("Mul", "4 half", "y", "last"),
    ]  # fmt: skip
    return model(nodes, ["n", 4], {n: K[n] for n in ("root", "one", "half")})


def test_gelu_of_the_error_function_has_the_tanh_form_only_where_it_is_asked_for(tmp_path: Path) -> None:
    X = np.linspace(-6, 6, 400, dtype=np.float32).reshape(100, 4)
    net = compare(erf_gelu(), tmp_path, X, 1e-6)
    assert net.layers == bp.GELU() or net.layers.children == (bp.GELU(),)
    for form, layer in (("none", bp.GELU()), ("tanh", bp.GELU("tanh"))):
        made = model(
            [node("MatMul", "x W", "h"), node("Gelu", "h", "y", approximate=form)],
            ["n", 4],
            {"W": normal(4, 6)},
            opset=20,
        )
        assert compare(made, tmp_path, X, 1e-5).layers.children[-1] == layer
    net = compare(erf_gelu(), tmp_path, X, 5e-4, gelu="tanh")
    assert "GELU('tanh')" in repr(net.layers) and "tanh form" in " ".join(net.metadata["imported"]["report"])
    with pytest.raises(ValueError, match="gelu"):
        bp.from_onnx(tmp_path / "model.onnx", gelu="erf")


@pytest.mark.parametrize(
    ("op", "attributes", "what"),
    [
        ("Exp", {}, "the exponential"), ("Sin", {}, "a function of single numbers"),
        ("Celu", {"alpha": -2.0}, "a function of single numbers"),
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
    assert net.layers == bp.Sequential(bp.LayerNorm(axes=2))


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


def test_an_open_first_axis_is_that_of_the_rows(tmp_path: Path) -> None:
    nodes = [node("MatMul", "W x", "1"), node("Transpose", "1", "y", perm=[1, 0, 2])]
    net = compare(model(nodes, ["n", 4, 5], {"W": normal(2, 4)}), tmp_path, normal(3, 4, 5))
    assert net.input_shape == (5, 4) and net.output_shape == (5, 2)
