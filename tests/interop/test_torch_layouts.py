"""Weights of PyTorch against its documented formulas, in NumPy: these tests need no PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ExportError, ModelFileError

RNG = np.random.default_rng(0)
State = dict[str, np.ndarray]


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def network(layers: bp.Layer, shape: tuple[int, ...]) -> bp.Network:
    return bp.Network(layers, shape, device="cpu", dtype="float64")


def same(net: bp.Network, x: np.ndarray, y: np.ndarray) -> None:
    np.testing.assert_allclose(net.predict(x), y, rtol=1e-12, atol=1e-12)


def test_a_linear_by_hand() -> None:
    """y = x Aᵀ + b"""
    net = network(bp.Dense(2), (3,))
    net.load_torch({"weight": np.array([[1.0, 2, 3], [4, 5, 6]]), "bias": np.array([10.0, 20])})
    assert net.predict([[1.0, 10, 100]]).tolist() == [[331.0, 674.0]]
    assert net.to_torch_state()["weight"].tolist() == [[1.0, 2, 3], [4, 5, 6]]


def test_a_linear_behind_a_flattened_map_by_hand() -> None:
    """A map of 1 x 2 pixels and 2 channels: PyTorch counts (channel, pixel), gpubp (pixel, channel)."""
    net = network(bp.Sequential(bp.Flatten(), bp.Dense(1)), (1, 2, 2))
    report = net.load_torch({"1.weight": np.array([[1.0, 10, 100, 1000]]), "1.bias": np.zeros(1)})
    # channel 0 has the pixels 2, 3 and channel 1 the pixels 5, 7: 2 + 30 + 500 + 7000
    assert net.predict([[[[2.0, 5.0], [3.0, 7.0]]]]).tolist() == [[7532.0]]
    assert net.parameters["1.W"].ravel().tolist() == [1.0, 100, 10, 1000]
    assert net.to_torch_state()["1.weight"].tolist() == [[1.0, 10, 100, 1000]]
    assert "(C, H, W)" in report.taken[0].notes[0]


def test_rows_that_are_no_maps_stay() -> None:
    """Pictures without an axis of channels, and steps of a sequence, are flattened alike in both."""
    weight = RNG.normal(size=(2, 12))
    for shape, below in (((3, 4), []), ((3, 4), [bp.LayerNorm(0.5)]), ((2, 6, 1), [])):
        net = network(bp.Sequential(*below, bp.Flatten(), bp.Dense(2, use_bias=False)), shape)
        state = {f"{1 + len(below)}.weight": weight}
        if below:
            state |= {"0.weight": np.ones(4), "0.bias": np.zeros(4)}
        net.load_torch(state)
        np.testing.assert_array_equal(net.parameters[f"{1 + len(below)}.W"], weight.T)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution(groups: int) -> None:
    """out[n, o] = bias[o] + Σ_c weight[o, c] * input[n, c], a correlation, the channels in groups"""
    weight, bias, x = RNG.normal(size=(4, 4 // groups, 2, 3)), RNG.normal(size=4), RNG.normal(size=(2, 5, 6, 4))
    net = network(bp.Conv2D(4, (2, 3), groups=groups), (5, 6, 4))
    net.load_torch({"weight": weight, "bias": bias})
    y = np.zeros((2, 4, 4, 4))
    for n, h, w, o in np.ndindex(2, 4, 4, 4):
        k = o // (4 // groups) * (4 // groups)
        y[n, h, w, o] = bias[o] + sum(
            (weight[o, c] * x[n, h : h + 2, w : w + 3, k + c]).sum() for c in range(4 // groups)
        )
    same(net, x, y)


def test_a_convolution_over_time() -> None:
    weight, x = RNG.normal(size=(3, 2, 2)), RNG.normal(size=(2, 5, 2))
    net = network(bp.Conv1D(3, 2), (5, 2))
    report = net.load_torch({"weight": weight})
    y = np.stack([np.einsum("ocj,njc->no", weight, x[:, t : t + 2]) for t in range(4)], axis=1)
    same(net, x, y)
    assert report.taken[0].notes == ("b is 0, because the module has no bias",)


def test_a_batch_normalization_takes_the_running_variance_as_it_is() -> None:
    """y = (x - mean) / √(var + eps) * gamma + beta: var is divided by as it is stored, whatever it was made of."""
    state = {name: RNG.random(3) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")}
    x = RNG.normal(size=(4, 3))
    net = network(bp.BatchNorm(), (3,))
    net.load_torch(state | {"num_batches_tracked": np.array(7)}, strict=True)
    y = (x - state["running_mean"]) / np.sqrt(state["running_var"] + 1e-5) * state["weight"] + state["bias"]
    same(net, x, y)
    bare = network(bp.BatchNorm(eps=1e-3), (3,))
    report = bare.load_torch({name: state[name] for name in ("running_mean", "running_var")})
    same(bare, x, (x - state["running_mean"]) / np.sqrt(state["running_var"] + 1e-3))
    assert any("eps is 0.001 here" in note for note in report.taken[0].notes)
    with pytest.raises(ModelFileError, match="running_mean and running_var"):
        network(bp.BatchNorm(), (3,)).load_torch({"weight": np.ones(3), "bias": np.ones(3)})


def cells(kind: str, state: State, x: np.ndarray, suffix: str, m: int) -> np.ndarray:
    """All states of one direction, by the formulas of torch.nn.RNN, LSTM and GRU."""
    W, U, b, c = (state[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, memory, states = np.zeros((len(x), m)), np.zeros((len(x), m)), []
    steps = range(x.shape[1]) if not suffix else reversed(range(x.shape[1]))
    for t in steps:
        a, u = x[:, t] @ W.T + b, h @ U.T + c
        if kind == "SimpleRNN":
            h = np.tanh(a + u)
        elif kind == "LSTM":
            i, f, g, o = np.split(a + u, 4, axis=1)
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(memory)
        else:
            (ar, az, an), (ur, uz, un) = np.split(a, 3, axis=1), np.split(u, 3, axis=1)
            r, z = sigmoid(ar + ur), sigmoid(az + uz)
            h = (1 - z) * np.tanh(an + r * un) + z * h
        states.append(h)
    return np.stack(states if not suffix else states[::-1], axis=1)


KINDS = {"SimpleRNN": (bp.SimpleRNN, 1), "LSTM": (bp.LSTM, 4), "GRU": (bp.GRU, 3)}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("turned", [False, True])
def test_recurrent_layers(kind: str, turned: bool) -> None:
    """One direction, two, and two of which gpubp has the backward one first: then the halves change places."""
    layer, parts = KINDS[kind]
    n, m, x = 3, 2, RNG.normal(size=(4, 5, 3))
    shapes = {
        "weight_ih": (parts * m, n),
        "weight_hh": (parts * m, m),
        "bias_ih": (parts * m,),
        "bias_hh": (parts * m,),
    }
    state = {f"{name}_l0{s}": RNG.normal(size=shape) for s in ("", "_reverse") for name, shape in shapes.items()}
    both = network(bp.Bidirectional(layer(m, return_sequences=True, reverse=turned)), (5, 3))
    report = both.load_torch(state, strict=True)
    ways = [cells(kind, state, x, suffix, m) for suffix in ("", "_reverse")]
    same(both, x, np.concatenate(ways[::-1] if turned else ways, axis=2))
    assert bool(report.taken[0].notes) == turned
    forward = {name: a for name, a in state.items() if "_reverse" not in name}
    one = network(layer(m, reverse=turned), (5, 3))
    report = one.load_torch(forward, strict=True)
    same(one, x[:, ::-1] if turned else x, ways[0][:, -1])
    assert bool(report.taken[0].notes) == turned


def test_a_learned_first_state_is_0_where_pytorch_has_none() -> None:
    net = network(bp.GRU(2, initial_state="learned"), (5, 3))
    net.parameters["h0"][...] = 3.0
    fresh = network(bp.GRU(2), (5, 3)).to_torch_state()
    report = net.load_torch(fresh)
    assert net.parameters["h0"].tolist() == [0, 0] and "h0 is 0" in report.taken[0].notes[0]


def test_attention() -> None:
    """torch.nn.MultiheadAttention, its biases of keys and values included."""
    n, heads, x = 6, 2, RNG.normal(size=(3, 4, 6))
    state = {
        "in_proj_weight": RNG.normal(size=(3 * n, n)),
        "in_proj_bias": RNG.normal(size=3 * n),
        "out_proj.weight": RNG.normal(size=(n, n)),
        "out_proj.bias": RNG.normal(size=n),
    }
    q, k, v = np.split(x @ state["in_proj_weight"].T + state["in_proj_bias"], 3, axis=2)
    q, k, v = (a.reshape(3, 4, heads, n // heads).transpose(0, 2, 1, 3) for a in (q, k, v))
    scores = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(n // heads))
    o = (scores / scores.sum(axis=3, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(3, 4, n)
    net = network(bp.MultiHeadAttention(heads), (4, n))
    report = net.load_torch(state, strict=True)
    same(net, x, o @ state["out_proj.weight"].T + state["out_proj.bias"])
    assert len(report.taken[0].notes) == 2
    for more in ("bias_k", "q_proj_weight"):
        with pytest.raises(ModelFileError, match="add_bias_kv|kdim"):
            net.load_torch(state | {more: np.zeros((n, n))})


def test_an_output_projection_of_another_module() -> None:
    """`out_proj` is a Linear's name like any other, where no attention is around it."""
    net = network(bp.Sequential(bp.Dense(3), bp.Dense(2)), (4,))
    state = {"block.in_proj.weight": RNG.normal(size=(3, 4)), "block.in_proj.bias": np.zeros(3)}
    state |= {"block.out_proj.weight": RNG.normal(size=(2, 3)), "block.out_proj.bias": np.zeros(2)}
    assert net.load_torch(state, strict=True).complete
    np.testing.assert_array_equal(net.parameters["1.W"], state["block.out_proj.weight"].T)


@pytest.mark.parametrize("form", ["P", "places", "embedding", "batch"])
def test_positions_in_their_forms(form: str) -> None:
    P = RNG.normal(size=(5, 3))
    net = network(bp.Sequential(bp.PositionalEmbedding(5), bp.Dense(2)), (4, 3))
    name = {"P": "0.P", "places": "encoder.places", "embedding": "places.weight", "batch": "places"}[form]
    dense = {"1.weight": np.ones((2, 3)), "1.bias": np.zeros(2)}
    net.load_torch({name: P[None] if form == "batch" else P} | dense, strict=True)
    np.testing.assert_array_equal(net.parameters["0.P"], P)


def test_layers_of_ones_own() -> None:
    """They go out and come back under their own names, as they are."""

    class Scale(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, parameters={"a": bp.Parameter(x[1:], bp.Constant(1.0))}, arrays={"y": x, "dx": x})

        def forward(self, ws: Any, x: Any) -> Any:
            return ws.xp.multiply(x, ws.a, out=ws.y)

        def backward(self, ws: Any, dy: Any) -> Any:
            return ws.xp.multiply(dy, ws.a, out=ws.dx)

    net = network(bp.Sequential(bp.Dense(3), Scale()), (2,))
    net.parameters["1.a"][...] = [1, 2, 3]
    state = net.to_torch_state()
    assert list(state) == ["0.weight", "0.bias", "1.a"]
    again = network(bp.Sequential(bp.Dense(3), Scale()), (2,))
    assert again.load_torch(state, strict=True).complete
    assert again.parameters["1.a"].tolist() == [1, 2, 3]
    del state["1.a"]
    assert "a class that PyTorch has no layer for" in again.load_torch(state).missing["1"]


def test_naming_of_what_goes_out() -> None:
    net = network(bp.Sequential(bp.Dense(3), bp.ReLU(), bp.Dense(2)), (4,))
    assert list(net.to_torch_state({"0": "body.fc", "2.bias": None})) == ["body.fc.weight", "body.fc.bias", "2.weight"]
    assert list(net.to_torch_state(lambda name: f"module.{name}"))[0] == "module.0.weight"
    with pytest.raises(ModelFileError, match="naming has '5'"):
        net.to_torch_state({"5": "x"})


def test_what_goes_out_is_a_copy() -> None:
    net = network(bp.Dense(2), (3,))
    state = net.to_torch_state()
    for a in state.values():
        assert a.flags.c_contiguous and a.flags.owndata and a.flags.writeable
        a[...] = 7
    assert not (net.parameters["W"] == 7).any()


def test_orders_that_contradict_each_other_are_refused() -> None:
    """A flattened map added to what is no map: no Dense of PyTorch has such rows."""
    layers = bp.Sequential(
        bp.Parallel(bp.Flatten(), bp.Sequential(bp.Conv2D(2, 1), bp.Reshape((4, 2)), bp.Flatten()), merge="add"),
        bp.Dense(2),
    )
    net = network(layers, (2, 2, 2))
    with pytest.raises(ExportError, match="order"):
        net.to_torch_state()
    state = {
        "conv.weight": np.zeros((2, 2, 1, 1)),
        "conv.bias": np.zeros(2),
        "fc.weight": np.zeros((2, 8)),
        "fc.bias": np.zeros(2),
    }
    report = net.load_torch(state)
    assert "can't be said" in report.missing["1"] and [one.layer for one in report.taken] == ["0.1.0"]


def test_outputs_and_rows_that_are_flattened_maps_are_told() -> None:
    net = network(bp.Sequential(bp.Conv2D(2, 1), bp.Flatten()), (2, 2, 2))
    report = net.load_torch({"0.weight": np.ones((2, 2, 1, 1)), "0.bias": np.zeros(2)})
    assert any("the outputs are flattened maps" in note for note in report.notes) and "to know" in str(report)
    net = network(bp.Sequential(bp.Reshape((2, 2, 2)), bp.Conv2D(2, 1)), (8,))
    assert any("rows of X" in note for note in net.load_torch({"1.weight": np.ones((2, 2, 1, 1))}).notes)


def test_a_reshape_that_takes_maps_apart_is_told() -> None:
    """How PyTorch's code writes it can't be known; one that keeps the channels last is no question."""
    conv = {"0.weight": np.ones((2, 2, 1, 1)), "0.bias": np.zeros(2)}
    for between, words in (
        ([bp.Reshape((2, 6))], "number by number"),
        ([bp.Flatten(), bp.Reshape((2, 6))], "reads flattened maps"),
        ([bp.Reshape((6, 2))], None),
    ):
        net = network(bp.Sequential(bp.Conv2D(2, 1), *between, bp.LastStep(), bp.Dense(1)), (2, 3, 2))
        notes = net.load_torch(conv).notes
        assert any(words in note for note in notes) if words else notes == ()


def test_states_with_other_things_in_them() -> None:
    """Checkpoints and weights in parts are told apart from a state dict."""
    net = network(bp.Dense(2), (3,))
    good = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    with pytest.raises(ModelFileError, match=r"source\['model'\]"):
        net.load_torch({"epoch": 3, "model": good})
    report = net.load_torch(good | {"parametrizations.weight.original0": np.ones((2, 1)), "weight_g": np.ones((2, 1))})
    assert all("weight_norm" in why for why in report.unused.values()) and len(report.unused) == 2
    with pytest.raises(ModelFileError, match="names are texts"):
        net.load_torch({0: np.ones((2, 3))})
    with pytest.raises(ModelFileError, match="weight"):
        net.load_torch({"weight": np.array([["a"] * 3] * 2), "bias": np.zeros(2)})
    for wrong in (3, None, [1.0], np.zeros(3)):
        with pytest.raises(TypeError, match="load_torch needs"):
            net.load_torch(wrong)


def test_an_exact_network_takes_the_same_bits_everywhere() -> None:
    """The bias of the values goes through WO by sums that are rounded once."""
    pytest.importorskip("numba")
    n = 4
    state = {
        "in_proj_weight": np.ones((12, n)),
        "in_proj_bias": np.full(12, 0.1),
        "out_proj.weight": np.full((n, n), 0.3),
        "out_proj.bias": np.full(n, 0.7),
    }
    net = bp.Network(bp.MultiHeadAttention(2), (3, n), device="cpu", numerics="exact")
    net.load_torch(state)
    from fractions import Fraction

    exact = Fraction(0.7) + 4 * Fraction(0.1 * 0.3)
    assert net.parameters["bO"].tolist() == [float(np.float32(float(exact)))] * n
