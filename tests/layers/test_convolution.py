"""Conv2D against loops over single numbers, PyTorch, an example worked by hand, and itself in smaller blocks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.cpu.backend import CPU
from gpubp.backends.cuda.backend import CUDA
from gpubp.flat import FlatArray
from gpubp.layers import Context, Values, bind, windows


class Case(NamedTuple):
    """A convolution on images of one shape."""

    layer: bp.Conv2D | bp.Conv3D
    shape: tuple[int, ...]


CASES = [
    Case(bp.Conv2D(4, 3), (3, 6, 7, 2)),
    Case(bp.Conv2D(4, 3), (3, 6, 7, 1)),  # grey images have patches of another layout
    Case(bp.Conv2D(4, 3), (1, 3, 3, 2)),
    Case(bp.Conv2D(3, 1), (2, 4, 5, 2)),
    Case(bp.Conv2D(3, 1, stride=2), (2, 4, 5, 2)),
    Case(bp.Conv2D(3, 1, padding=1), (2, 4, 5, 2)),
    Case(bp.Conv2D(6, 1, groups=3), (2, 4, 5, 3)),
    Case(bp.Conv2D(2, 1, groups=2), (2, 4, 5, 6)),
    Case(bp.Conv2D(3, (2, 3)), (2, 5, 6, 2)),
    Case(bp.Conv2D(3, (2, 3), padding="same"), (2, 5, 6, 2)),
    Case(bp.Conv2D(3, 5, padding="same"), (2, 7, 4, 2)),
    Case(bp.Conv2D(3, 5, padding=2, use_bias=False), (2, 7, 6, 1)),
    Case(bp.Conv2D(3, 3, stride=2), (2, 7, 8, 2)),
    Case(bp.Conv2D(3, 3, stride=2, padding="same"), (2, 7, 8, 2)),
    Case(bp.Conv2D(3, 3, stride=(3, 2), padding=1), (2, 7, 8, 2)),
    Case(bp.Conv2D(3, 2, stride=3), (2, 7, 8, 2)),  # pixels between the windows
    Case(bp.Conv2D(3, 3, padding=4), (2, 3, 3, 2)),  # windows wholly outside the image
    Case(bp.Conv2D(4, 3, padding="same", groups=2), (2, 5, 4, 6)),
    Case(bp.Conv2D(6, 3, stride=2, groups=3), (2, 5, 6, 3)),  # depthwise, two filters a channel
    Case(bp.Conv2D(3, 3, dilation=2), (2, 6, 7, 2)),
    Case(bp.Conv2D(3, (2, 3), padding="same", dilation=(3, 2)), (2, 7, 6, 4)),
    Case(bp.Conv2D(3, 2, padding="same_lower", dilation=3), (2, 4, 5, 1)),
    Case(bp.Conv2D(4, 3, stride=(2, 1), padding=((0, 3), (2, 0)), dilation=(1, 2), groups=2), (2, 6, 5, 4)),
    Case(bp.Conv2D(3, 2, padding=((4, 0), (0, 1)), dilation=2), (2, 3, 4, 2)),  # windows wholly outside the image
    Case(bp.Conv2D(3, 2, stride=3, dilation=2), (2, 9, 8, 2)),  # taps of other windows between
    Case(bp.Conv3D(3, (2, 3, 1)), (2, 3, 4, 3, 2)),
    Case(bp.Conv3D(2, 2, stride=(1, 2, 1), padding="same", dilation=(2, 1, 1)), (2, 3, 4, 3, 1)),
    Case(bp.Conv3D(4, 2, padding=((1, 0), (0, 1), (0, 0)), groups=2), (2, 2, 3, 3, 4)),
    Case(bp.Conv3D(3, 1, use_bias=False), (2, 2, 3, 2, 4)),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layer}-{case.shape}".replace(" ", ""))


def pads_of(layer: Any, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(before, behind) of each axis, as the docs say."""
    n, found = len(shape) - 2, []
    of_axes = zip(
        shape[1:-1],
        *(np.broadcast_to(a, n).tolist() for a in (layer.kernel_size, layer.stride, layer.dilation)),
        strict=True,
    )
    for axis, (size, k, s, d) in enumerate(of_axes):
        lacks = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        named = {"valid": (0, 0), "same": (lacks // 2, -(-lacks // 2)), "same_lower": (-(-lacks // 2), lacks // 2)}
        of = layer.padding
        side = named[of] if isinstance(of, str) else np.broadcast_to(of[axis] if isinstance(of, tuple) else of, 2)
        found.append(tuple(map(int, side)))
    return found


def slow(layer: Any, W: np.ndarray, b: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """y, number by number."""
    n, O = x.ndim - 2, W.shape[-1]
    stride, apart = (np.broadcast_to(a, n) for a in (layer.stride, layer.dilation))
    x = np.pad(x, [(0, 0), *pads_of(layer, x.shape), (0, 0)])
    spans = [(k - 1) * d + 1 for k, d in zip(W.shape[:n], apart, strict=True)]
    sizes = [(size - e) // s + 1 for size, e, s in zip(x.shape[1:-1], spans, stride, strict=True)]
    y = np.zeros((len(x), *sizes, O))
    for image, *at, o in np.ndindex(y.shape):
        first = o // (O // layer.groups) * W.shape[n]
        total = 0.0 if b is None else float(b[o])
        for taps in np.ndindex(W.shape[:n]):
            place = (h * s + i * d for h, s, i, d in zip(at, stride, taps, apart, strict=True))
            pixel = x[(image, *place)]
            for c in range(W.shape[n]):
                total += float(pixel[first + c] * W[(*taps, c, o)])
        y[(image, *at, o)] = total
    return y


def run(layer: bp.Layer, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    """x, W, b, dy drawn, and y, dx, dW, db computed of them."""
    be = get_backend("cpu")
    plan = layer.plan(shape)
    shapes = {n: p.shape for n, p in plan.all_parameters().items()}
    parameters, gradients = FlatArray(be, shapes, "float64"), FlatArray(be, shapes, "float64")
    parameters.flat[...] = rng.normal(size=parameters.flat.size)
    ws = bind(
        layer, plan, Context(be, shape[0], "float64"), Values(parameters, {}, gradients), training=True, wants_dx=True
    )
    x = rng.normal(size=shape)
    y = layer.forward(ws, x).copy()
    dy = rng.normal(size=y.shape)
    dx = layer.backward(ws, dy)
    found = {"x": x, "y": y, "dy": dy, "dx": dx, **parameters, **{f"d{n}": g for n, g in gradients.items()}}
    return found, plan


@cases
def test_forward_is_the_sum_over_each_patch(case: Case, rng: np.random.Generator) -> None:
    a, plan = run(*case, rng)
    assert a["y"].shape == plan.output
    np.testing.assert_allclose(a["y"], slow(case.layer, a["W"], a.get("b"), a["x"]), rtol=0, atol=1e-12)


@cases
def test_backward_is_the_derivative_of_forward(case: Case) -> None:
    bp.gradcheck(*case)


@cases
def test_results_agree_with_pytorch(case: Case, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    a, _ = run(*case, rng)
    layer, n = case.layer, len(case.shape) - 2
    x, W = torch.tensor(a["x"], requires_grad=True), torch.tensor(a["W"], requires_grad=True)
    b = torch.tensor(a["b"], requires_grad=True) if layer.use_bias else None
    pads = [p for sides in reversed(pads_of(layer, case.shape)) for p in sides]
    padded = torch.nn.functional.pad(x.movedim(-1, 1), pads)
    of = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    z = getattr(torch.nn.functional, f"conv{n}d")(padded, W.permute(n + 1, n, *range(n)), b, **of)
    y = z.movedim(1, -1)
    y.backward(torch.tensor(a["dy"]))
    np.testing.assert_allclose(a["y"], y.detach().numpy(), rtol=1e-10, atol=1e-10)
    for name, value in ({"dx": x, "dW": W} | ({"db": b} if layer.use_bias else {})).items():
        np.testing.assert_allclose(a[name], value.grad.numpy(), rtol=1e-10, atol=1e-10)


@cases
@pytest.mark.parametrize("block", [1, 100, 600])
def test_smaller_pieces_give_the_same_results(
    case: Case, block: int, rng: np.random.Generator, monkeypatch: Any
) -> None:
    """Images in parts, or rows of one image, give what all at once give, and take less memory."""
    whole, plan = run(*case, np.random.default_rng(5))
    whole_piece = CPU.piece
    monkeypatch.setattr(CPU, "piece", block)
    parts, smaller = run(*case, np.random.default_rng(5))
    assert smaller.numbers(CPU.piece) <= plan.numbers(whole_piece)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-12, err_msg=name)
    bp.gradcheck(*case)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_recorded_step_in_pieces_equals_the_eager_one(
    groups: int, rng: np.random.Generator, monkeypatch: Any
) -> None:
    """A network of all image layers, its batch in many parts, trains to the same bits by its record."""
    monkeypatch.setattr(CPU, "piece", 500)
    monkeypatch.setattr(CPU, "block", 50)
    X, y = rng.normal(size=(40, 12, 10)), rng.integers(0, 3, 40)

    def trained() -> np.ndarray:
        layers = (
            bp.Reshape((12, 10, 1)), bp.Conv2D(4, 3, padding="same"), bp.ReLU(), bp.MaxPool2D(),
            bp.Conv2D(6, 3, groups=groups), bp.MaxPool2D(2, 1, padding="same"), bp.Conv2D(4, 1, stride=2),
            bp.AvgPool2D(2, padding="same"), bp.GlobalAvgPool2D(), bp.Dense(3),
        )  # fmt: skip
        net = bp.Network(bp.Sequential(*layers), input_shape=(12, 10), device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=15)
        trainer.fit(X, y, epochs=3, verbose=False)
        return net.flat.copy()

    replayed = trained()
    monkeypatch.setattr(CPU, "warmup", 1000)  # so many runs before a step is recorded
    assert np.array_equal(trained(), replayed)


def test_no_matrix_of_a_piece_is_too_large_for_cublaslt() -> None:
    """It takes less than 2^31 numbers; whatever the batch and the channels."""
    piece = CUDA.piece
    for C, O, kernel, stride in (
        (64, 256, 3, 1),
        (1, 4096, 1, 2),
        (4096, 1, (1, 2), 1),
        (1, 4096, 2, 2),
        (512, 512, 5, 3),
    ):
        layer = bp.Conv2D(O, kernel, stride=stride, padding="same", dilation=1 if stride > 1 else 3)
        x = (1000, 56, 56, C)
        P = layer._patches(x)
        h, w = P.windows.shape
        taps = len(P.windows.taps)
        for parts, here, row in (
            (P.blocks(piece), (h, w), max(taps * C, O)),
            (P.tap_blocks(piece), (h, w), max(C, O)),
            (P.turned_blocks(piece), x[1:3], max(taps * O, C)),
        ):
            sizes = [(images.stop - images.start) * (rows.stop - rows.start) for images, rows in parts]
            assert sum(sizes) == x[0] * here[0] and max(sizes) * here[1] * row < max(2**31, row * here[1] + 1)
        declared = layer.plan(x).all_arrays(piece)
        assert max(math.prod(declared[n]) for n in ("patches", "part")) <= max(piece, taps * C * O, w * taps * C)


def test_the_lowest_layer_has_no_memory_for_input_gradients() -> None:
    plan = bp.Conv2D(64, 3, padding="same").plan((256, 28, 28, 1))
    lowest, other = (plan.all_arrays(2**24, wants_dx)["patches"] for wants_dx in (False, True))
    assert lowest == (256 * 28 * 28 * 9,) and other[0] > 8 * lowest[0]
    net = bp.Network(bp.Sequential(bp.Conv2D(8, 3), bp.Conv2D(8, 3)), (9, 9, 1), device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=4)
    trainer.step(np.zeros((4, 9, 9, 1)), np.zeros((4, 5, 5, 8)))
    below, above = (ws.__dict__["patches"].size for ws in trainer.step_cache.last_step.ws.children)
    assert below == 4 * 7 * 7 * 9 and above == 4 * 7 * 7 * 9 * 8


def test_an_example_worked_by_hand() -> None:
    """Two 2 x 2 windows on a 2 x 3 image.

    x = 1 2 3   W = 1 2   b = 10   y = [1 + 4 + 12 + 20 + 10, 2 + 6 + 15 + 24 + 10] = [47, 57]
        4 5 6       3 4
    With dy = [1, 2]:  dW = x_left + 2 x_right = [1 + 4, 2 + 6; 4 + 10, 5 + 12],  db = 3,
    and dx has W under the left window and 2 W under the right: [1, 2 + 2, 4; 3, 4 + 6, 8].
    """
    be = get_backend("cpu")
    layer = bp.Conv2D(1, 2)
    plan = layer.plan((1, 2, 3, 1))
    shapes = {n: p.shape for n, p in plan.parameters.items()}
    parameters, gradients = FlatArray(be, shapes, "float64"), FlatArray(be, shapes, "float64")
    parameters["W"][...] = np.array([[1, 2], [3, 4]]).reshape(2, 2, 1, 1)
    parameters["b"][...] = 10
    ws = bind(layer, plan, Context(be, 1, "float64"), Values(parameters, {}, gradients), training=True, wants_dx=True)
    y = layer.forward(ws, np.arange(1.0, 7.0).reshape(1, 2, 3, 1))
    assert y.ravel().tolist() == [47, 57]
    dx = layer.backward(ws, np.array([1.0, 2.0]).reshape(1, 1, 2, 1))
    assert gradients["W"].ravel().tolist() == [5, 8, 14, 17]
    assert gradients["b"].tolist() == [3]
    assert dx is not None and dx.ravel().tolist() == [1, 4, 4, 3, 10, 8]


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_same_padding_gives_an_output_for_every_stride(n: int, k: int, s: int) -> None:
    """As TensorFlow: ⌈n/s⌉ outputs; what the image lacks is halved, and an odd place stands at the end."""
    (axis, _) = windows.windows_of((1, n, n, 1), (k, k), (s, s), "same")
    assert axis.outputs == math.ceil(n / s)
    lacks = max((axis.outputs - 1) * s + k - n, 0)
    assert axis.p == lacks // 2
    for t in range(k):
        outputs, places = axis.tap(t)
        seen = [(o, o * s + t - axis.p) for o in range(axis.outputs) if 0 <= o * s + t - axis.p < n]
        assert list(zip(range(n)[outputs], range(n)[places], strict=True)) == seen


def test_pixels_between_windows_have_gradient_zero() -> None:
    a, _ = run(bp.Conv2D(3, 2, stride=3), (2, 7, 8, 2), np.random.default_rng(0))
    assert not a["dx"][:, 2::3].any() and not a["dx"][:, :, 2::3].any() and a["dx"][:, 0, 0].all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.Conv2D(0, 3), "filters to be a whole number, 1 or more, and got 0"),
        (lambda: bp.Conv2D(8, 2.5), "kernel_size to be a whole number, 1 or more, or two of them, and got 2.5"),
        (lambda: bp.Conv2D(8, (3, 3, 3)), "kernel_size to be a whole number"),
        (lambda: bp.Conv2D(8, 3, stride=0), "stride to be a whole number"),
        (lambda: bp.Conv2D(8, 3, padding="full"), 'padding to be "valid", or "same", or "same_lower", or a wh'),
        (lambda: bp.Conv2D(8, 3, padding=-1), "padding to be"),
        (lambda: bp.Conv2D(8, 3, groups=3), "8 filters in 3 groups"),
        (lambda: bp.Conv2D(8, 3, dilation=0), "Conv2D needs dilation to be a whole number, 1 or more, or two of them"),
        (lambda: bp.Conv2D(8, 3, padding=((1, 2), 3)), "two of them, or two pairs of them, and got"),
        (lambda: bp.Conv2D(8, 3, padding="causal"), 'padding to be "valid", or "same", or "same_lower"'),
        (lambda: bp.Conv3D(8, (3, 3)), "Conv3D needs kernel_size to be a whole number, 1 or more, or three of them"),
        (lambda: bp.Conv3D(8, 3, groups=3), "Conv3D needs filters that its groups divide, and got 8 filters in 3"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (bp.Conv2D(8, 3), (784,), r"images \(batch, height, width, channels\) and got \(1, 784\); Reshape\(\(height"),
        (bp.Conv2D(8, 3), (28, 28), r"got \(1, 28, 28\); grey images want a channel axis: Reshape\(\(28, 28, 1\)\)"),
        (bp.Conv2D(8, 5), (4, 9, 1), "windows of 5 x 5 and got images of 4 x 9, which are smaller"),
        (bp.Conv2D(8, 3, groups=2), (9, 9, 3), "channels that its 2 groups divide, and got 3 of them"),
        (bp.Conv2D(8, 3, dilation=4), (8, 9, 1), "of 3 x 3, which the dilation spreads over 9 x 9 and got .* 8 x 9"),
        (bp.Conv3D(8, 3), (9, 9, 3), r"volumes \(batch, depth, height, width, channels\) and got \(1, 9, 9, 3\)"),
        (bp.Reshape((28, 28, 1)), (785,), r"rows of 784 numbers, for \(28, 28, 1\), and got 785"),
    ],
)
def test_wrong_images_are_refused(layer: bp.Layer, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(bp.ShapeError, match=message):
        bp.Network(bp.Sequential(layer, bp.Flatten(), bp.Dense(2)), input_shape=shape, device="cpu")


def test_lists_are_taken_as_pairs() -> None:
    assert bp.Conv2D(8, [3, 2]) == bp.Conv2D(8, (3, 2))
    assert bp.Reshape(4) == bp.Reshape([4])  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="Reshape needs shape to be a whole number, 1 or more, or a tuple of them, and got"
    ):
        bp.Reshape((28, -1))


def test_a_step_that_nothing_takes_may_be_as_long_as_can_be(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 6, 5, 2))
    far, near = (bp.Network(bp.Conv2D(4, 3, stride=(1, s)), x.shape[1:], device="cpu") for s in (2**63 - 1, 5))
    assert far.predict(x).tobytes() == near.predict(x).tobytes()
    apart, single = (bp.Network(bp.Conv2D(4, (3, 1), dilation=(1, d)), x.shape[1:], device="cpu") for d in (2**62, 1))
    assert apart.predict(x).tobytes() == single.predict(x).tobytes()
