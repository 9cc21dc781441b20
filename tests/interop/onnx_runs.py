"""Networks written as ONNX, run by onnxruntime, or by ONNX's own reference, beside gpubp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

import gpubp as bp

NOT_IN_DOUBLE = {"Conv", "AveragePool"}  # what onnxruntime has in float32 alone, on a CPU


def session_of(net: bp.Network, folder: Path) -> Any:
    """A checked ONNX file of the network, loaded by onnxruntime."""
    path = folder / "model.onnx"
    net.to_onnx(path)
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def outputs_of(session: Any, X: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: X}), strict=True))


def as_trained(net: bp.Network, seed: int = 0) -> bp.Network:
    """The network with random parameters and running statistics, as a training leaves them."""
    rng = np.random.default_rng(seed)
    for name, array in (*net.parameters.items(), *net.states.items()):
        spread = rng.normal(size=array.shape)
        array[...] = 0.2 + np.abs(spread) if name.rpartition(".")[2] == "var" else 0.7 * spread
    return net


def compare_anywhere(net: bp.Network, folder: Path, X: np.ndarray, tolerance: float) -> None:
    """As `compare`; by ONNX's reference where onnxruntime has no kernel in float64."""
    path = folder / "model.onnx"
    net.to_onnx(path)
    model = onnx.load(path)
    if net.dtype == np.float32 or not {node.op_type for node in model.graph.node} & NOT_IN_DOUBLE:
        compare(net, folder, X, tolerance)
        return
    onnx.checker.check_model(str(path), full_check=True)
    (found,), expected = ReferenceEvaluator(model).run(None, {"input": X}), net.predict(X)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.abs(found - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def ops_of(net: bp.Network, folder: Path) -> list[str]:
    """The operations of the file's nodes, in their order."""
    path = folder / "model.onnx"
    net.to_onnx(path)
    return [node.op_type for node in onnx.load(path).graph.node]


def compare(net: bp.Network, folder: Path, X: np.ndarray, tolerance: float = 1e-5) -> None:
    """Assert that the raw outputs are those of gpubp, for all rows at once, the first alone, and none."""
    session = session_of(net, folder)
    for rows in (X, X[:1]):
        found, expected = outputs_of(session, rows)["output"], net.predict(rows)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        scale = max(1.0, float(np.abs(expected).max()))
        assert np.abs(found - expected).max() <= tolerance * scale
    assert outputs_of(session, X[:0])["output"].shape == (0, *net.output_shape)
