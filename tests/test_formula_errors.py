"""What a formula can't do is said with its class, its method and the mend, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.formula import FormulaError, row_max, row_sum, sqrt, trace

CALL = "call"  # stands for what a mistake gives

MISTAKES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: np.tanh(x), r"np.tanh .*write `from gpubp.formula import tanh` and tanh\(x\)"),
    (lambda x: np.exp(x) * 2.0, "np.exp .*`from gpubp.formula import exp`"),
    (lambda x: np.maximum(x, 0.0), r"np.maximum .*`from gpubp.formula import maximum` and maximum\(x, y\)"),
    (lambda x: np.abs(x), r"np.absolute .*`from gpubp.formula import absolute`"),
    (lambda x: np.square(x), r"np.square .*write x \* x"),
    (lambda x: np.negative(x), r"np.negative .*write -x"),
    (lambda x: np.where(x > 0, x, 0.0), r"np.where .*multiply by comparisons, as in \(x > 0.0\) \* a"),
    (lambda x: np.clip(x, 0.0, 1.0), "np.clip .*import maximum, minimum"),
    (lambda x: np.sum(x), "np.sum .*import row_sum"),
    (lambda x: np.mean(x), r"np.mean .*row_sum\(x\) / n"),
    (lambda x: np.linalg.norm(x), r"np.norm .*sqrt\(row_sum\(x \* x\)\)"),
    (lambda x: np.dot(x, x), r"np.dot .*ws.be.gemm\(a, b, out=ws.name\)"),
    (lambda x: np.arctan(x), "np.arctan .*functions of gpubp.formula: absolute, cos,"),
    (lambda x: np.add.reduce(x), "np.add .*written|np.add can't write"),
    (lambda x: np.asarray(x), "no array to give to NumPy"),
    (lambda x: x.mean(), r"has no .mean; write `from gpubp.formula import row_sum`"),
    (lambda x: x.tanh(), r"has no .tanh; write `from gpubp.formula import tanh`"),
    (lambda x: x.shape, "has no .shape"),
    (lambda x: x**0.5, r"knows the power 2 only and got 0.5; write `from gpubp.formula import sqrt` and sqrt\(x\)"),
    (lambda x: x**3, "knows the power 2 only and got 3; write it as products"),
    (lambda x: x**x, "got another value of the formula"),
    (lambda x: 2.0**x, "no power of a number; write exp"),
    (lambda x: np.float64(2.0) ** x, "np.power"),
    (lambda x: x if x > 0 else 0.0, r"has no branches .*as in x \* \(x > 0\)"),
    (lambda x: max(x, 0.0), "maximum and minimum of gpubp.formula"),
    (lambda x: not x, "has no branches"),
    (lambda x: math.exp(x), r"no single number to give to .*math.exp\(x\).*`from gpubp.formula import exp`"),
    (lambda x: float(x), r"no single number to give to float\(x\)"),
    (lambda x: int(x), "no single number"),
    (lambda x: round(x), "no single number"),
    (lambda x: x * len(f"{x:.2f}"), "no single number"),
    (lambda x: x * len(f"{x:>9}"), "no single number"),
    (lambda x: [1.0, 2.0][x], "no single number"),
    (lambda x: x[0], r"no x\[0\], len\(x\) or loop over x"),
    (lambda x: len(x), r"no x\[0\], len\(x\) or loop over x"),
    (lambda x: [e for e in x], "loop over x"),
    (lambda x: 1.0 in x, "no x"),
    (lambda x: (x > 0) & (x < 1), "multiply comparisons with each other"),
    (lambda x: (x > 0) | (x < 1), "write maximum"),
    (lambda x: ~(x > 0), r"write 1.0 - \(x > 0\)"),
    (lambda x: x % 2, "has no % and //"),
    (lambda x: x @ x, r"has no @; .*ws.be.gemm"),
    (lambda x: x == 0, "has no == and !="),
    (lambda x: x * "2", "came upon '2'"),
    (lambda x: x + None, "came upon None; is a return missing"),
    (lambda x: x * np.ones(3), r"came upon array\(\[1., 1., 1.\]\)"),
    (lambda x: None, "came upon None; is a return missing"),
    (lambda x: "y", "came upon 'y'"),
    (lambda x: (x, x), "gives 2 values, and 1 are needed"),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES)
def test_a_mistake_in_an_activation_is_named_when_the_network_is_made(mistake: Any, words: str) -> None:
    class Mine(bp.Activation):
        def f(self, x: Any) -> Any:
            return mistake(x)

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy

    class Other(Mine):
        def f(self, x: Any) -> Any:
            return x

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return mistake(y)

    for layer, name in ((Mine(), "Mine.f"), (Other(), "Other.df")):
        with pytest.raises(FormulaError, match=rf"(?s)^{name}\b.*({words})"):
            bp.Network(bp.Sequential(bp.Dense(2), layer), 3, device="cpu")
        with pytest.raises(FormulaError, match=rf"(?s)^{name}\b.*({words})"):
            bp.gradcheck(layer, (4, 3))


@pytest.mark.parametrize(("mistake", "words"), MISTAKES)
def test_a_mistake_in_a_loss_is_named_before_training(mistake: Any, words: str) -> None:
    class Mine(bp.PointwiseLoss):
        def l(self, z: Any, t: Any) -> Any:  # noqa: E743
            return mistake(z)

        def dl(self, z: Any, t: Any) -> Any:
            return z - t

    class Other(bp.HalfMeanSquaredError):
        def dl(self, z: Any, t: Any) -> Any:
            return mistake(z)

    net = bp.Network(bp.Dense(1), 3, device="cpu")
    before = net.flat.copy()
    for loss, name in ((Mine(), "Mine.l"), (Other(), "Other.dl")):
        with pytest.raises(FormulaError, match=rf"(?s)^{name}\b.*({words})"):
            bp.Trainer(net, loss, bp.SGD()).fit(np.ones((4, 3)), np.ones(4))
        with pytest.raises(FormulaError, match=rf"(?s)^{name}\b.*({words})"):
            net.loss_and_gradients(loss, np.ones((4, 3)), np.ones(4))
    assert np.array_equal(net.flat, before)


@pytest.mark.parametrize(
    ("f", "operations"),
    [
        (lambda x: abs(x), ["absolute"]),
        (lambda x: -x, ["negative"]),
        (lambda x: +x * 1.0, ["multiply"]),
        (lambda x: x**2, ["multiply"]),
        (lambda x: (x > 0) * x, ["greater", "multiply"]),
        (lambda x: np.float32(2.0) * x, ["multiply"]),
        (lambda x: np.array(2.0) / x, ["divide"]),
        (lambda x: x - np.float64(0.5), ["subtract"]),
        (lambda x: np.float64(0.0) < x, ["greater"]),
        (lambda x: [x * 2.0], ["multiply"]),
        (lambda x: x * len(f"{x}"[:1]), ["multiply"]),
    ],
)
def test_operators_of_python_and_of_numpys_numbers_work(f: Any, operations: list[str]) -> None:
    assert [step.operation for step in trace(f, 1, 1).steps] in (
        operations,
        [o.replace("greater", "less") for o in operations],
    )


def test_an_error_of_the_formulas_own_stays_it_and_says_where() -> None:
    class Mine(bp.Activation):
        def f(self, x: Any) -> Any:
            return x * (1 / 0)

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy

    with pytest.raises(ZeroDivisionError) as caught:
        bp.Network(Mine(), 3, device="cpu")
    assert any("in the formula Mine.f" in note for note in caught.value.__notes__)


def test_a_formula_with_other_arguments_says_how_it_was_called() -> None:
    class Mine(bp.Activation):
        def f(self, x: Any, slope: Any) -> Any:
            return x

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'slope'") as caught:
        bp.Network(Mine(), 3, device="cpu")
    assert any("in the formula Mine.f, called with 1 symbols" in note for note in caught.value.__notes__)


def test_an_optimizers_rule_is_named() -> None:
    class Mine(bp.SGD):
        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return theta - np.sign(g) * rest[0]

    class Few(bp.Adam):
        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return super().rule(theta, g, *rest)[:2]

    net = bp.Network(bp.Dense(1), 3, device="cpu")
    before = net.flat.copy()
    for optimizer, words in (
        (Mine(0.1), r"Mine.rule: np.sign can't .*`from gpubp.formula import sign`"),
        (Few(0.1), "Few.rule gives 2 values, and 3 are needed"),
    ):
        with pytest.raises(FormulaError, match=words):
            bp.Trainer(net, bp.MeanSquaredError(), optimizer).fit(np.ones((4, 3)), np.ones(4))
    assert np.array_equal(net.flat, before)


@pytest.mark.parametrize(
    "over_rows",
    [
        lambda g: g / sqrt(row_sum(g * g)), lambda g: g / row_max(abs(g)), lambda g: g - row_sum(g) / 2.0,
        lambda g: g - g.mean(), lambda g: g - np.mean(g), lambda g: g / np.sum(g), lambda g: g / g.sum(),
        lambda g: g / np.linalg.norm(g), lambda g: g / np.max(g),
    ],
)  # fmt: skip
@pytest.mark.parametrize("settings", [{}, {"learning_rate_factors": {"0.W": 0.5}}, {"workers": 2}])
def test_a_rule_has_no_rows(over_rows: Any, settings: Any) -> None:
    """The vectors that it gets are all parameters, a worker's part or one group's, so that a sum means nothing."""

    class Mine(bp.SGD):
        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return super().rule(theta, over_rows(g), *rest)

    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(1)), 3, device="cpu")
    for optimizer in (Mine(0.1), Mine(0.1, momentum=0.5)):
        with pytest.raises(FormulaError, match="^Mine.rule: .*parameter's number by itself; .*use clip_norm") as caught:
            bp.Trainer(net, bp.MeanSquaredError(), optimizer, **settings)
        assert "import row_" not in str(caught.value)


@pytest.mark.parametrize("mistake", [np.arctan, len, lambda g: g[0], lambda g: g.std()])
def test_a_rule_is_told_no_functions_of_rows(mistake: Any) -> None:
    class Mine(bp.SGD):
        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return (theta - rest[0] * mistake(g),)

    net = bp.Network(bp.Dense(1), 3, device="cpu")
    with pytest.raises(FormulaError, match="^Mine.rule: ") as caught:
        bp.Trainer(net, bp.MeanSquaredError(), Mine(0.1))
    assert "row_" not in str(caught.value)
