"""erf and erfc, which NumPy has not: how near they are to the truth, and the same bits by every way."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import pytest
from device_training import device

from gpubp.backends import CPU, Backend
from gpubp.backends.cpu import compiled
from gpubp.backends.cpu.language import ORDINARY
from gpubp.backends.cpu.loops import fuse
from gpubp.formula import erf, erfc, exp, row_sum, trace

mpmath = pytest.importorskip("mpmath")

INF, NAN = math.inf, math.nan
SPECIAL = [0.0, -0.0, INF, -INF, NAN, 6.0, -6.0, 30.0, -30.0, 1e-30, -1e-30, 1e30, -1e30, 1e-45, -1e-40]
FUNCTIONS = {"erf": erf, "erfc": erfc}
LIMITS = {("erf", "float32"): 1.0, ("erf", "float64"): 1.0, ("erfc", "float32"): 1.0, ("erfc", "float64"): 5.0}
BITS = {"float32": (24, -149), "float64": (53, -1074)}


def numbers(dtype: str, count: int = 700) -> np.ndarray:
    """Dense where formulas change, near 0, and as far out as erfc is no 0."""
    rng = np.random.default_rng(0)
    far = 27.0 if dtype == "float64" else 10.3
    parts = [rng.uniform(-2, 2, 2 * count), rng.uniform(0.6, 1.5, count), rng.uniform(-far, far, count)]
    return np.concatenate([*parts, rng.normal(size=count) * 10.0 ** rng.integers(-12, 0, count), SPECIAL]).astype(dtype)


def error(name: str, x: float, y: float, dtype: str) -> float:
    """How far y is from the truth, in units of its last place."""
    bits, lowest = BITS[dtype]
    with mpmath.workprec(200):
        true = getattr(mpmath, name)(mpmath.mpf(x))
        return float(abs(mpmath.mpf(y) - true) / mpmath.mpf(2) ** max(math.frexp(y)[1] - bits, lowest))


def applied(be: Backend, f: Any, x: np.ndarray, recorded: bool = False) -> np.ndarray:
    with be.active():
        a = be.to_device(x)
        out = be.zeros(x.shape, x.dtype)
        if recorded:
            replay = be.capture(lambda: be.apply(f, a, out=out))
            be.put(out, np.zeros_like(x))
            replay()
        else:
            be.apply(f, a, out=out)
        return np.array(be.to_host(out))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_within_one_unit_of_the_truth(name: str, dtype: str) -> None:
    x = numbers(dtype)
    y = applied(CPU(), FUNCTIONS[name], x)
    finite = np.isfinite(x)
    errors = [error(name, float(a), float(b), dtype) for a, b in zip(x[finite], y[finite], strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] < LIMITS[name, dtype], (x[finite][worst], y[finite][worst])
    near = pytest.importorskip("scipy.special")
    np.testing.assert_allclose(y, getattr(near, name)(x), rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_way_to_compute_them_gives_the_same_bits(name: str, dtype: str) -> None:
    """Called, applied, recorded, on the CUDA backend, in place, with gaps, and one by one."""
    f, x = FUNCTIONS[name], numbers(dtype)
    wanted = f(x)
    assert wanted.dtype == dtype and not np.shares_memory(wanted, x)
    tiny = 2.0**-126 if dtype == "float32" else 0.0  # which a GPU takes for 0 in float32
    for be in (CPU(), device()):
        for recorded in (False, True):
            got = applied(be, f, x, recorded)
            seen = np.ones(x.shape, bool) if be.name == "cpu" else (np.abs(x) >= tiny) & (np.abs(wanted) >= tiny)
            np.testing.assert_array_equal(got[seen], wanted[seen])
            assert (np.signbit(got) == np.signbit(wanted))[seen & ~np.isnan(x)].all()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tiny)
    be, place = CPU(), np.array(x)
    np.testing.assert_array_equal(be.apply(f, place, out=place), wanted)
    wide = np.zeros((3, 2 * len(x)), dtype)
    np.testing.assert_array_equal(be.apply(f, np.stack([x] * 3), out=wide[:, ::2]), np.stack([wanted] * 3))
    np.testing.assert_array_equal(
        be.apply(f, wide[:, ::2], out=np.empty((3, len(x)), dtype)), f(np.array(wide[:, ::2]))
    )
    shifted = np.array(x)
    np.testing.assert_array_equal(be.apply(f, shifted[:-1], out=shifted[1:]), wanted[:-1])
    if dtype == "float64":
        assert [float(f(float(a))) for a in x[::50]] == wanted[::50].tolist()
        mask, whole = np.array([True, False]), np.array([1, 0])
        assert be.apply(f, mask, out=np.empty(2)).tolist() == f(whole).tolist() == f(whole.astype(float)).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loops_have_the_bits_of_passes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One function alone is worth a loop, and formulas with others are joined."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    x = numbers(dtype)
    formulas = [erf, erfc, lambda x: x * (0.5 * erfc(-0.7 * x)), lambda x: erf(exp(x) * 0.5) * exp(-x * x)]
    for f in formulas:
        wanted, be, out = applied(CPU(), f, x), CPU(), np.empty_like(x)
        with be.active():
            record = be.capture(lambda be=be, f=f, out=out: be.apply(f, x, out=out))
            for _ in range(3):
                record()
            record.settle()
            for _ in range(3):
                out[...] = 0
                record()
        np.testing.assert_array_equal(out, wanted)
    found = fuse("erf", trace(erf, 1), [x], [out], ORDINARY)
    assert found is not None
    loop = found[0].loop
    loop.compile()
    block, function = loop.bound(found[1])
    function(ctypes.c_void_p(block.ctypes.data))
    np.testing.assert_array_equal(out, erf(x))


def test_a_step_allocates_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of the passes is the record's, without Numba too."""
    be, x = CPU(), np.linspace(-3, 3, 40000).reshape(200, 200)
    be.native = False
    out = np.empty((200, 400))[:, ::2]
    with be.active():
        replay = be.capture(lambda: be.apply(lambda x: erf(x) * x, x, out=out))
        wanted, out[...] = np.array(out), 0
        for name in ("empty", "zeros", "array"):
            monkeypatch.setattr(np, name, None)
        be.forget_scratch()
        replay()
        monkeypatch.undo()
    np.testing.assert_array_equal(out, wanted)


def test_on_cuda_without_a_kernel_of_its_own() -> None:
    """A sum over what is the same all along a row makes no kernel."""
    be = device()
    x = np.linspace(-1, 1, 6).reshape(3, 2)
    with be.active():
        out = be.zeros((3, 1), "float64")
        be.apply(lambda x, c: erf(row_sum(c * 2.0)) + erfc(x), be.to_device(x[:, :1]), be.to_device(x[:, 1:]), out=out)
        got = be.to_host(out)
    np.testing.assert_allclose(got, erf(2 * x[:, 1:]) + erfc(x[:, :1]), rtol=1e-15)


def test_their_derivatives() -> None:
    """erf' = (2/√π) e^(-x²), by the largest of differences."""
    x = np.linspace(-3, 3, 61)
    slope = (erf(x + 1e-5) - erf(x - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, 2 / math.sqrt(math.pi) * np.exp(-x * x), atol=1e-9)
    np.testing.assert_array_equal(erf(x) > 0, x > 0)
    np.testing.assert_allclose(erf(x) + erfc(x), 1.0, rtol=1e-15)
