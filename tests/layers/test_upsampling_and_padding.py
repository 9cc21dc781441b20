"""UpSampling, Padding and Cropping against NumPy, PyTorch and examples worked by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from layer_runs import run

import gpubp as bp
from gpubp.config import from_config

UP: dict[int, Any] = {1: bp.UpSampling1D, 2: bp.UpSampling2D, 3: bp.UpSampling3D}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
PAD: dict[int, Any] = {1: bp.Padding1D, 2: bp.Padding2D, 3: bp.Padding3D}
ZERO: dict[int, Any] = {1: bp.ZeroPadding1D, 2: bp.ZeroPadding2D, 3: bp.ZeroPadding3D}
CROP: dict[int, Any] = {1: bp.Cropping1D, 2: bp.Cropping2D, 3: bp.Cropping3D}


@pytest.mark.parametrize(
    ("size", "space"),
    [(2, (4,)), (5, (1,)), (2, (3, 4)), ((3, 4), (2, 3)), ((1, 2), (3, 1)), ((2, 3, 1), (2, 1, 4))],
    ids=repr,
)
def test_upsampling_agrees_with_pytorch(size: Any, space: tuple[int, ...], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    d = len(space)
    factors = np.broadcast_to(size, d).tolist()
    x = rng.normal(size=(2, *space, 3))
    dy = rng.normal(size=(2, *(f * n for f, n in zip(factors, space, strict=True)), 3))
    for mode in ("nearest", LINEAR[d]):
        layer = UP[d](size, mode)
        y, dx, _ = run(layer, {}, x, dy)
        their_x = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
        corners = None if mode == "nearest" else False
        theirs = torch.nn.functional.interpolate(
            their_x, scale_factor=tuple(map(float, factors)), mode=mode, align_corners=corners
        )
        theirs.backward(torch.tensor(np.moveaxis(dy, -1, 1).copy()))
        np.testing.assert_allclose(y, np.moveaxis(theirs.detach().numpy(), 1, -1), rtol=0, atol=1e-14)
        np.testing.assert_allclose(dx, np.moveaxis(their_x.grad.numpy(), 1, -1), rtol=0, atol=1e-14)
        bp.gradcheck(layer, x.shape)


def test_upsampling_by_hand() -> None:
    """Twice as many steps: y lies a quarter of a step before and behind each x. Three times: the middle one is x."""
    x = np.array([0.0, 4.0, 8.0]).reshape(1, 3, 1)
    y, dx, _ = run(bp.UpSampling1D(2, "linear"), {}, x)
    assert y.ravel().tolist() == [0, 1, 3, 5, 7, 8] and dx.ravel().tolist() == [2, 2, 2]
    assert run(bp.UpSampling1D(2), {}, x)[0].ravel().tolist() == [0, 0, 4, 4, 8, 8]
    np.testing.assert_allclose(
        run(bp.UpSampling1D(3, "linear"), {}, x)[0].ravel(), [0, 0, 4 / 3, 8 / 3, 4, 16 / 3, 20 / 3, 8, 8]
    )


def test_an_infinite_pixel_touches_its_neighbours_alone() -> None:
    x = np.array([0.0, 1.0, np.inf, 1.0, 0.0]).reshape(1, 5, 1)
    y, _, _ = run(bp.UpSampling1D(3, "linear"), {}, x)
    np.testing.assert_array_equal(np.isfinite(y.ravel()), [True] * 5 + [False] * 5 + [True] * 5)


@pytest.mark.parametrize(
    ("padding", "space"),
    [
        (2, (4,)),
        ((3, 0), (4,)),
        (1, (2, 3)),
        ((2, 1), (3, 4)),
        (((0, 2), (3, 1)), (3, 4)),
        ((1, 0, 2), (2, 3, 3)),
        (((0, 1), (2, 0), (1, 1)), (2, 3, 2)),
    ],
    ids=repr,
)
def test_padding_agrees_with_numpy(padding: Any, space: tuple[int, ...], rng: np.random.Generator) -> None:
    """dx is the transposed of y: Σ y dy = Σ x dx for all dy, as y is linear in x where the constant is 0."""
    d, x = len(space), rng.normal(size=(2, *space, 3))
    pairs = list(padding) if d > 1 and isinstance(padding, tuple) else [padding] * d
    widths = [(0, 0), *(p if isinstance(p, tuple) else (p, p) for p in pairs), (0, 0)]
    for mode in ("constant", "reflect", "edge", "wrap"):
        layer = PAD[d](padding, mode)
        want = np.pad(x, widths, mode)  # type: ignore[call-overload]
        dy = rng.normal(size=want.shape)
        y, dx, _ = run(layer, {}, x, dy)
        np.testing.assert_array_equal(y, want)
        assert np.vdot(y, dy) == pytest.approx(np.vdot(x, dx))
        bp.gradcheck(layer, x.shape)
    np.testing.assert_array_equal(run(ZERO[d](padding), {}, x)[0], np.pad(x, widths))
    y, dx, _ = run(PAD[d](padding, value=7.0), {}, x)
    np.testing.assert_array_equal(y, np.pad(x, widths, constant_values=7.0))
    assert (dx == 1).all()
    back, d_padded, _ = run(CROP[d](padding), {}, y)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(d_padded, np.pad(np.ones_like(x), widths))
    bp.gradcheck(CROP[d](padding), y.shape)


def test_padding_by_hand() -> None:
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
    for mode, want, want_dx in (
        ("reflect", [3, 2, 1, 2, 3, 2, 1], [2, 3, 2]),
        ("edge", [1, 1, 1, 2, 3, 3, 3], [3, 1, 3]),
        ("wrap", [2, 3, 1, 2, 3, 1, 2], [2, 3, 2]),
    ):
        y, dx, _ = run(bp.Padding1D(2, mode), {}, x)  # type: ignore[arg-type]
        assert y.ravel().tolist() == want and dx.ravel().tolist() == want_dx, mode
    y, dx, _ = run(bp.Padding1D((2, 1), "edge"), {}, np.array([[[5.0]]]))
    assert y.ravel().tolist() == [5] * 4 and dx.item() == 4


def test_what_cannot_be_padded_or_cropped_is_refused() -> None:
    for layer, match in (
        (bp.Padding2D(3, "reflect"), "too few places for padding=3; take less padding"),
        (bp.Padding2D(((0, 0), (4, 0)), "wrap"), "too few places"),
        (bp.Cropping2D((2, 1)), r"takes \(2, 1\) places away at the sides of .*, and leaves none"),
        (bp.ZeroPadding3D(1), "expects volumes"),
        (bp.UpSampling1D(2), "expects sequences"),
    ):
        with pytest.raises(bp.ShapeError, match=match):
            bp.Network(layer, input_shape=(3, 3, 1), device="cpu")
    for make in (lambda: bp.ZeroPadding2D(-1), lambda: bp.ZeroPadding2D((1, 2, 3)), lambda: bp.Cropping1D((1, -1))):
        with pytest.raises(ValueError, match="needs (padding|cropping) to be"):
            make()
    with pytest.raises(ValueError, match='Padding1D needs mode to be "constant", or "reflect"'):
        bp.Padding1D(1, "mirror")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='UpSampling2D needs interpolation to be "nearest", or "bilinear"'):
        bp.UpSampling2D(2, "linear")  # type: ignore[arg-type]


def test_pairs_come_back_from_their_description() -> None:
    for layer in (bp.ZeroPadding2D(((0, 1), (2, 3))), bp.Padding1D((1, 2), "wrap"), bp.AdaptiveAvgPool2D((3, None))):
        again = from_config(json.loads(json.dumps(layer.config())))
        assert again == layer
