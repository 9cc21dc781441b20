"""GELU of float32 numbers: how near it is to the truth, and where it is computed by the formula of its page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp
from gpubp.backends import CPU, Backend
from gpubp.backends.cpu import compiled
from gpubp.backends.lowering import traced
from gpubp.formula import trace

special = pytest.importorskip("scipy.special")

RANGES = [(0.0, 1e-6), (0.0, 0.1), (0.1, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, 8.0), (8.0, 12.8), (12.8, 100.0)]


def numbers(rng: np.random.Generator, count: int = 20000) -> np.ndarray:
    """Of both signs; 0, and what is next to the ends of float32."""
    parts = [rng.uniform(low, high, count) for low, high in RANGES]
    ends = [0.0, 1e-45, 1e-38, 1e-30, 1e19, 3e38]
    x = np.concatenate([*parts, ends]).astype("float32")
    return np.concatenate([x, -x])


def computed(be: Backend, f: Any, *inputs: np.ndarray) -> np.ndarray:
    with be.active():
        arrays = [be.to_device(a) for a in inputs]
        return np.array(be.to_host(be.apply(f, *arrays, out=be.zeros(inputs[0].shape, "float32"))))


def truth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x Φ(x) and its derivative Φ + x φ, by float64"""
    wide = x.astype(np.float64)
    below = np.exp(special.log_ndtr(wide))
    with np.errstate(over="ignore"):
        density = np.exp(-0.5 * wide * wide) / np.sqrt(2.0 * np.pi)
    return wide * below, below + wide * density


def test_gelu_is_near_the_truth_over_all_of_float32(rng: np.random.Generator) -> None:
    """Within 6 units of the last place, and x²/2 more where x is below 0: there PyTorch's has no place at all."""
    x = numbers(rng)
    y_true, slope_true = truth(x)
    unit = np.spacing(np.maximum(np.abs(y_true), 2.0**-126).astype("float32")).astype(np.float64)
    far = np.minimum(np.where(x < 0, x.astype(np.float64) ** 2 / 2, 0.0), 100.0)
    for be in (CPU(), device()):
        y = computed(be, bp.GELU().f, x)
        seen = (y_true == 0) | (np.abs(y_true) >= 2.0**-126)  # others may be 0 on a GPU
        assert (np.abs(y - y_true) <= (6.0 + far) * unit)[seen].all()
        np.testing.assert_allclose(y[~seen], y_true[~seen], rtol=0, atol=2.0**-125)
        slope = computed(be, bp.GELU().df, x, y, np.ones_like(x))
        np.testing.assert_allclose(slope, slope_true, rtol=0, atol=2.5e-7)
        left = x < -1.0
        np.testing.assert_allclose(slope[left], slope_true[left], rtol=1e-5, atol=2.0**-125)
    assert computed(CPU(), bp.GELU().df, x[x == 0], x[x == 0], np.ones(2, "float32")).tolist() == [0.5, 0.5]


def test_far_below_zero_gelu_is_nearer_than_by_erfc(rng: np.random.Generator) -> None:
    x = -rng.uniform(2.0, 12.0, 20000).astype("float32")
    y_true, _ = truth(x)
    errors = [np.abs(y / y_true - 1) for y in (computed(CPU(), bp.GELU().f, x), bp.GELU().f(x))]
    assert errors[0].max() < 0.6 * errors[1].max() and errors[0].mean() < 0.6 * errors[1].mean()


def test_every_way_to_compute_it_gives_the_same_bits(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call by call, recorded, and compiled where Numba is installed."""
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    x = numbers(rng, 200)
    dy = rng.normal(size=x.shape).astype("float32")
    y = computed(CPU(), bp.GELU().f, x)
    for f, inputs in ((bp.GELU().f, (x,)), (bp.GELU().df, (x, y, dy))):
        wanted, be, out = computed(CPU(), f, *inputs), CPU(), np.empty_like(x)
        with be.active():
            record = be.capture(lambda be=be, f=f, inputs=inputs, out=out: be.apply(f, *inputs, out=out))
            for replay in range(6):
                out[...] = 0
                record()
                np.testing.assert_array_equal(out, wanted)
                if replay == 2 and be.native:
                    record.settle()


def test_float64_and_exact_numerics_have_the_formula_of_its_page() -> None:
    """So has whatever shows the formula or writes it to a file."""
    for f, inputs in ((bp.GELU().f, 1), (bp.GELU().df, 3)):
        page = trace(f, inputs)
        assert any(step.operation == "erfc" for step in page.steps)
        assert traced(f, inputs, 1) == traced(f, inputs, 1, "ordinary", "float64") == page
        assert any(step.operation == "erfc" for step in traced(f, inputs, 1, "exact", "float32").steps)
        short = traced(f, inputs, 1, "ordinary", "float32")
        assert all(step.operation != "erfc" for step in short.steps)
        assert short.read() == page.read()
