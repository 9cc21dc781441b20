"""gradcheck: it refuses layers whose backward is wrong or overwrites arrays that others read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp


class Scale(bp.Layer):
    """y = x a, written as it should be; subclasses write into the wrong array."""

    def plan(self, x: Any) -> bp.Plan:
        arrays = {"y": x, "product": x, "dx": x}
        return bp.Plan(output=x, parameters={"a": bp.Parameter(x[1:], bp.Constant(1.0))}, arrays=arrays)

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        return ws.xp.multiply(x, ws.a, out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return self.gradients(ws, dy, ws.product)

    def gradients(self, ws: bp.Workspace, dy: Any, product: Any) -> Any:
        ws.xp.multiply(dy, ws.a, out=ws.dx)
        ws.xp.multiply(dy, ws.x, out=product)
        ws.xp.sum(product, axis=0, out=ws.da)
        return ws.dx


class OverwritesY(Scale):
    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return self.gradients(ws, dy, ws.y)


class OverwritesX(Scale):
    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return self.gradients(ws, dy, ws.x)


class OverwritesDy(Scale):
    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return self.gradients(ws, dy, dy)


class OverwritesXForward(Scale):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        y = super().forward(ws, x)
        ws.xp.copyto(x, 0.0)
        return y


def wrapped(layer: bp.Layer) -> list[bp.Layer]:
    """The layer alone, as the last of a chain, and as a branch."""
    return [layer, bp.Sequential(bp.Dense(3), layer), bp.Parallel(layer)]


def test_a_layer_that_keeps_the_rules_passes() -> None:
    for layer in wrapped(Scale()):
        assert max(bp.gradcheck(layer, (6, 3)).errors.values()) < 1e-7


@pytest.mark.parametrize("training", [True, False])
def test_backward_must_not_overwrite_y(training: bool) -> None:
    """Its gradients are right, and replayed steps equal computed ones, so that nothing else shows the mistake."""
    for layer in wrapped(OverwritesY())[:2]:
        with pytest.raises(bp.GradientMismatch, match=r"OverwritesY\(\).*: backward changes y, which others read too"):
            bp.gradcheck(layer, (6, 3), training=training)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (OverwritesX(), r"OverwritesX\(\): backward changes x, which others read too; declare another array in plan"),
        (OverwritesDy(), r"OverwritesDy\(\): backward changes dy"),
        (OverwritesXForward(), r"OverwritesXForward\(\): forward changes x"),
    ],
)
def test_arguments_must_not_be_overwritten(layer: bp.Layer, words: str) -> None:
    with pytest.raises(bp.GradientMismatch, match=words):
        bp.gradcheck(layer, (6, 3))


def test_backward_in_two_methods_is_checked_too() -> None:
    class Halves(Scale):
        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            return bp.Layer.backward(self, ws, dy)

        def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
            ws.xp.multiply(dy, ws.x, out=ws.product)
            ws.xp.sum(ws.product, axis=0, out=ws.da)

        def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
            return ws.xp.multiply(dy, ws.a, out=ws.dx)

    class Wrong(Halves):
        def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
            return ws.xp.multiply(dy, ws.x, out=ws.dx)

    assert bp.gradcheck(Halves(), (6, 3)).errors.keys() == {"x", "a"}
    with pytest.raises(bp.GradientMismatch, match=r"not the derivative of forward for dx"):
        bp.gradcheck(Wrong(), (6, 3))


def test_a_layer_without_backward_is_refused() -> None:
    class Forward(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x})

        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            return ws.xp.multiply(x, 2.0, out=ws.y)

    with pytest.raises(TypeError, match=r"Forward has no backward\(ws, dy\) or input_gradient\(ws, dy\)"):
        bp.gradcheck(Forward(), (6, 3))

    class Parametric(Forward):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x}, parameters={"a": bp.Parameter(x[1:], bp.Constant(1.0))})

        def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
            return dy

    net = bp.Network(Parametric(), 3, device="cpu")  # the lowest layer: nobody uses its dx
    with pytest.raises(NotImplementedError, match=r"Parametric has no backward\(ws, dy\) or parameter_gradients"):
        net.loss_and_gradients(bp.MeanSquaredError(), np.ones((2, 3)), np.ones((2, 3)))
