"""Activations compared with Python's math module, one number at a time."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import gpubp as bp

XS = [-700.0, -40.0, -3.0, -0.5, -1e-9, 0.0, 1e-9, 0.7, 2.5, 40.0, 700.0]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else math.exp(x)


SLOW: list[tuple[bp.Activation, Callable[[float], float]]] = [
    (bp.Sigmoid(), sigma),
    (bp.Tanh(), math.tanh),
    (bp.ReLU(), lambda x: x if x > 0 else 0.0),
    (bp.LeakyReLU(0.1), lambda x: x if x > 0 else 0.1 * x),
    (bp.LeakyReLU(2.0), lambda x: x if x > 0 else 2.0 * x),
    (bp.ELU(1.5), lambda x: x if x > 0 else 1.5 * math.expm1(x)),
    (bp.Softplus(), lambda x: x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))),
    (bp.SiLU(), lambda x: x * sigma(x)),
    (bp.GELU(), lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
]


@pytest.mark.parametrize(("layer", "slow"), SLOW, ids=lambda v: repr(v) if isinstance(v, bp.Activation) else "")
def test_formulas_agree_with_the_standard_library(layer: bp.Activation, slow: Callable[[float], float]) -> None:
    net = bp.Network(layer, len(XS), device="cpu", dtype="float64")
    y = net.predict([XS])[0]
    assert y == pytest.approx([slow(x) for x in XS], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("layer", "slow"), SLOW, ids=lambda v: repr(v) if isinstance(v, bp.Activation) else "")
def test_derivatives_do_not_overflow(layer: bp.Activation, slow: Callable[[float], float]) -> None:
    for dtype in ("float32", "float64"):
        x = np.array(XS, dtype)
        with np.errstate(all="ignore"):
            y = layer.f(x)
            assert np.isfinite(layer.df(x, y, np.ones_like(x))).all()


@pytest.mark.parametrize("layer", [layer for layer, _ in SLOW], ids=repr)
def test_nan_stays_nan(layer: bp.Activation) -> None:
    assert math.isnan(layer.f(math.nan))


def test_relu_takes_the_derivative_at_zero_as_zero() -> None:
    assert float(bp.ReLU().df(0.0, 0.0, 1.0)) == 0.0
