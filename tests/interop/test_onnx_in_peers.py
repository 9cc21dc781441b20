"""The cases of ONNX's own backend test that were made by PyTorch: each gives its numbers, or is refused for a reason.

The files are in the wheel of onnx, so that nothing is kept here. What is read and what is refused stands below, so that
a change is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import agree, onnx

import gpubp as bp

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

PART = "takes a part of its input"
TWO_INPUTS = "gpubp's networks take one"
NO_FUNCTION = "for which gpubp has no layer"

CONVERTED = {
    "MaxPool2d_stride_padding_dilation": "more than 4096 places",
    "GLU": PART,
    "GLU_dim": "multiplies two results",
    **dict.fromkeys(["Softmin"], NO_FUNCTION),
    "PixelShuffle": "no layer that transposes",
    "PoissonNLLLLoss_no_reduce": "differs from row to row",
}
OPERATORS = {
    **dict.fromkeys(["add_broadcast", "add_size1_broadcast", "add_size1_right_broadcast"], TWO_INPUTS),
    **dict.fromkeys(["add_size1_singleton_broadcast", "addmm", "basic", "concat2", "max", "min"], TWO_INPUTS),
    **dict.fromkeys(["mm", "pow"], TWO_INPUTS),
    **dict.fromkeys(["addconstant", "exp", "sqrt"], NO_FUNCTION),
    **dict.fromkeys(["non_float_params", "params"], "differs from row to row"),
    **dict.fromkeys(["reduced_mean", "reduced_mean_keepdim"], "over all of an image"),
    **dict.fromkeys(["reduced_sum", "reduced_sum_keepdim"], "gpubp has means and maxima"),
    **dict.fromkeys(["repeat", "repeat_dim_overflow"], "must be a constant"),
    **dict.fromkeys(["chunk", "symbolic_override_nested"], "say which one"),
    "index": "does not always have the length 1",
    "permute2": "there is no layer to train",
    "view": "needs rows of numbers",
}


def cases(folder: str, prefix: str) -> list[str]:
    return sorted(path.name.removeprefix(prefix) for path in (DATA / folder).glob(f"{prefix}*"))


def array(path: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


def check(folder: Path, why: str | None) -> None:
    """The numbers of the case, or the refusal that is expected."""
    try:
        net = bp.from_onnx(folder / "model.onnx", device="cpu")
    except bp.ModelFileError as problem:
        assert why is not None and why in str(problem)
        return
    assert why is None, f"it is read now, as {net.layers!r}"
    data = folder / "test_data_set_0"
    agree(net, array(data / "input_0.pb"), array(data / "output_0.pb"))


@pytest.mark.parametrize("name", cases("pytorch-converted", "test_"))
def test_networks_of_one_layer(name: str) -> None:
    check(DATA / "pytorch-converted" / f"test_{name}", CONVERTED.get(name))


@pytest.mark.parametrize("name", cases("pytorch-operator", "test_operator_"))
def test_operators(name: str) -> None:
    check(DATA / "pytorch-operator" / f"test_operator_{name}", OPERATORS.get(name))


def test_as_many_as_the_docs_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
    names = cases("pytorch-converted", "test_")
    if len(names) != 82:
        pytest.skip(f"this version of onnx has {len(names)} cases, and the docs tell of 82")
    assert set(CONVERTED) <= set(names)
    assert f"{82 - len(CONVERTED)} of the 82" in " ".join(page.split())
