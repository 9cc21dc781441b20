"""GroupNorm and InstanceNorm compared with loops, and over the time steps that rows have."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp


def by_loops(x: np.ndarray, groups: int, eps: float, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(1) to (5), number by number, of rows (B, places, C)."""
    B, P, C = x.shape
    y, width = np.zeros_like(x), C // groups
    for i in range(B):
        for g in range(groups):
            channels = range(g * width, (g + 1) * width)
            numbers = [x[i, p, c] for p in range(P) for c in channels]
            mean = sum(numbers) / len(numbers)
            var = sum((v - mean) ** 2 for v in numbers) / len(numbers)
            for p in range(P):
                for c in channels:
                    y[i, p, c] = gamma[c] * (x[i, p, c] - mean) / (var + eps) ** 0.5 + beta[c]
    return y


@pytest.mark.parametrize("places", [(), (5,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("layer", [bp.GroupNorm(3, 0.01), bp.GroupNorm(1, 0.01), bp.InstanceNorm(0.01)], ids=str)
def test_loops(layer: bp.Layer, places: tuple[int, ...], rng: np.random.Generator) -> None:
    if isinstance(layer, bp.InstanceNorm) and not places:
        pytest.skip("a channel of one place")
    net = bp.Network(layer, (*places, 6), device="cpu", dtype="float64")
    for a in net.parameters.values():
        a[...] = rng.normal(size=a.shape)
    x = rng.normal(size=(4, *places, 6))
    groups = layer.groups if isinstance(layer, bp.GroupNorm) else 6
    slow = by_loops(x.reshape(4, -1, 6), groups, 0.01, net.parameters["gamma"], net.parameters["beta"])
    assert net.predict(x).reshape(slow.shape) == pytest.approx(slow, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("layer", [bp.GroupNorm(2), bp.InstanceNorm(use_bias=False), bp.GroupNorm(2, affine=False)])
@pytest.mark.parametrize("inner", [(), (3,)])
def test_padding_changes_nothing(layer: bp.Layer, inner: tuple[int, ...], rng: np.random.Generator) -> None:
    """Outputs and gradients of rows of different lengths are those of each row by itself."""
    layers = bp.Sequential(bp.Dense(4), layer, bp.Tanh(), bp.Dense(2))
    rows = [rng.normal(size=(n, *inner, 3)) for n in (2, 9, 5)]
    targets = [rng.normal(size=(n, *inner, 2)) for n in (2, 9, 5)]
    if inner:
        net = bp.Network(layers, (None, *inner, 3), device="cpu", dtype="float64")
        alone = [bp.Network(layers, row.shape, device="cpu", dtype="float64").predict(row[None])[0] for row in rows]
        for y, slow in zip(net.predict(rows), alone, strict=True):
            assert y == pytest.approx(slow, rel=1e-9, abs=1e-12)
        return
    net = bp.Network(layers, (None, 3), device="cpu", dtype="float64")
    _, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), rows, targets)
    slow = {name: np.zeros(a.shape) for name, a in net.parameters.items()}
    for row, target, y in zip(rows, targets, net.predict(rows), strict=True):
        one = bp.Network(layers, row.shape, device="cpu", dtype="float64")
        assert y == pytest.approx(one.predict(row[None])[0], rel=1e-9, abs=1e-12)
        for name, g in one.loss_and_gradients(bp.HalfMeanSquaredError(), row[None], target[None])[1].items():
            slow[name] += g / len(rows)
    for name, g in gradients.items():
        assert g == pytest.approx(slow[name], rel=1e-8, abs=1e-12), name


def test_a_row_does_not_depend_on_others(rng: np.random.Generator) -> None:
    net = bp.Network(bp.GroupNorm(2), (3, 4), device="cpu")
    x = rng.normal(size=(5, 3, 4)).astype("float32")
    assert np.array_equal(net.predict(x)[2], net.predict(x[2:3])[0])
