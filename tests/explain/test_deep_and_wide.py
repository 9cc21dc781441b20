"""Networks of many layers, many time steps and many units: in a bounded time, with a bounded number of lines."""

from __future__ import annotations

import time

import numpy as np
import pytest
from test_every_number import check

import gpubp as bp
from gpubp.explain.build import MOST_INNER
from gpubp.explain.explanation import explain


def test_many_time_steps() -> None:
    """200 steps are deeper than Python recurses."""
    rng = np.random.default_rng(0)
    net = bp.Network(bp.Sequential(bp.SimpleRNN(2), bp.Dense(1)), (200, 1), device="cpu", dtype="float64", seed=1)
    X, y, loss = rng.normal(size=(1, 200, 1)), rng.normal(size=(1, 1)), bp.HalfMeanSquaredError()
    content = explain(net, X, y, loss, of="0.W[0,0]").content
    check(net, X, y, loss, content)
    assert max(len(section.lines) for section in content.sections) <= MOST_INNER + 100


def test_a_wide_network_is_followed_only_where_it_is_shown() -> None:
    """Of 512 gradients with 512 terms each, three are followed: in a second, on one core, and not in minutes."""
    rng = np.random.default_rng(0)
    net = bp.Network(bp.Sequential(bp.Dense(512), bp.ReLU(), bp.Dense(512), bp.ReLU(), bp.Dense(2)), 8, device="cpu")
    started = time.process_time()
    net.explain(rng.normal(size=(1, 8)), [1], bp.SoftmaxCrossEntropy(), of="0.W[4,1]")._repr_html_()
    assert time.process_time() - started < 15


@pytest.mark.parametrize("units", [2, 20])
def test_ways_past_a_body_and_through_it_have_names_of_their_own(units: int) -> None:
    """In a chain rule no two numbers share a key, neither path by path nor as sums."""
    rng = np.random.default_rng(0)
    body = bp.Residual(bp.Residual(bp.Dense(units)), bp.Tanh())
    net = bp.Network(bp.Sequential(bp.Dense(units), body, bp.Dense(2)), 3, device="cpu", dtype="float64", seed=1)
    content = explain(net, rng.normal(size=(1, 3)), [1], bp.SoftmaxCrossEntropy(), of="0.W[0,0]").content
    found: dict[object, float] = {}
    for line in content.sections[0].lines:
        assert line.expression is not None
        assert line.expression.value == pytest.approx(line.value, rel=1e-9)
        for e in [line, *line.expression.elements()]:
            assert found.setdefault(e.key, e.value) == pytest.approx(e.value, rel=1e-12), e.key


def test_a_frozen_parameter_says_that_it_is_frozen() -> None:
    """It has no gradient in training."""
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(1)), 2, device="cpu")
    net.freeze("0.W")
    given = [[1.0, 2.0]], [[1.0]], bp.HalfMeanSquaredError()
    with pytest.raises(ValueError, match=r"0\.W has no gradient in this step, because it is frozen"):
        net.explain(*given, optimizer=bp.SGD(), of="0.W[0,0]")
    assert net.explain(*given, of="0.W[0,0]").content.sections[0].kind == "chain"


@pytest.mark.parametrize("weights", [None, [0.0, 1.0, 3.0]])
def test_the_loss_of_rows_of_different_lengths(weights: list[float] | None) -> None:
    """L is computed from the means over each row's time steps, which its line says with the right shares."""
    rng = np.random.default_rng(0)
    net = bp.Network(
        bp.Sequential(bp.SimpleRNN(2, return_sequences=True), bp.Dense(2)), (None, 2), device="cpu", seed=1
    )
    X = [rng.normal(size=(n, 2)) for n in (3, 1, 4)]
    y = [rng.integers(0, 2, n) for n in (3, 1, 4)]
    content = explain(net, X, y, bp.SoftmaxCrossEntropy(), sample_weight=weights).content
    line = next(line for line in content.lines() if line.called == "L")
    assert line.expression is not None
    assert line.expression.value == pytest.approx(line.value, rel=1e-6)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (3, "of is the name of a number"),
        ("0.W[-1,0]", "write 0.W[0,0] up to 0.W[1,0]"),
        ("0.W[0,,0]", "has the shape (2, 1)"),
        ("0.b", "write 0.b[0] up to 0.b[0]"),
    ],
)
def test_what_is_no_name_of_a_number_is_refused_in_words(of: object, said: str) -> None:
    """And so is an X without rows, which has no length to ask for."""
    net = bp.Network(bp.Sequential(bp.Dense(1)), 2, device="cpu")
    with pytest.raises(ValueError) as caught:
        net.explain([[1.0, 2.0]], [[1.0]], bp.HalfMeanSquaredError(), of=of)  # type: ignore[arg-type]
    assert said in str(caught.value)
    with pytest.raises(bp.DataError):
        net.explain(3.0, [[1.0]], bp.HalfMeanSquaredError())


def test_attention_over_many_steps_has_lines_without_factors(rng: np.random.Generator) -> None:
    """The factors of a number would be millions. Its line says what computes it, and the chain rule where it ends."""
    layers = bp.Sequential(bp.MultiHeadAttention(2), bp.MeanOverTime(), bp.Dense(2))
    net = bp.Network(layers, (48, 8), device="cpu", dtype="float64")
    x, loss = rng.normal(size=(1, 48, 8)), bp.SoftmaxCrossEntropy()
    chain = net.explain(x, [1], loss, of="0.WQKV[1,2]")["chain"]
    line = next(chain.content.lines())
    assert line.value == net.loss_and_gradients(loss, x, [1])[1]["0.WQKV"][1, 2]
    assert line.expression.value == pytest.approx(line.value) and line.expression.operands
    assert "The chain ends at 0.WQKV[1,2]" in str(chain)
