"""Conv1DTranspose, Conv2DTranspose and Conv3DTranspose against PyTorch, loops, Keras's sizes, and by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from layer_runs import drawn, run

import gpubp as bp
from gpubp.backends.cpu.backend import CPU
from gpubp.layers.windows import transposed_axis

Case = tuple[Any, tuple[int, ...]]
CASES: list[Case] = [
    (bp.Conv2DTranspose(3, 3), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(3, 3), (2, 3, 4, 1)),
    (bp.Conv2DTranspose(1, 3, padding=1), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(3, 3, stride=2, padding=1, output_padding=1), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(3, (2, 3), stride=(3, 1), padding=(0, 1), output_padding=(2, 0)), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(4, 3, stride=2, padding=1, dilation=2, groups=2, use_bias=False), (2, 3, 3, 6)),
    (bp.Conv2DTranspose(4, 2, dilation=(3, 1), output_padding=(2, 0), padding=1), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(4, 2, stride=2), (2, 3, 4, 3)),  # patches side by side
    (bp.Conv2DTranspose(3, 1), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(6, 1, groups=3), (2, 3, 4, 3)),
    (bp.Conv2DTranspose(2, 1, dilation=2, output_padding=1), (2, 3, 2, 2)),  # a row and a column of b alone
    (bp.Conv2DTranspose(2, 2, padding=2), (2, 5, 4, 2)),  # all patches of the outermost pixels are cut off
    (bp.Conv1DTranspose(3, 4, stride=2, padding=1), (2, 5, 3)),
    (bp.Conv1DTranspose(4, 3, dilation=2, groups=2), (2, 5, 2)),
    (bp.Conv3DTranspose(2, (1, 2, 3), stride=(2, 1, 2), padding=(0, 1, 0), output_padding=(1, 0, 0)), (2, 2, 3, 2, 3)),
    (bp.Conv3DTranspose(2, 2, padding=1), (2, 3, 3, 4, 2)),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}".replace(" ", ""))
SIDES: list[Case] = [
    (bp.Conv2DTranspose(2, 3, stride=2, padding="same"), (2, 3, 4, 2)),
    (bp.Conv2DTranspose(2, 4, stride=(2, 3), padding="same_lower"), (2, 3, 2, 2)),
    (bp.Conv2DTranspose(2, 2, stride=3), (2, 3, 2, 2)),
    (bp.Conv2DTranspose(2, 3, padding=((0, 2), (1, 0)), stride=2, output_padding=1), (2, 3, 4, 2)),
    (bp.Conv1DTranspose(2, 3, padding=(3, 0), dilation=2), (2, 5, 2)),
    (bp.Conv3DTranspose(1, 2, padding=((1, 0), (0, 0), (0, 1))), (1, 2, 3, 2, 2)),
]


@cases
def test_results_agree_with_pytorch(case: Case, rng: np.random.Generator) -> None:
    """In float64, with PyTorch's own arguments."""
    torch = pytest.importorskip("torch")
    layer, shape = case
    n, values = len(shape) - 2, rng.normal(size=shape)
    p = drawn(layer, shape, rng)
    x, W = torch.tensor(values, requires_grad=True), torch.tensor(p["W"], requires_grad=True)
    b = torch.tensor(p["b"], requires_grad=True) if layer.use_bias else None
    of = {
        "stride": layer.stride, "padding": 0 if layer.padding == "valid" else layer.padding,
        "output_padding": layer.output_padding or 0, "dilation": layer.dilation, "groups": layer.groups,
    }  # fmt: skip
    z = getattr(torch.nn.functional, f"conv_transpose{n}d")(
        x.movedim(-1, 1), W.permute(n + 1, n, *range(n)).contiguous(), b, **of
    )
    z = z.movedim(1, -1)
    dy = rng.normal(size=tuple(z.shape))
    z.backward(torch.tensor(dy))
    assert layer.plan(shape).output == tuple(z.shape)
    y, dx, g = run(layer, p, values, dy)
    np.testing.assert_allclose(y, z.detach().numpy(), rtol=1e-12, atol=1e-12)
    for found, wanted in ((dx, x), (g["W"], W), *([(g["b"], b)] if b is not None else [])):
        np.testing.assert_allclose(found, wanted.grad.numpy(), rtol=1e-12, atol=1e-12)


def looped(layer: Any, W: np.ndarray, b: np.ndarray, x: np.ndarray, sizes: tuple[int, ...], front: Any) -> np.ndarray:
    """y by the formula, pixel by pixel and tap by tap."""
    n = x.ndim - 2
    stride, apart = (np.broadcast_to(a, n).tolist() for a in (layer.stride, layer.dilation))
    y = np.zeros((len(x), *sizes, layer.filters)) + b
    for pixel in np.ndindex(x.shape[1:-1]):
        for taps in np.ndindex(W.shape[:n]):
            of_axes = zip(pixel, stride, taps, apart, front, strict=True)
            place = tuple(h * s + i * d - p for h, s, i, d, p in of_axes)
            if all(0 <= i < size for i, size in zip(place, sizes, strict=True)):
                y[(slice(None), *place)] += x[(slice(None), *pixel)] @ W[taps].T
    return y


@pytest.mark.parametrize("case", SIDES, ids=lambda case: f"{case[0]}".replace(" ", ""))
def test_paddings_by_name_and_by_side(case: Case, rng: np.random.Generator) -> None:
    layer, shape = case
    p, x = drawn(layer, shape, rng), rng.normal(size=shape)
    y = run(layer, p, x)[0]
    front = [axis.p for axis in layer._patches(shape).windows]
    np.testing.assert_allclose(y, looped(layer, p["W"], p["b"], x, y.shape[1:-1], front), rtol=0, atol=1e-12)
    bp.gradcheck(layer, shape)


def test_sizes_are_those_of_keras() -> None:
    """As `compute_conv_transpose_output_length` of Keras 3: m s for "same", and (m-1) s + max(e, s) for "valid"; with
    output_padding (m-1) s + e - 2 pad + output_padding, where pad is ⌊e/2⌋ or 0."""
    for m, k, s, d, padding in product((1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (1, 2), ("same", "valid")):
        e = (k - 1) * d + 1
        assert transposed_axis(m, k, s, padding, d).n == (m * s if padding == "same" else (m - 1) * s + max(e, s))
        for more in range(s):
            pad = e // 2 if padding == "same" else 0
            assert transposed_axis(m, k, s, padding, d, more).n == (m - 1) * s + e - 2 * pad + more


def test_it_is_the_backward_pass_of_a_convolution(rng: np.random.Generator) -> None:
    """y is the dx that the convolution with the same W has for dy = x, and so is dx its y; bit for bit."""
    for options in (
        {"padding": "same"},
        {"stride": 2, "padding": "same"},
        {"padding": ((1, 0), (0, 2)), "dilation": 2},
    ):
        forward, back = bp.Conv2D(4, 3, use_bias=False, **options), bp.Conv2DTranspose(3, 3, use_bias=False, **options)
        x = rng.normal(size=(2, 6, 8, 3))
        p = drawn(forward, x.shape, rng)
        dy = rng.normal(size=forward.plan(x.shape).output)
        y, dx, g = run(forward, p, x, dy)
        z, dz, h = run(back, p, dy, x)
        np.testing.assert_array_equal(z, dx)
        np.testing.assert_array_equal(dz, y)
        np.testing.assert_allclose(h["W"], g["W"], rtol=0, atol=1e-12)


def test_an_example_worked_by_hand() -> None:
    """Two pixels 1 and 2 with the kernel (1, 10, 100) and stride 2: patches 1 10 100 and 2 20 200 meet in one place.

    y = [1, 10, 100 + 2, 20, 200] + b.  With dy = [1, 2, 3, 4, 5]:  dx = [1 + 20 + 300, 3 + 40 + 500],
    dW = 1·[1, 2, 3] + 2·[3, 4, 5] = [7, 10, 13],  db = 15.  padding=1 cuts off the first and the last place.
    """
    x, p = np.array([1.0, 2.0]).reshape(1, 2, 1), {"W": np.array([1.0, 10, 100]).reshape(3, 1, 1), "b": 0.5}
    dy = np.arange(1.0, 6.0).reshape(1, 5, 1)
    y, dx, g = run(bp.Conv1DTranspose(1, 3, stride=2), p, x, dy)
    assert y.ravel().tolist() == [1.5, 10.5, 102.5, 20.5, 200.5] and dx.ravel().tolist() == [321, 543]
    assert g["W"].ravel().tolist() == [7, 10, 13] and g["b"].item() == 15
    cut = run(bp.Conv1DTranspose(1, 3, stride=2, padding=1), p, x)[0]
    assert cut.ravel().tolist() == [10.5, 102.5, 20.5]
    assert run(bp.Conv1DTranspose(1, 3, stride=2, padding="same"), p, x)[0].ravel().tolist() == [1.5, 10.5, 102.5, 20.5]
    assert run(bp.Conv1DTranspose(1, 1, stride=2), p | {"W": np.ones((1, 1, 1))}, x)[0].ravel().tolist() == [
        1.5, 0.5, 2.5, 0.5,
    ]  # fmt: skip


@pytest.mark.parametrize("block", [1, 100, 600])
def test_smaller_pieces_give_the_same_results(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer, shape in [*CASES, *SIDES]:
        results = []
        for piece in (None, block):
            if piece:
                monkeypatch.setattr(CPU, "piece", piece)
            rng = np.random.default_rng(3)
            p, x = drawn(layer, shape, rng), rng.normal(size=shape)
            y, dx, g = run(layer, p, x, rng.normal(size=layer.plan(shape).output))
            results.append({"y": y, "dx": dx, **g})
        monkeypatch.undo()
        for name, whole in results[0].items():
            np.testing.assert_allclose(results[1][name], whole, rtol=0, atol=1e-12, err_msg=f"{layer} {name}")


def autoencoder() -> bp.Network:
    layers = bp.Sequential(
        bp.Conv2D(4, 3, stride=2, padding="same"), bp.ReLU(), bp.Conv2D(5, 3, padding="same", dilation=2), bp.ReLU(),
        bp.Conv2DTranspose(4, 3, padding="same"), bp.ReLU(), bp.Conv2DTranspose(2, 3, stride=2, padding="same"),
    )  # fmt: skip
    return bp.Network(layers, input_shape=(6, 8, 2), device="cpu")


@pytest.mark.parametrize("piece", [400, CPU.piece])
def test_a_recorded_step_equals_the_eager_one(
    piece: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CPU, "piece", piece)
    X = rng.normal(size=(20, 6, 8, 2))
    found = []
    for warmup in (CPU.warmup, 1000):  # so many runs before a step is recorded
        monkeypatch.setattr(CPU, "warmup", warmup)
        net = autoencoder()
        history = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.01), batch_size=8).fit(X, X, epochs=4, verbose=False)
        found.append(net.flat.copy())
        assert history["loss"][-1] < history["loss"][0]
    assert np.array_equal(*found)


def test_predictions_do_not_depend_on_the_batch(rng: np.random.Generator) -> None:
    net, X = autoencoder(), rng.normal(size=(70, 6, 8, 2))
    whole = net.predict(X)
    np.testing.assert_array_equal(
        np.concatenate([net.predict(X[:1]), net.predict(X[1:50]), net.predict(X[50:])]), whole
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.Conv2DTranspose(8, 3, stride=2, output_padding=2), "output_padding below its stride or its dilat"),
        (lambda: bp.Conv2DTranspose(8, 3, output_padding=(0, 1)), "got output_padding=\\(0, 1\\) for stride=1"),
        (lambda: bp.Conv2DTranspose(8, 3, groups=3), "Conv2DTranspose needs filters that its groups divide"),
        (lambda: bp.Conv1DTranspose(8, 3, padding="causal"), 'needs padding to be "valid", or "same", or "same_lower"'),
        (lambda: bp.Conv1DTranspose(8, (3,)), "Conv1DTranspose needs kernel_size to be a whole number, 1 or more, and"),
        (lambda: bp.Conv3DTranspose(8, 3, output_padding=(0, 1)), "output_padding to be .* or three of them, or None"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "row", "message"),
    [
        (bp.Conv2DTranspose(8, 3), (784,), r"images \(batch, height, width, channels\) and got \(1, 784\); Reshape"),
        (bp.Conv1DTranspose(8, 3), (5,), r"expects sequences, \(batch, time, numbers\)"),
        (bp.Conv2DTranspose(2, 1, padding=(1, 2)), (4, 4, 1), "gives images of 2 x 0 for 4 x 4, which are none"),
        (bp.Conv2DTranspose(2, 3, groups=2), (4, 4, 3), "channels that its 2 groups divide, and got 3 of them"),
    ],
)
def test_wrong_inputs_are_refused(layer: bp.Layer, row: Any, message: str) -> None:
    with pytest.raises(bp.ShapeError, match=message):
        bp.Network(layer, row, device="cpu")
