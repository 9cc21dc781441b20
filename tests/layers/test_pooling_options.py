"""Dilation, ceil_mode, paddings of each side and counts of the poolings, of 1, 2 and 3 axes of space."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from layer_runs import run

import gpubp as bp

MAX: dict[int, Any] = {1: bp.MaxPool1D, 2: bp.MaxPool2D, 3: bp.MaxPool3D}
AVG: dict[int, Any] = {1: bp.AvgPool1D, 2: bp.AvgPool2D, 3: bp.AvgPool3D}
OPTIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((9,), {"size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((10,), {"size": 2, "stride": 3, "dilation": 4, "ceil_mode": True}),
    ((8,), {"size": 3, "stride": 2, "dilation": 2, "padding": 1}),  # places in two windows, though s < k d
    ((7,), {"size": 2, "stride": 1, "dilation": 3}),
    ((9, 8), {"size": (2, 3), "stride": (4, 3), "dilation": (2, 1)}),  # apart, with places in no window
    ((5, 6), {"size": 3, "stride": 2, "padding": (0, 1), "ceil_mode": True}),
    ((6, 7), {"size": 3, "dilation": (1, 2), "padding": 1, "stride": 1}),
    ((3, 5, 4), {"size": 2}),
    ((4, 3, 5), {"size": (3, 2, 3), "stride": (2, 1, 2), "padding": (1, 0, 1), "ceil_mode": True}),
    ((4, 5, 5), {"size": 2, "stride": 1, "dilation": (1, 3, 2)}),
]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], ties: bool = False) -> np.ndarray:
    return rng.integers(-1, 2, shape).astype(float) if ties else rng.normal(size=shape)


def in_pytorch(name: str, x: np.ndarray, dy_of: Any, *arguments: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, dy and dx of PyTorch's function, channels last."""
    torch = pytest.importorskip("torch")
    their_x = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    y = getattr(torch.nn.functional, name)(their_x, *arguments)
    dy = dy_of(tuple(y.shape))
    y.backward(torch.tensor(dy))
    return tuple(np.moveaxis(a, 1, -1) for a in (y.detach().numpy(), dy, their_x.grad.numpy()))  # type: ignore[return-value]


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize(("space", "options"), OPTIONS, ids=repr)
def test_max_agrees_with_pytorch(space: Any, options: Any, ties: bool, rng: np.random.Generator) -> None:
    d, x = len(space), numbers(rng, (2, *space, 3), ties)
    given = [options["size"], options.get("stride", options["size"]), options.get("padding", 0)]
    given += [options.get("dilation", 1), options.get("ceil_mode", False)]
    want_y, dy, want_dx = in_pytorch(f"max_pool{d}d", x, lambda shape: rng.normal(size=shape), *given)
    y, dx, _ = run(MAX[d](**options), {}, x, dy)
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_allclose(dx, want_dx, rtol=0, atol=1e-14)
    bp.gradcheck(MAX[d](**options), x.shape)


@pytest.mark.parametrize("counts", [{}, {"count_include_pad": True}, {"divisor_override": 5}], ids=repr)
@pytest.mark.parametrize(("space", "options"), [o for o in OPTIONS if "dilation" not in o[1]], ids=repr)
def test_avg_agrees_with_pytorch(space: Any, options: Any, counts: Any, rng: np.random.Generator) -> None:
    d, x = len(space), numbers(rng, (2, *space, 3))
    given = [options["size"], options.get("stride", options["size"]), options.get("padding", 0)]
    given += [options.get("ceil_mode", False), counts.get("count_include_pad", False)]
    if "divisor_override" in counts and d == 1:
        pytest.skip("PyTorch's avg_pool1d has none")
    given += [counts["divisor_override"]] if "divisor_override" in counts else []
    want_y, dy, want_dx = in_pytorch(f"avg_pool{d}d", x, lambda shape: rng.normal(size=shape), *given)
    y, dx, _ = run(AVG[d](**options, **counts), {}, x, dy)
    np.testing.assert_allclose(y, want_y, rtol=0, atol=1e-14)
    np.testing.assert_allclose(dx, want_dx, rtol=0, atol=1e-14)
    bp.gradcheck(AVG[d](**options, **counts), x.shape)


@pytest.mark.parametrize(
    ("n", "k", "s", "p", "q", "d", "ceil"),
    [(7, 3, 2, 2, 0, 1, False), (6, 2, 3, 0, 1, 2, True), (8, 3, 1, 1, 3, 2, False), (5, 4, 3, 3, 1, 1, True)],
)
def test_all_options_agree_with_loops(n: int, k: int, s: int, p: int, q: int, d: int, ceil: bool) -> None:
    """Of one axis, window by window; of two, as the product of both."""
    rng = np.random.default_rng(5)
    room = n + p + q - (k - 1) * d - 1
    outputs = (-(-room // s) if ceil else room // s) + 1
    outputs -= ceil and (outputs - 1) * s >= n + p
    looked = [[o * s + t * d - p for t in range(k)] for o in range(outputs)]
    counts = {
        False: [sum(0 <= i < n for i in w) for w in looked],
        True: [sum(-p <= i < n + q for i in w) for w in looked],
    }
    A = np.array([[float(w.count(i)) for i in range(n)] for w in looked])
    options: dict[str, Any] = {"stride": s, "dilation": d, "ceil_mode": ceil}
    x = rng.normal(size=(2, n, n, 3))
    for include in (False, True):
        M = A / np.array(counts[include])[:, None]
        layer = bp.AvgPool1D(k, padding=(p, q), count_include_pad=include, **options)
        np.testing.assert_allclose(run(layer, {}, x[:, 0])[0], np.einsum("oi,nic->noc", M, x[:, 0]), atol=1e-14)
        square = bp.AvgPool2D(k, padding=((p, q), (p, q)), count_include_pad=include, **options)
        y, dx, _ = run(square, {}, x)
        np.testing.assert_allclose(y, np.einsum("oi,pj,nijc->nopc", M, M, x), atol=1e-14)
        np.testing.assert_allclose(dx[0, :, :, 0], np.outer(M.sum(axis=0), M.sum(axis=0)), atol=1e-14)
    y, dx, _ = run(bp.MaxPool1D(k, padding=(p, q), **options), {}, x[:, 0])
    for b, c in product(range(2), range(3)):
        places = [max((i for i in w if 0 <= i < n), key=lambda i: x[b, 0, i, c]) for w in looked]
        assert y[b, :, c].tolist() == [x[b, 0, i, c] for i in places]
        assert dx[b, :, c].tolist() == [places.count(i) for i in range(n)]


def test_same_lower_has_the_odd_place_in_front() -> None:
    x = np.arange(1.0, 5.0).reshape(1, 4, 1)
    assert run(bp.MaxPool1D(2, 1, "same"), {}, x)[0].ravel().tolist() == [2, 3, 4, 4]
    assert run(bp.MaxPool1D(2, 1, "same_lower"), {}, x)[0].ravel().tolist() == [1, 2, 3, 4]
    assert run(bp.AvgPool1D(2, 1, "same_lower", count_include_pad=True), {}, x)[0].ravel().tolist() == [
        0.5,
        1.5,
        2.5,
        3.5,
    ]


def test_not_a_number_and_infinities_in_volumes() -> None:
    x = np.array([np.nan, 1.0, -np.inf, -np.inf, 2.0, np.inf, -np.inf, -np.inf]).reshape(1, 2, 2, 2, 1)
    y, dx, _ = run(bp.MaxPool3D((1, 2, 1), padding=(0, 1, 0), stride=1), {}, x)
    np.testing.assert_array_equal(
        y.ravel(), [np.nan, 1, np.nan, 1, -np.inf, -np.inf, 2, np.inf, 2, np.inf, -np.inf, -np.inf]
    )
    assert dx.ravel().tolist() == [0, 2, 1, 1, 2, 2, 1, 1]


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(
        bp.ShapeError, match="all of whose 2 taps lie outside of inputs of .3,., with dilation=5 and padding=2"
    ):
        bp.Network(bp.MaxPool1D(2, 1, 2, dilation=5), input_shape=(3, 1), device="cpu")
    with pytest.raises(ValueError, match="AvgPool2D needs padding smaller than its windows.*with dilation=2"):
        bp.AvgPool2D(2, padding=((0, 3), (0, 0)), dilation=2)
    with pytest.raises(ValueError, match="AvgPool3D needs divisor_override to be a whole number"):
        bp.AvgPool3D(2, divisor_override=0)
    with pytest.raises(TypeError):
        bp.MaxPool2D(2, 2, 0, 2)  # type: ignore[misc]  # PyTorch has dilation here, and Keras data_format
    with pytest.raises(bp.ShapeError, match="expects volumes"):
        bp.Network(bp.MaxPool3D(2), input_shape=(4, 4, 1), device="cpu")


def test_what_old_files_say_is_read_as_before() -> None:
    """They know size, stride and padding alone."""
    from gpubp.config import from_config

    for name in ("MaxPool2D", "AvgPool1D"):
        described = {"class": name, "size": 3, "stride": 2, "padding": 1}
        assert from_config(described) == getattr(bp, name)(3, 2, 1)
