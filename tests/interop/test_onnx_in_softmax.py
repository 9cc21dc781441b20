"""Softmax, LogSoftmax and PRelu of any file: along any axis, with slopes of any shape, and in rows of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import compare, kinds, model, node, normal, refusal

import gpubp as bp


@pytest.mark.parametrize(
    ("axis", "opset", "layer"),
    [
        (1, 13, bp.Softmax()), (2, 13, bp.Softmax(1)), (-1, 13, bp.Softmax(2)), (3, 11, bp.Softmax(2)),
    ],
)  # fmt: skip
def test_softmax_of_images_goes_along_the_axis_of_the_file(
    tmp_path: Path, axis: int, opset: int, layer: bp.Layer
) -> None:
    nodes = [node("Conv", "x W", "1"), node("Softmax", "1", "2", axis=axis), node("Relu", "2", "y")]
    net = compare(model(nodes, ["n", 2, 6, 5], {"W": normal(3, 2, 3, 3)}, opset=opset), tmp_path, normal(3, 2, 6, 5))
    assert net.layers.children[1] == layer


def test_softmax_within_a_network_and_along_several_axes_of_an_old_file(tmp_path: Path) -> None:
    gate = [
        node("MatMul", "x W", "1"), node("LogSoftmax", "1", "2"), node("MatMul", "2 V", "3"), node("Add", "3 2", "y"),
    ]  # fmt: skip
    net = compare(model(gate, ["n", 4], {"W": normal(4, 3), "V": normal(3, 3)}), tmp_path, normal(5, 4))
    assert repr(net.layers) == (
        "Sequential(Dense(3, use_bias=False), LogSoftmax(), Residual(Dense(3, use_bias=False)))"
    )
    maps = [node("Conv", "x W", "1"), node("Softmax", "1", "2", axis=2), node("Relu", "2", "y")]
    made = model(maps, ["n", 2, 6, 5], {"W": normal(3, 2, 3, 3)}, opset=11)
    assert "no layer that transposes" in refusal(made, tmp_path)


def test_softmax_over_the_rows_is_refused(tmp_path: Path) -> None:
    made = model([node("MatMul", "x W", "1"), node("Softmax", "1", "y", axis=0)], ["n", 4], {"W": normal(4, 3)})
    assert "each row by itself" in refusal(made, tmp_path)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_alone_and_at_an_end_that_is_not_over_the_last_axis_stays(tmp_path: Path, op: str) -> None:
    alone = compare(model([node(op, "x", "y", axis=-1)], ["n", 4]), tmp_path, 3 * normal(5, 4))
    assert kinds(alone) == [op] and "task" not in alone.metadata
    steps = [node("MatMul", "x W", "1"), node(op, "1", "y", axis=1)]
    net = compare(model(steps, ["n", 6, 4], {"W": normal(4, 3)}), tmp_path, normal(5, 6, 4))
    assert kinds(net) == ["Dense", op] and f"the {op} at the end stays" in " ".join(net.metadata["imported"]["report"])
    assert bp.from_onnx(tmp_path / "model.onnx", bp.Dense(2), device="cpu").layers == bp.Sequential(bp.Dense(2))


def test_probabilities_of_a_file_whose_softmax_is_left_out(tmp_path: Path) -> None:
    X = normal(5, 4)
    for op in ("Softmax", "LogSoftmax"):
        nodes = [node("MatMul", "x W", "1"), node(op, "1", "y", axis=-1)]
        net = compare(model(nodes, ["n", 4], {"W": normal(4, 3)}), tmp_path, X)
        assert kinds(net) == ["Dense"] and net.predict_proba(X).sum(axis=1) == pytest.approx(1)
        assert (net.predict_classes(X) == net.predict(X).argmax(axis=1)).all()


SLOPES: dict[str, tuple[tuple[int, ...], str, int]] = {
    "one": ((1,), "single", 16), "one of no axes": ((), "single", 16), "channels": ((3, 1, 1), "channel", 16),
    "channels of an old file": ((3,), "channel", 6), "numbers": ((3, 4, 5), "each", 16),
    "rows of pixels": ((4, 1), "each", 16), "with the axis of the batch": ((1, 3, 1, 1), "channel", 16),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_of_any_shape(tmp_path: Path, name: str) -> None:
    shape, slopes, opset = SLOPES[name]
    a: Any = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    nodes = [node("Conv", "x W", "1"), node("PRelu", "1 a", "y")]
    given = a if opset > 6 else a.reshape(3, 1, 1)
    made = model(nodes, ["n", 2, 6, 7], {"W": normal(3, 2, 3, 3), "a": given})
    net = compare(made, tmp_path, normal(5, 2, 6, 7))
    assert net.layers.children[1] == bp.PReLU(slopes)
    if opset == 6:  # which the runtime does not compute
        old = model(nodes, ["n", 2, 6, 7], {"W": net.parameters["0.W"].transpose(3, 2, 0, 1), "a": a}, opset=6)
        (tmp_path / "old.onnx").write_bytes(old.SerializeToString())
        again = bp.from_onnx(tmp_path / "old.onnx", device="cpu")
        assert again.layers == net.layers and again.sha256() == net.sha256()


def test_slopes_of_channels_say_where_the_channels_are(tmp_path: Path) -> None:
    """Where no convolution does."""
    for row in ((3, 4), (3, 4, 5), (3, 4, 5, 2)):
        slopes = normal(3, *[1] * (len(row) - 1))
        made = model(
            [node("PRelu", "x a", "1"), node("Relu", "1", "2"), node("PRelu", "2 a", "y")], ["n", *row], {"a": slopes}
        )
        net = compare(made, tmp_path, normal(2, *row))
        assert net.layers == bp.Sequential(bp.PReLU(), bp.ReLU(), bp.PReLU()) and net.input_shape == (*row[1:], 3)


def test_slopes_that_do_not_fit_or_differ_from_row_to_row_are_refused(tmp_path: Path) -> None:
    nodes = [node("PRelu", "x a", "y")]
    assert "does not fit the data" in refusal(model(nodes, ["n", 4], {"a": normal(3)}), tmp_path)
    made = model([node("Relu", "x", "1"), node("PRelu", "1 a", "y")], [2, 4], {"a": normal(2, 4)})
    assert "differs from row to row" in refusal(made, tmp_path)


@pytest.mark.parametrize("cls", [bp.Softmax, bp.LogSoftmax])
def test_rows_of_different_lengths_in_a_file(tmp_path: Path, cls: Any) -> None:
    ort = pytest.importorskip("onnxruntime")
    net = bp.Network(bp.Sequential(bp.Dense(3), cls(axis=1), cls(), bp.PReLU(), bp.MeanOverTime()), (None, 2), "cpu")
    rows = [normal(n, 2) for n in (4, 1, 7)]
    net.to_onnx(tmp_path / "lengths.onnx")
    x = np.zeros((3, 7, 2), np.float32)
    for place, row in zip(x, rows, strict=True):
        place[: len(row)], place[len(row) :] = row, 9.0
    session = ort.InferenceSession(str(tmp_path / "lengths.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x, "lengths": np.array([4, 1, 7])})
    assert np.abs(found - net.predict(rows)).max() < 1e-5
