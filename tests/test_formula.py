"""Formulas: what is traced and lowered to ufunc calls equals NumPy's direct evaluation, bit for bit.

Random formulas come from hypothesis as lists of instructions, which run on symbols and on arrays alike. Outputs may be
inputs, or overlap them, or swap them; inputs may broadcast; values may be constants, comparisons, or several outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpubp import formula
from gpubp.backends import CPU
from gpubp.backends.base import lower
from gpubp.formula import OPERATIONS, Number, trace
from random_formulas import BINARY, OWN, ROUNDED, ROWS, SHAPES, UNARY, Formula, formulas, values


def test_every_operation_is_tested() -> None:
    assert set(UNARY + ROUNDED + OWN + BINARY + ROWS) == set(OPERATIONS)


@pytest.mark.parametrize("operation", [*UNARY, *ROUNDED])
def test_single_operations(operation: str, rng: np.random.Generator) -> None:
    x, out = np.abs(rng.normal(size=50)) + 0.1, np.empty(50)
    CPU().apply(getattr(formula, operation) if operation != "negative" else lambda x: -x, x, out=out)
    np.testing.assert_allclose(out, getattr(np, operation)(x), rtol=1e-15)


def check(f: Formula, inputs: list[np.ndarray], outs: list[np.ndarray], record: bool = False) -> None:
    """apply(f) into `outs`, which may be or overlap inputs, against f of copies."""
    before = [a.copy() for a in inputs]
    with np.errstate(all="ignore"):
        wanted = [np.broadcast_to(w, o.shape).astype(o.dtype) for w, o in zip(f(*before), outs, strict=True)]
        backend = CPU()
        if record:
            replay = backend.capture(lambda: backend.apply(f, *inputs, out=tuple(outs)))
            for array, first in zip(inputs, before, strict=True):
                array[...] = first
            replay()
        else:
            given_back = backend.apply(f, *inputs, out=tuple(outs))
            assert given_back == tuple(outs) or all(a is b for a, b in zip(given_back, outs, strict=True))
    for came, want in zip(outs, wanted, strict=True):
        np.testing.assert_array_equal(came, want)
        if came.dtype.kind == "f":
            finite = ~np.isnan(want)
            np.testing.assert_array_equal(np.signbit(came)[finite], np.signbit(want)[finite])
    for array, first in zip(inputs, before, strict=True):
        if not any(np.may_share_memory(array, out) for out in outs):
            np.testing.assert_array_equal(array, first)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(formulas(), st.data())
def test_random_formulas_give_numpys_bits(f: Formula, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    inputs = [values(rng, data.draw(st.sampled_from(SHAPES)), dtype) for _ in range(f.inputs)]
    if data.draw(st.booleans()):  # the same array twice
        inputs[-1] = inputs[0]
    with np.errstate(all="ignore"):
        results = [np.asarray(r) for r in f(*inputs)]
    full = np.broadcast_shapes(*(r.shape for r in results))
    outs: list[np.ndarray] = []
    for result in results:
        free = [
            a
            for a in inputs
            if result.dtype != bool
            and np.broadcast_shapes(a.shape, result.shape) == a.shape
            and not any(np.may_share_memory(a, o) for o in outs)
        ]
        if free and data.draw(st.booleans()):
            outs.append(data.draw(st.sampled_from(free)))
        else:
            shape = data.draw(st.sampled_from([result.shape, full]))
            kind = bool if result.dtype == bool and data.draw(st.booleans()) else dtype
            outs.append(np.full(shape, 1, kind))
    check(f, inputs, outs, record=data.draw(st.booleans()))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(formulas(), st.integers(0, 9), st.data())
def test_outputs_may_overlap_inputs(f: Formula, seed: int, data: st.DataObject) -> None:
    """Views of one vector at any offset, so that an output may cover parts of several inputs, its own among them."""
    rng = np.random.default_rng(seed)
    memory = values(rng, (40,), "float64")
    inputs = [memory[(s := data.draw(st.integers(0, 32))) : s + 8] for _ in range(f.inputs)]
    outs: list[np.ndarray] = []
    for _ in f.outputs:
        start = data.draw(st.integers(0, 32))
        place = memory[start : start + 8]
        outs.append(np.empty(8) if any(np.may_share_memory(place, o) for o in outs) else place)
    before = [a.copy() for a in inputs]
    with np.errstate(all="ignore"):
        wanted = [np.broadcast_to(w, (8,)).astype("float64") for w in f(*before)]
        CPU().apply(f, *inputs, out=tuple(outs))
    for came, want in zip(outs, wanted, strict=True):
        np.testing.assert_array_equal(came, want)


@example([1, 0])
@example([1, 2, 0])
@given(st.permutations([0, 1, 2, 3]) | st.lists(st.integers(0, 3), min_size=4, max_size=4))
@settings(deadline=None, derandomize=True, database=None)
def test_outputs_may_swap_inputs(order: list[int]) -> None:
    inputs = [np.full(3, float(10 + i)) for i in range(len(order))]
    check(Formula(len(order), [], list(order)), inputs, list(inputs))


def test_value_number_1_and_constant_1_are_different() -> None:
    x, y = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    be, out, second = CPU(), np.empty(2), np.empty(2)
    assert be.apply(lambda x, y: x + y, x, y, out=out).tolist() == [11.0, 22.0]
    assert be.apply(lambda x, y: x + 1.0, x, y, out=out).tolist() == [2.0, 3.0]
    be.apply(lambda x, y: (x + y, x + 1.0), x, y, out=(out, second))
    assert (out.tolist(), second.tolist()) == ([11.0, 22.0], [2.0, 3.0])
    assert trace(lambda x, y: x + y, 2) != trace(lambda x, y: x + 1.0, 2)


def test_zero_and_minus_zero_are_two_constants() -> None:
    out, second = np.empty(1), np.empty(1)
    CPU().apply(lambda x: (x * 0.0, x * -0.0), np.array([1.0]), out=(out, second))
    assert (np.signbit(out).item(), np.signbit(second).item()) == (False, True)


def test_equal_subexpressions_are_computed_once() -> None:
    program = trace(lambda x: formula.exp(x) * (1.0 + formula.exp(x)), 1)
    assert [step.operation for step in program.steps] == ["exp", "add", "multiply"]


def test_arithmetic_on_constants_is_done_while_tracing() -> None:
    program = trace(lambda x: x * (2.0 * 3.0 + formula.exp(0.0)), 1)
    assert program.steps == (("multiply", (0, Number(7.0))),)


def test_operations_with_numpy_scalars_are_traced() -> None:
    program = trace(lambda x: np.float64(2.0) * x - np.float32(0.5), 1)
    assert program.steps == (("multiply", (Number(2.0), 0)), ("subtract", (1, Number(0.5))))


@pytest.mark.parametrize("f", [formula.sigmoid, formula.tanh, lambda x: 1.0 - (x - 3.0) * 2.0])
def test_a_chain_of_operations_runs_in_its_output(f: Any) -> None:
    calls = lower(trace(f, 1), ((2, 3),), ((2, 3),), (False,), ((),), (False,))
    assert {target.kind for _, _, target in calls} == {"out"}


def test_an_output_is_not_written_over_an_input_that_is_still_read() -> None:
    """x ← e^x · x: e^x must not stand in x's place before x has been read for the last time."""
    x = np.array([0.0, 1.0])
    CPU().apply(lambda x: formula.exp(x) * x, x, out=x)
    np.testing.assert_array_equal(x, [0.0, np.exp(1.0)])


def test_recorded_scratch_survives_a_larger_formula() -> None:
    """The record keeps the scratch that it was made with, also when another formula needed more since."""
    be, x, y = CPU(), np.array([1.0, 2.0]), np.empty(2)
    replay = be.capture(lambda: be.apply(lambda x: (x + 1.0) * (x + 2.0) * x, x, out=x))
    be.apply(lambda x: (x + 1.0) * (x + 2.0) * x, np.ones(1000), out=np.empty(1000))
    x[...] = y[...] = [3.0, 4.0]
    replay()
    np.testing.assert_array_equal(x, (y + 1.0) * (y + 2.0) * y)


def test_masks_and_numbers_of_another_type_are_read_in_the_outputs_type() -> None:
    """A mask as the first input does not make the constants booleans."""
    mask, x, out = np.array([True, False]), np.array([0.7, 0.2], "float32"), np.empty(2, bool)
    CPU().apply(lambda m, x: x * m > 0.5, mask, x, out=out)
    assert out.tolist() == [True, False]
    halves = np.empty(2, "float32")
    CPU().apply(lambda m, x: (x - m) * 0.5, mask, x, out=halves)
    np.testing.assert_array_equal(halves, (x - mask) * np.float32(0.5))


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x if x > 0 else 0.0, "a formula has no branches"),
        (lambda x: max(x, 0.0), "a formula has no branches"),
        (lambda x: x**3, "knows the power 2 only and got 3"),
        (lambda x: (x > 0) + (x < 1), "can't add comparisons alone"),
        (lambda x: (x > 0) * (x < 1) - (x > 2), "can't subtract comparisons alone"),
        (lambda x: -((x > 0) * (x < 1)), "can't negative comparisons alone"),
        (lambda x: formula.exp(x > 0), "can't exp comparisons alone"),
        (lambda x: x * (x == 0), "a formula has no == and !="),
        (lambda x: x * (x != 0), "a formula has no == and !="),
    ],
)
def test_branches_and_other_python_are_refused(f: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        trace(f, 1)


@pytest.mark.parametrize("outs", [(), (np.empty(2),) * 2])
def test_a_formula_must_give_as_many_values_as_outputs(outs: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(TypeError, match=rf"tanh gives 1 value, and {len(outs)} are needed"):
        CPU().apply(formula.tanh, np.ones(2), out=outs)


@pytest.mark.parametrize("f", [lambda x: np.exp(x), lambda x: x @ x, lambda x: x % 2, lambda x: "x"])
def test_operations_that_symbols_lack_are_refused(f: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        trace(f, 1)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("sigmoid", {0.0: 0.5, 40.0: 1.0, -800.0: 0.0}),
        ("tanh", {0.0: 0.0, 50.0: 1.0}),
        ("log1p", {1e-20: 1e-20}),
        ("expm1", {1e-20: 1e-20}),
        ("sign", {-3.0: -1.0, 0.0: 0.0, 2.0: 1.0}),
        ("absolute", {-3.0: 3.0}),
    ],
)
def test_known_values(name: str, points: dict[float, float]) -> None:
    with np.errstate(over="ignore"):
        for x, y in points.items():
            assert getattr(formula, name)(x) == y
            out = np.empty(1)
            CPU().apply(getattr(formula, name), np.array([x]), out=out)
            assert out.item() == y


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_keep_nan(name: str) -> None:
    x, y, out = np.array([np.nan, 1.0]), np.array([1.0, np.nan]), np.empty(2)
    CPU().apply(getattr(formula, name), x, y, out=out)
    assert np.isnan(out).all()


@pytest.mark.parametrize(("name", "chosen"), [("fmax", 2.0), ("fmin", 1.0)])
def test_fmax_and_fmin_take_the_other_one_in_place_of_nan(name: str, chosen: float) -> None:
    x, y = np.array([np.nan, 1.0, np.nan, 2.0]), np.array([1.0, np.nan, np.nan, 1.0])
    out = np.empty(4)
    CPU().apply(getattr(formula, name), x, y, out=out)
    np.testing.assert_array_equal(out, [1.0, 1.0, np.nan, chosen])


def test_products_of_comparisons_are_numbers_and_masks() -> None:
    """The derivative of a hard sigmoid as one writes it; alone a mask or 1 and 0, as the output asks."""
    x = np.array([-1.0, 0.0, 0.25, 1.0, np.nan])
    inside = np.array([False, False, True, False, False])
    for f, factor in ((lambda x: (x > 0) * (x < 1) * 0.2, 0.2), (lambda x: 0.2 * ((x > 0) * (x < 1)), 0.2)):
        assert CPU().apply(f, x, out=np.empty(5)).tolist() == (inside * factor).tolist() == f(x).tolist()
    for f in (lambda x: (x > 0) * (x < 1), lambda x: (x > 0) * (x < 2) * (x >= 0) * ((x < 1) * (x < 1))):
        assert CPU().apply(f, x, out=np.empty(5)).tolist() == inside.tolist() == f(x).tolist()
        assert CPU().apply(f, x, out=np.empty(5, bool)).tolist() == inside.tolist()
