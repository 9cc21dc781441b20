"""Compositions of one's own: they may call their layers themselves, and their mistakes are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp

X, Y = np.arange(18.0).reshape(6, 3) / 9.0, np.ones((6, 2))


class OwnSequential(bp.Sequential):
    """Calls its layers' forward itself, and leaves backward as it is."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        for layer, child in zip(self.layers, ws.children, strict=True):
            x = layer.forward(child, x)
        return x


class OwnResidual(bp.Residual):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.add(self.body.forward(ws.children[0], x), x, out=ws.y)


class OwnParallel(bp.Parallel):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        outputs = [layer.forward(child, x) for layer, child in zip(self.branches, ws.children, strict=True)]
        return ws.xp.add(outputs[0], outputs[1], out=ws.y)


@pytest.mark.parametrize(
    ("own", "same"),
    [
        (OwnSequential(bp.Dense(3), bp.ReLU()), bp.Sequential(bp.Dense(3), bp.ReLU())),
        (OwnResidual(bp.Dense(3)), bp.Residual(bp.Dense(3))),
        (OwnParallel(bp.Dense(3), bp.Dense(3), merge="add"), bp.Parallel(bp.Dense(3), bp.Dense(3), merge="add")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_composition_may_call_forward_itself(own: bp.Layer, same: bp.Layer) -> None:
    for backend in ("cpu", device()):
        nets = [bp.Network(bp.Sequential(bp.Dense(3), f, bp.Dense(2)), 3, device=backend, seed=1) for f in (own, same)]
        for net in nets:
            bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), batch_size=4).fit(X, Y, epochs=2, verbose=False)
        assert np.array_equal(*(net.backend.to_host(net.flat) for net in nets))
    assert bp.gradcheck(own, (4, 3))


class NoDx(bp.Layer):
    """Returns no dx."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x)

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return x

    def backward(self, ws: bp.Workspace, dy: Any) -> None:
        pass


def test_a_missing_dx_is_named_there_too() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(3), OwnSequential(bp.Dense(2), NoDx())), 3, device="cpu")
    with pytest.raises(TypeError, match=r'NoDx.backward \(layer "1.1"\) must return an array, dx, and returned None'):
        net.loss_and_gradients(bp.MeanSquaredError(), X, Y)


class Chain(bp.Layer):
    """Layers one after the other, which says nothing of whose dx is used."""

    def __init__(self, *layers: bp.Layer) -> None:
        self.layers = layers

    @property
    def children(self) -> tuple[bp.Layer, ...]:
        return self.layers

    def plan(self, x: Any) -> bp.Plan:
        plans = []
        for layer in self.layers:
            plans.append(layer.plan(x))
            x = plans[-1].output
        return bp.Plan(output=x, children=plans)

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        for child in ws.children:
            x = child.run_forward(x)
        return x

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        for child in reversed(ws.children):
            dy = child.run_backward(dy)
        return dy


def test_a_composition_that_needs_wanted_by_children_is_told_so() -> None:
    net = bp.Network(Chain(bp.Dense(3), bp.Dense(2)), 3, device="cpu")
    with pytest.raises(TypeError, match=r'Dense\(3\) at "0" needs dy, .* and got None; .* wanted_by_children'):
        net.loss_and_gradients(bp.MeanSquaredError(), X, Y)
    above = bp.Network(bp.Sequential(bp.Dense(3), Chain(bp.Dense(3), bp.Dense(2))), 3, device="cpu")
    above.loss_and_gradients(bp.MeanSquaredError(), X, Y)


@pytest.mark.parametrize("wanted", [[True], [True] * 3, None, True], ids=repr)
def test_wanted_by_children_of_another_length_is_named(wanted: Any) -> None:
    own = type("Own", (Chain,), {"__module__": __name__, "wanted_by_children": lambda self, wants_dx, trained: wanted})
    net = bp.Network(bp.Sequential(bp.Dense(3), own(bp.Dense(3), bp.Dense(2))), 3, device="cpu")
    with pytest.raises(
        bp.ShapeError, match=r'Own\(.*\) at "1" has 2 inner layers, and its wanted_by_children returned'
    ):
        net.loss_and_gradients(bp.MeanSquaredError(), X, Y)


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        (lambda plans: plans[:1], "plans 1 inner layers and has 2"),
        (lambda plans: [*plans, plans[0]], "plans 3 inner layers and has 2"),
        (lambda plans: plans[0], r"plans its inner layers as Plan\("),
        (lambda plans: [plans[0], None], "plans its inner layer 1 as None"),
        (lambda plans: [plans[0], (4, 2)], r"plans its inner layer 1 as \(4, 2\)"),
    ],
)
def test_wrong_plans_of_children_are_named(planned: Any, words: str) -> None:
    class Own(Chain):
        def plan(self, x: Any) -> bp.Plan:
            found = super().plan(x)
            return bp.Plan(output=found.output, children=planned(found.children))

    own = Own(bp.Dense(3), bp.Dense(2))
    for layers in (own, bp.Sequential(bp.Dense(3), own), Chain(bp.Dense(3), own)):
        with pytest.raises(bp.ShapeError, match=words):
            bp.Network(layers, 3, device="cpu")


class Listed(bp.Layer):
    """a x, whose plan gives shapes as lists."""

    def plan(self, x: Any) -> bp.Plan:
        a = bp.Parameter([x[1]], bp.Constant(1.0))  # type: ignore[arg-type]
        n = bp.Parameter([1], bp.Zeros())  # type: ignore[arg-type]
        arrays: Any = {"y": [x[0], 3], "product": [*x], "dx": x, "positive": bp.Buffer([*x], "bool")}  # type: ignore[arg-type]
        return bp.Plan(output=[x[0], 3], parameters={"a": a}, states={"n": n}, arrays=arrays)  # type: ignore[arg-type]

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        ws.xp.greater(x, ws.be.constant(0.0, ws.dtype), out=ws.positive)
        return ws.xp.multiply(x, ws.a, out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        ws.xp.multiply(dy, ws.x, out=ws.product)
        ws.xp.sum(ws.product, axis=0, out=ws.da)
        return ws.xp.multiply(dy, ws.a, out=ws.dx)


def test_shapes_of_a_plan_may_be_lists() -> None:
    plan = Listed().plan((4, 3))
    assert plan.output == (4, 3) and plan.arrays["y"] == (4, 3) and plan.parameters["a"].shape == (3,)
    net = bp.Network(bp.Sequential(bp.Dense(3), Listed(), bp.Dense(2)), 3, device="cpu")
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1)).fit(X, Y, verbose=False)
    assert bp.gradcheck(Listed(), (4, 3))


class Signs(bp.Layer):
    """Whether x > 0, as a mask or as words; float64 is no type that its plan declares."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"positive": bp.Buffer(x, "bool"), "words": bp.Buffer(x, "int64"), "dx": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.xp.greater(x, ws.be.constant(0.0, ws.dtype), out=ws.positive)
        ws.xp.copyto(ws.words, ws.positive)
        if self.dtype == "float64":
            return ws.words.astype(self.dtype)
        return ws.positive if self.dtype == "bool" else ws.words

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.dx


@pytest.mark.parametrize("on", ["cpu", "device"])
@pytest.mark.parametrize("below", [False, True])
def test_an_output_may_have_a_type_that_the_plan_declares(below: bool, on: str) -> None:
    tops = {"bool": [bp.Dense(2)], "int64": [bp.Embedding(2, 3), bp.Flatten(), bp.Dense(2)]}
    for dtype, top in tops.items():
        layers = bp.Sequential(*([bp.Flatten()] * below), Signs(dtype), *top)
        net = bp.Network(layers, 3, device=device() if on == "device" else "cpu")
        trained = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1)).fit(X, Y, epochs=3, verbose=False)
        assert trained["loss"][-1] < trained["loss"][0]
    net = bp.Network(bp.Sequential(Signs("float64"), bp.Dense(2)), 3, device="cpu")
    with pytest.raises(TypeError, match="Signs.forward .* must return a float32 array .* and returned float64"):
        net.predict(X)
