"""MaxPool2D, AvgPool2D and GlobalAvgPool2D against loops over single numbers, PyTorch, and examples worked by hand."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import CPU, get_backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.layers import Context, Values, bind
from strict import StrictProducts, strict_cupy


class Case(NamedTuple):
    """Windows on images of one shape."""

    size: Any
    stride: Any
    padding: Any
    shape: tuple[int, int, int, int]


CASES = [
    Case(2, None, "valid", (2, 6, 8, 3)),
    Case(2, None, "valid", (2, 7, 5, 3)),  # the last row and column fill no window
    Case(2, None, "valid", (1, 2, 2, 1)),
    Case(2, None, "same", (2, 7, 5, 3)),
    Case((2, 3), None, "valid", (2, 7, 7, 2)),
    Case(3, None, "valid", (2, 9, 7, 2)),
    Case(3, 2, "valid", (2, 7, 8, 2)),
    Case(3, 2, "same", (2, 7, 8, 2)),
    Case(3, 1, "same", (2, 4, 5, 2)),
    Case(3, (1, 2), 1, (2, 4, 5, 2)),
    Case(2, 2, 1, (2, 4, 5, 2)),
    Case((3, 2), 2, (0, 1), (2, 5, 4, 2)),
    Case(2, 3, "valid", (2, 8, 7, 2)),  # pixels between the windows
    Case(1, None, "valid", (2, 3, 2, 2)),
    Case((5, 2), 1, "same", (1, 3, 3, 2)),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: repr(tuple(case)).replace(" ", ""))


def both(case: Case) -> tuple[bp.MaxPool2D, bp.AvgPool2D]:
    """The case's two layers."""
    return bp.MaxPool2D(*case[:3]), bp.AvgPool2D(*case[:3])


def look(case: Case) -> list[list[list[tuple[int, int]]]]:
    """For every output, row by row, the pixels of its window in the image."""
    (kh, kw), (sh, sw) = np.broadcast_to(case.size, 2), np.broadcast_to(case.stride or case.size, 2)
    _, H, W, _ = case.shape
    if case.padding == "same":
        h, w = math.ceil(H / sh), math.ceil(W / sw)
        p, q = max((h - 1) * sh + kh - H, 0) // 2, max((w - 1) * sw + kw - W, 0) // 2
    else:
        p, q = (int(p) for p in np.broadcast_to(0 if case.padding == "valid" else case.padding, 2))
        h, w = (H + 2 * p - kh) // sh + 1, (W + 2 * q - kw) // sw + 1
    rows = [[i for i in range(r * sh - p, r * sh - p + kh) if 0 <= i < H] for r in range(h)]
    columns = [[j for j in range(s * sw - q, s * sw - q + kw) if 0 <= j < W] for s in range(w)]
    return [[[(i, j) for i in rows[r] for j in columns[s]] for s in range(w)] for r in range(h)]


def run(layer: bp.Layer, x: np.ndarray, dy: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """y and dx; twice, since a step's arrays are used again and again."""
    be = get_backend("cpu")
    ws = bind(
        layer, layer.plan(x.shape), Context(be, len(x), x.dtype), Values({}, {}, {}), training=True, wants_dx=True
    )
    for _ in range(2):
        y = layer.forward(ws, x)
        dx = layer.backward(ws, np.ones_like(y) if dy is None else dy)
    assert dx is not None
    return y, dx


def images(rng: np.random.Generator, shape: tuple[int, ...], ties: bool) -> np.ndarray:
    """Any numbers, or so few different ones that most windows have several largest."""
    return rng.integers(-1, 2, shape).astype(float) if ties else rng.normal(size=shape)


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@cases
def test_results_agree_with_loops(case: Case, ties: bool, rng: np.random.Generator) -> None:
    x = images(rng, case.shape, ties)
    windows = look(case)
    B, C = case.shape[0], case.shape[3]
    dy = rng.normal(size=(B, len(windows), len(windows[0]), C))
    y, dx = {}, {}
    for kind in ("max", "avg"):
        y[kind], dx[kind] = np.zeros_like(dy), np.zeros_like(x)
        for n in range(B):
            for c in range(C):
                for r, line in enumerate(windows):
                    for s, pixels in enumerate(line):
                        values = [float(x[n, i, j, c]) for i, j in pixels]
                        if kind == "max":
                            y[kind][n, r, s, c] = max(values)
                            dx[kind][(n, *pixels[values.index(max(values))], c)] += dy[n, r, s, c]
                        else:
                            y[kind][n, r, s, c] = sum(values) / len(values)
                            for i, j in pixels:
                                dx[kind][n, i, j, c] += dy[n, r, s, c] / len(values)
    for kind, layer in zip(("max", "avg"), both(case), strict=True):
        found_y, found_dx = run(layer, x, dy)
        np.testing.assert_allclose(found_y, y[kind], rtol=0, atol=1e-14)
        np.testing.assert_allclose(found_dx, dx[kind], rtol=0, atol=1e-14)


@cases
def test_backward_is_the_derivative_of_forward(case: Case) -> None:
    for layer in both(case):
        bp.gradcheck(layer, case.shape)


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@cases
def test_results_agree_with_pytorch(case: Case, ties: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    if case.padding == "same":
        pytest.skip("PyTorch's pooling has no such padding")
    padding = 0 if case.padding == "valid" else case.padding
    values = images(rng, case.shape, ties)
    for layer, torchs, options in zip(
        both(case),
        (torch.nn.functional.max_pool2d, torch.nn.functional.avg_pool2d),
        ({}, {"count_include_pad": False}),
        strict=True,
    ):
        x = torch.tensor(values, requires_grad=True)
        z = torchs(x.permute(0, 3, 1, 2), case.size, case.stride, padding, **options).permute(0, 2, 3, 1)
        dy = rng.normal(size=tuple(z.shape))
        z.backward(torch.tensor(dy))
        y, dx = run(layer, values, dy)
        np.testing.assert_allclose(y, z.detach().numpy(), rtol=0, atol=1e-14)
        np.testing.assert_allclose(dx, x.grad.numpy(), rtol=0, atol=1e-14)


def test_the_global_mean_agrees_with_loops_and_pytorch(rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 5))
    y, dx = run(bp.GlobalAvgPool2D(), x, dy)
    for n in range(2):
        for c in range(5):
            assert y[n, c] == pytest.approx(sum(float(x[n, i, j, c]) for i in range(3) for j in range(4)) / 12)
            assert all(dx[n, i, j, c] == pytest.approx(dy[n, c] / 12) for i in range(3) for j in range(4))
    bp.gradcheck(bp.GlobalAvgPool2D(), (2, 3, 4, 5))
    bp.gradcheck(bp.GlobalAvgPool2D(), (1, 1, 1, 1))


def test_an_example_worked_by_hand() -> None:
    """One row of four pixels, windows of 3 moving by 1: which takes what.

    x = 1 3 3 2, so the windows are [1 3 3] and [3 3 2]. Both maxima are 3. The first window's first 3 is pixel 1, so
    is the second's: dy = [10, 20] both arrive there. The means are 7/3 and 8/3.
    """
    x, dy = np.array([1.0, 3.0, 3.0, 2.0]).reshape(1, 1, 4, 1), np.array([10.0, 20.0]).reshape(1, 1, 2, 1)
    y, dx = run(bp.MaxPool2D((1, 3), 1), x, dy)
    assert y.ravel().tolist() == [3, 3] and dx.ravel().tolist() == [0, 30, 0, 0]
    y, dx = run(bp.AvgPool2D((1, 3), 1), x, dy)
    np.testing.assert_allclose(y.ravel(), [7 / 3, 8 / 3])
    np.testing.assert_allclose(dx.ravel(), [10 / 3, 10, 10, 20 / 3])


def test_the_first_of_equal_pixels_has_the_whole_gradient() -> None:
    """Not the first by columns: x = 0 5 / 5 0."""
    _, dx = run(bp.MaxPool2D(2), np.array([0.0, 5.0, 5.0, 0.0]).reshape(1, 2, 2, 1))
    assert dx.ravel().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.MaxPool2D(0), "MaxPool2D needs size to be a whole number"),
        (lambda: bp.MaxPool2D(2, stride=(1, 0)), "MaxPool2D needs stride to be"),
        (lambda: bp.AvgPool2D(2, padding="full"), 'AvgPool2D needs padding to be "valid"'),
        (lambda: bp.AvgPool2D((3, 2), padding=2), "needs padding smaller than its windows"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [bp.MaxPool2D(), bp.AvgPool2D(), bp.GlobalAvgPool2D()], ids=repr)
def test_wrong_images_are_refused(layer: bp.Layer) -> None:
    with pytest.raises(bp.ShapeError, match=r"images \(batch, height, width, channels\) and got \(1, 28, 28\)"):
        bp.Network(layer, input_shape=(28, 28), device="cpu")


@cases
@pytest.mark.parametrize("ties", [False, True])
def test_several_taps_in_one_call_give_the_same_gradients(
    case: Case, ties: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device says how many arrays a formula may write; a GPU's kernels are run too."""
    x, (layer, _) = images(rng, case.shape, ties), both(case)
    dy = rng.normal(size=layer.plan(x.shape).output)
    found = []
    for outputs in (2, 3, 5, 9):
        monkeypatch.setattr(CPU, "outputs", outputs)
        found.append(run(layer, x, dy)[1])
    be = CUDA(strict_cupy(), products=StrictProducts)
    ws = bind(
        layer, layer.plan(x.shape), Context(be, len(x), x.dtype), Values({}, {}, {}), training=True, wants_dx=True
    )
    with be.active():
        layer.forward(ws, be.to_device(x))
        found.append(be.to_host(layer.backward(ws, be.to_device(dy))))
    for dx in found[1:]:
        np.testing.assert_array_equal(dx, found[0])


def test_windows_larger_than_the_image_are_refused() -> None:
    with pytest.raises(bp.ShapeError, match='windows of 2 x 2 and got images of 1 x 4, .* padding="same"'):
        bp.Network(bp.MaxPool2D(), input_shape=(1, 4, 3), device="cpu")
