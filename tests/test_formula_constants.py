"""Constants and value numbers of a formula are never confused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.formula import trace


def computed(f: Callable[..., Any], *inputs: float) -> float:
    arrays = [np.array([a]) for a in inputs]
    return bp.get_backend("cpu").apply(f, *arrays, out=np.empty(1)).item()


@pytest.mark.parametrize("constant", [0.0, 1.0, 2.0, 3.0, 4.0])
def test_a_constant_is_not_confused_with_a_value_number(constant: float) -> None:
    """With inputs 0, 1, 2 the first product is value 3: `3 * x * x` must not become (3 * x) again."""
    assert computed(lambda x, y, dy: dy * (constant * x * x), 5.0, 7.0, 11.0) == 11.0 * constant * 25.0


@pytest.mark.parametrize("number", [0, 1])
def test_programs_that_differ_only_in_constant_or_input(number: int) -> None:
    """The places of a program are kept by the program, so these two may not be one."""
    by_constant = lambda a, b: float(number) * a + b  # noqa: E731
    by_input = lambda a, b: (a, b)[number] * a + b  # noqa: E731
    assert trace(by_constant, 2) != trace(by_input, 2)
    assert computed(by_constant, 5.0, 7.0) == number * 5.0 + 7.0
    assert computed(by_input, 5.0, 7.0) == (5.0, 7.0)[number] * 5.0 + 7.0


def test_the_sign_of_a_zero() -> None:
    assert np.signbit(computed(lambda x: x * -0.0, 1.0))
    assert not np.signbit(computed(lambda x: x * 0.0, 1.0))
