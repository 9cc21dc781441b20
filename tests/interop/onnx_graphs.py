"""ONNX graphs made by hand, computed by onnxruntime, and by gpubp from the layers that they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, Any]
FLOAT, DOUBLE, INT64 = 1, 11, 7

RNG = np.random.default_rng(5)


def node(op: str, inputs: str, outputs: str, name: str = "", domain: str = "", **attributes: Any) -> Any:
    """A node; names of inputs and outputs stand apart by spaces, "-" for one that is left out."""
    read = ["" if i == "-" else i for i in inputs.split()]
    return onnx.helper.make_node(
        op, read, outputs.split(), name=name or f"{op}_{outputs.split()[0]}", domain=domain, **attributes
    )


def model(
    nodes: list[Any],
    shape: list[Any],
    constants: dict[str, Array] | None = None,
    opset: int = 17,
    kind: int = FLOAT,
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    """A model with the input x of this shape, and outputs of any shape."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [info("x", kind, shape)],
        [info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(a, name) for name, a in (constants or {}).items()],
    )
    sets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    return onnx.helper.make_model(graph, opset_imports=sets, ir_version=8)


def saved(made: Any, folder: Path) -> Path:
    """The path of the model in a file."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def compare(made: Any, folder: Path, X: Array, tolerance: float = 1e-5, **options: Any) -> bp.Network:
    """The network of a model, whose outputs are asserted to be those of onnxruntime; logits before a softmax."""
    path = saved(made, folder)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run([made.graph.output[0].name], {"x": X})[0]
    net = bp.from_onnx(path, device="cpu", **options)
    agree(net, X, wanted, tolerance)
    return net


def agree(net: bp.Network, X: Array, wanted: Array, tolerance: float = 1e-5) -> None:
    """Assert that an imported network gives the outputs of the file on the inputs of the file."""
    told = net.metadata["imported"]
    found = net.predict(X.transpose(told["input_axes"]))
    if net.metadata.get("task") == "classes":
        found = np.exp(found - found.max(axis=-1, keepdims=True))
        found /= found.sum(axis=-1, keepdims=True)
        if any(line.startswith("LogSoftmax") for line in told["report"]):
            found = np.log(found)
    if told["output_axes"]:
        wanted = wanted.transpose(told["output_axes"]).reshape(found.shape)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))


def refusal(made: Any, folder: Path, **options: Any) -> str:
    """The message with which a model is refused."""
    with pytest.raises(bp.ModelFileError) as problem:
        bp.from_onnx(saved(made, folder), device="cpu", **options)
    return str(problem.value)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def kinds(net: bp.Network) -> list[str]:
    """The classes of the layers."""
    return [type(layer).__name__ for layer in net.layers.children]
