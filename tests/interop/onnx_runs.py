"""Networks written as ONNX, run by onnxruntime, or by ONNX's own reference, beside gpubp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_reference import by_reference

import gpubp as bp

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NOT_IN_DOUBLE = {
    "Conv",
    "ConvTranspose",
    "AveragePool",
    "RNN",
    "GRU",
    "LSTM",
}  # what onnxruntime has in float32 alone, on a CPU


def session_of(net: bp.Network, folder: Path, raw: bool = False) -> Any:
    """A checked ONNX file of the network, loaded by onnxruntime."""
    path = folder / "model.onnx"
    net.to_onnx(path, raw=raw)
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def outputs_of(session: Any, X: np.ndarray, *more: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs by name. more: the inputs behind the first, such as lengths."""
    names = [output.name for output in session.get_outputs()]
    given = {described.name: a for described, a in zip(session.get_inputs(), (X, *more), strict=True)}
    return dict(zip(names, session.run(names, given), strict=True))


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
    (found,), expected = by_reference(model, {"input": X}), net.predict(X)
    assert found.dtype == expected.dtype
    assert_close(found, expected, tolerance)


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
        assert_close(found, expected, tolerance)
    assert outputs_of(session, X[:0])["output"].shape == (0, *net.output_shape)


def compare_lengths(net: bp.Network, folder: Path, rows: list[np.ndarray], tolerance: float = 1e-5) -> None:
    """Assert that rows of different lengths give what they give in gpubp: padded with NaN to the longest, with more
    padding, and the first alone. Behind their end outputs of each step are 0."""
    session, expected = session_of(net, folder), net.predict(rows)
    lengths = np.array([len(row) for row in rows])
    for count, T in ((len(rows), lengths.max()), (len(rows), lengths.max() + 5), (1, lengths[0])):
        X = np.full((count, T, *rows[0].shape[1:]), np.nan, net.dtype)
        for place, row in zip(X, rows, strict=False):
            place[: len(row)] = row
        found = outputs_of(session, X, lengths[:count])["output"]
        for y, z, L in zip(found, expected, lengths, strict=False):
            if isinstance(expected, bp.Sequences):
                assert y.shape == (T, *z.shape[1:]) and not y[L:].any()
                y = y[:L]
            assert_close(y, z, tolerance)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Assert that numbers agree, relative to the largest, or to 1 if all are smaller."""
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= tolerance * scale
