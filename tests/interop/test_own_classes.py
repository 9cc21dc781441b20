"""Classes of the user's own: `to_c` and `to_onnx` write those that predict as one of gpubp's, and refuse all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.interop.own_classes import predicts_as, predicts_by_formula


class Threefold(bp.Activation):
    """A formula, but of one column it makes three."""

    def plan(self, x):
        return bp.Plan(output=(x[0], 3), arrays={"y": (x[0], 3), "dx": x})

    def f(self, x):
        return x * x

    def df(self, x, y, dy):
        return dy * 2 * x


class Doubles:
    """What a class extends beside a layer."""

    def forward(self, ws, x):
        return ws.xp.multiply(super().forward(ws, x), 2, out=ws.y)  # type: ignore[misc]


class DoubledDense(Doubles, bp.Dense): ...


class DoubledTanh(Doubles, bp.Tanh): ...


class DoubledSteep(Doubles, bp.Activation):
    def f(self, x):
        return 3 * x

    def df(self, x, y, dy):
        return 3 * dy


class Named:
    """Methods that no layer has."""

    def label(self) -> str:
        return "mine"


class NamedDense(Named, bp.Dense): ...


class NamedSteep(Named, bp.Tanh):
    def f(self, x):
        return 3 * x


OTHERWISE = [(Threefold(), 1), (DoubledDense(3), 2), (DoubledTanh(), 2), (DoubledSteep(), 2)]


@pytest.mark.parametrize(("layer", "columns"), OTHERWISE, ids=str)
@pytest.mark.parametrize("form", ["c", "onnx"])
def test_a_class_that_predicts_otherwise_is_refused(layer: bp.Layer, columns: int, form: str, tmp_path: Path) -> None:
    """Also where the method is that of a class beside the layer's."""
    if form == "onnx":
        pytest.importorskip("onnx")
    net = bp.Network(bp.Sequential(layer), columns, device="cpu", seed=0)
    assert net.predict(np.ones((2, columns))).shape[0] == 2
    write = net.to_c if form == "c" else net.to_onnx
    with pytest.raises(bp.ExportError, match=type(layer).__name__):
        write(tmp_path / f"model.{form}")
    assert list(tmp_path.iterdir()) == []


def test_other_methods_change_nothing() -> None:
    assert predicts_as(NamedDense(3), {bp.Dense}) is bp.Dense and predicts_by_formula(NamedSteep())
    assert predicts_by_formula(bp.Tanh()) and not predicts_by_formula(bp.Dense(3))
    assert not any(predicts_as(layer, {bp.Dense, bp.Tanh}) or predicts_by_formula(layer) for layer, _ in OTHERWISE)
