"""The record of a step on the CPU: whatever is called, it is repeated, and what can't be is refused."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.recording import Call, Record
from gpubp.formula import row_sum


def a0(x: np.ndarray) -> None:
    """Called like the record's own name for its first array."""
    x += 1


def replay(x: np.ndarray) -> None:
    """Called like the record's function."""
    x += 10


@pytest.mark.parametrize(
    "called",
    [a0, replay, lambda x: a0(x), functools.partial(a0), np.ndarray.sort],
    ids=["a function", "a function called replay", "a lambda", "a partial", "a method"],
)
def test_functions_of_any_name_are_repeated(called: Any) -> None:
    be, x, wanted = CPU(), np.array([3.0, 1.0]), np.array([3.0, 1.0])
    record = be.capture(lambda: be.run(called, x))
    record()
    called(wanted)
    called(wanted)
    assert x.tolist() == wanted.tolist()


def test_two_functions_of_one_name_are_two() -> None:
    def step(x: np.ndarray) -> None:
        x += 1

    first = step

    def step(x: np.ndarray) -> None:  # noqa: F811
        x *= 3

    be, x = CPU(), np.array([1.0])
    record = be.capture(lambda: (be.run(first, x), be.run(step, x)))
    record()
    assert x.item() == ((1 + 1) * 3 + 1) * 3
    assert str(record) == "step(a0)\nstep_2(a0)"


@pytest.mark.parametrize("value", [True, None, 3, -0.5, float("inf"), float("nan"), "K", (1, 0), [1], np.float32(2)])
def test_every_kind_of_argument_is_kept(value: Any) -> None:
    be, seen = CPU(), []
    record = be.capture(lambda: be.run(seen.append, value) or be.run(dict, key=value))
    record()
    assert len(seen) == 2 and (seen[0] is seen[1] or seen[0] == seen[1] or np.isnan(value))


def test_arrays_are_kept_alive() -> None:
    be, out = CPU(), np.zeros(1000)
    record = be.capture(lambda: be.run(np.add, np.ones(1000), np.full(1000, 2.0), out))
    out[...] = 0
    [np.full(1000, 9.0) for _ in range(50)]  # would take the memory of arrays that nobody holds
    record()
    assert (out == 3.0).all()


def test_an_array_is_read_anew_at_every_replay() -> None:
    be, x, y = CPU(), np.ones(3), np.empty(3)
    record = be.capture(lambda: be.xp.multiply(x, 2.0, out=y))
    x[...] = 5.0
    record()
    assert (y == 10.0).all()


def test_sums_over_all_axes_and_over_one() -> None:
    be, x = CPU(), np.arange(6.0).reshape(2, 3)
    total, rows, largest = np.empty(()), np.empty(3), np.empty((2, 1))

    def step() -> None:
        be.xp.sum(x, out=total)
        be.xp.sum(x, axis=0, out=rows)
        be.xp.max(x, axis=-1, keepdims=True, out=largest)

    record = be.capture(step)
    x += 1
    record()
    assert total.item() == 21 and rows.tolist() == [5, 7, 9] and largest.tolist() == [[3], [6]]


def test_an_error_while_recording_ends_the_recording() -> None:
    be = CPU()
    with pytest.raises(bp.RecordError, match="xp.add was called without out= in a step that is recorded"):
        be.capture(lambda: be.xp.add(1.0, 2.0))
    assert be.xp.add(1.0, 2.0) == 3.0
    assert str(be.capture(lambda: None)) == ""


def test_views_and_types_need_no_out() -> None:
    be, x = CPU(), np.arange(6.0)
    y = np.empty((3, 2))
    record = be.capture(lambda: be.xp.copyto(y, be.xp.reshape(x, (2, 3)).T))
    x += 1
    record()
    assert y.tolist() == [[1, 4], [2, 5], [3, 6]] and be.xp.float32 is np.float32


def test_backends_share_no_record() -> None:
    one, two, x = CPU(), CPU(), np.zeros(1)
    record = one.capture(lambda: (one.run(a0, x), two.run(a0, x)))
    assert len(record) == 1 and one.another() is not one


class Named:
    """A function of its own in every call, as the formulas of a recurrent layer are: all have one name."""

    __name__ = "step"

    def __call__(self, *arrays: np.ndarray) -> None: ...


def long_record(calls: int) -> Record:
    x = np.zeros((calls, 3), "float32")
    return Record([Call(Named(), (x[k], x[k - 1]), {}) for k in range(calls)])


def test_the_time_of_recording_grows_as_the_number_of_calls_does() -> None:
    """And not as its square, which would be 64 times the time. Of this thread's processor time: machines are busy."""

    def seconds(calls: int) -> float:
        start = time.thread_time()
        long_record(calls)
        return time.thread_time() - start

    short, long = (min(seconds(calls) for _ in range(3)) for calls in (1500, 12000))
    assert long < 24 * short


def test_functions_that_have_no_hash_or_a_name_like_a_number_are_told_apart() -> None:
    class Unhashable(Named):
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, *arrays: np.ndarray) -> None:
            arrays[0][...] += 1

    def step_2(x: np.ndarray) -> None:
        x *= 3

    one, two, x = Unhashable(), Unhashable(), np.zeros(1)
    record = Record([Call(f, (x,), {}) for f in (step_2, one, two, one, step_2)])
    record()
    assert x.item() == 9 and str(record) == "step_2(a0)\nstep(a0)\nstep_3(a0)\nstep(a0)\nstep_2(a0)"


def test_a_very_long_record_is_printed_in_short() -> None:
    x = np.zeros((2000, 3), "float32")
    loop = [call for k in range(1, 2000) for call in (Call(np.dot, (x[k], x[k - 1]), {}), Call(Named(), (x[k],), {}))]
    record = Record([Call(np.add, (x, x, x), {}), *loop, Call(np.exp, (x, x), {}), Call(np.exp, (x, x), {})])
    assert str(record).splitlines() == [
        "add(a0, a0, a0)", "dot(a1, a2)", "step(a1)", "# the same 2 calls 1998 times more, on other arrays",
        "exp(a0, a0)", "exp(a0, a0)",
    ]  # fmt: skip
    assert record.source.count("\n") == len(record) - 1 and "step_1999(" in record.source


@pytest.mark.parametrize("sum_of", ["sum_last", "sum_rows", "weighted_sum_rows", "row_sum"])
def test_sums_over_turned_arrays_are_repeated_on_their_new_numbers(sum_of: str, rng: np.random.Generator) -> None:
    """A view whose rows do not lie one behind the other is copied in each step, and not once while it is recorded."""
    be = CPU()
    x, weights = be.zeros((3, 4, 5), "float64"), be.to_device(rng.normal(size=12), "float64")
    turned = x.transpose(1, 0, 2)
    out = be.zeros((5,) if "rows" in sum_of else (4, 3, 1), "float64")

    def step() -> None:
        if sum_of == "row_sum":
            be.apply(row_sum, turned, out=out)
        elif sum_of == "weighted_sum_rows":
            be.weighted_sum_rows(turned, weights, out=out)
        else:
            getattr(be, sum_of)(turned, out=out)

    replay = be.capture(step)
    for _ in range(3):
        x[...] = rng.normal(size=x.shape)
        replay()
        if sum_of == "weighted_sum_rows":
            expected = (turned.reshape(12, 5) * weights[:, None]).sum(axis=0)
        else:
            expected = turned.sum(axis=(0, 1)) if sum_of == "sum_rows" else turned.sum(axis=-1, keepdims=True)
        assert np.allclose(out, expected, rtol=1e-12)
