"""The evaluator that ONNX's own library has, for what onnxruntime does not compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

VERSION = tuple(int(n) for n in onnx.__version__.split(".")[:2])
RIGHT = (1, 23)  # older ones, tried from 1.17 on, compute recurrent nodes wrongly or not at all


def by_reference(model: Any, inputs: Mapping[str, Any]) -> list[Any]:
    """All outputs of a model. The test is skipped where the library is too old."""
    if VERSION < RIGHT:
        pytest.skip(f"the evaluator of onnx {onnx.__version__} is wrong: pip install -U onnx")
    return list(pytest.importorskip("onnx.reference").ReferenceEvaluator(model).run(None, dict(inputs)))
