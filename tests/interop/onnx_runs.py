"""Networks written as ONNX, run by onnxruntime beside gpubp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import gpubp as bp


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


def compare(net: bp.Network, folder: Path, X: np.ndarray, tolerance: float = 1e-5) -> None:
    """Assert that the raw outputs are those of gpubp, for all rows at once and for the first alone."""
    session = session_of(net, folder)
    for rows in (X, X[:1]):
        found, expected = outputs_of(session, rows)["output"], net.predict(rows)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        scale = max(1.0, float(np.abs(expected).max()))
        assert np.abs(found - expected).max() <= tolerance * scale
