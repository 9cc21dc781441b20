"""SimpleRNN, LSTM, GRU and Bidirectional against loops over single numbers, PyTorch, and examples worked by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from math import log, tanh
from typing import Any

import numpy as np
import pytest
from layer_runs import Numbers, bound, drawn, run

import gpubp as bp
from gpubp.backends import CPU
from gpubp.layers import Recurrent
from recurrent_elsewhere import in_torch

KINDS = (bp.SimpleRNN, bp.LSTM, bp.GRU)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
VARIANTS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"reverse": True},
    {"return_sequences": True, "reverse": True, "initial_state": "learned"},
]
variants = pytest.mark.parametrize("options", VARIANTS, ids=str)
LENGTHS = [5, 1, 3, 4]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def slow_states(layer: Recurrent, p: Numbers, x: np.ndarray) -> np.ndarray:
    """All states (T, m) of one row (T, n), number by number."""
    T, n, m = len(x), x.shape[1], layer.units
    h, c = (np.array(p.get(name, np.zeros(m))) for name in ("h0", "c0"))
    states = np.zeros((T, m))
    for t in reversed(range(T)) if layer.reverse else range(T):
        a = [sum(x[t, i] * p["W"][i, j] for i in range(n)) + p["b"][j] for j in range(len(p["b"]))]
        u = [sum(h[i] * p["U"][i, j] for i in range(m)) for j in range(len(p["b"]))]
        for j in range(m):
            if isinstance(layer, bp.SimpleRNN):
                states[t, j] = tanh(a[j] + u[j])
            elif isinstance(layer, bp.LSTM):
                zi, zf, zg, zo = (a[k * m + j] + u[k * m + j] for k in range(4))
                c[j] = sigmoid(zf) * c[j] + sigmoid(zi) * tanh(zg)
                states[t, j] = sigmoid(zo) * tanh(c[j])
            else:
                r, z = (sigmoid(a[k * m + j] + u[k * m + j]) for k in range(2))
                new = tanh(a[2 * m + j] + r * (u[2 * m + j] + p["b_U"][j]))
                states[t, j] = z * h[j] + (1 - z) * new
        h = states[t].copy()
    return states


@variants
@kinds
def test_states_agree_with_loops(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    layer, x = kind(3, **options), rng.normal(size=(4, 5, 2))
    p = drawn(layer, x.shape, rng)
    found, masked = run(layer, p, x)[0], run(layer, p, x, lengths=LENGTHS)[0]
    for b, length in enumerate(LENGTHS):
        all_steps, own_steps = slow_states(layer, p, x[b]), slow_states(layer, p, x[b, :length])
        if not layer.return_sequences:
            all_steps, own_steps = all_steps[0 if layer.reverse else -1], own_steps[0 if layer.reverse else -1]
        np.testing.assert_allclose(found[b], all_steps, rtol=0, atol=1e-14)
        y = masked[b, :length] if layer.return_sequences else masked[b]
        np.testing.assert_allclose(y, own_steps, rtol=0, atol=1e-14)


def test_a_simple_rnn_worked_by_hand() -> None:
    """One unit, two steps, all weights 1, and x such that z = ln 2 and ln 3, whose tanh is 0.6 and 0.8.

    dy = 1: dz₂ = 1 - 0.8² = 0.36, dz₁ = 0.36 (1 - 0.6²) = 0.2304.
    """
    x = np.array([log(2), log(3) - 0.6]).reshape(1, 2, 1)
    y, dx, g = run(bp.SimpleRNN(1), {"W": 1.0, "U": 1.0, "b": 0.0}, x)
    assert y.item() == pytest.approx(0.8) and dx.ravel() == pytest.approx([0.2304, 0.36])
    assert g["W"].item() == pytest.approx(0.2304 * log(2) + 0.36 * (log(3) - 0.6))
    assert g["U"].item() == pytest.approx(0.36 * 0.6) and g["b"].item() == pytest.approx(0.5904)


def test_an_lstm_worked_by_hand() -> None:
    """One unit, one step, x = 1: i = σ(ln 3) = ¾, f = σ(0) = ½, g = tanh(ln 2) = 0.6, o = ¾; c = ½ c₀ + 0.45."""
    layer = bp.LSTM(1, initial_state="learned")
    p = {"W": [[log(3), 0.0, log(2), log(3)]], "U": np.zeros((1, 4)), "b": 0.0, "h0": 0.0, "c0": 0.3}
    y, dx, g = run(layer, p, np.ones((1, 1, 1)))
    s = tanh(0.6)
    dc = 0.75 * (1 - s * s)
    assert y.item() == pytest.approx(0.75 * s)
    expected = [dc * 0.6 * 3 / 16, dc * 0.3 / 4, dc * 0.75 * 0.64, s * 3 / 16]
    assert g["b"] == pytest.approx(expected) and g["c0"].item() == pytest.approx(dc / 2) and g["h0"].item() == 0
    assert dx.item() == pytest.approx(float(np.dot(p["W"][0], expected)))  # type: ignore[index]


def test_a_gru_worked_by_hand() -> None:
    """One unit, one step, x = 1, h₀ = 1: r = σ(0) = ½, z = σ(ln 3) = ¾, n = tanh(½ · 2 ln 2) = 0.6, h = ¾ + ¼ · 0.6."""
    layer = bp.GRU(1, initial_state="learned")
    p = {"W": [[0.0, log(3), 0.0]], "U": np.zeros((1, 3)), "b": 0.0, "b_U": 2 * log(2), "h0": 1.0}
    y, dx, g = run(layer, p, np.ones((1, 1, 1)))
    dn = 0.25 * 0.64
    assert y.item() == pytest.approx(0.9)
    assert g["b"] == pytest.approx([dn * 2 * log(2) / 4, 0.4 * 3 / 16, dn])
    assert g["b_U"].item() == pytest.approx(dn / 2) and g["h0"].item() == pytest.approx(0.75)
    assert dx.item() == pytest.approx(log(3) * 0.4 * 3 / 16)


@variants
@kinds
def test_gradients_are_right_with_lengths(kind: Any, options: dict[str, Any]) -> None:
    layer = kind(3, **options)
    assert layer.over_time == bp.Bidirectional(layer).over_time == ("keeps" if layer.return_sequences else "ends")
    bp.gradcheck(layer, (4, 4, 2), lengths=[0, 4, 2, 1], directions=2)


def test_a_single_step_and_both_directions_have_right_gradients() -> None:
    bp.gradcheck(bp.Bidirectional(bp.GRU(2)), (2, 1, 1), lengths=[1, 0], directions=1)
    bp.gradcheck(bp.Bidirectional(bp.SimpleRNN(2, return_sequences=True)), (2, 3, 1), lengths=[3, 2], directions=1)


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
@variants
@kinds
def test_packed_sequences_of_pytorch_agree(
    kind: Any, options: dict[str, Any], both: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    layer = bp.Bidirectional(kind(3, **options)) if both else kind(3, **options)
    x = rng.normal(size=(4, 5, 2))
    p = drawn(layer, x.shape, rng)
    leaves = {name: torch.tensor(a, requires_grad=True) for name, a in {"x": x, **p}.items()}
    named = {name: a for name, a in leaves.items() if name != "x"}
    theirs = in_torch(layer, LENGTHS)(torch, named, leaves["x"])
    live = (np.arange(5) < np.array(LENGTHS)[:, None])[..., None] if options.get("return_sequences") else 1.0
    dy = rng.normal(size=tuple(theirs.shape)) * live
    theirs.backward(torch.tensor(dy))
    y, dx, g = run(layer, p, x, dy, LENGTHS)
    np.testing.assert_allclose(y * live, theirs.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, leaves["x"].grad.numpy(), rtol=0, atol=1e-12)
    for name, a in g.items():
        np.testing.assert_allclose(a, named[name].grad.numpy(), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.parametrize(("kind", "written"), [(bp.SimpleRNN, 0), (bp.LSTM, 4), (bp.GRU, 4)])
def test_numpy_writes_only_gradients_of_parts_with_gaps(
    kind: Any, written: int, lengths: Any, rng: np.random.Generator
) -> None:
    """Each as a part of da_t or du_t, once: NumPy is several times slower where rows lie apart."""
    be, layer, x = CPU(), kind(3), rng.normal(size=(4, 5, 2))
    be.native = False
    ws, _ = bound(layer, drawn(layer, x.shape, rng), x, lengths, be)
    record: Any = be.capture(lambda: ws.run_forward(x) is ws.run_backward(np.ones((4, 3))))
    outs = [call.kwargs["out"] for call in record.calls if isinstance(call.function, np.ufunc)]
    assert sum(not out.flags.c_contiguous for out in outs) == written * 5


@kinds
def test_a_longer_padding_changes_nothing(kind: Any, rng: np.random.Generator) -> None:
    layer = kind(3, return_sequences=True)
    x = rng.normal(size=(4, 9, 2))
    p = drawn(layer, x.shape, rng)
    dy = rng.normal(size=(4, 9, 3)) * (np.arange(9) < np.array(LENGTHS)[:, None])[..., None]
    short, long = run(layer, p, x[:, :5].copy(), dy[:, :5].copy(), LENGTHS), run(layer, p, x, dy, LENGTHS)
    for b, length in enumerate(LENGTHS):
        for mine, other in zip(short[:2], long[:2], strict=True):
            np.testing.assert_allclose(mine[b, :length], other[b, :length], rtol=0, atol=1e-15)
    for name, a in short[2].items():
        np.testing.assert_allclose(a, long[2][name], rtol=0, atol=1e-14)


def test_a_reversed_layer_reads_backwards_and_keeps_the_order(rng: np.random.Generator) -> None:
    layer, x = bp.GRU(3, return_sequences=True), rng.normal(size=(2, 4, 2))
    p = drawn(layer, x.shape, rng)
    forward = run(layer, p, x[:, ::-1].copy())[0]
    backward = run(dataclasses.replace(layer, reverse=True), p, x)[0]
    np.testing.assert_allclose(backward, forward[:, ::-1], rtol=0, atol=1e-15)


def test_first_values() -> None:
    net = bp.Network(bp.LSTM(3, forget_bias=0.5), (4, 2), device="cpu")
    assert net.parameters["b"].tolist() == [0.0] * 3 + [0.5] * 3 + [0.0] * 6
    np.testing.assert_allclose(net.parameters["U"] @ net.parameters["U"].T, np.eye(3), atol=1e-6)
    net = bp.Network(bp.GRU(3, initial_state="learned"), (4, 2), device="cpu")
    assert not net.parameters["h0"].any() and not net.parameters["b_U"].any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.GRU(0), "GRU needs units to be a whole number, 1 or more, and got 0"),
        (lambda: bp.LSTM(3, initial_state="ones"), 'LSTM needs initial_state to be "zeros", or "learned", and got'),
        (lambda: bp.LSTM(3, forget_bias=math.nan), "LSTM needs forget_bias to be a number"),
        (lambda: bp.SimpleRNN(3, reverse=2), "SimpleRNN needs reverse to be True or False"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_wrong_layers_and_inputs_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Bidirectional needs a recurrent layer, such as GRU\(64\), and got Dense\(3"):
        bp.Bidirectional(bp.Dense(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write GRU\(...\)"):
        bp.Bidirectional(bp.GRU)  # type: ignore[arg-type]
    for layer in (bp.GRU(3), bp.Bidirectional(bp.LSTM(3))):
        with pytest.raises(
            bp.ShapeError, match=r"expects sequences, \(batch, time, numbers\), and got the shape \(1, 4"
        ):
            bp.Network(layer, 4, device="cpu")


@kinds
def test_workers_give_the_numbers_of_one(kind: Any, rng: np.random.Generator) -> None:
    x, t = rng.normal(size=(8, 5, 3)), rng.integers(0, 2, 8)
    found: list[Sequence[float]] = []
    for workers in (1, 2):
        layers = bp.Sequential(bp.Bidirectional(kind(4, return_sequences=True)), kind(3), bp.Dense(2))
        net = bp.Network(layers, (5, 3), device="cpu", dtype="float64", seed=3)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=4, workers=workers)
        found.append(trainer.fit(x, t, epochs=3, verbose=False)["loss"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    assert found[0][-1] < found[0][0]


@kinds
def test_saved_and_frozen(kind: Any, rng: np.random.Generator, tmp_path: Any) -> None:
    x, t = rng.normal(size=(6, 5, 3)), rng.normal(size=(6, 2))
    layers = bp.Sequential(kind(4, return_sequences=True, initial_state="learned"), bp.LastStep(), bp.Dense(2))
    net = bp.Network(layers, (5, 3), device="cpu", seed=3)
    net.save(tmp_path / "net.safetensors")
    other = bp.load(tmp_path / "net.safetensors", device="cpu")
    assert repr(other.layers) == repr(layers)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    for frozen in ("0.*", "0.U"):
        other.unfreeze()
        other.freeze(frozen)
        before = {name: a.copy() for name, a in other.parameters.items()}
        bp.Trainer(other, bp.MeanSquaredError(), bp.SGD(0.1)).fit(x, t, epochs=3, verbose=False)
        for name, a in other.parameters.items():
            assert np.array_equal(a, before[name]) == name.startswith(frozen.rstrip("*")), name
