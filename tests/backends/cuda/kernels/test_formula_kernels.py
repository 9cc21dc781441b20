"""The kernels of formulas and sums, built for the host as they stand: NumPy's numbers, bit for bit where it rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubp import formula
from gpubp.backends import CPU
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.kernels import Kernels, Unfit
from gpubp.formula import trace
from random_formulas import SHAPES, Formula, formulas, values
from strict import StrictProducts, strict_cupy


@pytest.fixture(scope="module")
def be() -> CUDA:
    return CUDA(strict_cupy(), products=StrictProducts)


def on_device(be: CUDA, a: np.ndarray, how: str) -> Any:
    """`a` on the device: as it is, every second number of something larger, or transposed in memory."""
    if how == "transposed":
        return be.to_device(a.T).T
    if how == "gaps" and a.ndim:
        larger = be.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::2]
        be.xp.copyto(larger, be.to_device(a))
        return larger
    return be.to_device(a)


LAYOUTS = st.sampled_from(["plain", "plain", "gaps", "transposed"])


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(formulas(), st.data())
def test_random_formulas_give_numpys_bits(be: CUDA, f: Formula, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    inputs = [values(rng, data.draw(st.sampled_from(SHAPES)), dtype) for _ in range(f.inputs)]
    with np.errstate(all="ignore"):
        wanted = [np.asarray(w) for w in f(*inputs)]
    shape = np.broadcast_shapes(*(a.shape for a in (*inputs, *wanted)))
    kinds = [bool if w.dtype == bool else dtype for w in wanted]
    device_inputs = [on_device(be, a, data.draw(LAYOUTS)) for a in inputs]
    outs = tuple(on_device(be, np.ones(shape, kind), data.draw(LAYOUTS)) for kind in kinds)
    before = len(be.xp.kernels)
    be.apply(f, *device_inputs, out=outs)
    assert len(be.xp.kernels) <= before + 1
    for came, want, kind in zip(outs, wanted, kinds, strict=True):
        np.testing.assert_array_equal(be.to_host(came), np.broadcast_to(want.astype(kind), shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "sqrt"])
def test_functions_are_numpys_to_the_last_bits(be: CUDA, name: str, dtype: str, rng: np.random.Generator) -> None:
    x = np.abs(rng.normal(size=1000)).astype(dtype)
    out = be.zeros(x.shape, dtype)
    be.apply(getattr(formula, name), be.to_device(x), out=out)
    np.testing.assert_array_max_ulp(be.to_host(out), getattr(np, name)(x), maxulp=4)


def softmax(z: Any, c: Any) -> Any:
    e = formula.exp(z - formula.row_max(z))
    p = e / formula.row_sum(e)
    return p * c, formula.row_sum(p * p), p - formula.row_sum(p * c)


@pytest.mark.parametrize("columns", [1, 2, 3, 10, 32, 33, 300])
@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_over_rows(be: CUDA, rows: int, columns: int, dtype: str, rng: np.random.Generator) -> None:
    """With sums that depend on sums, numbers of a row among the inputs and outputs, and an output in place."""
    z, c = rng.normal(size=(rows, columns)).astype(dtype), rng.normal(size=(rows, 1)).astype(dtype)
    cpu = [np.empty_like(z), np.empty_like(c), z.copy()]
    CPU().apply(softmax, cpu[2], c, out=tuple(cpu))
    place = be.to_device(z.copy())
    outs = be.zeros(z.shape, dtype), be.zeros(c.shape, dtype), place
    be.apply(softmax, place, be.to_device(c), out=outs)
    for came, want in zip(outs, cpu, strict=True):
        np.testing.assert_allclose(be.to_host(came), want, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)


def test_a_row_of_any_axes(be: CUDA, rng: np.random.Generator) -> None:
    x, w, c = rng.normal(size=(3, 4, 5)), rng.normal(size=5), rng.normal(size=(3, 1, 1))
    f = lambda x, w, c: formula.row_sum(x * w) * c + formula.row_max(x)  # noqa: E731
    out = be.zeros((3, 4, 1), "float64")
    be.apply(f, *(be.to_device(a) for a in (x, w, c)), out=out)
    np.testing.assert_allclose(be.to_host(out), f(x, w, c), rtol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, c: formula.row_sum(x) * c,
        lambda x, c: formula.row_sum(x * c) + c,
        lambda x, c: x * formula.row_sum(c) + formula.row_max(x),
    ],
)
@pytest.mark.parametrize("how", ["plain", "gaps", "transposed", "of a matrix"])
def test_a_column_with_gaps_has_one_number_for_each_row(be: CUDA, f: Any, how: str, rng: np.random.Generator) -> None:
    """As a column of a matrix does. A row has one of them, also in a sum of theirs."""
    x, matrix = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 2))
    c = matrix[..., 1:]
    wanted = f(x, c)
    out = be.zeros(wanted.shape, "float64")
    be.apply(
        f, be.to_device(x), be.to_device(matrix)[..., 1:] if how == "of a matrix" else on_device(be, c, how), out=out
    )
    np.testing.assert_allclose(be.to_host(out), wanted, rtol=1e-12)


def test_maximum_and_row_max_keep_nan(be: CUDA) -> None:
    x = np.array([[1.0, np.nan, 2.0], [np.nan, 1.0, 3.0], [4.0, 5.0, np.nan]])
    out, larger = be.zeros((3, 1), "float64"), be.zeros((3, 3), "float64")
    be.apply(formula.row_max, be.to_device(x), out=out)
    be.apply(lambda x: formula.maximum(x, 0.0), be.to_device(x), out=larger)
    assert np.isnan(be.to_host(out)).all()
    np.testing.assert_array_equal(be.to_host(larger), np.maximum(x, 0))


@pytest.mark.parametrize("size", [0, 1, 255, 4096, 5000, 300_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dot(be: CUDA, size: int, dtype: str, rng: np.random.Generator) -> None:
    a, b = (rng.normal(size=size).astype(dtype) for _ in range(2))
    out, total = be.zeros((), dtype), be.zeros((), "float64")
    for _ in range(2):  # the second finds the counter as the first left it
        be.dot(be.to_device(a), be.to_device(b), out=out, total=total)
    want = np.dot(a.astype(float), b.astype(float))
    tolerance = dict(rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-3 if dtype == "float32" else 1e-10)
    np.testing.assert_allclose(be.to_host(out), want, **tolerance)
    np.testing.assert_allclose(be.to_host(total), 2 * want, **tolerance)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (300, 32), (513, 33), (3000, 70)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sum_rows(be: CUDA, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    a = rng.normal(size=shape).astype(dtype)
    out = be.zeros(shape[1:], dtype)
    for _ in range(2):
        be.sum_rows(be.to_device(a), out=out)
    np.testing.assert_allclose(be.to_host(out), a.sum(axis=0, dtype=float), rtol=1e-5, atol=1e-4)


def test_formulas_without_a_kernel_are_computed_by_ufuncs(be: CUDA) -> None:
    """An output that covers an input in part, and numbers of two types."""
    memory = be.to_device(np.arange(10.0))
    be.apply(lambda x: x * 2.0, memory[:8], out=memory[2:])
    assert be.to_host(memory).tolist() == [0, 1, 0, 2, 4, 6, 8, 10, 12, 14]
    out = be.zeros((3,), "float64")
    be.apply(lambda x, y: x + y, be.to_device(np.ones(3, "float32")), be.to_device(np.ones(3)), out=out)
    assert be.to_host(out).tolist() == [2.0] * 3


def test_a_kernel_says_why_it_does_not_fit() -> None:
    be = CUDA(strict_cupy())
    x = be.to_device(np.arange(10.0))
    with be.active(), pytest.raises(Unfit, match="overlaps"):
        Kernels(be.cupy).apply("f", trace(lambda x: x * 2.0, 1), (x[1:],), (x[:-1],))
    constant = be.constant(2.0, "float64")
    with be.active(), pytest.raises(Unfit, match="the same all along"):
        Kernels(be.cupy).apply("f", trace(lambda x, c: x + formula.row_sum(c), 2), (x, constant), (x,))


def test_arrays_of_more_than_2_to_the_31_numbers_are_indexed_by_64_bits() -> None:
    """Not run: a view of one number, as large as you like."""
    be, launched = CUDA(strict_cupy()), {}
    cupy = be.cupy
    cupy.RawKernel = lambda code, name, options: lambda grid, block, args: launched.update({name: (code, grid, args)})
    x = cupy.broadcast_to(be.zeros((1,), "float32"), (2**32,))
    with be.active():
        Kernels(cupy).apply("f", trace(lambda x: x * 2.0, 1), (be.constant(1.0, "float32"),), (x,))
    code, (blocks,), args = launched["f"]
    assert "unsigned long long i" in code and args[0] == np.uint64(2**32) and blocks == 4096
