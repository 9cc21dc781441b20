"""Expressions are printed with the brackets that they need, and no others, and never at great length."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from reading import calculated

from gpubp.explain.content import Content, Factor, Line, Section
from gpubp.explain.expressions import Constant, Element, Expression, Given, Key, Largest, Operation, operate, total
from gpubp.explain.forms import tex
from gpubp.explain.forms.equations import Gradients, chain_rule, equation
from gpubp.explain.forms.numbers import number, parsed
from gpubp.explain.forms.printing import LIMIT, SHOWN, TERMS, Printer
from gpubp.explain.forms.styles import Text

VALUES = {"a": 0.5, "b": -0.3, "c": 2.0, "d": 4.0}
a, b, c, d = (Element(n, (), v, Key("", n, ())) for n, v in VALUES.items())
x = Element("x", (0, 17), -1.5, Key("", "x", (0, 17)))


def op(name: str, *operands: Expression) -> Expression:
    return operate(name, operands)


@pytest.mark.parametrize(
    ("expression", "names", "numbers"),
    [
        (op("add", op("multiply", a, b), c), "a·b + c", "0.5·(−0.3) + 2"),
        (op("multiply", op("add", b, a), c), "(b + a)·c", "(−0.3 + 0.5)·2"),
        (op("multiply", c, op("add", b, a)), "c·(b + a)", "2·(−0.3 + 0.5)"),
        (op("multiply", a, op("multiply", b, op("subtract", Constant(1), b))), "a·b·(1 − b)", None),
        (op("multiply", op("subtract", a, b), c), "(a − b)·c", "(0.5 − (−0.3))·2"),
        (op("multiply", b, b), "b²", "(−0.3)²"),
        (op("multiply", a, op("multiply", op("add", b, c), op("add", b, c))), "a·(b + c)·(b + c)", None),
        (op("subtract", a, op("subtract", b, c)), "a − (b − c)", "0.5 − (−0.3 − 2)"),
        (op("subtract", op("subtract", a, b), c), "a − b − c", "0.5 − (−0.3) − 2"),
        (op("add", a, op("subtract", b, c)), "a + b − c", "0.5 + (−0.3) − 2"),
        (op("add", a, op("negative", op("multiply", b, c))), "a − b·c", "0.5 − (−0.3)·2"),
        (op("add", op("negative", a), b), "−a + b", "−0.5 + (−0.3)"),
        (op("multiply", op("negative", a), b), "−a·b", "−0.5·(−0.3)"),
        (op("multiply", a, op("negative", b)), "a·(−b)", "0.5·(−(−0.3))"),
        (op("negative", op("add", a, b)), "−(a + b)", "−(0.5 + (−0.3))"),
        (op("divide", a, op("multiply", c, d)), "a/(c·d)", "0.5/(2·4)"),
        (op("divide", op("multiply", a, c), d), "a·c/d", "0.5·2/4"),
        (op("multiply", op("divide", a, c), d), "(a/c)·d", "(0.5/2)·4"),
        (op("multiply", d, op("divide", a, c)), "d·a/c", "4·0.5/2"),
        (op("divide", op("divide", a, c), d), "(a/c)/d", "(0.5/2)/4"),
        (op("divide", op("add", b, a), op("negative", c)), "(b + a)/(−c)", "(−0.3 + 0.5)/(−2)"),
        (op("divide", Constant(1), op("sqrt", op("add", c, Constant(1e-5)))), "1/√(c + 1e-05)", "1/√(2 + 1e-05)"),
        (op("multiply", Constant(1e-7), a), "1e-07·a", "1e-07·0.5"),
        (op("divide", a, Constant(1e-7)), "a/(1e-07)", "0.5/(1e-07)"),
        (Operation("sigmoid", [x]), "σ(x[0,17])", "σ(−1.5)"),
        (op("divide", Constant(1), op("add", Constant(1), op("exp", op("negative", x)))), "σ(x[0,17])", "σ(−1.5)"),
        (op("multiply", a, op("greater", x, Constant(0))), "a·[x[0,17] > 0]", "0.5·[−1.5 > 0]"),
        (op("equal", a, Constant(1)), "[a = 1]", "[0.5 = 1]"),
        (op("maximum", x, Constant(0)), "max(x[0,17], 0)", "max(−1.5, 0)"),
        (op("fmin", a, b), "min(a, b)", "min(0.5, −0.3)"),
        (op("absolute", op("subtract", a, b)), "|a − b|", "|0.5 − (−0.3)|"),
        (op("exp", op("subtract", b, a)), "exp(b − a)", "exp(−0.3 − 0.5)"),
        (op("sqrt", a), "√a", "√0.5"),
        (op("multiply", a, Given("drawn at random", 2.0)), "a·‹drawn at random›", "0.5·2"),
    ],
    ids=lambda e: e if isinstance(e, str) else None,
)  # fmt: skip
def test_brackets(expression: Expression, names: str, numbers: str | None) -> None:
    assert Printer().names(expression) == names
    if numbers is not None:
        assert Printer().numbers(expression) == numbers


def test_equal_factors_are_a_power() -> None:
    e = op("subtract", a, b)
    assert Printer().names(op("multiply", c, op("multiply", e, e))) == "c·(a − b)²"
    assert Printer().names(op("multiply", op("multiply", e, e), e)) == "(a − b)³"
    assert Printer().numbers(op("divide", a, op("multiply", b, b))) == "0.5/(−0.3)²"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"), (3.0, "3"), (1e-5, "1e-05"), (-2.5240893, "−2.52409"), (float(np.float32(0.1)), "0.1"),
        (0.48999999999999994, "0.49"), (-0.0, "0"), (1234567.0, "1.23457e+06"), (math.inf, "∞"), (-math.inf, "−∞"),
        (math.nan, "NaN"), (0.99999994, "0.99999994"), (-0.9999999, "−0.9999999"), (1 - 2e-16, "1"), (1.0000001, "1"),
        (1 - 1.23e-11, "0.999999999988"),
    ],
)  # fmt: skip
def test_numbers_have_six_digits_and_fewer_where_these_are_exact(value: float, text: str) -> None:
    assert number(value) == text
    assert parsed(text) == pytest.approx(value, rel=1e-5, nan_ok=True)


KINDS = (
    "add", "subtract", "multiply", "divide", "negative", "sigmoid", "exp", "sqrt", "greater", "max", "square",
)  # fmt: skip


def random_expression(draw: np.random.Generator, leaves: list[Element], depth: int) -> Expression:
    if depth == 0 or draw.random() < 0.1:
        return leaves[draw.integers(len(leaves))] if draw.random() < 0.8 else Constant(float(draw.integers(1, 4)))
    kind = draw.choice(KINDS)
    one = random_expression(draw, leaves, depth - 1)
    if kind in ("negative",):
        return op(kind, one)
    if kind == "square":
        return op("multiply", one, one)
    if kind in ("sigmoid", "exp"):
        return Operation(str(kind), [one if abs(one.value) < 3 else Operation("tanh", [one])])
    if kind == "sqrt":
        return op("sqrt", op("multiply", one, one))
    two = random_expression(draw, leaves, depth - 1)
    if kind == "divide" and abs(two.value) < 0.1:
        kind = "multiply"
    return op("maximum", one, two) if kind == "max" else op(str(kind), one, two)


def test_what_is_printed_comes_to_the_number() -> None:
    """Names and numbers, put into a calculator as they are printed, give the expression's value."""
    draw = np.random.default_rng(0)
    printer, compared = Printer(limit=10**9), 0
    for _ in range(1000):
        values = [float(v) for v in np.round(draw.normal(size=3), 3)]
        leaves = [Element("u", (k,), v, Key("", "u", (k,))) for k, v in enumerate(values)]
        e = random_expression(draw, leaves, 4)
        if not math.isfinite(e.value) or abs(e.value) > 1e6:
            continue
        by_name = calculated(printer.names(e), **{f"u_{k}": v for k, v in enumerate(values)})
        assert by_name == pytest.approx(e.value, rel=1e-9, abs=1e-9), printer.names(e)
        assert calculated(printer.numbers(e)) == pytest.approx(e.value, rel=1e-9, abs=1e-9), printer.numbers(e)
        assert not re.search(r"\(\([^()]*\)\)", printer.numbers(e))
        compared += 1
    assert compared > 500


def test_a_long_sum_shows_its_largest_terms_and_what_the_others_come_to() -> None:
    leaves = [Element("w", (k,), float(v), Key("", "w", (k,))) for k, v in enumerate(np.linspace(-1.0, 1.0, 784))]
    e = total([op("multiply", leaf, c) for leaf in leaves])
    assert Printer().names(e).endswith("w[782]·c + w[783]·c + … (779 more)")
    text = Printer().numbers(e)
    match = re.fullmatch(r"(.+) \+ … \((\d+) more, together (.+)\)", text)
    assert match is not None and int(match[2]) == 784 - SHOWN
    assert calculated(match[1]) + parsed(match[3]) == pytest.approx(e.value, abs=1e-4)
    few = total(leaves[:TERMS])
    assert "…" not in Printer().names(few)


def test_a_long_maximum_shows_the_largest() -> None:
    leaves = [Element("w", (k,), float(-k), Key("", "w", (k,))) for k in range(100)]
    assert Printer().numbers(Largest(leaves)) == "max(0, −1, −2, −3, −4, … (95 more))"


def test_shared_parts_do_not_make_it_long() -> None:
    """2¹⁰⁰ names if all were written out."""
    e: Expression = op("add", a, b)
    for _ in range(100):
        e = op("add", op("multiply", e, c), Operation("tanh", [e]))
    names, numbers = Printer().names(e), Printer().numbers(e)
    assert len(names) < 1000 and "(…)" in names
    assert calculated(numbers) == pytest.approx(e.value, rel=1e-4)
    power: Expression = op("add", a, b)
    for _ in range(100):
        power = op("multiply", power, power)
    assert len(Printer().names(power)) < 1000


def test_a_deep_expression_is_printed() -> None:
    e: Expression = a
    for _ in range(2_000):
        e = Operation("tanh", [op("add", op("multiply", e, c), b)])
    assert Printer().names(e).startswith("tanh(") and len(Printer().names(e)) < 500
    assert Printer().relation(e, e.value) in "=≈"


@pytest.mark.parametrize("terms", [2, 5, 12, 400])
@pytest.mark.parametrize("inner", [1, 3, 9, 40])
def test_length_is_bounded(terms: int, inner: int) -> None:
    leaves = [Element("w", (k,), k + 0.5, Key("", "w", (k,))) for k in range(inner)]
    e = total([op("multiply", c, total([op("multiply", w, w) for w in leaves])) for _ in range(terms)])
    printed = Printer().names(e)
    assert printed.count("[") <= 4 * LIMIT
    assert printed.count("(") == printed.count(")")


def test_numbers_that_cancel_say_so() -> None:
    one, two = (Element(n, (), v, Key("", n, ())) for n, v in (("u", 0.20488843), ("v", 0.20446412)))
    e = op("subtract", one, two)  # 0.204888 − 0.204464 is 0.000424
    assert equation(Line("y", (), Key("0", "y", ()), e, e.value), Printer()).sides[-1] == ("≈", "0.00042431")
    assert Printer().relation(op("add", one, two), one.value + two.value) == "="
    assert Printer().relation(Constant(0.0), 1e-15) == "≈"
    nothing = Constant(math.nan)
    assert Printer().relation(nothing, math.nan) == "="


def test_numbers_can_be_left_out() -> None:
    printer = Printer(blank=lambda key: "____" if key.array == "a" else None)
    e = op("multiply", a, c)
    assert printer.numbers(e) == "____·2"
    assert printer.names(e) == "a·c"
    copied = equation(Line("y", (), Key("", "a", ()), c, 2.0), printer)
    assert copied.sides == (("=", "c"), ("=", "2"), ("=", "____"))
    assert equation(Line("y", (), Key("0", "y", ()), e, 1.0), printer).sides[1:] == (("=", "____·2"), ("=", "1"))


def test_a_chain_rule_is_printed_where_its_terms_are_all_of_the_gradient() -> None:
    above, of = Key("1", "y", (0,)), Key("0", "W", (0, 1))
    dy = Line("dy", (0,), Key("1", "dy", (0,)), None, -0.354, above)
    dW = Line("dW", (0, 1), Key("0", "dW", (0, 1)), None, -0.177, of, (Factor(above, -0.354, 0.5),))
    gradients = Gradients(Content("", 0.0, 1, (Section("backward", "1", "", lines=(dy, dW)),)))
    found = chain_rule(dW, gradients, Printer(blank=lambda key: "?" if key == dy.key else None))
    assert found is not None
    assert found.left == "∂L/∂0.W[0,1]"
    assert found.sides == (("=", "∂L/∂1.y[0] · ∂1.y[0]/∂0.W[0,1]"), ("=", "? · 0.5"), ("=", "−0.177"))
    half = Line("dW", (0, 1), Key("0", "dW", (0, 1)), None, -0.5, of, (Factor(above, -0.354, 0.5),))
    assert chain_rule(half, gradients, Printer()) is None
    assert chain_rule(dy, gradients, Printer()) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e200, 1e308, 5e-324])
def test_extreme_numbers_are_printed(value: float) -> None:
    u = Element("u", (), value, Key("", "u", ()))
    square = op("multiply", u, u)
    for e in (
        square,
        op("add", square, u),
        op("multiply", square, u),
        total([u] * 20),
        op("subtract", u, u),
        Largest([u] * 20),
    ):
        for style in (Text(), tex.Mathematics()):
            found = equation(Line("y", (), Key("0", "y", ()), e, e.value), Printer(style))
            (_, numbers), (sign, result) = found.sides[-2:]
            assert sign == "=" and not re.search("nan|inf(?!ty)", numbers + result)
