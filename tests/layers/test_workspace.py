"""Plans and workspaces: reserved names are refused, and only what is used is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.layers import Context, Values, bind
from gpubp.layers.plan import RESERVED
from gpubp.metrics import MeanAbsolute

KINDS = ("parameter", "state", "array", "constant")


class Named(bp.Layer):
    """y = x, with one more name in its plan."""

    def __init__(self, kind: str, name: str) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "name", name)

    def plan(self, x: Any) -> bp.Plan:
        declared: Any = {
            "parameter": bp.Parameter(x[1:], bp.Constant(1.0)),
            "state": bp.Parameter(x[1:], bp.Constant(1.0)),
            "array": x,
            "constant": np.ones(3),
        }[self.kind]
        extra: dict[str, Any] = {self.kind + "s": {self.name: declared}}
        arrays = {"y": x, "dx": x} | extra.pop("arrays", {})
        return bp.Plan(output=x, arrays=arrays, **extra)

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, 1.0 if self.kind == "state" else getattr(ws, self.name), out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, 1.0, out=ws.dx)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_the_workspace_is_refused(kind: str) -> None:
    """Attributes that are set, methods, and special names such as __class__."""
    net = bp.Network(bp.Sequential(bp.Dense(3)), 3, device="cpu")
    ws = net.workspace(4, training=True)
    names = {*vars(ws), *dir(type(ws)), "x", "output"}
    assert {"be", "xp", "dtype", "children", "context", "path", "training", "walk", "__class__", "_plan"} <= names
    assert names <= RESERVED
    for name in sorted(RESERVED):
        for layers, place in ((Named(kind, name), ""), (bp.Sequential(bp.Dense(3), Named(kind, name)), ' at "1"')):
            with pytest.raises(bp.ShapeError) as info:
                bp.Network(layers, 3, device="cpu")
            assert f"{place} declares the {kind} '{name}', a name that the workspace has for itself" in str(info.value)
            assert str(info.value).startswith("Named(")
            listed = str(info.value).rpartition("reserved are ")[2].split(", ")
            assert {"be", "x", "dtype", "output", "path"} <= set(listed) and not any(n[0] == "_" for n in listed)
        with pytest.raises(bp.ShapeError, match=r"^Named\("):
            bp.gradcheck(Named(kind, name), (4, 3))


def test_a_parameter_whose_gradient_has_such_a_name_is_refused() -> None:
    with pytest.raises(bp.ShapeError, match=r"parameter 'type', .* for the gradient ws.dtype; reserved are .*, type, "):
        bp.Network(Named("parameter", "type"), 3, device="cpu")
    for kind in ("state", "array", "constant"):
        bp.Network(Named(kind, "type"), 3, device="cpu").predict(np.ones((4, 3)))


@pytest.mark.parametrize("kind", ["parameter", "state"])
def test_names_with_dots_are_refused(kind: str) -> None:
    """A parameter "1.W" of a layer at "0" would have the full name of W in a layer at "0.1"."""
    with pytest.raises(bp.ShapeError, match=rf"declares the {kind} '1.W'; dots are for the places of layers"):
        bp.Network(bp.Sequential(Named(kind, "1.W")), 3, device="cpu")


@pytest.mark.parametrize("name", ["be", "dtype", "x"])
def test_names_of_arrays_in_pieces_are_refused_too(name: str) -> None:
    with pytest.raises(bp.ShapeError, match=f"declares the array '{name}', a name that the workspace has for itself"):
        bp.Plan((4, 3), pieces=lambda piece, wants_dx: {name: (4, 3)})


def test_the_loss_or_metric_with_such_a_name_is_named() -> None:
    class Far(bp.MeanSquaredError):
        def plan(self, z: Any, t: Any) -> bp.Plan:
            return bp.Plan(z, arrays={"be": z})

    class Error(MeanAbsolute):
        def plan(self, z: Any, t: Any, predicts: str) -> bp.Plan:
            return bp.Plan(z, arrays={"be": z})

    net = bp.Network(bp.Dense(2), 3, device="cpu")
    for loss, metrics, name in ((Far(), (), "Far"), (bp.MeanSquaredError(), (Error(),), "Error")):
        trainer = bp.Trainer(net, loss, bp.SGD(), metrics=metrics)
        with pytest.raises(bp.ShapeError, match=rf"^{name}\(\) declares the array 'be', a name that the workspace has"):
            trainer.fit(np.ones((4, 3)), np.ones((4, 2)))


@pytest.mark.parametrize("other", ["states", "constants"])
def test_a_name_declared_twice_is_refused(other: str) -> None:
    """Of two arrays with one name a formula would find only one, and a gradient would overwrite what is called dW."""
    a = bp.Parameter((3,), bp.Constant(1.0))
    for name in ("W", "dW"):
        with pytest.raises(bp.ShapeError, match=f"declares '{name}' twice"):
            bp.Plan((4, 3), parameters={"W": a}, **{other: {name: np.ones(3) if other == "constants" else a}})
    with pytest.raises(bp.ShapeError, match="declares 'dW' twice"):
        bp.Plan((4, 3), parameters={"W": a, "dW": a})


@pytest.mark.parametrize("name", ["_own", "a b", "1st", "lambda", "ÿ", "dy0", "W"])
def test_other_names_work(name: str) -> None:
    for kind in KINDS:
        net = bp.Network(bp.Sequential(bp.Dense(3), Named(kind, name)), 3, device="cpu")
        net.loss_and_gradients(bp.MeanSquaredError(), np.ones((4, 3)), np.ones((4, 3)))


class Halves(bp.Layer):
    """y = x a, its backward in two halves that say that they were called."""

    def __init__(self, called: Any = None) -> None:
        object.__setattr__(self, "called", [])

    def plan(self, x: Any) -> bp.Plan:
        parameters = {"a": bp.Parameter(x[1:], bp.Constant(1.0))}
        return bp.Plan(output=x, parameters=parameters, arrays={"y": x, "dx": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        return ws.xp.multiply(x, ws.a, out=ws.y)

    def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
        self.called.append("da")
        ws.xp.sum(ws.xp.multiply(dy, ws.x, out=ws.dx), axis=0, out=ws.da)

    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        self.called.append("dx")
        return ws.xp.multiply(dy, ws.a, out=ws.dx)


class Whole(Halves):
    """The same in one backward that looks at the workspace, as own layers may."""

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        if ws.trainable:
            self.parameter_gradients(ws, dy)
        return self.input_gradient(ws, dy) if ws.wants_dx else None


@pytest.mark.parametrize("kind", [Halves, Whole])
@pytest.mark.parametrize(
    ("trained", "wants_dx", "called"),
    [(True, True, ["da", "dx"]), (True, False, ["da"]), (False, True, ["dx"]), (False, False, [])],
)
def test_what_is_not_used_is_not_computed(kind: Any, trained: bool, wants_dx: bool, called: list[str]) -> None:
    layer, be = kind(), get_backend("cpu")
    plan, a, da = layer.plan((2, 3)), np.full(3, 2.0), np.zeros(3)
    values = Values({"a": a}, {}, {"a": da} if trained else {})
    ws = bind(layer, plan, Context(be, 2, "float64"), values, training=True, wants_dx=wants_dx)
    layer.forward(ws, np.ones((2, 3)))
    dx = layer.backward(ws, np.ones((2, 3)))
    assert layer.called == called
    assert da.tolist() == ([2.0] * 3 if trained else [0.0] * 3)
    assert (dx is None) == (not wants_dx) and (dx is None or dx.tolist() == [[2.0] * 3] * 2)
