"""Formulas as ONNX nodes: every operation, also where numbers are special, rows, constants, and tiny numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_runs import as_trained, compare_anywhere

import gpubp as bp
from gpubp.formula import equal, erf, erfc, exp, expm1, fmax, fmin, log1p, maximum, row_max, row_sum, sign
from gpubp.interop.onnx_out.formulas import formula
from gpubp.interop.onnx_out.graph import Graph, Value
from random_formulas import Formula, formulas, values

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def by_onnx(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """What onnxruntime computes of a formula, without its optimizations, some of which change last bits."""
    shape = arrays[0].shape
    g = Graph({}, arrays[0].dtype)
    xs = [Value(g.named(f"x{i}"), shape) for i in range(len(arrays))]
    y = g.handed_out(formula(g, function, *xs), "y")
    model = g.model([g.tensor(x.name, g.dtype, x.shape) for x in xs], [y], {}, "formula")
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {f"x{i}": a for i, a in enumerate(arrays)})[0]


def by_gpubp(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    out = np.empty_like(arrays[0])
    with np.errstate(all="ignore"):
        bp.get_backend("cpu").apply(function, *arrays, out=out)
    return out


@DTYPES
@settings(max_examples=40, deadline=None)
@given(made=formulas(), seed=st.integers(0, 99))
def test_random_formulas_have_the_same_bits(dtype: str, made: Formula, seed: int) -> None:
    one = Formula(made.inputs, made.steps, made.outputs[:1])
    rng = np.random.default_rng(seed)
    arrays = [values(rng, (4, 5), dtype) for _ in range(made.inputs)]
    np.testing.assert_array_equal(by_onnx(one, *arrays), by_gpubp(one, *arrays))


FORMULAS = {
    "expm1": lambda x: expm1(x) / x,
    "log1p": lambda x: log1p(x) / x,
    "log1p of exp": lambda x: log1p(exp(-abs(x))),
    "softmax": lambda x: exp(x - row_max(x)) / row_sum(exp(x - row_max(x))),
    "a row's sum": lambda x: row_sum(x),
    "a constant": lambda x: 0.5,
    "x": lambda x: x,
    "a comparison": lambda x: x > 0.25,
    "equal": lambda x: equal(x, 0.0) * 3.0,
    "sign": lambda x: sign(x) * 1e-3,
    "beyond float32": lambda x: maximum(x, -1e300) * (x > 1e300),
    "erf": lambda x: erf(x) + erf(x - 0.7) * 1e-3,
    "erfc": lambda x: erfc(0.8 * x) * erfc(0.3 - x),
    "fmax, fmin": lambda x: fmax(x, 0.5) + fmin(0.25, x) * fmin(x, x / x),
}


@DTYPES
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_has_the_numbers_of_gpubp(name: str, dtype: str) -> None:
    sizes = 10.0 ** np.arange(-30, 2)
    X = np.array([*sizes, *-sizes / 20, 0.3, -0.3, 0.0, -0.0, np.nan, np.inf, -np.inf, -1.0], dtype).reshape(-1, 1)
    if "row" in name or name == "softmax":
        X = np.random.default_rng(0).normal(size=(7, 5)).astype(dtype)
    rtol = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(by_onnx(FORMULAS[name], X), by_gpubp(FORMULAS[name], X), rtol=rtol, atol=1e-37)


class OwnSoftmax(bp.Activation):
    def f(self, x):
        e = exp(x - row_max(x))
        return e / row_sum(e)

    def df(self, x, y, dy):
        return y * (dy - row_sum(y * dy))


def test_a_formula_of_rows_is_over_the_channels_of_images(tmp_path: Any) -> None:
    layers = bp.Sequential(bp.Conv2D(3, 2), OwnSoftmax(), bp.Conv2D(2, 2), bp.ReLU())
    net = as_trained(bp.Network(layers, (5, 4, 2), device="cpu"))
    compare_anywhere(net, tmp_path, np.random.default_rng(0).normal(size=(7, 5, 4, 2)).astype(np.float32), 1e-5)
