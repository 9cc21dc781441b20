"""Weights of recurrent layers in the order of ONNX and Keras, and ONNX's own examples of its RNN, GRU and LSTM nodes.

The expected numbers are those of the formulas in ONNX's operator specification, written here in its letters and its
order of gates. Not expressible are peepholes, initial states row by row, activations other than tanh and σ, and a GRU
with the reset gate in front of the product (linear_before_reset=0) on more than one step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_runs import drawn, run

import gpubp as bp
from recurrent_elsewhere import from_onnx, keras_weights, onnx_weights


def sigma(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def onnx_states(X: np.ndarray, W: np.ndarray, R: np.ndarray, B: np.ndarray, node: str) -> np.ndarray:
    """Y of a node: X (T, B, n), W (k m, n), R (k m, m), B (2 k m,); all states (T, B, m)."""
    m = R.shape[1]
    H = C = np.zeros((X.shape[1], m))
    Wb, Rb = np.split(B, 2)
    Y = []
    for Xt in X:
        x, h = Xt @ W.T + Wb, H @ R.T + Rb
        if node == "RNN":
            H = np.tanh(x + h)
        elif node == "LSTM":
            i, o, f, c = np.split(x + h, 4, axis=1)
            C = sigma(f) * C + sigma(i) * np.tanh(c)
            H = sigma(o) * np.tanh(C)
        else:  # linear_before_reset=1
            (xz, xr, xh), (hz, hr, hh) = np.split(x, 3, axis=1), np.split(h, 3, axis=1)
            z, r = sigma(xz + hz), sigma(xr + hr)
            H = (1 - z) * np.tanh(xh + r * hh) + z * H
        Y.append(H)
    return np.array(Y)


def inputs(kind: str, parts: int) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray]:
    """X, units, W, R and B of ONNX's examples: defaults, with_initial_bias, seq_length and batchwise."""
    rng = np.random.default_rng(1)
    X = np.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    scale, bias, m = 0.1, 0.0, {1: 4, 3: 5, 4: 3}[parts]
    if kind == "with_initial_bias":
        X = np.arange(1.0, 10.0).reshape(1, 3, 3)
        bias = 0.1
    if kind == "seq_length":
        X, m = np.arange(1.0, 19.0).reshape(2, 3, 3), 5
        draw = [rng.normal(size=s) for s in ((parts * m, 3), (parts * m, m), (2 * parts * m,))]
        return X, m, *draw
    if kind == "batchwise":
        X = np.arange(1.0, 7.0).reshape(1, 3, 2)
    n = X.shape[2]
    B = np.concatenate([np.full(parts * m, bias), np.zeros(parts * m)])
    return X, m, np.full((parts * m, n), scale), np.full((parts * m, m), scale), B


@pytest.mark.parametrize("example", ["defaults", "with_initial_bias", "seq_length", "batchwise"])
@pytest.mark.parametrize(("kind", "node"), [(bp.SimpleRNN, "RNN"), (bp.LSTM, "LSTM"), (bp.GRU, "GRU")])
def test_onnx_examples(kind: Any, node: str, example: str) -> None:
    X, m, W, R, B = inputs(example, kind.parts)
    layer = kind(m, return_sequences=True)
    y = run(layer, from_onnx(layer, W, R, B), np.ascontiguousarray(X.transpose(1, 0, 2)))[0]
    np.testing.assert_allclose(y.transpose(1, 0, 2), onnx_states(X, W, R, B, node), rtol=0, atol=1e-14)


def test_the_first_example_of_onnx_worked_by_hand() -> None:
    """All weights 0.1, row (1, 2): every z is 0.3, so that the LSTM has c = σ(0.3) tanh 0.3 = 0.1673."""
    X, m, W, R, B = inputs("defaults", 4)
    layer = bp.LSTM(m)
    y = run(layer, from_onnx(layer, W, R, B), np.ascontiguousarray(X.transpose(1, 0, 2)))[0]
    assert y[0] == pytest.approx([0.0952412] * 3, abs=1e-7)  # σ(0.3) tanh 0.1673


@pytest.mark.parametrize("kind", [bp.SimpleRNN, bp.LSTM, bp.GRU], ids=lambda kind: kind.__name__)
def test_weights_go_to_onnx_and_come_back(kind: Any, rng: np.random.Generator) -> None:
    layer = kind(3)
    p = drawn(layer, (1, 2, 4), rng)
    there = onnx_weights(layer, p)
    back = from_onnx(layer, *(there[name][0] for name in ("W", "R", "B")))
    assert back.keys() == p.keys()
    for name in p:
        np.testing.assert_array_equal(back[name], p[name], err_msg=name)


def test_weights_for_keras(rng: np.random.Generator) -> None:
    """Keras: z = σ(x W_z + h U_z + b_z), r, and h̃ = tanh(x W_h + b_h + r (h U_h + b'_h)), in this order."""
    layer, x = bp.GRU(2, return_sequences=True), rng.normal(size=(1, 3, 2))
    p = drawn(layer, x.shape, rng)
    kernel, recurrent_kernel, bias = keras_weights(layer, p)
    h, states = np.zeros(2), []
    for xt in x[0]:
        (xz, xr, xh), (hz, hr, hh) = np.split(xt @ kernel + bias[0], 3), np.split(h @ recurrent_kernel + bias[1], 3)
        z, r = sigma(xz + hz), sigma(xr + hr)
        h = z * h + (1 - z) * np.tanh(xh + r * hh)
        states.append(h)
    np.testing.assert_allclose(run(layer, p, x)[0][0], states, rtol=0, atol=1e-14)
