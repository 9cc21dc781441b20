"""Conv1D, MaxPool1D and AvgPool1D against loops over single numbers, PyTorch, and examples worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from layer_runs import Numbers, drawn, run

import gpubp as bp
from gpubp.backends import CPU

CONVOLUTIONS = [
    bp.Conv1D(3, 3),
    bp.Conv1D(3, 4, padding="same"),
    bp.Conv1D(2, 3, stride=2, padding="same"),
    bp.Conv1D(2, 3, padding="causal"),
    bp.Conv1D(2, 2, stride=3, padding="causal"),
    bp.Conv1D(3, 5, padding=3),
    bp.Conv1D(4, 3, stride=2, padding=1, groups=2, use_bias=False),
    bp.Conv1D(3, 1),
]
POOLINGS = [
    (kind, options)
    for kind in (bp.MaxPool1D, bp.AvgPool1D)
    for options in (
        {},
        {"size": 3, "stride": 1, "padding": "same"},
        {"size": 3, "stride": 2, "padding": 1},
        {"size": 1},
    )
]
pooling = pytest.mark.parametrize(("kind", "options"), POOLINGS, ids=str)


def windows(T: int, k: int, s: int, padding: Any) -> list[list[int]]:
    """The time steps under each window, outside ones too."""
    if padding in ("same", "causal"):
        outputs = math.ceil(T / s)
        p = k - 1 if padding == "causal" else max((outputs - 1) * s + k - T, 0) // 2
    else:
        p = 0 if padding == "valid" else padding
        outputs = (T + 2 * p - k) // s + 1
    return [[o * s + j - p for j in range(k)] for o in range(outputs)]


def slowly(layer: Any, p: Numbers, x: np.ndarray) -> np.ndarray:
    """y of a convolution, number by number."""
    B, T, C = x.shape
    steps = windows(T, layer.kernel_size, layer.stride, layer.padding)
    y = np.zeros((B, len(steps), layer.filters))
    of_x, of_y = C // layer.groups, layer.filters // layer.groups
    for n in range(B):
        for o, under in enumerate(steps):
            for f in range(layer.filters):
                total = float(p["b"][f]) if layer.use_bias else 0.0
                for j, t in enumerate(under):
                    for c in range(of_x):
                        if 0 <= t < T:
                            total += x[n, t, f // of_y * of_x + c] * p["W"][j, c, f]
                y[n, o, f] = total
    return y


@pytest.mark.parametrize("T", [7, 4, 5], ids=str)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=repr)
def test_convolutions_agree_with_loops(layer: Any, T: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, T, 4))
    p = drawn(layer, x.shape, rng)
    np.testing.assert_allclose(run(layer, p, x)[0], slowly(layer, p, x), rtol=0, atol=1e-13)
    bp.gradcheck(layer, (2, T, 4), directions=1)


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=repr)
def test_pieces_give_the_same(layer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long sequences are multiplied in parts, where gradients are computed in other ways."""
    x = rng.normal(size=(5, 9, 4))
    p = drawn(layer, x.shape, rng)
    dy = rng.normal(size=layer.plan(x.shape).output)
    whole = run(layer, p, x, dy)
    monkeypatch.setattr(CPU, "piece", 60)
    parts = run(layer, p, x, dy)
    for a, b in zip((*whole[:2], *whole[2].values()), (*parts[:2], *parts[2].values()), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


@pooling
def test_poolings_agree_with_loops(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    layer = kind(**options)
    x = rng.integers(-2, 3, (2, 7, 3)).astype(float)  # with ties
    steps = windows(7, layer.size, layer.stride or layer.size, layer.padding)
    dy = rng.normal(size=(2, len(steps), 3))
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    for n, o, c in np.ndindex(*y.shape):
        under = [t for t in steps[o] if 0 <= t < 7]
        values = [float(x[n, t, c]) for t in under]
        if kind is bp.MaxPool1D:
            y[n, o, c] = max(values)
            dx[n, under[values.index(max(values))], c] += dy[n, o, c]
        else:
            y[n, o, c] = sum(values) / len(values)
            dx[n, under, c] += dy[n, o, c] / len(values)
    found_y, found_dx, _ = run(layer, {}, x, dy)
    np.testing.assert_allclose(found_y, y, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found_dx, dx, rtol=0, atol=1e-14)


@pooling
def test_poolings_agree_with_pytorch(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    if options.get("padding") == "same":
        pytest.skip("PyTorch's pooling has no such padding")
    name, more = ("max_pool1d", {}) if kind is bp.MaxPool1D else ("avg_pool1d", {"count_include_pad": False})
    layer, values = kind(**options), rng.normal(size=(2, 7, 3))
    x = torch.tensor(values, requires_grad=True)
    padding = 0 if layer.padding == "valid" else layer.padding
    z = getattr(torch.nn.functional, name)(x.transpose(1, 2), layer.size, layer.stride, padding, **more).transpose(1, 2)
    dy = rng.normal(size=tuple(z.shape))
    z.backward(torch.tensor(dy))
    y, dx, _ = run(layer, {}, values, dy)
    np.testing.assert_allclose(y, z.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=0, atol=1e-14)


def test_examples_worked_by_hand() -> None:
    """x = 1 2 4 8 and the kernel (1, 10): causal y is 10 x_t + x_{t-1}, of size 2 "same" it is x_t + 10 x_{t+1}."""
    x, p = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1), {"W": np.array([1.0, 10.0]).reshape(2, 1, 1), "b": 0.0}
    y, dx, g = run(bp.Conv1D(1, 2, padding="causal"), p, x)
    assert y.ravel().tolist() == [10, 21, 42, 84] and dx.ravel().tolist() == [11, 11, 11, 10]
    assert g["W"].ravel().tolist() == [7, 15] and g["b"].item() == 4
    assert run(bp.Conv1D(1, 2, padding="same"), p, x)[0].ravel().tolist() == [21, 42, 84, 8]
    assert run(bp.MaxPool1D(3, stride=1), {}, x)[0].ravel().tolist() == [4, 8]
    assert run(bp.AvgPool1D(2), {}, x)[0].ravel().tolist() == [1.5, 6]


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_outputs_see_no_later_step(dilation: int, rng: np.random.Generator) -> None:
    layer, x = bp.Conv1D(3, 4, padding="causal", dilation=dilation), rng.normal(size=(1, 8, 2))
    p = drawn(layer, x.shape, rng)
    y = run(layer, p, x)[0]
    x[:, 5:] += 1
    later = run(layer, p, x)[0]
    np.testing.assert_array_equal(later[:, :5], y[:, :5])
    assert (later[:, 5:] != y[:, 5:]).any(axis=-1).all()


KEEPING = [
    bp.Conv1D(2, 3, padding="same"), bp.Conv1D(2, 4, padding="causal"), bp.Conv1D(2, 3, padding=1), bp.Conv1D(2, 1),
    bp.Conv1D(2, 3, padding="causal", dilation=2), bp.Conv1D(2, 2, padding="same_lower", dilation=3),
    bp.Conv1D(2, 3, padding=(1, 3), dilation=2), bp.Conv1DTranspose(2, 3, padding="same"),
    bp.Conv1DTranspose(2, 2, padding=(3, 0), dilation=3), bp.Conv1DTranspose(2, 1, use_bias=False),
]  # fmt: skip


@pytest.mark.parametrize("layer", KEEPING, ids=repr)
def test_rows_of_their_own_length(layer: bp.Layer, rng: np.random.Generator) -> None:
    """Each row gives what it gives alone, without its padding."""
    assert layer.over_time == "keeps"
    x, lengths = rng.normal(size=(3, 6, 2)), [6, 2, 4]
    p = drawn(layer, x.shape, rng)
    y = run(layer, p, x, lengths=lengths)[0]
    for b, length in enumerate(lengths):
        alone = run(layer, p, x[b : b + 1, :length].copy())[0]
        np.testing.assert_allclose(y[b, :length], alone[0], rtol=0, atol=1e-14)
    bp.gradcheck(layer, (3, 6, 2), lengths=[6, 0, 3], directions=1)


@pytest.mark.parametrize(
    "layer",
    [
        bp.Conv1D(2, 3),
        bp.Conv1D(2, 3, padding=2),
        bp.Conv1D(2, 3, stride=2, padding="same"),
        bp.MaxPool1D(),
        bp.Conv1D(2, 3, padding=1, dilation=2),
        bp.Conv1D(2, 3, padding=(2, 1)),
        bp.Conv1DTranspose(2, 3),
        bp.Conv1DTranspose(2, 2, stride=2),
    ],
    ids=repr,
)
def test_layers_with_other_steps_take_no_lengths(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match="mixes time steps as if none were padding"):
        bp.gradcheck(layer, (2, 6, 2), lengths=[6, 2])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Conv1D(0, 3), "Conv1D needs filters to be a whole number"),
        (
            lambda: bp.Conv1D(4, 3, padding="full"),
            'Conv1D needs padding to be "valid", or "same", or ',
        ),
        (
            lambda: bp.Conv1D(4, 3, groups=3),
            "Conv1D needs filters that its groups divide, and got 4",
        ),
        (lambda: bp.MaxPool1D(2, padding=2), "MaxPool1D needs padding smaller than its windows"),
        (
            lambda: bp.AvgPool1D(2, padding="causal"),
            'AvgPool1D needs padding to be "valid", or "same", or "same_lower", or a whole number',
        ),
        (lambda: bp.MaxPool2D(2, padding=(1, 2)), "MaxPool2D needs padding smaller than its windows"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("layer", [bp.Conv1D(2, 3), bp.MaxPool1D(3), bp.AvgPool1D(3)], ids=repr)
def test_wrong_sequences_are_refused(layer: bp.Layer) -> None:
    with pytest.raises(
        bp.ShapeError, match=r"expects sequences, \(batch, time, numbers\), and got the shape \(1, 28\)"
    ):
        bp.Network(layer, 28, device="cpu")
    with pytest.raises(bp.ShapeError, match='windows of 3 steps and got sequences of 2, .* padding="same"'):
        bp.Network(layer, (2, 4), device="cpu")
    with pytest.raises(bp.ShapeError, match="expects channels that its 2 groups divide, and got 3"):
        bp.Network(bp.Conv1D(2, 1, groups=2), (4, 3), device="cpu")
