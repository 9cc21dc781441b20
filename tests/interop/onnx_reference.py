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
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    own = [_transposed()] if any(node.op_type == "ConvTranspose" for node in model.graph.node) else []
    return list(evaluator(model, new_ops=own).run(None, dict(inputs)))


def _transposed() -> Any:
    """ConvTranspose by PyTorch, since onnx's own, as of 1.23, takes the weights of groups from the wrong axis."""
    torch = pytest.importorskip("torch")

    class ConvTranspose(onnx.reference.op_run.OpRun):  # type: ignore[misc, name-defined]
        op_domain = ""

        def _run(self, *given: Any, **of: Any) -> tuple[Any]:
            x, W, b = (None if a is None else torch.tensor(a) for a in (*given, None)[:3])
            n, sizes = x.ndim - 2, ("stride", "output_padding", "dilation")
            strides, more, dilations = (of.get(name) for name in ("strides", "output_padding", "dilations"))
            options = {k: list(v) for k, v in zip(sizes, (strides, more, dilations), strict=True) if v}
            y = getattr(torch.nn.functional, f"conv_transpose{n}d")(x, W, b, groups=of.get("group") or 1, **options)
            pads = of.get("pads") or [0] * 2 * n
            inner = (slice(p, size - q) for p, q, size in zip(pads[:n], pads[n:], y.shape[2:], strict=True))
            return (y[(slice(None), slice(None), *inner)].contiguous().numpy(),)

    return ConvTranspose
