"""The chain rule of one number: its paths and sums add up to the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LayerCase
from gpubp.explain.explanation import explain


def chain_of(net: Any, X: Any, y: Any, loss: Any, of: str) -> Any:
    """The section of the chain rule."""
    section = explain(net, X, y, loss, of=of).content.sections[0]
    assert section.kind == "chain"
    return section


def small(*layers: Any, seed: int = 3) -> bp.Network:
    """A network of two inputs in float64."""
    return bp.Network(bp.Sequential(*layers), 2, device="cpu", dtype="float64", seed=seed)


def test_of_a_chain_of_neurons_there_is_one_path() -> None:
    """∂L/∂w = ∂L/∂y₁ · ∂y₁/∂y₀ · ∂y₀/∂w"""
    net = bp.Network(bp.Sequential(bp.Dense(1, use_bias=False), bp.Sigmoid()), 1, device="cpu", dtype="float64")
    net.parameters["0.W"][...] = 0.5
    lines = chain_of(net, [[2.0]], [[1.0]], bp.HalfMeanSquaredError(), "0.W[0,0]").lines
    names = [e.name for e in lines[0].expression.elements()]
    assert names == ["∂L/∂1.y[0,0]", "∂1.y[0,0]/∂0.y[0,0]", "∂0.y[0,0]/∂0.W[0,0]"]
    y = 1 / (1 + np.exp(-1.0))
    assert [e.value for e in lines[0].expression.elements()] == pytest.approx([y - 1, y * (1 - y), 2.0])
    assert lines[0].value == pytest.approx((y - 1) * y * (1 - y) * 2)


def test_of_two_hidden_units_there_are_two_paths() -> None:
    """An input reaches the output through either of them."""
    net = small(bp.Dense(2), bp.Tanh(), bp.Dense(1))
    lines = chain_of(net, [[0.3, -0.7]], [[1.0]], bp.HalfMeanSquaredError(), "x[0,1]").lines
    assert [line.called for line in lines[:3]] == ["∂L/∂x[0,1]", "path 1", "path 2"]
    W, V, z = net.parameters["0.W"], net.parameters["2.W"], net.predict([[0.3, -0.7]])
    h = np.tanh(np.array([0.3, -0.7]) @ W)
    expected = (z[0, 0] - 1.0) * V[:, 0] * (1 - h * h) * W[1]
    assert sorted(line.value for line in lines[1:3]) == pytest.approx(sorted(expected))
    assert abs(lines[1].value) >= abs(lines[2].value)


def test_a_residual_has_a_path_through_the_body_and_one_past_it() -> None:
    """Their local derivatives are those of the body, and 1."""
    net = small(bp.Residual(bp.Dense(2)), bp.Dense(1))
    lines = chain_of(net, [[0.3, -0.7]], [[1.0]], bp.HalfMeanSquaredError(), "x[0,0]").lines
    assert len([line for line in lines if line.called.startswith("path")]) == 3
    W, V, z = net.parameters["0.0.W"], net.parameters["1.W"], net.predict([[0.3, -0.7]])
    assert lines[0].value == pytest.approx((z[0, 0] - 1.0) * ((W[0] + [1.0, 0.0]) @ V[:, 0]))


def test_of_many_paths_the_largest_sums_are_followed() -> None:
    """Each line is a sum over the numbers above, sorted by size, down from the loss."""
    net = small(bp.Dense(20), bp.ReLU(), bp.Dense(20), bp.Tanh(), bp.Dense(3))
    lines = chain_of(net, [[0.3, -0.7], [1.0, 2.0]], [0, 2], bp.SoftmaxCrossEntropy(), "0.W[1,4]").lines
    assert lines[0].called == "∂L/∂0.W[1,4]"
    for line in lines:
        assert line.expression.value == pytest.approx(line.value, rel=1e-9, abs=1e-15)
    sums = [[abs(t.value) for t in line.expression.operands] for line in lines if len(line.expression.operands) > 5]
    assert sums and all(sizes == sorted(sizes, reverse=True) for sizes in sums)


@pytest.mark.parametrize("case", LAYERS[::4], ids=str)
def test_it_goes_through_every_layer(case: LayerCase, rng: np.random.Generator) -> None:
    """Its lines equal the gradients below and above a layer."""
    x = case.x(rng, min(2, case.shape[0]))
    net = bp.Network(case.network_layers(2), case.shape[1:], device="cpu", dtype="float64")
    y, loss = rng.normal(size=(len(x), 2)), bp.MeanSquaredError()
    gradients = net.loss_and_gradients(loss, x, y)[1]
    name = next(iter(gradients))
    at = tuple(n - 1 for n in gradients[name].shape)
    lines = chain_of(net, x, y, loss, f"{name}[{','.join(map(str, at))}]").lines
    assert lines[0].value == gradients[name][at]
    for line in lines:
        assert line.expression.value == pytest.approx(line.value, rel=1e-8, abs=1e-12)


def test_a_word_that_is_in_no_row_has_no_gradient() -> None:
    """No path leads from its vector to the loss; that of a word in two rows adds up both."""
    net = bp.Network(bp.Sequential(bp.Embedding(4, 2), bp.MeanOverTime()), 2, device="cpu", dtype="float64")
    given = (net, [[0, 1], [1, 3]], [[1.0, 0.0], [0.0, 1.0]], bp.MeanSquaredError())
    gradients = net.loss_and_gradients(given[3], np.array(given[1]), np.array(given[2]))[1]
    for word in (1, 2):
        line = chain_of(*given, f"0.W[{word},1]").lines[0]
        assert line.value == gradients["0.W"][word, 1]
        assert line.expression.value == pytest.approx(line.value, rel=1e-12)
        assert (line.value == 0) == (word == 2)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("2.V[0,0]", "names no number of this step; it has"),
        ("0.W[5,0]", "has the shape (2, 2)"),
        ("0.W", "has the shape (2, 2)"),
        ("x[0,0", "names no number"),
        ("", "names no number"),
    ],
)
def test_a_name_that_is_not_there_is_refused(of: str, said: str) -> None:
    """In words that say what there is."""
    net = small(bp.Dense(2), bp.Tanh(), bp.Dense(1))
    with pytest.raises(ValueError, match=r".*") as caught:
        explain(net, [[0.3, -0.7]], [[1.0]], bp.HalfMeanSquaredError(), of=of)
    assert said in str(caught.value)


def test_too_many_rows_are_refused() -> None:
    """An explanation is of a few rows."""
    net = small(bp.Dense(1))
    with pytest.raises(ValueError, match="256 rows at most"):
        net.explain(np.zeros((300, 2)), np.zeros(300), bp.MeanSquaredError())


def test_a_chain_goes_through_what_the_step_does_to_the_gradient_of_the_loss(rng: np.random.Generator) -> None:
    """Of rows of different lengths it sets padding to 0, and with weights of positions it multiplies."""
    net = bp.Network(bp.Dense(2), (None, 2), device="cpu", dtype="float64")
    X, y, loss = [rng.normal(size=(n, 2)) for n in (2, 1)], [[0, 1], [1]], bp.SoftmaxCrossEntropy()
    for weights in (None, [[0.5, 2.0], [0.0]]):
        made = explain(net, X, y, loss, of="W[0,0]", sample_weight=weights)
        gradients = net.loss_and_gradients(loss, X, y, weights)[1]
        line = made.content.sections[0].lines[0]
        assert line.value == pytest.approx(gradients["W"][0, 0])
        assert line.expression.value == pytest.approx(line.value)
        ends = next(line for line in made.content.sections[0].lines if line.name == "∂L/∂y[0,1,0]")
        assert [e.name for e in ends.expression.elements() if e.name in "cu"] == ["c"] + ["u"] * (weights is not None)
        assert {line.value for line in made.content.sections[0].lines if "1,1" in line.name} <= {0.0}
