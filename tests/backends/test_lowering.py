"""Formulas as ufunc calls: any formula, its outputs sharing memory with inputs or not, gives what NumPy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubp import formula as f
from gpubp.backends import CPU
from gpubp.backends.lowering import form_of, lower
from gpubp.formula import trace

UNARY: list[Callable[[Any], Any]] = [f.exp, f.tanh, f.absolute, f.sign, f.sigmoid, lambda a: -a, lambda a: a**2]
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, f.maximum, f.minimum,
    lambda a, b: (a > b) * a, lambda a, b: (a <= b) * 2.0 + b, lambda a, b: a / (1.0 + b * b),
]  # fmt: skip
ROWS: list[Callable[[Any], Any]] = [f.row_max, f.row_sum, lambda a: a - f.row_max(a), lambda a: a / f.row_sum(a * a)]
SHAPES = [(4, 3), (1, 3), (3,), (4, 1), ()]


@st.composite
def formulas(draw: st.DrawFn, unary: list[Callable[[Any], Any]] = UNARY) -> tuple[Callable[..., Any], int, int]:
    """(formula, number of inputs, number of outputs): a chain of random operations on earlier values."""
    inputs, length = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    script: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
    for k in range(length):
        earlier = st.integers(0, inputs + k - 1)
        if draw(st.booleans()):
            script.append((draw(st.sampled_from(unary)), (draw(earlier),)))
        else:
            second = draw(st.one_of(earlier, st.sampled_from([0.0, 0.5, 3.0])))
            script.append((draw(st.sampled_from(BINARY)), (draw(earlier), second)))
    chosen = draw(st.lists(st.integers(inputs, inputs + length - 1), min_size=1, max_size=3))

    def function(*values: Any) -> Any:
        known = list(values)
        for operation, operands in script:
            known.append(operation(*(known[o] if isinstance(o, int) else o for o in operands)))
        return tuple(known[k] for k in chosen)

    return function, inputs, len(chosen)


def fresh(shape: tuple[int, int], gaps: bool) -> np.ndarray:
    """An array of nines, or the middle columns of one."""
    return np.full((shape[0], 3 * shape[1]), 9.0)[:, shape[1] : -shape[1]] if gaps else np.full(shape, 9.0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_formula(data: st.DataObject) -> None:
    function, inputs, outputs = data.draw(formulas())
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shapes = [(4, 3), *(data.draw(st.sampled_from(SHAPES)) for _ in range(inputs - 1))]
    arrays = [rng.normal(size=shape) for shape in shapes]
    full = [i for i, shape in enumerate(shapes) if shape == (4, 3)]
    places: list[int | None] = []  # the input whose memory each output shares
    for _ in range(outputs):
        free = [i for i in full if i not in places]
        places.append(data.draw(st.sampled_from([None, *free])))
    with np.errstate(all="ignore"):
        expected = [np.broadcast_to(e, (4, 3)) for e in function(*[a.copy() for a in arrays])]
        given_arrays = [a.copy() for a in arrays]
        gaps = data.draw(st.booleans())
        outs = tuple(fresh((4, 3), gaps) if place is None else given_arrays[place] for place in places)
        CPU().apply(function, *given_arrays, out=outs)
    for out, e in zip(outs, expected, strict=True):
        assert np.array_equal(out, e, equal_nan=True)
    for i, a in enumerate(arrays):
        if i not in places:
            assert np.array_equal(given_arrays[i], a), "an input that is no output was changed"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_formula_over_rows(data: st.DataObject) -> None:
    """Also rows of one number, where a row and its sum have one shape; BLAS sums in an order of its own."""
    function, inputs, outputs = data.draw(formulas(UNARY[1:] + 2 * ROWS))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shape = (4, data.draw(st.sampled_from([1, 1, 3])))
    arrays = [rng.normal(size=shape) for _ in range(inputs)]
    places = data.draw(st.permutations([*range(inputs), *[None] * outputs]))[:outputs]
    with np.errstate(all="ignore"):
        expected = function(*[a.copy() for a in arrays])
        gaps = data.draw(st.booleans())
        outs = tuple(fresh(shape, gaps) if place is None else arrays[place] for place in places)
        CPU().apply(function, *arrays, out=outs)
    for out, e in zip(outs, expected, strict=True):
        np.testing.assert_allclose(out, np.broadcast_to(e, shape), rtol=1e-9, atol=1e-12)


def test_a_view_of_the_same_memory_is_seen() -> None:
    """An output need not be the very array object that is an input."""
    memory = np.arange(1.0, 5.0)
    x, again = memory[:4], memory[:4]
    CPU().apply(lambda x: f.exp(x) * 0.0 + x, x, out=again)
    assert memory.tolist() == [1, 2, 3, 4]


def test_a_chain_runs_in_its_output() -> None:
    """x σ(x) needs no memory beside its output."""
    program = trace(lambda x: x * f.sigmoid(x), 1)
    calls = lower(program, ((4, 3),), ((4, 3),), (False,), ((),), (False,))
    assert {target.kind for _, _, target in calls} == {"out"}


def test_only_the_last_operation_of_a_chain_writes_to_an_output_with_gaps() -> None:
    x, y = np.zeros((4, 3)), np.zeros((4, 6))[:, :3]
    calls = lower(trace(lambda x: x * f.sigmoid(x), 1), *form_of([x], [y]))
    assert [target.kind for _, _, target in calls] == ["scratch"] * (len(calls) - 1) + ["out"]
    assert len({target for _, _, target in calls}) == 2  # the others run in one place


def test_equal_subexpressions_are_computed_once() -> None:
    program = trace(lambda x, y: f.exp(x + y) + f.exp(x + y), 2)
    assert [step.operation for step in program.steps] == ["add", "exp", "add"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x if x > 0 else -x, "no branches"),
        (lambda x: (x > 0) + (x < 1), "comparisons alone"),
        (lambda x: x**3, "power 2 only"),
    ],
)
def test_unsupported_formulas_raise(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        trace(function, 1)
