"""Attention against loops over single numbers, PyTorch, and an example worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.layers import Context, Values, bind

Named = dict[str, np.ndarray]


def run(
    layer: bp.Layer, p: Named, x: np.ndarray, dy: np.ndarray, lengths: list[int] | None = None
) -> tuple[np.ndarray, Named]:
    """y, and the gradients by name, dx as "x"; twice, since a step's arrays are used again and again."""
    be, gradients = get_backend("cpu"), {name: np.full_like(a, np.nan) for name, a in p.items()}
    mask = None if lengths is None else (np.arange(x.shape[1]) < np.array(lengths)[:, None]).astype(x.dtype)
    context = Context(be, len(x), x.dtype, mask=mask)
    ws = bind(layer, layer.plan(x.shape), context, Values(p, {}, gradients), training=True, wants_dx=True)
    for _ in range(2):
        y = ws.run_forward(x)
        dx = ws.run_backward(dy)
    assert dx is not None
    return y, {"x": dx, **gradients}


def parameters(rng: np.random.Generator, n: int) -> Named:
    """As those of MultiHeadAttention, of steps of n numbers."""
    shapes = {"WQKV": (n, 3 * n), "WO": (n, n), "bQ": (n,), "bO": (n,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def slowly(p: Named, x: np.ndarray, heads: int, causal: bool, lengths: list[int]) -> np.ndarray:
    """Attention by loops over single numbers."""
    B, T, n = x.shape
    d = n // heads
    y = np.zeros_like(x)
    for b in range(B):
        projected = [[sum(x[b, t, i] * p["WQKV"][i, j] for i in range(n)) for j in range(3 * n)] for t in range(T)]
        for t in range(T):
            seen = [u for u in range(lengths[b]) if u <= t or not causal]
            side_by_side = []
            for h in range(heads):
                q = [projected[t][h * d + c] + p["bQ"][h * d + c] for c in range(d)]
                scores = [sum(q[c] * projected[u][n + h * d + c] for c in range(d)) / math.sqrt(d) for u in seen]
                powers = [math.exp(s) for s in scores]
                for c in range(d):
                    values = [projected[u][2 * n + h * d + c] for u in seen]
                    side_by_side.append(sum(e * v for e, v in zip(powers, values, strict=True)) / (sum(powers) or 1.0))
            for j in range(n):
                y[b, t, j] = sum(side_by_side[i] * p["WO"][i, j] for i in range(n)) + p["bO"][j]
    return y


MASKS = pytest.mark.parametrize(
    "lengths", [None, [4, 2, 1], [4, 4, 4], [0, 3, 0]], ids=["no-mask", "lengths", "full", "no-steps"]
)
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both-ways", "causal"])


@MASKS
@CAUSAL
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_the_output_agrees_with_loops(
    heads: int, causal: bool, lengths: list[int] | None, rng: np.random.Generator
) -> None:
    p, x = parameters(rng, 6), rng.normal(size=(3, 4, 6))
    y, _ = run(bp.MultiHeadAttention(heads, causal), p, x, np.ones_like(x), lengths)
    np.testing.assert_allclose(y, slowly(p, x, heads, causal, lengths or [4, 4, 4]), rtol=0, atol=1e-12)


def test_an_example_worked_by_hand() -> None:
    """x = (0, √log 3), and Q = K = x: the scores are 0 0 and 0 log 3, and so P is ½ ½ and ¼ ¾. With V = (0, 4), O is 2
    and 3. dy = (0, 1) gives dV = (¼, ¾), and dS of the second row is ¼ (0 - 3), ¾ (4 - 3)."""
    step = math.sqrt(math.log(3))
    p = {"WQKV": np.array([[1.0, 1.0, 4 / step]]), "WO": np.ones((1, 1)), "bQ": np.zeros(1), "bO": np.zeros(1)}
    x, dy = np.array([[[0.0], [step]]]), np.array([[[0.0], [1.0]]])
    y, gradients = run(bp.MultiHeadAttention(1), p, x, dy)
    np.testing.assert_allclose(y.ravel(), [2, 3], rtol=1e-15)
    dQ, dK, dV = [0, 0.75 * step], [-0.75 * step, 0.75 * step], [0.25, 0.75]
    np.testing.assert_allclose(gradients["WQKV"], [[step * dQ[1], step * dK[1], step * dV[1]]], rtol=1e-14)
    np.testing.assert_allclose(gradients["bQ"], [sum(dQ)], rtol=1e-14)
    dx = [q + k + v * 4 / step for q, k, v in zip(dQ, dK, dV, strict=True)]
    np.testing.assert_allclose(gradients["x"].ravel(), dx, rtol=1e-14)
    causal, _ = run(bp.MultiHeadAttention(1, causal=True), p, x, dy)
    np.testing.assert_allclose(causal.ravel(), [0, 3], rtol=1e-15)


@MASKS
@CAUSAL
@pytest.mark.parametrize(("heads", "T", "n"), [(1, 4, 3), (2, 4, 8), (4, 4, 4), (2, 1, 6)], ids=str)
def test_values_and_gradients_agree_with_pytorch(
    heads: int, T: int, n: int, causal: bool, lengths: list[int] | None, rng: np.random.Generator
) -> None:
    """By scaled_dot_product_attention, which gives 0 where all is masked, in float64 to 1e-10."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    p, x, dy = parameters(rng, n), rng.normal(size=(3, T, n)), rng.normal(size=(3, T, n))
    lengths = None if lengths is None else [min(length, T) for length in lengths]
    present = np.arange(T) < np.array(lengths or [T] * 3)[:, None]
    dy *= present[:, :, None]
    leaves = {name: torch.tensor(a, requires_grad=True) for name, a in {"x": x, **p}.items()}
    q, k, v = (leaves["x"] @ leaves["WQKV"]).split(n, dim=2)
    q, k, v = (a.reshape(3, T, heads, n // heads).transpose(1, 2) for a in (q + leaves["bQ"], k, v))
    looks = torch.tensor(present)[:, None, None] & torch.tensor(np.tri(T, dtype=bool) | (not causal))
    o = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=looks)
    theirs = o.transpose(1, 2).reshape(3, T, n) @ leaves["WO"] + leaves["bO"]
    theirs.backward(torch.tensor(dy))
    y, gradients = run(bp.MultiHeadAttention(heads, causal), p, x, dy, lengths)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=0, atol=1e-10)
    for name, g in gradients.items():
        np.testing.assert_allclose(g, leaves[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


@CAUSAL
def test_it_is_pytorchs_layer_without_the_biases_of_keys_and_values(causal: bool, rng: np.random.Generator) -> None:
    """nn.MultiheadAttention, with padding, whose queries it computes too."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    n, T, lengths = 6, 5, [5, 2, 3]
    p, x, dy = parameters(rng, n), rng.normal(size=(3, T, n)), rng.normal(size=(3, T, n))
    present = np.arange(T) < np.array(lengths)[:, None]
    dy *= present[:, :, None]
    layer = torch.nn.MultiheadAttention(n, 2, batch_first=True).double()
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.tensor(p["WQKV"].T))
        layer.in_proj_bias.copy_(torch.tensor(np.concatenate([p["bQ"], np.zeros(2 * n)])))
        layer.out_proj.weight.copy_(torch.tensor(p["WO"].T))
        layer.out_proj.bias.copy_(torch.tensor(p["bO"]))
    leaf = torch.tensor(x, requires_grad=True)
    ahead = torch.tensor(~np.tri(T, dtype=bool)) if causal else None
    theirs, _ = layer(leaf, leaf, leaf, key_padding_mask=torch.tensor(~present), attn_mask=ahead, need_weights=False)
    theirs.backward(torch.tensor(dy))
    y, gradients = run(bp.MultiHeadAttention(2, causal), p, x, dy, lengths)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=0, atol=1e-10)
    expected = {
        "x": leaf.grad, "WQKV": layer.in_proj_weight.grad.T, "bQ": layer.in_proj_bias.grad[:n],
        "WO": layer.out_proj.weight.grad.T, "bO": layer.out_proj.bias.grad,
    }  # fmt: skip
    for name, g in gradients.items():
        np.testing.assert_allclose(g, expected[name].numpy(), rtol=0, atol=1e-10, err_msg=name)
    bias = layer.in_proj_bias.grad[n : 2 * n].numpy()
    np.testing.assert_allclose(bias, 0, atol=1e-12)  # why keys have none


@CAUSAL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_without_steps_gives_the_bias(dtype: str, causal: bool, rng: np.random.Generator) -> None:
    p = {name: a.astype(dtype) for name, a in parameters(rng, 4).items()}
    x, dy = rng.normal(size=(2, 3, 4)).astype(dtype), rng.normal(size=(2, 3, 4)).astype(dtype)
    dy[1] = 0
    y, gradients = run(bp.MultiHeadAttention(2, causal), p, x, dy, [3, 0])
    assert (y[1] == p["bO"]).all() and not gradients["x"][1].any()
    alone, of_one = run(bp.MultiHeadAttention(2, causal), p, x[:1], dy[:1])
    np.testing.assert_allclose(y[:1], alone, rtol=1e-5 if dtype == "float32" else 1e-13)
    for name, g in of_one.items():
        np.testing.assert_allclose(gradients[name][:1] if name == "x" else gradients[name], g, atol=1e-5)


@CAUSAL
def test_gradients_are_right_with_lengths(causal: bool) -> None:
    """Padding of other numbers changes nothing by a bit, which gradcheck tests too."""
    layer = bp.Sequential(bp.LayerNorm(), bp.MultiHeadAttention(2, causal), bp.Tanh())
    for lengths in ([5, 1, 3, 4], [5, 5, 5, 5], [0, 2, 0, 5]):
        assert max(bp.gradcheck(layer, (4, 5, 4), lengths=lengths).errors.values()) < 1e-7


@pytest.mark.parametrize(
    "layer", [bp.MultiHeadAttention(2), bp.PositionalEncoding(), bp.PositionalEmbedding(9)], ids=repr
)
def test_what_is_no_sequence_is_refused(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match=r"expects sequences, \(batch, time, numbers\), and got the shape \(1, 4\)"):
        bp.Network(layer, input_shape=4, device="cpu")


def test_heads_must_divide_the_numbers_of_a_step() -> None:
    with pytest.raises(bp.ShapeError, match="has 3 heads, which must divide the numbers of a step, and these are 8"):
        bp.Network(bp.MultiHeadAttention(3), input_shape=(5, 8), device="cpu")


def test_a_causal_step_does_not_see_the_steps_after_it(rng: np.random.Generator) -> None:
    net = bp.Network(bp.MultiHeadAttention(2, causal=True), input_shape=(6, 4), device="cpu")
    x = rng.normal(size=(2, 6, 4)).astype("float32")
    before = net.predict(x)
    x[:, 4:] = 1e3
    assert net.predict(x)[:, :4].tobytes() == before[:, :4].tobytes()
    x[:, 0] += 1
    assert (net.predict(x)[:, 0] != before[:, 0]).any()


# -- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 3, 5), (1, 1, 1)], ids=str)
def test_positions_agree_with_loops(shape: tuple[int, int, int]) -> None:
    net = bp.Network(bp.PositionalEncoding(), input_shape=shape[1:], device="cpu", dtype="float64")
    y = net.predict(np.ones(shape))
    for t in range(shape[1]):
        for j in range(shape[2]):
            angle = t / 10000 ** (2 * (j // 2) / shape[2])
            assert y[0, t, j] == pytest.approx(1 + (math.cos(angle) if j % 2 else math.sin(angle)), abs=1e-14)


def test_learned_positions_agree_with_loops(rng: np.random.Generator) -> None:
    """Three steps, of four positions that there are: the last one is not reached, and its gradient is 0."""
    p, x, dy = {"P": rng.normal(size=(4, 2))}, rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 3, 2))
    y, gradients = run(bp.PositionalEmbedding(4), p, x, dy)
    dP = np.zeros((4, 2))
    for b, t, j in np.ndindex(5, 3, 2):
        assert y[b, t, j] == x[b, t, j] + p["P"][t, j]
        dP[t, j] += dy[b, t, j]
    np.testing.assert_allclose(gradients["P"], dP, rtol=0, atol=1e-14)
    assert (gradients["x"] == dy).all()


def test_sequences_longer_than_the_positions_are_refused() -> None:
    with pytest.raises(bp.ShapeError, match="has 4 positions, and sequences come with 5 time steps, padding"):
        bp.Network(bp.PositionalEmbedding(4), input_shape=(5, 2), device="cpu")


def test_positions_let_attention_know_the_order(rng: np.random.Generator) -> None:
    """Attention alone gives the same for steps in another order."""

    def reversed_alike(*layers: Any) -> bool:
        net = bp.Network(bp.Sequential(*layers), input_shape=(5, 4), device="cpu", dtype="float64")
        x = rng.normal(size=(2, 5, 4))
        return bool(np.allclose(net.predict(x[:, ::-1]), net.predict(x)[:, ::-1], atol=1e-12))

    assert reversed_alike(bp.MultiHeadAttention(2))
    assert not reversed_alike(bp.PositionalEncoding(), bp.MultiHeadAttention(2))


# -- ONNX's Attention -------------------------------------------------------------------------------------------------


def onnx(
    Q: np.ndarray,
    K: np.ndarray,
    V: np.ndarray,
    heads: int,
    kv_heads: int,
    is_causal: bool = False,
    scale: float | None = None,
    past: int = 0,
    nonpad: list[int] | None = None,
) -> np.ndarray:
    """ONNX's operator of 3-D inputs by loops, for queries that stand behind `past` keys, which K and V begin with; keys
    from `nonpad` on are padding. Several query heads may share a head of keys and values."""
    B, T_q, n = Q.shape
    d = n // heads
    Y = np.zeros_like(Q)
    for b, h, i in np.ndindex(B, heads, T_q):
        of_q = slice(h * d, (h + 1) * d)
        shared = h * kv_heads // heads
        of_kv = slice(shared * d, (shared + 1) * d)
        seen = [j for j in range(nonpad[b] if nonpad else K.shape[1]) if j <= past + i or not is_causal]
        scores = [float(Q[b, i, of_q] @ K[b, j, of_kv]) * (scale or 1 / math.sqrt(d)) for j in seen]
        powers = [math.exp(s - max(scores)) for s in scores]
        for e, j in zip(powers, seen, strict=True):
            Y[b, i, of_q] += e / sum(powers) * V[b, j, of_kv]
    return Y


def by_the_layer(Q: np.ndarray, K: np.ndarray, V: np.ndarray, heads: int, kv_heads: int, **options: Any) -> np.ndarray:
    """The same by MultiHeadAttention: every step is a unit vector, and so W has its query, key and value in a row."""
    (B, T_q, n), T = Q.shape, K.shape[1]
    d, past = n // heads, options.get("past", 0)
    x = np.eye(B * T, n).reshape(B, T, n)
    queries = np.zeros((B, T, n))
    queries[:, past : past + T_q] = Q * (options.get("scale") or 1 / math.sqrt(d)) * math.sqrt(d)
    K, V = (np.repeat(a.reshape(B, T, kv_heads, d), heads // kv_heads, axis=2).reshape(B, T, n) for a in (K, V))
    W = np.zeros((n, 3 * n))
    W[: B * T] = np.concatenate([queries, K, V], axis=2).reshape(B * T, 3 * n)
    p = {"WQKV": W, "WO": np.eye(n), "bQ": np.zeros(n), "bO": np.zeros(n)}
    layer = bp.MultiHeadAttention(heads, options.get("is_causal", False))
    return run(layer, p, x, np.zeros_like(x), options.get("nonpad"))[0][:, past : past + T_q]


ONNX: dict[
    str, tuple[tuple[int, ...], dict[str, Any]]
] = {  # case -> (B, T_q, T_kv, heads, heads of K and V, d), options
    "3d": ((2, 4, 6, 3, 3, 8), {}),
    "3d_scaled": ((2, 4, 6, 3, 3, 8), {"scale": 0.01}),
    "3d_causal": ((2, 4, 6, 3, 3, 8), {"is_causal": True}),
    "3d_gqa": ((2, 4, 6, 9, 3, 8), {}),
    "3d_gqa_scaled": ((2, 4, 6, 9, 3, 8), {"scale": 0.01}),
    "3d_gqa_causal": ((2, 4, 6, 9, 3, 8), {"is_causal": True}),
    "3d_with_past_and_present": ((2, 4, 18, 3, 3, 16), {"past": 12}),
    "4d_causal_with_past_and_present": ((2, 4, 7, 3, 3, 8), {"past": 3, "is_causal": True}),
    "4d_padded_kv": ((2, 4, 6, 3, 3, 8), {"nonpad": [3, 4]}),
    "23_boolmask_fullymasked_row": ((2, 4, 6, 3, 3, 8), {"nonpad": [0, 5]}),
}


@pytest.mark.parametrize("case", ONNX)
def test_onnx_cases_that_self_attention_can_express(case: str, rng: np.random.Generator) -> None:
    """Those of its test suite without further masks, softcap, windows, and heads of V of another size."""
    (B, T_q, T, heads, kv_heads, d), options = ONNX[case]
    Q = rng.normal(size=(B, T_q, heads * d))
    K, V = (rng.normal(size=(B, T, kv_heads * d)) for _ in range(2))
    wanted = onnx(Q, K, V, heads, kv_heads, **options)
    np.testing.assert_allclose(by_the_layer(Q, K, V, heads, kv_heads, **options), wanted, rtol=0, atol=1e-12)
