"""Every number of an explanation is what its expression computes, and what the step computes without being watched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from gpubp.explain.content import Content
from gpubp.explain.explanation import explain
from gpubp.explain.expressions import Key

CLOSE = 1e-9


def close(a: float, b: float, scale: float = 1.0) -> bool:
    """Whether two numbers are equal but for the order of additions."""
    return a == b or abs(a - b) <= CLOSE * max(scale, abs(a), abs(b)) or (math.isnan(a) and math.isnan(b))


def size_of(line: Any) -> float:
    """The largest number that a line's expression reads, beside which its roundings are small."""
    return max((abs(e.value) for e in line.expression.elements() if math.isfinite(e.value)), default=1.0)


def check(net: Any, X: Any, y: Any, loss: Any, content: Content) -> None:
    """Compare the lines with their expressions, with what `loss_and_gradients` gives, and with each other."""
    value, gradients = net.loss_and_gradients(loss, X, y)
    assert content.loss == value
    seen, compared = set(), 0
    for line in content.lines():
        assert line.key not in seen, f"two lines are called {line.key}"
        seen.add(line.key)
        if line.expression is not None:
            assert close(line.expression.value, line.value, size_of(line)), f"{line.key}: {line.expression.value}"
        of = line.gradient_of
        name = None if of is None else f"{of.path}.{of.array}" if of.path else of.array
        if of is not None and name in gradients and line.key.path != "chain":
            assert line.value == float(gradients[name][of.at])
            compared += 1
        if line.factors:
            assert close(sum(f.product for f in line.factors), line.value, size_of(line)), f"chain rule of {line.key}"
    assert compared >= min(1, len(gradients))
    values = {line.key: line.value for line in content.lines()}
    for line in content.lines():
        for e in line.expression.elements() if line.expression is not None else ():
            assert e.key not in values or close(e.value, values[e.key]), f"{line.key} reads another {e.key}"


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_of_every_layer(case: LayerCase, rng: np.random.Generator) -> None:
    """Forward arrays, gradients and the factors of the chain rule of each layer, amid others."""
    x = case.x(rng, min(2, case.shape[0]))
    net = bp.Network(case.network_layers(2), case.shape[1:], device="cpu", dtype="float64")
    y, loss = rng.normal(size=(len(x), 2)), bp.MeanSquaredError()
    check(net, x, y, loss, explain(net, x, y, loss, written=40).content)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_of_every_loss(case: LossCase, rng: np.random.Generator) -> None:
    """The loss of each row, their mean, and its gradient."""
    x, y = rng.normal(size=case.shape), case.targets(rng, case.shape)
    net = bp.Network(case.layers(), case.shape[1:], device="cpu", dtype="float64")
    content = explain(net, x, y, case.loss, written=100).content
    check(net, x, y, case.loss, content)
    assert any(line.called == "L" for line in content.lines())


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_of_every_optimizer(case: OptimizerCase, rng: np.random.Generator) -> None:
    """The parameters after the step are those that a trainer's step leaves, to the bit."""
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.Tanh(), bp.Dense(2)), 2, device="cpu", dtype="float64", seed=4)
    x, y, loss = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), bp.MeanSquaredError()
    before = net.flat.copy()
    content = explain(net, x, y, loss, case.optimizer).content
    assert (net.flat == before).all()
    check(net, x, y, loss, content)
    bp.Trainer(net, loss, case.optimizer, batch_size=3).fit(x, y, epochs=1, shuffle=False, verbose=0)
    lines = [line for s in content.sections if s.kind == "update" for line in s.lines]
    assert all(line.index == () for line in lines if line.expression is None), "scalars alone are given"
    updated = {line.key: line.value for line in lines}
    for name, a in net.parameters.items():
        path, _, letter = name.rpartition(".")
        for at in np.ndindex(*a.shape):
            assert updated[Key(path, f"{letter}.new", at)] == a[at]


def test_in_float32_the_numbers_are_those_of_float32(rng: np.random.Generator) -> None:
    """A line's value is the step's own number, not one that the explanation has computed."""
    net = bp.Network(bp.Sequential(bp.Dense(3), bp.Sigmoid(), bp.Dense(2)), 4, device="cpu", seed=1)
    x, y, loss = rng.normal(size=(3, 4)), np.array([0, 1, 1]), bp.SoftmaxCrossEntropy()
    content = net.explain(x, y, loss).content
    value, gradients = net.loss_and_gradients(loss, x, y)
    assert content.loss == value
    found = {line.key: line.value for line in content.lines()}
    for name, gradient in gradients.items():
        path, _, letter = name.rpartition(".")
        for at in np.ndindex(*gradient.shape):
            assert found[Key(path, f"d{letter}", at)] == gradient[at]
    z = net.predict(x)
    for at in np.ndindex(*z.shape):
        assert found[Key("2", "y", at)] == pytest.approx(z[at], rel=1e-6)
